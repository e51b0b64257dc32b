"""The lesion in words, for who cannot see the picture: how many regions, where, how large, what its border is like."""

from __future__ import annotations

import numpy as np

from dermomamba.measure.records import Measurement, Measurements

NUMBERS = ("No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine")
CIRCLE, ELLIPSE, SQUARE = 1.05, 1.19, 4 / np.pi


def in_words(measurements: Measurements, mask: np.ndarray) -> str:
    """One or two sentences on the outlined lesion.

    Args:
        measurements: from :func:`dermomamba.measure.measure`.
        mask: (H, W) bool, the outlined lesion.

    Returns:
        For example "One region, centre-left, 12 % of the photo; longest diameter 410 px, 300 px across it,
        border smoother than a 2:1 ellipse.", with the warnings after it.
    """
    if not mask.any():
        return measurements.warnings[0] if measurements.warnings else "No lesion was found in this photo."
    several = [state for state in measurements.states if state.code == "several_regions"]
    share = 100 * float(mask.mean())
    opening = "Several regions" if several and measurements["longest_diameter"].value is None else "One region"
    amount = f"{share:.0f}" if share >= 1 else "less than 1"
    parts = [f"{opening}, {place(mask)}, {amount} % of the photo"]
    facts = [_size(measurements), _border(measurements["border_irregularity"]), _bays(measurements)]
    facts = [fact for fact in facts if fact]
    first = "; ".join([*parts, ", ".join(facts)] if facts else parts) + "."
    return " ".join([first, *measurements.warnings])


def place(mask: np.ndarray) -> str:
    """Where the middle of a region lies in the photo, by thirds: "centre", "upper left", "centre-left" ..."""
    rows, columns = np.nonzero(mask)
    height, width = mask.shape
    down = min(int(3 * (rows.mean() + 0.5) / height), 2)
    right = min(int(3 * (columns.mean() + 0.5) / width), 2)
    vertical, horizontal = ("upper", "", "lower")[down], ("left", "", "right")[right]
    if vertical and horizontal:
        return f"{vertical} {horizontal}"
    if horizontal:
        return f"centre-{horizontal}"
    return f"{vertical} centre" if vertical else "centre"


def amount(record: Measurement) -> str:
    """A number with its unit in three significant digits: "410 px", "8.4 mm"."""
    value = float(record.value or 0.0)
    digits = max(0, 2 - int(np.floor(np.log10(value)))) if value > 0 else 0
    return f"{value:,.{min(digits, 3)}f} {record.unit}"


def _size(measurements: Measurements) -> str:
    longest, width = measurements["longest_diameter"], measurements["width"]
    if not longest.valid:
        return ""
    return f"longest diameter {amount(longest)}, {amount(width)} across it"


def _border(record: Measurement) -> str:
    if not record.valid or record.value is None:
        return ""
    if record.value < CIRCLE:
        return "border as smooth as a circle"
    if record.value < ELLIPSE:
        return "border smoother than a 2:1 ellipse"
    if record.value < SQUARE:
        return "border about as irregular as a square"
    return f"border irregular ({record.value:.2f}; a circle is 1, a square 1.27)"


def _bays(measurements: Measurements) -> str:
    record = measurements["indentations"]
    if not record.valid or not record.value:
        return ""
    count = int(record.value)
    number = NUMBERS[count].lower() if count < len(NUMBERS) else str(count)
    deepest = measurements["deepest_indentation"]
    return (
        f"{number} indentation{'s' if count > 1 else ''}, the deepest {100 * float(deepest.value or 0):.0f} %"
        " of the lesion's diameter"
    )
