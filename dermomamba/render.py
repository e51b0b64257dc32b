"""Pictures from arrays: the outline, the filled mask and colour maps over the photo.

Pure functions, array in, array out. Colour maps are viridis and magma (perceptually uniform and readable
with colour-vision deficiency; Smith and van der Walt 2015, bids.github.io/colormap). A map is coloured over
the limits that are passed in and never stretched silently: the caller states the limits and the real range.
"""

from __future__ import annotations

import cv2
import numpy as np
from skimage.measure import find_contours

CYAN = (0, 222, 255)
ORANGE = (255, 158, 27)
WHITE = (255, 255, 255)
HALO = (6, 22, 30)
MAPS = {"viridis": cv2.COLORMAP_VIRIDIS, "magma": cv2.COLORMAP_MAGMA}


def fit_factor(height: int, width: int, long_side: int = 1400) -> float:
    """By how much `fit` enlarges a photo of this size."""
    return min(long_side / max(height, width), 3.0)


def fit(photo: np.ndarray, long_side: int = 1400) -> np.ndarray:
    """Resize a photo so that its longer side has the given length, enlarging by three times at most.

    Args:
        photo: (H, W, 3) uint8 RGB.
        long_side: wanted length of the longer side, px.

    Returns:
        (h, w, 3) uint8, the same proportions to within a pixel.
    """
    height, width = photo.shape[:2]
    factor = fit_factor(height, width, long_side)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    if size == (width, height):
        return photo.copy()
    return cv2.resize(photo, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC)


def contours(mask: np.ndarray, smooth: float = 0.8) -> list[np.ndarray]:
    """Closed border lines of a mask, in pixel-centre coordinates.

    Marching squares at one half of the Gaussian-softened mask, on the mask's bounding box only, so that the
    staircase of pixel edges does not show. For pictures and for exchange; measures use their own contour.

    Args:
        mask: (H, W) bool.
        smooth: standard deviation of the softening, px.

    Returns:
        One (n, 2) float64 array of (x, y) for every border line, first point repeated at the end; outer lines
        and the lines of holes alike. Empty when the mask is.
    """
    rows = np.flatnonzero(mask.any(axis=1))
    if rows.size == 0:
        return []
    columns = np.flatnonzero(mask.any(axis=0))
    top, left, pad = int(rows[0]), int(columns[0]), 4
    part = np.pad(mask[top : rows[-1] + 1, left : columns[-1] + 1].astype(np.float32), pad)
    soft = cv2.GaussianBlur(part, (0, 0), smooth) if smooth > 0 else part
    lines = find_contours(soft, 0.5)
    if not lines:  # a speck that the softening has flattened: take its pixel edges
        lines = find_contours(part, 0.5)
    return [line[:, ::-1] + np.array([left - pad, top - pad], dtype=np.float64) for line in lines]


def line_width(height: int, width: int) -> float:
    """Width of the outline in px for a picture of this size: about 1/420 of its long side, at least 2."""
    return max(2.0, max(height, width) / 420)


def _stroke(
    picture: np.ndarray, lines: list[np.ndarray], colour: tuple[int, int, int], width: float, closed: bool = True
) -> None:
    shift = 4
    points = [np.round(line * (1 << shift)).astype(np.int32).reshape(-1, 1, 2) for line in lines]
    cv2.polylines(picture, points, closed, colour, max(1, round(width)), cv2.LINE_AA, shift)


def outline(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Draw the mask's border on the picture: a cyan line with a dark halo, legible on skin of any tone.

    Args:
        picture: (h, w, 3) uint8 RGB, at any size with the mask's proportions (see `fit`).
        mask: (H, W) bool.

    Returns:
        (h, w, 3) uint8, a new array.
    """
    drawn = np.ascontiguousarray(picture).copy()
    height, width = picture.shape[:2]
    scale = (width / mask.shape[1], height / mask.shape[0])
    if min(scale) >= 1:
        lines = [(line + 0.5) * scale - 0.5 for line in contours(mask)]
    else:  # a smaller picture: find the line on a mask of its size, which is quicker and cleaner
        lines = contours(resize_mask(mask, height, width))
    thickness = line_width(height, width)
    _stroke(drawn, lines, HALO, thickness * 2 + 1)
    _stroke(drawn, lines, CYAN, thickness)
    return drawn


def compared(picture: np.ndarray, truth: np.ndarray, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Draw three borders on the picture, each with a dark halo: truth in white dashes, before orange, after cyan.

    Args:
        picture: (h, w, 3) uint8 RGB.
        truth, before, after: (H, W) bool with the picture's proportions.

    Returns:
        (h, w, 3) uint8, a new array.
    """
    drawn = np.ascontiguousarray(picture).copy()
    thickness = line_width(*picture.shape[:2])
    lines = [contours(resize_mask(mask, *picture.shape[:2])) for mask in (before, after, truth)]
    _stroke(drawn, [line for group in lines for line in group], HALO, thickness * 2 + 1)
    _stroke(drawn, lines[0], ORANGE, thickness)
    _stroke(drawn, lines[1], CYAN, thickness)
    _stroke(drawn, [dash for line in lines[2] for dash in _dashes(line, thickness * 5)], WHITE, thickness, closed=False)
    return drawn


def _dashes(line: np.ndarray, length: float) -> list[np.ndarray]:
    """Every second piece of a line, each about ``length`` px long."""
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
    piece = (along // length).astype(int)
    return [part for k in range(0, int(piece[-1]) + 1, 2) if len(part := line[piece == k]) > 1]


def resize_mask(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize a mask by area (smaller) or bilinearly (larger) and cut at one half.

    Args:
        mask: (H, W) bool.
        height, width: wanted size, px.

    Returns:
        (height, width) bool.
    """
    smaller = height * width < mask.size
    method = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return cv2.resize(mask.astype(np.float32), (width, height), interpolation=method) >= 0.5


def filled(picture: np.ndarray, mask: np.ndarray, opacity: float) -> np.ndarray:
    """Fill the mask with the outline's hue over the picture, and draw its border.

    Args:
        picture: (h, w, 3) uint8 RGB.
        mask: (H, W) bool with the picture's proportions.
        opacity: 0 (photo only) to 1 (hue only).

    Returns:
        (h, w, 3) uint8, a new array.
    """
    inside = resize_mask(mask, *picture.shape[:2])[..., None]
    hue = np.array(CYAN, dtype=np.float32)
    mixed = np.where(inside, picture * (1 - opacity) + hue * opacity, picture)
    return outline(np.round(mixed).astype(np.uint8), mask)


def colour_map(values: np.ndarray, low: float, high: float, name: str = "viridis") -> np.ndarray:
    """Colour a map over fixed limits; values outside them take the end colours.

    Args:
        values: (h, w) float.
        low, high: the limits, low < high.
        name: "viridis" or "magma".

    Returns:
        (h, w, 3) uint8 RGB.

    Raises:
        ValueError: low is not below high.
    """
    if not low < high:
        raise ValueError(f"the lower limit {low} must be below the upper limit {high}")
    index = np.clip((values.astype(np.float32) - low) / (high - low), 0, 1)
    coloured = cv2.applyColorMap(np.round(index * 255).astype(np.uint8), MAPS[name])
    return cv2.cvtColor(coloured, cv2.COLOR_BGR2RGB)


def over(
    picture: np.ndarray, values: np.ndarray, low: float, high: float, opacity: float, name: str = "viridis"
) -> np.ndarray:
    """Lay a coloured map over the picture, smoothly enlarged to its size.

    The map is enlarged before it is coloured, so that a 12x16 map shows neither blocks nor false hues.

    Args:
        picture: (h, w, 3) uint8 RGB.
        values: (a, b) float, any size.
        low, high: limits of the colours.
        opacity: 0 (photo only) to 1 (map only).
        name: "viridis" or "magma".

    Returns:
        (h, w, 3) uint8, a new array.
    """
    height, width = picture.shape[:2]
    method = cv2.INTER_AREA if values.shape[0] > height else cv2.INTER_LINEAR
    large = cv2.resize(values.astype(np.float32), (width, height), interpolation=method)
    coloured = colour_map(large, low, high, name)
    return cv2.addWeighted(picture, 1 - opacity, coloured, opacity, 0)


def colour_bar(name: str = "viridis", steps: int = 256, height: int = 16) -> np.ndarray:
    """The colours from low (left) to high (right).

    Args:
        name: "viridis" or "magma".
        steps: width, px.
        height: px.

    Returns:
        (height, steps, 3) uint8 RGB.
    """
    ramp = np.tile(np.linspace(0, 1, steps, dtype=np.float32), (height, 1))
    return colour_map(ramp, 0.0, 1.0, name)


def marked_line(picture: np.ndarray, points: list[tuple[float, float]]) -> np.ndarray:
    """Draw one or two marks, and the line between two, in the outline's colours.

    Args:
        picture: (h, w, 3) uint8 RGB.
        points: up to two (x, y) in the picture's own px.

    Returns:
        (h, w, 3) uint8, a new array.
    """
    drawn = np.ascontiguousarray(picture).copy()
    thickness = line_width(*picture.shape[:2])
    arm = thickness * 5
    strokes = []
    for x, y in points:
        strokes += [np.array([[x - arm, y], [x + arm, y]]), np.array([[x, y - arm], [x, y + arm]])]
    if len(points) == 2:
        strokes.append(np.array(points, dtype=np.float64))
    for colour, width in ((HALO, thickness * 2 + 1), ((255, 221, 0), thickness)):
        for stroke in strokes:
            _stroke(drawn, [stroke], colour, width)
    return drawn


def corners(picture: np.ndarray, points: list[tuple[float, float]]) -> np.ndarray:
    """Draw the corners of a polygon and the closed line through them, the first corner larger.

    Args:
        picture: (h, w, 3) uint8 RGB.
        points: (x, y) in the picture's own px.

    Returns:
        (h, w, 3) uint8, a new array.
    """
    drawn = np.ascontiguousarray(picture).copy()
    thickness = line_width(*picture.shape[:2])
    line = [np.array(points, dtype=np.float64)] if len(points) > 1 else []
    for colour, extra in ((HALO, thickness + 1), ((255, 221, 0), 0.0)):
        _stroke(drawn, line, colour, thickness + extra)
        for index, (x, y) in enumerate(points):
            radius = round(thickness * (3.5 if index == 0 else 2) + extra / 2)
            cv2.circle(drawn, (round(x), round(y)), radius, colour, -1, cv2.LINE_AA)
    return drawn
