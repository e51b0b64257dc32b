"""The selective scan as its recurrence, one step at a time: the truth that every other back end is tested against.

Gu and Dao 2023, "Mamba" (arXiv 2312.00752), equations 1-4 and algorithm 2, with zero-order hold for A and
Euler's rule for B, as mamba-ssm computes it. ``prepare`` and ``finish`` (checks, step sizes, skip, gate) are
shared by the back ends; only the recurrence in the middle differs.

Symbols and shapes: batch B, channels D, groups G (D / G channels share B and C), states N, length L.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Recurrence:
    """What the recurrence needs, checked and in the computing dtype (float64 stays float64, else float32).

    Attributes:
        u: (B, D, L) input.
        delta: (B, D, L) step sizes, bias added and softplus applied.
        A: (D, N) decay rates.
        B: (B, G, N, L) input weights.
        C: (B, G, N, L) output weights.
    """

    u: Tensor
    delta: Tensor
    A: Tensor
    B: Tensor
    C: Tensor


def prepare(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, delta_bias: Tensor | None, delta_softplus: bool
) -> Recurrence:
    """Check the shapes, choose the computing dtype and turn ``delta`` into step sizes.

    Args:
        u: (B, D, L).
        delta: (B, D, L).
        A: (D, N).
        B: (B, N, L) or (B, G, N, L).
        C: as B.
        delta_bias: (D,) or None.
        delta_softplus: whether step sizes are softplus(delta + bias).

    Returns:
        The recurrence's operands.

    Raises:
        ValueError: shapes that do not belong together.
    """
    if u.ndim != 3 or delta.shape != u.shape:
        raise ValueError(f"u and delta must both be (B, D, L), not {tuple(u.shape)} and {tuple(delta.shape)}")
    batch, channels, length = u.shape
    if A.ndim != 2 or A.shape[0] != channels:
        raise ValueError(f"A must be (D, N) with D = {channels}, not {tuple(A.shape)}")
    if B.shape != C.shape:
        raise ValueError(f"B and C must have one shape, not {tuple(B.shape)} and {tuple(C.shape)}")
    if B.ndim == 3:
        B, C = B.unsqueeze(1), C.unsqueeze(1)
    groups = B.shape[1] if B.ndim == 4 else 0
    if groups < 1 or channels % groups or B.shape != (batch, groups, A.shape[1], length):
        raise ValueError(
            f"B and C must be (B, N, L) or (B, G, N, L) with B = {batch}, N = {A.shape[1]}, L = {length} "
            f"and G dividing {channels}, not {tuple(B.shape)}"
        )
    dtype = torch.float64 if u.dtype == torch.float64 else torch.float32
    step = delta.to(dtype)
    if delta_bias is not None:
        step = step + delta_bias.to(dtype)[:, None]
    if delta_softplus:
        step = F.softplus(step)
    return Recurrence(u.to(dtype), step, A.to(dtype), B.to(dtype), C.to(dtype))


def finish(y: Tensor, u: Tensor, D: Tensor | None, z: Tensor | None, dtype: torch.dtype) -> Tensor:
    """Add the skip ``D u``, apply the gate ``SiLU(z)`` and return to the caller's dtype.

    Args:
        y: (B, D, L) what the recurrence gave.
        u: (B, D, L) its input, in y's dtype.
        D: (D,) or None.
        z: (B, D, L) or None.
        dtype: dtype of the result.

    Returns:
        (B, D, L) in ``dtype``.
    """
    if D is not None:
        y = torch.addcmul(y, u, D.to(y.dtype)[:, None])
    if z is not None:
        y = y * F.silu(z.to(y.dtype))
    return y.to(dtype)


def scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """``h_t = exp(delta_t A) h_{t-1} + delta_t B_t u_t`` and ``y_t = C_t . h_t``, with h_0 = 0.

    Differentiable by autograd, at the price of keeping every step: for tests and teaching, not for images.

    Args:
        u: (B, D, L).
        delta: (B, D, L).
        A: (D, N).
        B: (B, G, N, L).
        C: (B, G, N, L).

    Returns:
        y (B, D, L), in the dtype of u.
    """
    per_group = u.shape[1] // B.shape[1]
    h = u.new_zeros(u.shape[0], u.shape[1], A.shape[1])  # (B, D, N)
    steps = []
    for t in range(u.shape[2]):
        b = B[..., t].repeat_interleave(per_group, dim=1)  # (B, D, N)
        c = C[..., t].repeat_interleave(per_group, dim=1)
        step = delta[:, :, t, None]  # (B, D, 1)
        h = torch.exp(step * A) * h + step * b * u[:, :, t, None]
        steps.append((h * c).sum(-1))  # (B, D)
    return torch.stack(steps, dim=-1)
