"""The scripts for averages of weights and for the five folds of PH2, on phantoms at a tiny size."""

from __future__ import annotations

import json
import re
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import ph2_folds
import soup
from experiment_table import line
from experiments import recipe_of

from dermomamba import weights
from dermomamba.learning.partition import read_ids
from dermomamba.learning.soup import average
from dermomamba.learning.training_data import Decoder
from dermomamba.network import DermoMamba
from dermomamba.phantom import phantom, random_spec

SIZE = (32, 64)


def archive(path: Path, ids: list[str]) -> None:
    rng = np.random.default_rng(len(ids))
    with zipfile.ZipFile(path, "w") as file:
        for name in ids:
            drawn = phantom(random_spec(rng, (48, 64)))
            for folder, pixels in (("images", drawn.image[..., ::-1]), ("masks", drawn.mask.astype(np.uint8) * 255)):
                file.writestr(f"{folder}/{name}.png", cv2.imencode(".png", pixels)[1].tobytes())


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    archive(root / "isic2018_train.zip", sorted(read_ids("isic2018_validation"))[:2])
    archive(root / "ph2_half.zip", [f"P{i}" for i in range(7)])
    return root


def test_soup_judges_and_keeps_an_average(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card = weights.load().card | {"image_size": list(SIZE)}
    for number in range(2):
        torch.manual_seed(number)
        weights.save(tmp_path / f"m{number}.safetensors", DermoMamba(SIZE).state_dict(), card | {"name": f"m{number}"})
    members = [str(tmp_path / f"m{number}.safetensors") for number in range(2)]
    out = tmp_path / "rows.jsonl"
    common = ["--shares", "1", "3", "--data", str(data), "--out", str(out)]
    soup.main([*members, *common, "--save", str(tmp_path), "--name", "both"])
    row = json.loads(out.read_text(encoding="utf-8"))
    assert row["sets"].keys() == {
        f"{name}{flips}" for name in ("isic2018_validation", "ph2_half") for flips in ("", "+flips")
    }
    assert row["sets"]["ph2_half"]["dice"]["n"] == 7
    assert "1 m0 + 3 m1" in line(row)
    kept = weights.load(tmp_path / "both.safetensors")
    expected = average([weights.load(member) for member in members], [1, 3])
    torch.testing.assert_close(kept.state_dict["stem.weight"], expected["stem.weight"], rtol=1e-3, atol=1e-4)
    assert [member["share"] for member in kept.card["averaged_from"]] == [0.25, 0.75]
    assert kept.card["validation"]["iou"] == row["sets"]["isic2018_validation"]["iou"]["mean"]
    assert "both" in capsys.readouterr().out
    soup.main([*members, *common[3:], "--save", str(tmp_path), "--name", "best", "--greedy", "isic2018_validation"])
    words = capsys.readouterr().out
    assert "m0: 0." in words
    best = weights.load(tmp_path / "best.safetensors").card
    alone = [float(found) for found in re.findall(r"^m\d: ([\d.]+),", words, re.MULTILINE)]
    assert len(alone) == 2
    assert best["validation"]["iou"] >= max(alone) - 1e-4
    assert len(best["averaged_from"]) == words.count("chosen")


@pytest.mark.parametrize("count", [5, 7, 103])
def test_every_photo_is_held_out_once(count: int) -> None:
    held = ph2_folds.folds(count, 1)
    assert sorted(torch.cat(held).tolist()) == list(range(count))
    assert max(map(len, held)) - min(map(len, held)) <= 1


def test_five_folds_judge_every_photo(data: Path) -> None:
    recipe = replace(recipe_of("ph2", {}), image_size=SIZE, start_from=None, minutes=None, epochs=1, epoch_images=4)
    recipe = replace(recipe, batch_size=2, hair_bank=2)
    row = ph2_folds.run(Decoder(data), recipe)
    assert (row["n"], row["images"]) == (7, 20)
    assert "ph2 five-fold" in line(row)
    assert f"| {100 * row['sets']['ph2_folds']['dice']['mean']:.2f}, 7 in folds |" in line(row)
    assert {name: m["dice"]["n"] for name, m in row["sets"].items()} == {"ph2_folds": 7, "ph2_folds+flips": 7}
    assert all(0 <= m["iou"]["low"] <= m["iou"]["mean"] <= m["iou"]["high"] <= 1 for m in row["sets"].values())
