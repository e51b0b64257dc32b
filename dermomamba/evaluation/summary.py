"""From single photos to the figures of an evaluation: the row of one photo, means with intervals, the JSON.

A ``Tally`` grows by one small row and one reliability table a photo, so any number of photos fits in memory.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from dermomamba.errors import DataError
from dermomamba.evaluation import calibration, published, surface
from dermomamba.evaluation.metrics import JACCARD_THRESHOLD, OVERLAP, counts, overlap
from dermomamba.evaluation.report import Worst
from dermomamba.evaluation.statistics import RESAMPLES, bootstrap_intervals, bootstrap_means
from dermomamba.export import NOT_A_DEVICE
from dermomamba.postprocess import clean_mask

UNITS = dict.fromkeys(OVERLAP, "fraction") | {
    "boundary_iou": "fraction",
    "nsd": "fraction",
    "hd95": "px",
    "hd95_relative": "fraction of the diagonal",
}
_PUBLISHED = ("dice", "iou", "precision", "recall")


@dataclass(frozen=True)
class CleanUp:
    """How a probability map becomes a mask; see ``postprocess.clean_mask``."""

    threshold: float = 0.5
    largest: bool = True
    fill_holes: bool = True

    def sentence(self) -> str:
        """The steps in words."""
        steps = [f"probability >= {self.threshold:g} at the photo's own size"]
        steps += ["largest region only"] if self.largest else []
        steps += ["holes filled"] if self.fill_holes else []
        return ", ".join(steps)


@dataclass
class Tally:
    """What has been gathered so far."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    tables: list[np.ndarray] = field(default_factory=list)
    sums: list[published.PublishedSums] = field(default_factory=list)
    worst: list[tuple[float, int, Worst]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    seconds: float = 0.0


def add(tally: Tally, key: str, probability: np.ndarray, truth: np.ndarray, clean_up: CleanUp) -> np.ndarray:
    """Compare one photo, keep its numbers, and return the predicted mask."""
    mask = clean_mask(probability, clean_up.threshold, clean_up.largest, clean_up.fill_holes).mask
    c = counts(mask, truth)
    distance = surface.hd95(mask, truth)
    sums = published.published_sums(probability, truth)
    table = calibration.band_table(probability, truth)
    row: dict[str, Any] = {"id": key, "height": truth.shape[0], "width": truth.shape[1]}
    row |= overlap(c)
    row |= {
        "boundary_iou": surface.boundary_iou(mask, truth),
        "nsd": surface.surface_dice(mask, truth),
        "hd95": _or_none(distance),
        "hd95_relative": _or_none(distance / surface.diagonal(truth.shape)),
        "ece": _or_none(float(calibration.ece(table))),
    }
    row |= {f"published_{name}": value for name, value in sums.metrics().items()}
    tally.rows.append(row | asdict(c))
    tally.tables.append(table)
    tally.sums.append(sums)
    return mask


def summary(tally: Tally, clean_up: CleanUp, seed: int = 0) -> dict[str, Any]:
    """Means with 95% intervals over photos, all from the same resamples.

    Returns:
        "n"; "metrics": name -> mean, low, high, n, unit; "below_065": photos with IoU < 0.65; "published": the same
        names by the published code's arithmetic, and pooled; "calibration": ECE and reliability curve of the band;
        "protocol"; "left_out"; "seconds"; "images": one row a photo. A metric that no photo defines is absent.

    Raises:
        DataError: nothing was gathered.
    """
    if not tally.rows:
        reasons = "\n".join(f"  {problem}" for problem in tally.left_out[:50])
        raise DataError(f"Not one pair of photo and mask could be compared.\n{reasons}".rstrip())
    n = len(tally.rows)
    names = [*UNITS, *(f"published_{name}" for name in _PUBLISHED)]
    values = np.array([[_or_nan(row[name]) for name in names] for row in tally.rows])
    found = dict(zip(names, bootstrap_intervals(values, RESAMPLES, seed), strict=True))
    failures = np.array([row["iou"] < JACCARD_THRESHOLD for row in tally.rows])
    return {
        "n": n,
        "metrics": {name: asdict(found[name]) | {"unit": UNITS[name]} for name in UNITS if found[name].n},
        "below_065": {"count": int(failures.sum()), "share": float(failures.mean())},
        "published": {
            **{name: asdict(found[f"published_{name}"]) for name in _PUBLISHED},
            "pooled": published.pooled(tally.sums),
            "protocol": published.PROTOCOL,
        },
        "calibration": _calibration(np.stack(tally.tables), seed),
        "protocol": protocol(clean_up),
        "notice": NOT_A_DEVICE,
        "left_out": tally.left_out,
        "seconds": {"predict_total": tally.seconds, "predict_per_photo": tally.seconds / n},
        "images": tally.rows,
    }


def _calibration(tables: np.ndarray, seed: int) -> dict[str, Any]:
    """ECE of the mean table (n photos weigh the same) with its interval, and the curve; from (n, 3, bins)."""
    known = tables[~np.isnan(tables).any(axis=(1, 2))]
    if len(known) == 0:
        return {}
    mean = known.mean(axis=0)
    resampled = bootstrap_means(known.reshape(len(known), -1), RESAMPLES, seed).reshape(-1, *mean.shape)
    low, high = np.percentile(calibration.ece(resampled), [2.5, 97.5])
    return {
        "ece": {"mean": float(calibration.ece(mean)), "low": float(low), "high": float(high), "n": len(known)},
        "curve": calibration.curve(mean),
        "band": f"pixels within {calibration.BAND:.0%} of the diagonal from the true outline; photos weigh the same",
    }


def protocol(clean_up: CleanUp) -> str:
    """How the figures were taken, in sentences."""
    return (
        f"Mask from the prediction: {clean_up.sentence()}. Each metric per photo, then the mean over photos (macro), "
        f"with a 95% percentile bootstrap interval over photos ({RESAMPLES} resamples). ISIC conventions for empty "
        f"masks and for the threshold Jaccard (0 below {JACCARD_THRESHOLD}). HD95 and normalised surface Dice: MONAI; "
        f"tolerance {surface.NSD_TOLERANCE:.2%} of the photo's diagonal; HD95 is undefined where only one mask is "
        f"empty, and n counts the photos in its mean. Boundary IoU: rim of {surface.BOUNDARY_WIDTH:.0%} of the "
        "diagonal. Pairs that are unreadable or of different sizes are left out by name."
    )


def csv_rows(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """One row a photo as UTF-8 CSV; undefined cells are blank, the last column is the not-a-device sentence."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, [*rows[0], "notice"])
    writer.writeheader()
    for row in rows:
        key = str(row["id"])
        # A name that a spreadsheet would run as a formula is quoted (CWE-1236).
        writer.writerow({**row, "id": f"'{key}" if key[:1] in "=+-@\t\r" else key, "notice": NOT_A_DEVICE})
    return text.getvalue().encode()


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value
