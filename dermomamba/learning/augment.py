"""Augmentation on the device, a whole batch at once: geometry, colour, hair, vignette.

Images and masks stay uint8 on the device until they are drawn; every random number comes from one
generator, so that a run can be repeated. The ideas are the field's usual ones: flips, rotation and scale
(Hoang et al. 2025, protocol), elastic deformation (Ronneberger et al. 2015, doi
10.1007/978-3-319-24574-4_28), colour jitter for cameras and light (colour constancy: Barata et al. 2015, doi
10.1109/JBHI.2014.2336473), and synthetic hair.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class AugmentSettings:
    """How strongly images are varied; every amount is the largest, drawn uniformly around nothing.

    Attributes:
        flip: probability of each of the two mirrorings.
        rotate: degrees.
        scale: log2 of the zoom.
        aspect: log2 of the stretch of width against height.
        shift: fraction of the picture's side.
        shear: tangent of the shear angle.
        elastic: fraction of the picture's height that a coarse 4 x 5 grid of points is displaced by (std).
        brightness, contrast, saturation: relative change.
        gain: relative change of each colour channel on its own (light and camera).
        gamma: log2 of the exponent.
        sharpen: blur (negative) to unsharp mask (positive), in units of the picture's detail.
        noise: std of the largest noise, in [0, 1].
        vignette: probability of darkened corners.
        hair: probability of drawn hair, where a bank of hair masks is given.
        ruler: probability of a drawn ruler, where a bank of ruler masks is given.
        constancy: probability that the light is moved towards white (Shades of Gray with p = 6: Finlayson and
            Trezzi 2004, CIC 12:37-41), by a random share of the way.
        gray: probability of a picture without colour.
    """

    flip: float = 0.5
    rotate: float = 30.0
    scale: float = 0.35
    aspect: float = 0.2
    shift: float = 0.1
    shear: float = 0.1
    elastic: float = 0.01
    brightness: float = 0.15
    contrast: float = 0.2
    saturation: float = 0.25
    gain: float = 0.08
    gamma: float = 0.3
    sharpen: float = 0.6
    noise: float = 0.02
    vignette: float = 0.15
    hair: float = 0.15
    ruler: float = 0.0
    constancy: float = 0.0
    gray: float = 0.03


class Augment:
    """Turn stored uint8 pairs into varied float pairs.

    Args:
        settings: how strongly.
        hair_bank: (n, H, W) uint8 opacities of drawn hair on the device, or None.
        ruler_bank: the same of drawn rulers.
    """

    def __init__(
        self, settings: AugmentSettings, hair_bank: Tensor | None = None, ruler_bank: Tensor | None = None
    ) -> None:
        self.settings = settings
        self.hair_bank = hair_bank
        self.ruler_bank = ruler_bank

    def __call__(
        self,
        images: Tensor,
        masks: Tensor,
        generator: torch.Generator,
        size: tuple[int, int] | None = None,
        window: tuple[float, float] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Vary a batch.

        Args:
            images: (B, h, w, 3) uint8.
            masks: (B, h, w) uint8 in 0..255.
            generator: on the images' device.
            size: (H, W) of what comes out; None for (h, w).
            window: (least, most) height of a random crop as a share of h, of the aspect of ``size`` in the
                pictures' square pixels; None for the whole picture, squeezed.

        Returns:
            images (B, 3, H, W) float32 in [0, 1] and masks (B, 1, H, W) float32 in [0, 1].
        """
        x, t = to_float(images, masks)
        grid = self._grid(x, generator, size or (x.shape[2], x.shape[3]), window)
        x = F.grid_sample(x, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
        t = F.grid_sample(t, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
        return self._colour(x, generator), t

    def _grid(
        self, x: Tensor, generator: torch.Generator, size: tuple[int, int], window: tuple[float, float] | None
    ) -> Tensor:
        """Sampling positions (B, H, W, 2) in [-1, 1]: affine in isotropic coordinates, then elastic, then the crop."""
        s, batch, (height, width) = self.settings, len(x), size

        def draw(*shape: int) -> Tensor:  # uniform in [-1, 1]
            return torch.rand(batch, *shape, generator=generator, device=x.device) * 2 - 1

        angle = draw() * math.radians(s.rotate)
        zoom, aspect = draw() * s.scale, draw() * s.aspect / 2
        mirror = torch.where(draw(2).abs() < s.flip, -1.0, 1.0)
        across, down = mirror[:, 0] * 2 ** (aspect - zoom), mirror[:, 1] * 2 ** (-aspect - zoom)
        cos, sin, shear = angle.cos(), angle.sin(), draw() * s.shear
        ratio = width / height
        affine = torch.stack(  # rotation o shear o scale, between frames of different aspect
            [
                torch.stack([cos * across, (shear * cos - sin) * down / ratio, draw() * s.shift], dim=1),
                torch.stack([sin * across * ratio, (shear * sin + cos) * down, draw() * s.shift], dim=1),
            ],
            dim=1,
        )  # (B, 2, 3)
        grid = F.affine_grid(affine, [batch, 1, height, width], align_corners=False)
        if s.elastic:
            knots = torch.randn(batch, 2, 4, 5, generator=generator, device=x.device) * (2 * s.elastic)
            field = F.interpolate(knots, size=(height, width), mode="bicubic", align_corners=True)
            grid = grid + field.permute(0, 2, 3, 1)
        if window is not None:
            wider = ratio * x.shape[2] / x.shape[3]  # a crop's share of the width over that of the height
            tall = (window[0] + (window[1] - window[0]) * (draw() + 1) / 2).clamp(max=min(1.0, 1 / wider))
            cut = torch.stack([tall * wider, tall], dim=1)  # (B, 2) share of the picture, (x, y)
            grid = grid * cut[:, None, None] + (draw(2) * (1 - cut))[:, None, None]
        return grid

    def _colour(self, x: Tensor, generator: torch.Generator) -> Tensor:
        s, (batch, _, height, width) = self.settings, x.shape

        def draw(*shape: int) -> Tensor:
            return torch.rand(batch, *shape, generator=generator, device=x.device) * 2 - 1

        def chance(probability: float) -> Tensor:
            return (draw(1, 1, 1).abs() < probability).to(x.dtype)  # (B, 1, 1, 1)

        if s.hair and self.hair_bank is not None:
            x = self._drawn(x, self.hair_bank, chance(s.hair), generator)
        if s.ruler and self.ruler_bank is not None:
            x = self._drawn(x, self.ruler_bank, chance(s.ruler), generator)
        if s.constancy:
            light = (x**6).mean(dim=(2, 3), keepdim=True).clamp_min(1e-12) ** (1 / 6)  # (B, 3, 1, 1)
            white = light.mean(dim=1, keepdim=True) / light
            x = x * (1 + chance(s.constancy) * (draw(1, 1, 1) + 1) / 2 * (white - 1))
        blurred = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), 3, stride=1)
        x = x + s.sharpen * draw(1, 1, 1) * (x - blurred)
        mean = x.mean(dim=(1, 2, 3), keepdim=True)
        x = (x - mean) * (1 + s.contrast * draw(1, 1, 1)) + mean * (1 + s.brightness * draw(1, 1, 1))
        gray = x.mean(dim=1, keepdim=True)
        x = gray + (x - gray) * (1 + s.saturation * draw(1, 1, 1)) * (1 - chance(s.gray))
        x = x * (1 + s.gain * draw(3, 1, 1))
        x = x.clamp(0, 1) ** (2 ** (s.gamma * draw(1, 1, 1)))
        if s.vignette:
            x = x * (1 - chance(s.vignette) * self._vignette(height, width, draw(4), x))
        x = x + torch.randn(x.shape, generator=generator, device=x.device) * (s.noise * draw(1, 1, 1))
        return x.clamp(0, 1)

    @staticmethod
    def _vignette(height: int, width: int, numbers: Tensor, like: Tensor) -> Tensor:
        """Darkness (B, 1, H, W) in [0, 1) that grows outside a circle of random centre, size and softness."""
        cx, cy, size, softness = (numbers[:, i, None, None] for i in range(4))
        y = torch.linspace(-1, 1, height, device=like.device)[:, None]
        x = torch.linspace(-1, 1, width, device=like.device) * (width / height)
        radius = ((x - 0.15 * cx) ** 2 + (y - 0.15 * cy) ** 2).sqrt()  # (B, H, W)
        darkness = torch.sigmoid((radius - 1.35 - 0.2 * size) / (0.12 + 0.1 * softness))
        return darkness[:, None]

    @staticmethod
    def _drawn(x: Tensor, bank: Tensor, where: Tensor, generator: torch.Generator) -> Tensor:
        """One dark drawing of the bank over each picture with ``where`` = 1."""
        batch, device = len(x), x.device
        pick = torch.randint(len(bank), (batch,), generator=generator, device=device)
        alpha = bank[pick, None].to(x.dtype) / 255  # (B, 1, H, W)
        shade = torch.rand(batch, 1, 1, 1, generator=generator, device=device) * 0.4
        return x * (1 - where * alpha) + where * alpha * shade


def to_float(images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Stored uint8 to what network and loss take.

    Args:
        images: (B, H, W, 3) uint8.
        masks: (B, H, W) uint8 in 0..255.

    Returns:
        images (B, 3, H, W) and masks (B, 1, H, W), float32 in [0, 1].
    """
    return images.permute(0, 3, 1, 2).float() / 255, masks[:, None].float() / 255
