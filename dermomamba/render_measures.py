"""The measures drawn on the photo: longest diameter, indentations and protrusions, the outline folded on itself.

Pure functions, array in, array out. Each drawing has its own colour and its own shape, so that colour is never the
only difference; all have the dark halo of the outline.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import cv2
import numpy as np

from dermomamba.render import HALO, ORANGE, WHITE, line_width

YELLOW, LILAC = (255, 221, 0), (224, 176, 255)
GROUPS = ("diameter", "bays", "folds")
"""What can be drawn, in the order in which it is laid over the picture from the bottom up (the last lies lowest)."""
SHIFT = 4


def drawn(
    picture: np.ndarray, drawings: Mapping[str, np.ndarray], groups: Collection[str], factor: float
) -> np.ndarray:
    """Draw measures on a picture.

    Args:
        picture: (h, w, 3) uint8 RGB.
        drawings: of a `Measurements`, points (x, y) in photo px; what is missing is left out.
        groups: any of `GROUPS`.
        factor: by how much the picture is larger than the photo.

    Returns:
        (h, w, 3) uint8, a new array.
    """
    canvas = np.ascontiguousarray(picture).copy()
    width = line_width(*canvas.shape[:2])
    placed = {name: (np.asarray(points) + 0.5) * factor - 0.5 for name, points in drawings.items() if len(points)}
    if "folds" in groups:
        for axis, fold, colour in (("axis_major", "folded_major", LILAC), ("axis_minor", "folded_minor", ORANGE)):
            _line(canvas, placed.get(fold), colour, width * 0.8, closed=True)
            _line(canvas, placed.get(axis), colour, width * 0.8, dashed=True)
    if "bays" in groups:
        for x, y in placed.get("indentations", ()):
            _mark(canvas, x, y, ORANGE, width, sides=24)
        for x, y in placed.get("protrusions", ()):
            _mark(canvas, x, y, LILAC, width, sides=3)
    if "diameter" in groups:
        for name, colour in (("width", WHITE), ("longest_diameter", YELLOW)):
            _line(canvas, placed.get(name), colour, width)
            for x, y in placed.get(name, ()):
                _mark(canvas, x, y, colour, width * 0.6, sides=24)
    return canvas


def _line(
    canvas: np.ndarray,
    points: np.ndarray | None,
    colour: tuple[int, int, int],
    width: float,
    closed: bool = False,
    dashed: bool = False,
) -> None:
    if points is None or len(points) < 2:
        return
    lines = _dashes(points[0], points[-1], width * 5) if dashed else [points]
    fixed = [np.round(line * (1 << SHIFT)).astype(np.int32).reshape(-1, 1, 2) for line in lines]
    for stroke, thickness in ((HALO, width * 2 + 1), (colour, width)):
        cv2.polylines(canvas, fixed, closed, stroke, max(1, round(thickness)), cv2.LINE_AA, SHIFT)


def _dashes(start: np.ndarray, end: np.ndarray, length: float) -> list[np.ndarray]:
    """A segment cut into dashes with gaps of the same length."""
    count = max(1, round(float(np.hypot(*(end - start))) / length / 2) * 2 - 1)
    ends = start + np.linspace(0, 1, count + 1)[:, None] * (end - start)
    return [ends[i : i + 2] for i in range(0, count, 2)]


def _mark(canvas: np.ndarray, x: float, y: float, colour: tuple[int, int, int], width: float, sides: int) -> None:
    """A filled regular polygon, pointing up: three sides for a triangle, many for a disc."""
    turn = np.linspace(-np.pi / 2, 1.5 * np.pi, sides, endpoint=False)
    unit = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    for fill, radius in ((HALO, width * 4.2 + 1), (colour, width * 3)):
        points = np.round((np.array([x, y]) + unit * radius) * (1 << SHIFT)).astype(np.int32)
        cv2.fillPoly(canvas, [points], fill, cv2.LINE_AA, SHIFT)
