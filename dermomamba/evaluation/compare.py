"""Two evaluations of the same photos, side by side: which outlines are better, and is it more than chance.

Paired by photo: mean difference with a bootstrap interval, bootstrap and signed-rank p values (``statistics``).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from dermomamba.errors import DataError
from dermomamba.evaluation.statistics import paired_test

LOWER_IS_BETTER = frozenset({"hd95", "hd95_relative"})
NOTE = (
    "Differences are B minus A on the same photos. The p values are per metric and not corrected for looking at "
    "several. Two experts outlining one lesion differ by far more than 0.005 Dice (arXiv 2508.09381): a difference "
    "that small means little even where p is small."
)


def compare(a: Mapping[str, Any], b: Mapping[str, Any], seed: int = 0) -> dict[str, Any]:
    """Compare two results of ``evaluate`` photo by photo.

    Args:
        a, b: what stands in their JSON files.
        seed: of the bootstrap.

    Returns:
        "a", "b": names of the weights; "n": photos in both; "only_a", "only_b": ids in one; "metrics": name -> means
        "a" and "b" on the common photos, and the fields of statistics.PairedTest (better and worse: photos in which
        b is better or worse than a); "note".

    Raises:
        DataError: they share no photo, or their masks differ under the same name.
    """
    rows_a, rows_b = ({row["id"]: row for row in result["images"]} for result in (a, b))
    shared = sorted(rows_a.keys() & rows_b.keys())
    if not shared:
        raise DataError("The two evaluations share no photo, so they cannot be compared. Run both on the same data.")
    for key in shared:
        one, other = rows_a[key], rows_b[key]
        lesion_a, lesion_b = one["tp"] + one["fn"], other["tp"] + other["fn"]
        if (one["height"], one["width"], lesion_a) != (other["height"], other["width"], lesion_b):
            raise DataError(f"'{key}' has different masks in the two evaluations. Run both on the same data.")
    metrics = {}
    for name in a["metrics"]:
        if name not in b["metrics"]:
            continue
        x, y = (np.array([_number(rows[key][name]) for key in shared]) for rows in (rows_a, rows_b))
        both = ~(np.isnan(x) | np.isnan(y))
        if not both.any():
            continue
        test = asdict(paired_test(x[both], y[both], seed=seed))
        if name in LOWER_IS_BETTER:
            test["better"], test["worse"] = test["worse"], test["better"]
        metrics[name] = {"a": float(x[both].mean()), "b": float(y[both].mean()), **test}
    return {
        "a": a.get("weights", ""),
        "b": b.get("weights", ""),
        "n": len(shared),
        "only_a": sorted(rows_a.keys() - rows_b.keys()),
        "only_b": sorted(rows_b.keys() - rows_a.keys()),
        "metrics": metrics,
        "note": NOTE,
    }


def compare_files(a: str | os.PathLike[str], b: str | os.PathLike[str]) -> str:
    """The comparison of two JSON files of ``dermomamba evaluate`` as a table in plain text.

    Raises:
        DataError: a file cannot be read as an evaluation, or ``compare`` refuses.
    """
    return as_text(compare(_load(a), _load(b)))


def as_text(result: Mapping[str, Any]) -> str:
    """What ``compare`` returned as lines for the terminal."""
    lines = [
        f"A: {result['a'] or 'unnamed'}    B: {result['b'] or 'unnamed'}    photos in both: {result['n']}",
        f"{'metric':18} {'A':>9} {'B':>9} {'B - A':>9} {'95% interval':>21} {'p (boot.)':>9} {'p (rank)':>9} "
        "B better/worse/equal",
    ]
    for name, m in result["metrics"].items():
        interval = f"[{m['low']:+.4f}, {m['high']:+.4f}]"
        lines.append(
            f"{name:18} {m['a']:9.4f} {m['b']:9.4f} {m['mean_difference']:+9.4f} {interval:>21} "
            f"{m['p_bootstrap']:9.4f} {m['p_wilcoxon']:9.2g} {m['better']}/{m['worse']}/{m['equal']}"
        )
    for side in ("a", "b"):
        if result[f"only_{side}"]:
            lines.append(f"{len(result[f'only_{side}'])} photos only in {side.upper()} were left out.")
    return "\n".join([*lines, result["note"]])


def _load(path: str | os.PathLike[str]) -> dict[str, Any]:
    name = Path(path).name
    try:
        result = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"'{name}' cannot be opened. Check the path and try again.") from error
    except ValueError as error:
        raise DataError(f"'{name}' is not JSON. Give a file that dermomamba evaluate wrote.") from error
    if not (isinstance(result, dict) and {"images", "metrics"} <= result.keys()):
        raise DataError(f"'{name}' is not an evaluation. Give a file that dermomamba evaluate wrote.")
    return result


def _number(value: float | None) -> float:
    return np.nan if value is None else float(value)
