"""Triton kernels of the fused four-direction scan and its gradient: one thread scans one lane.

State-space model: Gu and Dao 2023 (arXiv 2312.00752), algorithm 2; four directions: Liu et al. 2024
(arXiv 2401.10166), section 4.3. The host side, with the order of the launches, is ``fused_triton.py``; the
projections before and after the scan are in ``fused_projection.py``.

Geometry
    Direction k = 0, 1, 2, 3: row-major, column-major, and both reversed; orientation o = k % 2. An orientation
    is stored with its steps along the slow axis and its columns p = 0..P-1 along the fast one (o = 1: the
    image itself, S = H, P = W; o = 0: the transposed image, S = W, P = H), so the sequence position of
    (s, p) is p * S + s, and neighbouring columns are neighbours in memory.
    A *lane* is a run of SQ = S / Q steps of one column, the unit that is scanned by one thread. Lane
    ``(b * Q + q) * P + p`` covers the steps q * SQ .. (q + 1) * SQ - 1 of column p of batch item b; in the
    sequence, lane (p, q) is number p * Q + q. LW lanes form a *tile*.
    A program has T = 32 * warps threads: LW lanes times T / LW groups of channels, EB channels a group.
    A thread holds all N states of its EB channels; nothing is exchanged between threads inside a step,
    except the sums over channels of the backward, inside a warp.

Buffers (float32 unless noted)
    x2, dy2  (2, B, E, S * P)            the image in both orientations, in its own dtype
    stream   (4, tiles, SQ, 2N/V, LW, V) B and C of every position; float32, bfloat16 or float16, V numbers in 16 bytes:
                                         a thread reads so many at a time, one step ahead, next to its neighbours'
    dts      (4, tiles, SQ, R, LW)       dt_raw, in the same dtype
    dstream  (4, tiles, SQ, 2N + R, LW)  gradients of B, C and dt_raw
    part     (4, B, E, S * P)            one plane a direction, as its orientation lies; forward: the image's dtype
    states   (1 or 2, 4, tiles, E, N, LW) state at the end of each lane; with 2: also the adjoint at its start
    steps    (4, tiles, E, LW)           sum of delta over each lane

Layout
    The thread is the first axis of every tensor, (T, EB, N), and the compiler must not know that neighbouring
    threads read neighbouring words: it would give one thread several lanes, and convert layouts through
    shared memory in every step. ``one`` (always 1, not specialised) hides it; the hardware still coalesces.
"""

from __future__ import annotations

import triton
import triton.language as tl

from dermomamba.scan.fused_lane import (
    SIZES,
    axes,
    decay,
    dt_and_x,
    dt_weights,
    exp2,
    neighbour,
    numbers,
    of_lane,
    place_of_lane,
    softplus,
    state_at,
    words_at,
)


@triton.jit
def _compose(a1, b1, a2, b2):
    """h -> a1 h + b1 and then h -> a2 h + b2, as one step."""
    return a1 * a2, a2 * b1 + b2


@triton.jit(do_not_specialize=SIZES)
def lanes_kernel(
    x2, dy2, stream, dts, dt_w, dt_b, a_logs, states, steps,
    batch, channels, height, width, q_rows, q_columns, tiles, positions, one,
    N: tl.constexpr, R: tl.constexpr, RP: tl.constexpr, EB: tl.constexpr, LW: tl.constexpr,
    T: tl.constexpr, ADJOINT: tl.constexpr, FAST: tl.constexpr,
):  # fmt: skip
    """Each lane by itself, from zero: end state, sum of delta; ADJOINT: also the adjoint it passes back.

    The adjoint that reaches the step before the lane is sum over t of (a_1 .. a_t) C_t dy_t, so it is summed
    in the same forward sweep, with the running product of the decays.
    """
    k = tl.program_id(1)
    sq, columns, q_count = axes(k, height, width, q_rows, q_columns)
    blocks = tl.cdiv(channels, EB * (T // LW))
    tile = tl.program_id(0) // blocks
    if tile >= tl.cdiv(batch * q_count * columns, LW):
        return
    j = tl.arange(0, T) * one
    slot = j % LW
    b, q, p = place_of_lane(tile, slot, columns, q_count, LW)
    channel = (tl.program_id(0) % blocks * EB + tl.arange(0, EB))[None, :] * (T // LW) + (j // LW)[:, None]
    real = channel < channels
    inside = real & (b < batch)[:, None]
    a2 = decay(a_logs, k, channel, channels, one, N)
    w, bias = dt_weights(dt_w, dt_b, k, channel, channels, one, R, RP)
    pixels = height * width
    WORDS: tl.constexpr = N * stream.dtype.element_ty.primitive_bitwidth // 32
    at = of_lane(stream, k, positions, tile, sq, slot, N, LW)
    dt_at = dts + (k.to(tl.int64) * positions + tile.to(tl.int64) * sq * LW) * R + slot
    place = ((k % 2 * batch + b).to(tl.int64) * channels * pixels + q * sq * columns + p)[:, None]
    place += channel * pixels
    first = (k // 2) * (sq - 1)
    forward = 1 - 2 * (k // 2)

    h = tl.zeros([T, EB, N], tl.float32)
    total = tl.zeros([T, EB], tl.float32)
    product = tl.full([T, EB, N], 1.0, tl.float32)
    back = tl.zeros([T, EB, N], tl.float32)
    dt_next, x_next = dt_and_x(dt_at + first * (R * LW), x2 + place + first * columns, inside, R, RP, LW)
    b_next = words_at(at + first * (LW * 2 * WORDS), T, WORDS, LW)
    if ADJOINT:
        c_next = words_at(at + first * (LW * 2 * WORDS) + WORDS * LW, T, WORDS, LW)
    for i in range(sq):
        s = first + forward * i
        dt, x = dt_next.to(tl.float32), x_next.to(tl.float32)
        ahead = first + forward * tl.minimum(i + 1, sq - 1)
        dt_next, x_next = dt_and_x(dt_at + ahead * (R * LW), x2 + place + ahead * columns, inside, R, RP, LW)
        b_row = numbers(b_next, T, N, stream.dtype.element_ty)
        b_next = words_at(at + ahead * (LW * 2 * WORDS), T, WORDS, LW)
        delta, _ = softplus(tl.sum(w * dt[:, None, :], axis=2) + bias, FAST)
        a = exp2(a2 * delta[:, :, None], FAST)
        h = a * h + (delta * x)[:, :, None] * b_row[:, None, :]
        total += delta
        if ADJOINT:
            c_row = numbers(c_next, T, N, stream.dtype.element_ty)
            c_next = words_at(at + ahead * (LW * 2 * WORDS) + WORDS * LW, T, WORDS, LW)
            dy = tl.load(dy2 + place + s * columns, mask=inside, other=0.0).to(tl.float32)
            product *= a
            back += product * (dy[:, :, None] * c_row[:, None, :])
    here = state_at(states, k, tiles, tile, channel, channels, slot[:, None], N, LW)
    tl.store(here, h, mask=real[:, :, None])
    if ADJOINT:
        tl.store(here + tiles.to(tl.int64) * 4 * channels * (N * LW), back, mask=real[:, :, None])
    row = (k * tiles + tile).to(tl.int64) * channels + channel
    tl.store(steps + row * LW + slot[:, None], total, mask=real)


@triton.jit(do_not_specialize=SIZES)
def carry_kernel(
    a_logs, states, steps, batch, channels, height, width, q_rows, q_columns, tiles,
    N: tl.constexpr, LW: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """Join the lanes of one sequence: states become those of the whole sequence at each lane's end.

    Grid: (batch * channels, 4, 1 or 2); the second plane of states is the adjoint, joined from the other end.
    """
    k = tl.program_id(1)
    which = tl.program_id(2)
    _, columns, q_count = axes(k, height, width, q_rows, q_columns)
    b = tl.program_id(0) // channels
    e = tl.program_id(0) % channels
    n = tl.arange(0, N)
    a2 = (tl.exp(tl.load(a_logs + (k * channels + e) * N + n)) * -1.4426950408889634)[None, :]
    states += which * tiles.to(tl.int64) * 4 * channels * (N * LW)
    count = columns * q_count
    backward = (k // 2 + which) % 2
    index = tl.arange(0, LANES)
    carried = tl.zeros([N], tl.float32)
    for start in range(0, count, LANES):
        i = start + index
        number = i + backward * (count - 1 - 2 * i)
        inside = i < count
        lane = tl.where(inside, (b * q_count + number % q_count) * columns + number // q_count, 0)
        row = (k * tiles + lane // LW).to(tl.int64) * channels + e
        delta = tl.load(steps + row * LW + lane % LW, mask=inside, other=0.0)
        here = (states + row * (N * LW) + lane % LW)[:, None] + (n * LW)[None, :]
        end = tl.load(here, mask=inside[:, None], other=0.0)
        product, joined = tl.associative_scan((tl.exp2(a2 * delta[:, None]), end), 0, _compose)
        joined += product * carried[None, :]
        tl.store(here, joined, mask=inside[:, None])
        carried = tl.sum(tl.where((index == LANES - 1)[:, None], joined, 0.0), axis=0)


@triton.jit(do_not_specialize=SIZES)
def scan_kernel(
    x2, stream, dts, dt_w, dt_b, a_logs, skip, states, part,
    batch, channels, height, width, q_rows, q_columns, tiles, positions, one,
    N: tl.constexpr, R: tl.constexpr, RP: tl.constexpr, EB: tl.constexpr, LW: tl.constexpr,
    T: tl.constexpr, FAST: tl.constexpr,
):  # fmt: skip
    """Each lane again, from its true initial state: part_k = C h + D x."""
    k = tl.program_id(1)
    sq, columns, q_count = axes(k, height, width, q_rows, q_columns)
    blocks = tl.cdiv(channels, EB * (T // LW))
    tile = tl.program_id(0) // blocks
    if tile >= tl.cdiv(batch * q_count * columns, LW):
        return
    j = tl.arange(0, T) * one
    slot = j % LW
    b, q, p = place_of_lane(tile, slot, columns, q_count, LW)
    channel = (tl.program_id(0) % blocks * EB + tl.arange(0, EB))[None, :] * (T // LW) + (j // LW)[:, None]
    inside = (channel < channels) & (b < batch)[:, None]
    a2 = decay(a_logs, k, channel, channels, one, N)
    w, bias = dt_weights(dt_w, dt_b, k, channel, channels, one, R, RP)
    d = tl.load(skip + k * channels + channel, mask=channel < channels, other=0.0)
    pixels = height * width
    WORDS: tl.constexpr = N * stream.dtype.element_ty.primitive_bitwidth // 32
    at = of_lane(stream, k, positions, tile, sq, slot, N, LW)
    dt_at = dts + (k.to(tl.int64) * positions + tile.to(tl.int64) * sq * LW) * R + slot
    place = (b.to(tl.int64) * channels * pixels + q * sq * columns + p)[:, None] + channel * pixels
    plane = batch.to(tl.int64) * channels * pixels
    x2 += (k % 2) * plane
    part += k * plane
    first = (k // 2) * (sq - 1)
    forward = 1 - 2 * (k // 2)

    tile_n, slot_n, exists = neighbour(b, q, p, -forward, columns, q_count, LW)
    before = state_at(states, k, tiles, tile_n, channel, channels, slot_n, N, LW)
    h = tl.load(before, mask=(inside & exists)[:, :, None], other=0.0)
    dt_next, x_next = dt_and_x(dt_at + first * (R * LW), x2 + place + first * columns, inside, R, RP, LW)
    b_next = words_at(at + first * (LW * 2 * WORDS), T, WORDS, LW)
    c_next = words_at(at + first * (LW * 2 * WORDS) + WORDS * LW, T, WORDS, LW)
    for i in range(sq):
        s = first + forward * i
        dt, x = dt_next.to(tl.float32), x_next.to(tl.float32)
        ahead = first + forward * tl.minimum(i + 1, sq - 1)
        dt_next, x_next = dt_and_x(dt_at + ahead * (R * LW), x2 + place + ahead * columns, inside, R, RP, LW)
        b_row = numbers(b_next, T, N, stream.dtype.element_ty)
        b_next = words_at(at + ahead * (LW * 2 * WORDS), T, WORDS, LW)
        c_row = numbers(c_next, T, N, stream.dtype.element_ty)
        c_next = words_at(at + ahead * (LW * 2 * WORDS) + WORDS * LW, T, WORDS, LW)
        delta, _ = softplus(tl.sum(w * dt[:, None, :], axis=2) + bias, FAST)
        h = exp2(a2 * delta[:, :, None], FAST) * h + (delta * x)[:, :, None] * b_row[:, None, :]
        y = tl.sum(h * c_row[:, None, :], axis=2) + d * x
        tl.store(part + place + s * columns, y.to(part.dtype.element_ty), mask=inside)
