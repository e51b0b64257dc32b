"""Triton kernels of small depth-wise convolutions, "same" padding, any dilation, with SiLU or residual fused in.

They serve the axial mixers (1x7, 7x1, 3x3; Hoang et al. 2025, section on the Cross-Scale Mamba Block) and the 3x3
convolution of SS2D (Liu et al. 2024, arXiv 2401.10166). A convolution over few channels moves bytes and does next to
no arithmetic: one program takes CB channels of a BH x BW patch, so that its shifted reads meet in the L1 cache.

Tensors are (B, C, H, W) of which a row follows the row before it: strides (batch, channel, pixel) say it all, for
planar (H * W, 1) and channels-last (1, C) memory alike. Sums are float32. The channels come in groups of ``group``;
group g is dilated by 1 + g.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

PROGRAMS, PATCH = 1056, (8, 64)
"""Programs that share a weight gradient (a few for each multiprocessor); rows and columns of a patch."""

SIZES = ["batch", "channels", "height", "width", "group"]


@triton.jit
def _patch(tile, height, width, BH: tl.constexpr, BW: tl.constexpr):
    """Batch item, rows and columns of a patch's pixels."""
    across = tl.cdiv(width, BW)
    patches = across * tl.cdiv(height, BH)
    t = tile % patches
    j = tl.arange(0, BH * BW)
    return (tile // patches).to(tl.int64), (t // across) * BH + j // BW, (t % across) * BW + j % BW


@triton.jit
def _shifted(
    x, c, real, h, v, height, width, x_channel, x_pixel, step,
    ROW: tl.constexpr, COLUMN: tl.constexpr, KH: tl.constexpr, KW: tl.constexpr, FLIP: tl.constexpr,
):  # fmt: skip
    """x at the pixels that tap (ROW, COLUMN) looks at, zero outside the image: (CB, BH * BW) float32."""
    if FLIP:
        hh, vv = h - (ROW - KH // 2) * step, v - (COLUMN - KW // 2) * step
    else:
        hh, vv = h + (ROW - KH // 2) * step, v + (COLUMN - KW // 2) * step
    inside = (hh >= 0) & (hh < height) & (vv >= 0) & (vv < width)
    at = x + c[:, None] * x_channel + ((hh * width + vv) * x_pixel)[None, :]
    return tl.load(at, mask=real[:, None] & inside[None, :], other=0.0).to(tl.float32)


@triton.jit
def _convolve(
    x, w, c, real, h, v, height, width, x_channel, x_pixel, step,
    KH: tl.constexpr, KW: tl.constexpr, FLIP: tl.constexpr, CB: tl.constexpr, POS: tl.constexpr,
):  # fmt: skip
    acc = tl.zeros([CB, POS], tl.float32)
    for i in tl.static_range(KH):
        for j in tl.static_range(KW):
            tap = tl.load(w + c * (KH * KW) + (i * KW + j), mask=real, other=0.0)
            value = _shifted(x, c, real, h, v, height, width, x_channel, x_pixel, step, i, j, KH, KW, FLIP)
            acc += tap[:, None] * value
    return acc


@triton.jit(do_not_specialize=SIZES)
def depthwise_kernel(
    x, w, bias, residual, out, batch, channels, height, width, group,
    x_batch, x_channel, x_pixel, r_batch, r_channel, r_pixel, o_batch, o_channel, o_pixel,
    KH: tl.constexpr, KW: tl.constexpr, FLIP: tl.constexpr, BIAS: tl.constexpr, RESIDUAL: tl.constexpr,
    SILU: tl.constexpr, CB: tl.constexpr, BH: tl.constexpr, BW: tl.constexpr,
):  # fmt: skip
    """out = [SiLU](conv(x) [+ bias]) [+ residual]; FLIP: the transposed convolution, which is the gradient."""
    blocks = tl.cdiv(channels, CB)
    first = tl.program_id(0) % blocks * CB
    b, h, v = _patch(tl.program_id(0) // blocks, height, width, BH, BW)
    c = first + tl.arange(0, CB)
    real = c < channels
    acc = _convolve(
        x + b * x_batch, w, c, real, h, v, height, width, x_channel, x_pixel, 1 + first // group,
        KH, KW, FLIP, CB, BH * BW,
    )  # fmt: skip
    if BIAS:
        acc += tl.load(bias + c, mask=real, other=0.0)[:, None]
    if SILU:
        acc = acc / (1.0 + tl.exp(-acc))
    mask = real[:, None] & ((h < height) & (v < width))[None, :]
    pixel = h * width + v
    if RESIDUAL:
        at = residual + b * r_batch + c[:, None] * r_channel + (pixel * r_pixel)[None, :]
        acc += tl.load(at, mask=mask, other=0.0).to(tl.float32)
    to = out + b * o_batch + c[:, None] * o_channel + (pixel * o_pixel)[None, :]
    tl.store(to, acc.to(out.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=SIZES)
def depthwise_gradient_kernel(
    x, w, bias, dy, dz, partial, batch, channels, height, width, group,
    x_batch, x_channel, x_pixel, d_batch, d_channel, d_pixel,
    KH: tl.constexpr, KW: tl.constexpr, SILU: tl.constexpr, TAPS: tl.constexpr,
    CB: tl.constexpr, BH: tl.constexpr, BW: tl.constexpr,
):  # fmt: skip
    """Gradients of taps and bias over every programs-th patch: partial (programs, C, TAPS), the bias after the taps.

    SILU: dy is the gradient after the activation; what reaches the convolution is written to dz (B, C, H, W) planar.
    """
    blocks = tl.cdiv(channels, CB)
    first = tl.program_id(0) % blocks * CB
    program = tl.program_id(0) // blocks
    programs = tl.num_programs(0) // blocks
    c = first + tl.arange(0, CB)
    real = c < channels
    step = 1 + first // group
    tap = tl.arange(0, TAPS)
    acc = tl.zeros([CB, TAPS], tl.float32)
    patches = tl.cdiv(width, BW) * tl.cdiv(height, BH)
    for work in range(program, batch * patches, programs):
        b, h, v = _patch(work, height, width, BH, BW)
        pixel = h * width + v
        mask = real[:, None] & ((h < height) & (v < width))[None, :]
        at = dy + b * d_batch + c[:, None] * d_channel + (pixel * d_pixel)[None, :]
        g = tl.load(at, mask=mask, other=0.0).to(tl.float32)
        here = x + b * x_batch
        if SILU:
            z = _convolve(
                here, w, c, real, h, v, height, width, x_channel, x_pixel, step, KH, KW, False, CB, BH * BW
            )  # fmt: skip
            z += tl.load(bias + c, mask=real, other=0.0)[:, None]
            s = 1.0 / (1.0 + tl.exp(-z))
            g *= s * (1.0 + z * (1.0 - s))
            to = dz + (b * channels + c[:, None]) * (height * width) + pixel[None, :]
            tl.store(to, g.to(dz.dtype.element_ty), mask=mask)
        acc += tl.where((tap == KH * KW)[None, :], tl.sum(g, axis=1)[:, None], 0.0)
        for i in tl.static_range(KH):
            for j in tl.static_range(KW):
                value = _shifted(here, c, real, h, v, height, width, x_channel, x_pixel, step, i, j, KH, KW, False)
                acc += tl.where((tap == i * KW + j)[None, :], tl.sum(g * value, axis=1)[:, None], 0.0)
    to = partial + (program * channels + c[:, None]) * TAPS + tap[None, :]
    tl.store(to, acc, mask=real[:, None] & (tap <= KH * KW)[None, :])


def strides(x: Tensor) -> tuple[int, int, int]:
    """(batch, channel, pixel) strides of a (B, C, H, W) tensor whose rows follow each other in memory."""
    batch, channel, row, pixel = x.stride()
    if x.shape[2] > 1 and row != x.shape[3] * pixel:
        raise ValueError(f"rows must follow each other, got strides {x.stride()} for {tuple(x.shape)}")
    return batch, channel, pixel


def _sizes(x: Tensor, group: int | None) -> dict[str, int]:
    batch, channels, height, width = x.shape
    group = group or channels
    block = next(n for n in (4, 2, 1) if group % n == 0) if group < channels else 4
    across = min(PATCH[1], max(4, 1 << (width - 1).bit_length()))
    return {
        "batch": batch,
        "channels": channels,
        "height": height,
        "width": width,
        "group": group,
        "CB": block,
        "BH": math.prod(PATCH) // across // (2 if block == 4 else 1),
        "BW": across,
        "num_warps": 4,
    }


def convolve(
    x: Tensor,
    w: Tensor,
    bias: Tensor | None,
    out: Tensor,
    kernel: tuple[int, int],
    group: int | None = None,
    residual: Tensor | None = None,
    silu: bool = False,
    flip: bool = False,
) -> Tensor:
    """Depth-wise convolution into ``out``.

    Args:
        x: (B, C, H, W), see ``strides``.
        w: (C, KH, KW) float32 contiguous.
        bias: (C,) float32, or None.
        out: (B, C, H, W), see ``strides``; returned.
        kernel: (KH, KW), odd.
        group: channels of one dilation 1, 2, ...; None: all have dilation 1.
        residual: added after the activation.
        silu: whether SiLU is applied.
        flip: convolve with the taps turned round: the gradient with respect to the input.
    """
    s = _sizes(x, group)
    blocks = math.ceil(s["channels"] / s["CB"])
    patches = math.ceil(s["height"] / s["BH"]) * math.ceil(s["width"] / s["BW"])
    other = out if residual is None else residual
    depthwise_kernel[(blocks * patches * s["batch"],)](
        x, w, w if bias is None else bias, other, out,
        **{k: s[k] for k in SIZES},
        **dict(zip(("x_batch", "x_channel", "x_pixel"), strides(x), strict=True)),
        **dict(zip(("r_batch", "r_channel", "r_pixel"), strides(other), strict=True)),
        **dict(zip(("o_batch", "o_channel", "o_pixel"), strides(out), strict=True)),
        KH=kernel[0], KW=kernel[1], FLIP=flip, BIAS=bias is not None, RESIDUAL=residual is not None, SILU=silu,
        **{k: s[k] for k in ("CB", "BH", "BW", "num_warps")},
    )  # fmt: skip
    return out


def gradient(
    x: Tensor,
    w: Tensor,
    bias: Tensor,
    dy: Tensor,
    kernel: tuple[int, int],
    group: int | None = None,
    silu: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of the taps (C, KH, KW) and the bias (C,), and dy before the activation (B, C, H, W).

    Args:
        x: the convolution's input; w, bias, kernel, group, silu: as for ``convolve``.
        dy: gradient of its output, (B, C, H, W), see ``strides``.
    """
    s = _sizes(x, group)
    if silu:  # two convolutions' worth of registers
        s["BH"] = max(1, s["BH"] // 2)
    count = kernel[0] * kernel[1]
    taps = 1 << count.bit_length()
    blocks = math.ceil(s["channels"] / s["CB"])
    patches = math.ceil(s["height"] / s["BH"]) * math.ceil(s["width"] / s["BW"])
    programs = max(1, min(patches * s["batch"], PROGRAMS // blocks))
    partial = torch.empty(programs, s["channels"], taps, dtype=torch.float32, device=x.device)
    dz = torch.empty(x.shape, dtype=dy.dtype, device=x.device) if silu else dy
    depthwise_gradient_kernel[(blocks * programs,)](
        x, w, bias, dy, dz, partial,
        **{k: s[k] for k in SIZES},
        **dict(zip(("x_batch", "x_channel", "x_pixel"), strides(x), strict=True)),
        **dict(zip(("d_batch", "d_channel", "d_pixel"), strides(dy), strict=True)),
        KH=kernel[0], KW=kernel[1], SILU=silu, TAPS=taps, **{k: s[k] for k in ("CB", "BH", "BW", "num_warps")},
    )  # fmt: skip
    total = partial[..., : count + 1].sum(0)  # (C, KH * KW + 1)
    return total[:, :count].reshape(-1, *kernel), total[:, count], dz
