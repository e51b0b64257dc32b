"""The lesion as the measures see it: its outline, how soft its edge is, and the same outline at other scales."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from dermomamba.measure.contour import (
    SOFT_EDGE_PX,
    Contour,
    bounding_box,
    edge_softness,
    outlines,
    restrict,
    smooth,
)

HEADLINE_SCALE = 0.01  # sigma of the outline that perimeter and border irregularity are taken from
MARGIN_PX = 8


@dataclass(frozen=True)
class Lesion:
    """One kept region (or several, when the person keeps all of them).

    Attributes:
        contours: outer outlines, largest first; more than one only when all regions are kept.
        hole_area: px² of holes that were left open.
        least_px: smallest smoothing (px) that removes the staircase of a hard mask; 0 for a soft edge.
        zoom: pixels of this lesion per photo pixel (1 unless it was reduced for an interval).
    """

    contours: tuple[Contour, ...]
    hole_area: float
    least_px: float
    zoom: float = 1.0
    _smoothed: dict[float, Contour] = field(default_factory=dict, repr=False, compare=False)

    @property
    def contour(self) -> Contour:
        """The outline of the (largest) region."""
        return self.contours[0]

    @property
    def area(self) -> float:
        """Area of all kept regions without open holes, px² of this lesion."""
        return sum(contour.area for contour in self.contours) - self.hole_area

    def smoothed(self, fraction: float) -> Contour:
        """The outline at sigma = ``fraction`` of the equivalent diameter, computed once."""
        if fraction not in self._smoothed:
            self._smoothed[fraction] = smooth(self.contour, fraction, self.least_px)
        return self._smoothed[fraction]


def lesion_of(probability: np.ndarray, mask: np.ndarray, threshold: float, zoom: float = 1.0) -> Lesion | None:
    """Outline the kept region of a probability map.

    Args:
        probability: (H, W) float in [0, 1].
        mask: (H, W) bool, the kept region(s) at the threshold.
        threshold: in (0, 1).
        zoom: pixels of this map per photo pixel.

    Returns:
        The lesion, its coordinates in pixels of this map; None when the mask is empty.
    """
    if not mask.any():
        return None
    rows, columns = bounding_box(mask, MARGIN_PX)
    offset = (columns.start, rows.start)
    kept = mask[rows, columns]
    lesion_field = restrict(probability[rows, columns], kept, threshold)
    outer: list[Contour] = []
    holes = 0.0
    for contour in outlines(lesion_field, threshold, offset):
        if outer and _sense(contour) != _sense(outer[0]):
            holes += contour.area
        else:
            outer.append(contour)
    if not outer:
        return None
    softness = edge_softness(lesion_field, outer[0], offset)
    least = float(np.sqrt(max(0.0, SOFT_EDGE_PX**2 - softness**2)))
    return Lesion(tuple(outer), holes, least, zoom)


def _sense(contour: Contour) -> bool:
    """Which way round a contour runs: find_contours goes round a hole the other way than round a region."""
    x, y = contour.points.T
    return bool((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() > 0)
