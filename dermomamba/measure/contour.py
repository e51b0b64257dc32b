"""The lesion's outline: sub-pixel, from the probability map itself, smoothed relative to the lesion's size.

Marching squares at the threshold (Lorensen and Cline 1987, doi 10.1145/37402.37422, in two dimensions) on the
probability at the photo's own size gives a polygon whose length and shoelace area need no correction, while
counting pixels of a mask makes a circle look 11 to 60 % too irregular. Smoothing is a Gaussian of the filled
outline whose sigma is a fraction of the equivalent diameter, so that the same lesion gives the same number in
any camera; afterwards the outline is scaled back to its own area, so that a disc stays the disc that it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from skimage.measure import find_contours

RASTER_DIAMETER = 512  # pixels that the equivalent diameter takes when an outline is filled for smoothing
SOFT_EDGE_PX = 1.7  # an edge at least this soft (Gaussian sigma, px) has no staircase: bias of a disc < 0.3 %


@dataclass(frozen=True)
class Contour:
    """A closed simple polygon in photo pixels.

    Attributes:
        points: (n, 2) float64, (x, y), a pixel's centre at whole numbers; the first point is not repeated.
    """

    points: np.ndarray

    @cached_property
    def perimeter(self) -> float:
        """Length of the polygon, px."""
        return float(np.hypot(*(np.roll(self.points, -1, axis=0) - self.points).T).sum())

    @cached_property
    def moments(self) -> tuple[float, np.ndarray, np.ndarray]:
        """Area, centroid (2,), and central second moments over area (2, 2), by Green's theorem."""
        return polygon_moments(self.points)

    @property
    def area(self) -> float:
        """Shoelace area, px²."""
        return self.moments[0]

    @property
    def diameter(self) -> float:
        """Equivalent diameter, px: that of the disc of the same area."""
        return float(np.sqrt(4 * self.area / np.pi))

    @property
    def compactness(self) -> float:
        """P² / (4π A), at least 1 for every simple polygon (isoperimetric inequality)."""
        return self.perimeter**2 / (4 * np.pi * self.area)


def polygon_moments(points: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Area, centroid and covariance of a filled polygon, exactly.

    Args:
        points: (n, 2) float, vertices in order, either sense.

    Returns:
        Area (>= 0), centroid (2,), covariance (2, 2) of the uniform density over the polygon (Steger 1996,
        "On the calculation of arbitrary moments of polygons").
    """
    origin = points.mean(axis=0)
    x, y = (points - origin).T
    x1, y1 = np.roll(x, -1), np.roll(y, -1)
    cross = x * y1 - x1 * y
    signed = cross.sum() / 2
    if abs(signed) < 1e-12:
        return 0.0, origin, np.zeros((2, 2))
    cx, cy = ((x + x1) * cross).sum() / (6 * signed), ((y + y1) * cross).sum() / (6 * signed)
    xx = ((x * x + x * x1 + x1 * x1) * cross).sum() / (12 * signed) - cx * cx
    yy = ((y * y + y * y1 + y1 * y1) * cross).sum() / (12 * signed) - cy * cy
    xy = ((x * y1 + 2 * x * y + 2 * x1 * y1 + x1 * y) * cross).sum() / (24 * signed) - cx * cy
    return float(abs(signed)), origin + np.array([cx, cy]), np.array([[xx, xy], [xy, yy]])


def bounding_box(mask: np.ndarray, margin: int = 0) -> tuple[slice, slice]:
    """Rows and columns of the smallest box round the True pixels of a non-empty mask, with a margin."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    height, width = mask.shape
    return (
        slice(max(int(rows[0]) - margin, 0), min(int(rows[-1]) + margin + 1, height)),
        slice(max(int(columns[0]) - margin, 0), min(int(columns[-1]) + margin + 1, width)),
    )


def restrict(probability: np.ndarray, mask: np.ndarray, threshold: float) -> np.ndarray:
    """The probability with only the kept region at or above the threshold.

    Pixels of other regions become 0 and filled holes become 1; the values on both sides of the kept region's
    own border stay as they are, and with them its sub-pixel place.

    Args:
        probability: (H, W) float in [0, 1].
        mask: (H, W) bool, the kept region from ``clean_mask``.
        threshold: in (0, 1).

    Returns:
        (H, W) float32.
    """
    inside = probability >= threshold
    field = probability.astype(np.float32, copy=True)
    field[inside & ~mask] = 0.0
    field[mask & ~inside] = 1.0
    return field


def outlines(field: np.ndarray, threshold: float = 0.5, offset: tuple[int, int] = (0, 0)) -> list[Contour]:
    """Closed marching-squares contours of a field, largest first.

    Args:
        field: (H, W) float; beyond its frame it counts as 0, so that every contour closes.
        threshold: the level.
        offset: (x, y) of the field's first pixel in the photo.

    Returns:
        Outlines and, when holes were not filled, the outlines of holes; empty when nothing reaches the level.
    """
    padded = np.pad(field, 1)
    # a level that meets a pixel's value exactly makes points coincide: a hair below is the same place
    level = np.nextafter(np.float32(threshold), np.float32(0))
    found = []
    for points in find_contours(padded, float(level), fully_connected="high"):
        xy = points[:-1, ::-1] - 1.0 + offset
        keep = np.any(np.abs(xy - np.roll(xy, 1, axis=0)) > 1e-9, axis=1)
        contour = Contour(np.ascontiguousarray(xy[keep]))
        if len(contour.points) >= 3 and contour.area > 0:
            found.append(contour)
    return sorted(found, key=lambda contour: -contour.area)


def edge_softness(field: np.ndarray, contour: Contour, offset: tuple[int, int] = (0, 0)) -> float:
    """How soft the field's edge is along its contour, as the sigma in px of the Gaussian step of equal slope.

    0.4 for a mask of 0 and 1, 1.6 w for a logistic edge of width w.
    """
    points = contour.points[:: max(1, len(contour.points) // 720)]
    tangent = np.roll(points, -1, axis=0) - np.roll(points, 1, axis=0)
    length = np.hypot(*tangent.T)
    normal = np.stack([tangent[:, 1], -tangent[:, 0]], axis=1) / np.maximum(length, 1e-9)[:, None]
    ends = [(points - offset + side * 0.5 * normal).astype(np.float32) for side in (1, -1)]
    a, b = (cv2.remap(field, e[:, None, 0], e[:, None, 1], cv2.INTER_LINEAR).ravel() for e in ends)
    slope = float(np.median(np.abs(a - b)))
    return np.inf if slope <= 0 else float(1 / (slope * np.sqrt(2 * np.pi)))


def fill(points: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """A polygon as coverage: exact in x along each row's centre line, so edges are sub-pixel.

    Args:
        points: (n, 2) float, (x, y), a pixel's centre at whole numbers.
        shape: (H, W) of the raster; the polygon must lie inside with a pixel to spare.

    Returns:
        (H, W) float32 in [0, 1].
    """
    height, width = shape
    x0, y0 = points.T
    x1, y1 = np.roll(x0, -1), np.roll(y0, -1)
    sign = np.where(y1 > y0, 1.0, -1.0)
    first = np.ceil(np.minimum(y0, y1)).astype(np.int64)  # rows y with min <= y < max
    count = np.ceil(np.maximum(y0, y1)).astype(np.int64) - first
    edge = np.repeat(np.arange(len(points)), count)
    row = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + first[edge]
    x = x0[edge] + (row - y0[edge]) * (x1[edge] - x0[edge]) / (y1[edge] - y0[edge])
    left = x + 0.5  # crossing measured from the left edge of pixel 0
    column = np.floor(left).astype(np.int64)
    part = left - column  # of this pixel, the share before the crossing
    flat = row * width + column
    delta = np.bincount(flat, sign[edge] * (1 - part), height * width)
    delta += np.bincount(flat + 1, sign[edge] * part, height * width)
    return np.abs(np.cumsum(delta.reshape(height, width), axis=1)).astype(np.float32)


def smooth(contour: Contour, fraction: float, least_px: float = 0.0) -> Contour:
    """The outline at a coarser scale: Gaussian of the filled outline, then scaled back to the same area.

    A Gaussian moves a border of curvature k inward by about sigma² k / 2, the same everywhere on a disc;
    scaling back about the centroid undoes it exactly for a disc and to 0.1 % for a 2:1 ellipse.

    Args:
        contour: the sub-pixel outline.
        fraction: sigma as a fraction of the equivalent diameter (0.01 = 1 %).
        least_px: sigma is at least this many photo pixels (the staircase of a hard mask).

    Returns:
        The smoothed outline; the outline itself when sigma is nothing.
    """
    sigma = max(fraction, least_px / contour.diameter)
    if sigma <= 0:
        return contour
    zoom = RASTER_DIAMETER / contour.diameter
    blur = sigma * RASTER_DIAMETER
    if blur > 16:  # a wide Gaussian needs no finer raster than sigma = 16 px
        zoom, blur = zoom * 16 / blur, 16.0
    margin = int(np.ceil(4 * blur)) + 2
    low = contour.points.min(axis=0)
    points = (contour.points - low) * zoom + margin
    width, height = (np.ceil(points.max(axis=0)).astype(int) + margin + 1).tolist()
    field = cv2.GaussianBlur(fill(points, (height, width)), (0, 0), blur, borderType=cv2.BORDER_CONSTANT)
    found = outlines(field, 0.5)
    if not found:
        return contour
    area, centroid, _ = found[0].moments
    growth = np.sqrt(contour.area * zoom**2 / area)
    back = (centroid + (found[0].points - centroid) * growth - margin) / zoom + low
    return Contour(back)
