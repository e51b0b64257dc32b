"""The pairs of a recipe, decoded once to uint8 at the network's size."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dermomamba.errors import DataError
from dermomamba.learning.datasets import Pair, group_split, isic2018_split, load_uint8, read_pairs
from dermomamba.learning.recipe import Recipe, Source
from dermomamba.phantom import hair_layer


@dataclass(frozen=True)
class TrainingData:
    """Everything that a run looks at.

    Attributes:
        images, masks: training pairs, (n, H, W, 3) and (n, H, W) uint8.
        val_images, val_masks: held-out pairs, the same.
        hair_bank: (m, H, W) uint8 opacities of drawn hair, or None.
        description: sources with counts, for the card.
    """

    images: Tensor
    masks: Tensor
    val_images: Tensor
    val_masks: Tensor
    hair_bank: Tensor | None = None
    description: list[dict[str, Any]] = field(default_factory=list)

    def to(self, device: torch.device) -> TrainingData:
        """The same pairs on a device."""
        return TrainingData(
            self.images.to(device),
            self.masks.to(device),
            self.val_images.to(device),
            self.val_masks.to(device),
            None if self.hair_bank is None else self.hair_bank.to(device),
            self.description,
        )


def split(source: Source, root: Path, seed: int) -> tuple[tuple[Pair, ...], tuple[Pair, ...], tuple[str, ...]]:
    """Training pairs, validation pairs and problems of one source."""
    pairs = read_pairs(root / source.path)
    if source.split == "isic2018":
        train, val = isic2018_split(pairs)
    elif source.split == "train":
        train, val = pairs.pairs, ()
    else:
        train, val = group_split(pairs, source.group, float(source.split), seed)
    if source.limit is not None:
        order = np.random.default_rng(seed).permutation(len(train))[: source.limit]
        train = tuple(train[i] for i in sorted(order))
    return train, val, pairs.problems


def load(recipe: Recipe, root: Path, workers: int = 4) -> TrainingData:
    """Read, split, decode and resize all sources of a recipe.

    Args:
        recipe: its sources are relative to ``root``.
        root: the data folder.
        workers: threads that decode.

    Returns:
        Tensors on the CPU.

    Raises:
        DataError: a source is missing or holds no usable pair.
    """
    train: list[Pair] = []
    val: list[Pair] = []
    description = []
    for source in recipe.sources:
        some_train, some_val, problems = split(source, root, recipe.seed)
        train += some_train
        val += some_val
        description.append(
            {"source": source.path, "train": len(some_train), "validation": len(some_val), "left_out": len(problems)}
        )
    if not train:
        raise DataError(f"The recipe '{recipe.name}' names no usable training pair under {root}.")
    images, masks = load_uint8(train, recipe.image_size, workers)
    val_images, val_masks = load_uint8(val, recipe.image_size, workers)
    pixels = [torch.from_numpy(array) for array in (images, masks, val_images, val_masks)]
    return TrainingData(pixels[0], pixels[1], pixels[2], pixels[3], hair_bank(recipe), description)


def hair_bank(recipe: Recipe) -> Tensor | None:
    """Drawn hair (m, H, W) uint8 from the phantom generator, for augmentation."""
    if not recipe.hair_bank or not recipe.augment.hair:
        return None
    rng = np.random.default_rng(recipe.seed)
    layers = [hair_layer(recipe.image_size, rng)[0] for _ in range(recipe.hair_bank)]
    return torch.from_numpy((np.stack(layers) * 255).astype(np.uint8))
