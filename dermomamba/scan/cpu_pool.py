"""What follows the convolutions of one level, compiled: instance norm, pools, and the parts of CBAM and the decoder.

Each worker passes over memory once where the operators it stands for pass several times. Inference only. Arrays are
flat float32, images [image][pixel][channel], channels a multiple of 8; a task is a group of eight channels of one
image, or a row.
"""

from __future__ import annotations

import numpy as np

from dermomamba.scan.cpu_compile import compiled
from dermomamba.scan.cpu_vector import LANES, fma, load, maximum, peak, splat, spread, store, take_number, total, zeros

RUN = 256  # pixels that are added before their sum is, so that rounding errors stay small


@compiled
def instance_worker(counter, x, norm, eps, slope, b, scale, batch, pixels, channels):
    """``x <- LeakyReLU(InstanceNorm(x)) + scale b`` in place; ``norm`` [2][C]."""
    groups = channels // LANES
    many = np.float32(pixels)
    while True:
        task = take_number(counter)
        if task >= batch * groups:
            return
        e = task % groups * LANES
        x0 = task // groups * pixels * channels + e
        sums = zeros()
        for p0 in range(0, pixels, RUN):
            part = zeros()
            for p in range(p0, min(p0 + RUN, pixels)):
                part = part + load(x, x0 + p * channels)
            sums = sums + part
        mean = sums * splat(np.float32(np.float32(1) / many))
        squares = zeros()
        for p0 in range(0, pixels, RUN):
            part = zeros()
            for p in range(p0, min(p0 + RUN, pixels)):
                v = load(x, x0 + p * channels) - mean
                part = fma(v, v, part)
            squares = squares + part
        gains = np.empty(LANES, np.float32)
        store(gains, 0, squares)
        for i in range(LANES):
            gains[i] = norm[e + i] / np.sqrt(gains[i] / many + eps)
        gain, shift = load(gains, 0), load(norm, channels + e)
        low, residual = splat(np.float32(slope)), splat(np.float32(scale))
        for p in range(pixels):
            i = x0 + p * channels
            v = fma(load(x, i) - mean, gain, shift)
            store(x, i, fma(load(b, i), residual, maximum(v, v * low)))


@compiled
def pool_worker(counter, x, pooled, means, peaks, batch, height, width, channels):
    """ReLU in place, 2x2 max-pool, and each channel's mean and maximum: ``pooled`` of half the size, [B][C] both."""
    groups = channels // LANES
    row = width * channels
    share = splat(np.float32(np.float32(1) / np.float32(height * width)))
    while True:
        task = take_number(counter)
        if task >= batch * groups:
            return
        image, e = task // groups, task % groups * LANES
        sums, top = zeros(), zeros()  # after ReLU nothing is below 0
        for r in range(0, height, 2):
            part = zeros()
            i = (image * height + r) * row + e
            o = (image * height // 2 + r // 2) * (row // 2) + e
            for _ in range(width // 2):
                a, b = maximum(load(x, i), zeros()), maximum(load(x, i + channels), zeros())
                c, d = maximum(load(x, i + row), zeros()), maximum(load(x, i + row + channels), zeros())
                store(x, i, a)
                store(x, i + channels, b)
                store(x, i + row, c)
                store(x, i + row + channels, d)
                part = part + ((a + b) + (c + d))
                largest = maximum(maximum(a, b), maximum(c, d))
                top = maximum(top, largest)
                store(pooled, o, largest)
                i += 2 * channels
                o += channels
            sums = sums + part
        store(means, image * channels + e, sums * share)
        store(peaks, image * channels + e, top)


@compiled
def spatial_worker(counter, x, gate, pooled, batch, height, width, channels):
    """CBAM's pools over the channels of ``gate * x``: ``pooled`` [B][2][pixel], maximum and mean; a task is a row."""
    pixels, share = height * width, np.float32(1) / np.float32(channels)
    while True:
        task = take_number(counter)
        if task >= batch * height:
            return
        image, p0 = task // height, task % height * width
        for p in range(p0, p0 + width):
            i = (image * pixels + p) * channels
            sums = load(x, i) * load(gate, image * channels)
            top = sums
            for e in range(LANES, channels, LANES):
                v = load(x, i + e) * load(gate, image * channels + e)
                sums, top = sums + v, maximum(top, v)
            pooled[2 * image * pixels + p] = peak(top)
            pooled[(2 * image + 1) * pixels + p] = total(sums) * share


@compiled
def merge_worker(counter, skip, gate, below, batch, height, width, channels):
    """``skip <- gate * skip + up(below)`` in place: the decoder's 1x1 of both inputs; a task is a row."""
    while True:
        task = take_number(counter)
        if task >= batch * height:
            return
        image, r = task // height, task % height
        under = (image * (height // 2) + r // 2) * (width // 2) * channels
        for c in range(width):
            g = spread(gate, task * width + c)
            i, j = (task * width + c) * channels, under + c // 2 * channels
            for e in range(0, channels, LANES):
                store(skip, i + e, fma(load(skip, i + e), g, load(below, j + e)))
