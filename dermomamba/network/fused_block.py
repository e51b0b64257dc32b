"""SS2D, the VSS block and the Cross-Scale Mamba Block as one differentiable operator each, for NVIDIA GPUs.

Equations: Hoang et al. 2025 (doi 10.1007/s10044-025-01506-w), section on the Cross-Scale Mamba Block; VMamba v0 (Liu et
al. 2024, arXiv 2401.10166), section 4.3. In PyTorch's operators the thin layers around a scan (LayerNorm over 4 to 64
channels, products of that depth, depth-wise convolutions, permutes and copies) take more of a GPU's time than the scan.

Forward of the Cross-Scale Mamba Block of C = 4 D channels:
    1. mixers       1x7, 7x1, 3x3 + residual, three dilations in one launch each: (3 B, D, H, W)
    2. project_in   LayerNorm, the scanned half of in_proj
    3. convolve     3x3, SiLU
    4. scan         ``scan/fused_triton.py``
    5. project_out  LayerNorm, gate from LayerNorm(x), out_proj, residual, written to its place among the C channels
    6. untouched    the fourth group of channels; for inference 5 and 6 also apply the BatchNorm and ReLU that follow
Saved for the backward: x and the scan's output; the rest is recomputed.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dermomamba.network import around_probe
from dermomamba.scan import backend_for
from dermomamba.scan.fused_plan import can_take

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
SS2D_NAMES = (
    "in_proj.weight", "conv2d.weight", "conv2d.bias", "x_proj_weight", "dt_projs_weight", "dt_projs_bias",
    "A_logs", "Ds", "out_norm.weight", "out_norm.bias", "out_proj.weight",
)  # fmt: skip
"""Order of SS2D's parameters; the weight and bias of the norm before it may follow."""


WIDEST = 64
"""Channels D up to which one program holds all channels of a pixel; wider ones take the plain path."""


def wanted(x: Tensor, channels: int, states: int) -> bool:
    """Whether the fused operators compute this tensor: where the scan runs fused, and a probe of them agreed.

    Args:
        x: the block's input.
        channels: D of the scan.
        states: N of the scan.
    """
    fits = x.dtype in DTYPES and channels <= WIDEST and can_take(states)
    return fits and backend_for(x.device) == "fused" and around_probe.usable(x.device)


@torch.library.custom_op("dermomamba::mamba_block_fused", mutates_args=())
def _forward(
    x: Tensor,
    mixers: Sequence[Tensor],
    weights: Sequence[Tensor],
    affine: Sequence[Tensor],
    eps: float,
    out_eps: float,
    stream_dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:
    from dermomamba.network import fused_block_launch as launch

    out = torch.empty_like(x)
    x = launch.in_rows(x)
    target = launch.in_rows(out)
    with launch.device_of(x):
        branches, stacked = 1, x.contiguous()
        if mixers:
            mix = launch.Mixers(x, mixers)
            branches, stacked = 3, mix.finish(mix.inputs()[2])
        steps = launch.Launches(stacked, launch.Weights.of(weights), eps, out_eps, stream_dtype)
        y = steps.scan(steps.convolve(steps.project_in()))
        steps.project_out(y, target, branches, affine)
        if mixers:
            launch.untouched(x, target, 3 * mix.group, affine)
    if target is not out:
        out.copy_(target)
    return out, y


@_forward.register_fake
def _(x, mixers, weights, affine, eps, out_eps, stream_dtype):
    inner = weights[0].shape[0] // 2
    items = 3 * x.shape[0] if mixers else x.shape[0]
    return torch.empty_like(x), x.new_empty(items, inner, x.shape[2], x.shape[3])


@torch.library.custom_op("dermomamba::mamba_block_fused_backward", mutates_args=())
def _backward(
    dout: Tensor,
    x: Tensor,
    y: Tensor,
    mixers: Sequence[Tensor],
    weights: Sequence[Tensor],
    eps: float,
    out_eps: float,
    stream_dtype: torch.dtype,
) -> list[Tensor]:
    from dermomamba.network import fused_block_launch as launch

    dx = torch.empty_like(x)
    x, dout = launch.in_rows(x), launch.in_rows(dout)
    with launch.device_of(x):
        if mixers:
            mix = launch.Mixers(x, mixers)
            inputs = mix.inputs()
            steps = launch.Launches(
                mix.finish(inputs[2]), launch.Weights.of(weights), eps, out_eps, stream_dtype
            )  # fmt: skip
            g, found = steps.gradients(y, dout, 3)
            target = launch.in_rows(dx)
            found = mix.gradients(inputs, g, target[:, : 3 * mix.group]) + found
            launch.untouched(dout, target, 3 * mix.group, ())
        else:
            steps = launch.Launches(x.contiguous(), launch.Weights.of(weights), eps, out_eps, stream_dtype)
            target, found = steps.gradients(y, dout, 1)
    if target is not dx:
        dx.copy_(target)
    every = (*mixers, *weights)
    return [dx, *(g.reshape(w.shape).to(w.dtype, copy=True) for g, w in zip(found, every, strict=True))]


@_backward.register_fake
def _(dout, x, y, mixers, weights, eps, out_eps, stream_dtype):
    every = (*mixers, *weights)
    return [torch.empty_like(x), *(torch.empty(w.shape, dtype=w.dtype, device=w.device) for w in every)]


def _keep(ctx, inputs, output) -> None:
    x, mixers, weights, affine, ctx.eps, ctx.out_eps, ctx.stream_dtype = inputs
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(output[1])
    ctx.mixers, ctx.affine = len(mixers), len(affine)
    ctx.save_for_backward(x, output[1], *mixers, *weights)


def _differentiate(ctx, dout, _):
    x, y, *every = ctx.saved_tensors
    mixers, weights = every[: ctx.mixers], every[ctx.mixers :]
    dx, *found = _backward(dout, x, y, mixers, weights, ctx.eps, ctx.out_eps, ctx.stream_dtype)
    return dx, found[: ctx.mixers], found[ctx.mixers :], [None] * ctx.affine, None, None, None


_forward.register_autograd(_differentiate, setup_context=_keep)


def mamba_block(
    x: Tensor,
    mixers: Sequence[Tensor],
    weights: Sequence[Tensor],
    eps: float = 1e-6,
    out_eps: float = 1e-5,
    affine: Sequence[Tensor] = (),
) -> Tensor:
    """SS2D, VSS block or Cross-Scale Mamba Block in one operator; float32 inside, the dtype of x outside.

    Args:
        x: (B, C, H, W), float32, bfloat16 or float16, planar or channels-last; D = C / 4 with mixers, else D = C.
        mixers: none, or the six tensors of ``fused_block_launch.Mixers``.
        weights: SS2D's parameters in the order of ``SS2D_NAMES``; with two more, the weight and bias of the LayerNorm
            before it, the block is ``x + SS2D(LayerNorm(x))``.
        eps: of that LayerNorm.
        out_eps: of the LayerNorm after the scan.
        affine: none, or scale and shift (C,) float32 of a BatchNorm folded for inference, which with its ReLU is then
            applied to the output; not differentiable.

    Returns:
        (B, C, H, W), dtype and memory layout of x.
    """
    stream_dtype = x.dtype
    if x.dtype == torch.float32 and torch.is_autocast_enabled(x.device.type):
        stream_dtype = torch.get_autocast_dtype(x.device.type)
    return _forward(x, list(mixers), list(weights), list(affine), eps, out_eps, stream_dtype)[0]
