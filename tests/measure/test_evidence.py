"""The evidence command on phantoms with a stub in the network's place: its arithmetic, files and refusals."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from lesion_shapes import soft_disc

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import measures
from measure_agreement import agreement, asymmetry
from measure_calibration import Swept, calibrate, covered, fit, swept
from measure_certainty import dice, fit_certainty, to_catch
from measure_data import Case, unsqueezed
from measure_stability import stability, unreliable

from dermomamba.measure.assemble import agreement_note
from dermomamba.phantom import PhantomSpec, phantom

ISIC = Path(__file__).parents[3] / "shared" / "data" / "isic2018_train.zip"


def stub(image: np.ndarray) -> np.ndarray:
    """A lesion where the photo is darker than halfway between its lightest and darkest parts."""
    grey = cv2.GaussianBlur(image.mean(axis=2).astype(np.float32), (0, 0), 0.006 * image.shape[1])
    light, dark = np.percentile(grey, [90, 2])
    return 1 / (1 + np.exp(np.clip((grey - (light + dark) / 2) / max(0.06 * (light - dark), 1e-3), -30, 30)))


def photo(seed: int, diameter: float = 0.45) -> tuple[np.ndarray, np.ndarray]:
    modes = ((2, 0.03 * (seed % 5), 0.4), (3, 0.02 * (seed % 4), 1.0 + seed))
    drawn = phantom(PhantomSpec(size=(150, 200), seed=seed, diameter=diameter, modes=modes, tone=0.1))
    return drawn.image, drawn.mask


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Twelve phantoms with masks and made-up asymmetry scores, in the layout of the shared data."""
    root = tmp_path_factory.mktemp("data")
    (root / "images").mkdir()
    (root / "masks").mkdir()
    rows = ["id,image,mask,asymmetry"]
    for seed in range(12):
        image, mask = photo(seed, 0.35 + 0.02 * seed)
        cv2.imwrite(str(root / "images" / f"P{seed:02d}.png"), image[..., ::-1])
        cv2.imwrite(str(root / "masks" / f"P{seed:02d}.png"), 255 * mask.astype(np.uint8))
        rows.append(f"P{seed:02d},images/P{seed:02d}.png,masks/P{seed:02d}.png,{seed % 3}")
    (root / "index.csv").write_text("\n".join(rows), encoding="utf-8")
    return root


def test_agreement_run_writes_table_and_plots(folder, tmp_path, capsys):
    table = tmp_path / "measures.csv"
    result = measures.main([str(folder), "--out", str(tmp_path), "--csv", str(table)], predict=stub)
    capsys.readouterr()
    area = result["agreement"]["area"]
    assert area["n"] == result["n"] == 12
    assert abs(area["bias"]) < 10
    assert area["icc"] > 0.9
    assert area["unit"] == "%"
    assert set(result["asymmetry"]["expert"]) == {"asymmetry_major", "asymmetry_minor", "asymmetry_least"}
    assert {p.name for p in tmp_path.iterdir()} == {
        "measures.json",
        "measures.csv",
        "agreement.png",
        "asymmetry.png",
        "certainty.png",
    }
    assert json.loads((tmp_path / "measures.json").read_text())["n"] == 12
    assert len(table.read_text().splitlines()) == 13
    assert result["certainty"]["n"] == 12
    assert result["area_interval_coverage"]["all"]["n"] == 12
    assert not any(f"P{seed:02d}" in (tmp_path / "measures.json").read_text() for seed in range(12))


def test_agreement_by_hand():
    expert = [{"area": 100.0, "solidity": 0.9}, {"area": 200.0, "solidity": 0.8}, {"area": 400.0, "solidity": 0.7}]
    predicted = [{"area": 1.1 * e["area"], "solidity": e["solidity"] - 0.1} for e in expert]
    table = agreement(predicted, expert)
    assert table["area"]["bias"] == pytest.approx(100 * np.log(1.1))
    assert table["area"]["sd"] == pytest.approx(0, abs=1e-9)
    assert table["solidity"]["bias"] == pytest.approx(-0.1)
    assert table["solidity"]["spearman"] == pytest.approx(1)


def test_agreement_and_stability_are_kept_side_by_side(folder, tmp_path, capsys):
    (tmp_path / "reliability.json").write_text('{"unreliable": {"solidity": "said"}}', encoding="utf-8")
    measures.main([str(folder), "--limit", "4", "--write", "--package", str(tmp_path)], predict=stub)
    capsys.readouterr()
    content = json.loads((tmp_path / "reliability.json").read_text(encoding="utf-8"))
    assert content["unreliable"] == {"solidity": "said"}
    assert content["agreement"]["measures"]["area"]["n"] == 4
    poor = {"agreement": {"measures": {"area": {"icc": 0.31, "n": 150}, "solidity": {"icc": 0.5, "n": 150}}}}
    assert agreement_note("area", poor) == "Agrees poorly with experts' outlines (ICC 0.31 on 150 photos)."
    assert agreement_note("solidity", poor) == agreement_note("width", poor) == agreement_note("area", {}) == ""


def test_asymmetry_correlation_by_hand():
    values = [
        {"asymmetry_major": v, "asymmetry_minor": -v, "asymmetry_least": v} for v in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
    ]
    found = asymmetry(["0", "0", "1", "1", "2", "2"], values)
    assert found["asymmetry_major"]["rho"] > 0.9
    assert found["asymmetry_minor"]["rho"] < -0.9
    assert found["asymmetry_major"]["median_by_score"] == pytest.approx([0.15, 0.35, 0.55])


@pytest.mark.parametrize("bias", [0.0, 0.2])
def test_fit_covers_nine_of_ten_on_new_photos(bias):
    rng = np.random.default_rng(1)
    spread = rng.uniform(0.02, 0.2, 4000)
    miss = bias * spread + spread * rng.standard_normal(4000)
    fitted = fit(spread[:400], miss[:400], 0.01)
    assert covered(fitted, spread[400:], miss[400:]).mean() == pytest.approx(0.9, abs=0.03)
    assert fitted["q_low"] < 0 < fitted["q_high"]


def test_calibration_reports_held_out_coverage():
    rng = np.random.default_rng(2)

    def row() -> dict[str, Swept]:
        s = rng.uniform(0.02, 0.2)
        value = rng.uniform(500, 5000)
        one = Swept(value, (value * np.exp(s), value * np.exp(-s)), value * np.exp(2 * s * rng.standard_normal()))
        return {"area": one, "perimeter": one}

    rows = [row() for _ in range(400)]
    content = calibrate({(0.4, 0.6): rows}, "command")
    assert content["calibrated"]
    assert content["n"] == 400
    assert content["coverage"] == pytest.approx(0.9, abs=0.03)
    assert set(content["measures"]) == {"area", "perimeter"}
    assert content["measures"]["area"]["q_low"] < 0 < content["measures"]["area"]["q_high"]


def test_calibrate_command_writes_the_file_that_measure_reads(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("measure_calibration.LEAST_PHOTOS", 5)
    monkeypatch.setattr(measures, "SWEEPS", ((0.25, 0.75),))
    ids = tmp_path / "ids.txt"
    ids.write_text("# ids\n" + "\n".join(f"P{seed:02d}" for seed in range(10)), encoding="utf-8")
    measures.main([str(folder), "--calibrate", "--write", "--ids", str(ids), "--package", str(tmp_path)], predict=stub)
    capsys.readouterr()
    (content,) = json.loads(
        (tmp_path / "calibration.json").read_text(encoding="utf-8")
    ).values()  # by the weights' hash
    assert content["calibrated"]
    assert (content["t_low"], content["t_high"]) == (0.25, 0.75)
    assert content["n"] == 10
    assert not list(tmp_path.glob("*.part"))


def test_swept_leaves_out_what_is_not_valid():
    sweep = (0.4, 0.6)
    assert swept(np.zeros((50, 50), np.float32), np.ones((50, 50), np.float32), [sweep]) == {sweep: {}}
    disc = soft_disc(30).astype(np.float32)
    found = swept(disc, (disc >= 0.5).astype(np.float32), [sweep])[sweep]
    assert min(found["area"].others) < found["area"].value < max(found["area"].others)
    assert found["area"].expert == pytest.approx(found["area"].value, rel=0.02)


def test_an_area_counts_even_where_the_expert_says_the_frame_cuts_it():
    disc = soft_disc(30, (120, 120), (60, 60)).astype(np.float32)
    cut = soft_disc(30, (120, 120), (25, 60)).astype(np.float32)
    found = swept(disc, (cut >= 0.5).astype(np.float32), [(0.4, 0.6)])[0.4, 0.6]
    assert set(found) == {"area", "area_fraction"}
    assert found["area"].expert < 0.99 * found["area"].value


def test_calibration_uses_only_the_fixed_validation_ids(tmp_path, monkeypatch, capsys):
    """Without --ids, photos outside the shipped list are never predicted."""
    chosen = sorted(measures.read_ids("isic2018_validation"))[:3]
    for folder in ("images", "masks"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    for number, name in enumerate([*chosen, "ISIC_9999998", "ISIC_9999999"]):
        image, mask = photo(number)
        cv2.imwrite(str(tmp_path / "data" / "images" / f"{name}.png"), image[..., ::-1])
        cv2.imwrite(str(tmp_path / "data" / "masks" / f"{name}.png"), 255 * mask.astype(np.uint8))
    calls = []
    monkeypatch.setattr("measure_calibration.LEAST_PHOTOS", 2)
    measures.main(
        [str(tmp_path / "data"), "--calibrate"], predict=lambda image: calls.append(image.shape) or stub(image)
    )
    capsys.readouterr()
    assert len(calls) == 3


@pytest.mark.skipif(not ISIC.exists(), reason="needs ../shared/data")
def test_validation_list_is_the_held_out_part_of_the_split():
    from dermomamba.learning.datasets import read_pairs
    from dermomamba.learning.partition import isic2018_split, read_ids

    train, validation = isic2018_split(read_pairs(ISIC, check=False))
    assert {pair.id for pair in validation} == set(read_ids("isic2018_validation"))
    assert not {pair.id for pair in train} & set(read_ids("isic2018_validation"))


def test_certainty_is_fitted_and_its_threshold_catches_four_of_five():
    rng = np.random.default_rng(3)
    expected = rng.uniform(0.7, 0.99, 400)
    true = np.clip(2 * expected - 1 + 0.02 * rng.standard_normal(400), 0, 1)
    fitted = fit_certainty(expected, true)
    assert fitted["slope"] == pytest.approx(2, abs=0.05)
    assert fitted["intercept"] == pytest.approx(-1, abs=0.05)
    for part in ("fitted", "cross_validated"):
        assert fitted[part]["poor"] == np.count_nonzero(true < 0.7)
        assert fitted[part]["poor_flagged"] >= 0.75 * fitted[part]["poor"]
        assert fitted[part]["good_flagged"] <= 0.05 * fitted[part]["good"]
        assert fitted[part]["mae"] == pytest.approx(0.016, abs=0.003)
    assert fitted["cross_validated"]["coverage"] == pytest.approx(0.9, abs=0.03)
    assert fitted["fitted"]["poor_flagged"] == math.ceil(0.8 * (fitted["fitted"]["poor"] + 1))


@pytest.mark.parametrize("n", [4, 5, 15, 22, 61, 400])
def test_a_further_poor_outline_is_caught_four_times_of_five(n):
    """The share of a further draw below the k-th of n exchangeable ones is k / (n + 1) on average."""
    k = to_catch(n)
    assert k / (n + 1) >= 0.8
    assert (k - 1) / (n + 1) < 0.8
    drawn = np.sort(np.random.default_rng(n).uniform(size=(4000, n)), axis=1)
    assert drawn[:, k - 1].mean() == pytest.approx(k / (n + 1), abs=0.01)  # the uniform law's share below a number


def test_certainty_without_poor_outlines_has_no_threshold():
    fitted = fit_certainty([0.95, 0.96, 0.97, 0.98] * 5, [0.9, 0.92, 0.94, 0.96] * 5)
    assert fitted["threshold"] is None
    assert fitted["fitted"]["good_flagged"] == 0


def test_dice_by_hand():
    a = np.array([[1, 1, 0, 0]], bool)
    assert dice(a, np.array([[0, 1, 1, 0]], bool)) == 0.5
    assert dice(a, ~a) == 0
    assert dice(a & ~a, a & ~a) == 1


def test_stability_finds_a_measure_that_is_mostly_noise():
    chosen = [Case(str(seed), *_as_case(seed), {}) for seed in range(3)]
    table = stability(chosen, stub)
    assert {"rescale x0.5", "rotate 45", "turn 90, again", "JPEG 30", "dilate 1 px"} <= set(table["area"]["by_kind"])
    assert "rotate 45" not in table["area_fraction"]["by_kind"]
    assert table["area"]["ratio"] < 1
    assert table["equivalent_diameter"]["by_kind"]["rotate 45"] < 0.02
    noisy = unreliable(table | {"texture_irregularity": {"ratio": 1.7}})
    assert "1.7 times" in noisy["texture_irregularity"]
    assert "area" not in noisy


def _as_case(seed: int) -> tuple[np.ndarray, np.ndarray]:
    image, mask = photo(seed, 0.3 + 0.1 * seed)
    return image, mask.astype(np.float32)


def test_a_squeezed_photo_is_measured_unsqueezed():
    disc = soft_disc(40, (150, 200), (100, 75))
    squeezed = cv2.resize(disc, (150, 150), interpolation=cv2.INTER_AREA) >= 0.5
    image, truth = unsqueezed(np.zeros((150, 150, 3), np.uint8), squeezed, "1.3333")
    assert image.shape[:2] == truth.shape == (150, 200)
    assert truth.sum() == pytest.approx(np.pi * 1600, rel=0.02)
