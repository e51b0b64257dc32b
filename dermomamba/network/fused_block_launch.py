"""The launches of the fused blocks: what forward and backward of ``fused_block.py`` do, in order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dermomamba.network import fused_depthwise as depthwise
from dermomamba.network.fused_vss_gradient import project_in_gradient_kernel, project_out_gradient_kernel
from dermomamba.network.fused_vss_kernels import project_in_kernel, project_out_kernel, untouched_kernel
from dermomamba.scan import fused_triton

SHARES = 528
"""Programs that share the gradients of the projections: four for each multiprocessor."""

BACK_PIXELS, WIDEST_SHARED = 32, 32
"""Pixels of a program's block in the backward; inner channels up to which weight gradients stay in registers."""

COPIED = 1024
"""Pixels of one program of the untouched channels."""


@dataclass(frozen=True)
class Weights:
    """Parameters of SS2D in the order of ``fused_block.SS2D_NAMES``, with the norm before it or None."""

    norm: tuple[Tensor, Tensor] | None
    w_in: Tensor
    conv: Tensor
    conv_bias: Tensor
    scan: tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
    out_norm: tuple[Tensor, Tensor]
    w_out: Tensor

    @classmethod
    def of(cls, tensors: Sequence[Tensor]) -> Weights:
        plain = [t.detach().float().contiguous() for t in tensors]
        w_in, conv, conv_bias, w, dt_w, dt_b, a_logs, skip, out_norm_w, out_norm_b, w_out = plain[:11]
        norm = (plain[11], plain[12]) if len(plain) > 11 else None
        return cls(
            norm, w_in, conv.flatten(1), conv_bias, (w, dt_w, dt_b, a_logs, skip), (out_norm_w, out_norm_b), w_out
        )

    @property
    def norm_or_any(self) -> tuple[Tensor, Tensor]:
        return self.norm or (self.w_in, self.w_in)


def device_of(x: Tensor) -> AbstractContextManager:
    return torch.cuda.device(x.device) if x.is_cuda else nullcontext()


def in_rows(x: Tensor) -> Tensor:
    """x, copied only when its rows do not follow each other in memory."""
    return x if x.shape[2] == 1 or x.stride(2) == x.shape[3] * x.stride(3) else x.contiguous()


def outer(a: Tensor, b: Tensor) -> Tensor:
    """Sum over items and pixels of a (items, M, H, W) times b (items, N, H, W): (M, N) float32."""
    return torch.bmm(a.flatten(2), b.flatten(2).transpose(1, 2)).float().sum(0)


class Launches:
    """The launches on ``items`` planar images of D channels.

    Args:
        x: (items, D, H, W) planar, the block's input.
        weights: its parameters.
        eps: of the norm before SS2D; out_eps: of the one after the scan.
        stream_dtype: how the scan stores its projections.
    """

    def __init__(self, x: Tensor, weights: Weights, eps: float, out_eps: float, stream_dtype: torch.dtype) -> None:
        self.x, self.w, self.eps, self.out_eps, self.stream_dtype = x, weights, eps, out_eps, stream_dtype
        self.items, d, height, width = x.shape
        self.inner = weights.w_out.shape[1]
        self.pixels = height * width
        wide = max(16, 1 << (self.inner - 1).bit_length())
        self.shape: dict[str, Any] = {
            "D": d,
            "E": self.inner,
            "NORM": weights.norm is not None,
            "DP": max(16, 1 << (d - 1).bit_length()),
            "EP": wide,
            "PRECISION": "tf32x3" if x.dtype == torch.float32 else "tf32",
        }
        self.block = min(self._most(4096 // wide), max(16, 1 << (self.pixels - 1).bit_length()))
        self.back = min(BACK_PIXELS if wide <= 64 else BACK_PIXELS // 2, self.block)
        self.keep = wide > WIDEST_SHARED

    @staticmethod
    def _most(n: int) -> int:
        return min(128, max(16, n))

    def _empty(self, channels: int) -> Tensor:
        return self.x.new_empty(self.items, channels, *self.x.shape[2:])

    def _blocks(self, block: int) -> int:
        return self.items * math.ceil(self.pixels / block)

    def project_in(self) -> Tensor:
        """u (items, E, H, W): before the 3x3 convolution."""
        u = self._empty(self.inner)
        project_in_kernel[(self._blocks(self.block),)](
            self.x, *self.w.norm_or_any, self.w.w_in, u, self.items, self.pixels, self.eps,
            BP=self.block, num_warps=4, **self.shape,
        )  # fmt: skip
        return u

    def convolve(self, u: Tensor) -> Tensor:
        """SiLU of the 3x3 convolution: what is scanned."""
        return depthwise.convolve(u, self.w.conv, self.w.conv_bias, self._empty(self.inner), (3, 3), silu=True)

    def scan(self, xs: Tensor) -> Tensor:
        """y (items, E, H, W)."""
        return fused_triton.forward(xs, *self.w.scan, stream_dtype=self.stream_dtype)

    def project_out(self, y: Tensor, out: Tensor, branches: int, affine: Sequence[Tensor]) -> None:
        """The block's output, item i into image i // branches, channels from (i % branches) D on."""
        batch, channel, pixel = depthwise.strides(out)
        scale, shift = affine or (y, y)
        project_out_kernel[(self._blocks(self.block),)](
            y, self.x, *self.w.norm_or_any, self.w.w_in, *self.w.out_norm, self.w.w_out, scale, shift, out,
            self.items, self.pixels, branches, batch, self.shape["D"] * channel, channel, pixel,
            self.eps, self.out_eps, RESIDUAL=self.w.norm is not None, AFFINE=bool(affine),
            BP=self.block, num_warps=4, **self.shape,
        )  # fmt: skip

    def gradients(self, y: Tensor, dout: Tensor, branches: int) -> tuple[Tensor, list[Tensor]]:
        """dx (items, D, H, W) planar, and the gradients of the parameters in their order."""
        d, e = self.shape["D"], self.inner
        u = self.project_in()
        xs = self.convolve(u)
        shares = min(SHARES, self._blocks(self.back))
        common = {"BP": self.back, "KEEP": self.keep, "num_warps": 8 if e > 32 else 4, "num_stages": 1, **self.shape}

        def share(*shape: int) -> Tensor:
            return torch.empty((shares, *shape), dtype=torch.float32, device=y.device)

        batch, channel, pixel = depthwise.strides(dout)
        dy, dx = self._empty(e), self._empty(d)
        d_w_z, d_w_out, d_out_norm, d_norm = share(e, d), share(d, e), share(2, e), share(2, d)
        kept = (self._empty(d), self._empty(e), self._empty(e)) if self.keep else (dx, dy, dy)
        project_out_gradient_kernel[(shares,)](
            dout, y, self.x, *self.w.norm_or_any, self.w.w_in, *self.w.out_norm, self.w.w_out,
            dy, dx, d_w_z, d_w_out, d_out_norm, d_norm, *kept,
            self.items, self.pixels, branches, batch, d * channel, channel, pixel, self.eps, self.out_eps,
            RESIDUAL=self.w.norm is not None, **common,
        )  # fmt: skip
        dxs, *d_scan = fused_triton.backward(dy, xs, *self.w.scan, stream_dtype=self.stream_dtype)
        del dy, xs
        d_conv, d_conv_bias, dz = depthwise.gradient(u, self.w.conv, self.w.conv_bias, dxs, (3, 3), silu=True)
        del dxs
        du = depthwise.convolve(dz, self.w.conv, None, u, (3, 3), flip=True)  # u is no longer needed
        d_w_x, d_norm_too = share(e, d), share(2, d)
        project_in_gradient_kernel[(shares,)](
            du, self.x, *self.w.norm_or_any, self.w.w_in, dx, d_w_x, d_norm_too, self.items, self.pixels, self.eps,
            **common,
        )  # fmt: skip
        if self.keep:
            grad = dout.unflatten(1, (-1, d))[:, :branches].flatten(0, 1)  # (items, D, H, W)
            products = [outer(du, kept[0]), outer(kept[2], kept[0]), outer(grad, kept[1])]
        else:
            products = [share.sum(0) for share in (d_w_x, d_w_z, d_w_out)]
        d_out_w, d_out_b = d_out_norm.sum(0)
        found = [torch.cat(products[:2]), d_conv[:, None], d_conv_bias, *d_scan, d_out_w, d_out_b, products[2]]
        if self.w.norm is not None:
            found += [*(d_norm.sum(0) + d_norm_too.sum(0))]
        return dx, found


class Mixers:
    """The three axial mixers of a Cross-Scale Mamba Block, dilations 1, 2, 3, on the first 3 D of 4 D channels.

    Args:
        x: (B, 4 D, H, W), rows one after the other in memory.
        weights: taps (3 D, 7), bias (3 D,) of the 1x7, then of the 7x1, then (3 D, 9) and bias of the 3x3 convolutions.
    """

    KERNELS = ((1, 7), (7, 1), (3, 3))

    def __init__(self, x: Tensor, weights: Sequence[Tensor]) -> None:
        plain = [w.detach().float().contiguous() for w in weights]
        self.taps, self.biases = plain[0::2], plain[1::2]
        self.group = x.shape[1] // 4
        self.x = x[:, : 3 * self.group]

    def _empty(self) -> Tensor:
        return torch.empty(self.x.shape, dtype=self.x.dtype, device=self.x.device)

    def inputs(self) -> list[Tensor]:
        """What the three convolutions get."""
        found = [self.x]
        for taps, bias, kernel in zip(self.taps[:2], self.biases[:2], self.KERNELS[:2], strict=True):
            found.append(depthwise.convolve(found[-1], taps, bias, self._empty(), kernel, self.group))
        return found

    def finish(self, last: Tensor) -> Tensor:
        """(3 B, D, H, W) planar, item b * 3 + branch, from the last convolution's input."""
        out = depthwise.convolve(
            last, self.taps[2], self.biases[2], self._empty(), (3, 3), self.group, residual=self.x
        )  # fmt: skip
        return out.view(-1, self.group, *out.shape[2:])

    def gradients(self, inputs: list[Tensor], g: Tensor, dx: Tensor) -> list[Tensor]:
        """Writes dx (B, 3 D, H, W); returns the gradients of the weights, in their order."""
        g = g.view(self.x.shape[0], 3 * self.group, *g.shape[2:])
        found: list[Tensor] = []
        grad = g
        for i in (2, 1, 0):
            kernel, taps = self.KERNELS[i], self.taps[i]
            d_taps, d_bias, _ = depthwise.gradient(inputs[i], taps, self.biases[i], grad, kernel, self.group)
            found = [d_taps.flatten(1), d_bias, *found]
            last = i == 0
            grad = depthwise.convolve(
                grad, taps, None, dx if last else self._empty(), kernel, self.group,
                residual=g if last else None, flip=True,
            )  # fmt: skip
        return found


def untouched(x: Tensor, out: Tensor, first: int, affine: Sequence[Tensor]) -> None:
    """Channels from ``first`` on of x into out, with the folded BatchNorm and ReLU when given."""
    count = x.shape[1] - first
    block = min(16, 1 << (count - 1).bit_length())
    total = x.shape[0] * x.shape[2] * x.shape[3]
    scale, shift = affine or (x, x)
    untouched_kernel[(math.ceil(count / block) * math.ceil(total / (COPIED // block)),)](
        x, scale, shift, out, total, x.shape[2] * x.shape[3], x.shape[1], first,
        *depthwise.strides(x), *depthwise.strides(out),
        AFFINE=bool(affine), CB=block, BP=COPIED // block, num_warps=4,
    )  # fmt: skip
