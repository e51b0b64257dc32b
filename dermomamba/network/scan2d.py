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
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dermomamba.network import around_probe, fused_host, vss_conv_fused, vss_fused
from dermomamba.scan import backend_for, cross_scan

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

    def forward(self, x: Tensor, norm: nn.LayerNorm | None = None, residual: Tensor | None = None) -> Tensor:
        """``residual + SS2D(norm(x))``; where the scan runs fused, everything around it does too.

        Args:
            x: (B, H, W, D).
            norm: applied to x first.
            residual: (B, H, W, D), added to the result.
        """
        fits = x.dtype in fused_host.DTYPES and x.shape[-1] <= vss_fused.WIDEST
        if fits and backend_for(x.device) == "fused" and around_probe.usable(x.device):
            return self.around(x, norm, residual)
        y = self.plain(x if norm is None else norm(x))
        return y if residual is None else residual + y

    def _scan(self, x: Tensor) -> Tensor:
        return cross_scan(x, self.x_proj_weight, self.dt_projs_weight, self.dt_projs_bias, self.A_logs, self.Ds)

    def around(self, x: Tensor, norm: nn.LayerNorm | None, residual: Tensor | None) -> Tensor:
        """``forward`` from fused operators; u, y and z are in autocast's dtype, as its matrix products would be."""
        kind = x.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
        gamma, beta, eps = (None, None, 0.0) if norm is None else (norm.weight, norm.bias, norm.eps)
        u, z = vss_fused.norm_in_proj(x, gamma, beta, self.in_proj.weight, eps, dtype)
        y = self._scan(vss_conv_fused.conv3_silu(u, self.conv2d.weight, cast(Tensor, self.conv2d.bias)))  # (B, E, H, W)
        out = self.out_norm
        return vss_fused.gated_out_proj(y, z, out.weight, out.bias, self.out_proj.weight, residual, out.eps)

    def plain(self, x: Tensor) -> Tensor:
        """SS2D from PyTorch's own operations and the scan."""
        x, z = self.in_proj(x).chunk(2, dim=-1)  # (B, H, W, E) each
        x = F.silu(self.conv2d(x.permute(0, 3, 1, 2)))  # (B, E, H, W)
        y = self._scan(x)  # (B, E, H, W)
        y = self.out_norm(y.permute(0, 2, 3, 1))  # (B, H, W, E)
        return self.out_proj(y * F.silu(z))  # (B, H, W, D)


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

    def forward(self, x: Tensor) -> Tensor:
        return self.ss2d(x, norm=self.norm, residual=x)
