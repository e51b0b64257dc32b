"""The pairs of a recipe, decoded once to uint8: the network's size, or larger for sources that are cropped."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dermomamba.errors import DataError
from dermomamba.learning.datasets import Pair, Pairs, load_uint8, read_pairs
from dermomamba.learning.partition import group_split, ham10000_train, isic2018_split, isic2018_train
from dermomamba.learning.pixels import Pool, TrainingData
from dermomamba.learning.recipe import Recipe, Source

__all__ = ["Decoder", "Pool", "TrainingData", "drawings", "find", "hair_bank", "load", "split"]

BANKS = "banks.npz"
"""Drawn hair and rulers that a pack of data brings along (``benchmarks/pack_data.py``)."""


def find(root: Path, path: str) -> Pairs:
    """The pairs of a source; ``name.zip`` may also lie there in parts ``name_1of3.zip``, ``name_2of3.zip``, ..."""
    files = [root / path]
    if not files[0].exists():
        files = sorted(files[0].parent.glob(f"{files[0].stem}_*of*{files[0].suffix}")) or files
    parts = [read_pairs(file) for file in files]
    if len(parts) == 1:
        return parts[0]
    pairs = tuple(sorted((pair for part in parts for pair in part), key=lambda pair: pair.id))
    index = {key: row for part in parts for key, row in part.index.items()}
    return Pairs(pairs, tuple(problem for part in parts for problem in part.problems), index, Path(path).name)


def split(source: Source, pairs: Pairs, seed: int) -> tuple[tuple[Pair, ...], tuple[Pair, ...]]:
    """Training pairs and validation pairs of one source."""
    val: tuple[Pair, ...] = ()
    if source.split == "isic2018":
        train, val = isic2018_split(pairs)
    elif source.split == "isic2018_train":
        train = isic2018_train(pairs)
    elif source.split == "ham10000":
        train = ham10000_train(pairs)
    elif source.split == "train":
        train = pairs.pairs
    else:
        train, val = group_split(pairs, source.group, float(source.split), seed)
    if source.least_agreement is not None:
        least = source.least_agreement
        train = tuple(pair for pair in train if _number(pairs, pair, "agreement") >= least)
    if source.limit is not None:
        order = np.random.default_rng(seed).permutation(len(train))[: source.limit]
        train = tuple(train[i] for i in sorted(order))
    return train, val


def _number(pairs: Pairs, pair: Pair, column: str) -> float:
    try:
        return float(pairs.index[pair.id][column])
    except (KeyError, ValueError) as error:
        raise DataError(f"{pair.id}: index.csv of {pairs.name} has no number in the column '{column}'.") from error


@dataclass
class Decoder:
    """Decodes sources; what was decoded is kept on the device for the next recipe.

    Attributes:
        root: the data folder.
        device: where the pixels are kept.
        workers: threads that decode.
    """

    root: Path
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    workers: int = 4
    _pairs: dict[str, Pairs] = field(default_factory=dict)
    _pixels: dict[tuple[str, tuple[int, int]], tuple[dict[str, int], Tensor, Tensor]] = field(default_factory=dict)

    def pairs(self, path: str) -> Pairs:
        """The pairs of a source."""
        if path not in self._pairs:
            self._pairs[path] = find(self.root, path)
        return self._pairs[path]

    def pixels(self, path: str, chosen: tuple[Pair, ...], size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Some pairs of a source at one size: images (n, h, w, 3) and masks (n, h, w), uint8 on the device."""
        key = path, size
        if key not in self._pixels:
            everything = self.pairs(path).pairs
            images, masks = load_uint8(everything, size, self.workers)
            if len(images) != len(everything):
                raise DataError(f"{path} changed while it was read. Start again.")
            numbers = {pair.id: i for i, pair in enumerate(everything)}
            self._pixels[key] = (
                numbers,
                torch.from_numpy(images).to(self.device),
                torch.from_numpy(masks).to(self.device),
            )
        numbers, kept_images, kept_masks = self._pixels[key]
        order = torch.tensor([numbers[pair.id] for pair in chosen], dtype=torch.int64, device=self.device)
        return kept_images[order], kept_masks[order]

    def load(self, recipe: Recipe) -> TrainingData:
        """Everything a recipe looks at; raises DataError when a source is missing or holds no usable pair."""
        pools, val, description = [], [], []
        for source in recipe.sources:
            pairs = self.pairs(source.path)
            train, held = split(source, pairs, recipe.seed)
            size = source.size or recipe.image_size
            if train:
                images, masks = self.pixels(source.path, train, size)
                weight = None
                if source.weigh_by is not None:
                    weight = torch.tensor([_number(pairs, pair, source.weigh_by) for pair in train])
                pools.append(Pool(images, masks, source.share, source.window, weight).to(self.device))
            if held:
                val.append(self.pixels(source.path, held, recipe.image_size))
            description.append(
                {
                    "source": source.path,
                    "train": len(train),
                    "validation": len(held),
                    "left_out": len(pairs.problems),
                }
            )
        if not pools:
            raise DataError(f"The recipe '{recipe.name}' names no usable training pair under {self.root}.")
        nothing = torch.zeros((0, *recipe.image_size), dtype=torch.uint8)
        images = torch.cat([pair[0] for pair in val]) if val else nothing[..., None].expand(-1, -1, -1, 3)
        masks = torch.cat([pair[1] for pair in val]) if val else nothing
        hair, ruler = (self._bank(recipe, kind) for kind in ("hair", "ruler"))
        return TrainingData(tuple(pools), images, masks, hair, ruler, description).to(self.device)

    def _bank(self, recipe: Recipe, kind: str) -> Tensor | None:
        amount = recipe.augment.hair if kind == "hair" else recipe.augment.ruler
        if not recipe.hair_bank or not amount:
            return None
        packed = self.root / BANKS
        if not packed.is_file():
            return drawings(kind, recipe.image_size, recipe.hair_bank, recipe.seed)
        with np.load(packed) as banks:
            bank = torch.from_numpy(banks[kind])
        if tuple(bank.shape[1:]) != recipe.image_size:
            raise DataError(f"{BANKS} was drawn for another image size. Pack the data again.")
        return bank[: recipe.hair_bank]


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
    return Decoder(root, workers=workers).load(recipe)


def drawings(kind: str, size: tuple[int, int], count: int, seed: int) -> Tensor:
    """Drawn hair or rulers (count, H, W) uint8 from the phantom generator, for augmentation.

    Args:
        kind: "hair" or "ruler".
        size: (H, W).
        count: how many.
        seed: of numpy's default_rng.
    """
    from dermomamba.phantom_layers import hair_layer, ruler_layer

    rng = np.random.default_rng(seed)
    layers = [(hair_layer if kind == "hair" else ruler_layer)(size, rng)[0] for _ in range(count)]
    return torch.from_numpy((np.stack(layers) * 255).astype(np.uint8))


def hair_bank(recipe: Recipe) -> Tensor | None:
    """The drawn hair of a recipe, or None where it asks for none."""
    if not recipe.hair_bank or not recipe.augment.hair:
        return None
    return drawings("hair", recipe.image_size, recipe.hair_bank, recipe.seed)
