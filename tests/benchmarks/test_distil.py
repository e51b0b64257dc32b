"""Distillation in one command, on phantoms at a tiny size: teachers first, then a student that names them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from data_tools import VALIDATION, archive
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import distil
import experiments
from compare import Entry

RECIPE = """
name: tiny
description: For tests.
sources:
  - {path: isic2018_train.zip, split: isic2018}
image_size: [32, 64]
epochs: 1
batch_size: 4
hair_bank: 2
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    names = [*(f"p{i}" for i in range(4)), *VALIDATION]
    (tmp_path / "data").mkdir()
    archive(
        tmp_path / "data" / "isic2018_train.zip",
        [{"id": name, "agreement": "0.97", "near_duplicate_of_test": "0"} for name in names],
    )
    return tmp_path / "data"


def test_teachers_are_trained_judged_together_and_named_by_their_student(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distil, "entries", lambda size: {distil.TEACHER: Entry(lambda: nn.Conv2d(3, 1, 3, padding=1))})
    recipe, common = tmp_path / "tiny.yaml", ["--data", str(data), "--device", "cpu"]
    recipe.write_text(RECIPE)
    begun = experiments.main(
        [str(recipe), *common, "--out", str(tmp_path / "a.jsonl"), "--keep", str(tmp_path / "start")]
    )
    assert not begun[0]["failed"]
    (start,) = (tmp_path / "start").glob("*.safetensors")
    command = [str(recipe), *common, "--out", str(tmp_path / "b.jsonl"), "--keep", str(tmp_path / "kept")]
    command += ["--teachers", "2", "--teacher-minutes", "1e-6", "--minutes", "1e-6"]
    with pytest.raises(SystemExit):
        distil.main(command)  # this recipe starts from random values
    rows = distil.main([*command, "--set", f"start_from={start}"])
    assert [json.loads(line)["what"] for line in (tmp_path / "b.jsonl").read_text().splitlines()] == [
        row["what"] for row in rows
    ]
    together, student = rows
    assert together["what"].endswith(f"and 2 {distil.TEACHER}s")
    assert 0 <= together["sets"]["isic2018_validation"]["iou"]["mean"] <= 1
    assert not student["failed"]
    (card,) = (tmp_path / "kept").glob("*.json")
    names = [teacher["name"] for teacher in json.loads(card.read_text())["taught_by"]]
    assert names == [start.stem, f"{distil.TEACHER}, seed 1", f"{distil.TEACHER}, seed 2"]
