"""The card beside weights that a recipe trained: data, recipe, teachers, machine, validation, curve, licence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from dermomamba.learning.recipe import Recipe
from dermomamba.scan import backend_for
from dermomamba.weights import Weights

NOTICE = "Research and teaching demonstration. Not a medical device. It measures, it does not diagnose."
ARCHITECTURE = "DermoMamba (Hoang et al. 2025, doi 10.1007/s10044-025-01506-w)"


def trained_on(device: torch.device, processes: int, seconds: float) -> dict[str, Any]:
    """What trained, for how long."""
    return {
        "machine": torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU",
        "processes": processes,
        "torch": torch.__version__,
        "scan_backend": backend_for(device),
        "seconds": seconds,
    }


def training_card(
    recipe: Recipe,
    *,
    data: list[dict[str, Any]],
    rows: Sequence[dict[str, Any]],
    held_out: int,
    parameters: int,
    start: Weights | None,
    teachers: Sequence[dict[str, Any]],
    device: torch.device,
    processes: int,
) -> dict[str, Any]:
    """Everything that somebody needs to judge the weights, or to train them again.

    Args:
        recipe: what was done.
        data: the sources' descriptions.
        rows: the curve; the last row is of the weights that the card is for.
        held_out: number of validation images.
        parameters: number of numbers that were learnt.
        start: the weights that training began with.
        teachers: origins of the networks whose probabilities were learnt from.
        device: the machine's.
        processes: how many trained together.

    Returns:
        For ``weights.save``.
    """
    row = rows[-1]
    card = {
        "name": recipe.name,
        "description": recipe.description,
        "notice": NOTICE,
        "architecture": ARCHITECTURE,
        "parameters": parameters,
        "image_size": list(recipe.image_size),
        "licence": "CC BY-NC 4.0",
        "data": data,
        "recipe": recipe.to_dict(),
        "started_from": None if start is None else start.origin(),
        "trained_on": trained_on(device, processes, row["seconds"]),
        "validation": {
            "n": held_out,
            "protocol": "macro mean over images at 192x256, probability 0.5, no post-processing",
            "epoch": row["epoch"],
            "iou": row["val_iou"],
            "dice": row["val_dice"],
        },
        "curve": list(rows),
    }
    return card | ({"taught_by": list(teachers)} if teachers else {})
