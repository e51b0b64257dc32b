"""Correcting an outline: arithmetic on masks at the photo's own size, strokes from the canvas, undo and redo.

Every function takes and returns (H, W) bool and leaves its argument as it was. Distances are Euclidean, between pixel
centres; beyond the frame nothing is known, so the frame neither eats a lesion that it cuts nor feeds it.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from skimage.draw import polygon2mask

from dermomamba.errors import DataError
from dermomamba.postprocess import clean_mask

Point = tuple[float, float]
CANVAS = (648, 864)
"""(h, w) of the canvas, px: about its size on a screen, three times the network's lines; from some megapixels on the
browser's editor hands over its strokes one action late, and every stroke sends the canvas."""


@dataclass(frozen=True, eq=False)  # compared by identity: Gradio hashes what a session holds
class Drawn:
    """A photo with the outline that a person has accepted.

    Attributes:
        photo: (H, W, 3) uint8 RGB.
        mask: (H, W) bool, the lesion.
        edited_px: pixels in which the mask differs from what the network had proposed.
    """

    photo: np.ndarray = field(repr=False)
    mask: np.ndarray = field(repr=False)
    edited_px: int


def grow(mask: np.ndarray, radius: float) -> np.ndarray:
    """Add every pixel within a distance of the mask.

    Args:
        mask: (H, W) bool.
        radius: px, 0 or more.

    Returns:
        (H, W) bool; an empty mask stays empty.
    """
    if not mask.any():
        return mask.copy()
    distance = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return distance <= radius


def shrink(mask: np.ndarray, radius: float) -> np.ndarray:
    """Take away every pixel within a distance of the background: the complement of ``grow`` of the complement.

    Args:
        mask: (H, W) bool.
        radius: px, 0 or more.

    Returns:
        (H, W) bool; a mask that fills the frame stays full.
    """
    return ~grow(~mask, radius)


def fill_holes(mask: np.ndarray) -> np.ndarray:
    """Add background regions that do not reach the frame (4-connected), (H, W) bool."""
    return clean_mask(mask.astype(np.float32), largest=False, fill_holes=True).mask


def keep_largest(mask: np.ndarray) -> np.ndarray:
    """Keep the largest 8-connected region, (H, W) bool."""
    return clean_mask(mask.astype(np.float32), largest=True, fill_holes=False).mask


def smooth(mask: np.ndarray, sigma: float) -> np.ndarray:
    """Round off what is finer than about sigma: Gaussian softening, cut at one half.

    Args:
        mask: (H, W) bool.
        sigma: standard deviation, px, above 0.

    Returns:
        (H, W) bool. A straight border stays where it is; a disc of radius r loses about sigma**2 / (2 r) of it.
    """
    soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    return soft >= 0.5


def parse_points(lines: str) -> list[Point]:
    """Read points as a person types them: one a line, ``x, y`` in photo px from the top left.

    Args:
        lines: numbers apart by a comma, semicolon or space; decimals with a point; empty lines count for nothing.

    Returns:
        The points.

    Raises:
        DataError: a line is not two numbers; the message names it.
    """
    points = []
    for number, line in enumerate(lines.splitlines(), 1):
        if not line.strip():
            continue
        parts = [part for part in re.split(r"[\s,;]+", line.strip()) if part]
        try:
            x, y = (float(part) for part in parts)
            if not (math.isfinite(x) and math.isfinite(y)):
                raise ValueError
        except ValueError:
            raise DataError(f"Line {number} is not a point. Write two numbers, x and y, for example 120, 85.") from None
        points.append((x, y))
    return points


def polygon(points: Sequence[Point], size: tuple[int, int]) -> np.ndarray:
    """The mask inside a closed line; where it crosses itself, by the even-odd rule.

    Args:
        points: (x, y) of the corners in px, pixel centres at whole numbers; the last is joined to the first.
        size: (H, W).

    Returns:
        (H, W) bool; what lies beyond the frame is cut off.

    Raises:
        DataError: fewer than three points, or nothing of the photo lies between them.
    """
    if len(points) < 3:
        raise DataError("An outline needs at least three points. Add more points around the lesion.")
    inside: np.ndarray = polygon2mask(size, np.array([(y, x) for x, y in points], dtype=np.float64))
    if not inside.any():
        raise DataError("No part of the photo lies between these points. Set them around the lesion.")
    return inside


HOW = ("replace", "add", "cut")


def with_polygon(mask: np.ndarray, points: Sequence[Point], how: str) -> np.ndarray:
    """Replace the mask by a polygon, add one to it, or cut one out of it.

    Args:
        mask: (H, W) bool.
        points: see ``polygon``.
        how: one of ``HOW``.

    Returns:
        (H, W) bool.

    Raises:
        DataError: see ``polygon``.
        ValueError: unknown ``how``.
    """
    height, width = mask.shape
    inside = polygon(points, (height, width))
    if how == "replace":
        return inside
    if how == "add":
        return mask | inside
    if how == "cut":
        return mask & ~inside
    raise ValueError(f"how must be one of {HOW}, not {how!r}")


def canvas_size(height: int, width: int, frame: tuple[int, int] = CANVAS) -> tuple[int, int]:
    """Size (h, w) at which a photo of the given size just fits into the frame (h, w), in its own proportions."""
    factor = min(frame[0] / height, frame[1] / width)
    return min(frame[0], max(1, round(height * factor))), min(frame[1], max(1, round(width * factor)))


def resized(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A mask at another size: by area where it shrinks, bilinear where it grows, cut at one half.

    Args:
        mask: (H, W) bool.
        size: (h, w).

    Returns:
        (h, w) bool.
    """
    if mask.shape == size:
        return mask.copy()
    method = cv2.INTER_AREA if size[0] * size[1] < mask.size else cv2.INTER_LINEAR
    return cv2.resize(mask.astype(np.float32), size[::-1], interpolation=method) >= 0.5


def apply_strokes(mask: np.ndarray, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Bring strokes that were made on a canvas of another size back to the mask.

    Only canvas pixels that differ between ``before`` and ``after`` were touched, and the ring of one canvas pixel
    around them, so that no seam is left where a stroke meets the finer border. There the mask becomes ``after``,
    resized and cut at one half; everywhere else it stays bit for bit.

    Args:
        mask: (H, W) bool, which ``before`` shows.
        before, after: (h, w) bool, the canvas before and after the strokes.

    Returns:
        (H, W) bool; exactly ``after`` when the canvas has the mask's own size.

    Raises:
        ValueError: before and after differ in size.
    """
    if before.shape != after.shape:
        raise ValueError(f"two canvases of one size are needed, not {before.shape} and {after.shape}")
    changed = before != after
    if not changed.any():
        return mask.copy()
    if mask.shape == after.shape:
        return after.copy()
    height, width = mask.shape
    ring = cv2.dilate(changed.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(np.float32)
    method = cv2.INTER_AREA if mask.size < after.size else cv2.INTER_NEAREST_EXACT
    touched = cv2.resize(ring, (width, height), interpolation=method) > 0
    return np.where(touched, resized(after, (height, width)), mask)


def changed_px(mask: np.ndarray, other: np.ndarray) -> int:
    """In how many pixels two masks (H, W) bool differ."""
    return int(np.count_nonzero(mask != other))


STEPS = 50


@dataclass(frozen=True, eq=False)
class History:
    """The masks of one photo in the order in which they came, with undo and redo; it never changes.

    Masks are kept as packed bits, deflated: some ten kilobytes for twelve megapixels.

    Attributes:
        size: (H, W).
        past: older masks, the last one newest; at most ``STEPS``.
        now: the present mask.
        future: masks that were undone, the next one first.
    """

    size: tuple[int, int]
    past: tuple[bytes, ...] = field(repr=False)
    now: bytes = field(repr=False)
    future: tuple[bytes, ...] = field(repr=False)

    @classmethod
    def start(cls, mask: np.ndarray) -> History:
        """A history that holds one mask (H, W) bool."""
        height, width = mask.shape
        return cls((height, width), (), _packed(mask), ())

    @property
    def mask(self) -> np.ndarray:
        """(H, W) bool, a new array."""
        bits = np.unpackbits(np.frombuffer(zlib.decompress(self.now), np.uint8), count=self.size[0] * self.size[1])
        return bits.astype(bool).reshape(self.size)

    def then(self, mask: np.ndarray) -> History:
        """The history with a new present mask; what had been undone is gone. An equal mask is no step."""
        if mask.shape != self.size:
            raise ValueError(f"a mask of size {self.size} is needed, not {mask.shape}")
        packed = _packed(mask)
        if packed == self.now:
            return self
        return replace(self, past=(*self.past, self.now)[-STEPS:], now=packed, future=())

    def undo(self) -> History:
        """One step back; the same at the beginning."""
        if not self.past:
            return self
        return replace(self, past=self.past[:-1], now=self.past[-1], future=(self.now, *self.future))

    def redo(self) -> History:
        """One step forward; the same at the end."""
        if not self.future:
            return self
        return replace(self, past=(*self.past, self.now), now=self.future[0], future=self.future[1:])


def _packed(mask: np.ndarray) -> bytes:
    return zlib.compress(np.packbits(mask).tobytes(), 1)
