"""Asymmetry of shape: fold the lesion along an axis and see what does not meet.

Index |M xor flip(M)| / (2 |M|) in [0, 1), about the two principal axes through the centroid (Stoecker, Li, Moss
1992, doi 10.1016/0895-6111(92)90073-I). A near-round lesion has no principal axis, so there the perpendicular
pair with the lowest sum over all angles is taken, which is also how the ABCD rule places its axes (Stolz; Nachbar
et al. 1994, doi 10.1016/S0190-9622(94)70061-3).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dermomamba.measure.border import ellipse_axes
from dermomamba.measure.contour import Contour, fill

ROUND_AXIS_RATIO = 0.98  # b/a above which the principal axes mean nothing (eccentricity < 0.2)
GRID_DIAMETER = 160.0
SCAN_STEP = 2  # degrees


@dataclass(frozen=True)
class Folds:
    """Asymmetry of an outline about two perpendicular axes.

    Attributes:
        major, minor: index about the long and about the short axis, in [0, 1).
        least: lowest index over all axes through the centroid.
        angle: angle of the long axis, degrees in [0, 180), x to the right, y down.
        near_round: True when the axes come from the scan rather than from the principal axes.
        folded_major, folded_minor: (n, 2) the outline mirrored about that axis.
        axis_major, axis_minor: (2, 2) the axis as a segment across the lesion.
    """

    major: float
    minor: float
    least: float
    angle: float
    near_round: bool
    folded_major: np.ndarray
    folded_minor: np.ndarray
    axis_major: np.ndarray
    axis_minor: np.ndarray


def mirror(points: np.ndarray, centre: np.ndarray, degrees: float) -> np.ndarray:
    """Points (n, 2) mirrored about the line through a centre at an angle (x right, y down)."""
    double = np.radians(2 * degrees)
    c, s = np.cos(double), np.sin(double)
    return (points - centre) @ np.array([[c, s], [s, -c]]) + centre


def folds(contour: Contour) -> Folds:
    """Fold an outline along its axes.

    Args:
        contour: the lesion's outline.

    Returns:
        Indices, the angle of the long axis, and what to draw. Noise floor about 0.005.
    """
    _, centre, moments = contour.moments
    a, b, angle = ellipse_axes(moments)
    index = _folding(contour, centre)
    scan = {float(degrees): index(degrees) for degrees in range(0, 180, SCAN_STEP)}
    best = min(scan, key=lambda degrees: scan[degrees])
    for degrees in (best - 1, best - 0.5, best + 0.5, best + 1):
        scan[degrees % 180] = index(degrees)
    near_round = b / a > ROUND_AXIS_RATIO
    if near_round:
        long = min(
            (float(degrees) for degrees in range(0, 90, SCAN_STEP)),
            key=lambda degrees: scan[degrees] + scan[degrees + 90],
        )
        long = min(
            np.arange(long - SCAN_STEP + 0.5, long + SCAN_STEP, 0.5).tolist(),
            key=lambda degrees: index(degrees) + index(degrees + 90),
        )
    else:
        long = float(np.degrees(angle))
    major, minor = index(long), index(long + 90)
    return Folds(
        major,
        minor,
        min(*scan.values(), major, minor),
        long % 180,
        bool(near_round),
        mirror(contour.points, centre, long),
        mirror(contour.points, centre, long + 90),
        _segment(contour.points, centre, long),
        _segment(contour.points, centre, long + 90),
    )


def _folding(contour: Contour, centre: np.ndarray):
    """The index as a function of the axis' angle in degrees."""
    zoom = GRID_DIAMETER / contour.diameter
    reach = np.hypot(*(contour.points - centre).T).max() * zoom
    half = int(np.ceil(reach)) + 2
    shape = (2 * half + 1, 2 * half + 1)
    points = (contour.points - centre) * zoom
    steps = np.cumsum(np.hypot(*np.diff(points, axis=0, prepend=points[-1:]).T))
    points = points[np.unique(np.searchsorted(steps, np.arange(0, steps[-1], 0.5)))]  # every half grid pixel
    still = fill(points + half, shape)
    area = float(still.sum())

    def index(degrees: float) -> float:
        flipped = fill(mirror(points, np.zeros(2), degrees) + half, shape)
        return float(np.abs(still - flipped).sum() / (2 * area))

    return index


def _segment(points: np.ndarray, centre: np.ndarray, degrees: float) -> np.ndarray:
    along = np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))])
    reach = (points - centre) @ along
    return np.stack([centre + reach.min() * along, centre + reach.max() * along])
