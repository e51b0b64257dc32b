"""Runs a predictor over photos with masks and sums up: the JSON, the CSV row per photo, the report.

One photo is in memory at a time; what stays of it is a row of numbers, its reliability table (3 x 15) and, for the
ten worst, a thumbnail. Masks are compared at the photo's own size, after the clean-up that the protocol names.
"""

from __future__ import annotations

import heapq
import json
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dermomamba.errors import DataError, DermoMambaError
from dermomamba.evaluation.compare import compare, compare_files
from dermomamba.evaluation.report import KINDS, Worst, render, thumbnail
from dermomamba.evaluation.summary import CleanUp, Tally, add, csv_rows, summary
from dermomamba.export import write_bytes
from dermomamba.learning.datasets import Pair, Pairs, read_pairs

__all__ = ["compare", "compare_files", "evaluate", "run"]

Predict = Callable[[np.ndarray], np.ndarray]
"""A photo (H, W, 3) uint8 in, the probability of lesion (H, W) float in [0, 1] out."""

_WORST = 10
_LISTED = 50
_log = logging.getLogger(__name__)


def evaluate(
    predict: Predict,
    pairs: Iterable[Pair],
    clean_up: CleanUp | None = None,
    progress: Callable[[int], None] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Compare a predictor's outlines with the masks.

    Args:
        predict: from a photo (H, W, 3) uint8 to the probability of lesion (H, W) float in [0, 1].
        pairs: photos and masks, with unique ids; read one at a time. ``Pairs.problems`` are carried over.
        clean_up: how a mask is made of the probabilities; None for 0.5, largest region, holes filled.
        progress: called with the number of photos done.
        seed: of the bootstrap.

    Returns:
        The result, ready for JSON; its keys are described at ``summary``.

    Raises:
        DataError: not one pair could be compared.
        ValueError: ``predict`` returns something else than a probability map of the photo's size.
    """
    clean_up = clean_up or CleanUp()
    tally = _gather(predict, pairs, clean_up, progress, keep_worst=0)
    return summary(tally, clean_up, seed)


def run(
    sources: Sequence[str | os.PathLike[str]],
    predict: Predict,
    json_path: str | os.PathLike[str] | None,
    csv_path: str | os.PathLike[str] | None = None,
    report_path: str | os.PathLike[str] | None = None,
    weights_name: str = "",
    meta: Mapping[str, Any] | None = None,
    progress: bool = True,
    clean_up: CleanUp | None = None,
    only: Collection[str] | None = None,
) -> dict[str, Any]:
    """Evaluate folders and ZIPs and write the files: what ``dermomamba evaluate`` does.

    Args:
        sources: folders or ZIPs in any layout of ``learning.pairing``; taken together.
        predict: from a photo to the probability of lesion at its own size.
        json_path, csv_path, report_path: what to write (report: .png or .pdf); None for nothing.
        weights_name: for the JSON and the report.
        meta: more to put into the JSON (device, test-time flips, checksum).
        progress: show a bar on stderr.
        clean_up: as in ``evaluate``.
        only: ids to look at; all when None.

    Returns:
        What stands in the JSON.

    Raises:
        DataError: a source cannot be used, nothing could be compared, or the report's kind is unknown.
    """
    from tqdm import tqdm

    clean_up = clean_up or CleanUp()
    if report_path is not None and Path(report_path).suffix.lower() not in KINDS:
        raise DataError(f"The report must be named {' or '.join(KINDS)}, not '{Path(report_path).name}'.")
    for path in (json_path, csv_path, report_path):
        if path is not None:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
    joined = join([read_pairs(source, check=False) for source in sources])
    joined.raise_if_empty()
    if only is not None:
        chosen = tuple(pair for pair in joined if pair.id in only)
        if not chosen:
            raise DataError(
                f"None of the {len(joined)} photos has one of the {len(only)} ids of the list. An id is the photo's "
                f"file name without its ending, such as '{joined.pairs[0].id}'; check that the list belongs to these "
                "photos."
            )
        joined = replace(joined, pairs=chosen)
    with tqdm(total=len(joined), unit="photo", disable=not progress) as bar:
        tally = _gather(
            predict, joined, clean_up, lambda done: bar.update(done - bar.n), _WORST if report_path is not None else 0
        )
    result = summary(tally, clean_up)
    result = {"weights": weights_name, "sources": [Path(source).name for source in sources], **result}
    result["meta"] = dict(meta or {})
    if tally.left_out:
        listed = "\n  ".join(tally.left_out[:_LISTED])
        _log.warning("%d pairs were left out (all are in the JSON):\n  %s", len(tally.left_out), listed)
    if json_path is not None:
        write_bytes(Path(json_path), (json.dumps(result, indent=1, allow_nan=False) + "\n").encode())
    if csv_path is not None:
        write_bytes(Path(csv_path), csv_rows(result["images"]))
    if report_path is not None:
        worst = [entry for _, _, entry in sorted(tally.worst, key=lambda item: item[:2], reverse=True)]
        write_bytes(Path(report_path), render(result, worst, Path(report_path).suffix.lower()[1:]))
    return result


def join(sets: Sequence[Pairs]) -> Pairs:
    """Several data sets as one; an id that two of them use gets its set's name in front.

    Args:
        sets: what ``read_pairs`` returned.

    Returns:
        All pairs, in the order given, with unique ids.
    """
    shared = {key for key, times in Counter(pair.id for one in sets for pair in one).items() if times > 1}
    pairs = [
        replace(pair, id=f"{number}:{one.name}/{pair.id}") if pair.id in shared else pair
        for number, one in enumerate(sets, start=1)
        for pair in one
    ]
    name = " + ".join(one.name for one in sets) or "No data set"
    return Pairs(tuple(pairs), tuple(problem for one in sets for problem in one.problems), {}, name)


def _gather(
    predict: Predict,
    pairs: Iterable[Pair],
    clean_up: CleanUp,
    progress: Callable[[int], object] | None,
    keep_worst: int,
) -> Tally:
    tally = Tally(left_out=list(pairs.problems) if isinstance(pairs, Pairs) else [])
    for number, pair in enumerate(pairs):
        try:
            image, truth = pair.both(empty=True)
            began = time.perf_counter()
            probability = _checked(predict(image), truth.shape)
            tally.seconds += time.perf_counter() - began
        except DermoMambaError as error:
            message = str(error)
            tally.left_out.append(message if message.startswith(f"{pair.id}: ") else f"{pair.id}: {message}")
        else:
            mask = add(tally, pair.id, probability, truth, clean_up)
            if keep_worst:
                badness = -tally.rows[-1]["iou"]
                if len(tally.worst) < keep_worst or badness > tally.worst[0][0]:
                    entry = Worst(
                        pair.id, tally.rows[-1]["iou"], tally.rows[-1]["dice"], *thumbnail(image, truth, mask)
                    )
                    push = heapq.heappush if len(tally.worst) < keep_worst else heapq.heapreplace
                    push(tally.worst, (badness, -number, entry))
        if progress is not None:
            progress(number + 1)
    return tally


def _checked(probability: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    probability = np.asarray(probability)
    if probability.shape != shape or probability.dtype.kind != "f":
        raise ValueError(f"predict must return float {shape}, not {probability.dtype} {probability.shape}")
    if not (probability.min() >= 0 and probability.max() <= 1):  # also catches NaN
        raise ValueError("predict must return probabilities between 0 and 1")
    return probability
