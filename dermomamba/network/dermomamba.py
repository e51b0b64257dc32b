"""DermoMamba: the five-level U of Hoang et al. 2025 (doi 10.1007/s10044-025-01506-w).

    stem      Conv1x1 3 -> 16
    encoder   five EncoderStages 16 -> 32 -> 64 -> 128 -> 256 -> 512, each halving the size
    skips     one CBAM each
    bottom    SweepMamba(PCAM(x) + x)
    decoder   five DecoderStages 512 -> 256 -> 128 -> 64 -> 32 -> 16
    head      Conv1x1 16 -> 1

4,953,425 parameters at the paper's input of 192 x 256.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor, nn

from dermomamba.network.attention import CBAM, PCAM
from dermomamba.network.stages import DecoderStage, EncoderStage
from dermomamba.network.sweep import SweepMamba

IMAGE_SIZE = (192, 256)
WIDTHS = (16, 32, 64, 128, 256, 512)
STRIDE = 32


@dataclass
class Gates:
    """CBAM's gates of one forward pass, level 1 (finest) to 5; filled by ``DermoMamba.forward``.

    Attributes:
        channel: five tensors (B, C, 1, 1) in (0, 1), C = 32, 64, 128, 256, 512.
        spatial: five tensors (B, 1, h, w) in (0, 1).
    """

    channel: list[Tensor] = field(default_factory=list)
    spatial: list[Tensor] = field(default_factory=list)


class DermoMamba(nn.Module):
    """The network: RGB in [0, 1] to logits of "this pixel belongs to the lesion".

    Args:
        image_size: (height, width) in pixels, each a multiple of 32. SweepMamba's weights depend on it.

    Shape:
        input (B, 3, H, W) float, output (B, 1, H, W) logits.

    Raises:
        ValueError: the image size is not a multiple of 32, or an input has another size.
    """

    def __init__(self, image_size: tuple[int, int] = IMAGE_SIZE) -> None:
        super().__init__()
        height, width = image_size
        if height < STRIDE or width < STRIDE or height % STRIDE or width % STRIDE:
            raise ValueError(f"image_size must be multiples of {STRIDE}, got {height}x{width}")
        self.image_size = (height, width)
        self.stem = nn.Conv2d(3, WIDTHS[0], 1)
        self.encoder = nn.ModuleList(EncoderStage(c) for c in WIDTHS[:-1])
        self.gates = nn.ModuleList(CBAM(c) for c in WIDTHS[1:])
        self.pcam = PCAM(WIDTHS[-1])
        self.sweep = SweepMamba(WIDTHS[-1], height // STRIDE, width // STRIDE)
        self.decoder = nn.ModuleList(DecoderStage(c) for c in reversed(WIDTHS[:-1]))
        self.head = nn.Conv2d(WIDTHS[0], 1, 1)

    def encode(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Stem and encoder: the part that fine-tuning freezes and caches.

        Args:
            x: (B, 3, H, W) float in [0, 1].

        Returns:
            The encoder's output (B, 512, H/32, W/32) and the five skips before their CBAM, finest first.
        """
        if tuple(x.shape[-2:]) != self.image_size:
            height, width = self.image_size
            raise ValueError(f"this network takes {height}x{width} pixels, got {x.shape[-2]}x{x.shape[-1]}")
        x = self.stem(x)
        skips = []
        for stage in self.encoder:
            x, skip = stage(x)
            skips.append(skip)
        return x, skips

    def decode(self, x: Tensor, skips: list[Tensor], gates: Gates | None = None) -> Tensor:
        """Gates, bottleneck, decoder and head: what ``encode`` returns to logits (B, 1, H, W).

        Args:
            x: (B, 512, H/32, W/32).
            skips: the five skips, finest first.
            gates: filled with CBAM's gates when given; the output does not depend on it.
        """
        gated = []
        for cbam, skip in zip(self.gates, skips, strict=True):
            skip, channel, spatial = cbam(skip)
            gated.append(skip)
            if gates is not None:
                gates.channel.append(channel)
                gates.spatial.append(spatial)
        x = self.sweep(self.pcam(x) + x)
        for stage, skip in zip(self.decoder, reversed(gated), strict=True):
            x = stage(x, skip)
        return self.head(x)

    def forward(self, x: Tensor, gates: Gates | None = None) -> Tensor:
        return self.decode(*self.encode(x), gates=gates)
