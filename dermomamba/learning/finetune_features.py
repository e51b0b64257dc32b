"""What a step of fine-tuning is computed from: the encoder's features, kept, or the photos themselves.

While the encoder does not learn, its features of one picture are always the same, so they are computed once. They
cannot be augmented afterwards; instead each photo is kept in a small fixed number of variants, the photo as it is and
others drawn by the training augmentation (mirrored, turned, zoomed, recoloured), and an epoch takes one of them.
Features are kept as float16: 6 MB for a picture of 192 x 256.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from dermomamba.learning.augment import Augment, to_float
from dermomamba.learning.finetune_data import Examples
from dermomamba.network import DermoMamba


class Samples(Protocol):
    """Numbered examples: the person's, then the rehearsal's."""

    def __len__(self) -> int: ...

    def logits(self, network: DermoMamba, batch: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The network's answer for the examples of these numbers, and the truth, both (B, 1, H, W)."""
        ...


class Photos:
    """The pictures themselves, augmented anew in each step: for when everything learns.

    Args:
        own: the person's examples.
        extra: rehearsal examples.
        augment: how they are varied.
    """

    def __init__(self, own: Examples, extra: Examples, augment: Augment) -> None:
        self.images = torch.cat([own.images, extra.images])
        self.masks = torch.cat([own.masks, extra.masks])
        self.augment = augment

    def __len__(self) -> int:
        return len(self.images)

    def logits(self, network: DermoMamba, batch: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """See ``Samples``; the whole network runs."""
        x, t = self.augment(self.images[batch], self.masks[batch], generator)
        return network(x), t


class CachedFeatures:
    """The frozen encoder's features of every variant of every example.

    Args:
        network: its encoder is run in evaluation mode, without gradients.
        own: the person's examples; each is kept in ``variants`` variants, the first unchanged.
        extra: rehearsal examples, kept unchanged.
        augment: draws the other variants.
        variants: at least 1.
        seed: of the variants.
        tick: called with the share done, in [0, 1], after each few pictures; returning True ends the work early,
            and the features are then not to be used.
    """

    def __init__(
        self,
        network: DermoMamba,
        own: Examples,
        extra: Examples,
        augment: Augment,
        variants: int = 4,
        seed: int = 0,
        tick: Callable[[float], bool] = lambda done: False,
    ) -> None:
        self.own, self.total, self.variants = len(own), len(own) + len(extra), variants
        device = own.images.device
        generator = torch.Generator(device).manual_seed(seed)
        rows = [(own, variant > 0, i) for variant in range(variants) for i in range(len(own))]
        rows += [(extra, False, i) for i in range(len(extra))]
        self.features: list[Tensor] = []  # the encoder's output, then the five skips; (rows, C, h, w) float16 each
        self.targets = torch.empty(len(rows), 1, *network.image_size, device=device)
        for row, (examples, vary, i) in enumerate(rows):
            if tick(row / len(rows)):
                break
            pair = examples.images[i : i + 1], examples.masks[i : i + 1]
            x, t = augment(*pair, generator) if vary else to_float(*pair)
            with torch.no_grad():
                deep, skips = network.encode(x)
            if not self.features:
                shapes = [(len(rows), *part.shape[1:]) for part in (deep, *skips)]
                self.features = [torch.empty(shape, dtype=torch.float16, device=device) for shape in shapes]
            for stored, part in zip(self.features, (deep, *skips), strict=True):
                stored[row] = part[0]
            self.targets[row] = t[0]

    def __len__(self) -> int:
        return self.total

    def rows(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Where one variant, drawn at random, of each of these examples is kept; rehearsal has only one."""
        variant = torch.randint(self.variants, batch.shape, generator=generator, device=batch.device)
        return torch.where(batch < self.own, variant * self.own + batch, (self.variants - 1) * self.own + batch)

    def decode(self, network: DermoMamba, rows: Tensor) -> Tensor:
        """Logits (B, 1, H, W) of kept features."""
        deep, *skips = (part[rows].float() for part in self.features)
        return network.decode(deep, skips)

    def logits(self, network: DermoMamba, batch: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """See ``Samples``; only what comes after the encoder runs."""
        rows = self.rows(batch, generator)
        return self.decode(network, rows), self.targets[rows]
