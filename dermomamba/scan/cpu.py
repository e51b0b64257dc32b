"""The compiled back end for the processor: autograd functions around the numba workers, float32.

``cross_scan`` is fused (``cpu_cross``); ``scan`` is the bare operator (``cpu_plain``). numba compiles at the first
call and keeps the machine code on disk, so later starts are fast; ``warm_up`` does it in the background.
"""

from __future__ import annotations

import functools
import threading
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from dermomamba.scan import chunked, cpu_cross, cpu_plain
from dermomamba.scan.cpu_blocks import STEPS
from dermomamba.scan.cpu_threads import run
from dermomamba.scan.cpu_vector import LANES

LN2 = 0.6931471805599453
DIRECTIONS = 4


def _flat(t: Tensor) -> np.ndarray:
    return t.detach().reshape(-1).numpy()


def _differentiated(operands: tuple[Tensor, ...]) -> bool:
    """Whether a backward pass may follow, so that the states at the blocks' beginnings must be kept."""
    return torch.is_grad_enabled() and any(t.requires_grad for t in operands)


def _added(paths: Tensor) -> Tensor:
    """Sum over the first, short axis; several times faster than ``sum``, which strides across it."""
    result = paths[0] + paths[1]
    for more in paths[2:]:
        result += more
    return result


@functools.cache
def _order(n_states: int, rank: int) -> Tensor:
    """Rows of [dt, B, C] in the order of the kernels: four of B, four of C, ..., dt; -1 marks a row of zeros."""
    width = -(-(2 * n_states + rank) // LANES) * LANES
    rows = torch.full((width,), -1)
    for n in range(0, n_states, 4):
        rows[2 * n : 2 * n + 4] = torch.arange(n, n + 4) + rank
        rows[2 * n + 4 : 2 * n + 8] = torch.arange(n, n + 4) + rank + n_states
    rows[2 * n_states : 2 * n_states + rank] = torch.arange(rank)
    return rows


class Arranged(NamedTuple):
    """The parameters of a cross scan in the order in which ``cpu_cross`` reads them."""

    w_states: Tensor  # (4, E, S)
    w_channels: Tensor  # (4, S, E)
    dt_w: Tensor  # (4, R, E)
    bias: Tensor  # (4, E)
    rates: Tensor  # (4, E / 8, N, 8)
    skip: Tensor  # (4, E)


def arranged(w: Tensor, dt_w: Tensor, bias: Tensor, A: Tensor, skip: Tensor) -> Arranged:
    """Arrange parameters, float32, E a multiple of 8 and N of 4.

    Args:
        w: (4, R + 2 N, E).
        dt_w: (4, E, R).
        bias: (4, E).
        A: (4 E, N), negative.
        skip: (4, E).
    """
    inner, rank, n_states = w.shape[-1], dt_w.shape[-1], A.shape[-1]
    w_channels = F.pad(w, (0, 0, 0, 1))[:, _order(n_states, rank)]  # (4, S, E); row -1 is the padding
    rates = (A.view(DIRECTIONS, inner // LANES, LANES, n_states).transpose(2, 3) / LN2).contiguous()
    return Arranged(
        w_channels.transpose(1, 2).contiguous(), w_channels, dt_w.transpose(1, 2).contiguous(), bias, rates, skip
    )


def scanned(x: Tensor, a: Arranged, save: bool = False) -> tuple[Tensor, Tensor]:
    """Scan images along the four directions.

    Args:
        x: (B, H, W, E) float32, contiguous.
        a: the parameters.
        save: keep the state at each block's beginning, for the backward pass.

    Returns:
        Partial results (2 or 4, B, H, W, E), to be added over the first axis, and the kept states.
    """
    batch, height, width, inner = x.shape
    rank, (groups, n_states) = a.dt_w.shape[1], a.rates.shape[1:3]
    threads = torch.get_num_threads()
    paths = 2 if batch * 2 >= threads and (batch * 2 % threads == 0 or batch * 2 >= 4 * threads) else 4
    parts = min(groups, max(1, -(-threads // (batch * paths))))
    out = x.new_empty(paths, *x.shape)
    blocks = cpu_cross.blocks_of(height, width, inner) if save else 0
    saved = x.new_empty(batch * DIRECTIONS * groups * blocks * n_states * LANES)
    arrays = [_flat(t) for t in (x, a.w_states, a.dt_w, a.bias, a.rates, a.skip, out, saved)]
    run(
        cpu_cross.forward_worker, batch * paths * parts, *arrays, save,
        batch, height, width, inner, rank, n_states, paths, parts,
    )  # fmt: skip
    return out, saved


class _CrossScan(torch.autograd.Function):
    """cross_scan on (B, H, W, E) float32 with E a multiple of 8 and N of 4."""

    @staticmethod
    def forward(ctx, save: bool, x: Tensor, w: Tensor, dt_w: Tensor, bias: Tensor, A: Tensor, skip: Tensor):
        a = arranged(w, dt_w, bias, A, skip)
        out, saved = scanned(x, a, save)
        ctx.save_for_backward(x, a.w_states, a.w_channels, a.dt_w, bias, a.rates, skip, saved)
        return _added(out)

    @staticmethod
    def backward(ctx, dy: Tensor):
        x, w_states, w_channels, dt_w, bias, rates, skip, saved = ctx.saved_tensors
        batch, height, width, inner = x.shape
        rank, n_states = dt_w.shape[1], rates.shape[2]
        paths = 2 if batch * 2 % torch.get_num_threads() == 0 else 4
        dx = x.new_empty(paths, *x.shape)
        d_w, d_dt_w, d_bias = (x.new_zeros(batch, *t.shape) for t in (w_channels, dt_w, bias))
        d_rates, d_skip = (x.new_zeros(batch, *t.shape) for t in (rates, skip))
        operands = (x, dy.contiguous(), w_states, w_channels, dt_w, bias, rates, skip, saved)
        results = (dx, d_w, d_dt_w, d_bias, d_rates, d_skip)
        arrays = [_flat(t) for t in (*operands, *results)]
        run(
            cpu_cross.backward_worker, batch * paths, *arrays,
            batch, height, width, inner, rank, n_states, paths,
        )  # fmt: skip
        order = _order(n_states, rank)
        dw = x.new_zeros(DIRECTIONS, 2 * n_states + rank, inner)
        dw[:, order[order >= 0]] = d_w.sum(0)[:, order >= 0]
        dA = d_rates.sum(0).transpose(2, 3).reshape(DIRECTIONS * inner, n_states)
        return None, _added(dx), dw, d_dt_w.sum(0).transpose(1, 2), d_bias.sum(0), dA, d_skip.sum(0)


def cross_scan(x: Tensor, w: Tensor, dt_w: Tensor, dt_b: Tensor, A_logs: Tensor, Ds: Tensor) -> Tensor:
    """The four-direction scan of an image; arguments and result as ``dermomamba.scan.cross_scan``, float32 inside.

    The result lies channels last in memory, as the layers after it read it; so best lies x.
    """
    inner, rank, n_states = x.shape[1], dt_w.shape[-1], A_logs.shape[-1]
    image = x.permute(0, 2, 3, 1).to(torch.float32)  # (B, H, W, E)
    w, dt_w, dt_b, skip = (t.to(torch.float32) for t in (w, dt_w, dt_b, Ds.view(DIRECTIONS, inner)))
    A = -torch.exp(A_logs.to(torch.float32)).view(DIRECTIONS, inner, n_states)
    lanes, states = -inner % LANES, -n_states % 4
    if states:  # states that stay zero
        dt, B, C = w.split([rank, n_states, n_states], dim=1)
        w = torch.cat([dt, F.pad(B, (0, 0, 0, states)), F.pad(C, (0, 0, 0, states))], dim=1)
        A = F.pad(A, (0, states))
    if lanes:  # channels that stay zero
        image, w, dt_b, skip = (F.pad(t, (0, lanes)) for t in (image, w, dt_b, skip))
        dt_w, A = F.pad(dt_w, (0, 0, 0, lanes)), F.pad(A, (0, 0, 0, lanes))
    A = A.reshape(DIRECTIONS * (inner + lanes), n_states + states)
    operands = (image.contiguous(), w, dt_w, dt_b.contiguous(), A, skip.contiguous())
    y = _CrossScan.apply(_differentiated(operands), *operands)
    return y[..., :inner].permute(0, 3, 1, 2).to(x.dtype)


class _Scan(torch.autograd.Function):
    """The bare recurrence, float32, channels of a group a multiple of 8 and N of 4."""

    @staticmethod
    def forward(ctx, save: bool, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
        batch, channels, length = u.shape
        groups, n_states = B.shape[1], A.shape[1]
        octets = channels // LANES
        rates = (A.view(octets, LANES, n_states).transpose(1, 2) / LN2).contiguous()  # (D / 8, N, 8)
        y = torch.empty_like(u)
        blocks = -(-length // STEPS) if save else 0
        saved = u.new_empty(batch * octets * blocks * n_states * LANES)
        arrays = [_flat(t) for t in (u, delta, rates, B, C, y, saved)]
        run(
            cpu_plain.forward_worker, batch * octets, *arrays, save,
            batch, groups, octets // groups, n_states, length,
        )  # fmt: skip
        ctx.save_for_backward(u, delta, rates, B, C, saved)
        return y

    @staticmethod
    def backward(ctx, dy: Tensor):
        u, delta, rates, B, C, saved = ctx.saved_tensors
        batch, channels, length = u.shape
        groups, n_states = B.shape[1:3]
        octets = channels // LANES // groups
        parts = min(octets, max(1, -(-torch.get_num_threads() // (batch * groups))))
        du, d_delta = torch.empty_like(u), torch.empty_like(u)
        d_rates = u.new_zeros(batch, *rates.shape)
        dB, dC = u.new_empty(parts, *B.shape), u.new_empty(parts, *B.shape)
        operands = (u, delta, rates, B, C, saved, dy.contiguous(), du, d_delta, d_rates, dB, dC)
        run(
            cpu_plain.backward_worker, batch * groups * parts, *[_flat(t) for t in operands],
            batch, groups, octets, n_states, length, parts,
        )  # fmt: skip
        return None, du, d_delta, d_rates.sum(0).transpose(1, 2).reshape(channels, n_states), dB.sum(0), dC.sum(0)


def scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """The recurrence ``h_t = exp(delta_t A) h_{t-1} + delta_t B_t u_t``, ``y_t = C_t . h_t``, compiled.

    The kernels count on states that decay: with a positive A or a negative step size, ``chunked`` computes instead.

    Args:
        u: (B, D, L) float32.
        delta: (B, D, L).
        A: (D, N).
        B: (B, G, N, L).
        C: (B, G, N, L).

    Returns:
        y (B, D, L) float32.
    """
    if u.numel() and (A.amax() > 0 or delta.amin() < 0):
        return chunked.scan(u, delta, A, B, C)
    channels, (groups, n_states) = u.shape[1], B.shape[1:3]
    lanes, states = -(channels // groups) % LANES, -n_states % 4
    if states:  # states that stay zero
        A, B, C = F.pad(A, (0, states)), F.pad(B, (0, 0, 0, states)), F.pad(C, (0, 0, 0, states))
    if lanes:  # channels that stay zero
        u, delta = (F.pad(t.unflatten(1, (groups, -1)), (0, 0, 0, lanes)).flatten(1, 2) for t in (u, delta))
        A = F.pad(A.unflatten(0, (groups, -1)), (0, 0, 0, lanes)).flatten(0, 1)
    operands = tuple(t.contiguous() for t in (u, delta, A, B, C))
    y = _Scan.apply(_differentiated(operands), *operands)
    return y.unflatten(1, (groups, -1))[:, :, : channels // groups].flatten(1, 2) if lanes else y


def warm_up(backward: bool = False) -> threading.Thread:
    """Compile the fused scan, or load it from disk, in the background; harmless when it is ready already.

    Args:
        backward: also what training needs.

    Returns:
        The running thread; ``join`` it to wait.
    """

    def work() -> None:
        with torch.set_grad_enabled(backward):
            x = torch.zeros(1, LANES, 2, 2, requires_grad=backward)
            parameters = (torch.zeros(4, 9, LANES), torch.zeros(4, LANES, 1), torch.zeros(4, LANES))
            y = cross_scan(x, *parameters, torch.zeros(4 * LANES, 4), torch.zeros(4 * LANES))
            if backward:
                y.sum().backward()

    thread = threading.Thread(target=work, name="dermomamba-scan-warm-up", daemon=True)
    thread.start()
    return thread
