"""Border: compactness and what elongation, coarse shape and fine texture each add to it.

Compactness P²/(4πA) is 1 for a circle and grows with length, bays and roughness alike; so it is also given over
that of the best-fit ellipse (elongation taken out) and at two scales of smoothing (coarse structure, fine
texture), in the spirit of Lee, McLean and Atkins 2003 (doi 10.1016/S1361-8415(02)00090-7). Bays are counted as
defects of the convex hull and can be drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import ConvexHull

from dermomamba.measure.contour import RASTER_DIAMETER, Contour, polygon_moments
from dermomamba.measure.lesion import HEADLINE_SCALE, Lesion

TEXTURE_SCALE, STRUCTURE_SCALE = 0.005, 0.02
BODY_SHARE = 0.55  # a part larger than this is the lesion's body, not a protrusion
SIGNIFICANT_DEPTH = 0.02  # of the equivalent diameter
BOX_LEAST_DIAMETER = 128.0  # px: three octaves of box sizes from 4 px up


@dataclass(frozen=True)
class Bays:
    """Significant indentations and protrusions of an outline.

    Attributes:
        indentations: (n, 2) the deepest point of each bay.
        depths: (n,) depth below the convex hull, as a fraction of the equivalent diameter.
        protrusions: (m, 2) the tip of each protrusion.
    """

    indentations: np.ndarray
    depths: np.ndarray
    protrusions: np.ndarray


def ellipse_axes(moments: np.ndarray) -> tuple[float, float, float]:
    """Semi-axes a >= b and the angle of a (radians) of the ellipse with these central second moments (2, 2)."""
    values, vectors = np.linalg.eigh(moments)
    b, a = 2 * np.sqrt(np.maximum(values, 0))
    return float(a), float(b), float(np.arctan2(vectors[1, 1], vectors[0, 1]))


def ellipse_compactness(a: float, b: float) -> float:
    """P²/(4πA) of an ellipse, P ~ π(a+b)(1 + 3h/(10 + √(4-3h))), h = ((a-b)/(a+b))² (Ramanujan 1914)."""
    h = ((a - b) / (a + b)) ** 2
    perimeter = np.pi * (a + b) * (1 + 3 * h / (10 + np.sqrt(4 - 3 * h)))
    return float(perimeter**2 / (4 * np.pi * np.pi * a * b))


def bays(contour: Contour, least_depth: float = SIGNIFICANT_DEPTH) -> Bays:
    """Find the bays of an outline deeper than a fraction of its equivalent diameter, and what stands between.

    An indentation is the point of a bay farthest from the convex hull. A protrusion is the part of the lesion
    between two neighbouring indentations, cut off by the line that joins them, when its tip stands out from
    that line by more than the same fraction and the part is about half of the lesion at most (the rest is its body).
    """
    points, diameter = contour.points, contour.diameter
    corners = np.sort(ConvexHull(points).vertices)
    found: list[tuple[int, float]] = []
    for start, end in zip(corners, np.roll(corners, -1), strict=True):
        between = _arc(start, end, len(points))[1:-1]
        if len(between):
            depth = _distance(points[between], points[start], points[end])
            deepest = int(np.argmax(depth))
            if depth[deepest] > least_depth * diameter:
                found.append((int(between[deepest]), float(depth[deepest] / diameter)))
    bottoms = [index for index, _ in found]
    tips = []
    for start, end in zip(bottoms, bottoms[1:] + bottoms[:1], strict=True) if len(bottoms) > 1 else ():
        arc = _arc(start, end, len(points))
        height = _distance(points[arc], points[start], points[end])
        part = polygon_moments(points[arc])[0] if len(arc) > 2 else 0.0
        if height.max() > least_depth * diameter and part <= BODY_SHARE * contour.area:
            tips.append(points[arc[int(np.argmax(height))]])
    return Bays(points[bottoms].reshape(-1, 2), np.array([depth for _, depth in found]), np.array(tips).reshape(-1, 2))


def _arc(start: int, end: int, count: int) -> np.ndarray:
    """Indices from start to end along a closed polygon of ``count`` points, both included."""
    return np.arange(start, end + 1 if end > start else end + count + 1) % count


def _distance(points: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Distance (n,) of points from the line through a and b."""
    along = (b - a) / max(float(np.hypot(*(b - a))), 1e-12)
    return np.abs((points - a) @ np.array([-along[1], along[0]]))


def box_dimension(contour: Contour) -> float:
    """Box-counting dimension of an outline: -slope of log N(s) over log s (Mandelbrot 1967).

    Boxes of side 4 px up to a third of the equivalent diameter, factor √2 apart; N(s) is the mean count over
    16 positions of the grid. Lesions larger than 512 px are reduced to that, so that the range of scales is alike.
    """
    zoom = min(1.0, RASTER_DIAMETER / contour.diameter)
    points = _dense(contour.points * zoom, 0.5)
    sides = 4.0 * np.sqrt(2) ** np.arange(0, 2 * np.log2(contour.diameter * zoom / 12) + 1e-9)
    shifts = [np.array([x, y]) / 4 for x in range(4) for y in range(4)]
    counts = [np.mean([_boxes(points / side + shift) for shift in shifts]) for side in sides]
    return float(-np.polyfit(np.log(sides), np.log(counts), 1)[0])


def _boxes(points: np.ndarray) -> int:
    """Number of unit boxes that hold a point."""
    cells = np.floor(points).astype(np.int64)
    cells -= cells.min(axis=0)
    return int(np.count_nonzero(np.bincount(cells[:, 1] * (cells[:, 0].max() + 1) + cells[:, 0])))


def _dense(points: np.ndarray, step: float) -> np.ndarray:
    """Points every ``step`` px or closer along a closed polygon."""
    sides = np.roll(points, -1, axis=0) - points
    pieces = np.ceil(np.hypot(*sides.T) / step).astype(int).clip(1)
    index = np.repeat(np.arange(len(points)), pieces)
    part = (np.arange(len(index)) - np.repeat(np.cumsum(pieces) - pieces, pieces)) / pieces[index]
    return points[index] + part[:, None] * sides[index]


def border_values(lesion: Lesion) -> dict[str, float]:
    """Border measures of a lesion that can be repeated at other thresholds for an interval.

    Returns:
        ``border_irregularity``, ``border_excess``, ``structure_irregularity`` (each about 1 or more),
        ``texture_irregularity`` (0 or more), ``solidity`` and ``convexity`` (in (0, 1]).
    """
    headline = lesion.smoothed(HEADLINE_SCALE)
    structure = lesion.smoothed(STRUCTURE_SCALE).compactness
    a, b, _ = ellipse_axes(headline.moments[2])
    hull = ConvexHull(headline.points)  # in the plane: volume is area, area is perimeter
    return {
        "border_irregularity": headline.compactness,
        "border_excess": headline.compactness / ellipse_compactness(a, b),
        "structure_irregularity": structure,
        "texture_irregularity": max(lesion.smoothed(TEXTURE_SCALE).compactness - structure, 0.0),
        "solidity": min(headline.area / hull.volume, 1.0),
        "convexity": min(hull.area / headline.perimeter, 1.0),
    }


def fine_detail(lesion: Lesion) -> bool:
    """Whether the outline still shows detail at the texture scale (a hard mask of few pixels does not)."""
    return lesion.least_px <= TEXTURE_SCALE * lesion.contour.diameter
