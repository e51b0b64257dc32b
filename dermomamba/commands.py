"""What each command of the command line does: checked arguments in, one call below, lines and files out.

Each takes the words that ``cli`` has parsed and returns the exit status: 0, or 1 when some photos were left out. Each
imports what it needs itself, so that ``--help`` is quick.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dermomamba import __version__
from dermomamba.errors import DataError, DermoMambaError

if TYPE_CHECKING:
    from dermomamba.batch import Step

FIRST = ("area", "longest_diameter", "border_irregularity")
NOTICE = "Research and teaching demonstration. Not a medical device. It measures, it does not diagnose."


def predict(args: argparse.Namespace) -> int:
    """Outline and measure single photos."""
    from dermomamba import Predictor, measure
    from dermomamba.export import NOT_A_DEVICE, Record, as_dict, write, write_bytes
    from dermomamba.images import decode
    from dermomamba.measure.scale import by_number

    mm_per_pixel = None if args.mm_per_pixel is None else by_number(args.mm_per_pixel)
    predictor = Predictor.load(args.weights, args.device)
    done: list[dict[str, Any]] = []
    failed: list[dict[str, str]] = []
    for number, path in enumerate(args.images, start=1):
        case = Path(path).stem if args.keep_names else f"image-{number}"
        try:
            photo = decode(path)
        except DermoMambaError as error:
            failed.append({"case_id": case, "reason": str(error)})
            print(f"{case}: {error}", file=sys.stderr)
            continue
        result = predictor(photo, tta=args.tta, threshold=args.threshold)
        measurements = measure(
            result.probability,
            mm_per_pixel,
            image=photo,
            threshold=args.threshold,
            weights_sha256=result.weights_sha256,
        )
        record = Record(photo, result, measurements, "entered" if mm_per_pixel else "", case)
        done.append(as_dict(record))
        print(f"{case}: {_summary(measurements)}")
        if args.out:
            write(record, args.out)
    if args.json:
        content = {"notice": NOT_A_DEVICE, "images": done, "failed": failed}
        write_bytes(Path(args.json), json.dumps(content, indent=1, ensure_ascii=False).encode())
    return 1 if failed else 0


def _summary(measurements: Any) -> str:
    """Area, longest diameter and border irregularity in one line."""
    from dermomamba.export import amount, not_measured

    parts = []
    for name in FIRST:
        m = measurements[name]
        good = m.valid and m.value is not None
        value = amount(m.value, m.unit, m.interval, m.interval_label) if good else not_measured(m, "").rstrip(".")
        parts.append(f"{m.label} {value}")
    return "; ".join(parts)


def batch(args: argparse.Namespace) -> int:
    """Outline and measure a folder or ZIP of photos, going on where it was."""
    from dermomamba import Predictor, batch
    from dermomamba.measure.scale import by_number

    source, out = Path(args.source), Path(args.out)
    if not source.exists():
        raise DataError(f"There is no folder or ZIP file at {source}.")
    if source.is_dir() and out.resolve().is_relative_to(source.resolve()):
        raise DataError("The results would lie among the photos. Choose a folder for --out outside of them.")
    mm_per_pixel = None if args.mm_per_pixel is None else by_number(args.mm_per_pixel)
    photos = batch.items([source], sys.maxsize)
    if not photos:
        raise DataError(f"There are no photos in {source}.")
    predictor = Predictor.load(args.weights, args.device)
    memory = [batch.resident_mb()]
    measured = earlier = skipped = 0
    began = time.monotonic()
    for step in batch.run(photos, predictor, out, mm_per_pixel, args.keep_names, args.reports, args.tta):
        if step.reason:
            skipped += 1
            print(f"[{step.number}/{step.total}] left out: {step.reason}", file=sys.stderr, flush=True)
            continue
        earlier += step.earlier
        measured += not step.earlier
        words = "done before" if step.earlier else _amounts(step)
        print(f"[{step.number}/{step.total}] {step.case}: {words}", flush=True)
        if step.number == (step.total + 1) // 2:
            memory.append(batch.resident_mb())
    seconds = time.monotonic() - began
    memory.append(batch.resident_mb())
    print(f"{measured} photos measured in {seconds:.1f} s ({60 * measured / max(seconds, 1e-3):.1f} a minute)", end="")
    print(f", {earlier} done before, {skipped} left out.")
    if None not in memory:
        print("memory at the start, half-way and at the end: " + ", ".join(f"{value:.0f} MB" for value in memory))
    print(f"written: {out / batch.ARCHIVE}")
    return 1 if skipped else 0


def _amounts(step: Step) -> str:
    """The same of a photo of a batch."""
    from dermomamba.export import amount

    names = [name for name in FIRST if name in step.values]
    shown = []
    for name in names:
        label = step.interval_labels.get(name, "")
        value = amount(step.values[name], step.units[name], step.intervals.get(name), label)
        shown.append(f"{name.replace('_', ' ')} {value}")
    return ", ".join(shown) or "; ".join(["outlined; neither size nor border measured", *step.warnings])


def evaluate(args: argparse.Namespace) -> int:
    """Compare outlines with masks, or two such results with each other."""
    from dermomamba.evaluation import evaluate

    if args.compare:
        if args.json or args.csv or args.report or args.data:
            raise DataError("--compare prints a paired test and writes no file: leave --json, --csv, --report out.")
        print(evaluate.compare_files(*args.compare))
        return 0
    if not args.data:
        raise DataError("Give a folder or ZIP with photos and masks, or --compare A.json B.json.")
    import numpy as np

    from dermomamba import Predictor
    from dermomamba.learning.partition import read_ids
    from dermomamba.resample import to_photo

    predictor = Predictor.load(args.weights, args.device)
    only = read_ids(args.ids) if args.ids else None

    def predict(photo: np.ndarray) -> np.ndarray:
        small = predictor.averaged(photo) if args.tta else next(predictor.variants(photo))
        return to_photo(small, photo.shape[:2])

    meta = {"tta": args.tta, "device": str(predictor.device), "scan_backend": predictor.scan_backend}
    result = evaluate.run(
        args.data,
        predict,
        args.json,
        csv_path=args.csv,
        report_path=args.report,
        weights_name=predictor.weights.name,
        meta=meta | {"weights_sha256": predictor.weights.sha256},
        progress=sys.stderr.isatty(),
        only=only,
    )
    print(f"n = {result['n']}, weights {result['weights']}")
    for name, value in result["metrics"].items():
        print(f"{name:20} {value['mean']:.4f}  [{value['low']:.4f}, {value['high']:.4f}]")
    return 0


def train(args: argparse.Namespace) -> int:
    """Train the network by a recipe."""
    from dermomamba.learning import training_data
    from dermomamba.learning.recipe import changes_of, read_recipe
    from dermomamba.learning.train import Trainer

    recipe = read_recipe(args.recipe, changes_of(args.set))
    folder = Path(args.out or Path("runs") / recipe.name)
    folder.mkdir(parents=True, exist_ok=True)
    data = training_data.load(recipe, Path(args.data), args.workers)
    trainer = Trainer(recipe, data, folder, args.device)
    outcome = trainer.run(args.resume)
    if trainer.process.rank:
        return 0  # the first process tells
    best = outcome.best
    print(f"best at epoch {best['epoch']}: validation IoU {best['val_iou']:.4f}, Dice {best['val_dice']:.4f}")
    print(f"weights: {outcome.weights}")
    return 0


def finetune(args: argparse.Namespace) -> int:
    """Teach a copy of some weights the user's own photos, and compare it with them."""
    import shutil

    from dermomamba import weights
    from dermomamba.learning.datasets import read_pairs
    from dermomamba.learning.finetune import fine_tune
    from dermomamba.learning.finetune_settings import FineTuneSettings, Progress

    out = Path(args.out)
    if out.suffix != ".safetensors":
        raise DataError(f"The new weights must be named .safetensors, not '{out.name}'.")
    if out.resolve() == weights.locate(args.weights).resolve():
        raise DataError("The new weights would replace those they begin with. Choose another name for --out.")
    if out.exists():
        raise DataError(f"There are already weights at {out}. Choose another name for --out, or move them away.")
    seconds = None if args.minutes is None else 60 * args.minutes
    epochs = args.epochs or (10 if seconds is None else 10_000)
    settings = FineTuneSettings(args.what, epochs, seconds, args.learning_rate, args.held_out, seed=args.seed)
    base, pairs = weights.load(args.weights), read_pairs(args.data).raise_if_empty()
    if pairs.problems:
        print(pairs.report(), file=sys.stderr)
    unfinished = out.with_suffix(".unfinished")
    if not args.resume:
        shutil.rmtree(unfinished, ignore_errors=True)

    def show(progress: Progress) -> None:
        if progress.preview is not None:
            row = progress.rows[-1]
            print(
                f"epoch {row['epoch']}: loss {row['train_loss']:.4f}, Dice of the held-out photos "
                f"{row['val_dice']:.4f}, {progress.seconds_left or 0:.0f} s left",
                flush=True,
            )

    result = fine_tune(base, pairs, settings, args.device, on_progress=show, folder=unfinished, name=out.stem)
    weights.save(out, result.state_dict, result.card)
    shutil.rmtree(unfinished, ignore_errors=True)
    for problem in result.problems:
        print(problem, file=sys.stderr)
    print(result.comparison.table())
    print(f"kept: epoch {result.card['validation']['epoch']} (0 is the base). weights: {out}")
    return 0


def benchmark(args: argparse.Namespace) -> int:
    """Time the network, and others, on this machine."""
    import torch

    from dermomamba import benchmark
    from dermomamba.export import write_bytes

    device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if args.device == "auto" else args.device)
    networks = list(benchmark.peers()) if args.peers or device.type == "cpu" else []
    result = benchmark.run(device, args.batch, args.mode, args.precision, networks, args.seconds)
    if args.json:
        write_bytes(Path(args.json), json.dumps(result, indent=1).encode())
    return 0


def card(args: argparse.Namespace) -> int:
    """Write the model card of some weights again, with evaluations added."""
    from dermomamba import model_card, weights
    from dermomamba.export import write_bytes

    path = weights.locate(args.weights)
    card = weights.read_card(path)
    for addition in args.evaluation:
        label, separator, file = addition.rpartition("=")
        if not separator:
            raise DataError(f"'{addition}' is not an evaluation; write --evaluation 'LABEL=FILE.json'.")
        card = model_card.with_evaluation(card, label, json.loads(Path(file).read_text(encoding="utf-8")))
    write_bytes(path.with_suffix(".json"), (json.dumps(card, indent=1, ensure_ascii=False) + "\n").encode())
    write_bytes(path.with_suffix(".md"), model_card.render(card).encode())
    print(f"written: {path.stem}.json, {path.stem}.md")
    return 0


def info(args: argparse.Namespace) -> int:
    """Print versions, scan back ends, weights and the network's cost."""
    import torch

    from dermomamba import weights
    from dermomamba.network.cost import count
    from dermomamba.scan import backend_for

    cost = count()
    print(f"DermoMamba Studio {__version__}. {NOTICE}")
    print(f"python {platform.python_version()}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    for device in ["cpu"] + [f"cuda:{i}" for i in range(torch.cuda.device_count())]:
        print(f"scan on {device}: {backend_for(torch.device(device))}")
    print(f"network for {192}x{256} pixels: {cost.parameters:,} parameters")
    print(f"cost as the paper counts: {cost.paper / 1e9:.3f} GMAC (string-padded convolutions and scans left out)")
    print(f"cost in full: {cost.macs / 1e9:.3f} GMAC + {cost.scan_ops / 1e9:.3f} G operations of the scans", end="")
    print(f" = {cost.total / 1e9:.3f} G; {cost.scan_states / 1e6:.1f} M state updates")
    for name in weights.available():
        card = weights.read_card(weights.locate(name))
        print(f"weights {name}: {card.get('description', 'no card')} Licence {card.get('licence', 'unknown')}.")
    return 0
