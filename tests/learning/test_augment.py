"""Augmentation: what it must keep, and that every amount of nothing changes nothing."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from dermomamba.learning.augment import Augment, AugmentSettings, to_float

NOTHING = AugmentSettings(**dict.fromkeys((f.name for f in dataclasses.fields(AugmentSettings)), 0.0))


def pair(batch: int = 2, height: int = 48, width: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    """A disc, darker than its ground, off the centre."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    disc = ((x - 38) ** 2 + (y - 20) ** 2 < 144).to(torch.uint8)
    image = (200 - 120 * disc)[..., None].expand(-1, -1, 3)
    return image.expand(batch, -1, -1, -1).contiguous(), (255 * disc).expand(batch, -1, -1).contiguous()


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_amounts_of_nothing_change_nothing() -> None:
    images, masks = pair()
    x, t = Augment(NOTHING)(images, masks, generator())
    expected = to_float(images, masks)
    torch.testing.assert_close(x, expected[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(t, expected[1], atol=1e-5, rtol=0)


def test_all_of_it_stays_in_range_and_repeats_with_its_seed() -> None:
    images, masks = pair(4)
    hair = torch.randint(256, (3, 48, 64), dtype=torch.uint8, generator=generator(1))
    augment = Augment(AugmentSettings(hair=1.0, vignette=1.0), hair)
    x, t = augment(images, masks, generator(5))
    assert x.shape == (4, 3, 48, 64)
    assert t.shape == (4, 1, 48, 64)
    assert x.min() >= 0
    assert x.max() <= 1
    assert t.min() >= 0
    assert t.max() <= 1
    again = augment(images, masks, generator(5))
    assert torch.equal(x, again[0])
    assert torch.equal(t, again[1])
    assert not torch.equal(x, augment(images, masks, generator(6))[0])


@pytest.mark.parametrize(
    "change", [{"flip": 1.0}, {"rotate": 180.0}, {"shear": 0.2}, {"elastic": 0.02}, {"shift": 0.1}]
)
def test_the_mask_moves_with_the_image(change: dict[str, float]) -> None:
    images, masks = pair(8)
    x, t = Augment(dataclasses.replace(NOTHING, **change))(images, masks, generator(2))
    from_image = (x.mean(dim=1, keepdim=True) < 140 / 255).float()  # the disc is dark
    overlap = (from_image * (t >= 0.5)).sum((1, 2, 3)) / torch.maximum(from_image, (t >= 0.5).float()).sum((1, 2, 3))
    assert overlap.min() > 0.97
    assert not torch.equal(t[0], to_float(images, masks)[1][0])


def test_a_rotated_disc_stays_a_disc() -> None:
    """Rotation is done in isotropic coordinates, although the frame is not square."""
    images, masks = pair(16)
    _, t = Augment(dataclasses.replace(NOTHING, rotate=30.0))(images, masks, generator(3))
    inside = (t[:, 0] >= 0.5).float()
    y, x = torch.meshgrid(torch.arange(48.0), torch.arange(64.0), indexing="ij")
    for mask in inside:
        mx, my = (mask * x).sum() / mask.sum(), (mask * y).sum() / mask.sum()
        ratio = (mask * (x - mx) ** 2).sum() / (mask * (y - my) ** 2).sum()
        assert ratio == pytest.approx(1, abs=0.06)


def test_zoom_changes_the_area_by_its_square() -> None:
    images, masks = pair(64)
    _, t = Augment(dataclasses.replace(NOTHING, scale=0.5))(images, masks, generator(4))
    ratio = t.sum((1, 2, 3)) / to_float(images, masks)[1].sum((1, 2, 3))
    assert ratio.min() >= 0.9 / 2
    assert ratio.max() <= 1.1 * 2
    assert ratio.max() > 1.5
    assert ratio.min() < 0.67


def test_hair_is_darker_only_where_it_is_drawn() -> None:
    images, masks = pair(2)
    hair = torch.zeros(1, 48, 64, dtype=torch.uint8)
    hair[0, :, 5] = 255
    x, _ = Augment(dataclasses.replace(NOTHING, hair=1.0), hair)(images, masks, generator(1))
    before = to_float(images, masks)[0]
    assert (x[..., 5] < before[..., 5]).all()
    torch.testing.assert_close(x[..., 7:], before[..., 7:], atol=1e-5, rtol=0)
