"""The picture in words."""

from __future__ import annotations

import numpy as np
import pytest
from lesion_shapes import drawn, rose, soft_disc

from dermomamba.measure import measure
from dermomamba.measure.describe import amount, in_words, place


@pytest.mark.parametrize(
    ("centre", "words"),
    [
        ((50, 50), "upper left"),
        ((150, 50), "upper centre"),
        ((250, 250), "lower right"),
        ((50, 150), "centre-left"),
        ((250, 150), "centre-right"),
        ((150, 150), "centre"),
    ],
)
def test_place_is_by_thirds(centre, words):
    probability = soft_disc(30, (300, 300), centre)
    assert place(probability >= 0.5) == words
    assert f", {words}, 3 % of the photo" in in_words(measure(probability), probability >= 0.5)


def test_sentence_of_a_disc():
    probability = soft_disc(60, (300, 400), (200, 150))
    said = in_words(measure(probability, mm_per_pixel=0.05), probability >= 0.5)
    assert said == (
        "One region, centre, 9 % of the photo; longest diameter 6.00 mm, 6.00 mm across it, "
        "border as smooth as a circle."
    )


def test_sentence_of_a_lobed_lesion_counts_its_bays():
    mask = drawn(rose(80, 0.2, 8))
    said = in_words(measure(mask), mask > 0)
    assert "eight indentations, the deepest 15 %" in said or "eight indentations, the deepest 16 %" in said
    assert "border irregular (2.1" in said


def test_sentence_when_nothing_was_found():
    empty = np.zeros((50, 50))
    assert in_words(measure(empty), empty > 0) == "No lesion was found in this photo."


def test_sentence_of_a_cut_lesion_gives_no_number_that_is_not_valid():
    probability = soft_disc(40, (200, 200), (5, 100))
    said = in_words(measure(probability), probability >= 0.5)
    assert "touches the edge" in said
    assert "diameter" not in said


def test_amounts_have_three_digits():
    record = measure(soft_disc(205.2, (500, 500)))["longest_diameter"]
    assert amount(record) == "410 px"
