"""The card of fine-tuned weights: what they came from, what they saw (hashes, no names), and whether they are better.

The keys are those of training's cards, so that ``dermomamba card`` can make a page of it.
"""

from __future__ import annotations

from typing import Any

import torch

from dermomamba.learning.finetune_compare import Comparison
from dermomamba.learning.finetune_data import OwnPairs
from dermomamba.learning.recipe import Recipe
from dermomamba.learning.training_card import ARCHITECTURE, NOTICE, trained_on
from dermomamba.weights import Weights


def card_of(
    base: Weights,
    own: OwnPairs,
    settings: dict[str, Any],
    recipe: Recipe,
    device: torch.device,
    rows: list[dict[str, Any]],
    phantoms: int,
    comparison: Comparison,
    ended: str,
) -> dict[str, Any]:
    """The card as JSON-serialisable values.

    Args:
        base: what the run began with.
        own: the person's pairs.
        settings: of the fine-tuning.
        recipe: the same in the words of training, with the new name.
        device: where it ran.
        rows: the curve; epoch 0 is the base.
        phantoms: how many were mixed in.
        comparison: before and after.
        ended: why the run ended.
    """
    best = max(rows, key=lambda row: row["val_dice"])
    return {
        "name": recipe.name,
        "description": recipe.description,
        "notice": NOTICE,
        "architecture": ARCHITECTURE,
        "parameters": base.card.get("parameters", _parameters(base)),
        "image_size": list(base.image_size),
        "licence": base.card.get("licence", "unknown: the base names none"),
        "data": [
            {
                "source": "own photos",
                "train": len(own.train),
                "validation": len(own.held_out),
                "left_out": len(own.problems),
                "train_sha256": list(own.train_hashes),
                "validation_sha256": list(own.held_out_hashes),
                "hashed": "pixels at the network's size",
            },
            {"source": "phantoms (rehearsal)", "train": phantoms, "validation": 0, "left_out": 0},
        ],
        "recipe": recipe.to_dict() | {"sources": []},
        "fine_tuning": settings | {"ended": ended},
        "started_from": base.origin("evaluations"),
        "trained_on": trained_on(device, 1, rows[-1]["seconds"]),
        "validation": {
            "n": len(own.held_out),
            "protocol": f"macro mean over images at {base.image_size[0]}x{base.image_size[1]}, probability 0.5, "
            "no post-processing; the kept epoch was chosen by it; epoch 0 is the base itself",
            "epoch": best["epoch"],
            "iou": best["val_iou"],
            "dice": best["val_dice"],
        },
        "comparison": comparison.to_dict(),
        "curve": rows,
    }


def _parameters(base: Weights) -> int:
    return sum(p.numel() for p in base.network().parameters())
