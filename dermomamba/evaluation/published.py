"""The metrics that DermoMamba's published code computes, in a column of their own.

They differ from the ISIC conventions, so that the paper's tables must not be set beside our main figures: its
``dice_score`` is the soft Dice of the probabilities (never thresholded), its precision and recall cut the *logit*
at 0.5 (a probability of 0.622), everything is taken on the network's 192 x 256 grid without clean-up, and each
batch is pooled. Its test loader has batches of one photo, so a batch is a photo here; ``pooled`` gives the other
extreme, one batch of all photos.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dermomamba.resample import to_network

GRID = (192, 256)
CUT = 1.0 / (1.0 + math.exp(-0.5))
"""Probability at which a logit is 0.5: 0.6225."""

PROTOCOL = (
    "As the published code computes them: on the 192 x 256 grid, no clean-up; soft Dice over probabilities; IoU at "
    "probability 0.5; precision and recall at logit 0.5 (probability 0.622); batches of one photo, averaged. "
    "'pooled' takes all photos as one batch."
)


@dataclass(frozen=True)
class PublishedSums:
    """Sums of one photo on the 192 x 256 grid, from which the published metrics follow.

    Attributes:
        overlap: sum of p y.
        probability: sum of p.
        truth: sum of y.
        intersection, union: pixels at probability > 0.5.
        tp, positive: pixels at probability > 0.622, in the truth and in all.
    """

    overlap: float
    probability: float
    truth: float
    intersection: float
    union: float
    tp: float
    positive: float

    def metrics(self) -> dict[str, float]:
        """dice, iou, precision and recall, fractions; an empty denominator gives 1 if all is empty, else 0."""
        everything_empty = self.truth == 0
        return {
            "dice": _ratio(2 * self.overlap, self.probability + self.truth, everything_empty),
            "iou": _ratio(self.intersection, self.union, everything_empty),
            "precision": _ratio(self.tp, self.positive, everything_empty),
            "recall": _ratio(self.tp, self.truth, everything_empty and self.positive == 0),
        }


def published_sums(probability: np.ndarray, truth: np.ndarray) -> PublishedSums:
    """Sums of one photo.

    Args:
        probability: (H, W) float in [0, 1], at the photo's own size.
        truth: (H, W) bool.

    Returns:
        The sums on the 192 x 256 grid.
    """
    p = to_network(np.ascontiguousarray(probability, np.float32), GRID).astype(np.float64)
    y = to_network(truth.astype(np.uint8) * np.uint8(255), GRID) >= 128
    at_half, at_cut = p > 0.5, p > CUT
    return PublishedSums(
        float(p[y].sum()),
        float(p.sum()),
        float(y.sum()),
        float((at_half & y).sum()),
        float((at_half | y).sum()),
        float((at_cut & y).sum()),
        float(at_cut.sum()),
    )


def pooled(sums: list[PublishedSums]) -> dict[str, float]:
    """The published metrics with all photos as one batch."""
    rows = np.array([tuple(vars(s).values()) for s in sums])
    return PublishedSums(*rows.sum(axis=0).tolist()).metrics()


def _ratio(above: float, below: float, empty: bool) -> float:
    return above / below if below else float(empty)
