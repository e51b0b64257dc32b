"""DermoMamba learns from larger networks' probabilities beside the masks: teachers first, then the student.

    python benchmarks/distil.py --data .carry --teachers 3 --teacher-minutes 0.7 --minutes 2.5 member

The teachers are ResNet34-UNets (MONAI) that start from random values and see the recipe's photos only, one a seed,
and the weights that the recipe starts from. A row judges them together (``learning/distillation.py``), the next the
student. ``--seeds`` repeats the student.
"""

# ruff: noqa: E402  (the package is replaced by an empty one before it is imported)
from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import bare
import torch
from torch import nn

bare.prepare()

from compare import entries
from experiments import append, judge, judges, machine_of, recipe_of, run_one, summary

from dermomamba.learning.distillation import Ensemble, Teacher, teachers_of
from dermomamba.learning.recipe import Recipe, changes_of
from dermomamba.learning.training_data import Decoder

TEACHER = "ResNet34-UNet"


class Logit(nn.Module):
    """A network of probabilities as one of logits, to be judged like the others."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.logit(self.network(x), eps=1e-6)


def taught(recipe: Recipe, minutes: float, seed: int, decoder: Decoder) -> Teacher:
    """A teacher, trained from random values on the recipe's photos, and what cards say of it."""
    own = dataclasses.replace(recipe, start_from=None, minutes=minutes, seed=seed, learning_rate=1e-3)
    torch.manual_seed(seed)
    network = entries(recipe.image_size)[TEACHER].make()
    row = run_one(own, decoder, None, network.train(), f"teacher {TEACHER}")
    if row["failed"]:
        raise SystemExit(row["failed"])
    print(summary(row), flush=True)
    figures = {name: row["sets"]["isic2018_validation"][name]["mean"] for name in ("iou", "dice")}
    origin = {"name": f"{TEACHER}, seed {seed}", "data": row["data"], "recipe": own.to_dict(), "validation": figures}
    return network.eval().requires_grad_(False), origin


def main(arguments: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Train teachers and students; returns the rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", help="of the student, as for experiments.py; it says where it starts")
    parser.add_argument("--data", type=Path, default=Path(".carry"))
    parser.add_argument("--out", type=Path, default=Path("docs/experiments.jsonl"), help="rows are added to it")
    parser.add_argument("--teachers", type=int, default=3, metavar="N")
    parser.add_argument("--teacher-minutes", type=float, default=0.7, help="budget of each (default 0.7)")
    parser.add_argument("--minutes", type=float, default=2.5, help="budget of each student (default 2.5)")
    parser.add_argument("--seeds", type=int, nargs="+", help="of the students, in place of the recipe's")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change the recipe")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep each student's best weights and card here")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int, default=8)
    options = parser.parse_args(arguments)
    recipe = recipe_of(options.recipe, {"minutes": options.minutes, "epochs": 10_000} | changes_of(options.set))
    if recipe.start_from is None:
        parser.error(f"the recipe {options.recipe} starts from random values: a student goes on from weights")
    wanted = "cuda" if torch.cuda.is_available() else "cpu"
    decoder = Decoder(options.data, torch.device(wanted if options.device == "auto" else options.device))
    decoder.workers = options.workers
    began = time.perf_counter()
    found = [taught(recipe, options.teacher_minutes, seed, decoder) for seed in range(1, options.teachers + 1)]
    recipe = dataclasses.replace(recipe, teachers=(*recipe.teachers, recipe.start_from))
    together = Ensemble([network for network, _ in (*teachers_of(recipe, decoder.device), *found)])
    what = f"teachers: {' and '.join(map(str, recipe.teachers))} and {options.teachers} {TEACHER}s"
    row = {"what": what, "seed": "", "failed": "", "images": 0, "parameters": None}
    row |= {"machine": machine_of(decoder.device), "torch": torch.__version__}
    row["sets"] = judge(Logit(together), judges(decoder, recipe.image_size), recipe)
    rows = [row | {"seconds": round(time.perf_counter() - began, 1)}]
    append(options.out, rows[-1])
    print(summary(rows[-1]), flush=True)
    for seed in options.seeds or [recipe.seed]:
        name = f"{Path(options.recipe).stem}_taught"
        one = dataclasses.replace(recipe, seed=seed, name=name)
        rows.append(run_one(one, decoder, options.keep, what=name, teachers=found))
        append(options.out, rows[-1])
        print(summary(rows[-1]), flush=True)
    return rows


if __name__ == "__main__":
    main()
