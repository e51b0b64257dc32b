"""How well a network in training outlines held-out images: per image, at the network's size, without clean-up."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dermomamba.learning.augment import to_float

FLIPS: tuple[tuple[int, ...], ...] = ((), (3,), (2,), (2, 3))


@torch.no_grad()
def per_image(
    network: nn.Module, images: Tensor, masks: Tensor, flips: bool = False, batch_size: int = 64
) -> tuple[Tensor, Tensor]:
    """IoU and Dice of each image at probability 0.5.

    Args:
        network: in evaluation mode.
        images, masks: (n, H, W, 3) and (n, H, W) uint8 on the network's device.
        flips: average the probabilities of the four mirrorings.
        batch_size: images at once.

    Returns:
        IoU and Dice, (n,) float64 in [0, 1]; 1 where both masks are empty.
    """
    overlaps, sums = [], []
    for start in range(0, len(images), batch_size):
        part = slice(start, start + batch_size)
        x, t = to_float(images[part], masks[part])
        if flips:
            seen = [torch.sigmoid(network(x.flip(f)).float()).flip(f) for f in FLIPS]
            predicted = torch.stack(seen).mean(dim=0) >= 0.5
        else:
            predicted = network(x) >= 0
        truth = t >= 0.5
        overlaps.append((predicted & truth).sum(dim=(1, 2, 3)))
        sums.append(predicted.sum(dim=(1, 2, 3)) + truth.sum(dim=(1, 2, 3)))
    overlap, total = torch.cat(overlaps).double(), torch.cat(sums).double()
    empty = total == 0
    iou = torch.where(empty, 1.0, overlap / (total - overlap).clamp_min(1))
    dice = torch.where(empty, 1.0, 2 * overlap / total.clamp_min(1))
    return iou, dice


def validate(network: nn.Module, images: Tensor, masks: Tensor, batch_size: int = 64) -> tuple[float, float]:
    """Mean IoU and mean Dice over the images (macro), one pass; arguments as ``per_image``."""
    iou, dice = per_image(network, images, masks, batch_size=batch_size)
    return iou.mean().item(), dice.mean().item()
