"""Threshold, largest region, filled holes; and the way between photo and network."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from dermomamba.postprocess import clean_mask
from dermomamba.resample import to_network, to_photo

maps = arrays(np.float32, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.sampled_from([0.1, 0.9]))


@given(maps)
def test_one_region_without_holes_is_left(probability: np.ndarray) -> None:
    cleaned = clean_mask(probability)
    eight = np.ones((3, 3))
    assert cleaned.components == ndimage.label(probability >= 0.5, eight)[1]
    assert ndimage.label(cleaned.mask, eight)[1] == min(1, cleaned.components)
    assert np.array_equal(ndimage.binary_fill_holes(cleaned.mask), cleaned.mask)
    assert cleaned.mask.sum() == (probability >= 0.5).sum() - cleaned.dropped_px + cleaned.filled_px


@given(maps)
def test_switches_off_leave_the_threshold_alone(probability: np.ndarray) -> None:
    cleaned = clean_mask(probability, largest=False, fill_holes=False)
    assert np.array_equal(cleaned.mask, probability >= 0.5)
    assert cleaned.dropped_px == cleaned.filled_px == 0


def test_the_larger_of_two_is_kept_and_the_rest_counted() -> None:
    probability = np.zeros((10, 20), np.float32)
    probability[2:8, 2:8] = 1
    probability[4:6, 4:6] = 0
    probability[3:5, 15:17] = 1
    cleaned = clean_mask(probability)
    assert (cleaned.components, cleaned.dropped_px, cleaned.filled_px) == (2, 4, 4)
    assert cleaned.mask.sum() == 36


def test_a_bay_that_reaches_the_frame_is_no_hole() -> None:
    probability = np.ones((6, 6), np.float32)
    probability[0:3, 2] = 0
    assert clean_mask(probability).filled_px == 0


@pytest.mark.parametrize("size", [(192, 256), (600, 450), (100, 700), (96, 128)])
def test_a_constant_stays_constant(size: tuple[int, int]) -> None:
    photo = np.full((*size, 3), 77, np.uint8)
    small = to_network(photo, (192, 256))
    assert small.shape == (192, 256, 3)
    assert (small == 77).all()
    np.testing.assert_allclose(to_photo(np.full((192, 256), 0.3, np.float32), size), 0.3, rtol=1e-6)


def test_shrinking_keeps_the_area() -> None:
    mask = np.zeros((768, 1024), np.uint8)
    mask[200:500, 300:700] = 255
    assert to_network(mask, (192, 256)).mean() == pytest.approx(mask.mean(), rel=0.01)


def test_enlarging_keeps_the_middle_in_place() -> None:
    y, x = np.mgrid[:192, :256]
    hill = np.exp(-((x - 100) ** 2 + (y - 80) ** 2) / 400).astype(np.float32)
    peak = np.unravel_index(to_photo(hill, (768, 1024)).argmax(), (768, 1024))
    assert np.abs(np.array(peak) - [80.5 * 4 - 0.5, 100.5 * 4 - 0.5]).max() <= 1
