"""The parts of a VSS block around its scan as fused differentiable operators for NVIDIA GPUs.

    norm_in_proj     (B, H, W, D) -> u (B, E, H, W), z (B, H, W, E)     LayerNorm, in_proj
    gated_out_proj   y (B, E, H, W), z -> (B, H, W, D)                  out_norm, SiLU gate, out_proj, residual

VSS block of VMamba v0 (Liu et al. 2024, arXiv 2401.10166, section 4.3); in PyTorch: ``scan2d.py``. Tensors are
float32, bfloat16 or float16, arithmetic is float32. Only arguments are saved for the backward, which recomputes
the rest. Kernels: ``vss_kernels.py``, imported when first launched. The convolution
between the two: ``vss_conv_fused.py``.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dermomamba.network import fused_host
from dermomamba.network.fused_host import as_float, on, padded, precision

WIDEST = 64
"""Channels D up to which one program holds all channels of a pixel."""

FORWARD = {16: (128, 4), 32: (128, 4), 64: (64, 4), 128: (16, 8)}
BACKWARD = {16: (32, 1), 32: (32, 2), 64: (32, 4), 128: (16, 8)}
"""Pixels and warps of a program, for E rounded up; chosen so that nothing spills in 16-bit training."""

PART = 2**22
"""Numbers in the partial sums of a weight's gradient, about; fewer programs keep larger weights."""


class _Tiles:
    """How the pixels of (B, pixels) images with D and E channels are cut."""

    def __init__(self, batch: int, pixels: int, channels: int, inner: int, shapes: dict[int, tuple[int, int]]) -> None:
        cp, ep = padded(channels), padded(inner)
        bp, warps = shapes[ep]
        self.an_image = math.ceil(pixels / bp)
        self.count = batch * self.an_image
        self.programs = min(self.count, fused_host.PROGRAMS, max(132, PART // (2 * channels * inner)))
        self.sizes = {"C": channels, "E": inner, "CP": cp, "BP": bp, "num_warps": warps}
        self.ep = ep


@torch.library.custom_op("dermomamba::norm_in_proj", mutates_args=())
def _in(
    x: Tensor, gamma: Tensor | None, beta: Tensor | None, weight: Tensor, eps: float, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    from dermomamba.network.vss_kernels import in_kernel

    batch, height, width, channels = x.shape
    inner, pixels = weight.shape[0] // 2, height * width
    x, w = x.contiguous(), as_float(weight)
    u = torch.empty((batch, inner, height, width), dtype=dtype, device=x.device)
    z = torch.empty((batch, height, width, inner), dtype=dtype, device=x.device)
    tiles = _Tiles(batch, pixels, channels, inner, FORWARD)
    affine = (w, w) if gamma is None or beta is None else (as_float(gamma), as_float(beta))
    with on(x):
        in_kernel[(tiles.count,)](
            x, *affine, w, u, z, pixels, tiles.an_image, eps, EB=min(tiles.ep, 32),
            NORM=gamma is not None, PRECISION=precision(x, u), **tiles.sizes,
        )  # fmt: skip
    return u, z


@_in.register_fake
def _(x, gamma, beta, weight, eps, dtype):
    batch, height, width, _ = x.shape
    inner = weight.shape[0] // 2
    return (
        x.new_empty((batch, inner, height, width), dtype=dtype),
        x.new_empty((batch, height, width, inner), dtype=dtype),
    )


@torch.library.custom_op("dermomamba::norm_in_proj_backward", mutates_args=())
def _in_backward(
    du: Tensor, dz: Tensor, x: Tensor, gamma: Tensor | None, beta: Tensor | None, weight: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    from dermomamba.network.vss_kernels import in_gradient_kernel

    batch, height, width, channels = x.shape
    inner, pixels = weight.shape[0] // 2, height * width
    x, w, du, dz = x.contiguous(), as_float(weight), du.contiguous(), dz.contiguous()
    dx = x.new_empty(x.shape)
    tiles = _Tiles(batch, pixels, channels, inner, BACKWARD)
    outer, plain = w.new_empty(tiles.programs, 2 * inner, channels), w.new_empty(tiles.programs, 2 * inner)
    with on(x):
        in_gradient_kernel[(tiles.programs,)](
            du, dz, x, w if gamma is None else as_float(gamma), w, dx, outer, plain,
            pixels, tiles.an_image, tiles.count, eps, EP=tiles.ep,
            NORM=gamma is not None, PRECISION=precision(x, du), **tiles.sizes,
        )  # fmt: skip
    total = outer.sum(0)  # (2E, D)
    if gamma is None or beta is None:
        return dx, weight.new_empty(0), weight.new_empty(0), total.to(weight.dtype)
    sums = plain.sum(0)[:, None]  # (2E, 1)
    dw = total * gamma.float() + sums * beta.float()
    return dx, (w * total).sum(0).to(gamma.dtype), (w * sums).sum(0).to(beta.dtype), dw.to(weight.dtype)


@_in_backward.register_fake
def _(du, dz, x, gamma, beta, weight, eps):
    count = x.shape[-1] if gamma is not None else 0
    return (
        x.new_empty(x.shape),
        (weight if gamma is None else gamma).new_empty(count),
        (weight if beta is None else beta).new_empty(count),
        weight.new_empty(weight.shape),
    )


def _keep_in(ctx, inputs, output) -> None:
    x, gamma, beta, weight, ctx.eps, _ = inputs
    ctx.save_for_backward(x, gamma, beta, weight)


def _differentiate_in(ctx, du, dz):
    x, gamma, beta, weight = ctx.saved_tensors
    dx, dgamma, dbeta, dw = _in_backward(du, dz, x, gamma, beta, weight, ctx.eps)
    return dx, None if gamma is None else dgamma, None if beta is None else dbeta, dw, None, None


_in.register_autograd(_differentiate_in, setup_context=_keep_in)


@torch.library.custom_op("dermomamba::gated_out_proj", mutates_args=())
def _out(
    y: Tensor, z: Tensor, gamma: Tensor, beta: Tensor, weight: Tensor, residual: Tensor | None, eps: float
) -> Tensor:
    from dermomamba.network.vss_kernels import out_kernel

    batch, inner, height, width = y.shape
    channels, pixels = weight.shape[0], height * width
    y, z = y.contiguous(), z.contiguous()
    kept = z if residual is None else residual.contiguous()
    out = torch.empty((batch, height, width, channels), dtype=kept.dtype, device=y.device)
    tiles = _Tiles(batch, pixels, channels, inner, FORWARD)
    with on(y):
        out_kernel[(tiles.count,)](
            y, z, as_float(gamma), as_float(beta), as_float(weight), kept, out, pixels, tiles.an_image, eps,
            EP=tiles.ep, RESIDUAL=residual is not None, PRECISION=precision(y, out), **tiles.sizes,
        )  # fmt: skip
    return out


@_out.register_fake
def _(y, z, gamma, beta, weight, residual, eps):
    batch, _, height, width = y.shape
    return (z if residual is None else residual).new_empty((batch, height, width, weight.shape[0]))


@torch.library.custom_op("dermomamba::gated_out_proj_backward", mutates_args=())
def _out_backward(
    dout: Tensor, y: Tensor, z: Tensor, gamma: Tensor, beta: Tensor, weight: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    from dermomamba.network.vss_kernels import out_gradient_kernel

    batch, inner, height, width = y.shape
    channels, pixels = weight.shape[0], height * width
    y, z, dout, w = y.contiguous(), z.contiguous(), dout.contiguous(), as_float(weight)
    dy, dz = y.new_empty(y.shape), z.new_empty(z.shape)
    tiles = _Tiles(batch, pixels, channels, inner, BACKWARD)
    outer = w.new_empty(tiles.programs, 2, channels, inner)
    with on(y):
        out_gradient_kernel[(tiles.programs,)](
            dout, y, z, as_float(gamma), as_float(beta), w, dy, dz, outer, pixels, tiles.an_image, tiles.count, eps,
            EP=tiles.ep, PRECISION=precision(y, dout), **tiles.sizes,
        )  # fmt: skip
    with_hat, plain = outer.sum(0)  # (D, E) each
    dw = with_hat * gamma.float() + plain * beta.float()
    dgamma, dbeta = (w * with_hat).sum(0), (w * plain).sum(0)
    return dy, dz, dgamma.to(gamma.dtype), dbeta.to(beta.dtype), dw.to(weight.dtype)


@_out_backward.register_fake
def _(dout, y, z, gamma, beta, weight, eps):
    return (
        y.new_empty(y.shape),
        z.new_empty(z.shape),
        gamma.new_empty(gamma.shape),
        beta.new_empty(beta.shape),
        weight.new_empty(weight.shape),
    )


def _keep_out(ctx, inputs, output) -> None:
    y, z, gamma, beta, weight, residual, ctx.eps = inputs
    ctx.residual = residual is not None
    ctx.save_for_backward(y, z, gamma, beta, weight)


def _differentiate_out(ctx, dout):
    dy, dz, dgamma, dbeta, dw = _out_backward(dout, *ctx.saved_tensors, ctx.eps)
    return dy, dz, dgamma, dbeta, dw, dout if ctx.residual else None, None


_out.register_autograd(_differentiate_out, setup_context=_keep_out)


def norm_in_proj(
    x: Tensor, gamma: Tensor | None, beta: Tensor | None, weight: Tensor, eps: float, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """``u, z = (W LayerNorm(x)).chunk(2)``, u with its channels first.

    Args:
        x: (B, H, W, D) float32, bfloat16 or float16; copied when it is not contiguous.
        gamma: (D,) LayerNorm's weight; None for no norm at all.
        beta: (D,) LayerNorm's bias.
        weight: (2 E, D).
        eps: LayerNorm's.
        dtype: of the results.

    Returns:
        u (B, E, H, W) and z (B, H, W, E), contiguous.
    """
    return _in(x, gamma, beta, weight, eps, dtype)


def gated_out_proj(
    y: Tensor, z: Tensor, gamma: Tensor, beta: Tensor, weight: Tensor, residual: Tensor | None, eps: float
) -> Tensor:
    """``residual + W (LayerNorm(y) SiLU(z))``.

    Args:
        y: (B, E, H, W), what the scan returns.
        z: (B, H, W, E).
        gamma: (E,) LayerNorm's weight.
        beta: (E,) LayerNorm's bias.
        weight: (D, E).
        residual: (B, H, W, D) or None.
        eps: LayerNorm's.

    Returns:
        (B, H, W, D) contiguous, in the dtype of the residual, or of z where there is none.
    """
    return _out(y, z, gamma, beta, weight, residual, eps)
