"""The CSV: one row a photo, the unit in each column's name, unknown cells blank.

Every length is given in px, and in mm when a scale is known. A value with an interval has its two ends in columns of
its own, ``..._low`` and ``..._high`` in the same unit; the column ``intervals`` says which columns have what kind.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from dermomamba.export_record import NOT_A_DEVICE, Record, version

COLUMNS = (
    "case_id",
    "image_width_px",
    "image_height_px",
    "model_id",
    "weights_sha256_12",
    "scan_backend",
    "device",
    "threshold",
    "tta",
    "components_found",
    "dropped_px",
    "holes_filled_px",
    "touches_border",
    "area_px",
    "lesion_fraction",
    "perimeter_px",
    "compactness_p2_over_4pi_a",
    "solidity",
    "asymmetry_major",
    "asymmetry_minor",
    "asymmetry_min_over_angles",
    "feret_max_px",
    "equivalent_diameter_px",
    "contrast_deltaE",
    "mm_per_px",
    "scale_source",
    "area_mm2",
    "perimeter_mm",
    "feret_max_mm",
    "equivalent_diameter_mm",
)
"""The fixed first columns of a CSV row; other measures follow as ``name_unit``, intervals, warnings, provenance."""

SPANNED = (
    "area",
    "area_fraction",
    "longest_diameter",
    "width",
    "least_width",
    "equivalent_diameter",
    "perimeter",
    "border_irregularity",
    "border_excess",
    "structure_irregularity",
    "texture_irregularity",
    "solidity",
    "convexity",
    "outline_certainty",
)
"""Measures that can have an interval: they have columns for its ends in every table, so that tables can be stacked."""

TAIL = ("intervals", "warnings", "app_version", "created_utc", "notice")

KNOWN = {  # column: the measure that it comes from
    "area_px": "area",
    "lesion_fraction": "area_fraction",
    "perimeter_px": "perimeter",
    "compactness_p2_over_4pi_a": "border_irregularity",
    "solidity": "solidity",
    "asymmetry_major": "asymmetry_major",
    "asymmetry_minor": "asymmetry_minor",
    "asymmetry_min_over_angles": "asymmetry_least",
    "feret_max_px": "longest_diameter",
    "equivalent_diameter_px": "equivalent_diameter",
    "contrast_deltaE": "colour_difference",
}
LENGTH_POWER = {"px": 1, "mm": 1, "px²": 2, "mm²": 2}


def in_pixels(record: Mapping[str, Any], mm_per_pixel: float | None) -> float | None:
    """A measure's value in px or px², undoing the scale; other units pass unchanged.

    Args:
        record: one entry of ``Measurements.to_dict()``.
        mm_per_pixel: the scale that the measure was given, if any.

    Returns:
        The value, None when it was not measured.
    """
    value = record["value"]
    if value is None or not record["valid"]:
        return None
    if record["unit"].startswith("mm") and mm_per_pixel:
        return value / mm_per_pixel ** LENGTH_POWER[record["unit"]]
    return value


def row(record: Record) -> dict[str, str | int | float | None]:
    """One CSV row: unit in each column's name, None where a value is unknown or was not measured."""
    seg, height, width = record.segmentation, *record.photo.shape[:2]
    measures, scale = record.measurements.to_dict(), record.measurements.mm_per_pixel
    mask = seg.mask
    edge = bool(mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any())
    cells: dict[str, Any] = dict.fromkeys(COLUMNS)
    cells |= {
        "case_id": record.case,
        "image_width_px": width,
        "image_height_px": height,
        "model_id": seg.weights,
        "weights_sha256_12": seg.weights_sha256[:12],
        "scan_backend": seg.scan_backend,
        "device": seg.device,
        "threshold": seg.threshold,
        "tta": int(seg.tta),
        "components_found": seg.components,
        "dropped_px": seg.dropped_px,
        "holes_filled_px": seg.filled_px,
        "touches_border": int(edge),
        "mm_per_px": scale,
        "scale_source": record.scale_source if scale else None,
    }
    for name, measure in measures.items():
        cells |= _places(name, measure, scale)
    cells |= _intervals(measures, scale)
    cells["warnings"] = "; ".join(record.measurements.warnings) or None
    cells["app_version"] = version()
    cells["created_utc"] = record.created.strftime("%Y-%m-%dT%H:%M:%SZ")
    cells["notice"] = NOT_A_DEVICE
    return {key: _rounded(value) for key, value in cells.items()}


def _further(name: str, measure: Mapping[str, Any], scale: float | None) -> dict[str, float | None]:
    power = LENGTH_POWER.get(measure["unit"], 0)
    if not power:
        unit = {"°": "_deg", "ΔE": "_deltaE", "fraction": "_fraction"}.get(measure["unit"], "")
        return {f"{name}{unit}": in_pixels(measure, scale)}
    pixels, square = in_pixels(measure, scale), "2" if power == 2 else ""
    return {f"{name}_px{square}": pixels, f"{name}_mm{square}": _times(pixels, scale**power) if scale else None}


def _places(name: str, measure: Mapping[str, Any], scale: float | None) -> dict[str, float | None]:
    """A value under every column that it has; in mm None without a scale."""
    column = {name: column for column, name in KNOWN.items()}.get(name)
    if column is None:
        return _further(name, measure, scale)
    places = {column: in_pixels(measure, scale)}
    if power := LENGTH_POWER.get(measure["unit"], 0):
        mm = f"{column.removesuffix('_px')}_mm{'2' if power == 2 else ''}"
        places[mm] = _times(places[column], scale**power) if scale else None
    return places


def _intervals(measures: Mapping[str, Mapping[str, Any]], scale: float | None) -> dict[str, Any]:
    """Both ends of every interval beside each other, under the value's columns, and which columns have which kind."""
    cells: dict[str, Any] = {}
    kinds: dict[str, list[str]] = {}
    given = [name for name, measure in measures.items() if measure["valid"] and measure["interval"] is not None]
    for name in dict.fromkeys([*(name for name in SPANNED if name in measures), *given]):
        measure = measures[name]
        ends = measure["interval"] if name in given else (None, None)
        low, high = (_places(name, {**measure, "value": end}, scale) for end in ends)
        for column in low:
            cells |= {f"{column}_low": low[column], f"{column}_high": high[column]}
        if name in given:
            there = [column for column, value in low.items() if value is not None]
            kinds.setdefault(measure["interval_label"], []).extend(there)
    said = [f"{kind}: {', '.join(columns)}" for kind, columns in kinds.items()]
    return cells | {"intervals": "; ".join(said) or None}


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _rounded(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _guarded(cell: Any) -> Any:
    """Text that a spreadsheet would run as a formula gets a leading apostrophe (OWASP, CSV injection)."""
    if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return "'" + cell
    return "" if cell is None else cell


def columns_of(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """The union of the columns of rows in order of first appearance, provenance last; the fixed ones without rows."""
    return ([c for c in dict.fromkeys(key for cells in rows for key in cells) if c not in TAIL] or [*COLUMNS]) + [*TAIL]


def csv_lines(columns: list[str], rows: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    """Rows as lines of CSV, one at a time: byte-order mark (for Excel), CRLF, formula-injection guard.

    Args:
        columns: from `columns_of`.
        rows: results of `row`.

    Yields:
        UTF-8 bytes, the header first.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    yield b"\xef\xbb\xbf" + text.getvalue().encode()
    for cells in rows:
        text.seek(0)
        text.truncate()
        writer.writerow([_guarded(cells.get(column)) for column in columns])
        yield text.getvalue().encode()


def csv_table(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Rows as a whole CSV file.

    Args:
        rows: results of `row`; their columns need not be the same.

    Returns:
        The file's bytes.
    """
    rows = list(rows)
    return b"".join(csv_lines(columns_of(rows), rows))


def csv_row(record: Record) -> bytes:
    """The CSV of a single photo: header and one row."""
    return csv_table([row(record)])
