"""Packing, running and tabulating experiments, on phantoms at a tiny size."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from data_tools import VALIDATION, archive

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import experiment_table
import experiments
import pack_data

from dermomamba.learning.datasets import load_uint8, read_pairs
from dermomamba.learning.partition import read_ids
from dermomamba.learning.recipe import read_recipe
from dermomamba.learning.training_data import Decoder

HAM_HELD = sorted(read_ids("ham10000_validation"))[0]
HAM_LESION = sorted(read_ids("ham10000_validation_lesions"))[0]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    isic = [{"id": f"p{i}", "agreement": "0.8" if i == 0 else "0.97", "near_duplicate_of_test": "0"} for i in range(4)]
    held = [{"id": name, "agreement": "0.99", "near_duplicate_of_test": "0"} for name in VALIDATION]
    archive(root / "isic2018_train.zip", isic + held)
    ham = [{"id": f"h{i}", "lesion_id": f"L{i // 2}"} for i in range(4)]
    archive(root / "ham10000_1of2.zip", ham)
    archive(
        root / "ham10000_2of2.zip",
        [{"id": HAM_HELD, "lesion_id": "X"}, {"id": "h9", "lesion_id": HAM_LESION}, {"id": "h8", "lesion_id": "L8"}],
    )
    archive(root / "isic2018_train_crops512.zip", isic + held, (64, 64))
    return root


RECIPE = """
name: tiny
description: For tests.
sources:
  - {path: isic2018_train.zip, split: isic2018, share: 1, weigh_by: agreement}
  - {path: ham10000.zip, split: ham10000, share: 1}
  - {path: isic2018_train_crops512.zip, split: isic2018_train, size: [64, 64], window: [0.5, 0.75], share: 1}
image_size: [32, 64]
epochs: 2
epoch_images: 6
batch_size: 3
lovasz_weight: 0.5
surface_weight: 1.0
hair_bank: 2
augment: {ruler: 0.5, constancy: 0.5}
"""


def test_sources_are_split_weighed_and_cropped_as_the_recipe_says(data: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    decoder = Decoder(data)
    loaded = decoder.load(read_recipe(tmp_path / "tiny.yaml"))
    isic, ham, crops = loaded.pools
    assert (len(isic), len(ham), len(crops)) == (4, 5, 4)  # h9 is of a held-out lesion, HAM_HELD is held out itself
    assert isic.weight.tolist() == pytest.approx([0.8, 0.97, 0.97, 0.97])
    assert crops.images.shape == (4, 64, 64, 3)
    assert loaded.val_images.shape == (2, 32, 64, 3)
    assert loaded.hair_bank.shape == loaded.ruler_bank.shape == (2, 32, 64)
    fewer = read_recipe(tmp_path / "tiny.yaml", {"sources": [{"path": "isic2018_train.zip", "split": "isic2018"}]})
    doubtless = {"path": "isic2018_train.zip", "split": "isic2018", "least_agreement": 0.9}
    assert len(decoder.load(fewer)) == 4
    assert len(decoder.load(read_recipe(tmp_path / "tiny.yaml", {"sources": [doubtless]}))) == 3


def test_a_run_writes_rows_weights_and_the_table_and_a_failure_is_a_row(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    (tmp_path / "broken.yaml").write_text(RECIPE.replace("weigh_by: agreement", "weigh_by: nothing"))
    out = tmp_path / "rows.jsonl"
    command = [str(tmp_path / "broken.yaml"), str(tmp_path / "tiny.yaml"), "--data", str(data), "--device", "cpu"]
    rows = experiments.main([*command, "--out", str(out), "--keep", str(tmp_path / "kept"), "--seeds", "3"])
    assert "no number in the column 'nothing'" in rows[0]["failed"]
    row = rows[1]
    assert not row["failed"]
    assert row["images"] == 12
    assert row["seed"] == 3
    assert {"isic2018_validation", "isic2018_validation+flips", "ham10000_validation"} <= set(row["sets"])
    assert row["sets"]["isic2018_validation"]["iou"]["n"] == 2
    best = max(point["val_iou"] for point in row["curve"])
    assert row["sets"]["isic2018_validation"]["iou"]["mean"] == pytest.approx(best, abs=1e-6)
    assert (tmp_path / "kept/tiny-seed3.safetensors").is_file()
    assert capsys.readouterr().out.count('"epoch"') == 2  # a line after every epoch
    document = tmp_path / "results.md"
    document.write_text("before\n<!-- experiments -->\nold\n<!-- /experiments -->\nafter\n")
    experiments.main(["--table", str(document), "--out", str(out)])
    text = document.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "| tiny | 3 |" in text
    kept = next(point["images"] for point in row["curve"] if point["epoch"] == row["epoch"])
    assert ("| 12 |" if kept == 12 else f"| 12 ({kept}) |") in text
    assert "| broken | 3 | failed: DataError" in text
    assert len([json.loads(line) for line in out.read_text().splitlines()]) == 2


def test_a_pack_is_small_repeatable_and_read_like_the_original(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack_data, "SIZE", (32, 64))
    for name in ("one", "two"):
        for source in ("isic2018_train.zip", "ham10000.zip"):
            pairs = pack_data.find(data, source)
            order = pack_data.ham_order(pairs) if source.startswith("ham") else list(pairs)
            (tmp_path / name).mkdir(exist_ok=True)
            pack_data.write(tmp_path / name / source, pack_data.all_packed(order, (32, 64), 90), pairs.index, room=1e6)
    for source in ("isic2018_train.zip", "ham10000.zip"):
        assert (tmp_path / "one" / source).read_bytes() == (tmp_path / "two" / source).read_bytes()
    ham = read_pairs(tmp_path / "one/ham10000.zip")
    assert {pair.id for pair in ham} == {"h0", "h1", "h2", "h3", "h8", HAM_HELD}  # without the held-out lesion's h9
    assert ham.index["h0"]["lesion_id"] == "L0"
    original, again = (read_pairs(root / "isic2018_train.zip") for root in (data, tmp_path / "one"))
    (images, masks), (packed_images, packed_masks) = (load_uint8(p, (32, 64)) for p in (original, again))
    assert np.abs(images.astype(int) - packed_images).mean() < 4
    assert np.abs(masks.astype(int) - packed_masks).max() <= 8
    assert len(np.unique(packed_masks)) > 2  # soft edges survive


def test_lesions_that_a_pack_leaves_out(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = pack_data.find(data, "ham10000.zip")
    order = [pair.id for pair in pack_data.ham_order(pairs)]  # the held-out photo, one a lesion, then the rest
    assert pack_data.left_out(pairs, 2) == sorted(order[2:4])
    assert pack_data.left_out(pairs, 4) == []
    pack_data.main([str(data), "--left-out", "3"])
    assert capsys.readouterr().out.split() == order[3:4]


def test_photos_that_the_default_weights_never_met_are_of_no_other_list() -> None:
    unseen = read_ids("ham10000_unseen")
    assert len(unseen) == 212
    assert not unseen & read_ids("ham10000_validation")


def test_a_pack_stops_at_its_limit(data: Path, tmp_path: Path) -> None:
    pairs = pack_data.find(data, "isic2018_train.zip")
    items = list(pack_data.all_packed(list(pairs), (32, 64), 90))
    room = sum(len(photo) + len(mask) + pack_data.MEMBER for _, photo, mask in items[:3]) + 1
    assert pack_data.write(tmp_path / "small.zip", items, pairs.index, room) == 3
    assert (tmp_path / "small.zip").stat().st_size <= room + 500


def test_a_table_needs_its_marks(tmp_path: Path) -> None:
    document = tmp_path / "results.md"
    document.write_text("no marks")
    with pytest.raises(ValueError, match="no place"):
        experiment_table.write_table(document, tmp_path / "none.jsonl")
