"""Intervals that cover, tests that are symmetric, agreement against published worked examples."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from dermomamba.evaluation.statistics import (
    bland_altman,
    bootstrap_interval,
    bootstrap_intervals,
    bootstrap_means,
    icc_2_1,
    paired_test,
    spearman,
)


def test_the_interval_of_a_constant_is_that_constant() -> None:
    interval = bootstrap_interval(np.full(20, 0.8))
    assert (interval.mean, interval.low, interval.high) == pytest.approx((0.8, 0.8, 0.8))
    assert interval.n == 20


def test_the_interval_agrees_with_the_normal_one_for_many_values() -> None:
    values = np.random.default_rng(1).normal(0.8, 0.1, 2000)
    interval = bootstrap_interval(values, seed=5)
    half = 1.96 * values.std() / math.sqrt(values.size)
    assert interval.low == pytest.approx(values.mean() - half, abs=0.0004)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.0004)


def test_about_95_of_100_intervals_cover_the_truth() -> None:
    rng = np.random.default_rng(7)
    covered = 0
    for trial in range(300):
        interval = bootstrap_interval(rng.beta(8, 2, 60), resamples=500, seed=trial)
        covered += interval.low <= 0.8 <= interval.high
    assert 0.91 <= covered / 300 <= 0.985


def test_undefined_values_are_left_out_of_their_own_column_only() -> None:
    values = np.array([[1.0, math.nan, math.nan], [2.0, 4.0, math.nan], [3.0, 6.0, math.nan]])
    one, two, three = bootstrap_intervals(values, resamples=200)
    assert (one.mean, one.n, two.mean, two.n, three.n) == (2, 3, 5, 2, 0)
    assert 4 <= two.low <= two.high <= 6
    assert math.isnan(three.mean)


def test_the_same_seed_gives_the_same_resamples() -> None:
    values = np.random.default_rng(0).random((30, 2))
    np.testing.assert_array_equal(bootstrap_means(values, 700, 3), bootstrap_means(values, 700, 3))
    assert bootstrap_means(values, 700, 3).shape == (700, 2)
    assert (bootstrap_means(values, 700, 3) != bootstrap_means(values, 700, 4)).any()


def test_swapping_the_runs_changes_signs_and_nothing_else() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.random(80), rng.random(80)
    one, other = paired_test(a, b), paired_test(b, a)
    assert one.mean_difference == -other.mean_difference
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))
    assert (one.p_bootstrap, one.p_wilcoxon) == pytest.approx((other.p_bootstrap, other.p_wilcoxon))
    assert (one.better, one.worse, one.equal) == (other.worse, other.better, other.equal)


def test_a_clear_difference_is_found_and_none_is_not() -> None:
    rng = np.random.default_rng(3)
    a = rng.normal(0.8, 0.1, 200)
    clear = paired_test(a, a + rng.normal(0.03, 0.02, 200))
    assert clear.p_bootstrap < 0.001
    assert clear.p_wilcoxon < 0.001
    assert clear.low > 0.025
    same = paired_test(a, a)
    assert (same.mean_difference, same.p_bootstrap, same.p_wilcoxon, same.equal) == (0, 1, 1, 200)


def test_false_alarms_are_about_as_rare_as_the_level_says() -> None:
    rng = np.random.default_rng(11)
    alarms = sum(paired_test(*rng.normal(size=(2, 40)), resamples=400, seed=i).p_bootstrap < 0.05 for i in range(200))
    assert 0.015 <= alarms / 200 <= 0.11


def test_pairs_with_an_undefined_value_are_left_out() -> None:
    assert paired_test(np.array([1.0, math.nan, 2.0]), np.array([2.0, 1.0, 4.0])).n == 2
    with pytest.raises(ValueError, match="at least one"):
        paired_test(np.array([math.nan]), np.array([1.0]))


def test_bland_altman_by_hand() -> None:
    found = bland_altman(np.zeros(4), np.array([1.0, 2.0, 3.0, 4.0]))
    sd = math.sqrt(5 / 3)
    assert (found.bias, found.sd) == pytest.approx((2.5, sd))
    assert (found.lower, found.upper) == pytest.approx((2.5 - 1.96 * sd, 2.5 + 1.96 * sd))
    t = stats.t.ppf(0.975, 3)
    assert found.bias_high - found.bias == pytest.approx(t * sd / 2)
    assert found.limit_error == pytest.approx(t * sd * math.sqrt(3 / 4))


def test_icc_on_shrout_and_fleiss_own_table() -> None:
    """Their Table 2: six targets, four judges; ICC(2,1) = 0.29 (1979, p. 423)."""
    ratings = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]])
    assert icc_2_1(ratings) == pytest.approx(0.29, abs=0.005)


def test_icc_is_one_for_equal_raters_and_sees_an_offset() -> None:
    x = np.arange(10.0)
    assert icc_2_1(np.stack([x, x], axis=1)) == pytest.approx(1)
    assert icc_2_1(np.stack([x, x + 3], axis=1)) < 0.75  # perfectly correlated, yet they disagree
    assert math.isnan(icc_2_1(np.ones((4, 2))))


def test_spearman_is_scipys_with_an_interval_around_it() -> None:
    rng = np.random.default_rng(4)
    a = rng.normal(size=50)
    b = a + rng.normal(size=50)
    found = spearman(a, b)
    assert found.rho == pytest.approx(stats.spearmanr(a, b).statistic)
    assert found.low < found.rho < found.high
    assert spearman(a, np.exp(a)).rho == pytest.approx(1)
    assert spearman(a, -b).rho == pytest.approx(-found.rho)
    assert math.isnan(spearman(a, np.ones(50)).rho)
