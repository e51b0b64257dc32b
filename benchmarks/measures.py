"""Evidence for the measures: agreement with experts' outlines, intervals, asymmetry on PH2, and stability.

    python benchmarks/measures.py ../shared/data/isic2018_train.zip --calibrate --write    # the 200 validation ids
    python benchmarks/measures.py ../shared/data/isic2018_train.zip --ids isic2018_validation \\
        --weights dermomamba-derm --out docs/measurements/derm/validation --write          # agreement
    python benchmarks/measures.py ../shared/data/ph2_half.zip --out DIR                    # agreement, asymmetry
    python benchmarks/measures.py ../shared/data/ph2_half.zip --stability 20 --only-stability --write

``--calibrate`` fits the intervals (split conformal) and the outline's certainty, both checked by ten-fold
cross-validation, on the fixed validation ids unless ``--ids`` names others; ``--write`` stores its result in
dermomamba/measure/calibration.json, and those of agreement and ``--stability`` in reliability.json. Photos
whose index has an ``aspect`` were squeezed to a square and are measured with the squeeze undone.
"""

# ruff: noqa: E402  (the checkout is put on the path before it is imported)
from __future__ import annotations

import argparse
import csv
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from measure_agreement import agreement, asymmetry, asymmetry_plot, bland_altman_plot
from measure_calibration import SWEEPS, Swept, calibrate, swept
from measure_certainty import certainty_plot, dice, fit_certainty, table_of
from measure_data import Predict, cases, numbers
from measure_stability import stability, stability_plot, unreliable

from dermomamba.learning.partition import read_ids
from dermomamba.measure import measure
from dermomamba.measure.catalogue import CATALOGUE
from dermomamba.measure.certainty import FITTED, NAME, expected_dice
from dermomamba.measure.intervals import calibration
from dermomamba.postprocess import clean_mask

HERE = ROOT / "dermomamba" / "measure"


def main(arguments: Sequence[str] | None = None, predict: Predict | None = None) -> dict[str, Any]:
    """Run what is asked for and return the result that is written to ``measures.json``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="+", help="folders or ZIPs of photos with experts' masks")
    parser.add_argument("--weights", default="dermomamba-isic2018")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--ids", nargs="+", help="lists of ids, shipped or files (--calibrate: isic2018_validation)")
    parser.add_argument("--limit", type=int, help="at most this many photos of each source")
    parser.add_argument("--out", type=Path, help="folder for measures.json and the plots")
    parser.add_argument("--csv", type=Path, help="file for the numbers of each photo")
    parser.add_argument("--calibrate", action="store_true", help="fit the intervals")
    parser.add_argument("--stability", type=int, default=0, metavar="N", help="disturb N photos of each source")
    parser.add_argument("--only-stability", action="store_true", help="leave out the agreement")
    parser.add_argument("--write", action="store_true", help="store the results that the page uses in the package")
    parser.add_argument("--package", type=Path, default=HERE, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    sha256 = ""
    if predict is None:
        predict, sha256 = _predictor(options.weights, options.device)
    command = "python benchmarks/measures.py " + " ".join(
        map(str, arguments if arguments is not None else sys.argv[1:])
    )
    ids = options.ids or (["isic2018_validation"] if options.calibrate else None)
    keep = None if ids is None else set().union(*map(read_ids, ids))
    result: dict[str, Any] = {"command": command, "weights": options.weights, "weights_sha256": sha256}
    if options.calibrate:
        result["calibration"] = _calibrate(options, predict, keep, command)
        result["calibration"] |= {"weights": options.weights, "weights_sha256": sha256}
        if options.write:
            _store(options.package / "calibration.json", {sha256: result["calibration"]})
    elif not options.only_stability:
        result |= _agree(options, predict, keep, sha256)
        if options.write:
            _store(options.package / "reliability.json", agreement_part(result))
    if options.stability:
        table = stability(cases(options.data, keep, options.stability), predict)
        result["stability"] = table
        if options.out:
            options.out.mkdir(parents=True, exist_ok=True)
            stability_plot(options.out / "stability.png", table)
        if options.write:
            found = {
                "method": "noise under rescaling, rotation, JPEG and one-pixel dilation over spread between lesions",
                "n": max(row["n"] for row in table.values()),
                "command": command,
                "unreliable": unreliable(table),
                "measures": {name: round(row["ratio"], 3) for name, row in table.items()},
            }
            _store(options.package / "reliability.json", found)
    print(json.dumps(result, indent=1, default=float))
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        _write_json(options.out / "measures.json", result)
    return result


def _calibrate(options: argparse.Namespace, predict: Predict, keep: set[str] | None, command: str) -> dict[str, Any]:
    found: dict[tuple[float, float], list[dict[str, Swept]]] = {sweep: [] for sweep in SWEEPS}
    expected, true = [], []
    for case in cases(options.data, keep, options.limit):
        probability = predict(case.image)
        for sweep, rows in swept(probability, case.truth, SWEEPS).items():
            found[sweep].append(rows)
        mask = clean_mask(probability).mask
        if mask.any():
            expected.append(expected_dice(probability, mask))
            true.append(dice(mask, case.truth >= 0.5))
    return calibrate(found, command) | {FITTED: fit_certainty(expected, true)}


def _agree(options: argparse.Namespace, predict: Predict, keep: set[str] | None, sha256: str) -> dict[str, Any]:
    ids, predicted, expert, scores, inside, sure = [], [], [], [], [], []
    for case in cases(options.data, keep, options.limit):
        probability = predict(case.image)
        records = measure(probability, image=case.image, weights_sha256=sha256)
        true = measure(case.truth, image=case.image)
        ids.append(case.id)
        predicted.append(numbers(records))
        expert.append(numbers(true))
        scores.append(case.row.get("asymmetry", ""))
        span, area = records["area"].interval, true["area"].value
        if span is not None and area is not None:
            checked = any(state.code == "check_outline" for state in records.states)
            inside.append((span[0] <= area <= span[1], checked))
        if NAME in predicted[-1]:
            overlap = dice(clean_mask(probability).mask, case.truth >= 0.5)
            sure.append({"certainty": predicted[-1][NAME], "dice": overlap})
    table = agreement(predicted, expert)
    result: dict[str, Any] = {
        "n": len(ids),
        "not_measured": sum("area" not in p for p in predicted),
        "area_interval_coverage": {
            "all": _share([within for within, _ in inside]),
            "not_flagged": _share([within for within, checked in inside if not checked]),
        },
        "agreement": table,
    }
    threshold = (calibration(sha256).get(FITTED) or {}).get("threshold")
    if len(sure) > 1:
        result[FITTED] = table_of(sure, threshold)
    scored = any(score != "" for score in scores)
    if scored:
        result["asymmetry"] = {"predicted": asymmetry(scores, predicted), "expert": asymmetry(scores, expert)}
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        bland_altman_plot(options.out / "agreement.png", predicted, expert, table)
        if scored:
            asymmetry_plot(options.out / "asymmetry.png", scores, predicted)
        if sure:
            certainty, overlaps = ([row[key] for row in sure] for key in ("certainty", "dice"))
            certainty_plot(options.out / "certainty.png", certainty, overlaps, threshold)
    if options.csv:
        with options.csv.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["id", *(f"{who}_{name}" for name in CATALOGUE for who in ("predicted", "expert"))])
            for i, p, e in zip(ids, predicted, expert, strict=True):
                writer.writerow([i, *(side.get(name, "") for name in CATALOGUE for side in (p, e))])
    return result


def agreement_part(result: Mapping[str, Any]) -> dict[str, Any]:
    """What the package keeps of an agreement run: ICC(2,1) and photos of each measure."""
    rows = {name: {"icc": round(row["icc"], 5), "n": row["n"]} for name, row in result["agreement"].items()}
    return {"agreement": {"command": result["command"], "weights_sha256": result["weights_sha256"], "measures": rows}}


def _share(inside: Sequence[bool]) -> dict[str, Any]:
    return {"n": len(inside), "share": float(np.mean(inside)) if inside else None}


def _predictor(weights: str, device: str) -> tuple[Predict, str]:
    from dermomamba.predictor import Predictor

    predictor = Predictor.load(weights, device=device)
    return lambda image: predictor(image).probability, predictor.weights.sha256


def _store(path: Path, part: Mapping[str, Any]) -> None:
    """Replace some keys of a JSON file and leave the others."""
    held = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    _write_json(path, held | dict(part))


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content, indent=2, default=float) + "\n", encoding="utf-8")
    os.replace(part, path)


if __name__ == "__main__":
    main()
