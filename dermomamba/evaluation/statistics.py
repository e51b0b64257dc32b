"""Intervals, paired tests and agreement: pure functions on arrays, each with its source.

The unit is the photo. Bootstrap: Efron and Tibshirani 1993, percentile intervals; resampling n photos with
replacement is drawing multinomial weights, so all resamples are one matrix product.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

RESAMPLES = 5000
_CHUNK = 500


@dataclass(frozen=True)
class Interval:
    """A mean with its 95% interval.

    Attributes:
        mean, low, high: in the values' unit.
        n: values that were defined (not NaN).
    """

    mean: float
    low: float
    high: float
    n: int


def bootstrap_means(values: np.ndarray, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """Means of resampled photos, the same resamples for every column.

    Args:
        values: (n, m) float, one row a photo; NaN is left out of its column's mean.
        resamples: how many.
        seed: of numpy's default_rng.

    Returns:
        (resamples, m) float64; NaN where a resample has no defined value.
    """
    n = len(values)
    defined = ~np.isnan(values)
    filled = np.where(defined, values, 0.0)
    complete = bool(defined.all())
    rng = np.random.default_rng(seed)
    parts = []
    for start in range(0, resamples, _CHUNK):
        weights = rng.multinomial(n, np.full(n, 1.0 / n), size=min(_CHUNK, resamples - start)).astype(np.float64)
        below = n if complete else weights @ defined  # (chunk, m)
        with np.errstate(invalid="ignore", divide="ignore"):
            parts.append(weights @ filled / below)
    return np.concatenate(parts)


def bootstrap_intervals(values: np.ndarray, resamples: int = RESAMPLES, seed: int = 0) -> list[Interval]:
    """Mean of each column with its 95% percentile bootstrap interval over photos.

    Args:
        values: (n, m) float, one row a photo, NaN for undefined.
        resamples, seed: as for bootstrap_means.

    Returns:
        One Interval a column; all NaN with n = 0 where a column has no defined value.
    """
    means = bootstrap_means(values, resamples, seed)
    out = []
    for column, resampled in zip(values.T, means.T, strict=True):
        known = column[~np.isnan(column)]
        if known.size == 0:
            out.append(Interval(math.nan, math.nan, math.nan, 0))
            continue
        low, high = np.nanpercentile(resampled, [2.5, 97.5])
        out.append(Interval(float(known.mean()), float(low), float(high), int(known.size)))
    return out


def bootstrap_interval(values: np.ndarray, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """bootstrap_intervals of one column (n,)."""
    return bootstrap_intervals(np.asarray(values, np.float64)[:, None], resamples, seed)[0]


@dataclass(frozen=True)
class PairedTest:
    """Two runs on the same photos, b minus a.

    Attributes:
        mean_difference, low, high: of b - a with its 95% bootstrap interval over photos.
        p_bootstrap: two-sided, twice the smaller share of resampled means on one side of 0.
        p_wilcoxon: two-sided signed-rank test (Wilcoxon 1945; zero differences dropped); 1 when all are zero.
        n: photos in which both are defined.
        better, worse, equal: photos in which b is greater, smaller, the same.
    """

    mean_difference: float
    low: float
    high: float
    p_bootstrap: float
    p_wilcoxon: float
    n: int
    better: int
    worse: int
    equal: int


def paired_test(a: np.ndarray, b: np.ndarray, resamples: int = RESAMPLES, seed: int = 0) -> PairedTest:
    """Compare two runs photo by photo.

    Args:
        a, b: (n,) float, the same photos in the same order; pairs with a NaN are left out.
        resamples, seed: of the bootstrap.

    Returns:
        The test; swapping a and b changes signs and nothing else.

    Raises:
        ValueError: no pair is left.
    """
    difference = np.asarray(b, np.float64) - np.asarray(a, np.float64)
    difference = difference[~np.isnan(difference)]
    n = difference.size
    if n == 0:
        raise ValueError("a paired test needs at least one photo in which both values are defined")
    means = bootstrap_means(difference[:, None], resamples, seed)[:, 0]
    low, high = np.percentile(means, [2.5, 97.5])
    side = min(np.count_nonzero(means <= 0), np.count_nonzero(means >= 0))
    p_bootstrap = min(1.0, 2 * (side + 1) / (resamples + 1))
    p_wilcoxon = float(stats.wilcoxon(difference).pvalue) if difference.any() else 1.0
    better, worse = int((difference > 0).sum()), int((difference < 0).sum())
    return PairedTest(
        float(difference.mean()), float(low), float(high), p_bootstrap, p_wilcoxon, n, better, worse, n - better - worse
    )


@dataclass(frozen=True)
class Agreement:
    """Bland-Altman agreement of two methods, b minus a (Bland and Altman 1986, Lancet 327:307-310).

    Attributes:
        bias: mean difference, with its 95% interval ``bias_low`` to ``bias_high`` (Student's t).
        sd: standard deviation of the differences.
        lower, upper: limits of agreement, bias -+ 1.96 sd.
        limit_error: half of the 95% interval of each limit, t sqrt(3/n) sd (their approximation).
        n: pairs.
    """

    bias: float
    bias_low: float
    bias_high: float
    sd: float
    lower: float
    upper: float
    limit_error: float
    n: int


def bland_altman(a: np.ndarray, b: np.ndarray) -> Agreement:
    """Agreement of two methods that measure the same things.

    Args:
        a, b: (n,) float in one unit, n >= 2.

    Returns:
        The agreement, in that unit.

    Raises:
        ValueError: fewer than two pairs.
    """
    difference = np.asarray(b, np.float64) - np.asarray(a, np.float64)
    n = difference.size
    if n < 2:
        raise ValueError("agreement needs at least two pairs")
    bias, sd = float(difference.mean()), float(difference.std(ddof=1))
    t = float(stats.t.ppf(0.975, n - 1))
    half = t * sd / math.sqrt(n)
    return Agreement(
        bias, bias - half, bias + half, sd, bias - 1.96 * sd, bias + 1.96 * sd, t * sd * math.sqrt(3 / n), n
    )


def icc_2_1(ratings: np.ndarray) -> float:
    """Intraclass correlation ICC(2,1): two-way random effects, absolute agreement, one rater.

    Args:
        ratings: (n, k) float, n >= 2 things by k >= 2 raters or methods.

    Returns:
        (BMS - EMS) / (BMS + (k-1) EMS + k (JMS - EMS) / n); NaN when nothing varies.
        Source: Shrout and Fleiss 1979, Psychol Bull 86:420-428.

    Raises:
        ValueError: fewer than two things or raters.
    """
    x = np.asarray(ratings, np.float64)
    if x.ndim != 2 or min(x.shape) < 2:
        raise ValueError("ICC needs at least two things and two raters")
    n, k = x.shape
    rows, columns, grand = x.mean(axis=1), x.mean(axis=0), x.mean()
    between = k * ((rows - grand) ** 2).sum() / (n - 1)
    judges = n * ((columns - grand) ** 2).sum() / (k - 1)
    error = ((x - rows[:, None] - columns + grand) ** 2).sum() / ((n - 1) * (k - 1))
    below = between + (k - 1) * error + k * (judges - error) / n
    return float((between - error) / below) if below else math.nan


@dataclass(frozen=True)
class Correlation:
    """Spearman's rank correlation.

    Attributes:
        rho: in [-1, 1]; NaN when one side does not vary.
        low, high: 95% interval by Fisher's z with the variance (1 + rho^2/2)/(n-3) of Bonett and Wright 2000
            (Psychometrika 65:23-28); NaN for n < 4.
        p: two-sided.
        n: pairs.
    """

    rho: float
    low: float
    high: float
    p: float
    n: int


def spearman(a: np.ndarray, b: np.ndarray) -> Correlation:
    """Spearman's rank correlation of two (n,) arrays, with an interval; pairs with a NaN are left out."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    known = ~(np.isnan(a) | np.isnan(b))
    a, b = a[known], b[known]
    n = a.size
    if n < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return Correlation(math.nan, math.nan, math.nan, math.nan, n)
    result = stats.spearmanr(a, b)
    rho = float(result.statistic)
    if n < 4 or abs(rho) >= 1:
        low = high = rho if n >= 4 else math.nan
    else:
        half = 1.959964 * math.sqrt((1 + rho**2 / 2) / (n - 3))
        low, high = (math.tanh(math.atanh(rho) + sign * half) for sign in (-1, 1))
    return Correlation(rho, low, high, float(result.pvalue), n)
