"""Table and scatter plot (accuracy against cost) of ``compare.py``, for ``docs/results.md``.

Several seeds of a network are one line: means over the seeds of the means over the photos; the interval is the mean of
the seeds' bootstrap intervals over photos, the spread over seeds stands beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from experiment_table import between, rows_of

SET = "isic2018_validation"
PLOT = "comparison.png"
HEAD = (
    "| network | seeds | validation IoU (95 %) | spread over seeds | Dice | parameters | G, paper's count | G, in full "
    "| CPU ms | GPU images/s | images seen | training s | machine |\n" + "|---" * 13 + "|"
)


def lines_of(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One record a network, in the order of their first rows."""
    named: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        named.setdefault(row["what"], []).append(row)
    out = []
    for name, several in named.items():
        good = [row for row in several if not row["failed"] and not row.get("only_timed")]
        if not good:
            reasons = [row["failed"] for row in several if row["failed"]]
            out.append({"what": name, "failed": reasons[-1] if reasons else "not trained yet"})
            continue
        timed = [row for row in several if not row["failed"] and "cpu_ms" in row]
        timed = [row for row in timed if row.get("only_timed")] or timed  # one machine for every network
        ious = [row["sets"][SET]["iou"] for row in good]
        record: dict[str, Any] = {"what": name, "failed": "", "seeds": len(good), "machine": good[0]["machine"]}
        record |= {key: mean(iou[key] for iou in ious) for key in ("mean", "low", "high")}
        record["spread"] = max(i["mean"] for i in ious) - min(i["mean"] for i in ious)
        record["dice"] = mean(row["sets"][SET]["dice"]["mean"] for row in good)
        for key in (
            "parameters", "paper_gmac", "full_gops", "cpu_ms", "gpu_images_per_second", "images", "seconds"
        ):  # fmt: skip
            values = [row[key] for row in (timed if key == "cpu_ms" else good) if key in row]
            record[key] = mean(values) if values else None
        out.append(record)
    return out


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
    """Validation IoU with its interval against the full count of operations."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.6), layout="constrained")
    axes = figure.subplots()
    for record in records:
        own = "DermoMamba" in record["what"] or record["what"].startswith("without")
        reach = [[100 * (record["mean"] - record["low"])], [100 * (record["high"] - record["mean"])]]
        colour, marker = ("#0072B2", "o") if own else ("#D55E00", "s")
        axes.errorbar(record["full_gops"], 100 * record["mean"], yerr=reach, fmt=marker, color=colour, capsize=3)
        place = (record["full_gops"], 100 * record["mean"])
        axes.annotate(record["what"], place, textcoords="offset points", xytext=(6, 4), fontsize=8)
    axes.set(
        xscale="log",
        xlabel="G multiply-accumulates and scan operations, one image of 192 x 256 (all counted)",
        ylabel="validation IoU, per cent (95 % interval)",
    )
    axes.grid(alpha=0.3)
    axes.margins(x=0.2)
    figure.savefig(path, dpi=130, metadata={"Software": None})


def write_comparison(document: Path, results: Path) -> None:
    """Write table and plot of ``results`` into the document and beside it."""
    records = lines_of(rows_of(results))
    good = [record for record in records if not record["failed"]]
    text = "\n".join([HEAD, *map(line, records)]) if records else "Not run yet."
    if good:
        scatter(document.parent / PLOT, good)
        text += f"\n\n![Accuracy against cost]({PLOT})"
    between(document, "comparison", text)
