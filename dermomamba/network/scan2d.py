"""SS2D, the two-dimensional selective scan, and the VSS block around it.

SS2D follows VMamba v0 (Liu et al. 2024, arXiv 2401.10166, section 4.3) on the state-space model of Mamba
(Gu and Dao 2023, arXiv 2312.00752, algorithm 2), with the hyper-parameters of DermoMamba
(Hoang et al. 2025, doi 10.1007/s10044-025-01506-w).

Glossary
    D   d_model, channels of the block's input
    E   d_inner = 2 D, channels that are scanned
    N   d_state = 16, states of each scanned channel
    R   dt_rank = ceil(D / 16), rank of the step-size projection
    K   4 directions: row-major, column-major, and both reversed
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dermomamba.network.fused_block import SS2D_NAMES, mamba_block, wanted
from dermomamba.scan import cross_scan

DIRECTIONS = 4


class SS2D(nn.Module):
    """Selective scan of an image along four directions.

    Args:
        d_model: channels D of the input and output.
        d_state: states N for each channel.
        expand: E / D.

    Shape:
        input and output (B, H, W, D).
    """

    def __init__(self, d_model: int, d_state: int = 16, expand: int = 2) -> None:
        super().__init__()
        inner = expand * d_model
        rank = math.ceil(d_model / 16)
        self.in_proj = nn.Linear(d_model, 2 * inner, bias=False)
        self.conv2d = nn.Conv2d(inner, inner, 3, padding=1, groups=inner)
        self.x_proj_weight = nn.Parameter(torch.empty(DIRECTIONS, rank + 2 * d_state, inner))
        self.dt_projs_weight = nn.Parameter(torch.empty(DIRECTIONS, inner, rank))
        self.dt_projs_bias = nn.Parameter(torch.empty(DIRECTIONS, inner))
        self.A_logs = nn.Parameter(torch.empty(DIRECTIONS * inner, d_state))
        self.Ds = nn.Parameter(torch.ones(DIRECTIONS * inner))
        self.out_norm = nn.LayerNorm(inner)
        self.out_proj = nn.Linear(inner, d_model, bias=False)
        self.reset_parameters()

    def reset_parameters(self, dt_min: float = 1e-3, dt_max: float = 1e-1, dt_floor: float = 1e-4) -> None:
        """Mamba's initial values: A = -(1..N), step sizes log-uniform in [dt_min, dt_max]."""
        rank, n = self.dt_projs_weight.shape[-1], self.A_logs.shape[-1]
        with torch.no_grad():
            bound = self.x_proj_weight.shape[-1] ** -0.5
            self.x_proj_weight.uniform_(-bound, bound)
            self.dt_projs_weight.uniform_(-(rank**-0.5), rank**-0.5)
            log_dt = torch.empty_like(self.dt_projs_bias).uniform_(math.log(dt_min), math.log(dt_max))
            dt = log_dt.exp().clamp_min(dt_floor)
            self.dt_projs_bias.copy_(dt + torch.log(-torch.expm1(-dt)))  # the inverse of softplus
            self.A_logs.copy_(torch.arange(1, n + 1, dtype=torch.float32).log().expand_as(self.A_logs))
            self.Ds.fill_(1.0)

    def in_order(self) -> list[Tensor]:
        """The parameters as the fused operator takes them."""
        return [self.get_parameter(name) for name in SS2D_NAMES]

    def forward(self, x: Tensor) -> Tensor:
        if wanted(x, x.shape[-1], self.A_logs.shape[-1]):
            return self.fused(x)
        x, z = self.in_proj(x).chunk(2, dim=-1)  # (B, H, W, E) each
        x = F.silu(self.conv2d(x.permute(0, 3, 1, 2)))  # (B, E, H, W)
        y = cross_scan(
            x, self.x_proj_weight, self.dt_projs_weight, self.dt_projs_bias, self.A_logs, self.Ds
        )  # (B, E, H, W)
        y = self.out_norm(y.permute(0, 2, 3, 1))  # (B, H, W, E)
        return self.out_proj(y * F.silu(z))  # (B, H, W, D)

    def fused(self, x: Tensor) -> Tensor:
        """The same in one operator, see ``fused_block.py``."""
        y = mamba_block(x.permute(0, 3, 1, 2), [], self.in_order(), out_eps=self.out_norm.eps)  # (B, D, H, W)
        return y.permute(0, 2, 3, 1)  # (B, H, W, D)


class VSSBlock(nn.Module):
    """Visual state-space block: ``x + SS2D(LayerNorm(x))``.

    Args:
        d_model: channels D.

    Shape:
        input and output (B, H, W, D).
    """

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(d_model, eps=1e-6)
        self.ss2d = SS2D(d_model)

    def in_order(self) -> list[Tensor]:
        """The parameters as the fused operator takes them."""
        return [*self.ss2d.in_order(), self.norm.weight, self.norm.bias]

    def forward(self, x: Tensor) -> Tensor:
        if wanted(x, x.shape[-1], self.ss2d.A_logs.shape[-1]):
            return self.fused(x)
        return x + self.ss2d(self.norm(x))

    def fused(self, x: Tensor) -> Tensor:
        """The same in one operator, see ``fused_block.py``."""
        planes = x.permute(0, 3, 1, 2)  # (B, D, H, W)
        y = mamba_block(planes, [], self.in_order(), self.norm.eps, self.ss2d.out_norm.eps)
        return y.permute(0, 2, 3, 1)  # (B, H, W, D)
