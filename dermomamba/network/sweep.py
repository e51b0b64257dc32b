"""SweepMamba: the bottleneck scanned along three views of one tensor.

Hoang et al. 2025 (doi 10.1007/s10044-025-01506-w), section on the Sweep-Mamba block. Two of its scans take
the height and the width as channels, which ties the weights to one input size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dermomamba.network.scan2d import SS2D


class SweepMamba(nn.Module):
    """Scan (H, W, C), (W, C, H) and (C, H, W), gate the sum, add the scaled input.

    Args:
        channels: channels C of the input and output.
        height: height H of the bottleneck (image height / 32).
        width: width W of the bottleneck (image width / 32).
        ratio: C / channels inside.

    Shape:
        input and output (B, C, H, W).
    """

    def __init__(self, channels: int, height: int, width: int, ratio: int = 8) -> None:
        super().__init__()
        inner = channels // ratio
        self.norm_in = nn.LayerNorm(channels)
        self.proj_in = nn.Linear(channels, inner)
        self.scan_hwc = SS2D(inner)
        self.scan_wch = SS2D(height)
        self.scan_chw = SS2D(width)
        self.proj_out = nn.Linear(inner, channels)
        self.scale = nn.Parameter(torch.ones(1))
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)  # (B, H, W, C)
        u = self.proj_in(self.norm_in(x))  # (B, H, W, c)
        y = self.scan_hwc(u)
        y = y + self.scan_wch(u.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)  # (B, W, c, H) and back
        y = y + self.scan_chw(u.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)  # (B, c, H, W) and back
        x = self.proj_out(F.silu(u) * y) + x * self.scale  # (B, H, W, C)
        return F.relu(self.norm(x.permute(0, 3, 1, 2)))
