"""Augmentation: what it must keep, and that every amount of nothing changes nothing."""

from __future__ import annotations

import dataclasses
import math

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


def test_a_window_has_the_aspect_of_the_output_and_the_area_of_its_share() -> None:
    """In a square picture, a crop of half its height covers 1/2 x 2/3 of it and keeps a disc round."""
    y, x = torch.meshgrid(torch.arange(96.0), torch.arange(96.0), indexing="ij")
    disc = (((x - 47.5) ** 2 + (y - 47.5) ** 2) < 10**2).to(torch.uint8) * 255
    masks = disc.expand(32, -1, -1).contiguous()
    images = masks[..., None].expand(-1, -1, -1, 3).contiguous()
    _, t = Augment(NOTHING)(images, masks, generator(1), size=(48, 64), window=(0.5, 0.5))
    assert t.shape == (32, 1, 48, 64)
    inside = (t[:, 0] >= 0.5).float()
    whole = inside[inside.sum((1, 2)) >= inside.sum((1, 2)).max() - 4]  # those that the crop did not cut
    assert len(whole) > 4
    assert whole.sum((1, 2)).mean().item() == pytest.approx(math.pi * 10**2, rel=0.03)  # 48 px for half of 96: no zoom
    rows, columns = (whole.any(dim=d).sum(1).float().mean().item() for d in (2, 1))
    assert rows == pytest.approx(columns, abs=0.6)
    places = {tuple(m.nonzero().float().mean(0).round().tolist()) for m in whole}
    assert len(places) > 3


def test_a_window_never_leaves_the_picture() -> None:
    masks = torch.full((16, 32, 32), 255, dtype=torch.uint8)
    masks[:, :1], masks[:, -1:] = 0, 0
    images = masks[..., None].expand(-1, -1, -1, 3).contiguous()
    _, t = Augment(NOTHING)(images, masks, generator(2), size=(24, 32), window=(0.75, 1.0))
    # the widest crop of this aspect is 3/4 of the height: a frame row may show at one end only
    top, bottom = t[:, 0, 0].mean(1) < 0.9, t[:, 0, -1].mean(1) < 0.9
    assert not (top & bottom).any()


def test_constancy_moves_the_light_towards_white_and_leaves_white_light_alone() -> None:
    images = torch.empty(16, 8, 8, 3, dtype=torch.uint8)
    images[..., 0], images[..., 1], images[..., 2] = 180, 120, 90
    masks = torch.zeros(16, 8, 8, dtype=torch.uint8)
    x, _ = Augment(dataclasses.replace(NOTHING, constancy=1.0))(images, masks, generator(3))
    before = images[:, 0, 0].float() / 255
    share = (before[:, 0] - x[:, 0, 0, 0]) / (before[:, 0] - before.mean(1))  # 0 unmoved, 1 white
    assert share.min() >= -1e-4
    assert share.max() <= 1 + 1e-4
    assert share.std() > 0.1
    gray = torch.full((4, 8, 8, 3), 100, dtype=torch.uint8)
    x, _ = Augment(dataclasses.replace(NOTHING, constancy=1.0))(gray, masks[:4], generator(4))
    torch.testing.assert_close(x, torch.full_like(x, 100 / 255), atol=1e-5, rtol=0)


def test_a_ruler_is_drawn_from_its_own_bank() -> None:
    images, masks = pair(2)
    ruler = torch.zeros(1, 48, 64, dtype=torch.uint8)
    ruler[0, 3] = 255
    x, t = Augment(dataclasses.replace(NOTHING, ruler=1.0), None, ruler)(images, masks, generator(1))
    before, unmoved = to_float(images, masks)
    assert (x[:, :, 3] < before[:, :, 3]).all()
    torch.testing.assert_close(x[:, :, 5:], before[:, :, 5:], atol=1e-5, rtol=0)
    torch.testing.assert_close(t, unmoved, atol=1e-5, rtol=0)
