"""CrossScaleMambaBlock (CSMB): three dilated branches through one shared VSS block, one branch untouched.

Hoang et al. 2025 (doi 10.1007/s10044-025-01506-w), section on the Cross-Scale Mamba Block.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dermomamba.network.fused_block import mamba_block, wanted
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

    def in_order(self) -> tuple[list[Tensor], list[Tensor]]:
        """The parameters as the fused operator takes them: of the mixers, and of the VSS block."""
        mixers = []
        for name in ("conv_1x7", "conv_7x1", "conv_3x3"):
            convolutions = [mixer.get_submodule(name) for mixer in self.mixers]
            mixers.append(torch.cat([c.get_parameter("weight").flatten(1) for c in convolutions]))  # (3D, taps)
            mixers.append(torch.cat([c.get_parameter("bias") for c in convolutions]))  # (3D,)
        return mixers, self.vss.in_order()

    def forward(self, x: Tensor) -> Tensor:
        if wanted(x, x.shape[1] // 4, self.vss.ss2d.A_logs.shape[-1]):
            return self.fused(x)
        return F.relu(self.norm(self.before_norm(x)))

    def before_norm(self, x: Tensor) -> Tensor:
        """What BatchNorm gets: (B, C, H, W)."""
        *branches, untouched = x.chunk(4, dim=1)  # 4 x (B, C/4, H, W)
        stacked = torch.cat([mixer(b) for mixer, b in zip(self.mixers, branches, strict=True)])  # (3B, C/4, H, W)
        stacked = self.vss(stacked.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)  # (3B, C/4, H, W)
        return torch.cat([*stacked.chunk(3, dim=0), untouched], dim=1)  # (B, C, H, W)

    def fused(self, x: Tensor) -> Tensor:
        """``forward`` in one operator, see ``fused_block.py``; for inference with BatchNorm and ReLU inside it."""
        if self.norm.training or self.norm.running_var is None or torch.is_grad_enabled():
            eps = self.vss.norm.eps, self.vss.ss2d.out_norm.eps
            return F.relu(self.norm(mamba_block(x, *self.in_order(), *eps)))
        return mamba_block(x, *self.folded())

    def folded(self) -> tuple[list[Tensor], list[Tensor], float, float, tuple[Tensor, Tensor]]:
        """``mamba_block``'s arguments behind x for inference, BatchNorm's scale and shift (C,) last."""
        norm, mean, variance = self.norm, self.norm.running_mean, self.norm.running_var
        assert mean is not None
        assert variance is not None
        scale = norm.weight * torch.rsqrt(variance + norm.eps)
        affine = scale, norm.bias - mean * scale
        return (*self.in_order(), self.vss.norm.eps, self.vss.ss2d.out_norm.eps, affine)
