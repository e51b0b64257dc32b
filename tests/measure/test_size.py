"""Size: diameters, widths and the scale in millimetres."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lesion_shapes import drawn, ellipse, hard_disc, soft_disc, square, turned

from dermomamba import errors
from dermomamba.measure import measure
from dermomamba.measure.size import DIRECTIONS, hull_points, least_width, longest_diameter, width_across


def test_scale_gives_square_millimetres():
    records = measure(soft_disc(40), mm_per_pixel=0.05)
    assert records["area"].value == pytest.approx(4 * np.pi, rel=0.005)
    assert records["area"].unit == "mm²"
    assert records["longest_diameter"].value == pytest.approx(4, rel=0.005)
    assert records["perimeter"].unit == records["width"].unit == "mm"
    assert records.mm_per_pixel == 0.05


def test_without_a_scale_there_are_no_millimetres():
    assert not any("mm" in record.unit for record in measure(soft_disc(40)).values())


@pytest.mark.parametrize("scale", [0, -0.1, float("nan"), float("inf")])
def test_a_scale_that_makes_no_sense_is_refused(scale):
    with pytest.raises(errors.ScaleError, match="positive"):
        measure(soft_disc(20), mm_per_pixel=scale)


@pytest.mark.parametrize("degrees", [0, 20, 45])
def test_square_diameters(degrees):
    records = measure(drawn(turned(square(100), degrees)))
    assert records["longest_diameter"].value == pytest.approx(141.42, abs=1.5)
    assert records["least_width"].value == pytest.approx(100, abs=1.5)
    assert records["width"].value == pytest.approx(141.42, abs=1.5)


def test_ellipse_diameters_do_not_depend_on_its_turn():
    for degrees in (0, 37, 90):
        records = measure(drawn(turned(ellipse(80, 40), degrees)))
        assert records["longest_diameter"].value == pytest.approx(160, abs=1.5)
        assert records["width"].value == pytest.approx(80, abs=1.5)
        ends = records.drawings["longest_diameter"]
        assert np.hypot(*(ends[1] - ends[0])) == pytest.approx(records["longest_diameter"].value)


def test_area_fraction_is_of_the_whole_photo():
    records = measure(soft_disc(50, (400, 500)))
    assert records["area_fraction"].value == pytest.approx(np.pi * 2500 / 200_000, rel=0.001)
    assert records["equivalent_diameter"].value == pytest.approx(100, rel=0.001)


def test_many_corners_are_thinned_without_loss():
    turn = np.linspace(0, 2 * np.pi, 20_000, endpoint=False)
    hull = hull_points(1000 * np.stack([np.cos(turn), np.sin(turn)], axis=1))
    assert len(hull) <= DIRECTIONS
    assert longest_diameter(hull)[0] == pytest.approx(2000, rel=1e-5)


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=6, max_size=40, unique=True))
@settings(max_examples=50, deadline=None)
def test_widths_are_ordered(pairs):
    points = np.array(pairs, dtype=float)
    if np.linalg.matrix_rank(points - points[0]) < 2:
        return
    hull = hull_points(points)
    longest, ends = longest_diameter(hull)
    across, segment = width_across(hull, ends)
    assert least_width(hull) <= across + 1e-9
    assert across <= longest + 1e-9
    assert np.hypot(*(segment[1] - segment[0])) == pytest.approx(across)


def test_hard_disc_diameter_is_within_a_pixel():
    assert measure(hard_disc(50))["longest_diameter"].value == pytest.approx(100, abs=1.1)
