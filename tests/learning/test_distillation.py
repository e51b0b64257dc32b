"""Learning from teachers: the mean of their probabilities, the loss in shares, and a run that says who taught it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dermomamba import weights
from dermomamba.errors import DataError, WeightsError
from dermomamba.learning.distillation import Ensemble, distilled
from dermomamba.learning.pixels import Pool, TrainingData
from dermomamba.learning.recipe import Recipe, Source
from dermomamba.learning.recipe_loss import RecipeLoss, bce_and_dice
from dermomamba.learning.train import Trainer
from dermomamba.model_card import render

TINY = Recipe("tiny", "For tests.", (Source("data"),), image_size=(32, 64), epochs=1, batch_size=4, hair_bank=0)


class Constant(nn.Module):
    """The same logit everywhere."""

    def __init__(self, logit: float) -> None:
        super().__init__()
        self.logit = nn.Parameter(torch.tensor(logit))

    def forward(self, x: Tensor) -> Tensor:
        return self.logit.expand(len(x), 1, *x.shape[2:])


@pytest.fixture
def data() -> TrainingData:
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.integers(0, 256, (6, 32, 64, 3), dtype=np.uint8))
    masks = torch.zeros(6, 32, 64, dtype=torch.uint8)
    masks[:, 8:24, 16:48] = 255
    description = [{"source": "noise", "train": 4, "validation": 2}]
    return TrainingData((Pool(images[:4], masks[:4]),), images[4:], masks[4:], description=description)


def test_an_ensemble_is_the_mean_of_probabilities_not_of_logits() -> None:
    ensemble = Ensemble([Constant(0.0), Constant(4.0)])
    expected = (0.5 + 1 / (1 + np.exp(-4.0))) / 2
    found = ensemble(torch.rand(2, 3, 4, 8))
    assert found.shape == (2, 1, 4, 8)
    assert found.numpy() == pytest.approx(expected)
    assert not any(p.requires_grad for p in ensemble.parameters())
    with pytest.raises(DataError, match="at least one"):
        Ensemble([])


def test_the_shares_are_0_for_the_masks_alone_and_1_for_the_teachers_alone() -> None:
    generator = torch.Generator().manual_seed(1)
    logits, target = torch.randn(3, 1, 8, 8, generator=generator), torch.zeros(3, 1, 8, 8)
    target[:, :, 2:5, 2:6] = 1
    taught, loss = torch.rand(3, 1, 8, 8, generator=generator), RecipeLoss()(logits, target)
    weight = torch.tensor([1.0, 0.0, 3.0])
    assert distilled(loss, logits, taught, 0.0) == loss
    alone = bce_and_dice(logits, taught)
    assert distilled(loss, logits, taught, 1.0).item() == pytest.approx(alone.mean().item(), rel=1e-6)
    weighed = (alone[0] + 3 * alone[2]) / 4
    assert distilled(loss, logits, taught, 1.0, weight).item() == pytest.approx(weighed.item(), rel=1e-6)
    half = distilled(loss, logits, taught, 0.5).item()
    assert half == pytest.approx((loss.item() + alone.mean().item()) / 2, rel=1e-6)


def test_the_masks_do_not_matter_to_a_student_of_teachers_alone(data: TrainingData, tmp_path: Path) -> None:
    recipe = dataclasses.replace(TINY, teacher_weight=1.0)
    empty = dataclasses.replace(data, pools=(Pool(data.pools[0].images, torch.zeros_like(data.pools[0].masks)),))
    losses = []
    for pairs in (data, empty):
        trainer = Trainer(recipe, pairs, tmp_path, "cpu", teachers=[(Constant(1.5), {"name": "constant"})])
        losses.append(trainer.train_step(torch.arange(4), 0.5, torch.Generator().manual_seed(0)).item())
    assert losses[0] == losses[1]


def test_a_run_with_teachers_learns_from_them_and_names_them(data: TrainingData, tmp_path: Path) -> None:
    first = Trainer(TINY, data, tmp_path / "first", "cpu").run().weights
    recipe = dataclasses.replace(TINY, name="student", teachers=(str(first),), teacher_weight=1.0)
    trainer = Trainer(recipe, data, tmp_path / "second", "cpu", teachers=[(Constant(9.0), {"name": "constant"})])
    generator = torch.Generator().manual_seed(0)
    found = trainer.train_step(torch.arange(4), 0.5, generator)
    assert torch.isfinite(found)
    card = weights.load(trainer.run().weights).card
    assert [teacher["name"] for teacher in card["taught_by"]] == ["tiny", "constant"]
    assert card["taught_by"][0]["sha256"] == weights.load(first).sha256
    assert card["recipe"]["teacher_weight"] == 1.0
    assert "- share 1 of the loss: the mean probability of tiny, constant" in render(card)


@pytest.mark.parametrize(
    ("changes", "error", "sentence"),
    [
        ({"teachers": ("nobody",)}, WeightsError, "no weights called"),
        ({"teachers": weights.DEFAULT}, DataError, r"write \[dermomamba-derm\]"),
        ({"teachers": (weights.DEFAULT,)}, DataError, "photos of 192 x 256, the recipe for 32 x 64"),
        ({"teacher_weight": 2.0}, DataError, "a share between 0 and 1, not 2"),
    ],
)
def test_teachers_that_cannot_teach_are_refused(
    data: TrainingData, tmp_path: Path, changes: dict, error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        Trainer(dataclasses.replace(TINY, **changes), data, tmp_path, "cpu")
