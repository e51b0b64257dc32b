"""How far the shown outline is likely to agree with an expert's: Dice as the probability map itself expects it.

If every pixel were lesion with the probability the network gives it, the outline's Dice coefficient (Dice 1945,
doi 10.2307/1932409) would be about 2 sum(p m) / (sum(p) + sum(m)). Networks are surer than they should be, so a
straight line fitted on validation photos turns that into the Dice to expect, and an outline below a threshold,
tuned there as well, is to be checked. ``benchmarks/measures.py --calibrate`` fits both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dermomamba.measure.records import State

NAME, FITTED = "outline_certainty", "certainty"  # the record, and its part of calibration.json
NO_PROBABILITIES = "An outline without probabilities says nothing of its own certainty."
NOT_FITTED = "This estimate was fitted for other weights than these."
CHECK = State("check_outline", "Check this outline: it may differ from what an expert would draw.")


def expected_dice(probability: np.ndarray, mask: np.ndarray) -> float:
    """Dice of a mask as the probability map expects it, before calibration.

    Args:
        probability: (H, W) float in [0, 1].
        mask: (H, W) bool, the outlined lesion.

    Returns:
        2 sum(p m) / (sum(p) + sum(m)) in [0, 1]; 0 for an empty mask.
    """
    marked = float(np.count_nonzero(mask))
    if not marked:
        return 0.0
    inside = float(probability[mask].sum(dtype=np.float64))
    return 2 * inside / (float(probability.sum(dtype=np.float64)) + marked)


def says_nothing(probability: np.ndarray) -> bool:
    """Whether a map (H, W) holds only zeros and ones, as a mask does, and so nothing on how sure its outline is."""
    return bool(np.all((probability == 0) | (probability == 1)))


def estimate(expected: float, fitted: Mapping[str, Any] | None) -> float:
    """The Dice to expect of a photo.

    Args:
        expected: from :func:`expected_dice`.
        fitted: ``slope`` and ``intercept``, the ``certainty`` part of ``calibration.json``; None leaves it as it is.

    Returns:
        Dice in [0, 1].
    """
    if not fitted:
        return expected
    return float(np.clip(fitted["slope"] * expected + fitted["intercept"], 0.0, 1.0))


def span(value: float, fitted: Mapping[str, Any] | None) -> tuple[float, float] | None:
    """Where Dice lay in 90 % of the validation photos with such an estimate; contains the estimate.

    Args:
        value: from :func:`estimate`.
        fitted: with ``q_low`` and ``q_high``, factors of 1 - value.

    Returns:
        (low, high) in [0, 1], None without a calibration.
    """
    if not fitted or "q_low" not in fitted:
        return None
    reach = 1 - value
    return max(0.0, value + fitted["q_low"] * reach), min(1.0, value + fitted["q_high"] * reach)


def error_note(fitted: Mapping[str, Any] | None) -> str:
    """The estimate's own error on photos it was not fitted on, or that it is not known; "" without a line."""
    if not fitted:
        return ""
    if "cross_validated" not in fitted:
        return NOT_FITTED
    held = fitted["cross_validated"]
    return (
        f"On {held['n']} validation photos it was off by {held['mae']:.2f} on average"
        f" (rank correlation {held['spearman']:.2f})."
    )


def doubtful(value: float, fitted: Mapping[str, Any] | None) -> bool:
    """Whether an outline with this estimate is to be checked by eye."""
    if not fitted or fitted["threshold"] is None:
        return False
    return bool(value < fitted["threshold"])
