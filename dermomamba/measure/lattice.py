"""Evenly spaced places on a line: fit them, judge them, find the finest spacing and the period of longer ticks.

A run of ticks is judged against chance: how likely would as many random marks, as dense as the row's, fit an even
spacing so well (a contrario detection: Desolneux, Moisan, Morel 2000, doi 10.1023/A:1026593302236).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import binom

MIN_TICKS = 7
FINEST_SPACING = 2.8


@dataclass(frozen=True)
class Lattice:
    """Ticks at ``origin + k * spacing`` along a row; ``ticks`` holds the k that were seen.

    ``scatter`` is the ticks' rms distance from it in px; ``surprise`` is -log2 of the chance that so many of as
    many random peaks would fit so well.
    """

    origin: float
    spacing: float
    ticks: np.ndarray
    scatter: float
    surprise: float


def crests(signal: np.ndarray, least: float = 0.3) -> np.ndarray:
    """Sub-pixel places of the local maxima of a row."""
    smooth = np.convolve(signal, [0.25, 0.5, 0.25], "same")
    middle = smooth[1:-1]
    at = np.flatnonzero((middle > least) & (middle >= smooth[:-2]) & (middle > smooth[2:])) + 1
    left, here, right = smooth[at - 1], smooth[at], smooth[at + 1]
    bend = np.maximum(2 * here - left - right, 1e-6)
    return at + ((right - left) / (2 * bend)).clip(-0.5, 0.5)


def fit_lattice(peaks: np.ndarray, spacing: float) -> Lattice | None:
    """The longest run of peaks with nearly this spacing.

    Args:
        peaks: (n,) sorted places along a row, px.
        spacing: expected distance, px.

    Returns:
        The lattice, at most one tick in a row missing, or None when fewer than ``MIN_TICKS`` fit.
    """
    best: Lattice | None = None
    allowed = max(1.2, 0.1 * spacing)
    for first in range(len(peaks)):
        index, place, missed = [0], [peaks[first]], 0
        slope, k = spacing, 0
        while missed < 2:
            k += 1
            expected = place[-1] + (k - index[-1]) * slope
            nearest = int(np.abs(peaks - expected).argmin())
            if abs(peaks[nearest] - expected) <= allowed and peaks[nearest] > place[-1]:
                index.append(k)
                place.append(float(peaks[nearest]))
                missed = 0
                if len(index) >= 3:
                    slope = (place[-1] - place[0]) / index[-1]
            else:
                missed += 1
        if len(index) < MIN_TICKS or (best is not None and len(index) <= len(best.ticks)):
            continue
        best = _lattice(np.array(index), np.array(place), peaks)
    return best


def finest(lattice: Lattice, peaks: np.ndarray) -> Lattice:
    """The lattice of the smallest ticks: a tenth to a half of the spacing, where ticks stand there too.

    Args:
        lattice: what was found first, perhaps only the longer ticks.
        peaks: (n,) all peaks of the row near the feet, px.

    Returns:
        The finer lattice, or the same.
    """
    last = int(lattice.ticks[-1])
    for parts in (10, 5, 4, 3, 2):
        spacing = lattice.spacing / parts
        if spacing < FINEST_SPACING:
            continue
        wanted = lattice.origin + spacing * np.arange(last * parts + 1)
        nearest = peaks[np.abs(wanted[:, None] - peaks[None]).argmin(axis=1)]
        seen = np.abs(nearest - wanted) <= max(0.6, 0.12 * spacing)
        between = np.arange(len(wanted)) % parts != 0
        if seen[between].mean() >= 0.75:
            return _lattice(np.flatnonzero(seen), nearest[seen], peaks)
    return lattice


def _lattice(ticks: np.ndarray, places: np.ndarray, peaks: np.ndarray) -> Lattice:
    """Least-squares lattice through numbered ticks, and how surprising it would be among as many random peaks."""
    spacing, origin = np.polyfit(ticks, places, 1)
    scatter = float(np.sqrt(np.mean((places - origin - spacing * ticks) ** 2)))
    span = int(ticks[-1] - ticks[0])
    density = int(((peaks >= places[0] - 0.5) & (peaks <= places[-1] + 0.5)).sum()) / (span * spacing)
    hit = 1 - math.exp(-density * 4 * max(scatter, 0.2))
    surprise = -float(binom.logsf(len(ticks) - 3, span - 1, hit)) / math.log(2)  # two ticks are always on a lattice
    return Lattice(float(origin), float(spacing), ticks, scatter, surprise)


def long_tick_period(ticks: np.ndarray, lengths: np.ndarray) -> int | None:
    """Every how many ticks a clearly longer one stands.

    Args:
        ticks: (n,) tick numbers.
        lengths: (n,) their lengths in px, nan where unknown.

    Returns:
        2, 5 or 10, the smallest that fits, or None.
    """
    good = np.isfinite(lengths)
    ticks, lengths = ticks[good], lengths[good]
    for period in (2, 5, 10):
        for phase in range(period):
            chosen = ticks % period == phase
            if chosen.sum() < 2 or (~chosen).sum() < 2:
                continue
            if (
                np.percentile(lengths[chosen], 20)
                > 1.25 * np.percentile(lengths[~chosen], 80 if period > 2 else 90) + 1
            ):
                return period
    return None
