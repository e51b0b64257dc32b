"""Size: area, diameters and perimeter of the outline, in pixels.

The longest diameter is the maximum Feret diameter (the greatest distance between two points of the outline);
the width is the extent at right angles to it; the least width is the minimum Feret diameter, which always has
one side of the convex hull on one of its two lines (rotating calipers, Shamos 1978).
"""

from __future__ import annotations

import numpy as np
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist, squareform

from dermomamba.measure.lesion import HEADLINE_SCALE, Lesion

DIRECTIONS = 1440


def hull_points(points: np.ndarray) -> np.ndarray:
    """Corners of the convex hull in order, (m, 2).

    Of a hull with thousands of corners only those that reach farthest in one of 1,440 directions are kept;
    a disc loses less than 3e-6 of its diameter.
    """
    corners = points[ConvexHull(points).vertices]
    if len(corners) <= DIRECTIONS:
        return corners
    turn = np.linspace(0, 2 * np.pi, DIRECTIONS, endpoint=False)
    reach = np.stack([np.cos(turn), np.sin(turn)], axis=1) @ corners.T  # (direction, corner)
    return corners[np.unique(np.argmax(reach, axis=1))]


def longest_diameter(hull: np.ndarray) -> tuple[float, np.ndarray]:
    """Maximum Feret diameter of a convex polygon and its two ends (2, 2)."""
    distances = squareform(pdist(hull))
    i, j = np.unravel_index(int(np.argmax(distances)), distances.shape)
    return float(distances[i, j]), hull[[i, j]]


def width_across(hull: np.ndarray, ends: np.ndarray) -> tuple[float, np.ndarray]:
    """Extent of a convex polygon at right angles to a line, and a segment (2, 2) that shows it."""
    along = (ends[1] - ends[0]) / np.hypot(*(ends[1] - ends[0]))
    across = np.array([-along[1], along[0]])
    reach = (hull - ends[0]) @ across
    low, high = int(np.argmin(reach)), int(np.argmax(reach))
    middle = ends[0] + along * (((hull[low] + hull[high]) / 2 - ends[0]) @ along)
    return float(reach[high] - reach[low]), np.stack([middle + reach[low] * across, middle + reach[high] * across])


def least_width(hull: np.ndarray) -> float:
    """Minimum Feret diameter of a convex polygon."""
    sides = np.roll(hull, -1, axis=0) - hull
    normals = np.stack([-sides[:, 1], sides[:, 0]], axis=1) / np.hypot(*sides.T)[:, None]
    reach = hull @ normals.T  # (corner, side)
    return float((reach.max(axis=0) - reach.min(axis=0)).min())


def size_values(lesion: Lesion, photo_px: int) -> dict[str, float]:
    """Size of a lesion in photo pixels.

    Args:
        lesion: the outlined lesion.
        photo_px: pixels of the whole photo.

    Returns:
        ``area`` (px²), ``area_fraction`` (in [0, 1]), ``equivalent_diameter``, ``longest_diameter``,
        ``width``, ``least_width``, ``perimeter`` (px).
    """
    hull = hull_points(lesion.contour.points)
    longest, ends = longest_diameter(hull)
    length, area = 1 / lesion.zoom, lesion.area / lesion.zoom**2
    others = sum(contour.perimeter for contour in lesion.contours[1:])
    return {
        "area": area,
        "area_fraction": min(area / photo_px, 1.0),
        "equivalent_diameter": float(np.sqrt(4 * area / np.pi)),
        "longest_diameter": longest * length,
        "width": width_across(hull, ends)[0] * length,
        "least_width": least_width(hull) * length,
        "perimeter": (lesion.smoothed(HEADLINE_SCALE).perimeter + others) * length,
    }
