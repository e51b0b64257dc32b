"""Triton kernels of the VSS block around its scan: before the 3x3 convolution, and after the scan.

``x + SS2D(LayerNorm(x))`` (Liu et al. 2024, arXiv 2401.10166; Hoang et al. 2025, doi 10.1007/s10044-025-01506-w). The
gate's half of ``in_proj`` is computed where it is used, from x, which is a quarter of the bytes of writing and reading
it. Gradients: ``fused_vss_gradient.py``.

Tensors are planar: x (items, D, P), u and y (items, E, P), P = H * W. A program holds BP pixels, all channels of each;
DP and EP are D and E rounded up to a power of two, at least 16 (the matrix units' depth). Sums are float32, products
"tf32x3" (as good as float32) for 32-bit tensors and "tf32" for 16-bit ones.
"""

from __future__ import annotations

import triton
import triton.language as tl

SIZES = ["items", "pixels", "branches"]


@triton.jit
def pixels_of(at, channel, count, p, pixels):
    """Planar (channels, pixels) tile in float32, zero outside."""
    mask = (channel < count)[:, None] & (p < pixels)[None, :]
    return tl.load(at + channel[:, None] * pixels + p[None, :], mask=mask, other=0.0).to(tl.float32)


@triton.jit
def put_pixels(at, v, channel, count, p, pixels):
    """Write a planar (channels, pixels) tile."""
    mask = (channel < count)[:, None] & (p < pixels)[None, :]
    tl.store(at + channel[:, None] * pixels + p[None, :], v.to(at.dtype.element_ty), mask=mask)


@triton.jit
def vector(at, channel, count):
    """A vector over channels as a column, zero outside."""
    return tl.load(at + channel, mask=channel < count, other=0.0)[:, None]


@triton.jit
def matrix(at, row, rows, column, columns, row_stride, column_stride):
    """A weight matrix tile, zero outside; exchange the strides to read it transposed."""
    mask = (row < rows)[:, None] & (column < columns)[None, :]
    return tl.load(at + row[:, None] * row_stride + column[None, :] * column_stride, mask=mask, other=0.0)


@triton.jit
def standardise(v, channel, count: tl.constexpr, eps):
    """(v - mean) / sqrt(var + eps) over the channels (axis 0), and 1 / sqrt(var + eps) of each pixel."""
    mean = tl.sum(v, axis=0) / count
    centred = tl.where((channel < count)[:, None], v - mean[None, :], 0.0)
    scale = 1.0 / tl.sqrt(tl.sum(centred * centred, axis=0) / count + eps)
    return centred * scale[None, :], scale


@triton.jit
def sigmoid(v):
    return 1.0 / (1.0 + tl.exp(-v))


@triton.jit(do_not_specialize=SIZES)
def project_in_kernel(
    x, norm_w, norm_b, w_in, u, items, pixels, eps,
    D: tl.constexpr, E: tl.constexpr, NORM: tl.constexpr, DP: tl.constexpr, EP: tl.constexpr,
    BP: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """u = W_x LayerNorm(x): the first half of in_proj (2E, D)."""
    blocks = tl.cdiv(pixels, BP)
    item = (tl.program_id(0) // blocks).to(tl.int64)
    p = tl.program_id(0) % blocks * BP + tl.arange(0, BP)
    d, e = tl.arange(0, DP), tl.arange(0, EP)
    v = pixels_of(x + item * D * pixels, d, D, p, pixels)
    if NORM:
        hat, _ = standardise(v, d, D, eps)
        v = hat * vector(norm_w, d, D) + vector(norm_b, d, D)
    w = matrix(w_in, e, E, d, D, D, 1)
    put_pixels(u + item * E * pixels, tl.dot(w, v, input_precision=PRECISION), e, E, p, pixels)


@triton.jit(do_not_specialize=SIZES)
def project_out_kernel(
    y, x, norm_w, norm_b, w_in, out_norm_w, out_norm_b, w_out, scale, shift, out,
    items, pixels, branches, o_item, o_branch, o_channel, o_pixel, eps, out_eps,
    D: tl.constexpr, E: tl.constexpr, NORM: tl.constexpr, RESIDUAL: tl.constexpr, AFFINE: tl.constexpr,
    DP: tl.constexpr, EP: tl.constexpr, BP: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """out = [x +] W_out (LayerNorm(y) * SiLU(W_z LayerNorm(x))), item i at item i // branches, branch i % branches.

    AFFINE: ReLU(scale * out + shift), a folded BatchNorm over the (branch, channel) pairs.
    """
    blocks = tl.cdiv(pixels, BP)
    item = (tl.program_id(0) // blocks).to(tl.int64)
    p = tl.program_id(0) % blocks * BP + tl.arange(0, BP)
    d, e = tl.arange(0, DP), tl.arange(0, EP)
    v = pixels_of(x + item * D * pixels, d, D, p, pixels)
    normed = v
    if NORM:
        hat, _ = standardise(v, d, D, eps)
        normed = hat * vector(norm_w, d, D) + vector(norm_b, d, D)
    z = tl.dot(matrix(w_in + E * D, e, E, d, D, D, 1), normed, input_precision=PRECISION)
    scanned, _ = standardise(pixels_of(y + item * E * pixels, e, E, p, pixels), e, E, out_eps)
    scanned = scanned * vector(out_norm_w, e, E) + vector(out_norm_b, e, E)
    gated = scanned * z * sigmoid(z)
    result = tl.dot(matrix(w_out, d, D, e, E, E, 1), gated, input_precision=PRECISION)
    if RESIDUAL:
        result += v
    branch = item % branches
    if AFFINE:
        at = branch * D + d
        inside = d < D
        result = result * tl.load(scale + at, mask=inside, other=0.0)[:, None]
        result = tl.maximum(result + tl.load(shift + at, mask=inside, other=0.0)[:, None], 0.0)
    to = out + item // branches * o_item + branch * o_branch + d[:, None] * o_channel + (p * o_pixel)[None, :]
    tl.store(to, result.to(out.dtype.element_ty), mask=(d < D)[:, None] & (p < pixels)[None, :])


@triton.jit(do_not_specialize=["total", "pixels", "channels", "first"])
def untouched_kernel(
    x, scale, shift, out, total, pixels, channels, first, x_item, x_channel, x_pixel, o_item, o_channel, o_pixel,
    AFFINE: tl.constexpr, CB: tl.constexpr, BP: tl.constexpr,
):  # fmt: skip
    """Channels from ``first`` on, copied; AFFINE: ReLU(scale * x + shift)."""
    blocks = tl.cdiv(total, BP)
    c = first + tl.program_id(0) // blocks * CB + tl.arange(0, CB)
    j = tl.program_id(0) % blocks * BP + tl.arange(0, BP)
    item, p = (j // pixels).to(tl.int64), j % pixels
    mask = (c < channels)[:, None] & (j < total)[None, :]
    at = x + c[:, None] * x_channel + (item * x_item + p * x_pixel)[None, :]
    v = tl.load(at, mask=mask, other=0.0).to(tl.float32)
    if AFFINE:
        v = v * tl.load(scale + c, mask=c < channels, other=0.0)[:, None]
        v = tl.maximum(v + tl.load(shift + c, mask=c < channels, other=0.0)[:, None], 0.0)
    to = out + c[:, None] * o_channel + (item * o_item + p * o_pixel)[None, :]
    tl.store(to, v.to(out.dtype.element_ty), mask=mask)
