"""What may be shown of the network's work: CBAM's gates as they were multiplied, and Guide Fusion's map.

CBAM's gates (Woo et al. 2018, doi 10.1007/978-3-030-01234-2_1) are part of the forward pass. The Guide Fusion
map (Hoang et al. 2025, doi 10.1007/s10044-025-01506-w) is arithmetic on an outline, here on the predicted one.
Neither says why the network decided as it did.
"""

from __future__ import annotations

import cv2
import numpy as np

from dermomamba.network.dermomamba import Gates

LEVELS = ("cbam1", "cbam2", "cbam3", "cbam4", "cbam5")


def spatial_maps(gates: Gates) -> dict[str, np.ndarray]:
    """CBAM's spatial gates of the first image of a batch.

    Args:
        gates: filled by ``DermoMamba.forward``.

    Returns:
        "cbam1" (finest) to "cbam5": (h, w) float32 in (0, 1), at the size the network computed them.
    """
    return {name: gate[0, 0].float().cpu().numpy() for name, gate in zip(LEVELS, gates.spatial, strict=True)}


def channel_gates(gates: Gates) -> dict[str, np.ndarray]:
    """CBAM's channel gates of the first image of a batch: (c,) float32 in (0, 1), c = 32 to 512."""
    return {name: gate[0, :, 0, 0].float().cpu().numpy() for name, gate in zip(LEVELS, gates.channel, strict=True)}


def guide_map(mask: np.ndarray) -> np.ndarray:
    """Guide Fusion's boundary map ``1 / (1 + d)`` of a mask, d to the nearest pixel of the other class.

    Args:
        mask: (h, w) bool, at the network's size, where the loss counts pixels.

    Returns:
        (h, w) float32 in (0, 1/2]; 0 everywhere for an empty or full mask.
    """
    if not mask.any() or mask.all():
        return np.zeros(mask.shape, np.float32)
    inside = mask.astype(np.uint8)
    within = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    outside = cv2.distanceTransform(1 - inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.float32(1) / (1 + within + outside)  # one of the two is 0 everywhere
