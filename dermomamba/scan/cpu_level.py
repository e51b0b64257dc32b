"""One encoder level's compiled steps on tensors, for ``network.inference``. Channels last, float32, no gradients.

Every function takes and returns (B, C, H, W) tensors that lie channels last in memory, unless it says otherwise.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from dermomamba.scan import cpu_around, cpu_pool
from dermomamba.scan.cpu import Arranged, scanned
from dermomamba.scan.cpu_threads import run


class Level(Protocol):
    """The weights of a cross-scale block, D = C / 4, E = 2 D.

    Attributes:
        mixers: (3, 26, D or 8), see ``cpu_around.mixer_worker``.
        before: (D + 1, 2 E), in_proj with the norm's affine, bias last.
        depthwise: (10, E), bias last.
        scan: the scan's parameters.
        eps: of the norm before and the norm behind the scan, and one more for others.
        out_norm: (2, E), weight and bias.
        after: (E, D or 8), out_proj.
        affine: (2, C), the block's BatchNorm.
    """

    mixers: Tensor
    before: Tensor
    depthwise: Tensor
    scan: Arranged
    eps: tuple[float, float, float]
    out_norm: Tensor
    after: Tensor
    affine: Tensor


def _flat(x: Tensor) -> np.ndarray:
    """The memory of a tensor that lies channels last (four axes) or row by row, one-dimensional, not copied."""
    if x.ndim == 4 and not x.is_contiguous():
        x = x.permute(0, 2, 3, 1)
    return x.detach().view(-1).numpy()


def _laid(x: Tensor) -> Tensor:
    """``x`` (B, C, H, W) as (B, H, W, C) without gaps."""
    return x.permute(0, 2, 3, 1).contiguous()


def cross_scale(x: Tensor, level: Level) -> Tensor:
    """``ReLU(BatchNorm(CSMB))``: the three branches through mixers and VSS block, the fourth untouched."""
    image = _laid(x)  # (B, H, W, C)
    batch, height, width, channels = image.shape
    size, pixels = channels // 4, height * width
    inner, threads = 2 * size, torch.get_num_threads()
    mixed = x.new_empty(3 * batch, height, width, size)
    bands = min(max(1, height // 12), max(2, threads))
    run(
        cpu_around.mixer_worker, 3 * batch * bands, _flat(image), _flat(level.mixers), _flat(mixed),
        batch, height, width, channels, bands,
    )  # fmt: skip
    xz = x.new_empty(3 * batch, height, width, 2 * inner)
    chunks = -(-3 * batch * pixels // cpu_around.CHUNK)
    run(
        cpu_around.before_worker, chunks, _flat(mixed), _flat(level.before), level.eps[0], _flat(xz),
        3 * batch * pixels, size,
    )  # fmt: skip
    u = x.new_empty(3 * batch, height, width, inner)
    tasks = 3 * batch * -(-height // cpu_around.BAND)
    run(
        cpu_around.depthwise_worker, tasks, _flat(xz), _flat(level.depthwise), _flat(u),
        3 * batch, height, width, inner,
    )  # fmt: skip
    y, _ = scanned(u, level.scan)
    out = torch.empty_like(image)
    tasks = 4 * batch * -(-pixels // cpu_around.CHUNK)
    run(
        cpu_around.after_worker, tasks, y.shape[0], y.view(-1).numpy(), _flat(xz), _flat(level.out_norm),
        level.eps[1], _flat(level.after), _flat(mixed), _flat(image), _flat(level.affine), _flat(out),
        batch, pixels, size,
    )  # fmt: skip
    return out.permute(0, 3, 1, 2)


def instance_residual(x: Tensor, norm: Tensor, eps: float, slope: float, b: Tensor, scale: float) -> Tensor:
    """``LeakyReLU(InstanceNorm(x)) + scale b``.

    Args:
        x: (B, C, H, W), overwritten where it lies channels last.
        norm: (2, C), weight and bias.
        eps: added to the variance.
        slope: of the LeakyReLU, in [0, 1].
        b: as x, the residual.
        scale: its factor.
    """
    image, residual = _laid(x), _laid(b)
    batch, height, width, channels = image.shape
    run(
        cpu_pool.instance_worker, batch * channels // 8, image.view(-1).numpy(), _flat(norm), eps, slope,
        residual.view(-1).numpy(), scale, batch, height * width, channels,
    )  # fmt: skip
    return image.permute(0, 3, 1, 2)


def relu_pool(x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """ReLU, then: its 2x2 max-pool, itself, and its means and maxima over the image, (B, C) each."""
    image = _laid(x)
    batch, height, width, channels = image.shape
    pooled = x.new_empty(batch, height // 2, width // 2, channels)
    means, peaks = x.new_empty(batch, channels), x.new_empty(batch, channels)
    arrays = [t.view(-1).numpy() for t in (image, pooled, means, peaks)]
    run(cpu_pool.pool_worker, batch * channels // 8, *arrays, batch, height, width, channels)
    return pooled.permute(0, 3, 1, 2), image.permute(0, 3, 1, 2), means, peaks


def channel_pools(x: Tensor, gate: Tensor) -> Tensor:
    """Maximum and mean over the channels of ``gate * x``: (B, 2, H, W), lying in that order.

    Args:
        x: (B, C, H, W).
        gate: (B, C).
    """
    image = _laid(x)
    batch, height, width, channels = image.shape
    pooled = x.new_empty(batch, 2, height, width)
    arrays = [t.view(-1).numpy() for t in (image, gate.contiguous(), pooled)]
    run(cpu_pool.spatial_worker, batch * height, *arrays, batch, height, width, channels)
    return pooled


def merge(skip: Tensor, gate: Tensor, below: Tensor) -> Tensor:
    """``gate * skip + up(below)``, up-sampled by two to the nearest.

    Args:
        skip: (B, H, W, C) without gaps, overwritten.
        gate: (B, 1, H, W).
        below: (B, H / 2, W / 2, C).

    Returns:
        (B, C, H, W).
    """
    batch, height, width, channels = skip.shape
    arrays = [skip.view(-1).numpy(), gate.reshape(-1).numpy(), below.contiguous().view(-1).numpy()]
    run(cpu_pool.merge_worker, batch * height, *arrays, batch, height, width, channels)
    return skip.permute(0, 3, 1, 2)
