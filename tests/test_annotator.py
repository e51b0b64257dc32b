"""The simulated annotator of benchmarks/corrections.py against shapes whose answer is known."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import annotator
import corrections


def disc(centre: tuple[float, float], radius: float, size: tuple[int, int] = (120, 160)) -> np.ndarray:
    y, x = np.ogrid[: size[0], : size[1]]
    return (y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2


def test_a_hole_and_a_speck_of_the_brushs_size_take_one_touch_each() -> None:
    truth = disc((60, 70), 40)
    kernel = annotator.brush(truth)
    reach = kernel.shape[0] // 2
    assert kernel.sum() == pytest.approx(np.pi * 8**2, rel=0.05)  # a fifth of the lesion's diameter
    mask = truth.copy()
    mask[60 - reach : 61 + reach, 70 - reach : 71 + reach][kernel > 0] = False
    mask[60 - reach : 61 + reach, 140 - reach : 141 + reach][kernel > 0] = True
    reached = annotator.dabs(mask, truth, 4)
    assert reached[0] < 0.97
    assert reached[1] < 1
    assert reached[2:] == [1, 1, 1]
    assert annotator.regions(mask, truth, 4) == pytest.approx(reached)
    assert annotator.needed(reached, 1.0) == 2
    assert annotator.needed([0.5], 0.9) == np.inf


def test_corrections_never_make_it_worse_and_stop_when_nothing_is_gained() -> None:
    truth, mask = disc((60, 70), 40), disc((66, 80), 36)
    for reached in (annotator.dabs(mask, truth, 25), annotator.regions(mask, truth, 25)):
        assert len(reached) == 26
        assert (np.diff(reached) >= -1e-12).all()
    assert annotator.dabs(truth, truth, 3) == [1, 1, 1, 1]


def test_a_polygon_in_a_disc_has_the_dice_of_geometry() -> None:
    reached = annotator.polygons(disc((60, 80), 50), 16)
    assert reached[:3] == [0, 0, 0]
    for clicks in (4, 8, 16):
        share = clicks / (2 * np.pi) * np.sin(2 * np.pi / clicks)  # area of the inscribed polygon over that of the disc
        assert reached[clicks] == pytest.approx(2 * share / (1 + share), abs=0.02)


def test_the_command_writes_its_table_and_plot(tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / "set" / folder).mkdir(parents=True)
    for k, truth in enumerate((disc((60, 70), 40), disc((50, 80), 25))):
        grey = np.where(truth, 90, 200).astype(np.uint8)
        Image.fromarray(np.stack([grey] * 3, axis=2)).save(tmp_path / "set" / "images" / f"{k}.png")
        Image.fromarray(truth.astype(np.uint8) * 255).save(tmp_path / "set" / "masks" / f"{k}.png")
    shifted = lambda photo: np.roll(photo[..., 0] < 150, 6, axis=1).astype(np.float32)  # noqa: E731
    result = corrections.main(["--ph2", str(tmp_path / "set"), "--out", str(tmp_path / "out")], shifted)
    written = json.loads((tmp_path / "out" / "corrections.json").read_text())
    assert written["ph2"]["photos"] == result["ph2"]["photos"] == 2
    needs = written["ph2"]["needs"]["0.95"]
    assert needs["region"]["median"] <= needs["dab"]["median"]
    assert (tmp_path / "out" / "corrections.png").stat().st_size > 10_000
    assert corrections.table(result).count("PH2") == len(corrections.GOALS)
