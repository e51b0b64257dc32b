"""A simulated annotator: corrections of a given outline against drawing one from nothing.

It knows the expert's outline and makes no slip, so it says how much work an outline leaves, not how well people work.
Three models of work:

- dab: one correction is one touch of a round brush whose diameter is a fixed share of the lesion's equivalent
  diameter. All that lies under it becomes lesion (brush) or skin (eraser), right pixels too. The touch that mends
  most, spoilt pixels deducted, comes next; it stops when no touch mends anything.
- region: one correction mends the largest connected wrong region as a whole.
- polygon: from nothing, k clicks on the expert's outline, evenly spaced along it, joined by straight lines; of
  four starting places the best.
"""

from __future__ import annotations

import cv2
import numpy as np
from skimage.measure import find_contours

from dermomamba.correction import polygon
from dermomamba.errors import DataError
from dermomamba.evaluation.metrics import counts, dice

BRUSH = 0.2
"""Diameter of the brush as a share of the lesion's equivalent diameter."""
STARTS = 4


def overlap(mask: np.ndarray, truth: np.ndarray) -> float:
    """Dice of two masks (H, W) bool."""
    return dice(counts(mask, truth))


def brush(truth: np.ndarray, share: float = BRUSH) -> np.ndarray:
    """The brush for a lesion (H, W) bool: an odd square of float32, 1 within the disc."""
    radius = max(0.5, share * np.sqrt(truth.sum() / np.pi))
    reach = int(np.ceil(radius))
    y, x = np.ogrid[-reach : reach + 1, -reach : reach + 1]
    return (y**2 + x**2 <= radius**2).astype(np.float32)


def dabs(mask: np.ndarray, truth: np.ndarray, most: int, share: float = BRUSH) -> list[float]:
    """Dice after 0, 1, ... corrections with the round brush.

    Args:
        mask: (H, W) bool, the outline to start from.
        truth: (H, W) bool, the expert's.
        most: how many corrections.
        share: diameter of the brush over that of the lesion.

    Returns:
        most + 1 values; the last one is repeated once nothing more can be mended.
    """
    kernel = brush(truth, share)
    mask, reach = mask.copy(), kernel.shape[0] // 2
    reached = [overlap(mask, truth)]
    while len(reached) <= most:
        gains = []
        for lesion in (True, False):  # brush, eraser
            worth = np.where(mask == lesion, 0, np.where(truth == lesion, 1, -1)).astype(np.float32)
            gains.append(cv2.filter2D(worth, -1, kernel, borderType=cv2.BORDER_CONSTANT))
        best = np.unravel_index(int(np.argmax(gains)), (2, *mask.shape))
        if np.asarray(gains)[best] < 0.5:  # a count, from a Fourier transform
            return reached + reached[-1:] * (most + 1 - len(reached))
        erase, y, x = (int(index) for index in best)
        padded = np.pad(mask, reach)
        padded[y : y + kernel.shape[0], x : x + kernel.shape[1]][kernel > 0] = not erase
        mask = padded[reach : reach + mask.shape[0], reach : reach + mask.shape[1]]
        reached.append(overlap(mask, truth))
    return reached


def regions(mask: np.ndarray, truth: np.ndarray, most: int) -> list[float]:
    """Dice after 0, 1, ... corrections of whole wrong regions, largest first; arguments as for ``dabs``."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats((mask != truth).astype(np.uint8), connectivity=4)
    order = 1 + np.argsort(-stats[1:, cv2.CC_STAT_AREA], kind="stable")
    reached, mask = [overlap(mask, truth)], mask.copy()
    for label in order[:most]:
        there = labels == label
        mask[there] = truth[there]
        reached.append(overlap(mask, truth))
    return reached + reached[-1:] * (most + 1 - len(reached))


def polygons(truth: np.ndarray, most: int) -> list[float]:
    """Dice of outlines drawn from nothing with 0, 1, ... clicks.

    Args:
        truth: (H, W) bool, the expert's; its longest outline is followed.
        most: how many clicks.

    Returns:
        most + 1 values, 0 for fewer than three clicks.
    """
    lines = find_contours(np.pad(truth, 1).astype(np.float32), 0.5)
    line = max(lines, key=len)[:, ::-1] - 1  # (n, 2) of x, y
    along = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
    reached = [0.0] * 3
    for clicks in range(3, most + 1):
        best = 0.0
        for start in range(STARTS):
            at = (np.arange(clicks) + start / STARTS) / clicks * along[-1]
            points = np.stack([np.interp(at, along, line[:, k]) for k in (0, 1)], axis=1)
            try:
                drawn = polygon([(float(x), float(y)) for x, y in points], truth.shape)
            except DataError:  # so thin that no pixel centre lies inside
                continue
            best = max(best, overlap(drawn, truth))
        reached.append(best)
    return reached[: most + 1]


def needed(reached: list[float], goal: float) -> float:
    """How many corrections or clicks until a Dice is reached; infinite if it never is."""
    return next((float(k) for k, value in enumerate(reached) if value >= goal), float("inf"))
