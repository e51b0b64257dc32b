"""What every Triton kernel of the fused scan needs for one lane: its place, its parameters, its numbers in the stream.

Geometry and buffers are described in ``fused_kernels.py``.
"""

from __future__ import annotations

import triton
import triton.language as tl

SIZES = ["batch", "channels", "height", "width", "q_rows", "q_columns", "tiles", "positions", "one"]
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
def _joined(a, b, T: tl.constexpr, COUNT: tl.constexpr):
    """(T, COUNT) twice -> (T, 2 COUNT), a first; nothing leaves its thread."""
    return tl.reshape(tl.permute(tl.join(a, b), (0, 2, 1)), (T, 2 * COUNT))


@triton.jit
def words_at(at, T: tl.constexpr, WORDS: tl.constexpr, LW: tl.constexpr):
    """WORDS 32-bit words of each lane, 16 bytes a load, from where ``at`` (T,) points to: (T, WORDS) int32.

    Lanes that are neighbours have their 16 bytes side by side; a lane's next 16 bytes lie behind those of all lanes.
    """
    four = at[:, None] + tl.arange(0, 4)[None, :]
    HALF: tl.constexpr = WORDS // 2
    if WORDS == 4:
        return tl.load(four)
    elif WORDS == 8:
        return _joined(tl.load(four), tl.load(four + 4 * LW), T, 4)
    else:
        return _joined(words_at(at, T, HALF, LW), words_at(at + HALF * LW, T, HALF, LW), T, HALF)


@triton.jit
def numbers(words, T: tl.constexpr, N: tl.constexpr, DTYPE: tl.constexpr):
    """N numbers of the stream's type in 32-bit words -> (T, N) float32."""
    if tl.float32 == DTYPE:
        return words.to(tl.float32, bitcast=True)
    elif tl.bfloat16 == DTYPE:  # the upper half of a float32
        low, high = words << 16, words & -65536
        return tl.reshape(tl.join(low.to(tl.float32, bitcast=True), high.to(tl.float32, bitcast=True)), (T, N))
    else:
        low, high = words.to(tl.int16), (words >> 16).to(tl.int16)
        return tl.reshape(tl.join(low.to(DTYPE, bitcast=True), high.to(DTYPE, bitcast=True)), (T, N)).to(tl.float32)


@triton.jit
def of_lane(stream, k, positions, tile, sq, slot, N: tl.constexpr, LW: tl.constexpr):
    """Where the first step of a lane lies in the stream, as pointers (T,) to 32-bit words."""
    WORDS: tl.constexpr = N * stream.dtype.element_ty.primitive_bitwidth // 32
    plane = stream.to(tl.pointer_type(tl.int32)) + k.to(tl.int64) * positions * (2 * WORDS)
    return plane + tile.to(tl.int64) * sq * (LW * 2 * WORDS) + slot * 4


@triton.jit
def dt_and_x(at, x_at, inside, R: tl.constexpr, RP: tl.constexpr, LW: tl.constexpr):
    """dt_raw (T, RP), zero beyond R, and x (T, EB) of one step, asked for one step ahead."""
    r = tl.arange(0, RP)
    x = tl.load(x_at, mask=inside, other=0.0)
    if R == RP:
        return tl.load(at[:, None] + (r * LW)[None, :]), x
    else:
        return tl.load(at[:, None] + (r * LW)[None, :], mask=(r < R)[None, :], other=0.0), x


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
