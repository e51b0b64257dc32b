"""The photo's scale in millimetres per pixel: by number, by a line of known length, or from a printed ruler.

A scale is never guessed from a file's resolution tag: pixel spacing is valid only for a contact dermoscope or a
fixed distance (DICOM PS3.17, annex TTTT "Dermoscopy"). ``find_ruler`` reports what it saw and assumed; the
person confirms it.
"""

from __future__ import annotations

import math

from dermomamba.errors import ScaleError
from dermomamba.measure.ruler import RulerFinding, find_ruler

__all__ = ["RulerFinding", "by_line", "by_number", "find_ruler"]

SMALLEST, LARGEST = 0.0005, 0.5
"""mm per pixel: from a microscope's half a micrometre to a photo of half a metre at 1000 px."""
SHORTEST_LINE_PX = 20.0


def by_number(mm_per_pixel: float) -> float:
    """Check a scale that a person typed.

    Args:
        mm_per_pixel: millimetres per pixel.

    Returns:
        The same number as float.

    Raises:
        ScaleError: it is no number, not positive, or impossible for a dermoscopic photo.
    """
    value = _number(mm_per_pixel, "The scale")
    if value < SMALLEST or value > LARGEST:
        raise ScaleError(
            f"A scale of {value:g} mm per pixel does not fit a dermoscopic photo. It should lie between "
            f"{SMALLEST:g} and {LARGEST:g}; typical is 0.01 to 0.1. Check whether you entered pixels per mm."
        )
    return value


def by_line(first: tuple[float, float], second: tuple[float, float], length_mm: float) -> float:
    """The scale from a line of known length drawn on the photo.

    Args:
        first: (x, y) of one end in px of the photo.
        second: (x, y) of the other end.
        length_mm: its true length in mm.

    Returns:
        Millimetres per pixel.

    Raises:
        ScaleError: the line is too short to be exact, the length is no positive number, or the scale is impossible.
    """
    length = _number(length_mm, "The length of the line")
    pixels = math.hypot(second[0] - first[0], second[1] - first[1])
    if not math.isfinite(pixels):
        raise ScaleError("The ends of the line are not known. Mark both ends on the photo.")
    if pixels < SHORTEST_LINE_PX:
        raise ScaleError(
            f"The line is only {pixels:.0f} pixels long, too short for an exact scale. Draw a longer line, "
            f"at least {SHORTEST_LINE_PX:.0f} pixels."
        )
    return by_number(length / pixels)


def _number(value: float, what: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise ScaleError(f"{what} is not a number. Enter millimetres as a decimal number, for example 0.02.") from error
    if not math.isfinite(number) or number <= 0:
        raise ScaleError(f"{what} must be larger than zero. Enter millimetres as a decimal number, for example 0.02.")
    return number
