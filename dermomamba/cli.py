"""The command line: ``dermomamba --help`` lists the commands, ``dermomamba COMMAND --help`` says what each needs.

Thin: arguments in, one call below, files out. ``python -m dermomamba.cli`` is the same.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dermomamba import __version__
from dermomamba.errors import DataError, DermoMambaError

NOTICE = "Research and teaching demonstration. Not a medical device. It measures, it does not diagnose."


def _predict(args: argparse.Namespace) -> int:
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
        measurements = measure(result.probability, mm_per_pixel, image=photo, threshold=args.threshold)
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
    parts = []
    for name in ("area", "longest_diameter", "border_irregularity"):
        m = measurements[name]
        value = f"{m.value:.4g} {m.unit}".strip() if m.valid and m.value is not None else f"not measured ({m.reason})"
        parts.append(f"{m.label} {value}")
    return "; ".join(parts)


def _batch(args: argparse.Namespace) -> int:
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
        words = "done before" if step.earlier else _amounts(step.values, step.units)
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


def _amounts(values: dict[str, float], units: dict[str, str]) -> str:
    names = [name for name in ("area", "longest_diameter", "border_irregularity") if name in values]
    shown = [
        f"{name.replace('_', ' ')} {values[name]:.4g} {units[name].replace('ratio', '')}".strip() for name in names
    ]
    return ", ".join(shown) or "outlined; nothing could be measured"


def _evaluate(args: argparse.Namespace) -> int:
    from dermomamba.evaluation import evaluate

    if args.compare:
        print(evaluate.compare_files(*args.compare))
        return 0
    if not args.data:
        raise DataError("Give a folder or ZIP with photos and masks, or --compare A.json B.json.")
    import numpy as np

    from dermomamba import Predictor
    from dermomamba.learning.datasets import read_ids
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


def _train(args: argparse.Namespace) -> int:
    import yaml

    from dermomamba.learning import training_data
    from dermomamba.learning.recipe import read_recipe
    from dermomamba.learning.train import Trainer

    changes = {}
    for change in args.set:
        key, separator, value = change.partition("=")
        if not separator:
            raise DataError(f"'{change}' is not a setting; write --set key=value.")
        changes[key] = yaml.safe_load(value)
    recipe = read_recipe(args.recipe, changes)
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


def _finetune(args: argparse.Namespace) -> int:
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


def _benchmark(args: argparse.Namespace) -> int:
    import torch

    from dermomamba import benchmark
    from dermomamba.export import write_bytes

    device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if args.device == "auto" else args.device)
    networks = list(benchmark.peers()) if args.peers or device.type == "cpu" else []
    result = benchmark.run(device, args.batch, args.mode, args.precision, networks, args.seconds)
    if args.json:
        write_bytes(Path(args.json), json.dumps(result, indent=1).encode())
    return 0


def _card(args: argparse.Namespace) -> int:
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
    write_bytes(path.parent / "MODEL_CARD.md", model_card.render(card).encode())
    print(f"written: {path.with_suffix('.json').name}, MODEL_CARD.md")
    return 0


def _info(args: argparse.Namespace) -> int:
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


def parser() -> argparse.ArgumentParser:
    """The whole command line; ``docs`` and tests read it too."""
    top = argparse.ArgumentParser(prog="dermomamba", description=f"Outline and measure skin lesions. {NOTICE}")
    top.add_argument("--version", action="version", version=__version__)
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=f"{text} {NOTICE}")
        sub.set_defaults(run=run)
        return sub

    def network_options(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("--weights", default="dermomamba-isic2018", help="shipped name or .safetensors file")
        sub.add_argument("--device", default="auto", help="auto (a GPU when there is one), cpu or cuda")
        sub.add_argument("--tta", action="store_true", help="average four mirrorings: slower, slightly better")

    sub = command("predict", _predict, "Outline and measure photos, as the page does.")
    sub.add_argument("images", nargs="+", metavar="IMAGE", help="JPEG, PNG, WebP, BMP or TIFF")
    sub.add_argument("--out", metavar="DIR", help="write mask, overlay, outline, measures and report here")
    sub.add_argument("--json", metavar="FILE", help="write all numbers of all photos here")
    sub.add_argument("--mm-per-pixel", type=float, metavar="F", help="scale of the photos; without it, pixels")
    sub.add_argument("--threshold", type=float, default=0.5, help="probability of the outline (default 0.5)")
    sub.add_argument("--keep-names", action="store_true", help="name the files after the photos, not image-1, ...")
    network_options(sub)

    sub = command("batch", _batch, "Outline and measure all photos of a folder or ZIP; run it again to go on.")
    sub.add_argument("source", metavar="FOLDER_OR_ZIP", help="photos, taken in the order of their names")
    sub.add_argument("--out", required=True, metavar="DIR", help="results, their ZIP, and the journal of what is done")
    sub.add_argument("--mm-per-pixel", type=float, metavar="F", help="one scale for all photos; without it, pixels")
    sub.add_argument("--keep-names", action="store_true", help="name the results after the photos, not image-0001, ...")
    sub.add_argument("--no-reports", dest="reports", action="store_false", help="leave the PDF reports out: quicker")
    network_options(sub)

    sub = command("evaluate", _evaluate, "Compare outlines with experts' masks.")
    sub.add_argument("data", nargs="*", metavar="FOLDER_OR_ZIP", help="images/ + masks/, ISIC names, or PH2's tree")
    sub.add_argument("--json", metavar="FILE", help="write all figures here")
    sub.add_argument("--csv", metavar="FILE", help="write a row for each image here")
    sub.add_argument("--report", metavar="FILE", help="one-page .png or .pdf")
    sub.add_argument("--ids", metavar="NAME_OR_FILE", help="only these ids: a text file, or isic2018_validation")
    sub.add_argument("--compare", nargs=2, metavar=("A.json", "B.json"), help="paired test between two results")
    network_options(sub)

    sub = command("train", _train, "Train the network by a recipe; torchrun starts it on several GPUs.")
    sub.add_argument("recipe", help="name of a shipped recipe, or a YAML file")
    sub.add_argument("--data", required=True, metavar="DIR", help="folder that holds the recipe's sources")
    sub.add_argument("--out", metavar="DIR", help="weights, curve and state (default runs/NAME)")
    sub.add_argument("--device", default="auto", help="auto, cpu, cuda")
    sub.add_argument("--resume", action="store_true", help="go on where a stopped run was")
    sub.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a setting of the recipe")
    sub.add_argument("--workers", type=int, default=4, help="threads that decode the photos")

    sub = command("finetune", _finetune, "Teach a copy of the weights your own photos, and say if it is better.")
    sub.add_argument("data", metavar="FOLDER_OR_ZIP", help="at least 4 photos with masks: images/ + masks/, ISIC names")
    sub.add_argument(
        "--out", required=True, metavar="FILE", help="new .safetensors file; its card is written beside it"
    )
    sub.add_argument(
        "--weights", default="dermomamba-isic2018", help="to begin with: shipped name or .safetensors file"
    )
    sub.add_argument("--what", default="decoder", choices=["decoder", "decoder+bottleneck", "all"], help="what learns")
    sub.add_argument("--epochs", type=int, metavar="N", help="passes over the photos (default 10, or as time allows)")
    sub.add_argument("--minutes", type=float, metavar="M", help="end the learning after this time")
    sub.add_argument("--learning-rate", type=float, default=3e-4, metavar="F", help="default 0.0003")
    sub.add_argument("--held-out", type=float, default=0.2, metavar="F", help="share kept apart to judge (default 0.2)")
    sub.add_argument("--seed", type=int, default=0, help="of split, order and variation")
    sub.add_argument("--device", default="auto", help="auto, cpu, cuda")
    sub.add_argument("--resume", action="store_true", help="go on where a stopped run was")

    sub = command("benchmark", _benchmark, "Time this network on every scan back end of this machine, with ratios.")
    sub.add_argument("--device", default="auto", help="auto, cpu or cuda")
    sub.add_argument("--batch", type=int, nargs="+", default=[1], metavar="N", help="images at once (default 1)")
    sub.add_argument(
        "--mode",
        nargs="+",
        default=["inference"],
        choices=["inference", "training", "decoder"],
        help="decoder: training with the encoder frozen",
    )
    sub.add_argument("--precision", nargs="+", default=["fp32"], choices=["fp32", "bf16"])
    sub.add_argument("--seconds", type=float, default=2.0, help="how long each case is repeated (default 2)")
    sub.add_argument("--peers", action="store_true", help="time other networks too (always on a processor)")
    sub.add_argument("--json", metavar="FILE", help="write all figures here")

    sub = command("card", _card, "Write MODEL_CARD.md from the card of some weights, with evaluations added.")
    sub.add_argument("weights", help="shipped name or .safetensors file")
    sub.add_argument("--evaluation", action="append", default=[], metavar="LABEL=FILE", help="a JSON of evaluate")

    command("info", _info, "Versions, scan back ends, weights, and what the network costs.")
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the words after ``dermomamba``; those of the process by default.

    Returns:
        0 when all went well, 1 when some photos were refused, 2 when nothing could be done.
    """
    args = parser().parse_args(argv)
    try:
        return args.run(args)
    except DermoMambaError as error:
        print(f"dermomamba: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("dermomamba: stopped", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
