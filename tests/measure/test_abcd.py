"""The teaching sum of the ABCD rule: range, arithmetic, suggestions, and nothing more than a sum."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from lesion_shapes import drawn, soft_disc

from dermomamba.errors import DermoMambaError
from dermomamba.measure import measure
from dermomamba.measure.abcd import MEANINGS, score, suggest


def test_range_and_number_of_combinations():
    sums = [score(*scores).value for scores in product(range(3), range(9), range(1, 7), range(1, 6))]
    assert len(sums) == 810
    assert (min(sums), max(sums)) == (1.0, 8.9)


def test_arithmetic_is_shown():
    found = score(1, 3, 2, 4)
    assert found.value == pytest.approx(1.3 + 0.3 + 1.0 + 2.0)
    assert found.text == "1.3 x 1 + 0.1 x 3 + 0.5 x 2 + 0.5 x 4 = 4.6"
    assert sum(found.terms.values()) == pytest.approx(found.value)


@pytest.mark.parametrize("scores", [(3, 0, 1, 1), (0, 9, 1, 1), (0, 0, 0, 1), (0, 0, 1, 6), (0.5, 0, 1, 1)])
def test_scores_out_of_range_are_refused(scores):
    with pytest.raises(DermoMambaError, match="whole number"):
        score(*scores)


def test_suggestions_from_the_shape():
    disc = suggest(measure(soft_disc(60)))
    assert disc.asymmetry == 0
    assert disc.border is disc.colours is None
    triangle = suggest(measure(drawn(np.array([[0, 0], [150, 0], [0, 300.0]]))))
    assert triangle.asymmetry == 2
    kite = suggest(measure(drawn(np.array([[0, 0], [120, 0], [60, 260.0]]))))
    assert kite.asymmetry == 1


def test_nothing_is_suggested_where_nothing_was_measured():
    found = suggest(measure(np.zeros((40, 40))))
    assert found.asymmetry is found.border is found.colours is None


def test_no_verdict_in_any_word():
    found = suggest(measure(soft_disc(60)))
    words = " ".join([score(2, 8, 6, 5).text, *found.notes.values(), *MEANINGS.values()]).lower()
    for word in ("benign", "malignant", "melanoma", "risk", "suspicious", "diagnos"):
        assert word not in words
