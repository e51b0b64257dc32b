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
    stream   (4, tiles, SQ, 2N + R, LW)  rows B, C, dt_raw of every position; float32, bfloat16 or float16
    dstream  the same shape              their gradients
    part     (4, B, E, S * P)            one plane a direction, in the layout of its orientation
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

SIZES = ["batch", "channels", "height", "width", "q_rows", "q_columns", "tiles", "stream_plane", "one"]
"""Integer arguments that must not be specialised on their value or divisibility."""


@triton.jit
def exp2(x, FAST: tl.constexpr):
    """2 ** x; FAST: one instruction, denormals flushed to zero (compiled code only)."""
    if FAST:
        return tl.inline_asm_elementwise(
            "ex2.approx.ftz.f32 $0, $1;", "=f,f", [x], dtype=tl.float32, is_pure=True, pack=1
        )
    else:
        return tl.exp2(x)


@triton.jit
def _log2(x, FAST: tl.constexpr):
    """log2(x) for x in [1, 2]."""
    if FAST:
        return tl.inline_asm_elementwise(
            "lg2.approx.ftz.f32 $0, $1;", "=f,f", [x], dtype=tl.float32, is_pure=True, pack=1
        )
    else:
        return tl.log2(x)


@triton.jit
def softplus(z, FAST: tl.constexpr):
    """log(1 + exp(z)), with a small relative error for small results too, and exp(-|z|)."""
    u = exp2(tl.abs(z) * -1.4426950408889634, FAST)
    series = u * (1.0 - u * (0.5 - u * (0.33333334 - u * (0.25 - u * 0.2))))
    return tl.maximum(z, 0.0) + tl.where(u < 0.0625, series, _log2(1.0 + u, FAST) * 0.6931471805599453), u


@triton.jit
def axes(k, height, width, q_rows, q_columns):
    """Steps a lane, columns and lanes a column of direction k."""
    o = k % 2
    q = q_rows + o * (q_columns - q_rows)
    return (width + o * (height - width)) // q, height + o * (width - height), q


@triton.jit
def place_of_lane(tile, j, columns, q_count, LW: tl.constexpr):
    """Batch item, part of the column and column of lane j of a tile."""
    lane = tile * LW + j
    bq = lane // columns
    return bq // q_count, bq % q_count, lane % columns


@triton.jit
def decay(a_logs, k, channel, channels, one, N: tl.constexpr):
    """A * log2(e), with A = -exp(A_logs): (T, EB, N)."""
    at = a_logs + (k * channels + channel) * N
    v = tl.load(
        at[:, :, None] + (tl.arange(0, N) * one)[None, None, :],
        mask=(channel < channels)[:, :, None],
        other=0.0,
    )
    return tl.exp(v) * -1.4426950408889634


@triton.jit
def dt_weights(dt_w, dt_b, k, channel, channels, one, R: tl.constexpr, RP: tl.constexpr):
    """Step-size projection (T, EB, RP) and bias (T, EB)."""
    inside = channel < channels
    r = tl.arange(0, RP) * one
    row = k * channels + channel
    at = dt_w + row * R
    w = tl.load(
        at[:, :, None] + r[None, None, :],
        mask=inside[:, :, None] & (r < R)[None, None, :],
        other=0.0,
    )
    return w, tl.load(dt_b + row, mask=inside, other=0.0)


@triton.jit
def stream_rows(at, FIRST: tl.constexpr, COUNT: tl.constexpr, LW: tl.constexpr):
    """COUNT rows of the stream from row FIRST, at the position that ``at`` (T,) points to: (T, COUNT)."""
    return tl.load(at[:, None] + ((FIRST + tl.arange(0, COUNT)) * LW)[None, :])


@triton.jit
def dt_rows(at, N: tl.constexpr, R: tl.constexpr, RP: tl.constexpr, LW: tl.constexpr):
    """The dt_raw rows of the stream, zero beyond R: (T, RP)."""
    r = tl.arange(0, RP)
    if R == RP:
        return tl.load(at[:, None] + ((2 * N + r) * LW)[None, :])
    else:
        return tl.load(at[:, None] + ((2 * N + r) * LW)[None, :], mask=(r < R)[None, :], other=0.0)


@triton.jit
def dt_and_x(at, x_at, inside, N: tl.constexpr, R: tl.constexpr, RP: tl.constexpr, LW: tl.constexpr):
    """dt_raw (T, RP) and x (T, EB) of one step, asked for one step ahead, since all else waits for delta."""
    return dt_rows(at, N, R, RP, LW), tl.load(x_at, mask=inside, other=0.0)


@triton.jit
def state_at(states, k, tiles, tile, channel, channels, slot, N: tl.constexpr, LW: tl.constexpr):
    """Pointers to the states (T, EB, N) of a lane: its tile and slot in the tile."""
    row = states + ((k * tiles + tile).to(tl.int64) * channels + channel) * (N * LW) + slot
    return row[:, :, None] + (tl.arange(0, N) * LW)[None, None, :]


@triton.jit
def neighbour(b, q, p, step, columns, q_count, LW: tl.constexpr):
    """Tile, slot and existence of the lane ``step`` places further in the sequence, each (T, 1)."""
    number = p * q_count + q + step
    exists = (number >= 0) & (number < columns * q_count)
    lane = (b * q_count + number % q_count) * columns + number // q_count
    lane = tl.where(exists, lane, 0)
    return (lane // LW)[:, None], (lane % LW)[:, None], exists[:, None]


@triton.jit
def _compose(a1, b1, a2, b2):
    """h -> a1 h + b1 and then h -> a2 h + b2, as one step."""
    return a1 * a2, a2 * b1 + b2


@triton.jit(do_not_specialize=SIZES)
def lanes_kernel(
    x2, dy2, stream, dt_w, dt_b, a_logs, states, steps,
    batch, channels, height, width, q_rows, q_columns, tiles, stream_plane, one,
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
    at = stream + k.to(tl.int64) * stream_plane + tile.to(tl.int64) * sq * ((2 * N + R) * LW) + slot
    place = ((k % 2 * batch + b).to(tl.int64) * channels * pixels + q * sq * columns + p)[:, None]
    place += channel * pixels
    first = (k // 2) * (sq - 1)
    forward = 1 - 2 * (k // 2)

    h = tl.zeros([T, EB, N], tl.float32)
    total = tl.zeros([T, EB], tl.float32)
    product = tl.full([T, EB, N], 1.0, tl.float32)
    back = tl.zeros([T, EB, N], tl.float32)
    dt_next, x_next = dt_and_x(at + first * ((2 * N + R) * LW), x2 + place + first * columns, inside, N, R, RP, LW)
    for i in range(sq):
        s = first + forward * i
        at_s = at + s * ((2 * N + R) * LW)
        dt, x = dt_next.to(tl.float32), x_next.to(tl.float32)
        ahead = first + forward * tl.minimum(i + 1, sq - 1)
        dt_next, x_next = dt_and_x(at + ahead * ((2 * N + R) * LW), x2 + place + ahead * columns, inside, N, R, RP, LW)
        b_row = stream_rows(at_s, 0, N, LW).to(tl.float32)
        delta, _ = softplus(tl.sum(w * dt[:, None, :], axis=2) + bias, FAST)
        a = exp2(a2 * delta[:, :, None], FAST)
        h = a * h + (delta * x)[:, :, None] * b_row[:, None, :]
        total += delta
        if ADJOINT:
            c_row = stream_rows(at_s, N, N, LW).to(tl.float32)
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
    x2, stream, dt_w, dt_b, a_logs, skip, states, part,
    batch, channels, height, width, q_rows, q_columns, tiles, stream_plane, one,
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
    at = stream + k.to(tl.int64) * stream_plane + tile.to(tl.int64) * sq * ((2 * N + R) * LW) + slot
    place = (b.to(tl.int64) * channels * pixels + q * sq * columns + p)[:, None] + channel * pixels
    plane = batch.to(tl.int64) * channels * pixels
    x2 += (k % 2) * plane
    part += k * plane
    first = (k // 2) * (sq - 1)
    forward = 1 - 2 * (k // 2)

    tile_n, slot_n, exists = neighbour(b, q, p, -forward, columns, q_count, LW)
    before = state_at(states, k, tiles, tile_n, channel, channels, slot_n, N, LW)
    h = tl.load(before, mask=(inside & exists)[:, :, None], other=0.0)
    dt_next, x_next = dt_and_x(at + first * ((2 * N + R) * LW), x2 + place + first * columns, inside, N, R, RP, LW)
    for i in range(sq):
        s = first + forward * i
        at_s = at + s * ((2 * N + R) * LW)
        dt, x = dt_next.to(tl.float32), x_next.to(tl.float32)
        ahead = first + forward * tl.minimum(i + 1, sq - 1)
        dt_next, x_next = dt_and_x(at + ahead * ((2 * N + R) * LW), x2 + place + ahead * columns, inside, N, R, RP, LW)
        b_row = stream_rows(at_s, 0, N, LW).to(tl.float32)
        c_row = stream_rows(at_s, N, N, LW).to(tl.float32)
        delta, _ = softplus(tl.sum(w * dt[:, None, :], axis=2) + bias, FAST)
        h = exp2(a2 * delta[:, :, None], FAST) * h + (delta * x)[:, :, None] * b_row[:, None, :]
        y = tl.sum(h * c_row[:, None, :], axis=2) + d * x
        tl.store(part + place + s * columns, y, mask=inside)
