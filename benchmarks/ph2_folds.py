"""Five-fold fine-tuning on the open half of PH2: each fold is judged by a network that has not seen it.

    python benchmarks/ph2_folds.py --data .carry --start dermomamba-isic2018 --minutes 0.3 --out $OUT/ph2_folds.jsonl

The whole network learns from four folds (``recipes/ph2.yaml``) for a fixed time, and its average at the end is judged:
no epoch is chosen. Figures are at the network's size and probability 0.5, over all photos of the five folds.
"""

# ruff: noqa: E402  (the package is replaced by an empty one before it is imported)
from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import bare
import torch

bare.prepare()

from experiments import append, figures, machine_of, recipe_of
from torch import Tensor

from dermomamba.learning.optimisation import autocast
from dermomamba.learning.pixels import Pool, TrainingData
from dermomamba.learning.recipe import Recipe, changes_of
from dermomamba.learning.train import Trainer
from dermomamba.learning.training_data import Decoder
from dermomamba.learning.validation import per_image

FOLDS = 5


def folds(count: int, seed: int) -> list[Tensor]:
    """Indices of each fold, drawn with a seed; their sizes differ by at most one."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    return [order[i::FOLDS].sort().values for i in range(FOLDS)]


def run(decoder: Decoder, recipe: Recipe) -> dict[str, Any]:
    """All folds of the recipe's first source; returns the row."""
    source = recipe.sources[0].path
    images, masks = decoder.pixels(source, decoder.pairs(source).pairs, recipe.image_size)
    banks = decoder.load(recipe)
    began, seen = time.perf_counter(), 0
    scores: dict[bool, list[Tensor]] = {False: [], True: []}
    for number, held in enumerate(folds(len(images), recipe.seed)):
        learned = torch.ones(len(images), dtype=torch.bool)
        learned[held] = False
        chosen, held = learned.nonzero()[:, 0].to(images.device), held.to(images.device)
        pool = Pool(images[chosen], masks[chosen])
        data = TrainingData((pool,), images[held], masks[held], banks.hair_bank, banks.ruler_bank)
        with tempfile.TemporaryDirectory() as folder:
            trainer = Trainer(recipe, data, Path(folder), str(decoder.device), light=True)
            outcome = trainer.run()
        network = trainer.average.module.eval()
        for flips, found in scores.items():
            with autocast(recipe, images.device):
                found.append(torch.stack(per_image(network, images[held], masks[held], flips), dim=1).cpu())
        means = [f"{v:.4f}" for v in scores[False][-1].mean(dim=0)]
        learned_from = outcome.rows[-1]["images"]
        seen += learned_from
        print(f"fold {number + 1}: {len(held)} photos, {learned_from} images seen, IoU and Dice {means}", flush=True)
    row: dict[str, Any] = {"what": f"ph2 five-fold from {recipe.start_from}", "seed": recipe.seed}
    row |= {"machine": machine_of(decoder.device), "minutes": recipe.minutes, "recipe": recipe.to_dict()}
    row |= {"failed": "", "n": len(images), "images": seen, "seconds": round(time.perf_counter() - began, 1)}
    return row | {"sets": {"ph2_folds" + "+flips" * f: figures(*torch.cat(s).T) for f, s in scores.items()}}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(".carry"))
    parser.add_argument("--start", default="dermomamba-isic2018", help="weights to begin with: name or path")
    parser.add_argument("--minutes", type=float, default=0.3, help="of each fold")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change the recipe")
    parser.add_argument("--out", type=Path, default=Path("docs/ph2_folds.jsonl"))
    options = parser.parse_args(arguments)
    decoder = Decoder(options.data, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    changes = {"start_from": options.start, "minutes": options.minutes, "seed": options.seed}
    changes |= changes_of(options.set)
    row = run(decoder, recipe_of("ph2", changes))
    append(options.out, row)
    for name, m in row["sets"].items():
        print(name, {key: [round(100 * value[k], 2) for k in ("mean", "low", "high")] for key, value in m.items()})


if __name__ == "__main__":
    main()
