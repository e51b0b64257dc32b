"""Calibration of the intervals on validation photos: split conformal, normalised by the spread over a threshold sweep.

Vovk, Gammerman, Shafer 2005, Algorithmic Learning in a Random World; Lei et al. 2018, J Am Stat Assoc 113:1094-1111,
doi 10.1080/01621459.2017.1307116. The coverage that is reported comes from ten-fold cross-validation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from measure_data import numbers

from dermomamba.measure import intervals, measure
from dermomamba.measure.assemble import repeatable_values
from dermomamba.measure.catalogue import CATALOGUE
from dermomamba.measure.lesion import Lesion
from dermomamba.postprocess import clean_mask

SWEEPS = ((0.4, 0.6), (0.25, 0.75), (0.1, 0.9))
LEVEL, FOLDS, LEAST_PHOTOS = 0.9, 10, 40
ALWAYS = ("area", "area_fraction")
INTERVALS = tuple(name for name, entry in CATALOGUE.items() if entry.family in ("area", "size", "border", "texture"))


@dataclass(frozen=True)
class Swept:
    """One measure of one photo: predicted, at the two other thresholds, and the expert's."""

    value: float
    others: tuple[float, ...]
    expert: float


def swept(
    probability: np.ndarray, truth: np.ndarray, sweeps: Sequence[tuple[float, float]] = SWEEPS
) -> dict[tuple[float, float], dict[str, Swept]]:
    """The repeatable measures of a photo wherever the page would show an interval, for each sweep.

    The expert's area counts even where the expert's outline is cut by the frame: the page cannot know that.
    """
    predicted, records = numbers(measure(probability)), measure(truth)
    expert = numbers(records) | {n: float(records[n].value or 0.0) for n in ALWAYS if records[n].value}
    cleaned = clean_mask(probability)
    bordered = "border_irregularity" in predicted

    def values_of(one: Lesion) -> dict[str, float]:
        return repeatable_values(one, probability.size, bordered)

    out: dict[tuple[float, float], dict[str, Swept]] = {sweep: {} for sweep in sweeps}
    for sweep in sweeps if "area" in predicted else ():
        settings = {"t_low": sweep[0], "t_high": sweep[1]}
        found = intervals.sweep(probability, cleaned.mask, 0.5, True, values_of, settings)
        for name in INTERVALS:
            others = tuple(one[name] for one in found if name in one)
            if others and name in predicted and name in expert:
                out[sweep][name] = Swept(predicted[name], others, expert[name])
    return out


def reach_and_miss(name: str, rows: Sequence[Swept]) -> tuple[np.ndarray, np.ndarray]:
    """For each photo the spread over the sweep, and the signed miss of the expert's value (log, or own unit)."""
    spread = np.array([intervals.spread(name, [row.value, *row.others]) for row in rows])
    if name in intervals.ADDITIVE:
        return spread, np.array([row.expert - row.value for row in rows])
    return spread, np.array([math.log(max(row.expert, 1e-6) / max(row.value, 1e-6)) for row in rows])


def fit(spread: np.ndarray, miss: np.ndarray, floor: float, level: float = LEVEL) -> dict[str, float]:
    """Factors whose interval covers ``level`` of the misses: conformal quantiles of miss / (spread + floor)."""
    score = np.sort(miss / (spread + floor))
    n = len(score)
    tail = max(math.floor((n + 1) * (1 - level) / 2) - 1, 0)
    return {"q_low": min(float(score[tail]), 0.0), "q_high": max(float(score[n - 1 - tail]), 0.0), "floor": floor}


def covered(fitted: Mapping[str, Any], spread: np.ndarray, miss: np.ndarray) -> np.ndarray:
    """Which misses lie within the interval, (n,) bool."""
    reach = spread + fitted["floor"]
    return (miss >= fitted["q_low"] * reach) & (miss <= fitted["q_high"] * reach)


def calibrate(found: Mapping[tuple[float, float], Sequence[Mapping[str, Swept]]], command: str) -> dict[str, Any]:
    """Fit every measure; the sweep and floors are those with the shortest mean interval of the area.

    Returns:
        The content of ``calibration.json``; ``coverage`` is that of the area over held-out folds.
    """
    best = min(
        ((sweep, *_choose("area", [r["area"] for r in rows if "area" in r])) for sweep, rows in found.items()),
        key=lambda option: option[2],
    )
    sweep = best[0]
    measures: dict[str, dict[str, Any]] = {}
    for name in INTERVALS:
        rows = [row[name] for row in found[sweep] if name in row]
        if len(rows) >= LEAST_PHOTOS:
            fitted, _, coverage = _choose(name, rows)
            within = float(covered(fitted, *reach_and_miss(name, rows)).mean())
            measures[name] = {key: round(value, 5) for key, value in fitted.items()} | {
                "n": len(rows),
                "coverage": round(coverage, 3),
                "coverage_fitted": round(within, 3),
            }
    return {
        "method": "split conformal, normalised by half the log range between the outlines at t_low and t_high",
        "calibrated": True,
        "level": LEVEL,
        "t_low": sweep[0],
        "t_high": sweep[1],
        "n": measures["area"]["n"],
        "coverage": measures["area"]["coverage"],
        "coverage_fitted": measures["area"]["coverage_fitted"],
        "command": command,
        "measures": measures,
    }


def _choose(name: str, rows: Sequence[Swept]) -> tuple[dict[str, float], float, float]:
    """The fit with the shortest mean interval over three floors, that length, and its held-out coverage."""
    spread, miss = reach_and_miss(name, rows)
    options = []
    for floor in (max(float(np.quantile(spread, q)), 1e-4) * k for q, k in ((0.5, 0.5), (0.5, 2.0), (0.9, 2.0))):
        fitted = fit(spread, miss, floor)
        length = float(((fitted["q_high"] - fitted["q_low"]) * (spread + floor)).mean())
        options.append((length, floor, fitted))
    length, floor, fitted = min(options, key=lambda option: option[0])
    fold = np.random.default_rng(0).permutation(len(rows)) % FOLDS
    inside = np.zeros(len(rows), bool)
    for k in range(FOLDS):
        inside[fold == k] = covered(fit(spread[fold != k], miss[fold != k], floor), spread[fold == k], miss[fold == k])
    return fitted, length, float(inside.mean())
