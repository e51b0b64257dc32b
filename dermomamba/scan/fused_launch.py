"""The launches of the fused scan: what forward and backward do with one slice of the batch."""

from __future__ import annotations

import math
import os

import torch
from torch import Tensor

from dermomamba.scan.fused_gradient import adjoint_kernel, states_kernel
from dermomamba.scan.fused_kernels import carry_kernel, lanes_kernel, scan_kernel
from dermomamba.scan.fused_plan import EK, POSITIONS, WEIGHT_POSITIONS, Plan, Tuning, power_of_two
from dermomamba.scan.fused_projection import (
    merge_kernel,
    orient_kernel,
    project_kernel,
    unproject_kernel,
    weight_kernel,
)

WEIGHT_PROGRAMS, CARRY_LANES = 512, 128
LARGE_SQUARE, SMALL_SQUARE = 64, 32
"""Sides of the squares that orientation and merging take: the large one where the image is wider than the small one."""


def fast_math(device: torch.device) -> bool:
    """Whether kernels may use instructions of the GPU that the interpreter does not know."""
    return device.type == "cuda" and os.environ.get("TRITON_INTERPRET") != "1"


class Pass:
    """The launches that forward and backward share, on one slice of the batch."""

    def __init__(self, x: Tensor, weights: tuple[Tensor, ...], stream_dtype: torch.dtype, tuning: Tuning) -> None:
        self.w, self.dt_w, self.dt_b, self.a_logs, self.skip = weights
        batch, channels, height, width = x.shape
        rank, states = self.dt_w.shape[-1], self.a_logs.shape[-1]
        self.plan = Plan(batch, channels, height, width, rank, states, tuning)
        self.device = x.device
        self.stream_dtype = stream_dtype
        self.exact = "tf32x3" if stream_dtype == torch.float32 else "tf32"
        self.fast = fast_math(x.device)
        self.x2 = self.orient(x)
        self.stream, self.dts = self.project()

    def empty(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.empty(shape, dtype=dtype, device=self.device)

    def zeros(self, *shape: int) -> Tensor:
        return torch.zeros(shape, dtype=torch.float32, device=self.device)

    def _square(self) -> int:
        return LARGE_SQUARE if min(self.plan.height, self.plan.width) > SMALL_SQUARE else SMALL_SQUARE

    def _image_blocks(self) -> int:
        p, side = self.plan, self._square()
        return p.batch * p.channels * math.ceil(p.height / side) * math.ceil(p.width / side)

    def orient(self, x: Tensor) -> Tensor:
        """(B, E, H, W) of any strides -> (2, B, E, H * W)."""
        p = self.plan
        x2 = self.empty(2, p.batch, p.channels, p.pixels, dtype=x.dtype)
        orient_kernel[(self._image_blocks(),)](
            x, x2, x2[0].numel(), p.channels, p.height, p.width, *x.stride(), BLOCK=self._square(), num_warps=4
        )
        return x2

    def merge(self, part: Tensor, out: Tensor, four: bool) -> None:
        """Two or four planes of ``part`` added into out (B, E, H, W)."""
        p = self.plan
        merge_kernel[(self._image_blocks(),)](
            part, out, part[0].numel(), p.channels, p.height, p.width, *out.stride(),
            FOUR=four, BLOCK=self._square(), num_warps=4,
        )  # fmt: skip

    def project(self) -> tuple[Tensor, Tensor]:
        """The stream (4, positions * 2N) and dts (4, positions * R)."""
        p = self.plan
        stream = self.empty(4, p.positions * 2 * p.states, dtype=self.stream_dtype)
        dts = self.empty(4, p.positions * p.rank, dtype=self.stream_dtype)
        project_kernel[(p.position_blocks(POSITIONS), 4)](
            self.x2, self.w, stream, dts, RD=max(16, power_of_two(p.rank)), POS=POSITIONS, PRECISION=self.exact,
            **p.projection,
        )  # fmt: skip
        return stream, dts

    def _lane_grid(self) -> tuple[int, int]:
        return self.plan.tiles * self.plan.blocks, 4

    def states(self, dy2: Tensor | None) -> Tensor:
        """States (1 or 2, 4, tiles, E, N, LW) at the end of every lane, in the whole sequence."""
        p = self.plan
        count = 1 if dy2 is None else 2
        states = self.empty(count, 4, p.tiles, p.channels, p.states, p.tuning.lanes)
        steps = self.empty(4, p.tiles, p.channels, p.tuning.lanes)
        lanes_kernel[self._lane_grid()](
            self.x2, self.x2 if dy2 is None else dy2, self.stream, self.dts, self.dt_w, self.dt_b, self.a_logs,
            states, steps, ADJOINT=dy2 is not None, FAST=self.fast, **p.scan,
        )  # fmt: skip
        lanes = max(p.height * p.parts[0], p.width * p.parts[1])
        carry_kernel[(p.batch * p.channels, 4, count)](
            self.a_logs, states, steps, **p.sizes, tiles=p.tiles, N=p.states, LW=p.tuning.lanes,
            LANES=min(CARRY_LANES, max(32, power_of_two(lanes))), num_warps=4,
        )  # fmt: skip
        return states

    def scan(self) -> Tensor:
        """y of each direction (4, B, E, H * W), in the image's dtype."""
        p = self.plan
        states = self.states(None)
        part = self.empty(4, p.batch, p.channels, p.pixels, dtype=self.x2.dtype)
        scan_kernel[self._lane_grid()](
            self.x2, self.stream, self.dts, self.dt_w, self.dt_b, self.a_logs, self.skip, states, part,
            FAST=self.fast, **p.scan,
        )  # fmt: skip
        return part

    def gradients(self, dy: Tensor, dx: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Writes dx; returns dW (4, R + 2N, E), the gradients of D, bias and P (4, E, 2 + R), and dA (4, E, N)."""
        p = self.plan
        dy2 = self.orient(dy)
        states = self.states(dy2)
        part = self.empty(4, p.batch, p.channels, p.pixels)
        da = self.zeros(4, p.tiles, p.channels, p.states, p.tuning.lanes)
        small = self.zeros(4, p.tiles, p.channels, 2 + p.rank, p.tuning.lanes)
        atomic = p.blocks * p.tuning.warps > 1
        dstream = (self.zeros if atomic else self.empty)(4, p.positions * p.rows)
        inputs = (self.x2, dy2, self.stream, self.dts, self.dt_w, self.dt_b, self.a_logs)
        states_kernel[self._lane_grid()](*inputs, states, part, dstream, da, ATOMIC=atomic, FAST=self.fast, **p.scan)
        adjoint_kernel[self._lane_grid()](
            *inputs, self.skip, states, part, dstream, small, ATOMIC=atomic, FAST=self.fast, **p.scan
        )
        e_blocks = math.ceil(p.channels / EK)
        programs = max(1, min(p.position_blocks(WEIGHT_POSITIONS), WEIGHT_PROGRAMS // (4 * e_blocks)))
        dw = self.empty(programs, 4, p.rows, p.channels)
        weight_kernel[(programs, 4, e_blocks)](
            dstream, self.x2, dw, ROWS=power_of_two(p.rows), POS=WEIGHT_POSITIONS, PRECISION=self.exact, **p.projection
        )
        unproject_kernel[(p.position_blocks(POSITIONS) * e_blocks, 2)](
            dstream, self.w, part, ROWS=power_of_two(p.rows), POS=POSITIONS, PRECISION=self.exact, **p.projection
        )
        self.merge(part, dx, four=False)
        return dw.sum(0), small.sum((1, 4)), da.sum((1, 4))
