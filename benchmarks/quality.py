"""Would several features foretell an outline's Dice better than the shipped outline certainty? Fitted and judged apart.

    python benchmarks/quality.py ../shared/data --cache /tmp/quality --predict 4 --ham 800     # the network, once
    python benchmarks/quality.py ../shared/data --cache /tmp/quality --json quality.json       # fits, no network

Photos: the 200 ISIC validation ids, HAM10000 with one photo a lesion, the open half of PH2. The 300 lesions of HAM10000
on which calibrations are fitted are left out; weights that were trained on HAM10000 need other photos. Fitted on ISIC
and one half of the HAM10000 lesions, judged on the other half and on PH2. Each candidate is a ridge regression of Dice
on standardised features; its warning threshold is the lowest below which 80 % of further outlines with a Dice below 0.7
are expected (``measure_certainty.to_catch``), by ten-fold cross-validation on the photos it was fitted on.
"""

# ruff: noqa: E402  (the checkout is put on the path before it is imported)
from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from scipy.stats import beta

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from measure_certainty import POOR, to_catch
from quality_cache import Seen, fill, load, sets

from dermomamba.evaluation.statistics import spearman
from dermomamba.measure.certainty import FITTED, estimate, expected_dice
from dermomamba.measure.intervals import calibration
from dermomamba.postprocess import clean_mask
from dermomamba.resample import to_photo
from dermomamba.weights import load as load_weights

FOLDS, PENALTY = 10, 3.0
CANDIDATES: dict[str, tuple[str, ...]] = {
    "soft Dice": ("soft_dice",),
    "entropy": ("entropy",),
    "soft Dice, outside, inside, solidity, area": ("soft_dice", "outside", "inside", "solidity", "area"),
    "the same and contrast, entropy, fragments, frame": (
        "soft_dice", "outside", "inside", "solidity", "area", "contrast", "entropy", "fragments", "frame",
    ),
    "flips": ("flips",),
    "soft Dice, flips": ("soft_dice", "flips"),
    "all with flips": (
        "soft_dice", "outside", "inside", "solidity", "area", "contrast", "entropy", "fragments", "frame", "flips",
    ),
}  # fmt: skip


def features(seen: Seen) -> dict[str, float] | None:
    """What the prediction says of itself, None without an outline.

    Returns:
        ``soft_dice``: see ``certainty.expected_dice``; ``inside``: mean probability in the outline; ``outside``: log of
        the probability outside over the outlined area; ``entropy``: log of the map's summed binary entropy over the
        area; ``solidity``: area over that of its convex hull; ``area``: log of the share of the photo; ``contrast``:
        log(1 + CIELAB distance of lesion and ring); ``fragments``: log(1 + dropped area over area), at most log 2;
        ``frame``: 1 where it touches the frame; ``flips``: log of the mean disagreement (1 - Dice) of the four
        mirrorings with their mean, NaN where they were not predicted; ``dice``: the truth.
    """
    probability = to_photo(seen.variants[0], seen.size)
    cleaned = clean_mask(probability)
    mask, marked = cleaned.mask, int(cleaned.mask.sum())
    if not marked:
        return None
    p = np.clip(probability, 1e-6, 1 - 1e-6)
    entropy = float(-(p * np.log2(p) + (1 - p) * np.log2(1 - p)).sum(dtype=np.float64))
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    hull = max(cv2.contourArea(cv2.convexHull(contour)) for contour in contours)
    edge = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    return {
        "soft_dice": expected_dice(probability, mask),
        "inside": float(probability[mask].mean()),
        "outside": math.log(float(probability[~mask].sum(dtype=np.float64)) / marked + 1e-6),
        "entropy": math.log(entropy / marked + 1e-6),
        "solidity": min(1.0, marked / max(hull, 1.0)),
        "area": math.log(marked / mask.size),
        "contrast": math.log1p(_contrast(seen)),
        "fragments": math.log1p(min(1.0, cleaned.dropped_px / marked)),
        "frame": float(edge.any()),
        "flips": _flips(seen.variants),
        "dice": seen.dice,
    }


def _contrast(seen: Seen) -> float:
    """CIELAB distance of the means of lesion and ring, at the network's size."""
    mask = clean_mask(seen.variants[0]).mask
    reach = max(3, round(0.15 * math.sqrt(mask.sum())))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    ring = cv2.dilate(mask.astype(np.uint8), disc).astype(bool) & ~mask
    if not (mask.any() and ring.any()):
        return 0.0
    lab = cv2.cvtColor(seen.photo.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    return float(np.linalg.norm(lab[mask].mean(0) - lab[ring].mean(0)))


def _flips(variants: np.ndarray) -> float:
    if np.isnan(variants).any():
        return math.nan
    together = clean_mask(variants.mean(axis=0)).mask
    agreement = []
    for one in (clean_mask(variant).mask for variant in variants):
        agreement.append(2 * (one & together).sum() / max(int(one.sum() + together.sum()), 1))
    return math.log(1.005 - float(np.mean(agreement)))


@dataclass(frozen=True)
class Fitted:
    """A ridge regression on standardised features: ``intercept + sum(slope (x - mean) / std)``."""

    names: tuple[str, ...]
    mean: np.ndarray
    std: np.ndarray
    slope: np.ndarray
    intercept: float

    def __call__(self, rows: Sequence[Mapping[str, float]]) -> np.ndarray:
        """The Dice to expect of each row, in [0, 1]."""
        return np.clip((_matrix(rows, self.names) - self.mean) / self.std @ self.slope + self.intercept, 0, 1)


def fit(rows: Sequence[Mapping[str, float]], names: tuple[str, ...]) -> Fitted:
    """Least squares with a penalty on the slopes; the intercept is free."""
    x, y = _matrix(rows, names), np.array([row["dice"] for row in rows])
    mean, std = x.mean(0), x.std(0) + 1e-9
    z = (x - mean) / std
    slope = np.linalg.solve(z.T @ z + PENALTY * np.eye(len(names)), z.T @ (y - y.mean()))
    return Fitted(names, mean, std, slope, float(y.mean()))


def cross_validated(rows: Sequence[Mapping[str, float]], names: tuple[str, ...]) -> np.ndarray:
    """Each row's estimate by a fit that has not seen it."""
    fold = np.random.default_rng(0).permutation(len(rows)) % FOLDS
    out = np.zeros(len(rows))
    for k in range(FOLDS):
        held = [row for row, f in zip(rows, fold, strict=True) if f == k]
        out[fold == k] = fit([row for row, f in zip(rows, fold, strict=True) if f != k], names)(held)
    return out


def warning_threshold(values: np.ndarray, true: np.ndarray) -> float:
    """The lowest threshold below which 80 % of further poor outlines are expected; 0 where none is poor."""
    poor = np.sort(values[true < POOR])
    return float(np.nextafter(poor[to_catch(len(poor)) - 1], 2)) if len(poor) else 0.0


def _matrix(rows: Sequence[Mapping[str, float]], names: tuple[str, ...]) -> np.ndarray:
    return np.array([[row[name] for name in names] for row in rows])


def share(hits: int, n: int) -> dict[str, Any]:
    """A share with its exact 95 % interval (Clopper and Pearson 1934, Biometrika 26:404-413)."""
    low = float(beta.ppf(0.025, hits, n - hits + 1)) if hits else 0.0
    high = float(beta.ppf(0.975, hits + 1, n - hits)) if hits < n else 1.0
    return {"hits": hits, "n": n, "share": hits / n if n else math.nan, "low": low, "high": high}


def judged(values: np.ndarray, true: np.ndarray, threshold: float) -> dict[str, Any]:
    """Rank correlation, mean error, and what the warning catches and wrongly raises."""
    poor, flagged, found = true < POOR, values < threshold, spearman(values, true)
    return {
        "n": len(true),
        "spearman": [round(v, 3) for v in (found.rho, found.low, found.high)],
        "mae": round(float(np.abs(values - true).mean()), 4),
        "caught": share(int(flagged[poor].sum()), int(poor.sum())),
        "false_alarms": share(int(flagged[~poor].sum()), int((~poor).sum())),
    }


def study(photos: Mapping[str, Sequence[Mapping[str, float]]], shipped: Mapping[str, float]) -> dict[str, Any]:
    """Fit every candidate and judge it, and the shipped estimate, on photos that it was not fitted on.

    Args:
        photos: rows of ``features`` for "isic", "ham" and "ph2".
        shipped: line and threshold of these weights' calibration.
    """
    order = np.random.default_rng(0).permutation(len(photos["ham"]))
    half = {0: [photos["ham"][i] for i in order[::2]], 1: [photos["ham"][i] for i in order[1::2]]}
    judges = {"HAM10000, judge half": half[1], "HAM10000, all": photos["ham"], "PH2": photos["ph2"]}
    result: dict[str, Any] = {"shipped": {}}
    for name, rows in judges.items():
        if rows:
            values = np.array([estimate(row["soft_dice"], shipped) for row in rows])
            result["shipped"][name] = judged(values, _true(rows), shipped.get("threshold") or 0.0)
    learned = [*photos["isic"], *half[0]]
    for label, names in CANDIDATES.items():
        usable = [row for row in learned if not np.isnan([row[name] for name in names]).any()]
        if len(usable) < 0.9 * len(photos["isic"]):
            continue
        held = cross_validated(usable, names)
        threshold, fitted = warning_threshold(held, _true(usable)), fit(usable, names)
        entry = {"fitted on, cross-validated": judged(held, _true(usable), threshold)}
        for name, rows in judges.items():
            seen = [row for row in rows if not np.isnan([row[n] for n in names]).any()]
            if seen and name != "HAM10000, all":
                entry[name] = judged(fitted(seen), _true(seen), threshold)
        result[label] = entry
    return result


def _true(rows: Sequence[Mapping[str, float]]) -> np.ndarray:
    return np.array([row["dice"] for row in rows])


def table(result: Mapping[str, Any]) -> str:
    """The study as Markdown."""
    lines = [
        "| estimate | photos | n | Spearman (95 %) | mean error | Dice < 0.7: flagged (95 %) | false alarms (95 %) |"
    ]
    lines.append("|---" * 7 + "|")
    for label, entry in result.items():
        for name, m in entry.items():
            cells = [
                f"{v['hits']} of {v['n']} = {v['share']:.0%} ({v['low']:.0%} to {v['high']:.0%})"
                for v in (m["caught"], m["false_alarms"])
            ]
            rho = f"{m['spearman'][0]:.2f} ({m['spearman'][1]:.2f} to {m['spearman'][2]:.2f})"
            lines.append(f"| {label} | {name} | {m['n']} | {rho} | {m['mae']:.3f} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Predict what is missing, fit, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of the ZIPs")
    parser.add_argument("--cache", type=Path, required=True, help="folder for the predictions")
    parser.add_argument("--predict", type=int, choices=(1, 4), help="predict with so many mirrorings first")
    parser.add_argument("--ham", type=int, default=800, help="photos of HAM10000 (default 800)")
    parser.add_argument("--weights", default="dermomamba-isic2018")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    if options.predict:
        from dermomamba.predictor import Predictor

        predictor = Predictor.load(options.weights)
        for name, pairs in sets(options.data, options.ham).items():
            fill(options.cache / name, pairs, predictor, options.predict)
    photos = {}
    for name in ("isic", "ham", "ph2"):
        rows = (features(seen) for seen in load(options.cache / name))
        photos[name] = [row for row in rows if row is not None]
    if not (photos["isic"] and photos["ham"]):
        parser.error(f"nothing is predicted in {options.cache} yet: run it with --predict 1 first")
    result = study(photos, calibration(load_weights(options.weights).sha256)[FITTED])
    print(table(result))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return result


if __name__ == "__main__":
    main()
