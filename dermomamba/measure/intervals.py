"""Intervals: how far a measure moves when the outline is drawn a little wider or narrower, and how that is calibrated.

The outline is drawn again at two other probabilities (and on test-time variants, when given). Uncalibrated, the
interval is the range of the values found. ``benchmarks/measures.py --calibrate`` compares predicted with expert
outlines on validation photos and stores for each measure two factors and a floor, so that
[v exp(q_low (s + floor)), v exp(q_high (s + floor))] covers the expert's value in 90 % of photos, where s is half
the log range found: a split-conformal interval normalised by the spread (Lei et al. 2018, JASA 113:1094-1111,
doi 10.1080/01621459.2017.1307116). Measures that may be 0 use differences instead of logarithms.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Any

import cv2
import numpy as np

from dermomamba.measure.contour import bounding_box
from dermomamba.measure.lesion import Lesion, lesion_of
from dermomamba.postprocess import clean_mask

SWEEP_DIAMETER = 400.0  # px: larger lesions are reduced to this for the sweep; sub-pixel outlines lose nothing
ADDITIVE = frozenset({"texture_irregularity"})  # may be 0, so it has no logarithm
BOUNDS: Mapping[str, tuple[float, float]] = {
    "area_fraction": (0.0, 1.0),
    "border_irregularity": (1.0, np.inf),
    "structure_irregularity": (1.0, np.inf),
    "solidity": (0.0, 1.0),
    "convexity": (0.0, 1.0),
}

Values = Mapping[str, float]


@lru_cache(maxsize=1)
def _shipped() -> dict[str, dict[str, Any]]:
    """The calibrations of all shipped weights by the weights' sha256 (``calibration.json``), the default's first."""
    return json.loads(files(__package__).joinpath("calibration.json").read_text(encoding="utf-8"))


def calibration(weights_sha256: str = "") -> dict[str, Any]:
    """The calibration of some weights.

    Args:
        weights_sha256: of the weights that gave the probabilities; "" for the default's.

    Returns:
        Their calibration. For weights that have none, intervals are not calibrated (``calibrated`` False, no factors);
        the outline's certainty then keeps the default's line and threshold, without an interval.
    """
    known = _shipped()
    default = next(iter(known.values()))
    if not weights_sha256:
        return default
    if weights_sha256 in known:
        return known[weights_sha256]
    line = {key: default["certainty"][key] for key in ("slope", "intercept", "threshold")}
    return default | {"calibrated": False, "measures": {}, "certainty": line}


def label(settings: Mapping[str, Any], name: str = "area") -> str:
    """What an interval is called beside its number."""
    if settings["calibrated"] and name in settings["measures"]:
        return calibrated_label(settings["level"], settings["measures"][name].get("n", settings["n"]))
    return f"range for outlines at {settings['t_low']:g} to {settings['t_high']:g}, uncalibrated"


def calibrated_label(level: float, photos: int) -> str:
    """What an interval is called that was calibrated on so many photos."""
    return f"{level:.0%} interval, calibrated on {photos} photos".replace("%", " %")


def shifted(threshold: float, reference: float) -> float:
    """The threshold moved by as many log-odds as ``reference`` is from 0.5."""
    odds = np.log(threshold / (1 - threshold)) + np.log(reference / (1 - reference))
    return float(1 / (1 + np.exp(-odds)))


def sweep(
    probability: np.ndarray,
    kept: np.ndarray,
    threshold: float,
    fill_holes: bool,
    values_of: Callable[[Lesion], Values],
    settings: Mapping[str, Any],
    variants: Sequence[np.ndarray] = (),
) -> list[Values]:
    """The measures of the outlines at the two other thresholds and of each variant at its own.

    Args:
        probability: (H, W) float in [0, 1].
        kept: (H, W) bool, the kept region at the threshold.
        threshold: in (0, 1).
        fill_holes: as for the kept region.
        values_of: measures of a lesion in photo pixels.
        settings: ``t_low`` and ``t_high``, as in ``calibration.json``.
        variants: further probability maps of the same photo, (H, W) each.

    Returns:
        One mapping for each outline that exists; fewer when the region vanishes at the higher threshold.
    """
    low, high = shifted(threshold, settings["t_low"]), shifted(threshold, settings["t_high"])
    reach = probability >= low
    for variant in variants:
        reach |= variant >= low
    rows, columns = bounding_box(reach, 4)
    kept = kept[rows, columns]
    diameter = np.sqrt(4 * kept.sum() / np.pi)
    zoom = min(1.0, SWEEP_DIAMETER / diameter)
    found = []
    for field, level in [(probability, low), (probability, high), *((variant, threshold) for variant in variants)]:
        crop = np.ascontiguousarray(field[rows, columns], dtype=np.float32)
        region = kept
        if zoom < 1:
            size = (max(1, round(crop.shape[1] * zoom)), max(1, round(crop.shape[0] * zoom)))
            crop = np.asarray(cv2.resize(crop, size, interpolation=cv2.INTER_AREA), dtype=np.float32)
            region = cv2.resize(kept.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST).astype(bool)
        lesion = lesion_of(crop, same_region(crop, region, level, fill_holes), level, zoom)
        if lesion is not None:
            found.append(values_of(lesion))
    return found


def same_region(probability: np.ndarray, kept: np.ndarray, level: float, fill_holes: bool) -> np.ndarray:
    """The region at another level that shares most pixels with the kept one, (H, W) bool."""
    _, labels = cv2.connectedComponents((probability >= level).astype(np.uint8), connectivity=8)
    shared = np.bincount(labels[kept], minlength=2)
    shared[0] = 0
    if not shared.any():
        return np.zeros_like(kept)
    region = (labels == int(np.argmax(shared))).astype(np.float32)
    return clean_mask(region, 0.5, largest=True, fill_holes=fill_holes).mask


def interval(name: str, value: float, others: Sequence[float], settings: Mapping[str, Any]) -> tuple[float, float]:
    """The interval of one measure; it always contains the value.

    Args:
        name: of the measure.
        value: the measured value.
        others: the same measure of the other outlines.
        settings: the calibration.

    Returns:
        (low, high), in the value's own unit.
    """
    fitted = settings["measures"].get(name) if settings["calibrated"] else None
    everything = [value, *others]
    low, high = min(everything), max(everything)
    if fitted:
        reach = spread(name, everything) + fitted["floor"]
        if name in ADDITIVE:
            low, high = value + fitted["q_low"] * reach, value + fitted["q_high"] * reach
        else:
            low = value * float(np.exp(fitted["q_low"] * reach))
            high = value * float(np.exp(fitted["q_high"] * reach))
    least, most = BOUNDS.get(name, (0.0, np.inf))
    return min(max(low, least), value), max(min(high, most), value)


def spread(name: str, values: Sequence[float]) -> float:
    """Half the range of a measure over the outlines, in logarithms (in its own unit for additive measures)."""
    numbers = np.asarray(values, dtype=float)
    if name not in ADDITIVE:
        numbers = np.log(np.maximum(numbers, 1e-6))
    return float(np.ptp(numbers) / 2)
