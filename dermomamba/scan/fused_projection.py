"""Triton kernels around the fused scan: orientations, the input-dependent projections and their gradients.

Step 4 of SS2D (Liu et al. 2024, arXiv 2401.10166): ``[dt_raw, B, C] = W_k x`` at every position. The result
goes to the ``stream`` buffer in the order in which ``fused_kernels.py`` reads it; geometry and buffers are
described there.
"""

from __future__ import annotations

import triton
import triton.language as tl

from dermomamba.scan.fused_lane import SIZES, axes, place_of_lane


# Sizes and strides are specialised here: a thread loads 16 bytes only where the compiler knows that 16 divides them.
@triton.jit(do_not_specialize=["channels"])
def orient_kernel(x, x2, plane, channels, height, width, sb, se, sh, sw, BLOCK: tl.constexpr):
    """x (B, E, H, W) of any strides -> x2 (2, B, E, L): transposed, and as it is."""
    across = tl.cdiv(width, BLOCK)
    blocks = across * tl.cdiv(height, BLOCK)
    pid = tl.program_id(0)
    be = (pid // blocks).to(tl.int64)
    h = (pid % blocks // across) * BLOCK + tl.arange(0, BLOCK)
    w = (pid % across) * BLOCK + tl.arange(0, BLOCK)
    inside = (h < height)[:, None] & (w < width)[None, :]
    src = x + (be // channels) * sb + (be % channels) * se
    v = tl.load(src + h[:, None] * sh + w[None, :] * sw, mask=inside, other=0.0)
    dst = x2 + be * height * width
    tl.store(dst + plane + h[:, None] * width + w[None, :], v, mask=inside)
    inside_t = (w < width)[:, None] & (h < height)[None, :]
    tl.store(dst + w[:, None] * height + h[None, :], tl.trans(v), mask=inside_t)


@triton.jit(do_not_specialize=["channels"])
def merge_kernel(part, out, plane, channels, height, width, sb, se, sh, sw, FOUR: tl.constexpr, BLOCK: tl.constexpr):
    """Add the planes of ``part``, un-transposing those of the row orientation: out (B, E, H, W), any strides."""
    across = tl.cdiv(width, BLOCK)
    blocks = across * tl.cdiv(height, BLOCK)
    pid = tl.program_id(0)
    be = (pid // blocks).to(tl.int64)
    h = (pid % blocks // across) * BLOCK + tl.arange(0, BLOCK)
    w = (pid % across) * BLOCK + tl.arange(0, BLOCK)
    inside = (h < height)[:, None] & (w < width)[None, :]
    inside_t = (w < width)[:, None] & (h < height)[None, :]
    row = part + be * height * width + w[:, None] * height + h[None, :]
    column = part + be * height * width + plane + h[:, None] * width + w[None, :]
    by_row = tl.load(row, mask=inside_t, other=0.0).to(tl.float32)
    total = tl.load(column, mask=inside, other=0.0).to(tl.float32)
    if FOUR:
        by_row += tl.load(row + 2 * plane, mask=inside_t, other=0.0).to(tl.float32)
        total += tl.load(column + 2 * plane, mask=inside, other=0.0).to(tl.float32)
    total += tl.trans(by_row)
    dst = out + (be // channels) * sb + (be % channels) * se + h[:, None] * sh + w[None, :] * sw
    tl.store(dst, total.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _positions(work, sq, columns, q_count, rows, LW: tl.constexpr, POS: tl.constexpr):
    """POS positions of one tile: offset in a stream plane, batch item, offset in the image, inside the lane."""
    STEPS: tl.constexpr = POS // LW
    blocks = tl.cdiv(sq, STEPS)
    tile = work // blocks
    j = tl.arange(0, POS)
    s = (work % blocks) * STEPS + j // LW
    b, q, p = place_of_lane(tile, j % LW, columns, q_count, LW)
    at = (tile.to(tl.int64) * sq + s) * (rows * LW) + j % LW
    return at, b, (q * sq + s) * columns + p, s < sq


@triton.jit(do_not_specialize=SIZES)
def project_kernel(
    x2, w, stream, dts, batch, channels, height, width, q_rows, q_columns, positions,
    N: tl.constexpr, R: tl.constexpr, RD: tl.constexpr, EK: tl.constexpr, LW: tl.constexpr,
    POS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """B, C and dt_raw = W_k x at POS positions of one tile (RD: R rounded up for a matrix product)."""
    k = tl.program_id(1)
    sq, columns, q_count = axes(k, height, width, q_rows, q_columns)
    work = tl.program_id(0)
    if work >= tl.cdiv(batch * q_count * columns, LW) * tl.cdiv(sq, POS // LW):
        return
    at, b, place, inside = _positions(work, sq, columns, q_count, 1, LW, POS)
    pixels = height * width
    src = x2 + ((k % 2) * batch + b).to(tl.int64) * channels * pixels + place
    row, r = tl.arange(0, 2 * N), tl.arange(0, RD)
    w += k * (2 * N + R) * channels  # stored as dt_raw, B, C
    both = tl.zeros([POS, 2 * N], tl.float32)
    dt = tl.zeros([POS, RD], tl.float32)
    for e0 in range(0, channels, EK):
        e = e0 + tl.arange(0, EK)
        there = (e < channels)[:, None]
        weight = tl.load(w + (row + R)[None, :] * channels + e[:, None], mask=there, other=0.0)
        weight_dt = tl.load(w + r[None, :] * channels + e[:, None], mask=there & (r < R)[None, :], other=0.0)
        value = tl.load(
            src[:, None] + e[None, :] * pixels,
            mask=(inside & (b < batch))[:, None] & (e < channels)[None, :],
            other=0.0,
        ).to(tl.float32)
        both = tl.dot(value, weight, both, input_precision=PRECISION)
        dt = tl.dot(value, weight_dt, dt, input_precision=PRECISION)
    V: tl.constexpr = 128 // stream.dtype.element_ty.primitive_bitwidth  # numbers in 16 bytes
    slot = tl.arange(0, POS) % LW
    to = stream + (k.to(tl.int64) * positions + at - slot)[:, None] * (2 * N) + slot[:, None] * V
    to += (row // V * (LW * V) + row % V)[None, :]
    tl.store(to, both.to(stream.dtype.element_ty), mask=inside[:, None])
    to = dts + (k.to(tl.int64) * positions + at - slot)[:, None] * R + slot[:, None] + (r * LW)[None, :]
    tl.store(to, dt.to(dts.dtype.element_ty), mask=inside[:, None] & (r < R)[None, :])


@triton.jit(do_not_specialize=SIZES)
def unproject_kernel(
    dstream, w, part, batch, channels, height, width, q_rows, q_columns, positions,
    N: tl.constexpr, R: tl.constexpr, ROWS: tl.constexpr, EK: tl.constexpr, LW: tl.constexpr,
    POS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """part[o] += part[o + 2] + sum over k = o, o + 2 of W_k^T dstream_k, at POS positions of one tile."""
    o = tl.program_id(1)
    sq, columns, q_count = axes(o, height, width, q_rows, q_columns)
    e_blocks = tl.cdiv(channels, EK)
    work = tl.program_id(0) // e_blocks
    if work >= tl.cdiv(batch * q_count * columns, LW) * tl.cdiv(sq, POS // LW):
        return
    at, b, place, inside = _positions(work, sq, columns, q_count, 2 * N + R, LW, POS)
    pixels = height * width
    e = (tl.program_id(0) % e_blocks) * EK + tl.arange(0, EK)
    row = tl.arange(0, ROWS)
    acc = tl.zeros([EK, POS], tl.float32)
    for half in range(2):
        k = o + 2 * half
        weight_row = tl.where(row < 2 * N, row + R, row - 2 * N) + k * (2 * N + R)
        weight = tl.load(
            w + weight_row[None, :] * channels + e[:, None],
            mask=(row < 2 * N + R)[None, :] & (e < channels)[:, None],
            other=0.0,
        )
        grad = tl.load(
            dstream + k.to(tl.int64) * positions * (2 * N + R) + at[None, :] + (row * LW)[:, None],
            mask=(row < 2 * N + R)[:, None] & inside[None, :],
            other=0.0,
        )
        acc = tl.dot(weight, grad, acc, input_precision=PRECISION)
    mask = (inside & (b < batch))[None, :] & (e < channels)[:, None]
    plane = batch.to(tl.int64) * channels * pixels
    to = part + o * plane + (b.to(tl.int64) * channels * pixels + place)[None, :] + e[:, None] * pixels
    acc += tl.load(to, mask=mask, other=0.0) + tl.load(to + 2 * plane, mask=mask, other=0.0)
    tl.store(to, acc, mask=mask)


@triton.jit(do_not_specialize=SIZES)
def weight_kernel(
    dstream, x2, dw, batch, channels, height, width, q_rows, q_columns, positions,
    N: tl.constexpr, R: tl.constexpr, ROWS: tl.constexpr, EK: tl.constexpr, LW: tl.constexpr,
    POS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """dw (programs, 4, R + 2N, E): sum of dstream_k x^T over every programs-th block of POS positions."""
    k = tl.program_id(1)
    sq, columns, q_count = axes(k, height, width, q_rows, q_columns)
    pixels = height * width
    e = tl.program_id(2) * EK + tl.arange(0, EK)
    row = tl.arange(0, ROWS)
    acc = tl.zeros([ROWS, EK], tl.float32)
    total = tl.cdiv(batch * q_count * columns, LW) * tl.cdiv(sq, POS // LW)
    for work in range(tl.program_id(0), total, tl.num_programs(0)):
        at, b, place, inside = _positions(work, sq, columns, q_count, 2 * N + R, LW, POS)
        grad = tl.load(
            dstream + k.to(tl.int64) * positions * (2 * N + R) + at[None, :] + (row * LW)[:, None],
            mask=(row < 2 * N + R)[:, None] & inside[None, :],
            other=0.0,
        )
        src = x2 + ((k % 2) * batch + b).to(tl.int64) * channels * pixels + place
        value = tl.load(
            src[:, None] + e[None, :] * pixels,
            mask=(inside & (b < batch))[:, None] & (e < channels)[None, :],
            other=0.0,
        )
        acc = tl.dot(grad, value.to(tl.float32), acc, input_precision=PRECISION)
    weight_row = tl.where(row < 2 * N, row + R, row - 2 * N)
    to = (tl.program_id(0) * 4 + k) * (2 * N + R) + weight_row
    tl.store(
        dw + to[:, None] * channels + e[None, :],
        acc,
        mask=(row < 2 * N + R)[:, None] & (e < channels)[None, :],
    )
