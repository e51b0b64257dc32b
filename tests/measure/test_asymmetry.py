"""Asymmetry: closed-form shapes, and what must not change it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lesion_shapes import drawn, ellipse, grid, hard_disc, rose, square, turned

from dermomamba.measure.asymmetry import folds, mirror
from dermomamba.measure.contour import Contour, outlines

L_SHAPE = np.array([[0, 0], [200, 0], [200, 100], [100, 100], [100, 200], [0, 200.0]])
RIGHT_TRIANGLE = np.array([[0, 0], [150, 0], [0, 300.0]])


def half_disc() -> np.ndarray:
    x, y = grid(260, 260)
    return ((np.hypot(x - 130, y - 130) <= 100) & (y < 130)).astype(np.float32)


def test_half_disc():
    found = folds(outlines(half_disc())[0])
    assert found.major == pytest.approx(0.185, abs=0.01)
    assert found.minor == pytest.approx(0, abs=0.005)
    assert found.angle % 180 == pytest.approx(0, abs=1) or found.angle == pytest.approx(180, abs=1)


@pytest.mark.parametrize("degrees", [0, 31])
def test_triangles(degrees):
    isosceles = np.array([[0, 0], [120, 0], [60, 260.0]])
    found = folds(Contour(turned(isosceles, degrees)))
    assert (found.major, found.minor) == pytest.approx((0, 0.333), abs=0.01)
    found = folds(Contour(turned(RIGHT_TRIANGLE, degrees)))
    assert (found.major, found.minor) == pytest.approx((0.162, 0.320), abs=0.01)


@pytest.mark.parametrize("degrees", [0, 17])
def test_l_shape(degrees):
    found = folds(Contour(turned(L_SHAPE, degrees)))
    assert (found.major, found.minor) == pytest.approx((0.367, 0), abs=0.01)


@pytest.mark.parametrize(
    "mask", [hard_disc(60), drawn(ellipse(90, 45)), drawn(turned(ellipse(90, 45), 28)), drawn(turned(square(120), 20))]
)
def test_symmetric_shapes_are_at_the_noise_floor(mask):
    found = folds(outlines(mask)[0])
    assert max(found.major, found.minor) < 0.01
    assert found.least <= min(found.major, found.minor)


def test_near_round_shapes_take_their_axes_from_the_scan():
    flower = folds(outlines(drawn(turned(rose(100, 0.15, 8), 10)))[0])
    assert flower.near_round
    assert max(flower.major, flower.minor, flower.least) < 0.015
    five = folds(Contour(rose(100, 0.15, 5)))  # symmetric about one axis, never about two at right angles
    assert five.near_round
    assert five.least < 0.005
    assert max(five.major, five.minor) > 0.1


def test_folding_twice_gives_the_outline_back():
    contour = Contour(RIGHT_TRIANGLE)
    found = folds(contour)
    centre = contour.moments[1]
    np.testing.assert_allclose(mirror(found.folded_major, centre, found.angle), contour.points, atol=1e-9)
    assert Contour(found.folded_minor).area == pytest.approx(contour.area)


@given(
    degrees=st.floats(0, 359),
    scale=st.floats(0.3, 4),
    shift=st.tuples(st.floats(-50, 50), st.floats(-50, 50)),
    flip=st.booleans(),
)
@settings(max_examples=15, deadline=None)
def test_turning_moving_scaling_mirroring_change_nothing(degrees, scale, shift, flip):
    points = turned(RIGHT_TRIANGLE * ((-1, 1) if flip else (1, 1)), degrees) * scale + shift
    found = folds(Contour(points))
    assert (found.major, found.minor) == pytest.approx((0.162, 0.320), abs=0.012)
    assert found.least == pytest.approx(0.104, abs=0.012)
