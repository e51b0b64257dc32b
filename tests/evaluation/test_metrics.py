"""Overlap metrics by hand, their identities, and ISIC's conventions for empty masks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dermomamba.evaluation.metrics import (
    Counts,
    accuracy,
    counts,
    dice,
    iou,
    overlap,
    precision,
    sensitivity,
    specificity,
    threshold_jaccard,
)

PIXELS = st.integers(0, 10**8)
ANY = st.builds(Counts, PIXELS, PIXELS, PIXELS, PIXELS).filter(lambda c: c.tp + c.fp + c.fn + c.tn > 0)


def test_a_tiny_pair_by_hand() -> None:
    predicted = np.array([[1, 1, 0], [0, 1, 0]], bool)
    truth = np.array([[1, 0, 0], [1, 1, 0]], bool)
    c = counts(predicted, truth)
    assert c == Counts(tp=2, fp=1, fn=1, tn=2)
    assert overlap(c) == {
        "dice": pytest.approx(4 / 6),
        "iou": pytest.approx(2 / 4),
        "threshold_jaccard": 0.0,
        "sensitivity": pytest.approx(2 / 3),
        "specificity": pytest.approx(2 / 3),
        "precision": pytest.approx(2 / 3),
        "accuracy": pytest.approx(4 / 6),
    }


def test_threshold_jaccard_keeps_065_and_drops_what_is_below() -> None:
    assert threshold_jaccard(Counts(65, 20, 15, 0)) == 0.65
    assert threshold_jaccard(Counts(6499, 2000, 1501, 0)) == 0.0
    assert threshold_jaccard(Counts(651, 200, 149, 0)) == 0.651


def test_empty_masks_follow_isic() -> None:
    nothing = Counts(0, 0, 0, 10)
    assert (dice(nothing), iou(nothing), threshold_jaccard(nothing)) == (1, 1, 1)
    assert (sensitivity(nothing), specificity(nothing), precision(nothing), accuracy(nothing)) == (1, 1, 1, 1)
    missed = Counts(0, 0, 4, 6)
    assert (dice(missed), iou(missed), sensitivity(missed), precision(missed)) == (0, 0, 0, 0)
    invented = Counts(0, 4, 0, 6)
    assert (dice(invented), iou(invented), sensitivity(invented), precision(invented)) == (0, 0, 1, 0)
    full = Counts(10, 0, 0, 0)
    assert (dice(full), specificity(full)) == (1, 1)


@given(ANY)
def test_dice_and_jaccard_determine_each_other(c: Counts) -> None:
    d, j = dice(c), iou(c)
    assert d == pytest.approx(2 * j / (1 + j), abs=1e-12)
    assert j == pytest.approx(d / (2 - d), abs=1e-12)
    assert j <= d


@given(ANY)
def test_all_are_fractions_and_swapping_the_masks_swaps_precision_and_sensitivity(c: Counts) -> None:
    swapped = Counts(c.tp, c.fn, c.fp, c.tn)
    assert all(0 <= value <= 1 for value in overlap(c).values())
    assert dice(c) == dice(swapped)
    assert iou(c) == iou(swapped)
    if c.tp + c.fp and c.tp + c.fn:
        assert precision(c) == sensitivity(swapped)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_counts_add_up_to_the_pixels(height: int, width: int, seed: int) -> None:
    one, other = np.random.default_rng(seed).random((2, height, width)) > 0.5
    c = counts(one, other)
    assert c.tp + c.fp + c.fn + c.tn == height * width
    assert c.tp + c.fn == other.sum()
    assert c.tp + c.fp == one.sum()


def test_masks_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        counts(np.zeros((2, 2), bool), np.zeros((2, 3), bool))
    with pytest.raises(ValueError, match="bool"):
        counts(np.zeros((2, 2), bool), np.zeros((2, 2), np.uint8))
