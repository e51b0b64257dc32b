"""Expected calibration error of data whose calibration is known, and the band around an outline."""

from __future__ import annotations

import numpy as np
import pytest

from dermomamba.evaluation.calibration import BINS, band, band_table, bin_table, curve, ece


def test_a_constant_that_is_right_has_no_error() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random(100_000) < 0.7
    assert ece(bin_table(np.full(100_000, 0.7), truth)) < 0.01
    assert ece(bin_table(np.full(100_000, 0.9), truth)) == pytest.approx(0.2, abs=0.01)


def test_calibrated_probabilities_follow_the_diagonal() -> None:
    rng = np.random.default_rng(1)
    p = rng.random(200_000)
    table = bin_table(p, rng.random(200_000) < p)
    assert ece(table) < 0.01
    rows = curve(table)
    assert len(rows) == BINS
    assert sum(row["share"] for row in rows) == pytest.approx(1)
    for row in rows:
        assert row["from"] <= row["predicted"] <= row["to"]
        assert row["observed"] == pytest.approx(row["predicted"], abs=0.02)


def test_by_hand_with_two_bins_and_both_ends() -> None:
    table = bin_table(np.array([0.0, 0.2, 0.5, 1.0]), np.array([False, True, True, False]), bins=2)
    np.testing.assert_allclose(table, [[2, 2], [0.2, 1.5], [1, 1]])
    assert ece(table) == pytest.approx((0.8 + 0.5) / 4)
    assert ece(np.stack([table, table])).shape == (2,)


def test_an_empty_bin_is_not_in_the_curve() -> None:
    assert [row["from"] for row in curve(bin_table(np.array([0.9]), np.array([True]), bins=4))] == [0.75]


def test_the_band_is_as_wide_as_it_says_on_both_sides() -> None:
    half = np.zeros((40, 60), bool)
    half[:, :30] = True
    near = band(half, width=3)
    np.testing.assert_array_equal(np.flatnonzero(near[20]), [27, 28, 29, 30, 31, 32])
    assert not band(np.zeros((5, 5), bool), 2).any()
    assert not band(np.ones((5, 5), bool), 2).any()


def test_only_the_band_counts_and_every_photo_weighs_the_same() -> None:
    half = np.zeros((100, 100), bool)
    half[:, :50] = True
    good = half.astype(np.float32)
    good[:, 95:] = 1.0  # wrong, but far from the outline
    table = band_table(good, half)
    assert ece(table) == 0
    assert table[0].sum() == pytest.approx(1)
    assert ece(band_table(np.full((100, 100), 0.8, np.float32), half)) == pytest.approx(0.3, abs=1e-6)
    assert np.isnan(band_table(good, np.zeros((100, 100), bool))).all()
