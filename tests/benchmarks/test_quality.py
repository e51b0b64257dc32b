"""The study of quality estimates: fits with known answers, thresholds, intervals, features of a drawn map."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import quality
from quality_cache import Seen, load, one_per_group

from dermomamba.learning.datasets import Pair


def rows(n: int, seed: int) -> list[dict[str, float]]:
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(n):
        a, b = rng.uniform(0, 1), rng.uniform(0, 1)
        row = dict.fromkeys(("soft_dice", "outside", "inside", "solidity", "area"), a)
        row |= dict.fromkeys(("contrast", "entropy", "fragments", "frame"), b) | {"flips": float("nan")}
        out.append(row | {"solidity": b, "dice": 0.5 + 0.3 * a + 0.1 * b})
    return out


def test_a_line_is_found_again() -> None:
    learned = rows(2000, 0)
    fitted = quality.fit(learned, ("soft_dice", "solidity"))
    other = rows(50, 1)
    np.testing.assert_allclose(fitted(other), [row["dice"] for row in other], atol=2e-3)
    np.testing.assert_allclose(fitted.slope / fitted.std, [0.3, 0.1], atol=2e-3)


def test_estimates_stay_between_0_and_1() -> None:
    fitted = quality.fit(rows(200, 0), ("soft_dice",))
    far = [rows(1, 0)[0] | {"soft_dice": 100.0}, rows(1, 0)[0] | {"soft_dice": -100.0}]
    assert fitted(far).tolist() == [1.0, 0.0]


def test_the_threshold_is_the_lowest_that_catches_eight_of_nine() -> None:
    values = np.array([0.5, 0.55, 0.6, 0.65, 0.7, 0.72, 0.75, 0.8, 0.95, 0.9, 0.99])
    true = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.5, 0.6, 0.6, 0.9, 0.9])  # nine poor ones
    threshold = quality.warning_threshold(values, true)
    assert 0.8 < threshold < 0.81
    result = quality.judged(values, true, threshold)
    assert (result["caught"]["hits"], result["caught"]["n"]) == (8, 9)
    assert (result["false_alarms"]["hits"], result["false_alarms"]["n"]) == (0, 2)


def test_intervals_of_shares_are_exact() -> None:
    """Clopper-Pearson of 0 and n of n has the closed form 1 - (alpha/2)^(1/n)."""
    none = quality.share(0, 10)
    assert none["low"] == 0
    assert none["high"] == pytest.approx(1 - 0.025**0.1)
    every = quality.share(10, 10)
    assert every["low"] == pytest.approx(0.025**0.1)
    assert every["high"] == 1


def test_the_halves_of_ham_are_apart_and_flips_without_predictions_are_left_out() -> None:
    shipped = {"slope": 1.0, "intercept": 0.0, "threshold": 0.5}
    result = quality.study({"isic": rows(40, 1), "ham": rows(60, 2), "ph2": rows(10, 3)}, shipped)
    assert result["shipped"]["HAM10000, judge half"]["n"] == 30
    assert result["shipped"]["HAM10000, all"]["n"] == 60
    ham = rows(60, 2)
    alarms = sum(row["soft_dice"] < 0.5 and row["dice"] >= 0.7 for row in ham)
    assert result["shipped"]["HAM10000, all"]["false_alarms"]["hits"] == alarms
    assert "flips" not in result
    found = result["soft Dice, outside, inside, solidity, area"]
    assert found["fitted on, cross-validated"]["n"] == 70
    assert found["HAM10000, judge half"]["spearman"][0] > 0.95
    assert quality.table(result).count("\n") == 1 + 3 + 3 * 4


def disc(tmp: Path | None = None, soft: float = 0.0) -> Seen:
    y, x = np.mgrid[:60, :80]
    inside = (x - 40) ** 2 + (y - 30) ** 2 < 15**2
    one = np.where(inside, 1 - soft, soft).astype(np.float32)
    photo = np.where(inside[..., None], [60, 30, 20], [220, 170, 150]).astype(np.uint8)
    return Seen("a", np.stack([one] * 4), photo, (120, 160), 0.9)


def test_features_of_a_sure_disc() -> None:
    found = quality.features(disc())
    assert found is not None
    assert found["soft_dice"] > 0.97
    assert found["inside"] > 0.95
    assert found["solidity"] == pytest.approx(1, abs=0.03)
    assert np.exp(found["area"]) == pytest.approx(np.pi * 15**2 / 4800, rel=0.03)
    assert found["frame"] == 0
    assert found["fragments"] == 0
    assert found["flips"] == pytest.approx(np.log(0.005))
    unsure = quality.features(disc(soft=0.3))
    assert unsure is not None
    assert unsure["entropy"] > found["entropy"]
    assert unsure["outside"] > found["outside"]


def test_a_map_without_an_outline_has_no_features() -> None:
    nothing = disc()
    assert quality.features(Seen("a", np.zeros_like(nothing.variants), nothing.photo, nothing.size, 0.0)) is None


def test_one_photo_a_lesion_is_drawn_and_an_empty_cache_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = [Pair(str(i), bytes, bytes) for i in range(6)]
    drawn = one_per_group(pairs, {str(i): f"L{i // 2}" for i in range(6)}, 10)
    assert sorted(pair.id for pair in drawn) == ["0", "2", "4"]
    without = one_per_group(pairs, {str(i): f"L{i // 2}" for i in range(6)}, 10, {"L1"})
    assert without == [pair for pair in drawn if pair.id != "2"]
    assert list(load(tmp_path)) == []
    with pytest.raises(SystemExit):
        quality.main([str(tmp_path), "--cache", str(tmp_path)])
    assert "--predict 1 first" in capsys.readouterr().err
