"""The command line: ``dermomamba --help`` lists the commands, ``dermomamba COMMAND --help`` says what each needs.

What the commands do is in ``commands``. ``python -m dermomamba.cli`` is the same.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from dermomamba import __version__, commands
from dermomamba.commands import NOTICE
from dermomamba.errors import DermoMambaError


def above_zero(kind: Callable[[str], float]) -> Callable[[str], float]:
    """An argument that must be a number above zero: for argparse's ``type``."""

    def number(word: str) -> float:
        if not 0 < (value := kind(word)) < float("inf"):
            raise argparse.ArgumentTypeError(f"{word} is not above zero")
        return value

    number.__name__ = kind.__name__  # argparse names it when the word is no number at all
    return number


def parser() -> argparse.ArgumentParser:
    """The whole command line; ``docs`` and tests read it too."""
    top = argparse.ArgumentParser(prog="dermomamba", description=f"Outline and measure skin lesions. {NOTICE}")
    top.add_argument("--version", action="version", version=__version__)
    choice = top.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        sub = choice.add_parser(name, help=text, description=f"{text} {NOTICE}")
        sub.set_defaults(run=run)
        return sub

    def network_options(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("--weights", default="dermomamba-derm", help="shipped name or .safetensors file")
        sub.add_argument("--device", default="auto", help="auto (a GPU when there is one), cpu or cuda")
        sub.add_argument(
            "--tta", action="store_true", help="average four mirrorings: four times slower, on average no better"
        )

    sub = command("predict", commands.predict, "Outline and measure photos, as the page does.")
    sub.add_argument("images", nargs="+", metavar="IMAGE", help="JPEG, PNG, WebP, BMP or TIFF")
    sub.add_argument("--out", metavar="DIR", help="write mask, overlay, outline, measures and report here")
    sub.add_argument("--json", metavar="FILE", help="write all numbers of all photos here")
    sub.add_argument("--mm-per-pixel", type=float, metavar="F", help="scale of the photos; without it, pixels")
    sub.add_argument("--threshold", type=float, default=0.5, help="probability of the outline (default 0.5)")
    sub.add_argument("--keep-names", action="store_true", help="name the files after the photos, not image-1, ...")
    network_options(sub)

    sub = command("batch", commands.batch, "Outline and measure all photos of a folder or ZIP; run it again to go on.")
    sub.add_argument("source", metavar="FOLDER_OR_ZIP", help="photos, taken in the order of their names")
    sub.add_argument("--out", required=True, metavar="DIR", help="results, their ZIP, and the journal of what is done")
    sub.add_argument("--mm-per-pixel", type=float, metavar="F", help="one scale for all photos; without it, pixels")
    sub.add_argument("--keep-names", action="store_true", help="name the results after the photos, not image-0001, ...")
    sub.add_argument("--no-reports", dest="reports", action="store_false", help="leave the PDF reports out: quicker")
    network_options(sub)

    sub = command("evaluate", commands.evaluate, "Compare outlines with experts' masks.")
    sub.add_argument("data", nargs="*", metavar="FOLDER_OR_ZIP", help="images/ + masks/, ISIC names, or PH2's tree")
    sub.add_argument("--json", metavar="FILE", help="write all figures here")
    sub.add_argument("--csv", metavar="FILE", help="write a row for each image here")
    sub.add_argument("--report", metavar="FILE", help="one-page .png or .pdf")
    sub.add_argument("--ids", metavar="NAME_OR_FILE", help="only these ids: a text file, or isic2018_validation")
    sub.add_argument("--compare", nargs=2, metavar=("A.json", "B.json"), help="paired test between two results")
    network_options(sub)

    sub = command("train", commands.train, "Train the network by a recipe; torchrun starts it on several GPUs.")
    sub.add_argument("recipe", help="name of a shipped recipe, or a YAML file")
    sub.add_argument("--data", required=True, metavar="DIR", help="folder that holds the recipe's sources")
    sub.add_argument("--out", metavar="DIR", help="weights, curve and state (default runs/NAME)")
    sub.add_argument("--device", default="auto", help="auto, cpu, cuda")
    sub.add_argument("--resume", action="store_true", help="go on where a stopped run was")
    sub.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a setting of the recipe")
    sub.add_argument("--workers", type=above_zero(int), default=4, help="threads that decode the photos")

    sub = command(
        "finetune", commands.finetune, "Teach a copy of the weights your own photos, and say if it is better."
    )
    sub.add_argument("data", metavar="FOLDER_OR_ZIP", help="at least 4 photos with masks: images/ + masks/, ISIC names")
    sub.add_argument(
        "--out", required=True, metavar="FILE", help="new .safetensors file; its card is written beside it"
    )
    sub.add_argument("--weights", default="dermomamba-derm", help="to begin with: shipped name or .safetensors file")
    sub.add_argument("--what", default="decoder", choices=["decoder", "decoder+bottleneck", "all"], help="what learns")
    sub.add_argument("--epochs", type=int, metavar="N", help="passes over the photos (default 10, or as time allows)")
    sub.add_argument("--minutes", type=above_zero(float), metavar="M", help="end the learning after this time")
    sub.add_argument("--learning-rate", type=float, default=3e-4, metavar="F", help="default 0.0003")
    sub.add_argument("--held-out", type=float, default=0.2, metavar="F", help="share kept apart to judge (default 0.2)")
    sub.add_argument("--seed", type=int, default=0, help="of split, order and variation")
    sub.add_argument("--device", default="auto", help="auto, cpu, cuda")
    sub.add_argument("--resume", action="store_true", help="go on where a stopped run was")

    sub = command(
        "benchmark", commands.benchmark, "Time this network on every scan back end of this machine, with ratios."
    )
    sub.add_argument("--device", default="auto", help="auto, cpu or cuda")
    sub.add_argument(
        "--batch", type=above_zero(int), nargs="+", default=[1], metavar="N", help="images at once (default 1)"
    )
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

    sub = command("card", commands.card, "Write the model card of weights as a page (NAME.md), with evaluations added.")
    sub.add_argument("weights", help="shipped name or .safetensors file")
    sub.add_argument("--evaluation", action="append", default=[], metavar="LABEL=FILE", help="a JSON of evaluate")

    command("info", commands.info, "Versions, scan back ends, weights, and what the network costs.")
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
