"""The analysed photo as all files take it, and the words and units that they share."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import cv2
import numpy as np

NOT_A_DEVICE = "Research and teaching demonstration. Not a medical device. It measures, it does not diagnose."

UNITS = {"ratio": "", "count": "", "fraction": "%"}
"""How units are written where they differ from the record's own word."""


@dataclass(frozen=True)
class Record:
    """One analysed photo, ready to be written.

    Attributes:
        photo: (H, W, 3) uint8 RGB.
        segmentation: the predictor's `Segmentation` at the photo's size.
        measurements: the `Measurements` of it.
        scale_source: where mm per pixel comes from ("entered", "line", "ruler", "example"), "" without one.
        case: the name that files and rows carry; never the name of the upload.
        created: UTC time of writing.
    """

    photo: np.ndarray
    segmentation: Any
    measurements: Any
    scale_source: str = ""
    case: str = "image-1"
    created: datetime = field(default_factory=lambda: datetime.now(UTC))


def version() -> str:
    """The installed version of this software, "unknown" when it runs without being installed."""
    try:
        return importlib.metadata.version("dermomamba")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def png(image: np.ndarray, level: int = 3) -> bytes:
    """Encode pixels as PNG with no text, time or colour-profile chunk.

    Args:
        image: (H, W) or (H, W, 3) uint8, RGB order.
        level: zlib level, 1 (quick) to 9 (small).

    Returns:
        The file's bytes.
    """
    pixels = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, level])
    if not done:
        raise ValueError("the picture could not be encoded as PNG")
    return data.tobytes()


def number(value: float, unit: str, thousands: str = "\u202f") -> str:
    """A value in three or four significant digits, in plain decimals, never with an exponent.

    Args:
        value: in the unit; a fraction in [0, 1].
        unit: of the record; a fraction is written in per cent.
        thousands: what sets thousands apart, a thin space or nothing.

    Returns:
        Such as "76\u202f190".
    """
    if unit == "fraction":
        value *= 100
    if unit == "count":
        return f"{value:.0f}"
    size = abs(value)
    if unit == "ratio" and size < 10:
        return f"{value:.3f}"
    digits = 0 if size >= 1000 else 1 if size >= 100 else 2 if size >= 1 else 3
    return f"{value:,.{digits}f}".replace(",", thousands)


def amount(value: float, unit: str, interval: Sequence[float] | None = None, label: str = "") -> str:
    """A value, its interval and its unit in one plain line, for the terminal.

    Args:
        value, unit: of a record.
        interval: (low, high), or None.
        label: what the interval is; one that was not calibrated for these weights says so.

    Returns:
        Such as "76190 [71002, 80411] px²".
    """
    span = "" if interval is None else " [{}, {}]".format(*(number(end, unit, "") for end in interval))
    note = " (uncalibrated range)" if span and "uncalibrated" in label else ""
    return f"{number(value, unit, '')}{span} {UNITS.get(unit, unit)}".strip() + note


def not_measured(record: Any, thousands: str = "\u202f") -> str:
    """What stands in place of a number that cannot be trusted.

    Args:
        record: a `Measurement` that is not valid; its reason may speak of a value that was kept (a lower bound).
        thousands: as for `number`.

    Returns:
        "not measured - the lesion touches the edge of the photo."
    """
    if not record.reason:
        return "not measured"
    reason = record.reason[0].lower() + record.reason[1:]
    unit = UNITS.get(record.unit, record.unit)
    kept = "" if record.value is None else f" ({number(record.value, record.unit, thousands)} {unit})"
    return f"not measured - {reason.rstrip('.')}{kept.rstrip()}." if kept else f"not measured - {reason}"


def as_json_bytes(content: Any, indent: int | None = 2) -> bytes:
    """Plain values as UTF-8 JSON with a line feed at the end; NaN and infinity are refused."""
    return (json.dumps(content, indent=indent, ensure_ascii=False, allow_nan=False) + "\n").encode()
