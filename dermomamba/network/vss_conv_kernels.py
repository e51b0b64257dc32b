"""Triton kernels of SS2D's depth-wise 3x3 convolution with bias and SiLU, and their gradients.

Everything is (B, E, H, W), as the scan takes it. A program works on one channel, so that the nine weights are
scalars, over PL images by BS pixels at a time. Arithmetic is float32.
"""

from __future__ import annotations

import triton
import triton.language as tl

SIZES = ["batch", "channels"]
"""Integer arguments that must not be specialised: another batch would compile everything again."""


@triton.jit
def _place(block, channel, batch, channels, pixels, PL: tl.constexpr, BS: tl.constexpr):
    """Offset of the tile's pixels, which of them exist, and their number in the image (1, BS)."""
    across = tl.cdiv(pixels, BS)
    b = ((block // across) * PL + tl.arange(0, PL))[:, None]
    s = ((block % across) * BS + tl.arange(0, BS))[None, :]
    return (b.to(tl.int64) * channels + channel) * pixels + s, (b < batch) & (s < pixels), s


@triton.jit
def _tap(src, at, exists, s, height, width, DH: tl.constexpr, DW: tl.constexpr):
    """The pixel DH rows down and DW columns right, 0 outside."""
    h, v = s // width + DH, s % width + DW
    mask = exists & (h >= 0) & (h < height) & (v >= 0) & (v < width)
    return tl.load(src + at + (DH * width + DW), mask=mask, other=0.0).to(tl.float32)


@triton.jit
def _taps(src, at, exists, s, height, width):
    """The nine pixels under the kernel, row by row."""
    return (
        _tap(src, at, exists, s, height, width, -1, -1),
        _tap(src, at, exists, s, height, width, -1, 0),
        _tap(src, at, exists, s, height, width, -1, 1),
        _tap(src, at, exists, s, height, width, 0, -1),
        _tap(src, at, exists, s, height, width, 0, 0),
        _tap(src, at, exists, s, height, width, 0, 1),
        _tap(src, at, exists, s, height, width, 1, -1),
        _tap(src, at, exists, s, height, width, 1, 0),
        _tap(src, at, exists, s, height, width, 1, 1),
    )


@triton.jit(do_not_specialize=SIZES)
def conv_kernel(
    x, w, bias, out, batch, channels, height, width,
    PL: tl.constexpr, BS: tl.constexpr,
):  # fmt: skip
    """out = SiLU(conv(x) + bias)."""
    e = tl.program_id(1)
    at, exists, s = _place(tl.program_id(0), e, batch, channels, height * width, PL, BS)
    x0, x1, x2, x3, x4, x5, x6, x7, x8 = _taps(x, at, exists, s, height, width)
    w += e * 9
    value = tl.load(bias + e) + x0 * tl.load(w) + x1 * tl.load(w + 1) + x2 * tl.load(w + 2)
    value += x3 * tl.load(w + 3) + x4 * tl.load(w + 4) + x5 * tl.load(w + 5)
    value += x6 * tl.load(w + 6) + x7 * tl.load(w + 7) + x8 * tl.load(w + 8)
    tl.store(out + at, (value * tl.sigmoid(value)).to(out.dtype.element_ty), mask=exists)


@triton.jit(do_not_specialize=[*SIZES, "blocks"])
def conv_slope_kernel(
    dout, x, w, bias, dpre, dw, batch, channels, height, width, blocks,
    PL: tl.constexpr, BS: tl.constexpr,
):  # fmt: skip
    """dpre = dout SiLU'(conv(x) + bias), and this program's part of dw and dbias (programs, E, 10)."""
    e = tl.program_id(1)
    w += e * 9
    w0, w1, w2 = tl.load(w), tl.load(w + 1), tl.load(w + 2)
    w3, w4, w5 = tl.load(w + 3), tl.load(w + 4), tl.load(w + 5)
    w6, w7, w8 = tl.load(w + 6), tl.load(w + 7), tl.load(w + 8)
    b = tl.load(bias + e)
    zero = tl.zeros([PL, BS], tl.float32)
    a0, a1, a2, a3, a4, a5, a6, a7, a8, a9 = zero, zero, zero, zero, zero, zero, zero, zero, zero, zero
    for block in range(tl.program_id(0), blocks, tl.num_programs(0)):
        at, exists, s = _place(block, e, batch, channels, height * width, PL, BS)
        x0, x1, x2, x3, x4, x5, x6, x7, x8 = _taps(x, at, exists, s, height, width)
        value = b + x0 * w0 + x1 * w1 + x2 * w2 + x3 * w3 + x4 * w4 + x5 * w5 + x6 * w6 + x7 * w7 + x8 * w8
        open_ = tl.sigmoid(value)
        grad = tl.load(dout + at, mask=exists, other=0.0).to(tl.float32) * open_ * (1.0 + value * (1.0 - open_))
        tl.store(dpre + at, grad.to(dpre.dtype.element_ty), mask=exists)
        a0 += grad * x0
        a1 += grad * x1
        a2 += grad * x2
        a3 += grad * x3
        a4 += grad * x4
        a5 += grad * x5
        a6 += grad * x6
        a7 += grad * x7
        a8 += grad * x8
        a9 += grad
    dw += (tl.program_id(0) * channels + e) * 10
    tl.store(dw, tl.sum(a0))
    tl.store(dw + 1, tl.sum(a1))
    tl.store(dw + 2, tl.sum(a2))
    tl.store(dw + 3, tl.sum(a3))
    tl.store(dw + 4, tl.sum(a4))
    tl.store(dw + 5, tl.sum(a5))
    tl.store(dw + 6, tl.sum(a6))
    tl.store(dw + 7, tl.sum(a7))
    tl.store(dw + 8, tl.sum(a8))
    tl.store(dw + 9, tl.sum(a9))


@triton.jit(do_not_specialize=SIZES)
def conv_gradient_kernel(
    dpre, w, dx, batch, channels, height, width,
    PL: tl.constexpr, BS: tl.constexpr,
):  # fmt: skip
    """dx: dpre through the convolution turned by 180 degrees."""
    e = tl.program_id(1)
    at, exists, s = _place(tl.program_id(0), e, batch, channels, height * width, PL, BS)
    g0, g1, g2, g3, g4, g5, g6, g7, g8 = _taps(dpre, at, exists, s, height, width)
    w += e * 9
    value = g0 * tl.load(w + 8) + g1 * tl.load(w + 7) + g2 * tl.load(w + 6)
    value += g3 * tl.load(w + 5) + g4 * tl.load(w + 4) + g5 * tl.load(w + 3)
    value += g6 * tl.load(w + 2) + g7 * tl.load(w + 1) + g8 * tl.load(w)
    tl.store(dx + at, value.to(dx.dtype.element_ty), mask=exists)
