"""The fused four-direction scan for the processor: compiled workers, forward and backward.

VMamba (arXiv 2401.10166, section 4.3) scans an image along rows, along columns, and both reversed. A worker takes
one image and one path (rows or columns, there and back), reads the image where it lies, and for every block of 64
steps computes the projections, the step sizes and the scan while all of it sits in the first-level cache. Only
columns are gathered, as many at a time as fill a cache line. Nothing of size L x N is stored: the backward pass
starts each block from the state that the forward pass saved at its beginning.

Arrays are flat float32, in these layouts (E a multiple of 8, N of 4, S = 2 N + R rounded up to 8 numbers a step,
ordered as ``cpu_blocks`` says with dt after them):
    x, out, dy, dx      [image][row][column][E]; out and dx have one such image for each path
    w_states            [direction][E][S]     w_channels  [direction][S][E]
    dt_w                [direction][R][E]     bias, skip  [direction][E]
    rates               [direction][E / 8][N][8]
    saved               [image][direction][E / 8][block][N][8]
"""

from __future__ import annotations

import numpy as np

from dermomamba.scan.cpu_blocks import STEPS, clear, gradient_block, scan_block
from dermomamba.scan.cpu_compile import compiled
from dermomamba.scan.cpu_vector import LANES, fma, load, softplus, splat, spread, store, take_number, total, zeros

DIRECTIONS = 4
LN2 = np.float32(0.6931471805599453)


@compiled
def columns_at_once(inner):
    """Columns gathered together: 128 bytes of neighbouring pixels."""
    return max(1, 32 // inner)


@compiled
def blocks_of(height, width, inner):
    """Blocks that the longer of the two paths has, as counted by ``saved``."""
    at_once = columns_at_once(inner)
    full = width // at_once * (-(-(at_once * height) // STEPS))
    return max(-(-(height * width) // STEPS), full + -(-((width % at_once) * height) // STEPS))


@compiled
def gather(image, base, first, count, height, width, inner, target):
    """Copy ``count`` columns of an image, one below the other, into ``target``."""
    for row in range(height):
        for c in range(count):
            here, there = base + (row * width + first + c) * inner, (c * height + row) * inner
            for e in range(0, inner, LANES):
                store(target, there + e, load(image, here + e))


@compiled
def scatter(source, image, base, first, count, height, width, inner, e0, e1, add):
    """Put channels e0..e1 of gathered columns back in place."""
    for row in range(height):
        for c in range(count):
            here, there = base + (row * width + first + c) * inner, (c * height + row) * inner
            for e in range(e0, e1, LANES):
                value = load(source, there + e)
                store(image, here + e, load(image, here + e) + value if add else value)


@compiled
def project(x, base, count, inner, weights, w0, width, out):
    """``out[t] = W x[t]`` for a block: four steps and sixteen numbers at a time stay in registers."""
    for t in range(0, count, 4):
        x0 = base + t * inner
        x1, x2, x3 = (
            base + min(t + 1, count - 1) * inner,
            base + min(t + 2, count - 1) * inner,
            base + min(t + 3, count - 1) * inner,
        )
        j = 0
        while j + 16 <= width:
            a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = zeros()
            for e in range(inner):
                w, v = load(weights, w0 + e * width + j), load(weights, w0 + e * width + j + 8)
                p, q, r, s = spread(x, x0 + e), spread(x, x1 + e), spread(x, x2 + e), spread(x, x3 + e)
                a0, a1, a2, a3 = fma(p, w, a0), fma(q, w, a1), fma(r, w, a2), fma(s, w, a3)
                b0, b1, b2, b3 = fma(p, v, b0), fma(q, v, b1), fma(r, v, b2), fma(s, v, b3)
            o = t * width + j
            store(out, o, a0)
            store(out, o + 8, b0)
            store(out, o + width, a1)
            store(out, o + width + 8, b1)
            store(out, o + 2 * width, a2)
            store(out, o + 2 * width + 8, b2)
            store(out, o + 3 * width, a3)
            store(out, o + 3 * width + 8, b3)
            j += 16
        if j < width:
            a0 = a1 = a2 = a3 = zeros()
            for e in range(inner):
                w = load(weights, w0 + e * width + j)
                a0, a1 = fma(spread(x, x0 + e), w, a0), fma(spread(x, x1 + e), w, a1)
                a2, a3 = fma(spread(x, x2 + e), w, a2), fma(spread(x, x3 + e), w, a3)
            o = t * width + j
            store(out, o, a0)
            store(out, o + width, a1)
            store(out, o + 2 * width, a2)
            store(out, o + 3 * width, a3)


@compiled
def forward_worker(
    counter, x, w_states, dt_w, bias, rates, skip, out, saved, save,
    batch, height, width, inner, rank, n_states, paths, parts
):  # fmt: skip
    """Take tasks (image, path, part of the channels) until none is left; see the module's text."""
    numbers = (2 * n_states + rank + LANES - 1) // LANES * LANES
    length, groups, size = height * width, inner // LANES, n_states * LANES
    blocks, at_once = blocks_of(height, width, inner), columns_at_once(inner)
    weights = np.empty(STEPS * numbers, np.float32)
    steps, inputs, outputs = (
        np.empty(STEPS * LANES, np.float32),
        np.empty(STEPS * LANES, np.float32),
        np.empty(STEPS * LANES, np.float32),
    )
    states = np.empty(groups * size, np.float32)
    gathered, results = (
        np.empty(at_once * height * inner, np.float32),
        np.empty(at_once * height * inner, np.float32),
    )
    while True:
        task = take_number(counter)
        if task >= batch * paths * parts:
            return
        part, path, image = task % parts, task // parts % paths, task // (parts * paths)
        g0, g1 = part * groups // parts, (part + 1) * groups // parts
        x_base, out_base = image * length * inner, (path * batch + image) * length * inner
        for k in range(path, DIRECTIONS, paths):
            by_column, reverse, add, block = k % 2 == 1, k >= 2, k != path, 0
            segments = -(-width // at_once) if by_column else 1
            clear(states, groups * size)
            for i in range(segments):
                first = (segments - 1 - i if reverse else i) * at_once
                wide = min(at_once, width - first)
                source, s_base, target, t_base, span = x, x_base, out, out_base, length
                if by_column:
                    gather(x, x_base, first, wide, height, width, inner, gathered)
                    source, s_base, target, t_base, span = gathered, 0, results, 0, wide * height
                pieces = -(-span // STEPS)
                for j in range(pieces):
                    t0 = (pieces - 1 - j if reverse else j) * STEPS
                    count = min(STEPS, span - t0)
                    project(source, s_base + t0 * inner, count, inner, w_states, k * inner * numbers, numbers, weights)
                    for g in range(g0, g1):
                        e = k * inner + g * LANES
                        offset, gain = load(bias, e), load(skip, e)
                        for t in range(count):
                            raw = offset
                            for r in range(rank):
                                d = load(dt_w, (k * rank + r) * inner + g * LANES)
                                raw = fma(spread(weights, t * numbers + 2 * n_states + r), d, raw)
                            step, _ = softplus(raw)
                            value = load(source, s_base + (t0 + t) * inner + g * LANES)
                            store(steps, t * LANES, step)
                            store(inputs, t * LANES, step * value)
                            store(outputs, t * LANES, gain * value)
                        if save:
                            slot = (((image * DIRECTIONS + k) * groups + g) * blocks + block) * size
                            for n in range(0, size, LANES):
                                store(saved, slot + n, load(states, g * size + n))
                        scan_block(
                            count, reverse, steps, inputs, weights, numbers, outputs,
                            states, g * size, rates, (k * groups + g) * size, n_states,
                        )  # fmt: skip
                        if add and not by_column:
                            for t in range(count):
                                o = t_base + (t0 + t) * inner + g * LANES
                                store(target, o, load(target, o) + load(outputs, t * LANES))
                        else:
                            for t in range(count):
                                store(target, t_base + (t0 + t) * inner + g * LANES, load(outputs, t * LANES))
                    block += 1
                if by_column:
                    scatter(results, out, out_base, first, wide, height, width, inner, g0 * LANES, g1 * LANES, add)


@compiled
def project_back(d_weights, count, numbers, used, w_channels, w0, x, x_base, inner, dx, dx_base, d_w, d_w0):
    """Through ``project``: ``dx[t] += W^T dp[t]`` and ``dW += dp[t] x[t]^T``."""
    for g in range(0, inner, LANES):
        for t in range(0, count, 4):
            t1, t2, t3 = min(t + 1, count - 1), min(t + 2, count - 1), min(t + 3, count - 1)
            a0 = a1 = a2 = a3 = zeros()
            for s in range(used):
                w = load(w_channels, w0 + s * inner + g)
                a0, a1 = (
                    fma(spread(d_weights, t * numbers + s), w, a0),
                    fma(spread(d_weights, t1 * numbers + s), w, a1),
                )
                a2, a3 = (
                    fma(spread(d_weights, t2 * numbers + s), w, a2),
                    fma(spread(d_weights, t3 * numbers + s), w, a3),
                )
            o = dx_base + t * inner + g
            store(dx, o, load(dx, o) + a0)
            if t + 1 < count:
                store(dx, o + inner, load(dx, o + inner) + a1)
            if t + 2 < count:
                store(dx, o + 2 * inner, load(dx, o + 2 * inner) + a2)
            if t + 3 < count:
                store(dx, o + 3 * inner, load(dx, o + 3 * inner) + a3)
        for s in range(0, numbers, 4):
            o = d_w0 + s * inner + g
            a0, a1 = load(d_w, o), load(d_w, o + inner)
            a2, a3 = load(d_w, o + 2 * inner), load(d_w, o + 3 * inner)
            for t in range(count):
                v, p = load(x, x_base + t * inner + g), t * numbers + s
                a0, a1 = fma(spread(d_weights, p), v, a0), fma(spread(d_weights, p + 1), v, a1)
                a2, a3 = fma(spread(d_weights, p + 2), v, a2), fma(spread(d_weights, p + 3), v, a3)
            store(d_w, o, a0)
            store(d_w, o + inner, a1)
            store(d_w, o + 2 * inner, a2)
            store(d_w, o + 3 * inner, a3)


@compiled
def backward_worker(
    counter, x, dy, w_states, w_channels, dt_w, bias, rates, skip, saved,
    dx, d_w, d_dt_w, d_bias, d_rates, d_skip, batch, height, width, inner, rank, n_states, paths
):  # fmt: skip
    """The adjoint of ``forward_worker``; parameter gradients come out for each image, to be added by the caller."""
    numbers = (2 * n_states + rank + LANES - 1) // LANES * LANES
    length, groups, size = height * width, inner // LANES, n_states * LANES
    blocks, at_once = blocks_of(height, width, inner), columns_at_once(inner)
    weights, d_weights = np.empty(STEPS * numbers, np.float32), np.zeros(STEPS * numbers, np.float32)
    steps, slopes = np.empty(STEPS * LANES, np.float32), np.empty(STEPS * LANES, np.float32)
    inputs, grads = np.empty(STEPS * LANES, np.float32), np.empty(STEPS * LANES, np.float32)
    d_inputs, d_steps = np.empty(STEPS * LANES, np.float32), np.empty(STEPS * LANES, np.float32)
    kept, ln2 = np.empty(STEPS * 64, np.float32), splat(LN2)
    carry = np.empty(groups * size, np.float32)
    column = at_once * height * inner
    gathered, gathered_dy, results = (
        np.empty(column, np.float32),
        np.empty(column, np.float32),
        np.empty(column, np.float32),
    )
    while True:
        task = take_number(counter)
        if task >= batch * paths:
            return
        path, image = task % paths, task // paths
        x_base, dx_base = image * length * inner, (path * batch + image) * length * inner
        for k in range(path, DIRECTIONS, paths):
            by_column, reverse, add, block = k % 2 == 1, k >= 2, k != path, 0
            segments = -(-width // at_once) if by_column else 1
            for i in range(segments):
                wide = min(at_once, width - i * at_once)
                block += -(-(wide * height if by_column else length) // STEPS)
            slot_k = image * DIRECTIONS + k
            clear(carry, groups * size)
            for i in range(segments):
                first = (i if reverse else segments - 1 - i) * at_once
                wide = min(at_once, width - first)
                source, s_base, target, t_base, span, dys = x, x_base, dx, dx_base, length, dy
                if by_column:
                    gather(x, x_base, first, wide, height, width, inner, gathered)
                    gather(dy, x_base, first, wide, height, width, inner, gathered_dy)
                    source, s_base, target, t_base, span = gathered, 0, results, 0, wide * height
                    dys = gathered_dy
                pieces = -(-span // STEPS)
                for j in range(pieces):
                    t0 = (j if reverse else pieces - 1 - j) * STEPS
                    count = min(STEPS, span - t0)
                    block -= 1
                    project(source, s_base + t0 * inner, count, inner, w_states, k * inner * numbers, numbers, weights)
                    clear(d_weights, STEPS * numbers)
                    for g in range(groups):
                        e = k * inner + g * LANES
                        offset, gain = load(bias, e), load(skip, e)
                        for t in range(count):
                            raw = offset
                            for r in range(rank):
                                d = load(dt_w, (k * rank + r) * inner + g * LANES)
                                raw = fma(spread(weights, t * numbers + 2 * n_states + r), d, raw)
                            step, slope = softplus(raw)
                            here = s_base + (t0 + t) * inner + g * LANES
                            store(steps, t * LANES, step)
                            store(slopes, t * LANES, slope)
                            store(inputs, t * LANES, step * load(source, here))
                            store(grads, t * LANES, load(dys, here))
                        clear(d_inputs, STEPS * LANES)
                        clear(d_steps, STEPS * LANES)
                        # d_rates is laid out as rates, one for each image
                        gradient_block(
                            count, reverse, steps, inputs, weights, numbers, grads,
                            saved, ((slot_k * groups + g) * blocks + block) * size,
                            rates, (k * groups + g) * size, n_states, carry, g * size,
                            d_inputs, d_steps, d_weights, d_rates, (slot_k * groups + g) * size, kept,
                        )  # fmt: skip
                        e = slot_k * inner + g * LANES
                        sum_skip, sum_bias = load(d_skip, e), load(d_bias, e)
                        for t in range(count):
                            value = load(source, s_base + (t0 + t) * inner + g * LANES)
                            grad, d_input = load(grads, t * LANES), load(d_inputs, t * LANES)
                            d_step = fma(d_input, value, load(d_steps, t * LANES) * ln2) * load(slopes, t * LANES)
                            sum_skip, sum_bias = fma(grad, value, sum_skip), sum_bias + d_step
                            for r in range(rank):
                                o = (slot_k * rank + r) * inner + g * LANES
                                p = t * numbers + 2 * n_states + r
                                store(d_dt_w, o, fma(d_step, spread(weights, p), load(d_dt_w, o)))
                                d = load(dt_w, (k * rank + r) * inner + g * LANES)
                                d_weights[p] += total(d_step * d)
                            result = fma(d_input, load(steps, t * LANES), gain * grad)
                            o = t_base + (t0 + t) * inner + g * LANES
                            store(target, o, load(target, o) + result if add and not by_column else result)
                        store(d_skip, e, sum_skip)
                        store(d_bias, e, sum_bias)
                    project_back(
                        d_weights, count, numbers, 2 * n_states + rank, w_channels, k * numbers * inner,
                        source, s_base + t0 * inner, inner, target, t_base + t0 * inner,
                        d_w, slot_k * numbers * inner,
                    )  # fmt: skip
                if by_column:
                    scatter(results, dx, dx_base, first, wide, height, width, inner, 0, inner, add)
