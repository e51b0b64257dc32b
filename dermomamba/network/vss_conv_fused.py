"""SS2D's depth-wise 3x3 convolution, bias and SiLU as one differentiable operator for NVIDIA GPUs.

It takes and gives (B, E, H, W), as ``vss_fused.norm_in_proj`` writes and the scan reads. Arithmetic is float32; the
backward computes the convolution again instead of keeping its result. Kernels: ``vss_conv_kernels.py``.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dermomamba.network import fused_host
from dermomamba.network.fused_host import as_float, on

BLOCK = 512
"""Pixels that a program holds at a time."""


def _blocks(x: Tensor) -> tuple[int, int, dict[str, int]]:
    """Blocks a channel, programs a channel that keep sums, and the tile's sizes, for x (B, E, H, W)."""
    batch, channels, height, width = x.shape
    across = min(BLOCK, max(32, 1 << (height * width - 1).bit_length()))
    images = min(BLOCK // across, 1 << (batch - 1).bit_length())
    blocks = math.ceil(height * width / across) * math.ceil(batch / images)
    return (
        blocks,
        min(blocks, math.ceil(2 * fused_host.PROGRAMS / channels)),
        {"PL": images, "BS": across, "num_warps": 4},
    )


@torch.library.custom_op("dermomamba::conv3_silu", mutates_args=())
def _conv(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    from dermomamba.network.vss_conv_kernels import conv_kernel

    x = x.contiguous()
    out = x.new_empty(x.shape)
    blocks, _, sizes = _blocks(x)
    with on(x):
        conv_kernel[(blocks, x.shape[1])](x, as_float(weight), as_float(bias), out, *x.shape, **sizes)
    return out


@_conv.register_fake
def _(x, weight, bias):
    return x.new_empty(x.shape)


@torch.library.custom_op("dermomamba::conv3_silu_backward", mutates_args=())
def _conv_backward(dout: Tensor, x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    from dermomamba.network.vss_conv_kernels import conv_gradient_kernel, conv_slope_kernel

    x, dout, w = x.contiguous(), dout.contiguous(), as_float(weight)
    dpre, dx = x.new_empty(x.shape), x.new_empty(x.shape)
    blocks, programs, sizes = _blocks(x)
    dw = w.new_empty(programs, x.shape[1], 10)
    with on(x):
        conv_slope_kernel[(programs, x.shape[1])](dout, x, w, as_float(bias), dpre, dw, *x.shape, blocks, **sizes)
        conv_gradient_kernel[(blocks, x.shape[1])](dpre, w, dx, *x.shape, **sizes)
    total = dw.sum(0)  # (E, 10)
    taps = total[:, :9].to(weight.dtype).contiguous().view(weight.shape)
    return dx, taps, total[:, 9].to(bias.dtype).contiguous()


@_conv_backward.register_fake
def _(dout, x, weight, bias):
    return (
        x.new_empty(x.shape),
        weight.new_empty(weight.shape),
        bias.new_empty(bias.shape),
    )


def _keep_conv(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs)


def _differentiate_conv(ctx, dout):
    return _conv_backward(dout, *ctx.saved_tensors)


_conv.register_autograd(_differentiate_conv, setup_context=_keep_conv)


def conv3_silu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``SiLU(conv3x3(x) + bias)``, depth-wise, zeros around.

    Args:
        x: (B, E, H, W) float32, bfloat16 or float16.
        weight: (E, 1, 3, 3).
        bias: (E,).

    Returns:
        (B, E, H, W), dtype of x, contiguous.
    """
    return _conv(x, weight, bias)
