"""ResMamba and the stages of the U: what one encoder level and one decoder level do.

Hoang et al. 2025 (doi 10.1007/s10044-025-01506-w), figure 1 and the section on the encoder and decoder.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from dermomamba.network.cross_scale import CrossScaleMambaBlock


class ResMamba(nn.Module):
    """``b = CSMB(x)``; ``LeakyReLU(InstanceNorm(Conv3x3(b))) + s b``: the residual is the CSMB's output.

    Args:
        channels: channels C.

    Shape:
        input and output (B, C, H, W).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block = CrossScaleMambaBlock(channels)
        self.conv = nn.Conv2d(channels, channels, 3, padding="same")
        self.norm = nn.InstanceNorm2d(channels, affine=True)
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        b = self.block(x)
        return F.leaky_relu(self.norm(self.conv(b)), 0.01) + b * self.scale


class EncoderStage(nn.Module):
    """ResMamba, then a convolution that doubles the channels; the result is the skip, its max-pool goes on.

    Args:
        channels: channels C of the input; the outputs have 2 C.

    Shape:
        input (B, C, H, W); outputs: next (B, 2C, H/2, W/2), skip (B, 2C, H, W).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.res_mamba = ResMamba(channels)
        self.conv = nn.Conv2d(channels, 2 * channels, 3, padding="same")
        self.norm = nn.BatchNorm2d(2 * channels)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        skip = F.relu(self.norm(self.conv(self.res_mamba(x))))
        if skip.requires_grad:  # the skip is kept anyway: 64-bit indices beside it would cost as much memory again
            return checkpoint(F.max_pool2d, skip, 2, use_reentrant=False, preserve_rng_state=False), skip
        return F.max_pool2d(skip, 2), skip


class DecoderStage(nn.Module):
    """Nearest up-sampling, concatenation with the gated skip, 1x1 then 3x3 convolution, GELU, BatchNorm.

    Args:
        channels: channels C of the output; both inputs have 2 C.

    Shape:
        inputs (B, 2C, H, W) and skip (B, 2C, 2H, 2W); output (B, C, 2H, 2W).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fuse = nn.Conv2d(4 * channels, 2 * channels, 1)
        self.conv = nn.Conv2d(2 * channels, channels, 3, padding="same")
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        x = self.fuse(torch.cat([x, skip], dim=1))  # (B, 2C, 2H, 2W)
        return self.norm(F.gelu(self.conv(x)))
