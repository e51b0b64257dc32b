"""CBAM on the skips and PCAM in the bottleneck.

CBAM: Woo et al. 2018 (ECCV, doi 10.1007/978-3-030-01234-2_1), sections 3.1 and 3.2.
PCAM: Hoang et al. 2025 (doi 10.1007/s10044-025-01506-w), the channel attention of the bottleneck.
Both gates are modules of their own that return the gate, so that what is shown is what was multiplied.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ChannelGate(nn.Module):
    """CBAM's channel gate: sigmoid(MLP(average pool) + MLP(max pool)), one MLP for both.

    Args:
        channels: channels C.
        reduction: C / width of the MLP's hidden layer.

    Shape:
        input (B, C, H, W), output (B, C, 1, 1) in (0, 1).
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        self.reduce = nn.Linear(channels, channels // reduction)
        self.expand = nn.Linear(channels // reduction, channels)

    def forward(self, x: Tensor) -> Tensor:
        mean, peak = x.mean(dim=(2, 3)), x.amax(dim=(2, 3))  # (B, C) each
        gate = self.expand(F.relu(self.reduce(mean))) + self.expand(F.relu(self.reduce(peak)))
        return torch.sigmoid(gate)[:, :, None, None]


class SpatialGate(nn.Module):
    """CBAM's spatial gate: sigmoid(BN(Conv7x7([max over channels, mean over channels]))).

    Shape:
        input (B, C, H, W), output (B, 1, H, W) in (0, 1).
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3, bias=False)
        self.norm = nn.BatchNorm2d(1, momentum=0.01)

    def forward(self, x: Tensor) -> Tensor:
        pooled = torch.cat([x.amax(dim=1, keepdim=True), x.mean(dim=1, keepdim=True)], dim=1)  # (B, 2, H, W)
        return torch.sigmoid(self.norm(self.conv(pooled)))


class CBAM(nn.Module):
    """Convolutional Block Attention Module: channel gate first, then spatial gate.

    Args:
        channels: channels C.

    Shape:
        input and output (B, C, H, W).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channel = ChannelGate(channels)
        self.spatial = SpatialGate()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Gate ``x``; returns it gated, with its channel gate (B, C, 1, 1) and spatial gate (B, 1, H, W)."""
        channel = self.channel(x)
        x = x * channel
        spatial = self.spatial(x)
        return x * spatial, channel, spatial


class PCAM(nn.Module):
    """Channel attention from how much a depth-wise 9x9 convolution moves each channel's mean.

    With ``m = mean(x)``, ``y = DWConv9x9(x)``, ``m' = mean(y)``:
    ``output = y * sigmoid(m' * (1 + softmax over channels(m' - m)))``.

    Args:
        channels: channels C.

    Shape:
        input and output (B, C, H, W).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 9, padding="same", groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        before, after = x.mean(dim=(2, 3), keepdim=True), y.mean(dim=(2, 3), keepdim=True)  # (B, C, 1, 1)
        return y * torch.sigmoid(after * (1 + torch.softmax(after - before, dim=1)))
