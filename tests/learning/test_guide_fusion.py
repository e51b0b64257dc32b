"""Guide Fusion: the boundary map by hand, and what the loss must and must not do."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import distance_transform_edt
from torch.nn import functional as F

from dermomamba import GuideFusionLoss
from dermomamba.explain import guide_map
from dermomamba.learning.guide_fusion import boundary_map, guide_fusion_loss

masks = arrays(bool, st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 11)))


def square(size: int = 32, low: int = 8, high: int = 24) -> torch.Tensor:
    mask = torch.zeros(1, 1, size, size)
    mask[..., low:high, low:high] = 1
    return mask


def test_map_of_a_row_by_hand() -> None:
    mask = torch.tensor([[[0, 0, 0, 1, 1, 0]]])
    expected = torch.tensor([[[1 / 4, 1 / 3, 1 / 2, 1 / 2, 1 / 2, 1 / 2]]])
    torch.testing.assert_close(boundary_map(mask), expected)


def test_map_is_euclidean() -> None:
    mask = torch.zeros(1, 5, 5)
    mask[0, 0, 0] = 1
    assert boundary_map(mask)[0, 3, 4] == pytest.approx(1 / (1 + 5))


@given(masks)
def test_map_equals_scipys_transform(mask: np.ndarray) -> None:
    found = boundary_map(torch.from_numpy(mask)).numpy()
    for image, attention in zip(mask, found, strict=True):
        if image.all() or not image.any():
            assert not attention.any()
        else:
            distance = distance_transform_edt(image) + distance_transform_edt(~image)
            np.testing.assert_allclose(attention, 1 / (1 + distance), rtol=1e-6)
            assert attention.max() == 0.5


@given(masks)
@settings(max_examples=30)
def test_shown_map_is_the_losss_map(mask: np.ndarray) -> None:
    loss_map = boundary_map(torch.from_numpy(mask)).numpy()
    for image, attention in zip(mask, loss_map, strict=True):
        np.testing.assert_allclose(guide_map(image), attention, rtol=1e-5)


def test_map_of_an_image_does_not_depend_on_the_batch() -> None:
    batch = torch.cat([square(), torch.zeros(1, 1, 32, 32), square(low=2, high=30)])
    alone = torch.cat([boundary_map(mask[None]) for mask in batch])
    assert torch.equal(boundary_map(batch), alone)


def test_loss_by_hand() -> None:
    target = torch.tensor([[[[0.0, 0.0, 0.0, 1.0]]]])
    logits = torch.zeros_like(target)
    a = torch.tensor([1 / 4, 1 / 3, 1 / 2, 1 / 2])
    bce = math.log(2)  # every pixel has it, so the weights do not matter
    dice = 1 - (2 * 0.5 + 1) / (4 * 0.5 + 1 + 1)
    edge = 1 - (2 * 0.5 * a[3] + 1) / (0.5 * a.sum() + a[3] + 1)
    assert guide_fusion_loss(logits, target).item() == pytest.approx(bce + dice + edge.item(), rel=1e-6)


def test_published_loss_by_hand() -> None:
    target = torch.tensor([[[[0.0, 0.0, 0.0, 1.0]]]])
    logits = torch.zeros_like(target)
    mean_a = (1 / 4 + 1 / 3 + 1 / 2 + 1 / 2) / 4
    bce = F.binary_cross_entropy_with_logits(torch.full_like(target, 0.5), target)  # sigmoid twice
    dice = 1 - (2 * 0.5 + 1e-3) / (4 * 0.5 + 1 + 1e-3)
    assert guide_fusion_loss(logits, target, "published").item() == pytest.approx(bce.item() + dice * mean_a, rel=1e-5)


def test_published_distances_leak_over_the_batch_ours_do_not() -> None:
    pair = torch.cat([square(), torch.zeros(1, 1, 32, 32)])
    logits = torch.zeros_like(pair)
    leaking = guide_fusion_loss(logits, pair, "published")
    assert not torch.isclose(leaking, guide_fusion_loss(logits, pair, "published", per_image=True))


def test_published_loss_cannot_reach_zero_ours_can() -> None:
    target = square()
    perfect = 40 * (target - 0.5)
    assert guide_fusion_loss(perfect, target) < 1e-3
    assert guide_fusion_loss(perfect, target, "published") > 0.3


def test_published_map_has_no_effect_on_where_the_gradient_is() -> None:
    target, logits = square(), torch.zeros(1, 1, 32, 32)
    inside = {}
    for mode in ("guided", "published"):
        z = logits.clone().requires_grad_()
        guide_fusion_loss(z, target, mode).backward()
        inside[mode] = z.grad[0, 0, 8, 16].item() / z.grad[0, 0, 16, 16].item()  # at the border / in the middle
    assert inside["published"] == pytest.approx(1, rel=1e-5)
    assert inside["guided"] > 2


def test_wrong_border_costs_more_than_as_many_wrong_pixels_far_away() -> None:
    target = square(64, 16, 48)
    border, far = 8 * (target - 0.5), 8 * (target - 0.5)
    border[..., 16, 20:44] *= -1  # 24 pixels of the lesion's edge
    far[..., 32, 20:44] *= -1  # 24 pixels through its middle
    assert guide_fusion_loss(border, target) > 1.2 * guide_fusion_loss(far, target)


@pytest.mark.parametrize("mode", ["guided", "published"])
@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("logit", [-100.0, 0.0, 100.0])
def test_finite_at_the_extremes(mode: str, value: float, logit: float) -> None:
    logits = torch.full((2, 1, 8, 8), logit, requires_grad=True)
    loss = guide_fusion_loss(logits, torch.full((2, 1, 8, 8), value), mode)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()


def test_images_of_a_batch_are_weighed_alike() -> None:
    torch.manual_seed(0)
    targets, logits = torch.cat([square(), square(low=14, high=18)]), torch.randn(2, 1, 32, 32)
    alone = [guide_fusion_loss(z[None], t[None]) for z, t in zip(logits, targets, strict=True)]
    torch.testing.assert_close(guide_fusion_loss(logits, targets), torch.stack(alone).mean())


def test_half_precision_logits_give_a_float32_loss() -> None:
    assert GuideFusionLoss()(torch.zeros(1, 1, 32, 32, dtype=torch.bfloat16), square()).dtype == torch.float32


def test_a_mask_in_0_255_is_refused() -> None:
    with pytest.raises(ValueError, match="divide a mask"):
        guide_fusion_loss(torch.zeros(1, 1, 32, 32), 255 * square())


def test_other_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="differ in shape"):
        guide_fusion_loss(torch.zeros(1, 1, 32, 32), square()[0])
    with pytest.raises(ValueError, match="mode is"):
        guide_fusion_loss(torch.zeros(1, 1, 32, 32), square(), mode="paper")
