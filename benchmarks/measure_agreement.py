"""Agreement of the measures of the predicted with those of the expert's outline, and with PH2's asymmetry scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from dermomamba.evaluation.statistics import bland_altman, icc_2_1, spearman
from dermomamba.measure.catalogue import CATALOGUE

PLOTTED = ("area", "perimeter", "longest_diameter", "border_irregularity")


def agreement(predicted: Sequence[Mapping[str, float]], expert: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Bland-Altman and ICC(2,1) of each measure over the photos where both outlines give a valid number.

    Lengths and areas are compared in per cent (100 ln of the ratio), since lesions differ tenfold in size; all
    else in its own unit.
    """
    table = {}
    for name, entry in CATALOGUE.items():
        both = [(p[name], e[name]) for p, e in zip(predicted, expert, strict=True) if name in p and name in e]
        if len(both) < 3 or entry.needs == "photo" or entry.family == "certainty":
            continue
        p, e = np.array(both).T
        relative = entry.kind in ("length", "area") or name == "area_fraction"
        a, b = (100 * np.log(e), 100 * np.log(p)) if relative else (e, p)
        table[name] = {
            **asdict(bland_altman(a, b)),
            "unit": "%" if relative else entry.kind,
            "icc": icc_2_1(np.stack([e, p], axis=1)),
            "spearman": spearman(e, p).rho,
        }
    return table


def bland_altman_plot(path: Path, predicted: Sequence[Mapping], expert: Sequence[Mapping], table: Mapping) -> None:
    """Difference against mean for the four headline measures, with bias and limits."""
    plt = pyplot()
    figure, panels = plt.subplots(2, 2, figsize=(9, 7), layout="constrained")
    for axes, name in zip(panels.flat, PLOTTED, strict=True):
        both = [(p[name], e[name]) for p, e in zip(predicted, expert, strict=True) if name in p and name in e]
        if name not in table or not both:
            axes.set_axis_off()
            continue
        p, e = np.array(both).T
        percent = table[name]["unit"] == "%"
        axes.plot((p + e) / 2, 100 * np.log(p / e) if percent else p - e, ".", color="#0b6b88", alpha=0.6)
        for key, style in (("bias", "-"), ("lower", "--"), ("upper", "--")):
            axes.axhline(table[name][key], linestyle=style, color="#333333", linewidth=1)
        axes.set_title(f"{CATALOGUE[name].label}: n = {len(p)}, ICC {table[name]['icc']:.2f}", fontsize=10)
        axes.set_xlabel("mean of predicted and expert")
        axes.set_ylabel("predicted - expert" + (" (%)" if percent else ""))
        if percent:
            axes.set_xscale("log")
    save(figure, path)


def asymmetry(expert_scores: Sequence[str], values: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Spearman's correlation of each asymmetry index with the experts' score 0, 1, 2."""
    found = {}
    for name in ("asymmetry_major", "asymmetry_minor", "asymmetry_least"):
        rows = [(int(s), v[name]) for s, v in zip(expert_scores, values, strict=True) if s != "" and name in v]
        if len(rows) >= 4:
            scores, index = np.array(rows).T
            found[name] = {
                **asdict(spearman(scores, index)),
                "median_by_score": [float(np.median(index[scores == k])) for k in np.unique(scores)],
            }
    return found


def asymmetry_plot(path: Path, scores: Sequence[str], values: Sequence[Mapping[str, float]]) -> None:
    """Box plot of the asymmetry indices by the experts' score."""
    plt = pyplot()
    figure, panels = plt.subplots(1, 3, figsize=(10, 3.6), layout="constrained", sharey=True)
    for axes, name in zip(panels, ("asymmetry_major", "asymmetry_minor", "asymmetry_least"), strict=True):
        rows = [(int(s), v[name]) for s, v in zip(scores, values, strict=True) if s != "" and name in v]
        groups = [[value for score, value in rows if score == k] for k in (0, 1, 2)]
        axes.boxplot(groups, tick_labels=[f"{k} (n = {len(g)})" for k, g in enumerate(groups)])
        axes.set_title(CATALOGUE[name].label, fontsize=10)
        axes.set_xlabel("experts' score")
    panels[0].set_ylabel("asymmetry index")
    save(figure, path)


def pyplot() -> Any:
    """matplotlib.pyplot without a display."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def save(figure: Any, path: Path) -> None:
    """Write a figure and forget it."""
    figure.savefig(path, dpi=110)
    pyplot().close(figure)
