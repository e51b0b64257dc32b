"""The evaluation on one A4 page: table, histogram, reliability curve, the ten worst photos with both outlines.

Colours are Okabe and Ito's (jfly.uni-koeln.de/color), told apart by line style too; the scale of every plot is fixed
to [0, 1], so that two reports can be laid side by side.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dermomamba.export import NOT_A_DEVICE

KINDS = (".png", ".pdf")
BLUE, ORANGE, SKY, YELLOW, GREY = "#0072B2", "#D55E00", "#56B4E9", "#F0E442", "#555555"
_LABELS = {
    "dice": "Dice",
    "iou": "IoU (Jaccard)",
    "threshold_jaccard": "Threshold Jaccard",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "precision": "Precision",
    "accuracy": "Accuracy",
    "boundary_iou": "Boundary IoU",
    "nsd": "Surface Dice (NSD)",
    "hd95": "HD95, px",
    "hd95_relative": "HD95 / diagonal",
}
_SIDE = 360


@dataclass(frozen=True)
class Worst:
    """One of the photos with the lowest IoU, small enough to keep.

    Attributes:
        id: its name.
        iou, dice: fractions.
        image: (h, w, 3) uint8, at most 360 px long.
        truth, predicted: (h, w) float32 in [0, 1], the share of lesion in each thumbnail pixel.
    """

    id: str
    iou: float
    dice: float
    image: np.ndarray
    truth: np.ndarray
    predicted: np.ndarray


def thumbnail(image: np.ndarray, truth: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Photo and both masks, shrunk to at most 360 px; the last three fields of Worst."""
    factor = min(1.0, _SIDE / max(image.shape[:2]))
    size = (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))
    small = [
        cv2.resize(a, size, interpolation=cv2.INTER_AREA)
        for a in (image, truth.astype(np.float32), predicted.astype(np.float32))
    ]
    return small[0], small[1], small[2]


def render(result: Mapping[str, Any], worst: Sequence[Worst], kind: str) -> bytes:
    """Draw the page.

    Args:
        result: what ``evaluate.run`` returns.
        worst: photos to show, worst first; up to ten.
        kind: "png" or "pdf".

    Returns:
        The file's bytes, without date or user in its metadata.
    """
    page = Figure(figsize=(8.27, 11.69), layout=None)
    grid = page.add_gridspec(
        4,
        2,
        left=0.08,
        right=0.95,
        top=0.895,
        bottom=0.10,
        height_ratios=(1.0, 1.0, 0.62, 0.62),
        hspace=0.42,
        wspace=0.28,
    )
    page.text(0.08, 0.965, "DermoMamba: outlines compared with experts' masks", fontsize=15, weight="bold")
    sources = _short(", ".join(result.get("sources", [])), 70)
    page.text(0.08, 0.945, f"weights {result.get('weights') or 'unnamed'}; n = {result['n']}; {sources}", fontsize=9)
    below = result["below_065"]
    page.text(
        0.08, 0.928, f"{below['count']} photos ({below['share']:.1%}) have an IoU below 0.65; "
        f"{len(result['left_out'])} pairs were left out.", fontsize=9,
    )  # fmt: skip
    _table(page.add_subplot(grid[0:2, 0]), result)
    _histogram(page.add_subplot(grid[0, 1]), result)
    _reliability(page.add_subplot(grid[1, 1]), result["calibration"])
    _worst(page, grid[2:4, :], worst)
    page.text(0.08, 0.012, NOT_A_DEVICE, fontsize=9, weight="bold")
    page.text(0.08, 0.032, _wrapped(result["protocol"], 142), fontsize=6, color=GREY, va="bottom")
    out = io.BytesIO()
    # None removes what matplotlib would put in by itself: the date and the software's version.
    blank = {"Software": None} if kind == "png" else {"CreationDate": None, "Creator": None, "Producer": None}
    page.savefig(out, format=kind, dpi=150, metadata=blank)
    return out.getvalue()


def _table(axes: Axes, result: Mapping[str, Any]) -> None:
    """Means with intervals, the published arithmetic below a heading of its own."""
    rows = [("Mean over photos", "value", "95% interval")]
    heads = [0]
    for name, m in result["metrics"].items():
        rows.append((_LABELS.get(name, name), *_numbers(m, 2 if m["unit"] == "px" else 4)))
    if result["calibration"]:
        rows.append(("ECE near the outline", *_numbers(result["calibration"]["ece"])))
    heads.append(len(rows))
    rows.append(("As the published code computes", "", ""))
    published = result["published"]
    for name, label in (("dice", "Soft Dice"), ("iou", "IoU"), ("precision", "Precision"), ("recall", "Recall")):
        rows.append((label, *_numbers(published[name])))
    rows.append(("Soft Dice, all pooled", f"{published['pooled']['dice']:.4f}", ""))
    rows.append(("IoU, all pooled", f"{published['pooled']['iou']:.4f}", ""))
    axes.axis("off")
    table = axes.table(rows, colWidths=(0.5, 0.16, 0.34), cellLoc="left", loc="upper left", edges="B")
    table.auto_set_font_size(False)
    table.set_fontsize(8)
    for (row, _), cell in table.get_celld().items():
        cell.set_edgecolor("#cccccc")
        cell.set_height(1.0 / 21)
        if row in heads:
            cell.set_text_props(weight="bold")


def _numbers(m: Mapping[str, Any], digits: int = 4) -> tuple[str, str]:
    return f"{m['mean']:.{digits}f}", f"{m['low']:.{digits}f} to {m['high']:.{digits}f}"


def _histogram(axes: Axes, result: Mapping[str, Any]) -> None:
    edges = [i / 40 for i in range(41)]
    for name, colour, style in (("dice", BLUE, "-"), ("iou", ORANGE, "--")):
        values = [row[name] for row in result["images"]]
        label = f"{_LABELS[name]}, median {np.median(values):.3f}"
        axes.hist(values, edges, histtype="step", color=colour, linestyle=style, linewidth=1.5, label=label)
    axes.axvline(0.65, color=GREY, linewidth=0.8, linestyle=":")
    axes.set(xlim=(0, 1), xlabel="per photo", ylabel="photos", title="How the photos are spread")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="upper left", fontsize=7, frameon=False)
    _tidy(axes)


def _reliability(axes: Axes, calibration: Mapping[str, Any]) -> None:
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":", label="perfect")
    if calibration:
        curve = calibration["curve"]
        axes.plot(
            [row["predicted"] for row in curve], [row["observed"] for row in curve], "o-", color=BLUE, markersize=3.5,
            linewidth=1.3, label=f"ECE {calibration['ece']['mean']:.3f}",
        )  # fmt: skip
        shares = [row["share"] for row in curve]
        axes.bar([row["from"] for row in curve], shares, [row["to"] - row["from"] for row in curve], align="edge",
                 color=SKY, alpha=0.4, label="share of pixels")  # fmt: skip
    axes.set(
        xlim=(0, 1), ylim=(0, 1), xlabel="predicted probability", ylabel="share that is lesion",
        title="Reliability near the outline",
    )  # fmt: skip
    axes.legend(loc="upper left", fontsize=7, frameon=False)
    _tidy(axes)


def _tidy(axes: Axes) -> None:
    axes.title.set_fontsize(9)
    axes.xaxis.label.set_fontsize(8)
    axes.yaxis.label.set_fontsize(8)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)


def _worst(page: Figure, place: Any, worst: Sequence[Worst]) -> None:
    cells = place.subgridspec(2, 5, hspace=0.25, wspace=0.06)
    for number in range(10):
        axes = page.add_subplot(cells[number // 5, number % 5])
        axes.axis("off")
        if number >= len(worst):
            continue
        entry = worst[number]
        axes.imshow(entry.image)
        for mask, colour, style in ((entry.truth, SKY, "solid"), (entry.predicted, YELLOW, "dashed")):
            if mask.max() > 0.5 > mask.min():
                axes.contour(mask, [0.5], colors="black", linewidths=2.2, linestyles=style)
                axes.contour(mask, [0.5], colors=colour, linewidths=1.3, linestyles=style)
        axes.set_title(f"{_short(entry.id, 22)}\nIoU {entry.iou:.2f}, Dice {entry.dice:.2f}", fontsize=6.5)
    if worst:
        box = place.get_position(page)
        page.text(
            0.08, box.y0 - 0.014, f"The {len(worst)} lowest IoU, worst first. Solid light blue: expert's mask. "
            "Dashed yellow: predicted.", fontsize=8,
        )  # fmt: skip


def _wrapped(text: str, width: int) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(text, width))


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
