"""Judges averages of weights on validation data, and keeps one.

    python benchmarks/soup.py --data .carry a.safetensors b.safetensors --out docs/experiments.jsonl
    python benchmarks/soup.py --data .carry dermomamba-isic2018 b.safetensors --shares 1 2 \\
        --save weights --name dermomamba-derm --description "..." --out docs/experiments.jsonl

    python benchmarks/soup.py --data .carry --greedy isic2018_validation ham10000_validation *.safetensors

``--greedy`` chooses the members by the mean IoU on those sets: the best one, then each other one that makes the
average better. Members are names or paths of weights that went on from one start (``learning/soup.py``). The figures
are those of ``experiments.py``: its sets, the network's size, probability 0.5, with and without flips.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from experiments import append, judge, judges, machine_of, recipe_of, summary

from dermomamba import weights
from dermomamba.learning.soup import average, averaged_card, greedy
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
    parser.add_argument("--greedy", nargs="+", metavar="SET", help="choose members by their mean IoU on these sets")
    options = parser.parse_args(arguments)
    if options.greedy and options.shares:
        parser.error("--greedy gives equal shares: leave --shares out")
    began = time.perf_counter()
    members = [weights.load(member) for member in options.members]
    recipe = recipe_of("continued", {})
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    photos = judges(Decoder(options.data, device), members[0].image_size)

    def judged(tensors: dict[str, Tensor], names: Sequence[str], flips: Sequence[bool]) -> dict[str, Any]:
        network = DermoMamba(members[0].image_size)
        network.load_state_dict(tensors)
        return judge(for_inference(network.to(device)), {name: photos[name] for name in names}, recipe, flips)

    def score(tensors: dict[str, Tensor]) -> float:
        found = judged(tensors, options.greedy, (False,))
        return sum(one["iou"]["mean"] for one in found.values()) / len(found)

    if options.greedy:
        chosen, alone, path = greedy(members, score)
        kept = {member.sha256 for member in chosen}
        for member, own in zip(members, alone, strict=True):
            print(f"{member.name}: {own:.4f}, {'chosen' if member.sha256 in kept else 'left out'}")
        print("average, member by member: " + ", ".join(f"{value:.4f}" for value in path), flush=True)
        members = chosen
    tensors = average(members, options.shares)
    sets = judged(tensors, tuple(photos), (False, True))
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
