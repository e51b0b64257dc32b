"""Fine-tuning on this machine: seconds of an epoch, memory, and Dice before and after on photos of another camera.

    python benchmarks/finetune.py speed
    python benchmarks/finetune.py latency
    python benchmarks/finetune.py ph2 ../shared/data/ph2_half.zip --images 10 20 --repeats 2 --json ph2.json

``speed``: 20 phantoms at the network's size, decoder only, as the page's default does it. Memory is the peak of this
process above what it holds after the weights were loaded and one photo was outlined.
``latency``: how long an analysis takes (outline and measures of one photo) while somebody else's fine-tuning runs as
the page runs it, against a quiet moment of the same run.
``ph2``: for each repeat a random part of the set is fine-tuned on (held-out photos included), and both weights are
judged on the same other photos, which neither the learning nor the choice of the epoch has seen.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from dermomamba import weights
from dermomamba.batch import resident_mb
from dermomamba.evaluation.statistics import paired_test
from dermomamba.learning.datasets import Pair, read_pairs
from dermomamba.learning.finetune import fine_tune
from dermomamba.learning.finetune_compare import dice_of_pairs
from dermomamba.learning.finetune_settings import PARTS, FineTuneSettings, Progress
from dermomamba.learning.own_images import OwnImages
from dermomamba.learning.workshop import Workshop
from dermomamba.measure import measure
from dermomamba.phantom import phantom, random_spec
from dermomamba.predictor import Predictor


def png(values: np.ndarray) -> Callable[[], bytes]:
    """A reader of the picture's bytes, as ``Pair`` wants it."""
    return cv2.imencode(".png", values)[1].tobytes


def speed(images: int, epochs: int) -> dict[str, Any]:
    """Epoch time and memory on phantoms."""
    base, rng = weights.load(), np.random.default_rng(0)
    drawn = [phantom(random_spec(rng, base.image_size)) for _ in range(images)]
    pairs = [Pair(str(i), png(d.image[..., ::-1]), png(255 * d.mask.astype(np.uint8))) for i, d in enumerate(drawn)]
    Predictor(base, "cpu")(drawn[0].image)
    before, marks = resident_mb() or 0.0, list[tuple[float, float]]()

    def mark(progress: Progress) -> None:
        first = progress.stage == "learning" and not marks
        if first or progress.preview is not None:  # the first mark comes after the first step
            marks.append((time.perf_counter(), time.process_time()))

    result = fine_tune(base, pairs, FineTuneSettings(epochs=epochs), "cpu", on_progress=mark)
    ends = [row["seconds"] for row in result.curve]
    return {
        "images": images,
        "threads": torch.get_num_threads(),
        "seconds_an_epoch": [round(b - a, 1) for a, b in pairwise(ends)],
        "cpu_seconds_an_epoch": [round(b[1] - a[1], 1) for a, b in pairwise(marks)][1:],
        "peak_mb_above": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6 - before),
    }


def latency(images: int, repeats: int) -> dict[str, Any]:
    """Seconds of an analysis alone, and while a fine-tuning caches features and learns in the workshop."""
    base, rng = weights.load(), np.random.default_rng(0)
    drawn = [phantom(random_spec(rng, (600, 800))) for _ in range(images)]
    predictor = Predictor(base, "cpu")

    def analyse() -> float:
        began = time.perf_counter()
        measure(predictor(drawn[0].image).probability, image=drawn[0].image)
        return time.perf_counter() - began

    def median() -> float:
        return round(statistics.median(analyse() for _ in range(repeats)), 3)

    with tempfile.TemporaryDirectory() as folder:
        own, workshop = OwnImages(Path(folder) / "own"), Workshop("cpu", Path(folder))
        for one in drawn:
            own.add(one.image, one.mask)
        for _ in range(3):
            analyse()
        seconds = {"alone": median()}
        job = workshop.submit("benchmark", own.folder, base, FineTuneSettings(epochs=1000))
        for stage in ("features", "learning"):
            while job.progress.stage != stage:
                if job.finished.wait(0.05):
                    raise SystemExit(job.sentence)
            seconds[stage] = median()
            assert job.progress.stage == stage, f"the stage ended before {repeats} analyses; give more --images"
        workshop.drop("benchmark")
        seconds["alone again"] = median()
    quiet = (seconds["alone"] + seconds["alone again"]) / 2
    ratios = {stage: round(seconds[stage] / quiet, 2) for stage in ("features", "learning")}
    return {"threads": torch.get_num_threads(), "repeats": repeats, "seconds": seconds, "ratio": ratios}


def ph2(
    source: Path, name: str, counts: list[int], repeats: int, judged: int, settings: FineTuneSettings
) -> list[dict[str, Any]]:
    """Dice of the base and of fine-tuned weights on photos that the fine-tuning has not seen."""
    base, pairs = weights.load(name), read_pairs(source).pairs
    order = np.random.default_rng(0).permutation(len(pairs))
    test, rest = [pairs[i] for i in order[:judged]], [pairs[i] for i in order[judged:]]
    before = np.array(dice_of_pairs(base, test, "cpu"))
    results = []
    for count in counts:
        for repeat in range(repeats):
            drawn = np.random.default_rng(repeat).permutation(len(rest))[:count]
            began, cpu = time.perf_counter(), time.process_time()
            tuned = fine_tune(base, [rest[i] for i in drawn], settings, "cpu")
            seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
            new = weights.Weights(base.name, tuned.state_dict, tuned.card, "", base.image_size)
            after = np.array(dice_of_pairs(new, test, "cpu"))
            change, phantoms = paired_test(before, after), tuned.comparison.rehearsal_change()
            results.append(
                {
                    "weights": base.name,
                    "learns": settings.learns,
                    "images": count,
                    "repeat": repeat,
                    "judged": judged,
                    "before": float(before.mean()),
                    "after": float(after.mean()),
                    "change": change.mean_difference,
                    "low": change.low,
                    "high": change.high,
                    "better": change.better,
                    "held_out_change": tuned.comparison.change().mean_difference,
                    "phantom_change": phantoms.mean_difference,
                    "kept_epoch": tuned.card["validation"]["epoch"],
                    "epochs": settings.epochs,
                    "seconds": round(seconds, 1),
                    "cpu_seconds": round(cpu, 1),
                    "curve": [round(row["val_dice"], 4) for row in tuned.curve],
                }
            )
            print(json.dumps(results[-1]), flush=True)
    return results


def main() -> None:
    """Run one part and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["speed", "latency", "ph2"])
    parser.add_argument("source", nargs="?", type=Path, help="PH2 as a ZIP or folder")
    parser.add_argument("--images", type=int, nargs="+", default=[20])
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--judged", type=int, default=30, help="photos that judge (ph2)")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--learning-rate", type=float, default=FineTuneSettings.learning_rate)
    parser.add_argument("--what", choices=list(PARTS), default=FineTuneSettings.learns, help="what learns (ph2)")
    parser.add_argument("--weights", default=weights.DEFAULT, help="to begin with (ph2)")
    parser.add_argument("--latency-repeats", type=int, default=11, help="analyses at each stage (latency)")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if args.part == "speed":
        result: Any = speed(args.images[0], args.epochs)
        print(json.dumps(result))
    elif args.part == "latency":
        result = latency(args.images[0], args.latency_repeats)
        print(json.dumps(result))
    elif args.source is None:
        parser.error("give PH2's ZIP or folder")
    else:
        settings = FineTuneSettings(learns=args.what, epochs=args.epochs, learning_rate=args.learning_rate)
        result = ph2(args.source, args.weights, args.images, args.repeats, args.judged, settings)
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
