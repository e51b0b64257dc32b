"""Triton kernels before and after the scan of a VSS block: LayerNorm and in_proj; norm, gate and out_proj.

VSS block of VMamba v0 (Liu et al. 2024, arXiv 2401.10166, section 4.3), as ``scan2d.py`` writes it in PyTorch.
The host side is ``vss_fused.py``; the depth-wise convolution between them is in ``vss_conv_kernels.py``.

Geometry
    A program takes BP pixels of one image with all their channels in registers: nothing is exchanged between
    programs. What the scan reads and writes (u, y and their gradients) is (B, E, H, W), the rest (B, H, W, C).
    C = D channels of the block, E = 2 D scanned channels; CP and EP are these rounded up to a power of two of
    at least 16, as the matrix product asks.

Arithmetic is float32 whatever the tensors are. Backward recomputes norm, gate and their derivatives from the
inputs; sums over pixels (gradients of weights) are kept by each program for all its tiles and added up later.
"""

from __future__ import annotations

import triton
import triton.language as tl

SIZES = ["tiles_an_image", "tiles"]
"""Integer arguments that must not be specialised: another batch would compile everything again."""


@triton.jit
def pixels_of(tile, tiles_an_image, pixels, BP: tl.constexpr):
    """Image and pixels of a tile, and which of them exist."""
    s = (tile % tiles_an_image) * BP + tl.arange(0, BP)
    return (tile // tiles_an_image).to(tl.int64), s, s < pixels


@triton.jit
def normalise(v, exists, eps, COUNT: tl.constexpr):
    """LayerNorm over the last axis without its affine part: normalised values (0 where none), 1 / deviation."""
    centred = tl.where(exists, v - (tl.sum(v, axis=1) / COUNT)[:, None], 0.0)
    scale = tl.rsqrt(tl.sum(centred * centred, axis=1) / COUNT + eps)[:, None]
    return centred * scale, scale


@triton.jit
def normalise_gradient(g, hat, scale, COUNT: tl.constexpr):
    """Gradient of ``normalise`` for the gradient g of its result ``hat``."""
    mean = (tl.sum(g, axis=1) / COUNT)[:, None]
    along = (tl.sum(g * hat, axis=1) / COUNT)[:, None]
    return scale * (g - mean - hat * along)


@triton.jit
def rows(at, inside, COUNT: tl.constexpr, PADDED: tl.constexpr):
    """Pointers and mask of (pixels, channels) in channels-last memory; ``at`` is the pixel's number."""
    c = tl.arange(0, PADDED)[None, :]
    return at[:, None] * COUNT + c, inside[:, None] & (c < COUNT)


@triton.jit(do_not_specialize=SIZES[:1])
def in_kernel(
    x, gamma, beta, w, u, z, pixels, tiles_an_image, eps,
    C: tl.constexpr, E: tl.constexpr, CP: tl.constexpr, EB: tl.constexpr, BP: tl.constexpr,
    NORM: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """[u, z] = W LayerNorm(x): u (B, E, H, W), z (B, H, W, E); EB of their channels at a time."""
    b, s, inside = pixels_of(tl.program_id(0), tiles_an_image, pixels, BP)
    at, has = rows(b * pixels + s, inside, C, CP)
    c = tl.arange(0, CP)
    v = tl.load(x + at, mask=has, other=0.0).to(tl.float32)
    if NORM:
        hat, _ = normalise(v, has, eps, C)
        v = hat * tl.load(gamma + c, mask=c < C, other=0.0)[None, :]
        v += tl.load(beta + c, mask=c < C, other=0.0)[None, :]
    for e0 in range(0, E, EB):
        e = e0 + tl.arange(0, EB)
        known = (c < C)[:, None] & (e < E)[None, :]
        mask = inside[:, None] & (e < E)[None, :]
        weight = tl.load(w + c[:, None] + e[None, :] * C, mask=known, other=0.0)
        value = tl.dot(v, weight, input_precision=PRECISION)
        tl.store(u + (b * E + e)[None, :] * pixels + s[:, None], value.to(u.dtype.element_ty), mask=mask)
        weight = tl.load(w + E * C + c[:, None] + e[None, :] * C, mask=known, other=0.0)
        value = tl.dot(v, weight, input_precision=PRECISION)
        tl.store(z + (b * pixels + s)[:, None] * E + e[None, :], value.to(z.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=SIZES)
def in_gradient_kernel(
    du, dz, x, gamma, w, dx, outer, plain, pixels, tiles_an_image, tiles, eps,
    C: tl.constexpr, E: tl.constexpr, CP: tl.constexpr, EP: tl.constexpr, BP: tl.constexpr,
    NORM: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """dx, and this program's sums over pixels: outer (programs, 2E, C) of [du, dz]^T hat, plain (programs, 2E) of them.

    With ``hat`` the normalised x, v = gamma hat + beta and G = outer: dW = gamma G + beta plain,
    dgamma = sum over rows of W G, dbeta = sum over rows of W plain.
    """
    c, e = tl.arange(0, CP), tl.arange(0, EP)
    known = (e < E)[:, None] & (c < C)[None, :]
    to = e[:, None] * C + c[None, :]
    acc_u = tl.zeros([EP, CP], tl.float32)
    acc_z = tl.zeros([EP, CP], tl.float32)
    sum_u = tl.zeros([EP], tl.float32)
    sum_z = tl.zeros([EP], tl.float32)
    for tile in range(tl.program_id(0), tiles, tl.num_programs(0)):
        b, s, inside = pixels_of(tile, tiles_an_image, pixels, BP)
        at, has = rows(b * pixels + s, inside, C, CP)
        hat = tl.load(x + at, mask=has, other=0.0).to(tl.float32)
        if NORM:
            hat, scale = normalise(hat, has, eps, C)
        planar = (b * E + e)[:, None] * pixels + s[None, :]
        grad = tl.load(du + planar, mask=(e < E)[:, None] & inside[None, :], other=0.0).to(tl.float32)  # (EP, BP)
        acc_u = tl.dot(grad, hat, acc_u, input_precision=PRECISION)
        weight = tl.load(w + to, mask=known, other=0.0)
        dv = tl.dot(tl.trans(grad), weight, input_precision=PRECISION)
        if NORM:
            sum_u += tl.sum(grad, axis=1)
        at_z, has_z = rows(b * pixels + s, inside, E, EP)
        grad = tl.load(dz + at_z, mask=has_z, other=0.0).to(tl.float32)  # (BP, EP)
        acc_z = tl.dot(tl.trans(grad), hat, acc_z, input_precision=PRECISION)
        weight = tl.load(w + E * C + to, mask=known, other=0.0)
        dv = tl.dot(grad, weight, dv, input_precision=PRECISION)
        if NORM:
            sum_z += tl.sum(grad, axis=0)
            g = tl.load(gamma + c, mask=c < C, other=0.0)[None, :]
            dv = normalise_gradient(dv * g, hat, scale, C)
        tl.store(dx + at, dv.to(dx.dtype.element_ty), mask=has)
    outer += tl.program_id(0) * (2 * E * C)
    tl.store(outer + to, acc_u, mask=known)
    tl.store(outer + E * C + to, acc_z, mask=known)
    if NORM:
        plain += tl.program_id(0) * (2 * E)
        tl.store(plain + e, sum_u, mask=e < E)
        tl.store(plain + E + e, sum_z, mask=e < E)


@triton.jit
def gate(y, z, b, s, inside, pixels, eps, E: tl.constexpr, EP: tl.constexpr):
    """LayerNorm(y) without its affine part, 1 / deviation, z, sigmoid(z), and the mask, each (pixels, channels)."""
    e = tl.arange(0, EP)
    at, has = rows(b * pixels + s, inside, E, EP)
    value = tl.load(y + (b * E + e)[None, :] * pixels + s[:, None], mask=has, other=0.0).to(tl.float32)
    hat, scale = normalise(value, has, eps, E)
    through = tl.load(z + at, mask=has, other=0.0).to(tl.float32)
    return hat, scale, through, tl.sigmoid(through), has


@triton.jit(do_not_specialize=SIZES[:1])
def out_kernel(
    y, z, gamma, beta, w, residual, out, pixels, tiles_an_image, eps,
    C: tl.constexpr, E: tl.constexpr, CP: tl.constexpr, EP: tl.constexpr, BP: tl.constexpr,
    RESIDUAL: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """out = residual + W (LayerNorm(y) SiLU(z)): y (B, E, H, W), z (B, H, W, E), out (B, H, W, C)."""
    b, s, inside = pixels_of(tl.program_id(0), tiles_an_image, pixels, BP)
    c, e = tl.arange(0, CP), tl.arange(0, EP)
    hat, _, through, open_, _ = gate(y, z, b, s, inside, pixels, eps, E, EP)
    value = hat * tl.load(gamma + e, mask=e < E, other=0.0)[None, :]
    value = (value + tl.load(beta + e, mask=e < E, other=0.0)[None, :]) * (through * open_)
    weight = tl.load(w + e[:, None] + c[None, :] * E, mask=(e < E)[:, None] & (c < C)[None, :], other=0.0)
    total = tl.dot(value, weight, input_precision=PRECISION)
    at, has = rows(b * pixels + s, inside, C, CP)
    if RESIDUAL:
        total += tl.load(residual + at, mask=has, other=0.0).to(tl.float32)
    tl.store(out + at, total.to(out.dtype.element_ty), mask=has)


@triton.jit(do_not_specialize=SIZES)
def out_gradient_kernel(
    dout, y, z, gamma, beta, w, dy, dz, outer, pixels, tiles_an_image, tiles, eps,
    C: tl.constexpr, E: tl.constexpr, CP: tl.constexpr, EP: tl.constexpr, BP: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """dy, dz, and this program's sums over pixels, outer (programs, 2, C, E): dout^T (hat SiLU(z)), dout^T SiLU(z).

    With these as G and P: dW = gamma G + beta P, dgamma = sum over rows of W G, dbeta = sum over rows of W P.
    """
    c, e = tl.arange(0, CP), tl.arange(0, EP)
    known = (c < C)[:, None] & (e < E)[None, :]
    to = c[:, None] * E + e[None, :]
    acc_hat = tl.zeros([CP, EP], tl.float32)
    acc_plain = tl.zeros([CP, EP], tl.float32)
    for tile in range(tl.program_id(0), tiles, tl.num_programs(0)):
        b, s, inside = pixels_of(tile, tiles_an_image, pixels, BP)
        hat, scale, through, open_, has_e = gate(y, z, b, s, inside, pixels, eps, E, EP)
        at, has = rows(b * pixels + s, inside, C, CP)
        grad = tl.load(dout + at, mask=has, other=0.0).to(tl.float32)  # (BP, CP)
        weight = tl.load(w + to, mask=known, other=0.0)
        gated = tl.dot(grad, weight, input_precision=PRECISION)  # (BP, EP), gradient of LayerNorm(y) SiLU(z)
        turned = tl.trans(grad)
        acc_plain = tl.dot(turned, through * open_, acc_plain, input_precision=PRECISION)
        acc_hat = tl.dot(turned, hat * (through * open_), acc_hat, input_precision=PRECISION)
        g = tl.load(gamma + e, mask=e < E, other=0.0)[None, :]
        affine = hat * g + tl.load(beta + e, mask=e < E, other=0.0)[None, :]
        slope = open_ * (1.0 + through * (1.0 - open_))  # of SiLU
        at_z, _ = rows(b * pixels + s, inside, E, EP)
        tl.store(dz + at_z, (gated * affine * slope).to(dz.dtype.element_ty), mask=has_e)
        value = normalise_gradient(gated * (through * open_) * g, hat, scale, E)
        planar = (b * E + e)[None, :] * pixels + s[:, None]
        tl.store(dy + planar, value.to(dy.dtype.element_ty), mask=has_e)
    outer += tl.program_id(0) * (2 * C * E)
    tl.store(outer + to, acc_hat, mask=known)
    tl.store(outer + C * E + to, acc_plain, mask=known)
