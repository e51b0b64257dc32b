"""Runs recipes one after another on data that is decoded once, and writes a row of figures for each as it goes.

    python benchmarks/pack_data.py ../shared/data --out .carry                 # what a lent GPU takes along
    python benchmarks/experiments.py --data .carry --minutes 1.8 --out $OUT/experiments.jsonl continued lovasz crops
    python benchmarks/experiments.py --table docs/results.md --out docs/experiments.jsonl

A recipe is a name in ``benchmarks/recipes`` or ``dermomamba/learning/recipes``, or a YAML file. Each is judged on the
200 fixed validation ids of ISIC 2018, on one photo of each of 300 HAM10000 lesions that no recipe trains on, and on
the open half of PH2, at the network's size and probability 0.5, with and without test-time flips. What fails gets a row
that says so. ``--seeds 1 2`` repeats every recipe.
"""

# ruff: noqa: E402  (the package is replaced by an empty one before it is imported)
from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import bare
import torch
from torch import Tensor, nn

bare.prepare()

from experiment_table import write_table

from dermomamba.errors import DataError, DermoMambaError
from dermomamba.evaluation.metrics import JACCARD_THRESHOLD
from dermomamba.evaluation.statistics import bootstrap_intervals
from dermomamba.learning.datasets import Pair
from dermomamba.learning.distillation import Teacher
from dermomamba.learning.optimisation import autocast
from dermomamba.learning.partition import read_ids
from dermomamba.learning.recipe import FOLDER, Recipe, changes_of, read_recipe
from dermomamba.learning.train import Trainer
from dermomamba.learning.training_data import Decoder
from dermomamba.learning.validation import per_image

RECIPES = bare.ROOT / "benchmarks" / "recipes"
JUDGES = {  # name: source, list of ids or None for all
    "isic2018_validation": ("isic2018_train.zip", "isic2018_validation"),
    "ham10000_validation": ("ham10000.zip", "ham10000_validation"),
    "ph2_half": ("ph2_half.zip", None),
}


def recipe_of(name: str, changes: dict[str, Any]) -> Recipe:
    """A recipe by file or name."""
    own = RECIPES / f"{name}.yaml"
    return read_recipe(own if own.is_file() else name, changes)


def judges(decoder: Decoder, size: tuple[int, int]) -> dict[str, tuple[Tensor, Tensor]]:
    """Images and masks of every set of photos that is there, on the device."""
    found = {}
    for name, (path, ids) in JUDGES.items():
        try:
            pairs = decoder.pairs(path)
        except DataError:
            print(f"{path} is not there: nothing is judged on {name}", flush=True)
            continue
        keep = None if ids is None else read_ids(ids)
        chosen: tuple[Pair, ...] = tuple(pair for pair in pairs if keep is None or pair.id in keep)
        if chosen:
            found[name] = decoder.pixels(path, chosen, size)
    return found


def judge(
    network: nn.Module,
    sets: dict[str, tuple[Tensor, Tensor]],
    recipe: Recipe,
    with_flips: Sequence[bool] = (False, True),
) -> dict[str, Any]:
    """Macro IoU, Dice and threshold Jaccard with 95 % intervals, for each set, without and with flips."""
    network.eval()
    result: dict[str, Any] = {}
    for name, (images, masks) in sets.items():
        for flips in with_flips:
            with autocast(recipe, images.device):
                iou, dice = per_image(network, images, masks, flips)
            result[name + ("+flips" if flips else "")] = figures(iou, dice)
    return result


def figures(iou: Tensor, dice: Tensor) -> dict[str, Any]:
    """Macro means with 95 % intervals, from the (n,) scores of the images."""
    columns = torch.stack([iou, dice, torch.where(iou >= JACCARD_THRESHOLD, iou, 0.0)], dim=1)
    found = bootstrap_intervals(columns.cpu().numpy())
    names = ("iou", "dice", "threshold_jaccard")
    return {key: dataclasses.asdict(value) for key, value in zip(names, found, strict=True)}


def machine_of(device: torch.device) -> str:
    """What computed, in words."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


def run_one(
    recipe: Recipe,
    decoder: Decoder,
    keep: Path | None,
    network: nn.Module | None = None,
    what: str = "",
    teachers: Sequence[Teacher] = (),
) -> dict[str, Any]:
    """Train by one recipe and judge its best average; an error becomes a row that tells it.

    Args:
        recipe: what to do.
        decoder: of the data.
        keep: folder for the best weights and their card, or None.
        network: trained in place of a DermoMamba; it ends with its best average.
        what: of the row, in place of the recipe's name.
        teachers: networks to learn from, each with what the card says of it.
    """
    what = what or recipe.name
    row: dict[str, Any] = {"what": what, "seed": recipe.seed, "machine": machine_of(decoder.device)}
    row |= {"torch": torch.__version__, "minutes": recipe.minutes, "recipe": recipe.to_dict(), "failed": ""}
    began = time.perf_counter()

    def show(progress: dict[str, Any]) -> None:
        print(f"{what} seed {recipe.seed}: {json.dumps(progress)}", flush=True)
        row["curve"] = [*row.get("curve", []), progress]

    with tempfile.TemporaryDirectory() as folder:
        try:
            data = decoder.load(recipe)
            began = time.perf_counter()  # decoding is paid once, by whoever comes first
            device = str(decoder.device)
            trainer = Trainer(recipe, data, Path(folder), device, network, show, light=True, teachers=teachers)
            outcome = trainer.run()
            best = trainer.network
            best.load_state_dict(trainer.best_state)
            row |= {"data": data.description, "images": outcome.rows[-1]["images"], "epoch": outcome.best["epoch"]}
            row |= {"parameters": sum(p.numel() for p in best.parameters())}
            row["sets"] = judge(best, judges(decoder, recipe.image_size), recipe)
            if keep is not None and network is None:
                keep.mkdir(parents=True, exist_ok=True)
                for suffix in (".safetensors", ".json"):
                    shutil.copy(outcome.weights.with_suffix(suffix), keep / f"{what}-seed{recipe.seed}{suffix}")
        except (DermoMambaError, RuntimeError, ValueError) as error:
            row["failed"] = f"{type(error).__name__}: {error}"
            print(f"{what}: FAILED {row['failed']}", flush=True)
    return row | {"seconds": round(time.perf_counter() - began, 1)}


def append(path: Path, row: dict[str, Any]) -> None:
    """One more line of JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def summary(row: dict[str, Any]) -> str:
    """A row in one line."""
    if row["failed"]:
        return f"{row['what']} seed {row['seed']}: failed, {row['failed']}"
    parts = [f"{name} IoU {m['iou']['mean']:.4f} Dice {m['dice']['mean']:.4f}" for name, m in row["sets"].items()]
    return f"DONE {row['what']} seed {row['seed']}: {row['images']} images, {row['seconds']} s; " + "; ".join(parts)


def main(arguments: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Run the recipes, or write the table; returns the rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    shipped = sorted({p.stem for folder in (RECIPES, FOLDER) for p in folder.glob("*.yaml")})
    parser.add_argument("recipes", nargs="*", help=f"names or YAML files; known: {', '.join(shipped)}")
    parser.add_argument("--data", type=Path, default=Path(".carry"))
    parser.add_argument("--out", type=Path, default=Path("docs/experiments.jsonl"), help="rows are added to it")
    parser.add_argument("--minutes", type=float, help="budget of each run, in place of the recipe's")
    parser.add_argument("--until", type=float, metavar="M", help="start no run that would end later than M minutes")
    parser.add_argument("--seeds", type=int, nargs="+", help="in place of the recipe's seed")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change every recipe")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep each run's best weights and card here")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--table", type=Path, help="write the table of all rows into this Markdown file, run nothing")
    options = parser.parse_args(arguments)
    if options.table:
        write_table(options.table, options.out)
        return []
    began = time.perf_counter()
    changes: dict[str, Any] = {"validate_every": 1} | changes_of(options.set)
    if options.minutes:
        changes |= {"minutes": options.minutes, "epochs": 10_000}
    wanted = "cuda" if torch.cuda.is_available() else "cpu"
    decoder = Decoder(options.data, torch.device(wanted if options.device == "auto" else options.device))
    decoder.workers = options.workers
    rows = []
    for name in options.recipes:
        recipe = recipe_of(name, changes)
        for seed in options.seeds or [recipe.seed]:
            gone = (time.perf_counter() - began) / 60
            if options.until and rows and gone + (recipe.minutes or 0) > options.until:
                print(f"{name} seed {seed}: not started, {gone:.1f} minutes are gone", flush=True)
                continue
            row = run_one(dataclasses.replace(recipe, seed=seed), decoder, options.keep, what=Path(name).stem)
            append(options.out, row)
            rows.append(row)
            print(summary(row), flush=True)
    return rows


if __name__ == "__main__":
    sys.exit(0 if all(not row["failed"] for row in main()) else 1)
