"""From a probability map to one lesion: threshold, largest component, filled holes.

ISIC's challenge asks for one contiguous region without holes (challenge.isic-archive.com/landing/2018/45);
each step is a switch and says what it changed, so that nothing is dropped silently.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class Cleaned:
    """A binary lesion and what was done to get it.

    Attributes:
        mask: (H, W) bool, the lesion.
        components: number of 8-connected regions at the threshold, before any was dropped.
        dropped_px: pixels of the regions that were dropped.
        filled_px: pixels of the holes that were filled.
    """

    mask: np.ndarray
    components: int
    dropped_px: int
    filled_px: int


def clean_mask(
    probability: np.ndarray, threshold: float = 0.5, largest: bool = True, fill_holes: bool = True
) -> Cleaned:
    """Threshold a probability map, keep the largest region, fill its holes.

    Args:
        probability: (H, W) float in [0, 1].
        threshold: a pixel belongs to the lesion when its probability is >= this, in (0, 1).
        largest: keep only the largest 8-connected region.
        fill_holes: add background regions that do not reach the frame (4-connected).

    Returns:
        The cleaned mask with the counts of what was dropped and filled.
    """
    binary = (probability >= threshold).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(binary, connectivity=8)
    components = count - 1
    dropped = filled = 0
    if largest and components > 1:
        keep = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
        dropped = int(stats[1:, cv2.CC_STAT_AREA].sum() - stats[keep, cv2.CC_STAT_AREA])
        binary = (labels == keep).astype(np.uint8)
    if fill_holes and components:
        background = np.pad(1 - binary, 1, constant_values=1)  # a rim of background joins all that reaches the frame
        _, regions = cv2.connectedComponents(background, connectivity=4)
        holes = ((regions != regions[0, 0]) & (background == 1))[1:-1, 1:-1]
        filled = int(holes.sum())
        binary[holes] = 1
    return Cleaned(binary.astype(bool), components, dropped, filled)
