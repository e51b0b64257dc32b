"""Table and scatter plot (accuracy against cost) of ``compare.py``, for ``docs/results.md``.

Each number of epochs has its own table. Several seeds of a network are one line: means over the seeds of the means over
the photos; the interval is the mean of the seeds' bootstrap intervals over photos, the spread over seeds stands
beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from experiment_table import between, rows_of

SET = "isic2018_validation"
PLOT = "comparison.png"
NAMED_LEFT = ("DermoMamba", "UNet++")  # their neighbours, which cost about the same, have their names on the right
HEAD = (
    "| network | seeds | validation IoU (95 %) | spread over seeds | Dice | parameters | G, paper's count | G, in full "
    "| CPU ms | GPU images/s | images seen | training s | machine |\n" + "|---" * 13 + "|"
)


def lines_of(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One record for each number of epochs and network: the fewest epochs first, networks in the order of their rows.

    Times come from one machine: those on a processor from a run that only timed, where there is one; those on a GPU
    from the newest row's.
    """
    names = list(dict.fromkeys(row["what"] for row in rows))
    trained = [row for row in rows if not row["failed"] and not row.get("only_timed")]
    budgets = sorted({_epochs(row) for row in trained}) or [0]
    newest = {epochs: [r["machine"] for r in trained if _epochs(r) == epochs][-1] for epochs in budgets if trained}
    out = []
    for epochs in budgets:
        for name in names:
            several = [row for row in rows if row["what"] == name]
            good = [row for row in trained if row["what"] == name and _epochs(row) == epochs]
            if good:
                out.append(_record(name, epochs, several, good, newest[epochs]))
            elif epochs == budgets[0]:  # a longer budget is for some of the networks only
                reasons = [row["failed"] for row in several if row["failed"]]
                out.append({"what": name, "failed": reasons[-1] if reasons else "not trained yet", "epochs": epochs})
    return out


def _epochs(row: Mapping[str, Any]) -> int:
    return int((row.get("recipe") or {}).get("epochs") or 0)


def _record(
    name: str, epochs: int, several: Sequence[Mapping[str, Any]], good: Sequence[Mapping[str, Any]], machine: str
) -> dict[str, Any]:
    """One network's figures over its seeds."""
    timed = [row for row in several if not row["failed"] and "cpu_ms" in row]
    timed = [row for row in timed if row.get("only_timed")] or timed  # one machine for every network
    there = [row for row in good if row["machine"] == machine] or list(good)
    ious = [row["sets"][SET]["iou"] for row in good]
    record: dict[str, Any] = {"what": name, "failed": "", "epochs": epochs, "seeds": len(good)}
    record |= {key: mean(iou[key] for iou in ious) for key in ("mean", "low", "high")}
    record["spread"] = max(i["mean"] for i in ious) - min(i["mean"] for i in ious)
    record["dice"] = mean(row["sets"][SET]["dice"]["mean"] for row in good)
    record["machine"] = there[-1]["machine"]
    from_ = {"cpu_ms": timed, "gpu_images_per_second": there, "seconds": there}
    for key in ("parameters", "paper_gmac", "full_gops", "cpu_ms", "gpu_images_per_second", "images", "seconds"):
        values = [row[key] for row in from_.get(key, good) if key in row]
        record[key] = mean(values) if values else None
    return record


def _cell(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:,.{digits}f}"


def line(record: Mapping[str, Any]) -> str:
    """One network as a line of the table; IoU and Dice in per cent."""
    if record["failed"]:
        reason = " ".join(str(record["failed"]).split())[:160].replace("|", "/")
        return f"| {record['what']} | | not compared: {reason} |" + " |" * 10
    cells = [
        record["what"],
        record["seeds"],
        f"{100 * record['mean']:.2f} ({100 * record['low']:.2f} to {100 * record['high']:.2f})",
        f"{100 * record['spread']:.2f}" if record["seeds"] > 1 else "",
        f"{100 * record['dice']:.2f}",
        _cell(record["parameters"], 0),
        _cell(record["paper_gmac"], 3),
        _cell(record["full_gops"], 3),
        _cell(record["cpu_ms"], 0),
        _cell(record["gpu_images_per_second"], 0),
        _cell(record["images"], 0),
        _cell(record["seconds"], 0),
        record["machine"],
    ]
    return "| " + " | ".join(map(str, cells)) + " |"


def scatter(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Accuracy against cost of every network; beside it DermoMamba without its parts, which costs nearly the same."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.8), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    parts = [record for record in records if _is_part(record["what"])]
    _against_cost(left, [record for record in records if record not in parts])
    shortest = min((record["epochs"] for record in parts), default=0)
    whole = [record for record in records if record["what"] == "DermoMamba" and record["epochs"] == shortest]
    _side_by_side(right, [*whole, *(record for record in parts if record["epochs"] == shortest)], shortest)
    figure.savefig(path, dpi=130, metadata={"Software": None})


def _is_part(name: str) -> bool:
    return name.startswith(("without ", "DermoMamba, "))


def _reach(record: Mapping[str, Any]) -> list[list[float]]:
    """Lengths of the interval below and above the mean, in per cent."""
    return [[100 * (record["mean"] - record["low"])], [100 * (record["high"] - record["mean"])]]


def _against_cost(axes: Any, records: Sequence[Mapping[str, Any]]) -> None:
    """Each network's validation IoU over its operations; hollow where trained for less long than others."""
    longest = max((record["epochs"] for record in records), default=0)
    labelled = set()
    for record in reversed(records):  # the longest trained first: a name stands once, beside the best of its points
        own = record["what"] == "DermoMamba"
        colour, marker = ("#0072B2", "o") if own else ("#D55E00", "s")
        filled = colour if record["epochs"] == longest else "white"
        place = (record["full_gops"], 100 * record["mean"])
        axes.errorbar(
            *place, yerr=_reach(record), fmt=marker, color=colour, markerfacecolor=filled, capsize=3, linewidth=1
        )
        if record["what"] not in labelled:
            offset, side = ((-7, 5), "right") if record["what"] in NAMED_LEFT else ((7, 5), "left")
            axes.annotate(record["what"], place, textcoords="offset points", xytext=offset, ha=side, fontsize=8)
        labelled.add(record["what"])
    shorter = sorted({record["epochs"] for record in records} - {longest})
    title = f"hollow: {', '.join(map(str, shorter))} epochs, filled: {longest}" if shorter else ""
    axes.set(
        title=title,
        xscale="log",
        xlabel="G operations, all counted, one image of 192 x 256",
        ylabel="validation IoU, per cent (95 % interval)",
    )
    ticks = (1, 2, 5, 10, 20, 50)
    axes.set_xticks(ticks, map(str, ticks))
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.margins(x=0.25)


def _side_by_side(axes: Any, records: Sequence[Mapping[str, Any]], epochs: int) -> None:
    """DermoMamba and what differs from it by one part, one below the other."""
    for row, record in enumerate(records):
        axes.errorbar(
            100 * record["mean"], row, xerr=_reach(record), fmt="o", color="#0072B2", markerfacecolor="white", capsize=3
        )
    axes.set_yticks(range(len(records)), [record["what"] for record in records])
    axes.invert_yaxis()
    axes.set(title=f"{epochs} epochs" if epochs else "", xlabel="validation IoU, per cent (95 % interval)")
    axes.grid(alpha=0.3)
    axes.margins(y=0.12)


def write_comparison(document: Path, results: Path) -> None:
    """Write a table for each number of epochs, and the plot, from ``results`` into the document and beside it."""
    records = lines_of(rows_of(results))
    good = [record for record in records if not record["failed"]]
    parts = []
    for epochs in dict.fromkeys(record["epochs"] for record in records):
        some = [line(record) for record in records if record["epochs"] == epochs]
        parts.append("\n".join([*([f"**{epochs} epochs**", ""] if epochs else []), HEAD, *some]))
    if good:
        scatter(document.parent / PLOT, good)
        parts.append(f"![Accuracy against cost]({PLOT})")
    between(document, "comparison", "\n\n".join(parts) or "Not run yet.")
