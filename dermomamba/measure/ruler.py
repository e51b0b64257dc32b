"""Find a ruler printed in the photo: evenly spaced parallel ticks whose feet stand on one line.

1. Thin dark strokes: contrast of the morphological closing against the photo.
2. For each direction of a possible line the strokes are turned upright, everything that is not upright is opened
   away, and each row's autocorrelation is asked for a spacing d with peaks at d, 2d, 3d and none between.
3. Each candidate is checked tick by tick: a lattice u_k = u_0 + k d is fitted to the strokes; hairs and furrows
   fail on the scatter, on strokes off the lattice, or on feet that stand on no line.
The smallest regular spacing is then read in millimetres (``spacing_in_mm``); what was assumed is in the finding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from dermomamba.measure.lattice import MIN_TICKS, Lattice, crests, finest, fit_lattice, long_tick_period

WORK_SIDE = 640  # the photo is reduced to this longer side; ticks nearer than MIN_SPACING there are not resolved
MIN_SPACING, MAX_SPACING = 9, 120  # of the first look; finer ticks are read beside longer ones
STROKE = 5  # shortest upright stroke, px
BAND = 9  # rows searched together, px
ACCEPT = 0.5
WIDEST_FIELD_MM = 60.0  # dermoscopes show about 10 to 35 mm of skin


@dataclass(frozen=True)
class RulerFinding:
    """What was found, or why nothing was.

    Attributes:
        mm_per_pixel: scale of the photo as given, or None.
        tick_spacing_px: smallest regular distance of neighbouring ticks in the photo, px, or None.
        tick_mm: what that distance was taken to be, mm, or None.
        confidence: 0 to 1, from the ticks' fit and from how sure the reading in mm is.
        ticks: number of ticks that stand on the fitted line.
        line: ((x0, y0), (x1, y1)) in the photo, px, from the first tick to the last, close to their feet, or None.
        reason: a sentence: what was found and assumed, or why there is no scale.
    """

    mm_per_pixel: float | None
    tick_spacing_px: float | None
    tick_mm: float | None
    confidence: float
    ticks: int
    line: tuple[tuple[float, float], tuple[float, float]] | None
    reason: str


@dataclass(frozen=True)
class _Candidate:
    angle: float
    row: float
    spacing: float
    score: float


@dataclass(frozen=True)
class _Ruler:
    angle: float
    lattice: Lattice
    foot: float
    lengths: np.ndarray
    confidence: float


def find_ruler(image: np.ndarray, tick_mm: float | None = None) -> RulerFinding:
    """Look for a printed ruler at any angle and read the photo's scale from it.

    Args:
        image: (H, W, 3) uint8 RGB.
        tick_mm: distance of neighbouring ticks if known, in mm; None reads it as ``spacing_in_mm`` says.

    Returns:
        The finding; its ``mm_per_pixel`` is None when no ruler was found.
    """
    strokes, shrink = stroke_map(image)
    best: _Ruler | None = None
    for candidate in _candidates(strokes):
        ruler = _check(strokes, candidate)
        if ruler and (best is None or ruler.confidence > best.confidence):
            best = ruler
        if best and best.confidence > 0.9:
            break
    if best is None or best.confidence < ACCEPT:
        return RulerFinding(
            None, None, None, 0.0 if best is None else best.confidence, 0, None,
            "No ruler was found in this photo. Enter the scale, or draw a line of known length.",
        )  # fmt: skip
    spacing = best.lattice.spacing / shrink
    period = long_tick_period(best.lattice.ticks, best.lengths)
    read, sure, why = spacing_in_mm(spacing, max(image.shape[:2]), period, tick_mm)
    feet = _to_photo(strokes.shape, best, shrink)
    count = len(best.lattice.ticks)
    return RulerFinding(
        read / spacing, spacing, read, round(best.confidence * sure, 3), count, feet,
        f"{count} ticks, {spacing:.1f} px apart. {why} Compare with the photo before you rely on it.",
    )  # fmt: skip


def spacing_in_mm(
    spacing_px: float, longer_side_px: int, period: int | None, tick_mm: float | None = None
) -> tuple[float, float, str]:
    """Read the smallest tick spacing in millimetres.

    It is 1 mm unless told otherwise, with two exceptions: where every second tick is longer it is 0.5 mm (rulers
    mark halves so, never pairs), and where 1 mm would make the photo wider than any dermoscope sees it is 0.1 mm.

    Args:
        spacing_px: smallest regular spacing in px.
        longer_side_px: the photo's longer side in px.
        period: every how many ticks a longer one stands; None when all look alike.
        tick_mm: the spacing if known, in mm.

    Returns:
        (mm, certainty 0 to 1 of this reading, the sentence that states it).
    """
    if tick_mm is not None:
        return tick_mm, 1.0, f"Their distance was given as {tick_mm:g} mm."
    if period == 2:
        return 0.5, 0.9, "Every second tick is longer, so they are taken to be 0.5 mm apart."
    if longer_side_px / spacing_px > WIDEST_FIELD_MM:
        return 0.1, 0.8, "At 1 mm the photo would be wider than a dermoscope sees, so they are taken as 0.1 mm apart."
    if period in (5, 10):
        return 1.0, 1.0, f"Every {'fifth' if period == 5 else 'tenth'} is longer; they are taken to be 1 mm apart."
    return 1.0, 0.8, "They all look alike; they are assumed to be 1 mm apart."


def stroke_map(image: np.ndarray) -> tuple[np.ndarray, float]:
    """Contrast of thin dark strokes.

    Args:
        image: (H, W, 3) uint8 RGB.

    Returns:
        (h, w) float32 in [0, 1] with the longer side at most ``WORK_SIDE``, and the factor h / H.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    shrink = min(1.0, WORK_SIDE / max(grey.shape))
    if shrink < 1:
        size = (round(grey.shape[1] * shrink), round(grey.shape[0] * shrink))
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    ground = cv2.morphologyEx(grey, cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (11, 11)))
    contrast = (ground.astype(np.float32) - grey) / (ground + 20.0)
    floor = max(0.04, 3.0 * float(np.median(contrast)))
    return ((contrast - floor) / 0.14).clip(0, 1).astype(np.float32), shrink


def _frame(shape: tuple[int, int], angle: float) -> tuple[np.ndarray, int]:
    """Affine map from the picture to a square frame whose rows run along ``angle``, and the square's side."""
    height, width = shape
    side = math.ceil(math.hypot(height, width)) + 2
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    cx, cy, mid = (width - 1) / 2, (height - 1) / 2, (side - 1) / 2
    return np.array([[c, s, mid - c * cx - s * cy], [-s, c, mid + s * cx - c * cy]]), side


def _upright(strokes: np.ndarray, angle: float) -> np.ndarray:
    """The strokes at right angles to ``angle``, turned upright; everything else opened away."""
    matrix, side = _frame(strokes.shape, angle)
    turned = cv2.warpAffine(strokes, matrix, (side, side), flags=cv2.INTER_LINEAR)
    return cv2.morphologyEx(turned, cv2.MORPH_OPEN, np.ones((STROKE, 1), np.uint8))


def _candidates(strokes: np.ndarray, step: float = 2.0, keep: int = 24) -> list[_Candidate]:
    """Directions, rows and spacings whose autocorrelation looks like a comb, best first."""
    lags = np.arange(MIN_SPACING, MAX_SPACING + 1)
    on = [np.rint(lags * f).astype(int) for f in (1, 2, 3)]
    off = [np.rint(lags * f).astype(int) for f in (0.5, 1.5, 2.5)]
    found: list[_Candidate] = []
    strokes = np.rint(strokes * 255).astype(np.uint8)  # turned four times faster than floats
    for angle in np.arange(0, 180, step):
        upright = _upright(strokes, float(angle))
        band = cv2.dilate(upright, np.ones((BAND, 1), np.uint8))[BAND // 2 :: 5]
        crest = np.zeros(band.shape, np.float32)  # one mark a stroke, however wide
        crest[:, 1:-1] = (band[:, 1:-1] > 77) & (band[:, 1:-1] >= band[:, :-2]) & (band[:, 1:-1] > band[:, 2:])
        rows = np.flatnonzero(crest.sum(axis=1) >= MIN_TICKS)
        if len(rows) == 0:
            continue
        signal = crest[rows]
        size = 1 << math.ceil(math.log2(signal.shape[1] + 3 * MAX_SPACING + 2))
        power = np.abs(np.fft.rfft(signal, size, axis=1)) ** 2
        echo = np.fft.irfft(power, size, axis=1)[:, : 3 * MAX_SPACING + 3]
        echo = echo + np.roll(echo, 1, axis=1) + np.roll(echo, -1, axis=1)  # a pixel of jitter is allowed
        present = np.minimum.reduce([echo[:, i] for i in on])
        absent = np.mean([echo[:, i] for i in off], axis=0)
        score = (present - absent) / np.sqrt(absent + 4)
        for index in np.argsort(score.max(axis=1))[::-1][:3]:
            lag = int(score[index].argmax())
            row = rows[index] * 5 + BAND // 2
            found.append(_Candidate(float(angle), float(row), float(lags[lag]), float(score[index, lag])))
    distinct: list[_Candidate] = []
    for one in sorted(found, key=lambda c: -c.score):
        if not any(_alike(one, other) for other in distinct):
            distinct.append(one)
        if len(distinct) == keep:
            break
    return distinct


def _alike(one: _Candidate, other: _Candidate) -> bool:
    turn = abs(one.angle - other.angle)
    near = min(turn, 180 - turn) <= 4 and abs(one.row - other.row) <= 20
    return near and abs(one.spacing / other.spacing - 1) < 0.06


def _extents(upright: np.ndarray, lattice: Lattice, row: float) -> tuple[np.ndarray, np.ndarray]:
    """First and last row of the stroke at each tick, nan where the stroke is not there."""
    low = np.full(len(lattice.ticks), np.nan)
    high = low.copy()
    top, bottom = max(0, int(row) - BAND), min(len(upright), int(row) + BAND + 1)
    for i, k in enumerate(lattice.ticks):
        u = round(lattice.origin + lattice.spacing * k)
        column = upright[:, max(0, u - 1) : u + 2].max(axis=1) > 0.3
        if not column[top:bottom].any():
            continue
        filled = np.flatnonzero(column[top:bottom]) + top
        start = filled[np.abs(filled - row).argmin()]
        gaps_before, gaps_after = np.flatnonzero(~column[:start]), np.flatnonzero(~column[start:])
        low[i] = gaps_before[-1] + 1 if len(gaps_before) else 0
        high[i] = start + gaps_after[0] - 1 if len(gaps_after) else len(column) - 1
    return low, high


def _line(ticks: np.ndarray, ends: np.ndarray) -> tuple[float, float, float]:
    """Robust straight line through one end of the strokes: value at tick 0, slope a tick, residual (70%)."""
    good = np.isfinite(ends)
    if good.sum() < MIN_TICKS - 1:
        return 0.0, 0.0, math.inf
    k, v = ticks[good].astype(float), ends[good]
    i, j = np.triu_indices(len(k), 1)
    slope = float(np.median((v[j] - v[i]) / (k[j] - k[i])))  # Theil-Sen
    start = float(np.median(v - slope * k))
    return start, slope, float(np.percentile(np.abs(v - start - slope * k), 70))


def _check(strokes: np.ndarray, candidate: _Candidate) -> _Ruler | None:
    """Fit the lattice tick by tick, straighten the frame along the feet, fit again, and judge."""
    angle, row, spacing = candidate.angle, candidate.row, candidate.spacing
    lattice: Lattice | None = None
    start = residual = 0.0
    low = high = np.empty(0)
    for _ in range(3):
        upright = _upright(strokes, angle)
        top = max(0, int(row) - BAND // 2)
        lattice = fit_lattice(crests(upright[top : int(row) + BAND // 2 + 1].max(axis=0)), spacing)
        if lattice is None:
            return None
        low, high = _extents(upright, lattice, row)
        lines = [_line(lattice.ticks, ends) for ends in (low, high)]
        foot_is_low = lines[0][2] < lines[1][2]
        start, slope, residual = lines[0] if foot_is_low else lines[1]
        if not math.isfinite(residual):
            return None
        turn = math.degrees(math.atan2(slope, lattice.spacing))
        matrix, _ = _frame(strokes.shape, angle)
        foot = _inverse(matrix, lattice.origin, start)
        angle, spacing = angle + turn, lattice.spacing
        matrix, _ = _frame(strokes.shape, angle)
        row = float(matrix[1] @ [*foot, 1.0]) + (3 if foot_is_low else -3)
    assert lattice is not None
    rare = 1 - 2 ** (-max(0.0, lattice.surprise - 10) / 10)
    tight = 1 - (lattice.scatter / max(0.9, 0.06 * lattice.spacing)) ** 2
    level = 1 - (residual / 3.0) ** 2
    upright = _upright(strokes, angle)
    coarse, readings = lattice, [(lattice, row)]
    for at in (row, _far_row(row, low, high, foot_is_low)):
        top = max(0, int(at) - BAND // 2)
        peaks = crests(upright[top : int(at) + BAND // 2 + 1].max(axis=0))
        if len(peaks) >= MIN_TICKS:
            readings.append((finest(fit_lattice(peaks, spacing) or coarse, peaks), at))
    lattice, row = min(readings, key=lambda reading: round(reading[0].spacing, 1))
    low, high = _extents(upright, lattice, row)
    confidence = rare * max(0.0, tight) * max(0.0, level)
    return _Ruler(angle, lattice, row, high - low + 1, float(confidence))


def _far_row(row: float, low: np.ndarray, high: np.ndarray, foot_is_low: bool) -> float:
    """The row just inside the strokes' other ends: long ticks' free ends stand on a line as well."""
    length = float(np.nanpercentile(high - low, 75))
    return row + length - 6 if foot_is_low else row - length + 6


def _inverse(matrix: np.ndarray, u: float, v: float) -> tuple[float, float]:
    """(x, y) in the picture of a place in the turned frame."""
    x, y = cv2.invertAffineTransform(matrix) @ [u, v, 1.0]
    return float(x), float(y)


def _to_photo(shape: tuple[int, int], ruler: _Ruler, shrink: float) -> tuple[tuple[float, float], tuple[float, float]]:
    """Feet of the first and the last tick in the photo's own pixels."""
    matrix, _ = _frame(shape, ruler.angle)
    ends = []
    for k in (ruler.lattice.ticks[0], ruler.lattice.ticks[-1]):
        x, y = _inverse(matrix, ruler.lattice.origin + k * ruler.lattice.spacing, ruler.foot)
        ends.append(((x + 0.5) / shrink - 0.5, (y + 0.5) / shrink - 0.5))
    return ends[0], ends[1]
