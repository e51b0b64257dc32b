"""What can be taken away from one photo: PNG, GeoJSON, SVG, JSON, CSV, PDF; each kind's bytes are made next door.

Files hold pixels, numbers and settings, never the name or the metadata of the photo that came in. Names follow
the ISIC archive (``<case>_segmentation.png``). The text formats carry the not-a-device sentence; the mask has pixels
only. `export_record` holds what all share, `export_outline` GeoJSON and SVG, `export_table` CSV, `export_pdf` PDF.
"""

from __future__ import annotations

import io
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from dermomamba import render
from dermomamba.export_outline import geojson, svg
from dermomamba.export_record import (
    NOT_A_DEVICE,
    UNITS,
    Record,
    amount,
    as_json_bytes,
    not_measured,
    number,
    png,
    version,
)
from dermomamba.export_table import COLUMNS, csv_row, csv_table, in_pixels, row

__all__ = [
    "COLUMNS",
    "KINDS",
    "NOT_A_DEVICE",
    "UNITS",
    "Record",
    "amount",
    "as_dict",
    "as_json",
    "bundle",
    "csv_row",
    "csv_table",
    "geojson",
    "in_pixels",
    "mask_png",
    "not_measured",
    "number",
    "overlay_png",
    "png",
    "replacing",
    "report",
    "row",
    "svg",
    "version",
    "write",
    "write_bytes",
]


def mask_png(record: Record) -> bytes:
    """The mask at the photo's own size: 8-bit grey, 255 in the lesion, 0 elsewhere, nothing else."""
    return png(record.segmentation.mask.astype(np.uint8) * 255, level=6)


def overlay_png(record: Record) -> bytes:
    """The photo at its own size with the outline drawn on it."""
    return png(render.outline(record.photo, record.segmentation.mask))


def as_dict(record: Record) -> dict[str, Any]:
    """Everything that is known about the photo, as plain values: the JSON export and the web endpoints."""
    seg = record.segmentation
    return {
        "notice": NOT_A_DEVICE,
        "app_version": version(),
        "created_utc": record.created.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "case_id": record.case,
        "image": {"width_px": record.photo.shape[1], "height_px": record.photo.shape[0]},
        "model": {
            "weights": seg.weights,
            "weights_sha256": seg.weights_sha256,
            "scan_backend": seg.scan_backend,
            "device": seg.device,
            "tta": seg.tta,
        },
        "settings": {"threshold": seg.threshold},
        "regions": {"found": seg.components, "dropped_px": seg.dropped_px, "holes_filled_px": seg.filled_px},
        "scale": {"mm_per_px": record.measurements.mm_per_pixel, "source": record.scale_source or None},
        "measurements": record.measurements.to_dict(),
        "warnings": list(record.measurements.warnings),
        "maps": {
            name: {"rows": m.shape[0], "columns": m.shape[1], "min": float(m.min()), "max": float(m.max())}
            for name, m in {**seg.attention, "guide_fusion": seg.guide, "probability": seg.probability}.items()
        },
        "seconds": {step: round(float(value), 4) for step, value in seg.seconds.items()},
        "csv_row": row(record),
    }


def as_json(record: Record) -> bytes:
    """`as_dict` as a JSON file."""
    return as_json_bytes(as_dict(record))


def report(record: Record) -> bytes:
    """The one-page PDF report."""
    from dermomamba.export_pdf import report_pdf  # fpdf2 is loaded only when a report is asked for

    return report_pdf(record)


KINDS: dict[str, tuple[str, Callable[[Record], bytes]]] = {
    "mask": ("{case}_segmentation.png", mask_png),
    "overlay": ("{case}_overlay.png", overlay_png),
    "csv": ("{case}_measures.csv", csv_row),
    "json": ("{case}_measures.json", as_json),
    "geojson": ("{case}_outline.geojson", geojson),
    "svg": ("{case}_outline.svg", svg),
    "report": ("{case}_report.pdf", report),
}
"""Each kind of file: the pattern of its name and the function that makes its bytes."""


def bundle(record: Record) -> bytes:
    """Every kind of file of one photo in one ZIP."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for pattern, make in KINDS.values():
            archive.writestr(pattern.format(case=record.case), make(record))
    return content.getvalue()


def write(record: Record, folder: str | os.PathLike, kinds: Iterable[str] = tuple(KINDS)) -> dict[str, Path]:
    """Write files of one photo into a folder; each appears under its name only when it is complete.

    Args:
        record: the analysed photo.
        folder: made if missing.
        kinds: keys of `KINDS`, or "all" for one ZIP of everything.

    Returns:
        The path of each kind.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = {}
    for kind in kinds:
        pattern, make = ("{case}_dermomamba.zip", bundle) if kind == "all" else KINDS[kind]
        path = folder / pattern.format(case=record.case)
        write_bytes(path, make(record))
        written[kind] = path
    return written


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write into that appears under its name only when the block ends well.

    Args:
        path: where it will lie; it is written to a temporary name beside it (``.writing-...``), then renamed.

    Yields:
        The open file.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        Path(temporary).chmod(0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file or nothing."""
    with replacing(path) as file:
        file.write(content)
