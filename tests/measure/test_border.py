"""Border: what each number sees and what it leaves out."""

from __future__ import annotations

import numpy as np
import pytest
from lesion_shapes import drawn, ellipse, grid, hard_disc, koch, rose, soft_disc, square, turned

from dermomamba.measure import measure
from dermomamba.measure.border import bays, box_dimension, ellipse_compactness
from dermomamba.measure.contour import Contour, outlines


def test_rose_has_eight_indentations_and_eight_protrusions():
    records = measure(drawn(rose(80, 0.2, 8)))
    assert records["indentations"].value == 8
    assert records["protrusions"].value == 8
    assert records["solidity"].value == pytest.approx(0.769, abs=0.015)
    assert records["deepest_indentation"].value == pytest.approx(0.161, abs=0.012)
    centre = records.outline.mean(axis=0)
    inner = np.hypot(*(records.drawings["indentations"] - centre).T)
    outer = np.hypot(*(records.drawings["protrusions"] - centre).T)
    assert inner.max() < 70 < 90 < outer.min()


@pytest.mark.parametrize("points", [ellipse(100, 50), square(120), rose(80, 0.0, 3)])
def test_a_convex_shape_has_no_bays(points):
    records = measure(drawn(turned(points, 25)))
    assert records["indentations"].value == records["protrusions"].value == 0
    assert records["solidity"].value >= 0.98
    assert records["convexity"].value == pytest.approx(1, abs=0.005)


def test_a_bump_is_one_protrusion_and_a_kidney_has_one_indentation():
    x, y = grid(300, 300)
    disc = np.hypot(x - 150, y - 160) < 90
    bump = measure((disc | (np.hypot(x - 150, y - 55) < 22)).astype(float))
    assert bump["protrusions"].value == 1
    kidney = measure((disc & ~(np.hypot(x - 150, y - 50) < 50)).astype(float))
    assert (kidney["indentations"].value, kidney["protrusions"].value) == (1, 0)
    halves = (
        (np.hypot(x - 80, y - 150) < 60)
        | (np.hypot(x - 220, y - 150) < 60)
        | ((np.abs(y - 150) < 25) & (np.abs(x - 150) < 60))
    )
    dumbbell = measure(halves.astype(float))
    assert (dumbbell["indentations"].value, dumbbell["protrusions"].value) == (2, 2)


def test_structure_and_texture_tell_coarse_from_fine():
    coarse, fine = measure(drawn(rose(250, 0.2, 8))), measure(drawn(rose(250, 0.05, 40)))
    assert coarse["structure_irregularity"].value == pytest.approx(2.06, abs=0.05)
    assert coarse["texture_irregularity"].value == pytest.approx(0.09, abs=0.03)
    assert fine["structure_irregularity"].value == pytest.approx(1.20, abs=0.03)
    assert fine["texture_irregularity"].value == pytest.approx(1.41, abs=0.05)
    disc = measure(soft_disc(200))
    assert disc["structure_irregularity"].value == pytest.approx(1, abs=0.002)
    assert disc["texture_irregularity"].value == pytest.approx(0, abs=0.002)


def test_texture_is_not_given_where_the_mask_cannot_show_it():
    record = measure(hard_disc(60))["texture_irregularity"]
    assert not record.valid
    assert record.value is None
    assert "too few pixels" in record.reason


def test_smoothing_relative_to_size_makes_cameras_agree():
    values = [measure(drawn(rose(radius, 0.05, 40)))["border_irregularity"].value for radius in (160, 240)]
    assert max(values) / min(values) < 1.01


@pytest.mark.parametrize("radius", [70, 100, 200])
def test_box_dimension_of_a_circle(radius):
    assert box_dimension(outlines(hard_disc(radius))[0]) == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("level", [4, 5])
def test_box_dimension_of_the_koch_snowflake(level):
    contour = outlines(drawn(koch(level, 200)))[0]
    assert box_dimension(contour) == pytest.approx(np.log(4) / np.log(3), abs=0.05)


def test_box_dimension_needs_a_large_lesion():
    record = measure(soft_disc(40))["box_dimension"]
    assert not record.valid
    assert "too small" in record.reason
    assert measure(soft_disc(80))["box_dimension"].valid


def test_ellipse_compactness_formula():
    assert ellipse_compactness(1, 1) == pytest.approx(1)
    assert ellipse_compactness(2, 1) == pytest.approx(1.1888, abs=1e-4)


def test_half_the_lesion_may_be_a_protrusion_but_not_its_body():
    square_with_notches = np.array([[0, 0], [40, 0], [50, 20], [60, 0], [100, 0], [100, 60], [0, 60]], dtype=float)
    found = bays(Contour(square_with_notches))
    assert len(found.indentations) == 1
    assert len(found.protrusions) == 0
