"""The steps of one level between its convolutions on NVIDIA GPUs, for ``network.inference_cuda``; no gradients.

Tensors are float32, bfloat16 or float16 and arithmetic is float32. Every function takes and returns (B, C, H, W)
tensors that lie channels last in memory, unless it says otherwise; the steps mean what those of the same name in
``scan.cpu_level`` do. Kernels: ``cuda_level_kernels.py``, imported when first launched.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

TILE = 2048
"""Numbers that a program holds at once, four warps."""
WIDEST = 64
"""Channels of a program, at most."""
BLOCK = 128
"""Pixels of a program that has no channels to hold."""
PROGRAMS = 1056
"""Programs that keep sums, about: eight for each multiprocessor of an H100 or H200."""
PARTS = 128
"""Parts of an image whose sums are kept, at most."""


def _on(x: Tensor) -> AbstractContextManager:
    """The device to launch on."""
    return torch.cuda.device(x.device) if x.is_cuda else nullcontext()


def _laid(x: Tensor) -> Tensor:
    """``x`` (B, C, H, W) as (B, H, W, C) without gaps."""
    return x.permute(0, 2, 3, 1).contiguous()


@dataclass(frozen=True)
class _Cut:
    """How images of so many pixels and channels are cut into programs.

    Attributes:
        sizes: the kernels' constants.
        blocks: programs side by side for the channels.
        parts: parts of an image.
        span: pixels of a part, a multiple of a tile's.
    """

    sizes: dict[str, int]
    blocks: int
    parts: int
    span: int

    @property
    def padded(self) -> int:
        """The power of two that holds all parts."""
        return 1 << (self.parts - 1).bit_length()


def _cut(pixels: int, channels: int, batch: int | None = None, held: int = 1) -> _Cut:
    """Parts of one tile; with ``batch`` as few as fill the GPU, for kernels that keep each part's sums.

    A tile is smaller where a program holds more than one number of a place.
    """
    wide = min(WIDEST, 1 << (channels - 1).bit_length())
    tile, blocks = max(1, TILE // wide // held), -(-channels // wide)
    tiles = -(-pixels // tile)
    each = 1
    if batch is not None:
        each = -(-tiles // min(PARTS, max(1, PROGRAMS // (batch * blocks))))
    return _Cut({"CB": wide, "BP": tile}, blocks, -(-tiles // each), each * tile)


def instance_residual(x: Tensor, norm: Tensor, eps: float, slope: float, b: Tensor, scale: float) -> Tensor:
    """``LeakyReLU(InstanceNorm(x)) + scale b``.

    Args:
        x: (B, C, H, W); a constant added to a channel changes nothing.
        norm: (2, C) float32, weight and bias.
        eps: added to the variance.
        slope: of the LeakyReLU.
        b: as x, the residual.
        scale: its factor.

    Returns:
        (B, C, H, W) in the dtype of x.
    """
    from dermomamba.network.cuda_level_kernels import instance_kernel, moments_kernel

    image, residual = _laid(x), _laid(b)
    batch, height, width, channels = image.shape
    pixels = height * width
    cut = _cut(pixels, channels, batch)
    moments = torch.empty((batch, cut.parts, 2, channels), device=x.device)
    out = torch.empty_like(image)
    grid = (batch * cut.parts, cut.blocks)
    with _on(x):
        moments_kernel[grid](image, moments, pixels, channels, cut.parts, cut.span, **cut.sizes)
        instance_kernel[grid](
            image, moments, *norm, residual, out, pixels, channels, cut.parts, cut.span, eps, slope, scale,
            PARTS=cut.padded, **cut.sizes,
        )  # fmt: skip
    return out.permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Pools:
    """Sums and maxima of the parts of images, for CBAM's channel gate.

    Attributes:
        sums: (B, parts, C) float32.
        peaks: as sums.
        pixels: of one image.
    """

    sums: Tensor
    peaks: Tensor
    pixels: int


def relu_pool(x: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Pools]:
    """ReLU of ``x + bias``, then: its 2x2 max-pool, itself, and what its means and maxima come from.

    Args:
        x: (B, C, H, W), H and W even; overwritten where it lies channels last.
        bias: (C,) float32.
    """
    from dermomamba.network.cuda_level_kernels import relu_pool_kernel

    image = _laid(x)
    batch, height, width, channels = image.shape
    pixels = height * width // 4
    cut = _cut(pixels, channels, batch, held=2)
    pooled = image.new_empty(batch, height // 2, width // 2, channels)
    sums, peaks = torch.empty((2, batch, cut.parts, channels), device=x.device)
    with _on(x):
        relu_pool_kernel[(batch * cut.parts, cut.blocks)](
            image, bias, image, pooled, sums, peaks, width // 2, pixels, channels, cut.parts, cut.span, **cut.sizes
        )
    return pooled.permute(0, 3, 1, 2), image.permute(0, 3, 1, 2), Pools(sums, peaks, 4 * pixels)


def channel_gate(pools: Pools, reduce: tuple[Tensor, Tensor], expand: tuple[Tensor, Tensor]) -> Tensor:
    """CBAM's channel gate: ``sigmoid(MLP(means) + MLP(maxima))``.

    Args:
        pools: of the skip.
        reduce: (hidden, C) and (hidden,), the MLP's first layer.
        expand: (C, hidden) and (C,), its second.

    Returns:
        (B, C) float32.
    """
    from dermomamba.network.cuda_level_kernels import channel_gate_kernel

    batch, parts, channels = pools.sums.shape
    hidden = reduce[0].shape[0]
    gate = pools.sums.new_empty(batch, channels)
    with _on(gate):
        channel_gate_kernel[(batch,)](
            pools.sums, pools.peaks, *reduce, *expand, gate, pools.pixels, channels, hidden, parts,
            CB=min(WIDEST, 1 << (channels - 1).bit_length()), HB=1 << (hidden - 1).bit_length(),
            PARTS=1 << (parts - 1).bit_length(),
        )  # fmt: skip
    return gate


def channel_pools(x: Tensor, gate: Tensor) -> Tensor:
    """Maximum and mean over the channels of ``gate * x``: (B, 2, H, W) float32, lying in that order.

    Args:
        x: (B, C, H, W).
        gate: (B, C) float32.
    """
    from dermomamba.network.cuda_level_kernels import channel_pools_kernel

    image = _laid(x)
    batch, height, width, channels = image.shape
    cut = _cut(height * width, channels)
    pooled = torch.empty((batch, 2, height, width), device=x.device)
    with _on(x):
        channel_pools_kernel[(batch * cut.parts,)](
            image, gate, pooled, height * width, channels, cut.parts, **cut.sizes
        )
    return pooled


def spatial_gate(pooled: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """CBAM's spatial gate: ``sigmoid(conv7x7(pooled) + bias)``.

    Args:
        pooled: (B, 2, H, W) float32, see ``channel_pools``.
        weight: (2, 7, 7) float32.
        bias: (1,) float32.

    Returns:
        (B, 1, H, W) float32.
    """
    from dermomamba.network.cuda_level_kernels import spatial_gate_kernel

    batch, _, height, width = pooled.shape
    parts = -(-height * width // BLOCK)
    gate = pooled.new_empty(batch, 1, height, width)
    with _on(pooled):
        spatial_gate_kernel[(batch * parts,)](pooled, weight, bias, gate, height, width, parts, BP=BLOCK)
    return gate


def merge(side: Tensor, gate: Tensor, below: Tensor) -> Tensor:
    """``gate * side + up(below)``, up-sampled by two to the nearest.

    Args:
        side: (B, H, W, C) without gaps, overwritten.
        gate: (B, 1, H, W) float32.
        below: (B, H / 2, W / 2, C).

    Returns:
        (B, C, H, W).
    """
    from dermomamba.network.cuda_level_kernels import merge_kernel

    batch, height, width, channels = side.shape
    cut = _cut(height * width, channels)
    with _on(side):
        merge_kernel[(batch * cut.parts, cut.blocks)](
            side, gate.contiguous(), below.contiguous(), height, width, channels, cut.parts, **cut.sizes
        )
    return side.permute(0, 3, 1, 2)


def bias_gelu(x: Tensor, bias: Tensor) -> Tensor:
    """``GELU(x + bias)``.

    Args:
        x: (B, C, H, W), overwritten where it lies channels last.
        bias: (C,) float32.
    """
    from dermomamba.network.cuda_level_kernels import gelu_kernel

    image = _laid(x)
    channels, pixels = image.shape[-1], image.shape[:-1].numel()
    cut = _cut(pixels, channels)
    with _on(x):
        gelu_kernel[(cut.parts, cut.blocks)](image, bias, pixels, channels, **cut.sizes)
    return image.permute(0, 3, 1, 2)


def gelu_head(x: Tensor, bias: Tensor, weight: Tensor, head_bias: Tensor) -> Tensor:
    """A 1x1 convolution to one channel of ``GELU(x + bias)``.

    Args:
        x: (B, C, H, W), C at most ``WIDEST``.
        bias: (C,) float32.
        weight: (C,) float32, the convolution's.
        head_bias: (1,) float32.

    Returns:
        (B, 1, H, W) in the dtype of x.
    """
    from dermomamba.network.cuda_level_kernels import gelu_head_kernel

    image = _laid(x)
    batch, height, width, channels = image.shape
    pixels = batch * height * width
    cut = _cut(pixels, channels)
    out = image.new_empty(batch, 1, height, width)
    with _on(x):
        gelu_head_kernel[(cut.parts,)](image, bias, weight, head_bias, out, pixels, channels, **cut.sizes)
    return out
