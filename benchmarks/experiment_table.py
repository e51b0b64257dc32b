"""The table of experiments in ``docs/results.md``, written between two marks from the rows of ``experiments.py``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HEAD = (
    "| what | seed | validation IoU (95 %), n | Dice | IoU with flips | HAM10000 Dice, n | PH2 Dice, n "
    "| images seen (kept at) | seconds | machine |\n|---|---|---|---|---|---|---|---|---|---|"
)


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON-lines file; none where there is no file."""
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _figure(row: Mapping[str, Any], name: str, metric: str, interval: bool = False, count: bool = True) -> str:
    found = row.get("sets", {}).get(name, {}).get(metric)
    if not found:
        return ""
    text = f"{100 * found['mean']:.2f}"
    text += f" ({100 * found['low']:.2f} to {100 * found['high']:.2f})" if interval else ""
    return text + (f", {found['n']}" if count else "")


def _images(row: Mapping[str, Any]) -> str:
    """How many images a run saw, and how many when the average was kept that it is judged by."""
    kept = [point["images"] for point in row.get("curve", []) if point["epoch"] == row.get("epoch")]
    return f"{row['images']} ({kept[0]})" if kept and kept[0] != row["images"] else str(row["images"])


def line(row: Mapping[str, Any]) -> str:
    """One experiment as a line of the table, in per cent; a failed one says why."""
    if row["failed"]:
        reason = " ".join(str(row["failed"]).split())[:160].replace("|", "/")
        return f"| {row['what']} | {row['seed']} | failed: {reason} | | | | | | {row['seconds']} | {row['machine']} |"
    isic, folds = "isic2018_validation", _figure(row, "ph2_folds", "dice")
    cells = [
        row["what"],
        row["seed"],
        _figure(row, isic, "iou", interval=True),
        _figure(row, isic, "dice", count=False),
        _figure(row, f"{isic}+flips", "iou", count=False),
        _figure(row, "ham10000_validation", "dice"),
        f"{folds} in folds" if folds else _figure(row, "ph2_half", "dice"),
        _images(row),
        row["seconds"],
        row["machine"],
    ]
    return "| " + " | ".join(map(str, cells)) + " |"


def between(path: Path, mark: str, content: str) -> None:
    """Replace what stands between ``<!-- mark -->`` and ``<!-- /mark -->`` in a file.

    Raises:
        ValueError: the marks are not there.
    """
    text = path.read_text(encoding="utf-8")
    before, found, rest = text.partition(f"<!-- {mark} -->\n")
    _, closed, after = rest.partition(f"<!-- /{mark} -->")
    if not (found and closed):
        raise ValueError(f"{path} has no place between <!-- {mark} --> and <!-- /{mark} -->")
    path.write_text(f"{before}{found}{content.rstrip()}\n{closed}{after}", encoding="utf-8")


def write_table(document: Path, results: Path) -> None:
    """Write all experiments of ``results`` into the document."""
    rows = rows_of(results)
    between(document, "experiments", "\n".join([HEAD, *map(line, rows)]) if rows else "None has been run yet.")
