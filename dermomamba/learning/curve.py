"""The learning curve of a run: rows, CSV, and a picture."""

from __future__ import annotations

import csv
import os
import tempfile
from pathlib import Path
from typing import Any

COLUMNS = ("epoch", "seconds", "images", "images_per_second", "learning_rate", "train_loss", "val_iou", "val_dice")


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write the whole curve; the file is replaced at once.

    Args:
        path: the CSV file.
        rows: one for each validation, with the keys of ``COLUMNS``.
    """
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, newline="", encoding="utf-8") as draft:
        writer = csv.DictWriter(draft, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    os.replace(draft.name, path)


def plot(path: Path, rows: list[dict[str, Any]], title: str) -> None:
    """Draw loss and validation overlap over the epochs.

    Args:
        path: the PNG file.
        rows: one for each validation, with the keys of ``COLUMNS``.
        title: above the picture.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    left = figure.subplots()
    right = left.twinx()
    epochs = [row["epoch"] for row in rows]
    left.plot(epochs, [row["train_loss"] for row in rows], color="#444444", label="training loss")
    right.plot(epochs, [row["val_iou"] for row in rows], color="#0072b2", label="validation IoU")
    right.plot(epochs, [row["val_dice"] for row in rows], color="#d55e00", ls="--", label="validation Dice")
    left.set(xlabel="epoch", ylabel="training loss", title=title)
    right.set(ylabel="mean over validation images")
    figure.legend(loc="outside lower center", ncols=3)
    figure.savefig(path, dpi=120)
