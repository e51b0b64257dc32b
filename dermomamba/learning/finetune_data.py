"""What fine-tuning looks at: the person's pairs, checked and split, and phantoms so that nothing is forgotten.

Photos are known by a hash of their pixels, never by name. A photo that comes twice is used once, so that none can be
on both sides of the split (research notes, section 8). Rehearsal: a few examples of another kind among the new ones
keep a network from forgetting (Robins 1995, doi 10.1080/09540099550039318); ours are phantoms with known masks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dermomamba.errors import DataError
from dermomamba.learning.datasets import Pair, load_uint8
from dermomamba.phantom import phantom, random_spec
from dermomamba.resample import to_network

MIN_PAIRS = 4
MEASURED_PHANTOMS = 8
_LEARNED_SEED, _MEASURED_SEED = 71, 72


@dataclass(frozen=True)
class Examples:
    """Pairs at the network's size.

    Attributes:
        images: (n, H, W, 3) uint8.
        masks: (n, H, W) uint8 in 0..255.
    """

    images: Tensor
    masks: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device) -> Examples:
        """The same pairs on a device."""
        return Examples(self.images.to(device), self.masks.to(device))


@dataclass(frozen=True)
class OwnPairs:
    """The person's pairs, split.

    Attributes:
        train, held_out: at the network's size.
        held_out_pairs: the same held-out pairs, to be read at their own size.
        numbers: place of each held-out pair among those given, from 1.
        train_hashes, held_out_hashes: SHA-256 of the photos' pixels at the network's size.
        problems: a sentence for each pair that was left out; pairs are called by their number.
    """

    train: Examples
    held_out: Examples
    held_out_pairs: tuple[Pair, ...]
    numbers: tuple[int, ...]
    train_hashes: tuple[str, ...]
    held_out_hashes: tuple[str, ...]
    problems: tuple[str, ...]


def prepare(pairs: Iterable[Pair], size: tuple[int, int], held_out: float, seed: int) -> OwnPairs:
    """Read, check, deduplicate and split.

    Args:
        pairs: photos with masks.
        size: (H, W) of the network.
        held_out: share to hold out, in (0, 1); at least one pair, and at least two to learn from.
        seed: of the draw.

    Returns:
        The split; the same pairs in the same order with the same seed are split in the same way.

    Raises:
        DataError: fewer than four different pairs can be used; the message says what is wrong with the others.
    """
    kept: list[tuple[int, Pair, np.ndarray, np.ndarray, str]] = []
    first: dict[str, int] = {}
    problems: list[str] = []
    for number, pair in enumerate(pairs, start=1):
        try:
            image, mask = load_uint8([pair], size, workers=1)
        except DataError as error:
            reason = str(error).splitlines()[-1].strip().removeprefix(f"{pair.id}: ")
            problems.append(f"Pair {number} cannot be used: {reason}.")
            continue
        if not mask.any():
            problems.append(f"Pair {number} cannot be used: the mask is empty.")
            continue
        digest = hashlib.sha256(image.tobytes()).hexdigest()
        if digest in first:
            problems.append(f"Pair {number} shows the same photo as pair {first[digest]} and was left out.")
            continue
        first[digest] = number
        kept.append((number, pair, image[0], mask[0], digest))
    n = len(kept)
    if n < MIN_PAIRS:
        listed = "".join(f"\n  {problem}" for problem in problems[:20])
        raise DataError(
            f"Fine-tuning needs at least {MIN_PAIRS} different photos with an outline; {n} can be used. "
            f"Add {MIN_PAIRS - n} more.{listed}"
        )
    count = min(max(1, round(held_out * n)), n - 2)
    apart = set(np.random.default_rng(seed).permutation(n)[:count].tolist())
    held = [kept[i] for i in sorted(apart)]
    rest = [kept[i] for i in range(n) if i not in apart]
    return OwnPairs(
        _stack([(k[2], k[3]) for k in rest]),
        _stack([(k[2], k[3]) for k in held]),
        tuple(k[1] for k in held),
        tuple(k[0] for k in held),
        tuple(k[4] for k in rest),
        tuple(k[4] for k in held),
        tuple(problems),
    )


def rehearsal(count: int, size: tuple[int, int], measured: bool = False) -> Examples:
    """Phantoms with their masks; those to learn from and those to measure on are never the same.

    Args:
        count: how many; 0 gives none.
        size: (H, W) of the network.
        measured: draw from those to measure on.

    Returns:
        The same examples for the same arguments.
    """
    rng = np.random.default_rng(_MEASURED_SEED if measured else _LEARNED_SEED)
    drawn = [phantom(random_spec(rng, (2 * size[0], 2 * size[1]))) for _ in range(count)]
    pairs = [(to_network(d.image, size), to_network(d.mask.astype(np.uint8) * np.uint8(255), size)) for d in drawn]
    return _stack(pairs, size)


def _stack(pairs: list[tuple[np.ndarray, np.ndarray]], size: tuple[int, int] = (0, 0)) -> Examples:
    if not pairs:
        return Examples(torch.empty(0, *size, 3, dtype=torch.uint8), torch.empty(0, *size, dtype=torch.uint8))
    images, masks = zip(*pairs, strict=True)
    return Examples(torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(masks)))
