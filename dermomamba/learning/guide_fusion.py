"""Guide Fusion: the boundary map and the loss that weighs pixels near the border more.

Hoang et al. 2025 (doi 10.1007/s10044-025-01506-w), section on the Guide Fusion Loss. With the mask ``t`` in
{0, 1}, ``d`` the Euclidean distance from a pixel to the nearest pixel of the other class, and
``p = sigmoid(z)``:

    A = 1 / (1 + d)                       boundary map, in (0, 1/2]; 0 everywhere for an empty or full mask

``mode="guided"`` (default), per image, then the mean over images, with ``w = 1 + lambda A`` and ``s = 1``:

    bce  = sum(w BCE(z, t)) / sum(w)
    dice = 1 - (2 sum(p t) + s) / (sum(p) + sum(t) + s)
    edge = 1 - (2 sum(A p t) + s) / (sum(A p) + sum(A t) + s)
    loss = bce + dice + edge

``mode="published"``: what the published code computes, for reproduction: ``mean(BCE(p, t) + D A)`` where
BCE *takes logits but is given p*, and ``D`` is one Dice loss over the whole batch (``s = 1e-3``). Since ``D``
is a scalar, A only scales it by mean(A): where the border is has no effect on the gradient. By default its
distances are taken over the batch as one volume, as published, so they leak from image to image.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

Mode = Literal["guided", "published"]


def _distance_to(inside: Tensor) -> Tensor:
    """Exact Euclidean distance of every pixel to the nearest true pixel, in pixels; inf where there is none.

    Separable squared distances (Felzenszwalb and Huttenlocher 2012, doi 10.4086/toc.2012.v008a019): along the
    rows by running maxima, then the minimum over rows, a few at a time. No data-dependent shapes.

    Args:
        inside: (B, H, W) bool.

    Returns:
        (B, H, W) float32.
    """
    _, height, width = inside.shape
    column = torch.arange(width, device=inside.device, dtype=torch.float32)
    none = torch.tensor(float("-inf"), device=inside.device)
    left = torch.where(inside, column, none).cummax(dim=2).values  # nearest true column at or left of each
    mirrored = torch.where(inside.flip(2), column, none).cummax(dim=2).values  # the same, seen from the right
    in_row = torch.minimum(column - left, (column - mirrored).flip(2)) ** 2  # squared, inf in an empty row
    row = torch.arange(height, device=inside.device, dtype=torch.float32)
    best = torch.full_like(in_row, float("inf"))
    at_once = 16 if inside.is_cuda else 1  # fewer launches on a GPU, less memory traffic on a processor
    for r in range(0, height, at_once):  # from these rows to all rows
        down = (row[:, None] - row[r : r + at_once]) ** 2  # (H, rows)
        candidates = in_row[:, None, r : r + at_once] + down[:, :, None]  # (B, H, rows, W)
        best = torch.minimum(best, candidates.amin(dim=2) if at_once > 1 else candidates[:, :, 0])
    return best.sqrt()


def signed_distance(mask: Tensor) -> Tensor:
    """Distance of every pixel to the nearest pixel of the other class, each image on its own.

    Args:
        mask: (B, H, W) or (B, 1, H, W); bool, or a number where the lesion is >= 0.5.

    Returns:
        Same shape, float32 in pixels: at least 1 in the skin, at most -1 in the lesion; infinite for an empty mask,
        -infinite for a full one.
    """
    inside = (mask if mask.dtype == torch.bool else mask >= 0.5).reshape(-1, *mask.shape[-2:])
    return torch.where(inside, -_distance_to(~inside), _distance_to(inside)).reshape(mask.shape)


def boundary_map(mask: Tensor) -> Tensor:
    """Guide Fusion's boundary map ``A = 1 / (1 + d)``, each image on its own.

    Args:
        mask: (B, H, W) or (B, 1, H, W); bool, or a number where the lesion is >= 0.5.

    Returns:
        Same shape, float32 in (0, 1/2]: 1/2 on both sides of the border; 0 for an empty or full mask.
    """
    return 1 / (1 + signed_distance(mask).abs())


def _published_boundary_map(target: Tensor) -> Tensor:
    """The published map: one distance transform over the 4-D batch, on the CPU, as scipy computes it."""
    from scipy.ndimage import distance_transform_edt

    mask = target.detach().cpu().numpy()
    distance = distance_transform_edt(mask == 0) + distance_transform_edt(mask == 1)
    return torch.from_numpy((1 / (1 + distance)).astype(np.float32)).to(target.device)


def _dice_loss(p: Tensor, t: Tensor, smooth: float, dim: tuple[int, ...], weight: Tensor | float = 1.0) -> Tensor:
    """``1 - (2 sum(w p t) + s) / (sum(w p) + sum(w t) + s)`` over the given dimensions."""
    overlap, total = (weight * p * t).sum(dim), (weight * (p + t)).sum(dim)
    return 1 - (2 * overlap + smooth) / (total + smooth)


def guide_fusion_loss(
    logits: Tensor,
    target: Tensor,
    mode: Mode = "guided",
    boundary_weight: float = 4.0,
    per_image: bool = False,
    distance: Tensor | None = None,
    image_weight: Tensor | None = None,
) -> Tensor:
    """Guide Fusion Loss; the formulas stand at the top of this file.

    Args:
        logits: (B, 1, H, W) float.
        target: (B, 1, H, W) in [0, 1]; soft edges are allowed, the border is where it crosses 0.5.
        mode: "guided", or "published" to reproduce the published arithmetic.
        boundary_weight: lambda of the guided mode: a border pixel counts 1 + lambda / 2 times in the BCE.
        per_image: in the published mode, take distances within each image instead of over the batch.
        distance: ``signed_distance(target)`` where it is known already (guided mode).
        image_weight: (B,) >= 0, how much each image counts in the mean over images (guided mode), or None.

    Returns:
        Scalar float32 >= 0, finite for empty and full masks.

    Raises:
        ValueError: shapes differ, the target leaves [0, 1] (a mask in {0, 255}), or the mode is unknown.
    """
    if logits.shape != target.shape:
        raise ValueError(f"logits {tuple(logits.shape)} and target {tuple(target.shape)} differ in shape")
    if target.device.type == "cpu" and target.numel() and target.max() > 1:  # would stall a GPU
        raise ValueError("the target must lie in [0, 1]; divide a mask in {0, 255} by 255")
    logits, target = logits.float(), target.float()
    if mode == "published":
        p = torch.sigmoid(logits)
        attention = boundary_map(target) if per_image else _published_boundary_map(target)
        dice = _dice_loss(p, target, 1e-3, (0, 1, 2, 3))
        return (F.binary_cross_entropy_with_logits(p, target) + dice * attention).mean()
    if mode != "guided":
        raise ValueError(f"mode is 'guided' or 'published', not {mode!r}")
    pixels = (1, 2, 3)
    with torch.no_grad():
        attention = boundary_map(target) if distance is None else 1 / (1 + distance.abs())
        weight = 1 + boundary_weight * attention
    p = torch.sigmoid(logits)
    bce = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    bce = (weight * bce).sum(pixels) / weight.sum(pixels)  # (B,)
    dice = _dice_loss(p, target, 1.0, pixels)
    edge = _dice_loss(p, target, 1.0, pixels, attention)
    return mean_over_images(bce + dice + edge, image_weight)


def mean_over_images(values: Tensor, weight: Tensor | None = None) -> Tensor:
    """The mean of (B,), or the weighted mean; 0 when all weights are 0."""
    if weight is None:
        return values.mean()
    return (values * weight).sum() / weight.sum().clamp_min(1e-6)


class GuideFusionLoss(nn.Module):
    """``guide_fusion_loss`` as a module, with its settings.

    Args:
        mode: "guided" (default) or "published".
        boundary_weight: lambda of the guided mode.
        per_image: in the published mode, distances within each image.

    Shape:
        logits and target (B, 1, H, W); output scalar.
    """

    def __init__(self, mode: Mode = "guided", boundary_weight: float = 4.0, per_image: bool = False) -> None:
        super().__init__()
        self.mode: Mode = mode
        self.boundary_weight = boundary_weight
        self.per_image = per_image

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return guide_fusion_loss(logits, target, self.mode, self.boundary_weight, self.per_image)
