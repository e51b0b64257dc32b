"""Distances between outlines on shifted discs and squares, whose values are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dermomamba.evaluation.surface import NSD_TOLERANCE, boundary_iou, diagonal, hd95, surface_dice


def disc(x: float, y: float = 60.0, radius: float = 40.0) -> np.ndarray:
    rows, columns = np.mgrid[:120, :160]
    return (columns - x) ** 2 + (rows - y) ** 2 <= radius**2


def test_two_discs_shifted_by_five_pixels() -> None:
    a, b = disc(70), disc(75)
    assert 4 < hd95(a, b) <= 5
    assert surface_dice(a, b, tolerance=5) == 1
    assert 0.1 < surface_dice(a, b, tolerance=1) < 0.6
    assert hd95(a, b) == hd95(b, a)
    assert surface_dice(a, b, 1) == pytest.approx(surface_dice(b, a, 1))
    assert 0 < boundary_iou(a, b) < 1


def test_equal_masks_are_perfect() -> None:
    assert (hd95(disc(70), disc(70)), surface_dice(disc(70), disc(70), 0), boundary_iou(disc(70), disc(70))) == (
        0,
        1,
        1,
    )


def test_the_lesion_is_compared_not_its_background() -> None:
    """MONAI's default leaves out channel 0, which here is the only one and the lesion."""
    assert hd95(disc(70), disc(90)) > 10


def test_distances_do_not_depend_on_where_the_lesion_lies() -> None:
    a, b = disc(45, 45, 30), disc(48, 49, 30)
    moved_a, moved_b = np.roll(a, (40, 60), (0, 1)), np.roll(b, (40, 60), (0, 1))
    assert hd95(a, b) == hd95(moved_a, moved_b)
    assert surface_dice(a, b, 2) == surface_dice(moved_a, moved_b, 2)


def test_a_far_speck_costs_hd95_only_when_it_is_large_enough() -> None:
    a = disc(70)
    speck = a.copy()
    speck[2, 150] = True
    assert hd95(speck, a) == 0
    blot = a.copy()
    blot[2:22, 135:155] = True
    assert hd95(blot, a) > 20


def test_empty_masks() -> None:
    nothing, lesion = np.zeros((120, 160), bool), disc(70)
    assert (hd95(nothing, nothing), surface_dice(nothing, nothing), boundary_iou(nothing, nothing)) == (0, 1, 1)
    assert math.isnan(hd95(nothing, lesion))
    assert math.isnan(hd95(lesion, nothing))
    assert (surface_dice(nothing, lesion), surface_dice(lesion, nothing)) == (0, 0)
    assert (boundary_iou(nothing, lesion), boundary_iou(lesion, nothing)) == (0, 0)


def test_full_masks_and_lesions_at_the_frame() -> None:
    full = np.ones((40, 50), bool)
    assert (hd95(full, full), surface_dice(full, full, 0), boundary_iou(full, full)) == (0, 1, 1)
    assert hd95(full, np.pad(np.ones((36, 46), bool), 2)) == pytest.approx(2, abs=0.9)


def test_the_default_tolerance_is_a_share_of_the_diagonal() -> None:
    a, b = disc(70), disc(71)
    assert diagonal((120, 160)) == 200
    assert surface_dice(a, b) == surface_dice(a, b, NSD_TOLERANCE * 200)
    assert NSD_TOLERANCE * 200 == 1.5


def test_boundary_iou_of_squares_by_hand() -> None:
    a = np.zeros((20, 20), bool)
    a[5:15, 5:15] = True
    b = np.roll(a, 1, axis=1)
    # Rims of width 1: 36 pixels each; in common the two long sides overlap in 9 + 9, the short ones nowhere.
    assert boundary_iou(a, b, width=1) == pytest.approx(18 / 54)
    assert boundary_iou(a, a, width=3) == 1
    # A rim wider than the lesion is the lesion, and boundary IoU becomes IoU: 90 of 110 pixels.
    assert boundary_iou(a, b, width=10) == pytest.approx(90 / 110)
