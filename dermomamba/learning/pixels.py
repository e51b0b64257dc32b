"""The pixels of a run, decoded once and kept on the device as uint8: pools to learn from, images to validate on.

A pool is one source of a recipe. Pools may be kept at different sizes; they meet when they are augmented.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Pool:
    """The training pairs of one source.

    Attributes:
        images, masks: (n, h, w, 3) and (n, h, w) uint8.
        share: of an epoch's images, relative to the other pools'; None for one pass over all.
        window: of random crops, see ``recipe.Source``; None for the whole picture.
        weight: (n,) float32 >= 0, how much each image counts in the loss; None for all the same.
    """

    images: Tensor
    masks: Tensor
    share: float | None = None
    window: tuple[float, float] | None = None
    weight: Tensor | None = None

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device) -> Pool:
        """The same pairs on a device."""
        weight = None if self.weight is None else self.weight.to(device)
        return replace(self, images=self.images.to(device), masks=self.masks.to(device), weight=weight)


@dataclass(frozen=True)
class TrainingData:
    """Everything that a run looks at.

    Attributes:
        pools: pairs to learn from.
        val_images, val_masks: held-out pairs, (n, H, W, 3) and (n, H, W) uint8 at the network's size.
        hair_bank, ruler_bank: (m, H, W) uint8 opacities of drawn hair and rulers, or None.
        description: sources with counts, for the card.
    """

    pools: tuple[Pool, ...]
    val_images: Tensor
    val_masks: Tensor
    hair_bank: Tensor | None = None
    ruler_bank: Tensor | None = None
    description: list[dict[str, Any]] = field(default_factory=list)

    def __len__(self) -> int:
        """Training pairs in all pools."""
        return sum(len(pool) for pool in self.pools)

    def to(self, device: torch.device) -> TrainingData:
        """The same pairs on a device; what is there already is not copied."""
        return TrainingData(
            tuple(pool.to(device) for pool in self.pools),
            self.val_images.to(device),
            self.val_masks.to(device),
            None if self.hair_bank is None else self.hair_bank.to(device),
            None if self.ruler_bank is None else self.ruler_bank.to(device),
            self.description,
        )
