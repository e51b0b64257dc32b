"""The tables of docs/measurements.md: what stands there is what the records say."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import measure_tables

from dermomamba import weights

ROOT = Path(__file__).parents[2]
RECORDS = ROOT / "docs" / "measurements"
DOCUMENT = ROOT / "docs" / "measurements.md"


def between(text: str, mark: str) -> str:
    return text.partition(f"<!-- {mark} -->\n")[2].partition(f"\n<!-- /{mark} -->")[0]


def test_the_document_holds_the_tables_of_the_records() -> None:
    quality = json.loads((RECORDS / "quality.json").read_text())
    text = DOCUMENT.read_text()
    for mark, table in measure_tables.tables(measure_tables.read(RECORDS), quality):
        assert between(text, mark) == table, mark


def test_the_records_are_of_the_shipped_weights() -> None:
    for name, found in measure_tables.read(RECORDS).items():
        assert {one["weights_sha256"] for one in found.values()} == {weights.load(f"dermomamba-{name}").sha256}


def test_a_relative_bias_is_a_ratio_and_an_absolute_one_a_difference() -> None:
    row = {"bias": 10.0, "lower": -20.0, "upper": 40.0, "icc": 0.876, "unit": "%"}
    assert measure_tables._pair(row) == ("×1.11 (×0.82 to ×1.49)", "0.88")
    row = {"bias": -0.05, "lower": -0.5, "upper": 0.4, "icc": 0.1, "unit": "ratio"}
    assert measure_tables._pair(row) == ("-0.050 (-0.50 to +0.40)", "0.10")
    assert measure_tables._pair(None) == ("", "")


def test_shares_of_the_warning_by_hand() -> None:
    row = {"n": 50, "spearman": 0.5, "spearman_low": 0.25, "spearman_high": 0.75, "mae": 0.04, "bias": -0.002}
    row |= {"poor": 10, "poor_flagged": 8, "good": 40, "good_flagged": 6}
    assert measure_tables._certain(row) == (50, "0.50 (0.25 to 0.75)", "0.040", "-0.002", "8 of 10", "6 of 40 (15 %)")


def test_a_document_without_marks_is_refused(tmp_path: Path) -> None:
    document = tmp_path / "measurements.md"
    document.write_text("nothing\n")
    with pytest.raises(ValueError, match="no place between"):
        measure_tables.main([str(document)])
    assert document.read_text() == "nothing\n"
