"""The outline: unbiased on shapes with a known perimeter, at any size, angle and enlargement."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from lesion_shapes import drawn, ellipse, grid, hard_disc, rose, soft_disc, square, true_compactness, turned

from dermomamba.measure import measure
from dermomamba.measure.contour import Contour, edge_softness, fill, outlines, polygon_moments, restrict, smooth
from dermomamba.measure.lesion import lesion_of
from dermomamba.postprocess import clean_mask


def compactness(probability: np.ndarray) -> float:
    return measure(probability)["border_irregularity"].value


@pytest.mark.parametrize("radius", [20, 50, 100, 200])
@pytest.mark.parametrize("disc", [soft_disc, hard_disc])
def test_disc_has_compactness_one_at_every_size(disc, radius):
    assert compactness(disc(radius)) == pytest.approx(1, abs=0.005)


def test_soft_disc_area_and_perimeter_are_those_of_the_circle():
    records = measure(soft_disc(40.3))
    assert records["area"].value == pytest.approx(np.pi * 40.3**2, abs=1)
    assert records["perimeter"].value == pytest.approx(2 * np.pi * 40.3, rel=0.001)
    assert records["border_irregularity"].value == pytest.approx(1, abs=0.003)


@pytest.mark.parametrize(("a", "b"), [(100, 50), (200, 100)])
@pytest.mark.parametrize("degrees", [0, 33])
def test_ellipse_two_to_one(a, b, degrees):
    records = measure(drawn(turned(ellipse(a, b), degrees)))
    assert records["border_irregularity"].value == pytest.approx(1.1888, abs=0.005)
    assert records["border_excess"].value == pytest.approx(1, abs=0.02)


def test_square_is_the_same_at_every_angle():
    values = [compactness(drawn(turned(square(200), degrees))) for degrees in (0, 15, 30, 45)]
    assert max(values) / min(values) < 1.01
    assert values == pytest.approx([4 / np.pi] * 4, abs=0.03)


@pytest.mark.parametrize(("amplitude", "lobes"), [(0.1, 8), (0.2, 8), (0.15, 5)])
def test_rose_has_its_closed_form(amplitude, lobes):
    points = rose(100, amplitude, lobes)
    assert compactness(drawn(points)) == pytest.approx(true_compactness(points), rel=0.03)


def test_bilinear_enlargement_changes_nothing():
    small = soft_disc(40, (192, 256)).astype(np.float32)
    expected = compactness(small)
    for factor in (4, 5, 6):
        large = cv2.resize(small, None, fx=factor, fy=factor, interpolation=cv2.INTER_LINEAR)
        records = measure(large)
        assert records["border_irregularity"].value == pytest.approx(expected, rel=0.01)
        assert records["area"].value == pytest.approx(np.pi * 40**2 * factor**2, rel=0.01)


def test_nearest_enlargement_is_caught_by_the_raw_contour_and_mended_by_relative_smoothing():
    """A mask enlarged by NEAREST makes the raw contour of a disc look 30 % irregular; smoothing by size does not."""
    large = cv2.resize(hard_disc(40, (192, 256)), None, fx=6, fy=6, interpolation=cv2.INTER_NEAREST)
    raw = outlines(large)[0].compactness
    assert raw > 1.3
    assert compactness(large) < 1.05


def test_circle_in_a_photo_that_is_not_four_to_three():
    records = measure(soft_disc(150, (600, 1000), (400.3, 300.2)))
    assert records["border_irregularity"].value == pytest.approx(1, abs=0.005)
    assert records["area"].value == pytest.approx(np.pi * 150**2, rel=0.005)
    np.testing.assert_allclose(polygon_moments(records.outline)[1], (400.3, 300.2), atol=1)


def test_smoothing_keeps_area_and_takes_the_stairs_away():
    contour = outlines(hard_disc(60))[0]
    smoothed = smooth(contour, 0.01, 1.7)
    assert smoothed.area == pytest.approx(contour.area, rel=1e-3)
    assert contour.compactness > 1.1 > 1.005 > smoothed.compactness


def test_edge_softness_is_the_sigma_of_the_step():
    field = soft_disc(60, edge=2.0).astype(np.float32)
    assert edge_softness(field, outlines(field)[0]) == pytest.approx(1.6 * 2.0, rel=0.05)
    mask = hard_disc(60)
    assert edge_softness(mask, outlines(mask)[0]) < 0.6


def test_restrict_keeps_one_region_and_fills_its_hole():
    x, y = grid(120, 200)
    ring = (np.hypot(x - 60, y - 60) < 40) & (np.hypot(x - 60, y - 60) > 10)
    other = np.hypot(x - 160, y - 60) < 15
    probability = (0.9 * (ring | other)).astype(np.float32)
    mask = clean_mask(probability).mask
    field = restrict(probability, mask, 0.5)
    found = outlines(field)
    assert len(found) == 1
    assert found[0].area == pytest.approx(np.pi * 40**2, rel=0.01)


def test_open_hole_is_taken_off_the_area():
    x, y = grid(120, 120)
    ring = (np.hypot(x - 60, y - 60) <= 40) & (np.hypot(x - 60, y - 60) > 12)
    lesion = lesion_of(ring.astype(np.float32), ring, 0.5)
    assert lesion.area == pytest.approx(ring.sum(), rel=0.002)
    assert len(lesion.contours) == 1


def test_outline_closes_where_the_lesion_leaves_the_photo():
    found = outlines(np.ones((30, 40), np.float32))
    assert len(found) == 1
    assert found[0].area == pytest.approx(1200, rel=0.01)


def test_fill_is_exact_for_a_polygon_between_pixels():
    points = np.array([[10.25, 10.5], [40.75, 10.5], [40.75, 30.5], [10.25, 30.5]])
    coverage = fill(points, (50, 60))
    assert coverage.sum() == pytest.approx(30.5 * 20, rel=1e-6)
    assert coverage[20, 10] == pytest.approx(0.25, abs=1e-6)
    np.testing.assert_allclose(fill(points[::-1], (50, 60)), coverage)


def test_moments_of_a_rectangle():
    area, centre, covariance = polygon_moments(np.array([[1.0, 2.0], [7.0, 2.0], [7.0, 5.0], [1.0, 5.0]]))
    assert area == pytest.approx(18)
    np.testing.assert_allclose(centre, (4, 3.5))
    np.testing.assert_allclose(covariance, np.diag([36 / 12, 9 / 12]), atol=1e-12)


def test_compactness_is_never_below_one():
    turn = np.linspace(0, 2 * np.pi, 2000, endpoint=False)
    assert Contour(np.stack([np.cos(turn), np.sin(turn)], axis=1)).compactness >= 1
