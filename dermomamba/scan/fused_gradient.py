"""Triton kernels of the gradient of the fused four-direction scan: one sweep each way along the sequence.

With ``h_t = a_t h_{t-1} + delta_t B_t x_t``, ``a_t = exp(delta_t A)``, ``y_t = C_t . h_t + D x_t`` (Gu and Dao
2023, arXiv 2312.00752) the gradients split into what the state h alone gives and what the adjoint
``g_t = C_t dy_t + a_{t+1} g_{t+1}`` alone gives, so that neither is ever stored. Geometry and buffers are
described in ``fused_kernels.py``.
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
def _sum_groups(v, N: tl.constexpr, T: tl.constexpr, LW: tl.constexpr):
    """Sum (T, N) over the groups of channels that share a warp; every group gets the sum."""
    if LW < 32:
        grouped = tl.reshape(v, [T // 32, 32 // LW, LW, N])
        total = tl.expand_dims(tl.sum(grouped, axis=1), 1)
        return tl.reshape(tl.broadcast_to(total, [T // 32, 32 // LW, LW, N]), [T, N])
    else:
        return v


@triton.jit
def _put_rows(at, v, mask, FIRST: tl.constexpr, COUNT: tl.constexpr, LW: tl.constexpr, ATOMIC: tl.constexpr):
    """Write (or add) COUNT rows of dstream from row FIRST."""
    to = at[:, None] + ((FIRST + tl.arange(0, COUNT)) * LW)[None, :]
    if ATOMIC:
        tl.atomic_add(to, v, mask=mask, sem="relaxed")
    else:
        tl.store(to, v, mask=mask)


@triton.jit(do_not_specialize=SIZES)
def states_kernel(
    x2, dy2, stream, dts, dt_w, dt_b, a_logs, states, part, dstream, da,
    batch, channels, height, width, q_rows, q_columns, tiles, positions, one,
    N: tl.constexpr, R: tl.constexpr, RP: tl.constexpr, EB: tl.constexpr, LW: tl.constexpr,
    T: tl.constexpr, ATOMIC: tl.constexpr, FAST: tl.constexpr,
):  # fmt: skip
    """Backward, with the sequence: all that needs h alone.

    dC_t = sum over channels of dy_t h_t; part_k = v_t = sum over n of A dy_t C_t h_t (for adjoint_kernel); and
    dA by the sensitivity s_t = dh_t / dA = a_t (s_{t-1} + delta_t h_{t-1}), from zero in each lane:
    dA = sum of dy_t C_t s_t + (adjoint that enters the lane at its end) s_end.
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
    inside = (channel < channels) & (b < batch)[:, None]
    a2 = decay(a_logs, k, channel, channels, one, N)
    w, bias = dt_weights(dt_w, dt_b, k, channel, channels, one, R, RP)
    pixels = height * width
    WORDS: tl.constexpr = N * stream.dtype.element_ty.primitive_bitwidth // 32
    at = of_lane(stream, k, positions, tile, sq, slot, N, LW)
    before_lane = k.to(tl.int64) * positions + tile.to(tl.int64) * sq * LW
    dt_at = dts + before_lane * R + slot
    dat = dstream + before_lane * (2 * N + R) + slot
    first_group = (j % 32 < LW)[:, None]
    place = (b.to(tl.int64) * channels * pixels + q * sq * columns + p)[:, None] + channel * pixels
    plane = batch.to(tl.int64) * channels * pixels
    x2 += (k % 2) * plane
    dy2 += (k % 2) * plane
    part += k * plane
    first = (k // 2) * (sq - 1)
    forward = 1 - 2 * (k // 2)

    tile_n, slot_n, exists = neighbour(b, q, p, -forward, columns, q_count, LW)
    before = state_at(states, k, tiles, tile_n, channel, channels, slot_n, N, LW)
    h = tl.load(before, mask=(inside & exists)[:, :, None], other=0.0)
    sensitivity = tl.zeros([T, EB, N], tl.float32)
    acc = tl.zeros([T, EB, N], tl.float32)
    dt_next, x_next = dt_and_x(dt_at + first * (R * LW), x2 + place + first * columns, inside, R, RP, LW)
    b_next = words_at(at + first * (LW * 2 * WORDS), T, WORDS, LW)
    c_next = words_at(at + first * (LW * 2 * WORDS) + WORDS * LW, T, WORDS, LW)
    for i in range(sq):
        s = first + forward * i
        dt, x = dt_next.to(tl.float32), x_next.to(tl.float32)
        ahead = first + forward * tl.minimum(i + 1, sq - 1)
        dt_next, x_next = dt_and_x(dt_at + ahead * (R * LW), x2 + place + ahead * columns, inside, R, RP, LW)
        dy = tl.load(dy2 + place + s * columns, mask=inside, other=0.0).to(tl.float32)
        b_row = numbers(b_next, T, N, stream.dtype.element_ty)
        b_next = words_at(at + ahead * (LW * 2 * WORDS), T, WORDS, LW)
        c_row = numbers(c_next, T, N, stream.dtype.element_ty)
        c_next = words_at(at + ahead * (LW * 2 * WORDS) + WORDS * LW, T, WORDS, LW)
        delta, _ = softplus(tl.sum(w * dt[:, None, :], axis=2) + bias, FAST)
        a = exp2(a2 * delta[:, :, None], FAST)
        ah = a * h
        sensitivity = a * sensitivity + delta[:, :, None] * ah
        h = ah + (delta * x)[:, :, None] * b_row[:, None, :]
        cdy = c_row[:, None, :] * dy[:, :, None]
        acc += cdy * sensitivity
        v = tl.sum(a2 * (cdy * h), axis=2)
        tl.store(part + place + s * columns, v, mask=inside)
        dc = _sum_groups(tl.sum(dy[:, :, None] * h, axis=1), N, T, LW)
        _put_rows(dat + s * ((2 * N + R) * LW), dc, first_group, N, N, LW, ATOMIC)
    tile_n, slot_n, exists = neighbour(b, q, p, forward, columns, q_count, LW)
    after = state_at(states, k, tiles, tile_n, channel, channels, slot_n, N, LW)
    after += tiles.to(tl.int64) * 4 * channels * (N * LW)
    acc += sensitivity * tl.load(after, mask=(inside & exists)[:, :, None], other=0.0)
    here = state_at(da, k, tiles, tile, channel, channels, slot[:, None], N, LW)
    tl.store(here, acc, mask=(channel < channels)[:, :, None])


@triton.jit(do_not_specialize=SIZES)
def adjoint_kernel(
    x2, dy2, stream, dts, dt_w, dt_b, a_logs, skip, states, part, dstream, small,
    batch, channels, height, width, q_rows, q_columns, tiles, positions, one,
    N: tl.constexpr, R: tl.constexpr, RP: tl.constexpr, EB: tl.constexpr, LW: tl.constexpr,
    T: tl.constexpr, ATOMIC: tl.constexpr, FAST: tl.constexpr,
):  # fmt: skip
    """Backward, against the sequence: all that needs the adjoint g_t = C_t dy_t + a_{t+1} g_{t+1}.

    d(delta_t) = Q_t + x_t sum of g_t B_t, where Q_t = sum over n of A g_t a_t h_{t-1}. No state is needed for
    it, since Q_t = Q_{t+1} - u_t + v_t, u_t = sum of A g_t delta_t B_t x_t and v_t from states_kernel; Q
    starts at each lane's end from the adjoint and state there, so rounding errors do not add up.
    part_k: v in, dx out. small (4, tiles, E, 2 + R, LW): dD, d(bias), dP of every lane.
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
    d = tl.load(skip + k * channels + channel, mask=real, other=0.0)
    pixels = height * width
    WORDS: tl.constexpr = N * stream.dtype.element_ty.primitive_bitwidth // 32
    at = of_lane(stream, k, positions, tile, sq, slot, N, LW)
    before_lane = k.to(tl.int64) * positions + tile.to(tl.int64) * sq * LW
    dt_at = dts + before_lane * R + slot
    dat = dstream + before_lane * (2 * N + R) + slot
    first_group = (j % 32 < LW)[:, None]
    place = (b.to(tl.int64) * channels * pixels + q * sq * columns + p)[:, None] + channel * pixels
    plane = batch.to(tl.int64) * channels * pixels
    x2 += (k % 2) * plane
    dy2 += (k % 2) * plane
    part += k * plane
    last = (1 - k // 2) * (sq - 1)
    forward = 1 - 2 * (k // 2)

    tile_n, slot_n, exists = neighbour(b, q, p, forward, columns, q_count, LW)
    after = state_at(states, k, tiles, tile_n, channel, channels, slot_n, N, LW)
    after += tiles.to(tl.int64) * 4 * channels * (N * LW)
    ag = tl.load(after, mask=(inside & exists)[:, :, None], other=0.0)
    here = state_at(states, k, tiles, tile, channel, channels, slot[:, None], N, LW)
    big_q = tl.sum(a2 * ag * tl.load(here, mask=inside[:, :, None], other=0.0), axis=2)  # in A * log2(e), as v
    d_skip = tl.zeros([T, EB], tl.float32)
    d_bias = tl.zeros([T, EB], tl.float32)
    d_w = tl.zeros([T, EB, RP], tl.float32)
    dt_next, x_next = dt_and_x(dt_at + last * (R * LW), x2 + place + last * columns, inside, R, RP, LW)
    b_next = words_at(at + last * (LW * 2 * WORDS), T, WORDS, LW)
    c_next = words_at(at + last * (LW * 2 * WORDS) + WORDS * LW, T, WORDS, LW)
    for i in range(sq):
        s = last - forward * i
        dt, x = dt_next.to(tl.float32), x_next.to(tl.float32)
        ahead = last - forward * tl.minimum(i + 1, sq - 1)
        dt_next, x_next = dt_and_x(dt_at + ahead * (R * LW), x2 + place + ahead * columns, inside, R, RP, LW)
        dy = tl.load(dy2 + place + s * columns, mask=inside, other=0.0).to(tl.float32)
        v = tl.load(part + place + s * columns, mask=inside, other=0.0)
        c_row = numbers(c_next, T, N, stream.dtype.element_ty)
        c_next = words_at(at + ahead * (LW * 2 * WORDS) + WORDS * LW, T, WORDS, LW)
        b_row = numbers(b_next, T, N, stream.dtype.element_ty)
        b_next = words_at(at + ahead * (LW * 2 * WORDS), T, WORDS, LW)
        z = tl.sum(w * dt[:, None, :], axis=2) + bias
        delta, u = softplus(z, FAST)
        g = c_row[:, None, :] * dy[:, :, None] + ag
        gb = g * b_row[:, None, :]
        sum_gb = tl.sum(gb, axis=2)
        dx_step = delta * x
        big_q += v - dx_step * tl.sum(a2 * gb, axis=2)
        d_z = (big_q * 0.6931471805599453 + x * sum_gb) * tl.where(z >= 0.0, 1.0, u) / (1.0 + u)
        tl.store(part + place + s * columns, delta * sum_gb + d * dy, mask=inside)
        db = _sum_groups(tl.sum(g * dx_step[:, :, None], axis=1), N, T, LW)
        dat_s = dat + s * ((2 * N + R) * LW)
        _put_rows(dat_s, db, first_group, 0, N, LW, ATOMIC)
        ddt = _sum_groups(tl.sum(w * d_z[:, :, None], axis=1), RP, T, LW)
        _put_rows(dat_s, ddt, first_group & (tl.arange(0, RP) < R)[None, :], 2 * N, RP, LW, ATOMIC)
        d_skip += dy * x
        d_bias += d_z
        d_w += d_z[:, :, None] * dt[:, None, :]
        ag = exp2(a2 * delta[:, :, None], FAST) * g
    row = small + ((k * tiles + tile).to(tl.int64) * channels + channel) * ((2 + R) * LW) + slot[:, None]
    tl.store(row, d_skip, mask=real)
    tl.store(row + LW, d_bias, mask=real)
    r = tl.arange(0, RP)[None, None, :]
    tl.store(row[:, :, None] + (2 + r) * LW, d_w, mask=real[:, :, None] & (r < R))
