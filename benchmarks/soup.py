"""Judges averages of weights on validation data, and keeps one.

    python benchmarks/soup.py --data .carry a.safetensors b.safetensors --out docs/experiments.jsonl
    python benchmarks/soup.py --data .carry dermomamba-isic2018 b.safetensors --shares 1 2 \\
        --save weights --name dermomamba-derm --description "..." --out docs/experiments.jsonl

Members are names or paths of weights that went on from one start (``learning/soup.py``). The figures are those of
``experiments.py``: its sets, the network's size, probability 0.5, with and without flips.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from experiments import append, judge, judges, machine_of, recipe_of, summary

from dermomamba import weights
from dermomamba.learning.soup import average, averaged_card
from dermomamba.learning.training_data import Decoder
from dermomamba.network import DermoMamba
from dermomamba.network.inference import for_inference


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("members", nargs="+", help="weights, by name or path")
    parser.add_argument("--shares", type=float, nargs="+", help="of the members; equal without")
    parser.add_argument("--data", type=Path, default=Path(".carry"))
    parser.add_argument("--out", type=Path, default=Path("docs/experiments.jsonl"))
    parser.add_argument("--name", default="average", help="of the average")
    parser.add_argument("--description", default="An average of weights.")
    parser.add_argument("--save", type=Path, metavar="DIR", help="keep the average and its card here")
    options = parser.parse_args(arguments)
    began = time.perf_counter()
    members = [weights.load(member) for member in options.members]
    tensors = average(members, options.shares)
    recipe = recipe_of("continued", {})
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = DermoMamba(members[0].image_size)
    network.load_state_dict(tensors)
    photos = judges(Decoder(options.data, device), members[0].image_size)
    sets = judge(for_inference(network.to(device)), photos, recipe)
    parts = " + ".join(f"{s:g} {m.name}" for s, m in zip(options.shares or [1] * len(members), members, strict=True))
    row = {"what": f"{options.name}: {parts}", "seed": "", "machine": machine_of(device), "torch": torch.__version__}
    row |= {"failed": "", "images": 0, "sets": sets, "seconds": round(time.perf_counter() - began, 1)}
    append(options.out, row)
    print(summary(row))
    if options.save:
        isic = sets["isic2018_validation"]
        height, width = members[0].image_size
        figures = {
            "n": isic["iou"]["n"],
            "protocol": f"macro mean over images at {height}x{width}, probability 0.5, no post-processing",
            "iou": isic["iou"]["mean"],
            "dice": isic["dice"]["mean"],
        }
        card = averaged_card(members, options.shares, options.name, options.description, figures)
        weights.save(options.save / f"{options.name}.safetensors", tensors, card)


if __name__ == "__main__":
    main()
