"""Records of measured values: a number never travels without its unit, formula, source and validity.

Rule of the page: a number that cannot be trusted is not shown as a number, so a record that is not valid
carries a sentence that says why.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Measurement:
    """One measured value.

    Attributes:
        name: key of the measure, e.g. ``"area"``.
        label: plain words for the page, e.g. ``"Area"``.
        value: the number, or None when there is none to give.
        unit: ``"px"``, ``"px²"``, ``"mm"``, ``"mm²"``, ``"fraction"``, ``"°"``, ``"ΔE"``, ``"count"``, or
            ``"ratio"`` for a pure number.
        interval: (low, high) in the same unit, containing the value, or None.
        formula: short text of the arithmetic.
        source: author, year and DOI.
        valid: whether the number may be trusted and shown.
        reason: a sentence when it may not, else ``""``.
        interval_label: what the interval is, e.g. ``"90% interval"`` or ``"threshold range, uncalibrated"``.
        note: a sentence that belongs beside the number (``"An estimate ..."``), else ``""``.
        reliable: False when the stability study found more noise in the measure than spread between lesions.
    """

    name: str
    label: str
    value: float | None
    unit: str
    interval: tuple[float, float] | None = None
    formula: str = ""
    source: str = ""
    valid: bool = True
    reason: str = ""
    interval_label: str = ""
    note: str = ""
    reliable: bool = True

    def invalid(self, reason: str, keep_value: bool = False) -> Measurement:
        """The same record marked as not to be trusted; an earlier reason stays."""
        return replace(
            self,
            value=self.value if keep_value else None,
            interval=None,
            interval_label="",
            valid=False,
            reason=self.reason or reason,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; the key of the record is not repeated inside."""
        return {
            "label": self.label,
            "value": self.value,
            "unit": self.unit,
            "interval": None if self.interval is None else list(self.interval),
            "interval_label": self.interval_label,
            "formula": self.formula,
            "source": self.source,
            "valid": self.valid,
            "reason": self.reason,
            "note": self.note,
            "reliable": self.reliable,
        }


@dataclass(frozen=True)
class State:
    """Something about the photo or the outline that limits what can be measured.

    Attributes:
        code: ``"nothing_found"``, ``"touches_frame"``, ``"several_regions"``, ``"too_small"``,
            ``"low_contrast"``, ``"blurred"``, ``"not_dermoscopic"``, ``"check_outline"``.
        message: a sentence for the person.
        families: families of measures that this makes invalid (``"size"``, ``"border"``, ``"asymmetry"``,
            ``"colour"``, ``"edge"``, ``"area"``, ``"certainty"``).
    """

    code: str
    message: str
    families: frozenset[str] = frozenset()


def _no_outline() -> np.ndarray:
    return np.zeros((0, 2))


@dataclass(frozen=True)
class Measurements(Mapping[str, Measurement]):
    """All measures of one lesion, by name, with what is needed to draw them.

    Attributes:
        records: name -> Measurement, in the order of the page.
        mm_per_pixel: the scale that was used, or None.
        warnings: sentences for the person, most important first.
        states: the states found, see :class:`State`.
        outline: (n, 2) float64, the lesion's sub-pixel outline as (x, y) in photo pixels, a pixel's centre
            at whole numbers, closed (the first point is not repeated); (0, 2) when nothing was found.
        drawings: name -> (n, 2) float64 points or polygons in the same frame: ``"longest_diameter"`` and
            ``"width"`` (two ends each), ``"hull"``, ``"ellipse"``, ``"smoothed_outline"``,
            ``"indentations"`` and ``"protrusions"`` (a point each), ``"axis_major"``, ``"axis_minor"``,
            ``"folded_major"``, ``"folded_minor"`` (the outline folded about that axis).
        sectors: eight rows (start angle in degrees, edge sharpness or NaN), empty without a photo.
        palette: name of an ABCD colour -> share of the lesion in [0, 1], empty without a photo.
        threshold: the probability at which the outline was drawn.
    """

    records: Mapping[str, Measurement]
    mm_per_pixel: float | None = None
    warnings: tuple[str, ...] = ()
    states: tuple[State, ...] = ()
    outline: np.ndarray = field(default_factory=_no_outline)
    drawings: Mapping[str, np.ndarray] = field(default_factory=dict)
    sectors: tuple[tuple[float, float], ...] = ()
    palette: Mapping[str, float] = field(default_factory=dict)
    threshold: float = 0.5

    def __post_init__(self) -> None:
        for name in ("records", "drawings", "palette"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    def __getitem__(self, name: str) -> Measurement:
        return self.records[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.records)

    def __len__(self) -> int:
        return len(self.records)

    def __reduce__(self) -> tuple[Any, ...]:
        return (
            type(self),
            (
                dict(self.records),
                self.mm_per_pixel,
                self.warnings,
                self.states,
                self.outline,
                dict(self.drawings),
                self.sectors,
                dict(self.palette),
                self.threshold,
            ),
        )

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """``{"area": {"value", "unit", "interval", "formula", "source", "valid", "reason", ...}, ...}``."""
        return {name: record.to_dict() for name, record in self.records.items()}
