"""Many photos, one after the other, in the memory of one: a folder of results and a ZIP of them.

A file that cannot be used is skipped with a sentence and the rest goes on. Each photo's files are whole before the
journal says that it is done, so a rerun after a kill goes on where it was and nothing half-written is counted.
"""

from __future__ import annotations

import io
import mmap
import shutil
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dermomamba import export, render
from dermomamba.batch_journal import NAME, Journal, photo_key, settings_key
from dermomamba.batch_source import LIMIT, Item, items
from dermomamba.errors import DermoMambaError
from dermomamba.export_table import KNOWN, columns_of, csv_lines
from dermomamba.images import decode
from dermomamba.measure import measure
from dermomamba.measure.catalogue import CATALOGUE

__all__ = ["ARCHIVE", "LIMIT", "Item", "Step", "items", "resident_mb", "run", "without_picture"]

ARCHIVE = "dermomamba-batch.zip"
SMALL_SIDE = 420
OVERLAY_SIDE = 1400
FOLDERS = ("masks", "overlays", "reports")
UNFINISHED = ".writing-"
READ_ME = (
    "Photos are counted in the order of the files: photo 1 is image-0001, unless it was skipped.",
    "measures.csv has a row for each photo. A column's name ends in its unit; an empty cell was not measured, and the",
    "column warnings or the photo's PDF says why. ..._low and ..._high are the ends of a value's interval; the column",
    "intervals says which are calibrated. Weights, scale and threshold are columns too. Columns by the page's names:",
    *(f"  {column}: {CATALOGUE[name].label}" for column, name in KNOWN.items()),
)


@dataclass(frozen=True)
class Step:
    """What became of one photo.

    Attributes:
        number: its place, from 1; total: how many there are.
        case: its name in the files, "" when it was skipped.
        values: measure -> value, for sorting; only those that are valid.
        units: measure -> unit.
        intervals: measure -> (low, high) in the same unit, where there is one.
        interval_labels: measure -> what its interval is.
        reason: why it was skipped, "" when it was not.
        warnings: of the measures.
        small: (h, w, 3) uint8 picture with the outline; None when skipped or done by an earlier run.
        earlier: whether an earlier run had done it.
    """

    number: int
    total: int
    case: str = ""
    values: dict[str, float] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    intervals: dict[str, Sequence[float]] = field(default_factory=dict)
    interval_labels: dict[str, str] = field(default_factory=dict)
    reason: str = ""
    warnings: tuple[str, ...] = ()
    small: np.ndarray | None = None
    earlier: bool = False


def run(
    photos: list[Item],
    predictor: Any,
    folder: Path,
    mm_per_pixel: float | None = None,
    keep_names: bool = False,
    reports: bool = True,
    tta: bool = False,
    loose: bool = True,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Step]:
    """Outline and measure photo after photo; a photo that the folder's journal knows is not done again.

    When the iteration ends, also after a stop, the folder holds the ZIP of this run's photos with its table and the
    list of skipped ones. A run that is broken off leaves what it has finished, and no new ZIP.

    Args:
        photos: from `items`.
        predictor: a `Predictor`.
        folder: for the results; made if missing.
        mm_per_pixel: one scale for all, None for px.
        keep_names: name cases after the files instead of image-0001.
        reports: write a PDF for each photo.
        tta: average over mirrored copies.
        loose: leave the files beside the ZIP, with the journal; without it only the ZIP stays.
        stop: asked before each photo.

    Yields:
        A step for each photo, measured or skipped.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _tidy(folder)
    journal = Journal(folder)
    settings = settings_key(
        {
            "weights": predictor.weights.sha256,
            "tta": tta,
            "mm_per_pixel": mm_per_pixel,
            "keep_names": keep_names,
            "reports": reports,
            "version": export.version(),
            "form": 2,  # of the journal's lines: with intervals
        }
    )
    seen: Counter[str] = Counter()  # the same photo may come twice
    done: list[str] = []
    skipped: list[str] = []
    for photo in photos:
        if stop():
            break
        place = (photo.number, len(photos))
        try:
            pixels = decode(photo.read())
            key = photo_key(pixels, settings)
            seen[key] += 1
            key = f"{key}-{seen[key]}"
            step = _known(folder, journal, key, place)
            if step is None:
                case = journal.case(key) or journal.free_case(_name(photo, keep_names), photo.number, settings)
                record = _analysed(pixels, predictor, mm_per_pixel, tta, case)
                files = _write(folder, record, reports)
                step = _step(record, place)
                journal.add(_entry(step, key, files, record))
        except DermoMambaError as problem:
            skipped.append(f"photo {photo.number}: {problem}")
            yield Step(*place, reason=str(problem))
            continue
        done.append(key)
        yield step
    _finish(folder, journal, done, skipped)
    if not loose:
        for name in FOLDERS:
            shutil.rmtree(folder / name, ignore_errors=True)
        for name in (NAME, "measures.csv", "README.txt"):
            (folder / name).unlink(missing_ok=True)


def _tidy(folder: Path) -> None:
    """Remove what a killed run was in the middle of writing."""
    for part in (folder, *(folder / name for name in FOLDERS)):
        for file in part.glob(f"{UNFINISHED}*"):
            file.unlink(missing_ok=True)


def _name(photo: Item, keep_names: bool) -> str:
    return photo.name if keep_names and photo.name else f"image-{photo.number:04d}"


def _known(folder: Path, journal: Journal, key: str, place: tuple[int, int]) -> Step | None:
    """The step of a photo that is done and whose files are all there."""
    if key not in journal:
        return None
    entry = journal.entry(key)
    if not all((folder / file).is_file() for file in entry["files"]):
        return None
    return Step(
        *place,
        **{name: entry[name] for name in ("case", "values", "units", "intervals", "interval_labels")},
        warnings=tuple(entry["warnings"]),
        earlier=True,
    )


def _analysed(pixels: np.ndarray, predictor: Any, mm_per_pixel: float | None, tta: bool, case: str) -> export.Record:
    segmentation = predictor(pixels, tta=tta)
    sha256 = segmentation.weights_sha256
    measured = measure(segmentation.probability, mm_per_pixel=mm_per_pixel, image=pixels, weights_sha256=sha256)
    return export.Record(pixels, segmentation, measured, "entered" if mm_per_pixel else "", case)


def _write(folder: Path, record: export.Record, reports: bool) -> list[str]:
    """Write a photo's files, each whole or not at all; their paths inside the folder."""
    content = {
        f"masks/{record.case}_segmentation.png": export.mask_png(record),
        f"overlays/{record.case}_overlay.jpg": _overlay(record),
    }
    if reports:
        content[f"reports/{record.case}_report.pdf"] = export.report(record)
    else:  # one of an earlier photo of this name would stay beside the new mask
        (folder / f"reports/{record.case}_report.pdf").unlink(missing_ok=True)
    for name, data in content.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        export.write_bytes(path, data)
    return list(content)


def _overlay(record: export.Record) -> bytes:
    content = io.BytesIO()
    image = render.outline(render.fit(record.photo, OVERLAY_SIDE), record.segmentation.mask)
    Image.fromarray(image).save(content, "JPEG", quality=90)
    return content.getvalue()


def _step(record: export.Record, place: tuple[int, int]) -> Step:
    valid = {name: m for name, m in record.measurements.items() if m.valid and m.value is not None}
    return Step(
        *place,
        record.case,
        values={name: float(m.value) for name, m in valid.items() if m.value is not None},
        units={name: m.unit for name, m in valid.items()},
        intervals={name: m.interval for name, m in valid.items() if m.interval is not None},
        interval_labels={name: m.interval_label for name, m in valid.items() if m.interval is not None},
        warnings=tuple(record.measurements.warnings),
        small=render.outline(render.fit(record.photo, SMALL_SIDE), record.segmentation.mask),
    )


def _entry(step: Step, key: str, files: list[str], record: export.Record) -> dict[str, Any]:
    return {
        "key": key,
        "case": step.case,
        "files": files,
        "values": step.values,
        "units": step.units,
        "intervals": step.intervals,
        "interval_labels": step.interval_labels,
        "warnings": step.warnings,
        "row": export.row(record),
    }


def _finish(folder: Path, journal: Journal, done: list[str], skipped: list[str]) -> None:
    """Write the table, the list of skipped photos and the ZIP; the rows are read from the journal one by one."""

    def rows() -> Iterator[dict[str, Any]]:
        return (entry["row"] for entry in journal.entries(done))

    with export.replacing(folder / "measures.csv") as table:
        for line in csv_lines(columns_of(rows()), rows()):
            table.write(line)
    lines = [export.NOT_A_DEVICE, f"{len(done)} photos measured, {len(skipped)} skipped.", *skipped, "", *READ_ME]
    export.write_bytes(folder / "README.txt", ("\n".join(lines) + "\n").encode())
    with (
        export.replacing(folder / ARCHIVE) as target,
        zipfile.ZipFile(target, "w", zipfile.ZIP_STORED, allowZip64=True) as archive,
    ):
        for name in ("README.txt", "measures.csv"):
            archive.write(folder / name, name, zipfile.ZIP_DEFLATED)
        for entry in journal.entries(done):
            for name in entry["files"]:
                archive.write(folder / name, name)


def without_picture(step: Step) -> Step:
    """The same step without its pixels, to be kept for long."""
    return replace(step, small=None)


def resident_mb() -> float | None:
    """Memory that this process holds, MB; None where the system does not say (it is read from Linux' /proc)."""
    status = Path("/proc/self/statm")
    if not status.is_file():
        return None
    return int(status.read_text().split()[1]) * mmap.PAGESIZE / 1e6
