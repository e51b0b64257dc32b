"""How far apart two outlines run: HD95, normalised surface Dice, boundary IoU.

Implementations differ widely (Podobnik and Vrtovec 2024, arXiv 2410.02630), so these are named: HD95 and NSD are
MONAI's ``compute_hausdorff_distance`` (the larger of the two directed 95th percentiles) and
``compute_surface_dice`` (edge pixels, no sub-voxels), on one channel with ``include_background=True``, since MONAI
would otherwise drop the only channel. An edge pixel is a lesion pixel with a 4-neighbour outside the lesion or the
photo. Boundary IoU is Cheng et al. 2021 (arXiv 2103.16562). Distances are pixels of the photo's own size; those two
that need a tolerance take it as a share of the photo's diagonal, so that photos of different sizes compare.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import torch

NSD_TOLERANCE = 0.0075
BOUNDARY_WIDTH = 0.02


def diagonal(shape: tuple[int, ...]) -> float:
    """Length of a photo's diagonal in px."""
    return math.hypot(shape[0], shape[1])


def hd95(predicted: np.ndarray, truth: np.ndarray) -> float:
    """95th percentile of the Hausdorff distance between two outlines (MONAI).

    Args:
        predicted, truth: (H, W) bool.

    Returns:
        Distance in px; 0 when both masks are empty, NaN when one is (there is no distance to nothing): such a photo
        is left out of the mean, and the number of photos in the mean is reported beside it.
    """
    if not (predicted.any() and truth.any()):
        return 0.0 if predicted.any() == truth.any() else math.nan
    from monai.metrics import compute_hausdorff_distance

    return _monai(compute_hausdorff_distance, predicted, truth, percentile=95)


def surface_dice(predicted: np.ndarray, truth: np.ndarray, tolerance: float | None = None) -> float:
    """Normalised surface Dice: the share of both outlines that lies within a tolerance of the other (MONAI).

    Args:
        predicted, truth: (H, W) bool.
        tolerance: in px; None for 0.75% of the photo's diagonal.

    Returns:
        Fraction in [0, 1]; 1 when both masks are empty, 0 when one is.
    """
    if not (predicted.any() and truth.any()):
        return float(predicted.any() == truth.any())
    from monai.metrics import compute_surface_dice

    tolerance = NSD_TOLERANCE * diagonal(truth.shape) if tolerance is None else tolerance
    return _monai(compute_surface_dice, predicted, truth, class_thresholds=[tolerance])


def boundary_iou(predicted: np.ndarray, truth: np.ndarray, width: int | None = None) -> float:
    """IoU of the two rims: the lesion pixels within a distance of the outline, from inside.

    Args:
        predicted, truth: (H, W) bool.
        width: of the rim in px (chessboard distance); None for 2% of the photo's diagonal, at least 1.

    Returns:
        Fraction in [0, 1]; 1 when both masks are empty.
    """
    width = max(1, round(BOUNDARY_WIDTH * diagonal(truth.shape))) if width is None else width
    one, other = _rim(predicted, width), _rim(truth, width)
    union = np.count_nonzero(one | other)
    return float(np.count_nonzero(one & other) / union) if union else 1.0


def _rim(mask: np.ndarray, width: int) -> np.ndarray:
    """(H, W) bool: lesion pixels that ``width`` erosions by a 3 x 3 square remove; outside the photo is skin."""
    padded = np.pad(mask.astype(np.uint8), 1)
    depth = cv2.distanceTransform(padded, cv2.DIST_C, 3)[1:-1, 1:-1]
    return mask & (depth <= width)


def _monai(function: Callable[..., torch.Tensor], predicted: np.ndarray, truth: np.ndarray, **options: Any) -> float:
    """Call one of MONAI's metrics on both masks as (1, 1, h, w), cut to what they cover: distances do not change."""
    both = predicted | truth
    rows, columns = np.flatnonzero(both.any(axis=1)), np.flatnonzero(both.any(axis=0))
    window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    one, other = (torch.from_numpy(np.pad(mask[window], 1)[None, None]) for mask in (predicted, truth))
    with warnings.catch_warnings():
        # MONAI 1.5 warns about a deprecated argument that it passes to itself.
        warnings.filterwarnings("ignore", category=FutureWarning, module=r"monai\..*")
        return float(function(one, other, include_background=True, **options))
