"""Learning from other networks' probabilities beside the experts' masks.

One expert's mask of a lesion is one draw of what several would have drawn; the mean of several trained networks is
smoother. The student's loss is

    (1 - w) L(z, t) + w (BCE(z, q) + Dice(z, q)),    q = mean_k sigmoid(z_k),

with the recipe's loss L on the mask t, the student's logits z and the teachers' logits z_k on the same varied picture
(Hinton, Vinyals, Dean 2015, arXiv 1503.02531, at temperature 1, where two classes gain nothing from another one).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dermomamba import weights
from dermomamba.errors import DataError
from dermomamba.learning.guide_fusion import mean_over_images
from dermomamba.learning.recipe import Recipe
from dermomamba.learning.recipe_loss import bce_and_dice
from dermomamba.network.inference import for_inference

Teacher = tuple[nn.Module, dict[str, Any]]
"""A network that teaches, with what the card of its student says of it."""


class Ensemble(nn.Module):
    """The mean of several networks' probabilities; it learns nothing and stays in evaluation mode.

    Args:
        networks: each from (B, 3, H, W) to logits (B, 1, H, W).

    Shape:
        x (B, 3, H, W) in [0, 1]; output (B, 1, H, W) float32 in [0, 1].

    Raises:
        DataError: no network.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        if not networks:
            raise DataError("An ensemble needs at least one network.")
        self.networks = nn.ModuleList(networks).requires_grad_(False).eval()

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([torch.sigmoid(network(x).float()) for network in self.networks]).mean(0)  # (B, 1, H, W)


def teachers_of(recipe: Recipe, device: torch.device) -> list[Teacher]:
    """The weights that a recipe names as teachers, ready on a device.

    Args:
        recipe: with ``teachers`` and ``teacher_weight``.
        device: where the student learns.

    Returns:
        Networks in their inference form, each with its origin.

    Raises:
        DataError: the share of the loss is not in [0, 1], the names are no list, or a teacher is for photos of
            another size.
        WeightsError: a name that is not there.
    """
    if not 0 <= recipe.teacher_weight <= 1:
        raise DataError(f"A recipe's teacher_weight is a share between 0 and 1, not {recipe.teacher_weight:g}.")
    if isinstance(recipe.teachers, str):
        raise DataError(f"A recipe's teachers are a list: write [{recipe.teachers}].")
    found: list[Teacher] = []
    for name in recipe.teachers:
        loaded = weights.load(name)
        if loaded.image_size != tuple(recipe.image_size):
            sizes = [" x ".join(map(str, size)) for size in (loaded.image_size, recipe.image_size)]
            raise DataError(f"The teacher '{name}' is for photos of {sizes[0]}, the recipe for {sizes[1]}.")
        found.append((for_inference(loaded.network().to(device)), loaded.origin()))
    return found


def distilled(
    loss: Tensor, logits: Tensor, probability: Tensor, share: float, image_weight: Tensor | None = None
) -> Tensor:
    """The loss on masks and the loss on the teachers' probabilities, in shares.

    Args:
        loss: scalar, of the student against the masks.
        logits: (B, 1, H, W) float, the student's.
        probability: (B, 1, H, W) in [0, 1], the teachers'.
        share: in [0, 1], of the teachers.
        image_weight: (B,) >= 0 or None, as for the loss on masks.

    Returns:
        Scalar float32.
    """
    taught = mean_over_images(bce_and_dice(logits.float(), probability), image_weight)
    return (1 - share) * loss + share * taught
