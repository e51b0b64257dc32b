"""Between a photo's own size and the network's: one way in for photos, one way back for maps.

Probabilities are enlarged bilinearly and thresholded afterwards; enlarging a mask instead fabricates about 40%
border irregularity (research notes, section 2.2).
"""

from __future__ import annotations

import numpy as np


def to_network(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Squeeze a photo, or a grey mask, straight to the network's size, as the paper does.

    Args:
        image: (H, W, 3) or (H, W) uint8.
        size: (h, w) of the network.

    Returns:
        (h, w, 3) or (h, w) uint8: area average where it shrinks, bilinear where it grows.
    """
    height, width = size
    if image.shape[:2] == (height, width):
        return image
    import cv2  # here, so that pictures of the network's own size need no OpenCV (a lent GPU may lack it)

    shrinks = image.shape[0] >= height and image.shape[1] >= width
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def to_photo(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Enlarge (or shrink) a map bilinearly to the photo's own size.

    Args:
        values: (h, w) float32.
        size: (H, W) of the photo.

    Returns:
        (H, W) float32.
    """
    import cv2

    height, width = size
    return cv2.resize(values, (width, height), interpolation=cv2.INTER_LINEAR)
