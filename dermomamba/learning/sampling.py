"""Which images an epoch shows, and in which order: a pure function of seed and epoch, so that a run can resume.

A pool is gone through in one random order after another, without a gap between epochs: no image comes a second time
before each has come once, however many of a large pool an epoch takes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def counts(sizes: Sequence[int], shares: Sequence[float | None], images: int | None) -> list[int]:
    """How many images of each pool an epoch shows.

    Args:
        sizes: images of the pools.
        shares: relative shares of the pools, or all None: as many as they hold.
        images: of an epoch; None for as many as all pools hold.

    Returns:
        One count a pool, together ``images``.
    """
    total = sum(sizes) if images is None else images
    parts = [float(size) if share is None else share for size, share in zip(sizes, shares, strict=True)]
    ends = [round(total * sum(parts[: i + 1]) / sum(parts)) for i in range(len(parts))]
    return [end - begin for begin, end in zip([0, *ends[:-1]], ends, strict=True)]


def epoch_order(sizes: Sequence[int], wanted: Sequence[int], epoch: int, seed: int) -> Tensor:
    """The images of one epoch, mixed.

    Args:
        sizes: images of the pools.
        wanted: how many of each pool an epoch shows.
        epoch: from 0.
        seed: of the run.

    Returns:
        (sum of wanted,) int64 numbers of images, counted through all pools.
    """
    parts, first = [], 0
    for pool, (size, count) in enumerate(zip(sizes, wanted, strict=True)):
        begin, end = epoch * count, (epoch + 1) * count
        for lap in range(begin // size, -(-end // size)) if count else ():
            order = _permutation(size, seed, pool, lap)
            parts.append(first + order[max(begin - lap * size, 0) : end - lap * size])
        first += size
    together = torch.cat(parts)
    return together if len(sizes) == 1 else together[_permutation(len(together), seed, len(sizes), epoch)]


def _permutation(n: int, seed: int, stream: int, lap: int) -> Tensor:
    generator = torch.Generator().manual_seed((seed * 100_003 + lap) * 1_009 + stream)
    return torch.randperm(n, generator=generator)
