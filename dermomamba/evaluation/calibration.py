"""Whether a probability of 0.7 means lesion in 7 of 10 pixels, looked at near the outline.

Over a whole photo the easy background hides everything, so only pixels within a band around the true outline count
(research on segmentation calibration: arXiv 2506.03942). ECE: Guo et al. 2017 (arXiv 1706.04599), equal-width bins.
A table (3, bins) holds for each bin: pixels, sum of probabilities, sum of truths.
"""

from __future__ import annotations

import cv2
import numpy as np

from dermomamba.evaluation.surface import diagonal

BINS = 15
BAND = 0.02


def band(truth: np.ndarray, width: float | None = None) -> np.ndarray:
    """Pixels near the outline of a mask, on both sides.

    Args:
        truth: (H, W) bool.
        width: largest distance to the nearest pixel of the other side, in px; None for 2% of the photo's diagonal.

    Returns:
        (H, W) bool; all False when the mask is empty or full.
    """
    if not truth.any() or truth.all():
        return np.zeros_like(truth)
    width = max(1.0, BAND * diagonal(truth.shape)) if width is None else width
    lesion = truth.astype(np.uint8)
    inside = cv2.distanceTransform(lesion, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    outside = cv2.distanceTransform(1 - lesion, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return inside + outside <= width


def bin_table(probability: np.ndarray, truth: np.ndarray, bins: int = BINS) -> np.ndarray:
    """Sort pixels into bins of probability.

    Args:
        probability: (n,) float in [0, 1].
        truth: (n,) bool.
        bins: equal-width bins of [0, 1]; 1 belongs to the last.

    Returns:
        (3, bins) float64: pixels, sum of probabilities, sum of truths.
    """
    place = np.minimum((probability * bins).astype(np.int64), bins - 1)
    return np.stack(
        [
            np.bincount(place, minlength=bins).astype(np.float64),
            np.bincount(place, weights=probability, minlength=bins),
            np.bincount(place, weights=truth, minlength=bins),
        ]
    )


def band_table(probability: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """bin_table of one photo's band, as shares of the band, so that every photo weighs the same.

    Args:
        probability: (H, W) float in [0, 1].
        truth: (H, W) bool.

    Returns:
        (3, 15) float64 whose first row adds up to 1; NaN when there is no outline.
    """
    near = band(truth)
    if not near.any():
        return np.full((3, BINS), np.nan)
    table = bin_table(probability[near].astype(np.float64), truth[near])
    return table / table[0].sum()


def ece(table: np.ndarray) -> np.ndarray | float:
    """Expected calibration error: mean over pixels of |observed share - mean probability| of their bin.

    Args:
        table: (..., 3, bins) as bin_table gives it, in counts or shares.

    Returns:
        (...) float in [0, 1].
    """
    return np.abs(table[..., 2, :] - table[..., 1, :]).sum(-1) / table[..., 0, :].sum(-1)


def curve(table: np.ndarray) -> list[dict[str, float]]:
    """Reliability curve: for each bin that holds pixels its limits, mean probability, observed share and weight.

    Args:
        table: (3, bins).

    Returns:
        Rows with "from", "to", "predicted", "observed", "share" (of all pixels), all in [0, 1].
    """
    bins, total = table.shape[1], table[0].sum()
    return [
        {
            "from": i / bins,
            "to": (i + 1) / bins,
            "predicted": float(p / n),
            "observed": float(y / n),
            "share": float(n / total),
        }
        for i, (n, p, y) in enumerate(table.T)
        if n > 0
    ]
