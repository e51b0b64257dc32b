"""Triton kernels of an encoder and a decoder level between its convolutions: norms, pools, gates, merging.

ResMamba's tail and the stages of Hoang et al. 2025 (doi 10.1007/s10044-025-01506-w), as ``stages.py`` writes them in
PyTorch; CBAM: Woo et al. 2018 (doi 10.1007/978-3-030-01234-2_1), ``attention.py``. The host side is ``cuda_level.py``.

Geometry
    Tensors lie channels last, (B, pixels, C). A program takes CB channels of BP pixels at a time, so that neighbouring
    threads read neighbouring channels. Where sums over an image are needed, the image is cut into ``parts`` of
    ``span`` pixels, a program each; the parts' sums are kept and added in a fixed order, so results never vary.

Arithmetic is float32 whatever the tensors are. Offsets are 64-bit between images and 32-bit within one.
"""

from __future__ import annotations

import triton
import triton.language as tl

SIZES = ["parts", "span"]
"""Integer arguments that must not be specialised: another batch would compile everything again."""


@triton.jit
def image_of(number, parts):
    """Which image a program works on, as a 64-bit number, and which part of it."""
    return (number // parts).to(tl.int64), number % parts


@triton.jit
def some_channels(channels, CB: tl.constexpr):
    """The channels of a program, and which of them exist."""
    c = tl.program_id(1) * CB + tl.arange(0, CB)
    return c, c < channels


@triton.jit
def added(sums, parts, stride, known, PARTS: tl.constexpr):
    """The sum of the parts' sums: ``sums`` are pointers to the first part's."""
    p = tl.arange(0, PARTS)
    kept = tl.load(sums[None, :] + p[:, None] * stride, mask=(p < parts)[:, None] & known[None, :], other=0.0)
    return tl.sum(kept, axis=0)


@triton.jit
def highest(peaks, parts, stride, known, PARTS: tl.constexpr):
    """The largest of the parts' maxima, none of which is negative."""
    p = tl.arange(0, PARTS)
    kept = tl.load(peaks[None, :] + p[:, None] * stride, mask=(p < parts)[:, None] & known[None, :], other=0.0)
    return tl.max(kept, axis=0)


@triton.jit(do_not_specialize=SIZES)
def moments_kernel(x, moments, pixels, channels, parts, span, CB: tl.constexpr, BP: tl.constexpr):
    """Sums of x - x0 and of its square, x0 the image's first pixel: moments (B, parts, 2, C)."""
    b, part = image_of(tl.program_id(0), parts)
    c, known = some_channels(channels, CB)
    x += b * pixels * channels
    first = tl.load(x + c, mask=known, other=0.0).to(tl.float32)[None, :]
    total = tl.zeros([BP, CB], tl.float32)
    square = tl.zeros([BP, CB], tl.float32)
    end = tl.minimum(part * span + span, pixels)
    for s0 in range(part * span, end, BP):
        s = s0 + tl.arange(0, BP)
        has = (s < end)[:, None] & known[None, :]
        v = tl.load(x + s[:, None] * channels + c[None, :], mask=has, other=0.0).to(tl.float32)
        v = tl.where(has, v - first, 0.0)
        total += v
        square += v * v
    moments += (b * parts + part) * 2 * channels + c
    tl.store(moments, tl.sum(total, axis=0), mask=known)
    tl.store(moments + channels, tl.sum(square, axis=0), mask=known)


@triton.jit(do_not_specialize=SIZES)
def instance_kernel(
    x, moments, gamma, beta, residual, out, pixels, channels, parts, span, eps, slope, factor,
    CB: tl.constexpr, BP: tl.constexpr, PARTS: tl.constexpr,
):  # fmt: skip
    """LeakyReLU(gamma (x - mean) / deviation + beta) + factor residual."""
    b, part = image_of(tl.program_id(0), parts)
    c, known = some_channels(channels, CB)
    moments += b * parts * 2 * channels + c
    x += b * pixels * channels
    residual += b * pixels * channels
    out += b * pixels * channels
    beyond = added(moments, parts, 2 * channels, known, PARTS) / pixels
    variance = added(moments + channels, parts, 2 * channels, known, PARTS) / pixels - beyond * beyond
    mean = (tl.load(x + c, mask=known, other=0.0).to(tl.float32) + beyond)[None, :]
    scale = tl.load(gamma + c, mask=known, other=0.0) * tl.rsqrt(tl.maximum(variance, 0.0) + eps)
    shift = tl.load(beta + c, mask=known, other=0.0)[None, :]
    end = tl.minimum(part * span + span, pixels)
    for s0 in range(part * span, end, BP):
        s = s0 + tl.arange(0, BP)
        has = (s < end)[:, None] & known[None, :]
        at = s[:, None] * channels + c[None, :]
        v = (tl.load(x + at, mask=has, other=0.0).to(tl.float32) - mean) * scale[None, :] + shift
        v = tl.where(v < 0, slope * v, v)
        v += factor * tl.load(residual + at, mask=has, other=0.0).to(tl.float32)
        tl.store(out + at, v.to(out.dtype.element_ty), mask=has)


@triton.jit(do_not_specialize=SIZES)
def relu_pool_kernel(
    x, bias, skip, pooled, sums, peaks, width, pixels, channels, parts, span, CB: tl.constexpr, BP: tl.constexpr
):
    """skip = ReLU(x + bias), its 2x2 max-pool, and a part's sums and maxima (B, parts, C).

    ``pixels`` and ``span`` count pooled pixels, ``width`` is the pooled image's.
    """
    b, part = image_of(tl.program_id(0), parts)
    c, known = some_channels(channels, CB)
    x += b * 4 * pixels * channels
    skip += b * 4 * pixels * channels
    pooled += b * pixels * channels
    shift = tl.load(bias + c, mask=known, other=0.0)[None, :]
    total = tl.zeros([BP, CB], tl.float32)
    peak = tl.zeros([BP, CB], tl.float32)
    end = tl.minimum(part * span + span, pixels)
    for s0 in range(part * span, end, BP):
        s = s0 + tl.arange(0, BP)
        has = (s < end)[:, None] & known[None, :]
        corner = s // width * (4 * width) + s % width * 2  # upper left of the four
        best = tl.zeros([BP, CB], tl.float32)
        for k in tl.static_range(4):
            pixel = corner + k // 2 * (2 * width) + k % 2
            at = pixel[:, None] * channels + c[None, :]
            v = tl.load(x + at, mask=has, other=0.0).to(tl.float32) + shift
            v = tl.where(v < 0, 0.0, v)
            tl.store(skip + at, v.to(skip.dtype.element_ty), mask=has)
            total += tl.where(has, v, 0.0)
            best = tl.maximum(best, v)
        at = s[:, None] * channels + c[None, :]
        tl.store(pooled + at, best.to(pooled.dtype.element_ty), mask=has)
        peak = tl.maximum(peak, tl.where(has, best, 0.0))
    at = (b * parts + part) * channels + c
    tl.store(sums + at, tl.sum(total, axis=0), mask=known)
    tl.store(peaks + at, tl.max(peak, axis=0), mask=known)


@triton.jit(do_not_specialize=SIZES)
def channel_gate_kernel(
    sums, peaks, reduce, reduce_bias, expand, expand_bias, gate, pixels, channels, hidden, parts,
    CB: tl.constexpr, HB: tl.constexpr, PARTS: tl.constexpr,
):  # fmt: skip
    """CBAM's channel gate (B, C) of an image from its parts: sigmoid(MLP(mean) + MLP(maximum))."""
    b = tl.program_id(0).to(tl.int64)
    h = tl.arange(0, HB)
    within = h < hidden
    low = tl.load(reduce_bias + h, mask=within, other=0.0)
    of_mean = low
    of_peak = low
    for c0 in range(0, channels, CB):
        c = c0 + tl.arange(0, CB)
        known = c < channels
        at = b * parts * channels + c
        mean = added(sums + at, parts, channels, known, PARTS) / pixels
        peak = highest(peaks + at, parts, channels, known, PARTS)
        mask = within[:, None] & known[None, :]
        weight = tl.load(reduce + h[:, None] * channels + c[None, :], mask=mask, other=0.0)
        of_mean += tl.sum(weight * mean[None, :], axis=1)
        of_peak += tl.sum(weight * peak[None, :], axis=1)
    both = tl.maximum(of_mean, 0.0) + tl.maximum(of_peak, 0.0)  # the last layer is linear
    for c0 in range(0, channels, CB):
        c = c0 + tl.arange(0, CB)
        known = c < channels
        weight = tl.load(expand + c[:, None] * hidden + h[None, :], mask=known[:, None] & within[None, :], other=0.0)
        v = tl.sum(weight * both[None, :], axis=1) + 2 * tl.load(expand_bias + c, mask=known, other=0.0)
        tl.store(gate + b * channels + c, tl.sigmoid(v), mask=known)


@triton.jit(do_not_specialize=SIZES)
def channel_pools_kernel(x, gate, pooled, pixels, channels, parts, CB: tl.constexpr, BP: tl.constexpr):
    """Maximum and mean over channels of gate x: pooled (B, 2, pixels); a part is BP pixels."""
    b, part = image_of(tl.program_id(0), parts)
    s = part * BP + tl.arange(0, BP)
    inside = s < pixels
    x += b * pixels * channels
    gate += b * channels
    most = tl.full([BP, CB], float("-inf"), tl.float32)
    total = tl.zeros([BP, CB], tl.float32)
    for c0 in range(0, channels, CB):
        c = c0 + tl.arange(0, CB)
        known = c < channels
        at = s[:, None] * channels + c[None, :]
        v = tl.load(x + at, mask=inside[:, None] & known[None, :], other=0.0).to(tl.float32)
        v *= tl.load(gate + c, mask=known, other=0.0)[None, :]
        total += v
        most = tl.maximum(most, tl.where(known[None, :], v, float("-inf")))
    pooled += b * 2 * pixels + s
    tl.store(pooled, tl.max(most, axis=1), mask=inside)
    tl.store(pooled + pixels, tl.sum(total, axis=1) / channels, mask=inside)


@triton.jit(do_not_specialize=SIZES)
def spatial_gate_kernel(pooled, weight, bias, gate, height, width, parts, BP: tl.constexpr):
    """CBAM's spatial gate (B, H, W): sigmoid(7x7 convolution of (B, 2, H, W) + bias); a part is BP pixels."""
    b, part = image_of(tl.program_id(0), parts)
    s = part * BP + tl.arange(0, BP)
    pixels = height * width
    i, j = s // width, s % width
    pooled += b * 2 * pixels
    v = tl.zeros([BP], tl.float32) + tl.load(bias)
    for tap in range(14):  # seven rows of two planes
        plane = tap // 7
        row = i + tap % 7 - 3
        for k in tl.static_range(7):
            column = j + k - 3
            has = (s < pixels) & (row >= 0) & (row < height) & (column >= 0) & (column < width)
            value = tl.load(pooled + plane * pixels + row * width + column, mask=has, other=0.0)
            v += tl.load(weight + tap * 7 + k) * value
    tl.store(gate + b * pixels + s, tl.sigmoid(v), mask=s < pixels)


@triton.jit(do_not_specialize=SIZES)
def merge_kernel(side, gate, below, height, width, channels, parts, CB: tl.constexpr, BP: tl.constexpr):
    """side <- gate side + below, up-sampled by two to the nearest; a part is BP pixels."""
    b, part = image_of(tl.program_id(0), parts)
    c, known = some_channels(channels, CB)
    pixels = height * width
    s = part * BP + tl.arange(0, BP)
    inside = s < pixels
    has = inside[:, None] & known[None, :]
    side += b * pixels * channels
    below += b * (pixels // 4) * channels
    at = s[:, None] * channels + c[None, :]
    under = s // width // 2 * (width // 2) + s % width // 2
    v = tl.load(side + at, mask=has, other=0.0).to(tl.float32)
    v *= tl.load(gate + b * pixels + s, mask=inside, other=0.0)[:, None]
    v += tl.load(below + under[:, None] * channels + c[None, :], mask=has, other=0.0).to(tl.float32)
    tl.store(side + at, v.to(side.dtype.element_ty), mask=has)


@triton.jit
def flat_tile(pixels, channels, c, known, BP: tl.constexpr):
    """Offsets from a program's first of BP pixels, and which exist, where images need not be told apart."""
    s = tl.arange(0, BP)
    has = (s < pixels - tl.program_id(0) * BP)[:, None] & known[None, :]
    return s[:, None] * channels + c[None, :], has


@triton.jit
def gelu_of(v):
    """The exact GELU."""
    return 0.5 * v * (1.0 + tl.erf(v * 0.7071067811865476))


@triton.jit
def gelu_kernel(x, bias, pixels, channels, CB: tl.constexpr, BP: tl.constexpr):
    """x <- GELU(x + bias), ``pixels`` those of all images."""
    c, known = some_channels(channels, CB)
    at, has = flat_tile(pixels, channels, c, known, BP)
    x += tl.program_id(0).to(tl.int64) * BP * channels
    v = tl.load(x + at, mask=has, other=0.0).to(tl.float32) + tl.load(bias + c, mask=known, other=0.0)[None, :]
    tl.store(x + at, gelu_of(v).to(x.dtype.element_ty), mask=has)


@triton.jit
def gelu_head_kernel(x, bias, weight, head_bias, out, pixels, channels, CB: tl.constexpr, BP: tl.constexpr):
    """out (pixels) = weight . GELU(x + bias) + head_bias, with all channels in one program."""
    c, known = some_channels(channels, CB)
    at, has = flat_tile(pixels, channels, c, known, BP)
    s = tl.program_id(0) * BP + tl.arange(0, BP)
    x += tl.program_id(0).to(tl.int64) * BP * channels
    v = tl.load(x + at, mask=has, other=0.0).to(tl.float32)
    v = gelu_of(v + tl.load(bias + c, mask=known, other=0.0)[None, :])
    v = tl.sum(v * tl.load(weight + c, mask=known, other=0.0)[None, :], axis=1) + tl.load(head_bias)
    tl.store(out + s, v.to(out.dtype.element_ty), mask=s < pixels)
