"""Two-pass chunked selective scan in plain PyTorch: any device, any float dtype, differentiable.

The recurrence of Mamba (arXiv 2312.00752, algorithm 2) is linear in the state, so L steps split into n chunks of
c steps that advance together:

1. c steps over all n chunks at once, each from a zero state, keep only the last local state;
2. n steps carry the states over the chunk borders; a chunk's decay is exp(A * sum of its delta), never a quotient,
   so nothing overflows;
3. the c steps again, now from the right states, give y.

The backward pass runs the same scheme from the other end for the adjoint state g,
``g_t = C_t dy_t + exp(delta_{t+1} A) g_{t+1}``. States are recomputed from snapshots every sqrt(c) steps, so the
largest tensors kept are about 2 / sqrt(c) of the L x N states of all channels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

MIN_CHUNK, MAX_CHUNK = 16, 256


def default_chunk(length: int) -> int:
    """The chunk length c for a sequence: about sqrt(L), which balances steps against the width of a step."""
    return max(MIN_CHUNK, min(MAX_CHUNK, 2 ** round(math.log2(max(length, 1)) / 2)))


def _split(t: Tensor, groups: int, chunk: int) -> Tensor:
    """(B, G * M, L) -> (c, B, G, n, M), padded with zeros, which leave the state as it is."""
    batch, channels, length = t.shape
    n = -(-length // chunk)
    t = torch.nn.functional.pad(t, (0, n * chunk - length))
    return t.view(batch, groups, channels // groups, n, chunk).permute(4, 0, 1, 3, 2).contiguous()


def _join(t: Tensor, length: int) -> Tensor:
    """(c, B, G, n, M) -> (B, G * M, L), the padding dropped."""
    chunk, batch, groups, n, m = t.shape
    return t.permute(1, 2, 4, 3, 0).reshape(batch, groups * m, n * chunk)[..., :length]


def _carry(local: Tensor, decay: Tensor, reverse: bool) -> Tensor:
    """States at the borders: ``s_{i+1} = decay_i s_i + local_i`` along the chunk axis 2; returns each chunk's start."""
    start = torch.zeros_like(local)
    order = range(local.shape[2] - 1, 0, -1) if reverse else range(local.shape[2] - 1)
    for i in order:
        nxt = i - 1 if reverse else i + 1
        start[:, :, nxt] = decay[:, :, i] * start[:, :, i] + local[:, :, i]
    return start


class _Scan(torch.autograd.Function):
    """y (B, D, L) of the bare recurrence; see the module's text."""

    @staticmethod
    def forward(ctx, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, chunk: int) -> Tensor:
        groups, length = B.shape[1], u.shape[2]
        d = _split(delta, groups, chunk)  # (c, B, G, n, M)
        du = _split(delta * u, groups, chunk)
        b = _split(B.flatten(1, 2), groups, chunk)  # (c, B, G, n, N)
        c = _split(C.flatten(1, 2), groups, chunk)
        rate = A.view(groups, 1, -1, A.shape[1])  # (G, 1, M, N)
        state = d.new_zeros(*d.shape[1:], A.shape[1])  # (B, G, n, M, N)
        a = torch.empty_like(state)
        for t in range(chunk):
            torch.mul(d[t, ..., None], rate, out=a)
            state.mul_(a.exp_()).addcmul_(du[t, ..., None], b[t, ..., None, :])
        start = _carry(state, torch.exp(d.sum(0)[..., None] * rate), reverse=False)
        state.copy_(start)
        y = torch.empty_like(d)
        for t in range(chunk):
            torch.mul(d[t, ..., None], rate, out=a)
            state.mul_(a.exp_()).addcmul_(du[t, ..., None], b[t, ..., None, :])
            torch.matmul(state, c[t, ..., None], out=y[t, ..., None])
        ctx.save_for_backward(u, delta, A, B, C, start)
        ctx.chunk = chunk
        return _join(y, length)

    @staticmethod
    def backward(ctx, dy: Tensor):
        u, delta, A, B, C, start = ctx.saved_tensors
        chunk, groups, length = ctx.chunk, B.shape[1], u.shape[2]
        with torch.autocast(u.device.type, enabled=False):
            d = _split(delta, groups, chunk)  # (c, B, G, n, M)
            x = _split(u, groups, chunk)
            gy = _split(dy.to(u.dtype), groups, chunk)
            b = _split(B.flatten(1, 2), groups, chunk)  # (c, B, G, n, N)
            c = _split(C.flatten(1, 2), groups, chunk)
            rate = A.view(groups, 1, -1, A.shape[1])  # (G, 1, M, N)

            def decay(t: int) -> Tensor:
                return torch.exp(d[t, ..., None] * rate)  # (B, G, n, M, N)

            # the adjoint that a chunk hands to the chunk before it, first with nothing coming in from behind
            g = torch.zeros_like(start)
            for t in reversed(range(chunk)):
                g.addcmul_(gy[t, ..., None], c[t, ..., None, :]).mul_(decay(t))
            g = _carry(g, torch.exp(d.sum(0)[..., None] * rate), reverse=True)

            stride = max(1, math.isqrt(chunk))
            snapshots, h = [], start
            for t in range(chunk):
                if t % stride == 0:
                    snapshots.append(h)
                if t + 1 <= (chunk - 1) // stride * stride:
                    h = torch.addcmul(decay(t) * h, (d[t] * x[t])[..., None], b[t, ..., None, :])
            dx, dd = torch.empty_like(x), torch.empty_like(d)
            db, dc = torch.empty_like(b), torch.empty_like(c)
            d_rate = torch.zeros_like(start)
            for first in range((chunk - 1) // stride * stride, -1, -stride):
                last = min(first + stride, chunk)
                before, decays = [snapshots.pop()], []
                for t in range(first, last):
                    decays.append(decay(t))
                    h = decays[-1] * before[-1]
                    before.append(h.addcmul_((d[t] * x[t])[..., None], b[t, ..., None, :]))
                for t in reversed(range(first, last)):
                    h = before.pop()
                    dc[t] = torch.matmul(gy[t, ..., None, :], h).squeeze(-2)
                    g = torch.addcmul(g, gy[t, ..., None], c[t, ..., None, :])
                    db[t] = torch.matmul((d[t] * x[t])[..., None, :], g).squeeze(-2)
                    gb = torch.matmul(g, b[t, ..., None]).squeeze(-1)  # (B, G, n, M)
                    g = g * decays.pop()
                    through = g * before[-1]  # gradient of delta_t A
                    dx[t] = gb * d[t]
                    dd[t] = gb * x[t] + (through * rate).sum(-1)
                    d_rate.addcmul_(through, d[t, ..., None])
        d_A = d_rate.sum((0, 2)).reshape(A.shape)
        dB, dC = (_join(t, length).reshape(B.shape) for t in (db, dc))
        return _join(dx, length), _join(dd, length), d_A, dB, dC, None


def scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, chunk_size: int | None = None) -> Tensor:
    """The recurrence ``h_t = exp(delta_t A) h_{t-1} + delta_t B_t u_t``, ``y_t = C_t . h_t`` in two passes.

    Args:
        u: (B, D, L), float32 or float64.
        delta: (B, D, L).
        A: (D, N).
        B: (B, G, N, L).
        C: (B, G, N, L).
        chunk_size: steps in a chunk; None chooses about sqrt(L).

    Returns:
        y (B, D, L), in the dtype of u.
    """
    chunk = default_chunk(u.shape[2]) if chunk_size is None else chunk_size
    return _Scan.apply(u, delta, A, B, C, min(chunk, max(u.shape[2], 1)))
