"""DermoMamba beside other networks and without its own parts: one recipe, one budget, the same seeds.

    python benchmarks/compare.py --data .carry --epochs 20 --seeds 1 2 --out $OUT/comparison.jsonl
    python benchmarks/compare.py --only-times --out docs/comparison.jsonl                 # CPU ms, on a processor
    python benchmarks/compare.py --table docs/results.md --out docs/comparison.jsonl      # table and scatter plot

Everything starts from random values (no encoder pre-trained on other photos: none can be fetched on the lent machine,
and the budget would not be the same). Networks come from MONAI and transformers; where a library is missing, the
row says so. Ablations replace one part of DermoMamba (``network/ablation.py``) or leave the boundary map
out of the loss.
"""

# ruff: noqa: E402  (the package is replaced by an empty one before it is imported)
from __future__ import annotations

import argparse
import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import bare
import torch
from torch import Tensor, nn

bare.prepare()

from compare_table import write_comparison
from experiments import append, machine_of, recipe_of, run_one, summary

from dermomamba.benchmark_case import Case, SegFormerB0, measure_case
from dermomamba.learning.recipe import Recipe
from dermomamba.learning.training_data import Decoder
from dermomamba.network import DermoMamba
from dermomamba.network.ablation import PARTS, without
from dermomamba.network.cost import count_network
from dermomamba.scan import backend_for

Make = Callable[[], nn.Module]


@dataclasses.dataclass(frozen=True)
class Entry:
    """One line of the comparison: who builds the network, and what differs from the common recipe."""

    make: Make
    changes: dict[str, Any] = dataclasses.field(default_factory=dict)


class First(nn.Module):
    """A network that returns several maps, reduced to its first."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)[0]


def _unet() -> nn.Module:
    from monai.networks.nets import BasicUNet

    return BasicUNet(2, 3, 1, (64, 128, 256, 512, 1024, 64), act="relu", norm="batch")


def _unet_plus_plus() -> nn.Module:
    from monai.networks.nets import BasicUNetPlusPlus

    return First(BasicUNetPlusPlus(2, 3, 1, (32, 64, 128, 256, 512, 32), act="relu", norm="batch"))


def _attention_unet() -> nn.Module:
    from monai.networks.nets import AttentionUnet

    return AttentionUnet(2, 3, 1, channels=(64, 128, 256, 512, 1024), strides=(2, 2, 2, 2))


def _resnet34_unet() -> nn.Module:
    from monai.networks.nets import FlexibleUNet

    return FlexibleUNet(3, 1, "resnet34", pretrained=False)


def entries(image_size: tuple[int, int]) -> dict[str, Entry]:
    """All networks that are compared, by name."""
    own = functools.partial(DermoMamba, image_size)
    found = {
        "DermoMamba": Entry(own),
        "DermoMamba, published loss": Entry(own, {"loss": "published"}),
        "without Guide Fusion": Entry(own, {"loss": "plain"}),
    }
    found |= {f"without {part}": Entry(functools.partial(without, part, image_size)) for part in PARTS}
    return found | {
        "U-Net 31 M": Entry(_unet),
        "UNet++": Entry(_unet_plus_plus),
        "Attention U-Net": Entry(_attention_unet),
        "ResNet34-UNet": Entry(_resnet34_unet),
        "SegFormer-B0": Entry(SegFormerB0),
    }


def cost_of(network: nn.Module, recipe: Recipe) -> dict[str, Any]:
    """Parameters and both counts, in G for one image."""
    cost = count_network(network, recipe.image_size)
    return {
        "parameters": cost.parameters,
        "paper_gmac": cost.paper / 1e9,
        "full_gops": cost.total / 1e9,
    }


def speed_of(name: str, entry: Entry, seconds: float, batch: int = 64) -> dict[str, float]:
    """ms for one photo on a processor (fp32), and images a second on a GPU (bf16) where there is one.

    Without the compiled scan (numba) there is no figure for a processor: it would time the wrong thing.
    """
    result: dict[str, float] = {}
    if backend_for(torch.device("cpu")) == "cpu":
        timing = measure_case(Case(name, "", "inference", "fp32", 1), entry.make, torch.device("cpu"), seconds)
        if not timing.failed:
            result["cpu_ms"] = 1e3 * timing.seconds
    if torch.cuda.is_available():
        case = Case(name, "", "inference", "bf16", batch)
        timing = measure_case(case, entry.make, torch.device("cuda"), seconds)
        if not timing.failed:
            result["gpu_images_per_second"] = timing.images_per_second
    return result


def compare_one(name: str, entry: Entry, recipe: Recipe, decoder: Decoder | None, seconds: float) -> dict[str, Any]:
    """Build, count, train, judge and time one network; a missing library or an error becomes a row.

    Without a decoder nothing is trained: the row only adds times, taken on a machine with the compiled scan.
    """
    torch.manual_seed(recipe.seed)
    try:
        network = entry.make()
    except (ImportError, RuntimeError) as error:  # a library built for another torch raises RuntimeError
        missing = isinstance(error, ImportError) and error.name
        device = decoder.device if decoder else torch.device("cpu")
        row = {"what": name, "seed": recipe.seed, "machine": machine_of(device), "seconds": 0.0}
        return row | {"failed": f"{missing} is not installed" if missing else f"{type(error).__name__}: {error}"}
    cost = cost_of(network, recipe)
    if decoder is None:
        row = {"what": name, "seed": recipe.seed, "machine": machine_of(torch.device("cpu")), "seconds": 0.0}
        return row | {"failed": "", "only_timed": True} | cost | speed_of(name, entry, seconds)
    row = run_one(dataclasses.replace(recipe, **entry.changes), decoder, None, network.train(), name)
    return row | cost | (speed_of(name, entry, seconds) if seconds else {})


def main(arguments: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Compare, or write the table; returns the rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", metavar="NAME", help="only these (default: all)")
    parser.add_argument("--data", type=Path, default=Path(".carry"))
    parser.add_argument("--recipe", default="isic2018", help="the common recipe (default isic2018)")
    parser.add_argument("--epochs", type=int, default=20, help="of each network (default 20)")
    parser.add_argument("--batch", type=int, help="in place of the recipe's")
    parser.add_argument("--minutes", type=float, help="end a training after this time")
    parser.add_argument("--until", type=float, metavar="M", help="start nothing after M minutes")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--timing-seconds", type=float, default=2.0, help="0 leaves the timings out")
    parser.add_argument("--only-times", action="store_true", help="train nothing, add times on this machine")
    parser.add_argument("--out", type=Path, default=Path("docs/comparison.jsonl"))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--table", type=Path, help="write table and plot into this Markdown file, run nothing")
    options = parser.parse_args(arguments)
    if options.table:
        write_comparison(options.table, options.out)
        return []
    began = time.perf_counter()
    changes: dict[str, Any] = {
        "epochs": options.epochs,
        "minutes": options.minutes,
        "validate_every": max(1, options.epochs // 10),
    }
    if options.batch:
        changes["batch_size"] = options.batch
    recipe = recipe_of(options.recipe, changes)
    wanted = "cuda" if torch.cuda.is_available() else "cpu"
    decoder = None
    if not options.only_times:
        decoder = Decoder(options.data, torch.device(wanted if options.device == "auto" else options.device))
    everything = entries(recipe.image_size)
    unknown = set(options.networks or ()) - everything.keys()
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(everything)}")
    rows = []
    for seed in options.seeds:
        for name in options.networks or everything:
            if options.until and (time.perf_counter() - began) / 60 > options.until:
                print(f"{name} seed {seed}: not started", flush=True)
                continue
            one = dataclasses.replace(recipe, seed=seed)
            rows.append(compare_one(name, everything[name], one, decoder, options.timing_seconds))
            append(options.out, rows[-1])
            print(name if options.only_times else summary(rows[-1]), flush=True)
    return rows


if __name__ == "__main__":
    main()
