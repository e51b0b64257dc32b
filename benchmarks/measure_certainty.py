"""Fit and evidence of the outline's certainty: how well it foretells Dice, and what the warning catches.

The line from expected to true Dice is least squares, the interval conformal as for the other measures, and so is
the threshold: of n poor outlines (Dice below 0.7) it catches the ceil(0.8 (n + 1)) least certain, so that on average
at least 80 % of further ones of the same kind lie below it (split conformal: Lei et al. 2018, doi
10.1080/01621459.2017.1307116; catching just 80 % of the fitted ones would promise less). Ten-fold cross-validation
says how all three fare on photos they were not fitted on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from measure_agreement import pyplot, save
from measure_calibration import FOLDS, covered, fit

from dermomamba.evaluation.statistics import spearman
from dermomamba.measure.certainty import estimate

POOR, CAUGHT, LEAST_POOR = 0.7, 0.8, 5


def dice(mask: np.ndarray, truth: np.ndarray) -> float:
    """Dice of two (H, W) bool masks; 1 when both are empty."""
    total = np.count_nonzero(mask) + np.count_nonzero(truth)
    return 2 * np.count_nonzero(mask & truth) / total if total else 1.0


def fit_certainty(expected: Sequence[float], true: Sequence[float]) -> dict[str, Any]:
    """The ``certainty`` part of ``calibration.json``.

    Args:
        expected: Dice as the probability maps expect it, of n photos.
        true: Dice with the expert's outline.

    Returns:
        Line, interval factors and threshold, with their figures on these photos and cross-validated.
    """
    e, t = np.asarray(expected, float), np.asarray(true, float)
    fitted = _fit(e, t)
    fold = np.random.default_rng(0).permutation(len(e)) % FOLDS
    held, flagged, inside = np.zeros(len(e)), np.zeros(len(e), bool), np.zeros(len(e), bool)
    for k in range(FOLDS):
        other, out = _fit(e[fold != k], t[fold != k]), fold == k
        held[out] = [estimate(value, other) for value in e[out]]
        flagged[out] = held[out] < (other["threshold"] or 0.0)
        inside[out] = covered(other | {"floor": 0.0}, 1 - held[out], t[out] - held[out])
    own = np.array([estimate(value, fitted) for value in e])
    return {key: None if value is None else round(value, 5) for key, value in fitted.items()} | {
        "n": len(e),
        "fitted": evidence(own, t, own < (fitted["threshold"] or 0.0)),
        "cross_validated": evidence(held, t, flagged) | {"coverage": round(float(inside.mean()), 3)},
    }


def _fit(e: np.ndarray, t: np.ndarray) -> dict[str, float | None]:
    slope = float(np.cov(e, t)[0, 1] / np.var(e, ddof=1)) if np.ptp(e) > 0 else 0.0
    line: dict[str, float | None] = {"slope": max(slope, 0.0)}
    line["intercept"] = float(t.mean() - max(slope, 0.0) * e.mean())
    own = np.array([estimate(value, line) for value in e])
    factors = fit(1 - own, t - own, 0.0)
    return line | {"q_low": factors["q_low"], "q_high": factors["q_high"], "threshold": _threshold(own, t < POOR)}


def to_catch(n: int) -> int:
    """How many of n poor outlines a threshold must catch, so that 80 % of further ones are expected below it."""
    return min(n, math.ceil(CAUGHT * (n + 1)))


def _threshold(values: np.ndarray, poor: np.ndarray) -> float | None:
    """Lowest threshold that catches enough of the poor outlines; None where too few are poor to say."""
    n = np.count_nonzero(poor)
    if n < LEAST_POOR:
        return None
    last = np.sort(values[poor])[to_catch(n) - 1]
    above = values[values > last]
    return float((last + above.min()) / 2) if above.size else float(last) + 1e-6


def evidence(values: np.ndarray, true: np.ndarray, flagged: np.ndarray) -> dict[str, Any]:
    """Rank correlation and error of the estimates, and what the warning catches and wrongly raises."""
    poor = true < POOR
    found = spearman(values, true)
    return {
        "n": len(true),
        "spearman": round(found.rho, 3),
        "spearman_low": round(found.low, 3),
        "spearman_high": round(found.high, 3),
        "mae": round(float(np.abs(values - true).mean()), 4),
        "bias": round(float((values - true).mean()), 4),
        "poor": int(poor.sum()),
        "poor_flagged": int(flagged[poor].sum()),
        "good": int((~poor).sum()),
        "good_flagged": int(flagged[~poor].sum()),
    }


def certainty_plot(path: Path, values: Sequence[float], true: Sequence[float], threshold: float | None) -> None:
    """True Dice against the estimate, with the threshold of the warning."""
    figure, axes = pyplot().subplots(figsize=(5.2, 4.2), layout="constrained")
    axes.plot(values, true, ".", color="#0b6b88", alpha=0.6)
    axes.axhline(POOR, linestyle=":", color="#333333", linewidth=1)
    if threshold is not None:
        axes.axvline(threshold, linestyle="--", color="#333333", linewidth=1)
    axes.plot([0, 1], [0, 1], "-", color="#999999", linewidth=1)
    axes.set(xlim=(min(0.5, *values) - 0.02, 1.01), ylim=(min(0.4, *true) - 0.02, 1.01))
    axes.set(xlabel="outline certainty (estimate of Dice)", ylabel="Dice with the expert", title=f"n = {len(values)}")
    save(figure, path)


def table_of(rows: Sequence[Mapping[str, float]], threshold: float | None) -> dict[str, Any]:
    """:func:`evidence` of photos given as {"certainty", "dice"}."""
    values, true = (np.array([row[key] for row in rows]) for key in ("certainty", "dice"))
    return evidence(values, true, values < (threshold or 0.0)) | {"threshold": threshold}
