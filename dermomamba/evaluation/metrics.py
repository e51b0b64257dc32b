"""Overlap of two masks from four counts, with the conventions of the ISIC challenges.

Formulas and empty cases follow isic-challenge-scoring (ImageMarkup; Codella et al. 2019, arXiv 1902.03368):
Jaccard and Dice are 1 when neither mask has a pixel, sensitivity is 1 when the truth is empty, specificity is 1 when
the truth is full, and the threshold Jaccard is the Jaccard from 0.65 upwards, 0 below. Each is taken per photo and
then averaged over photos (macro); identities: D = 2J/(1+J), J = D/(2-D), for one photo and not for the means.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

JACCARD_THRESHOLD = 0.65


@dataclass(frozen=True)
class Counts:
    """Pixels of one photo by prediction and truth.

    Attributes:
        tp: lesion in both.
        fp: lesion in the prediction only.
        fn: lesion in the truth only.
        tn: skin in both.
    """

    tp: int
    fp: int
    fn: int
    tn: int


def counts(predicted: np.ndarray, truth: np.ndarray) -> Counts:
    """Count pixels.

    Args:
        predicted, truth: (H, W) bool.

    Returns:
        The four counts, which add up to H x W.

    Raises:
        ValueError: the shapes differ or the arrays are not bool.
    """
    if predicted.shape != truth.shape or predicted.dtype != np.bool_ or truth.dtype != np.bool_:
        raise ValueError(
            f"two bool masks of one shape are needed, not {predicted.shape} {predicted.dtype} "
            f"and {truth.shape} {truth.dtype}"
        )
    tp = int(np.count_nonzero(predicted & truth))
    fp = int(np.count_nonzero(predicted)) - tp
    fn = int(np.count_nonzero(truth)) - tp
    return Counts(tp, fp, fn, predicted.size - tp - fp - fn)


def dice(c: Counts) -> float:
    """2 TP / (2 TP + FP + FN); 1 when both masks are empty (ISIC)."""
    total = 2 * c.tp + c.fp + c.fn
    return 2 * c.tp / total if total else 1.0


def iou(c: Counts) -> float:
    """Jaccard index TP / (TP + FP + FN); 1 when both masks are empty (ISIC)."""
    total = c.tp + c.fp + c.fn
    return c.tp / total if total else 1.0


def threshold_jaccard(c: Counts) -> float:
    """The Jaccard index where it is >= 0.65, otherwise 0: the ranking score of ISIC 2018 Task 1."""
    value = iou(c)
    return value if value >= JACCARD_THRESHOLD else 0.0


def sensitivity(c: Counts) -> float:
    """TP / (TP + FN), also called recall; 1 when the truth is empty (ISIC)."""
    total = c.tp + c.fn
    return c.tp / total if total else 1.0


def specificity(c: Counts) -> float:
    """TN / (TN + FP); 1 when the truth is full (ISIC)."""
    total = c.tn + c.fp
    return c.tn / total if total else 1.0


def precision(c: Counts) -> float:
    """TP / (TP + FP). ISIC has none; without a predicted pixel it is 1 if the truth is empty too, else 0."""
    total = c.tp + c.fp
    return c.tp / total if total else float(c.fn == 0)


def accuracy(c: Counts) -> float:
    """(TP + TN) / all pixels; high for any small lesion, so never read it alone."""
    return (c.tp + c.tn) / (c.tp + c.fp + c.fn + c.tn)


OVERLAP = {
    "dice": dice,
    "iou": iou,
    "threshold_jaccard": threshold_jaccard,
    "sensitivity": sensitivity,
    "specificity": specificity,
    "precision": precision,
    "accuracy": accuracy,
}
"""Name of each overlap metric in JSON and CSV, and its function."""


def overlap(c: Counts) -> dict[str, float]:
    """All overlap metrics of one photo, fractions in [0, 1]."""
    return {name: function(c) for name, function in OVERLAP.items()}
