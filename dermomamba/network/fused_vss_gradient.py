"""Triton kernels of the gradient of the VSS block around its scan; the forward is in ``fused_vss_kernels.py``.

Each program goes over every programs-th block of pixels, recomputes what the forward computed, and keeps its share of
the parameters' gradients in registers; the shares are added on the host. Nothing but x and the scan's output y is read.
KEEP: where two gradients of E x D numbers do not fit into registers, what they are products of is written instead
(normed x, gated y, dz) and the host multiplies; there the images are small.
"""

from __future__ import annotations

import triton
import triton.language as tl

from dermomamba.network.fused_vss_kernels import (
    SIZES,
    matrix,
    pixels_of,
    put_pixels,
    sigmoid,
    standardise,
    vector,
)


@triton.jit
def _unstandardise(grad, hat, scale, count: tl.constexpr):
    """Gradient of ``standardise``: of its input, from that of its output (zero outside the channels)."""
    mean = tl.sum(grad, axis=0) / count
    along = tl.sum(grad * hat, axis=0) / count
    return (grad - mean[None, :] - hat * along[None, :]) * scale[None, :]


@triton.jit(do_not_specialize=SIZES)
def project_out_gradient_kernel(
    dout, y, x, norm_w, norm_b, w_in, out_norm_w, out_norm_b, w_out, dy, dx, d_w_z, d_w_out, d_out_norm, d_norm,
    kept_x, kept_y, kept_dz,
    items, pixels, branches, o_item, o_branch, o_channel, o_pixel, eps, out_eps,
    D: tl.constexpr, E: tl.constexpr, NORM: tl.constexpr, RESIDUAL: tl.constexpr, KEEP: tl.constexpr,
    DP: tl.constexpr, EP: tl.constexpr, BP: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """dy (items, E, P); dx (items, D, P) through gate and residual; shares (programs, ...) of the gradients of
    W_z (E, D), W_out (D, E), out_norm (2, E) and norm (2, D)."""
    d, e = tl.arange(0, DP), tl.arange(0, EP)
    program = tl.program_id(0)
    acc_z = tl.zeros([EP, DP], tl.float32)
    acc_out = tl.zeros([DP, EP], tl.float32)
    acc_e_w = tl.zeros([EP], tl.float32)
    acc_e_b = tl.zeros([EP], tl.float32)
    acc_d_w = tl.zeros([DP], tl.float32)
    acc_d_b = tl.zeros([DP], tl.float32)
    blocks = tl.cdiv(pixels, BP)
    for work in range(program, items * blocks, tl.num_programs(0)):
        item = (work // blocks).to(tl.int64)
        p = work % blocks * BP + tl.arange(0, BP)
        at = dout + item // branches * o_item + item % branches * o_branch
        mask = (d < D)[:, None] & (p < pixels)[None, :]
        grad = tl.load(at + d[:, None] * o_channel + (p * o_pixel)[None, :], mask=mask, other=0.0).to(tl.float32)
        normed = pixels_of(x + item * D * pixels, d, D, p, pixels)
        if NORM:
            hat, x_scale = standardise(normed, d, D, eps)
            normed = hat * vector(norm_w, d, D) + vector(norm_b, d, D)
        z = tl.dot(matrix(w_in + E * D, e, E, d, D, D, 1), normed, input_precision=PRECISION)
        y_hat, y_scale = standardise(pixels_of(y + item * E * pixels, e, E, p, pixels), e, E, out_eps)
        scanned = y_hat * vector(out_norm_w, e, E) + vector(out_norm_b, e, E)
        s = sigmoid(z)
        silu = z * s
        if KEEP:
            put_pixels(kept_x + item * D * pixels, normed, d, D, p, pixels)
            put_pixels(kept_y + item * E * pixels, scanned * silu, e, E, p, pixels)
        else:
            acc_out += tl.dot(grad, tl.trans(scanned * silu), input_precision=PRECISION)
        d_gated = tl.dot(matrix(w_out, e, E, d, D, 1, E), grad, input_precision=PRECISION)
        d_scanned = d_gated * silu
        dz = d_gated * scanned * (s + silu * (1.0 - s))
        acc_e_w += tl.sum(d_scanned * y_hat, axis=1)
        acc_e_b += tl.sum(d_scanned, axis=1)
        d_hat = _unstandardise(d_scanned * vector(out_norm_w, e, E), y_hat, y_scale, E)
        put_pixels(dy + item * E * pixels, d_hat, e, E, p, pixels)
        if KEEP:
            put_pixels(kept_dz + item * E * pixels, dz, e, E, p, pixels)
        else:
            acc_z += tl.dot(dz, tl.trans(normed), input_precision=PRECISION)
        d_normed = tl.dot(matrix(w_in + E * D, d, D, e, E, 1, D), dz, input_precision=PRECISION)
        if NORM:
            acc_d_w += tl.sum(d_normed * hat, axis=1)
            acc_d_b += tl.sum(d_normed, axis=1)
            d_normed = _unstandardise(d_normed * vector(norm_w, d, D), hat, x_scale, D)
        if RESIDUAL:
            d_normed += grad
        put_pixels(dx + item * D * pixels, d_normed, d, D, p, pixels)
    if not KEEP:
        inside = (e < E)[:, None] & (d < D)[None, :]
        tl.store(d_w_z + program * E * D + e[:, None] * D + d[None, :], acc_z, mask=inside)
        inside_t = (d < D)[:, None] & (e < E)[None, :]
        tl.store(d_w_out + program * E * D + d[:, None] * E + e[None, :], acc_out, mask=inside_t)
    tl.store(d_out_norm + program * 2 * E + e, acc_e_w, mask=e < E)
    tl.store(d_out_norm + program * 2 * E + E + e, acc_e_b, mask=e < E)
    if NORM:
        tl.store(d_norm + program * 2 * D + d, acc_d_w, mask=d < D)
        tl.store(d_norm + program * 2 * D + D + d, acc_d_b, mask=d < D)


@triton.jit(do_not_specialize=SIZES)
def project_in_gradient_kernel(
    du, x, norm_w, norm_b, w_in, dx, d_w_x, d_norm, items, pixels, eps,
    D: tl.constexpr, E: tl.constexpr, NORM: tl.constexpr, KEEP: tl.constexpr, DP: tl.constexpr, EP: tl.constexpr,
    BP: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """dx += the gradient through W_x (in place); shares of the gradients of W_x (E, D) and norm (2, D)."""
    d, e = tl.arange(0, DP), tl.arange(0, EP)
    program = tl.program_id(0)
    acc_x = tl.zeros([EP, DP], tl.float32)
    acc_d_w = tl.zeros([DP], tl.float32)
    acc_d_b = tl.zeros([DP], tl.float32)
    blocks = tl.cdiv(pixels, BP)
    for work in range(program, items * blocks, tl.num_programs(0)):
        item = (work // blocks).to(tl.int64)
        p = work % blocks * BP + tl.arange(0, BP)
        normed = pixels_of(x + item * D * pixels, d, D, p, pixels)
        if NORM:
            hat, x_scale = standardise(normed, d, D, eps)
            normed = hat * vector(norm_w, d, D) + vector(norm_b, d, D)
        grad = pixels_of(du + item * E * pixels, e, E, p, pixels)
        if not KEEP:
            acc_x += tl.dot(grad, tl.trans(normed), input_precision=PRECISION)
        d_normed = tl.dot(matrix(w_in, d, D, e, E, 1, D), grad, input_precision=PRECISION)
        if NORM:
            acc_d_w += tl.sum(d_normed * hat, axis=1)
            acc_d_b += tl.sum(d_normed, axis=1)
            d_normed = _unstandardise(d_normed * vector(norm_w, d, D), hat, x_scale, D)
        to = dx + item * D * pixels
        put_pixels(to, d_normed + pixels_of(to, d, D, p, pixels), d, D, p, pixels)
    if not KEEP:
        inside = (e < E)[:, None] & (d < D)[None, :]
        tl.store(d_w_x + program * E * D + e[:, None] * D + d[None, :], acc_x, mask=inside)
    if NORM:
        tl.store(d_norm + program * 2 * D + d, acc_d_w, mask=d < D)
        tl.store(d_norm + program * 2 * D + D + d, acc_d_b, mask=d < D)
