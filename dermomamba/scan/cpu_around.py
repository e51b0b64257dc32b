"""What lies around the scan of one encoder level, compiled: mixers, norms, projections, gates and pools.

DermoMamba's Cross-Scale Mamba Block (Hoang et al. 2025, doi 10.1007/s10044-025-01506-w) has 4 to 64 channels a
branch: too thin for library operators, which pass over memory once each. Here a few pixels at a time go through
all steps while they sit in the first-level cache. Inference only; no gradients.

Arrays are flat float32, images [image][row][column][channel], D channels a branch (4 or a multiple of 8), C = 4 D,
E = 2 D. Workers take task numbers from ``counter`` as those of ``cpu_cross`` do.
"""

from __future__ import annotations

import numpy as np

from dermomamba.scan.cpu_compile import compiled
from dermomamba.scan.cpu_cross import project
from dermomamba.scan.cpu_vector import LANES, fma, load, silu, splat, store, take_number, total, zeros

CHUNK = 64  # pixels that go through the projections together
BAND = 8  # rows of the depth-wise convolution that a task computes
BRANCHES = 3


@compiled
def copy_row(x, start, stride, channels, width, target, t0):
    """One row of some channels, ``stride`` floats a pixel, to a place without gaps."""
    if channels % LANES:
        for p in range(width):
            for c in range(channels):
                target[t0 + p * channels + c] = x[start + p * stride + c]
    else:
        for p in range(width):
            for c in range(0, channels, LANES):
                store(target, t0 + p * channels + c, load(x, start + p * stride + c))


@compiled
def seven(source, s0, step, weights, w0, period, count, out, o0):
    """``out[p] = bias + sum_j w_j source[p + j step]``: a row of the 1x7 or 7x1 convolution, weights in registers."""
    for g in range(0, period, LANES):
        w, b = w0 + g, load(weights, w0 + 7 * period + g)
        w_0, w_1, w_2, w_3 = (
            load(weights, w),
            load(weights, w + period),
            load(weights, w + 2 * period),
            load(weights, w + 3 * period),
        )
        w_4, w_5, w_6 = load(weights, w + 4 * period), load(weights, w + 5 * period), load(weights, w + 6 * period)
        for p in range(g, count, period):
            s = s0 + p
            a = fma(load(source, s), w_0, b)
            c = load(source, s + step) * w_1
            a = fma(load(source, s + 2 * step), w_2, a)
            c = fma(load(source, s + 3 * step), w_3, c)
            a = fma(load(source, s + 4 * step), w_4, a)
            c = fma(load(source, s + 5 * step), w_5, c)
            store(out, o0 + p, fma(load(source, s + 6 * step), w_6, a) + c)


@compiled
def nine(source, s0, down, right, weights, w0, period, count, out, o0):
    """A row of a 3x3 convolution whose taps lie ``down`` and ``right`` floats apart."""
    for g in range(0, period, LANES):
        w, b = w0 + g, load(weights, w0 + 9 * period + g)
        w_0, w_1, w_2 = load(weights, w), load(weights, w + period), load(weights, w + 2 * period)
        w_3, w_4, w_5 = load(weights, w + 3 * period), load(weights, w + 4 * period), load(weights, w + 5 * period)
        w_6, w_7, w_8 = load(weights, w + 6 * period), load(weights, w + 7 * period), load(weights, w + 8 * period)
        for p in range(g, count, period):
            s, m = s0 + p, s0 + p + down
            n = m + down
            a = fma(load(source, s), w_0, b)
            c = load(source, s + right) * w_1
            d = load(source, s + 2 * right) * w_2
            a = fma(load(source, m), w_3, a)
            c = fma(load(source, m + right), w_4, c)
            d = fma(load(source, m + 2 * right), w_5, d)
            a = fma(load(source, n), w_6, a)
            c = fma(load(source, n + right), w_7, c)
            store(out, o0 + p, fma(load(source, n + 2 * right), w_8, d) + (a + c))


@compiled
def zero(array, first, last):
    """Set floats ``first`` to ``last`` to zero."""
    for i in range(first, last):
        array[i] = np.float32(0)


@compiled
def mixer_worker(counter, x, weights, out, batch, height, width, channels, bands):
    """``x + Conv3x3(Conv7x1(Conv1x7(x)))`` of three branches, dilation 1, 2, 3; a task is a band of one branch.

    ``weights``: for each branch 7 + 1 rows, 7 + 1, and 9 + 1 of D numbers (D = 4: repeated to 8); ``out`` holds the
    branches one after the other, as a batch of three.
    """
    size = channels // 4
    period = max(size, LANES)
    row = width * size
    while True:
        task = take_number(counter)
        if task >= batch * BRANCHES * bands:
            return
        band, image, branch = task % bands, task // bands % batch, task // (bands * batch)
        d = branch + 1
        r0, r1 = band * height // bands, (band + 1) * height // bands
        across, side = 3 * d * size, d * size
        line = np.zeros(row + 2 * across, np.float32)
        first = np.empty((r1 - r0 + 8 * d) * row, np.float32)  # rows r0 - 4 d to r1 + 4 d
        padded = row + 2 * side
        second = np.empty((r1 - r0 + 2 * d) * padded, np.float32)  # rows r0 - d to r1 + d
        w0 = branch * 26 * period
        start = image * height * width * channels + branch * size
        for r in range(r0 - 4 * d, r1 + 4 * d):
            o = (r - r0 + 4 * d) * row
            if r < 0 or r >= height:
                zero(first, o, o + row)
            else:
                copy_row(x, start + r * width * channels, channels, size, width, line, across)
                seven(line, 0, side, weights, w0, period, row, first, o)
        for r in range(r0 - d, r1 + d):
            o = (r - r0 + d) * padded
            if r < 0 or r >= height:
                zero(second, o, o + padded)
            else:
                zero(second, o, o + side)
                seven(first, (r - r0 + d) * row, d * row, weights, w0 + 8 * period, period, row, second, o + side)
                zero(second, o + side + row, o + padded)
        for r in range(r0, r1):
            o = ((branch * batch + image) * height + r) * row
            nine(second, (r - r0) * padded, d * padded, side, weights, w0 + 16 * period, period, row, out, o)
            copy_row(x, start + r * width * channels, channels, size, width, line, across)
            for p in range(0, row, LANES):
                store(out, o + p, load(out, o + p) + load(line, across + p))


@compiled
def normalise(x, x0, count, size, eps, target, t0):
    """``(x - mean) / sqrt(variance + eps)`` of one pixel's channels, summed twice so that nothing cancels."""
    mean, square = np.float32(0), np.float32(0)
    if size % LANES:
        for c in range(size):
            mean += x[x0 + c]
        mean /= np.float32(size)
        for c in range(size):
            square += (x[x0 + c] - mean) * (x[x0 + c] - mean)
        scale = np.float32(1) / np.sqrt(square / np.float32(size) + eps)
        for c in range(size):
            target[t0 + c] = (x[x0 + c] - mean) * scale
        return
    sums = zeros()
    for c in range(0, size, LANES):
        sums = sums + load(x, x0 + c)
    centre, squares = splat(np.float32(total(sums) / np.float32(size))), zeros()
    for c in range(0, size, LANES):
        v = load(x, x0 + c) - centre
        squares = fma(v, v, squares)
    scales = splat(np.float32(np.float32(1) / np.sqrt(total(squares) / np.float32(size) + eps)))
    for c in range(0, size, LANES):
        store(target, t0 + c, (load(x, x0 + c) - centre) * scales)


@compiled
def before_worker(counter, x, weights, eps, out, pixels, size):
    """LayerNorm and in_proj: ``out`` [pixel][2 E]; ``weights`` [D + 1][2 E], the norm's affine inside, bias last."""
    wide = 4 * size
    normed = np.ones(CHUNK * (size + 1), np.float32)
    while True:
        task = take_number(counter)
        if task * CHUNK >= pixels:
            return
        p0 = task * CHUNK
        count = min(CHUNK, pixels - p0)
        for p in range(count):
            normalise(x, (p0 + p) * size, count, size, eps, normed, p * (size + 1))
        project(normed, 0, count, size + 1, weights, 0, wide, out[p0 * wide :])


@compiled
def depthwise_worker(counter, x, weights, out, batch, height, width, inner):
    """SiLU of the depth-wise 3x3 convolution of the first E of 2 E channels; ``weights`` [9 + 1][E], bias last."""
    bands, row, padded = -(-height // BAND), width * inner, (width + 2) * inner
    lines = np.zeros((BAND + 2) * padded, np.float32)
    while True:
        task = take_number(counter)
        if task >= batch * bands:
            return
        image, r0 = task // bands, task % bands * BAND
        r1 = min(r0 + BAND, height)
        for r in range(r0 - 1, r1 + 1):
            o = (r - r0 + 1) * padded + inner
            if r < 0 or r >= height:
                zero(lines, o, o + row)
            else:
                copy_row(x, (image * height + r) * 2 * row, 2 * inner, inner, width, lines, o)
        for r in range(r0, r1):
            o = (image * height + r) * row
            nine(lines, (r - r0) * padded, padded, inner, weights, 0, inner, row, out, o)
            for p in range(0, row, LANES):
                store(out, o + p, silu(load(out, o + p)))


@compiled
def after_worker(
    counter, paths, y, xz, norm, eps, weights, mixed, x, affine, out, batch, pixels, size
):  # fmt: skip
    """LayerNorm of the scan, gate, out_proj, residual; then the block's BatchNorm (``affine`` [2][C]) and ReLU.

    A task is a chunk of one of four branches; the fourth takes the untouched channels of ``x``. ``y``: ``paths``
    arrays [3 B][pixel][E] to be added; ``xz`` [3 B][pixel][2 E]; ``norm`` [2][E]; ``weights`` [E][D, at least 8];
    ``mixed`` [3 B][pixel][D], the block's input; ``out`` [B][pixel][C].
    """
    inner, channels = 2 * size, 4 * size
    wide = max(size, LANES)
    whole = BRANCHES * batch * pixels * inner
    chunks = -(-pixels // CHUNK)
    sums, gated = np.empty(inner, np.float32), np.empty(CHUNK * inner, np.float32)
    result = np.empty(CHUNK * wide, np.float32)
    while True:
        task = take_number(counter)
        if task >= 4 * batch * chunks:
            return
        branch, image, p0 = task // (batch * chunks), task // chunks % batch, task % chunks * CHUNK
        count = min(CHUNK, pixels - p0)
        first = branch * size
        if branch < BRANCHES:
            here = (branch * batch + image) * pixels + p0
            for p in range(count):
                i = (here + p) * inner
                for e in range(0, inner, LANES):
                    v = load(y, i + e)
                    for path in range(1, paths):
                        v = v + load(y, i + e + path * whole)
                    store(sums, e, v)
                normalise(sums, 0, count, inner, eps, gated, p * inner)
                for e in range(0, inner, LANES):
                    v = fma(load(gated, p * inner + e), load(norm, e), load(norm, inner + e))
                    store(gated, p * inner + e, v * silu(load(xz, 2 * i + inner + e)))
            project(gated, 0, count, inner, weights, 0, wide, result)
            for p in range(count):
                for c in range(size):
                    v = result[p * wide + c] + mixed[(here + p) * size + c]
                    v = v * affine[first + c] + affine[channels + first + c]
                    out[(image * pixels + p0 + p) * channels + first + c] = v if not v < 0 else np.float32(0)
        else:
            for p in range(count):
                i = (image * pixels + p0 + p) * channels + first
                for c in range(size):
                    v = x[i + c] * affine[first + c] + affine[channels + first + c]
                    out[i + c] = v if not v < 0 else np.float32(0)
