"""Teaching calculator for the ABCD rule of dermoscopy: the person gives the scores, the arithmetic is shown.

TDS = 1.3 A + 0.1 B + 0.5 C + 0.5 D, from 1.0 to 8.9 (Stolz; Nachbar et al. 1994, J Am Acad Dermatol 30:551-559,
doi 10.1016/S0190-9622(94)70061-3). A, B and C may be suggested from the measures; D counts structures that an
outline does not hold, so a person enters it. The number is a sum for learning the rule; nothing is concluded here.
"""

from __future__ import annotations

from dataclasses import dataclass

from dermomamba.errors import DermoMambaError
from dermomamba.measure.records import Measurements

WEIGHTS = {"A": 1.3, "B": 0.1, "C": 0.5, "D": 0.5}
RANGES = {"A": (0, 2), "B": (0, 8), "C": (1, 6), "D": (1, 5)}
MEANINGS = {
    "A": "axes with asymmetry (0 to 2)",
    "B": "sectors with an abrupt edge (0 to 8)",
    "C": "colours (1 to 6)",
    "D": "structures (1 to 5)",
}
ASYMMETRIC = 0.10  # index above which an axis is suggested; on 103 experts' outlines of PH2 it agrees with A in 59 %


@dataclass(frozen=True)
class Suggestion:
    """Scores that the measures suggest, each None where they cannot.

    Attributes:
        asymmetry: A, 0 to 2, from the shape alone.
        border: B, 0 to 8, from the experimental edge sharpness.
        colours: C, 1 to 6, from the palette estimate.
        notes: for A, B and C a sentence on what the suggestion rests on.
    """

    asymmetry: int | None
    border: int | None
    colours: int | None
    notes: dict[str, str]


@dataclass(frozen=True)
class Score:
    """The sum and its arithmetic.

    Attributes:
        value: TDS, 1.0 to 8.9.
        text: the arithmetic, e.g. ``"1.3 x 1 + 0.1 x 3 + 0.5 x 2 + 0.5 x 2 = 3.6"``.
        terms: letter -> weighted term.
    """

    value: float
    text: str
    terms: dict[str, float]


def suggest(measurements: Measurements) -> Suggestion:
    """Suggest A, B and C from the measures; D is never suggested.

    Args:
        measurements: from :func:`dermomamba.measure.measure`, with the photo for B and C.

    Returns:
        The suggestion, to be looked at and changed by the person.
    """
    axes = [_valid(measurements, "asymmetry_major"), _valid(measurements, "asymmetry_minor")]
    asymmetry = None if None in axes else sum(index > ASYMMETRIC for index in axes if index is not None)
    abrupt, colours = _valid(measurements, "abrupt_sectors"), _valid(measurements, "palette_colours")
    return Suggestion(
        asymmetry,
        None if abrupt is None else int(abrupt),
        None if colours is None else min(max(int(colours), 1), 6),
        {
            "A": f"Shape only: axes whose asymmetry index is above {ASYMMETRIC:g}. Look at colour and structure too.",
            "B": "Experimental: sectors where the lightness changes abruptly.",
            "C": "An estimate: the camera is not colour-calibrated.",
        },
    )


def score(asymmetry: int, border: int, colours: int, structures: int) -> Score:
    """Add up the rule.

    Args:
        asymmetry: A, 0 to 2.
        border: B, 0 to 8.
        colours: C, 1 to 6.
        structures: D, 1 to 5.

    Returns:
        The sum with its arithmetic.

    Raises:
        DermoMambaError: a score is not a whole number in its range.
    """
    scores = {"A": asymmetry, "B": border, "C": colours, "D": structures}
    for letter, number in scores.items():
        low, high = RANGES[letter]
        if isinstance(number, bool) or number != int(number) or not low <= number <= high:
            raise DermoMambaError(f"{letter} counts {MEANINGS[letter]}; give a whole number from {low} to {high}.")
    terms = {letter: round(WEIGHTS[letter] * number, 1) for letter, number in scores.items()}
    value = round(sum(terms.values()), 1)
    sum_text = " + ".join(f"{WEIGHTS[letter]:g} x {int(number)}" for letter, number in scores.items())
    return Score(value, f"{sum_text} = {value:.1f}", terms)


def _valid(measurements: Measurements, name: str) -> float | None:
    record = measurements[name]
    return record.value if record.valid else None
