"""DermoMamba without one of its parts, to learn what the part is worth; the network itself is not touched.

The paper's own ablation (Hoang et al. 2025, doi 10.1007/s10044-025-01506-w) takes out its blocks one by one. Each
part is replaced by the plainest thing of the same shape; Guide Fusion is a loss, so it is left out in the recipe
(``loss: plain``).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dermomamba.network.dermomamba import IMAGE_SIZE, WIDTHS, DermoMamba

PARTS = ("CSMB", "SweepMamba", "CBAM")


class PlainBlock(nn.Sequential):
    """In place of a CSMB: Conv3x3, BatchNorm, ReLU.

    Args:
        channels: channels C.

    Shape:
        input and output (B, C, H, W).
    """

    def __init__(self, channels: int) -> None:
        super().__init__(nn.Conv2d(channels, channels, 3, padding="same"), nn.BatchNorm2d(channels), nn.ReLU())


class OpenGate(nn.Module):
    """In place of a CBAM: the skip as it is, with gates of 1."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return x, torch.ones_like(x[:, :, :1, :1]), torch.ones_like(x[:, :1])


def without(part: str, image_size: tuple[int, int] = IMAGE_SIZE) -> DermoMamba:
    """A new network with one part replaced.

    Args:
        part: one of ``PARTS``. "CSMB": a plain convolution in each encoder stage; "SweepMamba": PCAM's sum goes on
            as it is; "CBAM": the skips are not gated.
        image_size: (height, width), multiples of 32.

    Raises:
        ValueError: there is no such part.
    """
    network = DermoMamba(image_size)
    if part == "CSMB":
        for stage, channels in zip(network.encoder, WIDTHS[:-1], strict=True):
            stage.res_mamba.block = PlainBlock(channels)  # type: ignore[union-attr]
    elif part == "SweepMamba":
        network.sweep = nn.Identity()  # type: ignore[assignment]
    elif part == "CBAM":
        network.gates = nn.ModuleList(OpenGate() for _ in network.gates)
    else:
        raise ValueError(f"there is no part {part!r}; parts are {', '.join(PARTS)}")
    return network
