"""Does correcting pay? Dice against number of corrections from the network's outline, and against clicks from nothing.

    python benchmarks/corrections.py --ph2 ../shared/data/ph2_half.zip --isic ../shared/data/isic2018_train.zip

PH2 was never trained on. Of ISIC 2018 the fixed validation ids are taken (not trained on; they chose the epoch), every
second one. Photos are looked at with a long side of 256 px at most. Writes corrections.json and corrections.png.
`annotator.py` says what counts as a correction and what is flattered by it.
"""

# ruff: noqa: E402  (the checkout is put on the path before it is imported)
from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from annotator import BRUSH, dabs, needed, polygons, regions
from measure_agreement import pyplot, save
from measure_data import cases

from dermomamba.evaluation.statistics import bootstrap_intervals
from dermomamba.learning.partition import read_ids
from dermomamba.postprocess import clean_mask

LONG_SIDE = 256
CORRECTIONS, CLICKS = 40, 40
GOALS = (0.90, 0.95, 0.97)
NAMES = {"ph2": "PH2", "isic": "ISIC 2018 validation"}
Outline = Callable[[np.ndarray], np.ndarray]  # (H, W, 3) uint8 -> (H, W) float32, the probability


def looked_at(photo: np.ndarray, truth: np.ndarray, probability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The network's and the expert's outline with a long side of at most LONG_SIDE px, (h, w) bool each."""
    height, width = truth.shape
    factor = min(1.0, LONG_SIDE / max(height, width))
    size = (round(width * factor), round(height * factor))
    small = [cv2.resize(m, size, interpolation=cv2.INTER_AREA) for m in (probability, truth.astype(np.float32))]
    return clean_mask(small[0]).mask, small[1] >= 0.5


def simulate(found: Iterator[tuple[np.ndarray, np.ndarray]]) -> dict[str, Any]:
    """All models on every photo, and what they need for each goal.

    Args:
        found: pairs of the network's and the expert's outline, (h, w) bool.

    Returns:
        Curves with 95 % bootstrap intervals over photos, needs, and how the network started.
    """
    rows: dict[str, list[list[float]]] = {"dab": [], "region": [], "polygon": []}
    for outline, truth in found:
        rows["dab"].append(dabs(outline, truth, CORRECTIONS))
        rows["region"].append(regions(outline, truth, CORRECTIONS))
        rows["polygon"].append(polygons(truth, CLICKS))
    result: dict[str, Any] = {"photos": len(rows["dab"]), "curves": {}, "needs": {}}
    for model, reached in rows.items():
        intervals = bootstrap_intervals(np.array(reached))
        result["curves"][model] = [{"mean": i.mean, "low": i.low, "high": i.high} for i in intervals]
    for goal in GOALS:
        steps = {model: np.array([needed(r, goal) for r in reached]) for model, reached in rows.items()}
        result["needs"][f"{goal:.2f}"] = {
            "nothing_to_correct": float((steps["dab"] == 0).mean()),
            **{model: _summary(values) for model, values in steps.items()},
            "dab_fewer_than_polygon": float((steps["dab"] < steps["polygon"]).mean()),
        }
    return result


def _summary(steps: np.ndarray) -> dict[str, float | None]:
    """Median and upper quartile (None where they were not reached), and the share of photos that reached the goal."""
    middle, upper = (float(q) for q in np.quantile(steps, (0.5, 0.75), method="higher"))
    return {
        "median": middle if np.isfinite(middle) else None,
        "upper_quartile": upper if np.isfinite(upper) else None,
        "reached": float(np.isfinite(steps).mean()),
    }


def plot(result: dict[str, Any], path: Path) -> None:
    """Dice against corrections (from the network's outline) and clicks (from nothing), one panel a set."""
    plt = pyplot()
    sets = [name for name in NAMES if name in result]
    figure, axes = plt.subplots(1, len(sets), figsize=(5.2 * len(sets), 4.2), sharey=True, squeeze=False)
    style = {
        "region": ("network, then whole wrong regions", "#0e7490", "-"),
        "dab": (f"network, then touches of a brush ({BRUSH:.0%} of the lesion)", "#b45309", "--"),
        "polygon": ("from nothing, clicks of a polygon", "#475569", ":"),
    }
    for axis, name in zip(axes[0], sets, strict=True):
        for model, (label, colour, dash) in style.items():
            curve = result[name]["curves"][model]
            x = np.arange(len(curve))
            low, mean, high = (np.array([point[key] for point in curve]) for key in ("low", "mean", "high"))
            axis.plot(x, mean, dash, color=colour, label=label)
            axis.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
        axis.set(title=f"{NAMES[name]}, {result[name]['photos']} photos", xlabel="corrections or clicks")
        axis.set(xlim=(0, CLICKS), ylim=(0.8, 1.0))
        axis.grid(alpha=0.3)
    axes[0][0].set_ylabel("mean Dice with the expert's outline")
    axes[0][0].legend(loc="lower right", fontsize=8)
    save(figure, path)


def table(result: dict[str, Any]) -> str:
    """The needs as markdown."""
    lines = [
        "| set | Dice to reach | already there | brush touches | whole regions | polygon clicks | fewer touches |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in (name for name in NAMES if name in result):
        for goal, needs in result[name]["needs"].items():
            cells = [_cell(needs[model]) for model in ("dab", "region", "polygon")]
            lines.append(
                f"| {NAMES[name]} | {goal} | {needs['nothing_to_correct']:.0%} | {' | '.join(cells)} "
                f"| {needs['dab_fewer_than_polygon']:.0%} |"
            )
    return "\n".join(lines)


def _cell(summary: dict[str, Any]) -> str:
    words = ["not reached" if summary[key] is None else f"{summary[key]:.0f}" for key in ("median", "upper_quartile")]
    return f"{words[0]} ({words[1]}; {summary['reached']:.0%})"


def main(arguments: Sequence[str] | None = None, outline: Outline | None = None) -> dict[str, Any]:
    """Run the sets that are given and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ph2", help="ZIP or folder of PH2")
    parser.add_argument("--isic", help="ZIP or folder of ISIC 2018")
    parser.add_argument("--limit", type=int, default=100, help="at most this many photos of ISIC")
    parser.add_argument("--weights", default="dermomamba-isic2018")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "finetuning")
    options = parser.parse_args(arguments)
    weights = options.weights
    if outline is None:
        from dermomamba.predictor import Predictor

        predictor = Predictor.load(options.weights, "cpu")
        weights = f"{predictor.weights.name}, sha256 {predictor.weights.sha256}"
        outline = lambda photo: predictor(photo).probability  # noqa: E731
    used = arguments if arguments is not None else sys.argv[1:]
    result: dict[str, Any] = {
        "command": "python benchmarks/corrections.py " + " ".join(map(str, used)),
        "weights": weights,
        "brush_share": BRUSH,
        "long_side_px": LONG_SIDE,
    }
    sets = {"ph2": (options.ph2, None, None), "isic": (options.isic, "isic2018_validation", options.limit)}
    for name, (source, ids, limit) in sets.items():
        if source is None:
            continue
        began = time.perf_counter()
        keep = None if ids is None else set(read_ids(ids))
        pairs = ((case.image, case.truth) for case in cases([source], keep, limit))
        result[name] = simulate(looked_at(image, truth, outline(image)) for image, truth in pairs)
        print(f"{NAMES[name]}: {result[name]['photos']} photos in {time.perf_counter() - began:.0f} s", file=sys.stderr)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "corrections.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    plot(result, options.out / "corrections.png")
    print(table(result))
    return result


if __name__ == "__main__":
    main()
