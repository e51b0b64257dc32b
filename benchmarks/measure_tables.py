"""Tables of ``docs/measurements.md`` from the records that ``measures.py`` and ``quality.py`` left.

    python benchmarks/measure_tables.py docs/measurements.md

Records: ``docs/measurements/<weights>/<photos>/measures.json``, ``docs/measurements/quality.json`` and the package's
``calibration.json``. What stands between the marks ``intervals``, ``certainty``, ``agreement``,
``agreement-isic2018`` and ``asymmetry`` is replaced.
"""

# ruff: noqa: E402  (the checkout is put on the path before it is imported)
from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from experiment_table import between

from dermomamba.measure.catalogue import CATALOGUE
from dermomamba.measure.certainty import FITTED
from dermomamba.measure.intervals import calibration

WEIGHTS = {"derm": "`dermomamba-derm`", "isic2018": "`dermomamba-isic2018`"}
PHOTOS = {
    "validation": "ISIC 2018, 200 validation ids (part of what was fitted on)",
    "ph2": "PH2, open half, never trained on",
    "ham10000": "HAM10000, 212 lesions, never trained or fitted on",
}
Records = Mapping[str, Mapping[str, Mapping[str, Any]]]


def read(folder: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """Every record by weights and photos."""
    return {
        weights: {
            photos: json.loads((folder / weights / photos / "measures.json").read_text(encoding="utf-8"))
            for photos in PHOTOS
        }
        for weights in WEIGHTS
    }


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _line(*cells: object) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def _head(*cells: str) -> list[str]:
    return [_line(*cells), "|---" * len(cells) + "|"]


def intervals(records: Records, fits: Mapping[str, Mapping[str, Any]]) -> str:
    """How often the 90 % interval of the area holds the expert's."""
    lines = _head("weights", "photos", "covers the expert's area", 'without those flagged "Check this outline"')
    for weights, found in records.items():
        fit = fits[weights]
        lines.append(_line(WEIGHTS[weights], "fitted", f"{_percent(fit['coverage_fitted'])} of {fit['n']}", ""))
        held = f"{_percent(fit['coverage'])} of {fit['n']}"
        lines.append(_line("", "the same, ten-fold cross-validated", held, ""))
        for photos, label in PHOTOS.items():
            covered = found[photos]["area_interval_coverage"]
            cells = [f"{_percent(covered[k]['share'])} of {covered[k]['n']}" for k in ("all", "not_flagged")]
            lines.append(_line("", label, *cells))
    return "\n".join(lines)


def _certain(row: Mapping[str, Any]) -> tuple[object, ...]:
    rho = f"{row['spearman']:.2f} ({row['spearman_low']:.2f} to {row['spearman_high']:.2f})"
    caught = f"{row['poor_flagged']} of {row['poor']}"
    share = row["good_flagged"] / row["good"] if row["good"] else math.nan
    false = f"{row['good_flagged']} of {row['good']} ({100 * share:.0f} %)"
    return row["n"], rho, f"{row['mae']:.3f}", f"{row['bias']:+.3f}", caught, false


def certainty(records: Records, fits: Mapping[str, Mapping[str, Any]], quality: Mapping[str, Any]) -> str:
    """How well the certainty foretells Dice, and what the warning catches."""
    head = ("weights", "photos", "n", "Spearman with Dice (95 %)", "mean error", "bias")
    lines = _head(*head, "Dice < 0.7: flagged", "others: flagged (false alarms)")
    for weights, found in records.items():
        fit = fits[weights][FITTED]
        lines.append(_line(WEIGHTS[weights], "ISIC and HAM10000 validation, fitted", *_certain(fit["fitted"])))
        lines.append(_line("", "the same, ten-fold cross-validated", *_certain(fit["cross_validated"])))
        lines += [_line("", label, *_certain(found[photos][FITTED])) for photos, label in PHOTOS.items()]
        if weights == "isic2018":  # the study's photos were learnt from by the other weights
            judged = quality["shipped"]["HAM10000, all"]
            rho = "{:.2f} ({:.2f} to {:.2f})".format(*judged["spearman"])
            caught, false = judged["caught"], judged["false_alarms"]
            alarms = f"{false['hits']} of {false['n']} ({100 * false['share']:.0f} %)"
            cells = (f"{caught['hits']} of {caught['n']}", alarms)
            label = f"HAM10000, {judged['n']} other lesions, never trained or fitted on (quality.py)"
            lines.append(_line("", label, judged["n"], rho, f"{judged['mae']:.3f}", "", *cells))
    return "\n".join(lines)


def _pair(row: Mapping[str, Any] | None) -> tuple[str, str]:
    """Bias with its limits, and ICC; ratios from 100 x logarithms where the measure is relative."""
    if row is None:
        return "", ""
    numbers = [row[key] for key in ("bias", "lower", "upper")]
    if row["unit"] == "%":
        bias, low, high = (f"×{math.exp(number / 100):.2f}" for number in numbers)
    else:
        bias, low, high = f"{numbers[0]:+.3f}", f"{numbers[1]:+.2f}", f"{numbers[2]:+.2f}"
    return f"{bias} ({low} to {high})", f"{row['icc']:.2f}"


def agreement(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Bias, limits of agreement and ICC of every measure."""
    names = {"validation": "validation", "ph2": "PH2", "ham10000": "HAM10000"}
    head = [cell for name in names.values() for cell in (f"{name}: bias (limits)", "ICC")]
    lines = _head("measure", *head)
    for name, entry in CATALOGUE.items():
        rows = [found[photos]["agreement"].get(name) for photos in names]
        if any(rows):
            lines.append(_line(entry.label, *(cell for row in rows for cell in _pair(row))))
    return "\n".join(lines)


def asymmetry(found: Mapping[str, Any]) -> str:
    """Rank correlation of the asymmetries with the experts' score."""
    lines = _head("index", *(f"{who}: Spearman (95 % interval)" for who in ("predicted", "expert's outline")))
    for name in found["predicted"]:
        cells = [
            f"{row['rho']:.2f} ({row['low']:.2f} to {row['high']:.2f}), n = {row['n']}"
            for row in (found["predicted"][name], found["expert"][name])
        ]
        lines.append(_line(CATALOGUE[name].label, *cells))
    return "\n".join(lines)


def tables(records: Records, quality: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Mark and text of every table."""
    fits = {weights: calibration(found["validation"]["weights_sha256"]) for weights, found in records.items()}
    yield "intervals", intervals(records, fits)
    yield "certainty", certainty(records, fits, quality)
    yield "agreement", agreement(records["derm"])
    yield "agreement-isic2018", agreement(records["isic2018"])
    yield "asymmetry", asymmetry(records["derm"]["ph2"]["asymmetry"])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("document", type=Path)
    parser.add_argument("--records", type=Path, default=ROOT / "docs" / "measurements")
    options = parser.parse_args(arguments)
    quality = json.loads((options.records / "quality.json").read_text(encoding="utf-8"))
    for mark, text in tables(read(options.records), quality):
        between(options.document, mark, text)


if __name__ == "__main__":
    main()
