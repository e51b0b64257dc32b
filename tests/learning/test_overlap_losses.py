"""The Lovasz hinge and the boundary loss against values known in closed form."""

from __future__ import annotations

import math

import pytest
import torch

from dermomamba.errors import DataError
from dermomamba.learning.guide_fusion import guide_fusion_loss, mean_over_images, signed_distance
from dermomamba.learning.overlap_losses import lovasz_hinge, surface_loss
from dermomamba.learning.recipe_loss import RecipeLoss


def random_mask(seed: int, batch: int = 3) -> torch.Tensor:
    return (torch.rand(batch, 1, 6, 7, generator=torch.Generator().manual_seed(seed)) < 0.4).float()


@pytest.mark.parametrize("seed", range(5))
def test_lovasz_is_the_jaccard_loss_where_each_error_is_0_or_1(seed: int) -> None:
    """Berman 2018, section 3: the extension takes the set function's value at the corners of the cube."""
    t, wrong = random_mask(seed), random_mask(seed + 100)
    logits = (2 * t - 1) * (1 - wrong)  # hinge error 0 where right, 1 where wrong (a logit of 0)
    wrongly = wrong.flatten(1)
    truth = t.flatten(1)
    expected = wrongly.sum(1) / torch.maximum(truth, wrongly).sum(1)  # |M| / |{y = 1} or M|
    torch.testing.assert_close(lovasz_hinge(logits, t), expected)


def test_lovasz_is_linear_in_equal_errors_and_0_beyond_the_margin() -> None:
    t = random_mask(1)
    signs = 2 * t - 1
    torch.testing.assert_close(lovasz_hinge(3 * signs, t), torch.zeros(3))
    torch.testing.assert_close(lovasz_hinge(-signs, t), torch.full((3,), 2.0))  # every pixel wrong by 2: 2 x (1 - 0)


@pytest.mark.parametrize("fill", [0.0, 1.0])
def test_lovasz_is_finite_for_an_empty_or_full_mask(fill: float) -> None:
    logits = torch.randn(2, 1, 4, 4, requires_grad=True)
    lovasz_hinge(logits, torch.full((2, 1, 4, 4), fill)).sum().backward()
    assert torch.isfinite(logits.grad).all()


def test_an_image_does_not_touch_another() -> None:
    t, logits = random_mask(2), torch.randn(3, 1, 6, 7)
    together = lovasz_hinge(logits, t)
    alone = torch.cat([lovasz_hinge(logits[i : i + 1], t[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone)


def test_signed_distance_of_a_half_plane_counts_columns() -> None:
    mask = torch.zeros(1, 1, 4, 9)
    mask[..., :4] = 1
    row = torch.tensor([-4.0, -3, -2, -1, 1, 2, 3, 4, 5])
    torch.testing.assert_close(signed_distance(mask), row.expand(1, 1, 4, 9))


def test_surface_loss_of_a_sure_prediction_is_the_mean_distance_inside_it() -> None:
    mask = torch.zeros(1, 1, 4, 9)
    mask[..., :4] = 1
    sure = 100 * (2 * mask - 1)
    expected = -(3.5 + 2.5 + 1.5 + 0.5) * 4 / 36 / math.hypot(4, 9)
    torch.testing.assert_close(surface_loss(sure, signed_distance(mask)), torch.tensor([expected]))


def test_surface_loss_is_least_for_the_truth_and_0_without_a_border() -> None:
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., 2:6, 2:6] = 1
    distance = signed_distance(mask)
    right = surface_loss(100 * (2 * mask - 1), distance)
    for shift in (-1, 1, 2):
        moved = surface_loss(100 * (2 * mask.roll(shift, 3) - 1), distance)
        assert moved > right
    assert surface_loss(torch.randn(1, 1, 8, 8), signed_distance(torch.zeros(1, 1, 8, 8))) == 0
    assert surface_loss(torch.randn(1, 1, 8, 8), signed_distance(torch.ones(1, 1, 8, 8))) == 0


def test_the_recipe_s_loss_is_the_sum_of_its_terms() -> None:
    t, logits = random_mask(3), torch.randn(3, 1, 6, 7)
    expected = guide_fusion_loss(logits, t) + 0.5 * lovasz_hinge(logits, t).mean()
    expected = expected + 2.0 * surface_loss(logits, signed_distance(t)).mean()
    torch.testing.assert_close(RecipeLoss(lovasz_weight=0.5, surface_weight=2.0)(logits, t), expected)
    torch.testing.assert_close(RecipeLoss()(logits, t), guide_fusion_loss(logits, t))
    published = guide_fusion_loss(logits, t, "published", per_image=True)
    torch.testing.assert_close(RecipeLoss("published")(logits, t), published)


def test_an_image_of_weight_0_is_not_learned_from() -> None:
    t = random_mask(4)
    logits = torch.randn(3, 1, 6, 7, requires_grad=True)
    loss = RecipeLoss(lovasz_weight=1.0, surface_weight=1.0)
    weighted = loss(logits, t, torch.tensor([1.0, 0.0, 1.0]))
    weighted.backward()
    assert (logits.grad[1] == 0).all()
    torch.testing.assert_close(weighted, loss(logits[[0, 2]], t[[0, 2]]))
    assert mean_over_images(torch.ones(2), torch.zeros(2)) == 0


def test_the_published_loss_stands_alone() -> None:
    with pytest.raises(DataError, match="stands alone"):
        RecipeLoss("published", lovasz_weight=1.0)
    with pytest.raises(DataError, match="not 'dice'"):
        RecipeLoss("dice")
