"""The loss of a recipe: Guide Fusion, the plain sum without it, or the published one; with the terms that it weighs.

Images may count differently in the mean, where a source gives them weights.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dermomamba.errors import DataError
from dermomamba.learning.guide_fusion import guide_fusion_loss, mean_over_images, signed_distance
from dermomamba.learning.overlap_losses import lovasz_hinge, surface_loss


class RecipeLoss(nn.Module):
    """``guided + lovasz_weight x Lovasz hinge + surface_weight x boundary loss``, or the published loss alone.

    Args:
        mode: "guided", "plain" (BCE and Dice of each image, without the boundary map) or "published".
        boundary_weight: lambda of the guided loss.
        lovasz_weight: of the Lovasz hinge; 0 leaves it out.
        surface_weight: of the boundary loss; 0 leaves it out.

    Shape:
        logits and target (B, 1, H, W), image_weight (B,) or None; output scalar.

    Raises:
        DataError: the published loss is asked for together with another term.
    """

    def __init__(
        self,
        mode: Any = "guided",
        boundary_weight: float = 4.0,
        lovasz_weight: float = 0.0,
        surface_weight: float = 0.0,
    ) -> None:
        super().__init__()
        if mode not in ("guided", "plain", "published"):
            raise DataError(f"A recipe's loss is 'guided', 'plain' or 'published', not '{mode}'.")
        if mode == "published" and (lovasz_weight or surface_weight):
            raise DataError("The published loss stands alone: set lovasz_weight and surface_weight to 0.")
        self.mode = mode
        self.boundary_weight = boundary_weight
        self.lovasz_weight = lovasz_weight
        self.surface_weight = surface_weight

    def forward(self, logits: Tensor, target: Tensor, image_weight: Tensor | None = None) -> Tensor:
        if self.mode == "published":
            # One batch-wide Dice: images have no weights of their own. Distances within each image: the published
            # transform over the batch runs on the CPU and stalls a GPU, and only the map's mean matters.
            return guide_fusion_loss(logits, target, "published", per_image=True)
        with torch.no_grad():
            distance = signed_distance(target)
        if self.mode == "plain":
            loss = mean_over_images(bce_and_dice(logits.float(), target), image_weight)
        else:
            loss = guide_fusion_loss(
                logits, target, "guided", self.boundary_weight, distance=distance, image_weight=image_weight
            )
        if self.lovasz_weight:
            loss = loss + self.lovasz_weight * mean_over_images(lovasz_hinge(logits, target), image_weight)
        if self.surface_weight:
            loss = loss + self.surface_weight * mean_over_images(surface_loss(logits, distance), image_weight)
        return loss


def bce_and_dice(logits: Tensor, target: Tensor) -> Tensor:
    """``BCE + 1 - (2 sum(p t) + 1) / (sum(p) + sum(t) + 1)`` of each image: the guided loss with A = 0 everywhere.

    Args:
        logits, target: (B, 1, H, W) float.

    Returns:
        (B,).
    """
    p = torch.sigmoid(logits)
    bce = F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(dim=(1, 2, 3))
    return bce + 1 - (2 * (p * target).sum((1, 2, 3)) + 1) / ((p + target).sum((1, 2, 3)) + 1)
