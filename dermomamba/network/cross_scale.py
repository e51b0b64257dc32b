"""CrossScaleMambaBlock (CSMB): three dilated branches through one shared VSS block, one branch untouched.

Hoang et al. 2025 (doi 10.1007/s10044-025-01506-w), section on the Cross-Scale Mamba Block.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dermomamba.network.scan2d import VSSBlock

DILATIONS = (1, 2, 3)


class AxialMixer(nn.Module):
    """Depth-wise axial mixing: ``x + Conv3x3(Conv7x1(Conv1x7(x)))``, all with one dilation.

    Args:
        channels: channels C.
        dilation: dilation of the three convolutions.

    Shape:
        input and output (B, C, H, W).
    """

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()

        def depthwise(kernel: tuple[int, int]) -> nn.Conv2d:
            return nn.Conv2d(channels, channels, kernel, padding="same", groups=channels, dilation=dilation)

        self.conv_1x7 = depthwise((1, 7))
        self.conv_7x1 = depthwise((7, 1))
        self.conv_3x3 = depthwise((3, 3))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_3x3(self.conv_7x1(self.conv_1x7(x)))


class CrossScaleMambaBlock(nn.Module):
    """Four channel groups: dilation 1, 2, 3 through one VSS block, the fourth passes; then BatchNorm, ReLU.

    The three branches share the VSS block, so they run as one batch of 3 B.

    Args:
        channels: channels C, a multiple of 4.

    Shape:
        input and output (B, C, H, W).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        if channels % 4:
            raise ValueError(f"channels must be a multiple of 4, got {channels}")
        self.mixers = nn.ModuleList(AxialMixer(channels // 4, dilation) for dilation in DILATIONS)
        self.vss = VSSBlock(channels // 4)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        *branches, untouched = x.chunk(4, dim=1)  # 4 x (B, C/4, H, W)
        stacked = torch.cat([mixer(b) for mixer, b in zip(self.mixers, branches, strict=True)])  # (3B, C/4, H, W)
        stacked = self.vss(stacked.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)  # (3B, C/4, H, W)
        x = torch.cat([*stacked.chunk(3, dim=0), untouched], dim=1)  # (B, C, H, W)
        return F.relu(self.norm(x))
