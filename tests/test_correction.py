"""Arithmetic on masks: discs, polygons, untouched pixels, undo; properties for any mask."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from dermomamba import correction as c
from dermomamba.errors import DataError

MASKS = arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=3, max_side=24))
RADII = st.floats(0, 6)


def disc(size: tuple[int, int], centre: tuple[float, float], radius: float) -> np.ndarray:
    """Pixels whose centre (y, x) lies within the radius."""
    y, x = np.ogrid[: size[0], : size[1]]
    return (y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2


@pytest.mark.parametrize("radius", [1, 4, 9.5])
def test_a_disc_grows_and_shrinks_by_the_radius(radius: float) -> None:
    mask = disc((160, 200), (80, 100), 40)
    for result, expected in ((c.grow(mask, radius), 40 + radius), (c.shrink(mask, radius), 40 - radius)):
        measured = np.sqrt(result.sum() / np.pi)
        assert measured == pytest.approx(expected, abs=0.5)
        assert not (result & ~disc(mask.shape, (80, 100), expected + 1)).any()
        assert not (~result & disc(mask.shape, (80, 100), expected - 1)).any()


def test_one_pixel_grows_to_exactly_the_disc() -> None:
    mask = np.zeros((41, 41), bool)
    mask[20, 20] = True
    assert (c.grow(mask, 7) == disc((41, 41), (20, 20), 7)).all()


def test_the_frame_does_not_eat_a_cut_lesion() -> None:
    mask = np.zeros((40, 40), bool)
    mask[:, :20] = True
    shrunk = c.shrink(mask, 3)
    assert (shrunk == (np.arange(40) < 17)[None, :]).all()
    assert c.shrink(np.ones((9, 9), bool), 3).all()
    assert not c.grow(np.zeros((9, 9), bool), 3).any()


def test_holes_are_filled_and_the_largest_is_kept() -> None:
    mask = disc((100, 140), (50, 40), 30)
    ring = mask & ~disc((100, 140), (50, 40), 12)
    with_speck = ring | disc((100, 140), (50, 110), 5)
    assert (c.fill_holes(ring) == mask).all()
    assert (c.keep_largest(with_speck) == ring).all()
    assert c.changed_px(with_speck, ring) == disc((100, 140), (50, 110), 5).sum()


def test_smoothing_keeps_straight_borders_and_takes_spikes() -> None:
    mask = np.zeros((60, 60), bool)
    mask[:, :30] = True
    spiky = mask.copy()
    spiky[30, 30:50] = True
    assert (c.smooth(mask, 3) == mask).all()
    smoothed = c.smooth(spiky, 3)
    assert not smoothed[:, 33:].any()  # a spike of one pixel, 20 long
    assert smoothed[:, :30].all()


def test_polygon_has_the_area_of_its_corners() -> None:
    angles = np.linspace(0, 2 * np.pi, 17)[:-1]
    points = [(150 + 90 * np.cos(a), 120 + 70 * np.sin(a)) for a in angles]
    area = 0.5 * 16 * 90 * 70 * np.sin(2 * np.pi / 16)
    assert c.polygon(points, (240, 300)).sum() == pytest.approx(area, rel=0.01)


def test_polygon_replaces_adds_and_cuts() -> None:
    mask = np.zeros((50, 50), bool)
    mask[10:30, 10:30] = True
    square = [(19.5, 19.5), (39.5, 19.5), (39.5, 39.5), (19.5, 39.5)]
    inside = np.zeros_like(mask)
    inside[20:40, 20:40] = True
    assert (c.with_polygon(mask, square, "replace") == inside).all()
    assert (c.with_polygon(mask, square, "add") == (mask | inside)).all()
    assert (c.with_polygon(mask, square, "cut") == (mask & ~inside)).all()
    with pytest.raises(ValueError, match="how"):
        c.with_polygon(mask, square, "swap")


def test_polygons_that_enclose_nothing_are_refused() -> None:
    with pytest.raises(DataError, match="three points"):
        c.polygon([(1, 1), (5, 5)], (10, 10))
    with pytest.raises(DataError, match="No part"):
        c.polygon([(20, 20), (30, 20), (30, 30)], (10, 10))


def test_points_are_read_as_people_type_them() -> None:
    assert c.parse_points("1, 2\n\n 3;4 \n5.5 6\n7,8,") == [(1, 2), (3, 4), (5.5, 6), (7, 8)]
    for bad in ("1,2\nthree, 4", "1,2\n3", "1,2\n3,4,5", "1,2\nnan, 3"):
        with pytest.raises(DataError, match="Line 2"):
            c.parse_points(bad)


@pytest.mark.parametrize(("height", "width"), [(300, 400), (3000, 4000), (8000, 1000), (450, 600), (20, 9000)])
def test_a_photo_just_fits_the_canvas_in_its_proportions(height: int, width: int) -> None:
    h, w = c.canvas_size(height, width)
    assert c.CANVAS[0] * c.CANVAS[1] <= 1_000_000  # beyond it the editor lags
    assert h == c.CANVAS[0] or w == c.CANVAS[1]
    assert h <= c.CANVAS[0]
    assert w <= c.CANVAS[1]
    assert h == pytest.approx(height * w / width, abs=1) or w == pytest.approx(width * h / height, abs=1)


def test_strokes_come_back_and_untouched_pixels_stay_identical() -> None:
    rng = np.random.default_rng(5)
    mask = disc((1200, 1600), (600, 800), 350)
    mask ^= (rng.random(mask.shape) < 0.02) & disc(mask.shape, (600, 800), 380)  # finer than any canvas shows
    size = (300, 400)
    factor = mask.shape[0] / size[0]
    before = c.resized(mask, size)
    brush = disc(size, (60, 300), 20)
    rubber = disc(size, (170, 190), 15)
    after = (before | brush) & ~rubber
    result = c.apply_strokes(mask, before, after)
    large_brush = disc(mask.shape, (60.5 * factor - 0.5, 300.5 * factor - 0.5), 20 * factor)
    large_rubber = disc(mask.shape, (170.5 * factor - 0.5, 190.5 * factor - 0.5), 15 * factor)
    margin = 3 * factor
    near = c.grow(large_brush | large_rubber, margin)
    assert (result[~near] == mask[~near]).all()
    assert result[c.shrink(large_brush, margin)].all()
    assert not result[c.shrink(large_rubber, margin)].any()
    assert c.changed_px(result, mask) > 0
    assert (c.apply_strokes(mask, before, before) == mask).all()


def test_on_a_canvas_larger_than_the_photo_untouched_pixels_stay_identical() -> None:
    mask = disc((150, 200), (75, 100), 40) & (np.random.default_rng(1).random((150, 200)) < 0.9)
    before = c.resized(mask, (864, 1152))
    stroke = disc(before.shape, (432, 900), 60)
    result = c.apply_strokes(mask, before, before | stroke)
    small = disc(mask.shape, (432.5 / 5.76 - 0.5, 900.5 / 5.76 - 0.5), 60 / 5.76)
    assert (result[~c.grow(small, 2)] == mask[~c.grow(small, 2)]).all()
    assert result[c.shrink(small, 1)].all()


def test_a_stroke_beside_the_lesion_leaves_no_seam() -> None:
    mask = np.zeros((900, 1200), bool)
    mask[:, :601] = True  # ends within a canvas pixel
    size = (225, 300)
    before = c.resized(mask, size)
    after = before.copy()
    after[100:120, 150:170] = True
    result = c.apply_strokes(mask, before, after)
    assert result[410:470, 595:670].all()


def test_undo_and_redo_go_there_and_back() -> None:
    masks = [disc((30, 37), (15, 18), r) for r in (3, 6, 9)]
    start = c.History.start(masks[0])
    history = start.then(masks[1]).then(masks[2])
    assert (history.undo().mask == masks[1]).all()
    assert (history.undo().undo().mask == masks[0]).all()
    assert history.undo().undo().undo().undo().now == start.now
    back = history.undo().undo().redo().redo().redo()
    assert (back.mask == masks[2]).all()
    branched = history.undo().then(masks[0])
    assert branched.redo() is branched
    assert history.then(masks[2]) is history  # an equal mask is no step
    assert (start.mask == masks[0]).all()  # nothing was changed in place
    with pytest.raises(ValueError, match="size"):
        start.then(np.zeros((3, 3), bool))


def test_history_forgets_the_oldest_and_stays_small() -> None:
    history = c.History.start(np.zeros((3000, 4000), bool))
    assert len(history.now) < 20_000
    small = c.History.start(np.zeros((1, 2 * c.STEPS), bool))
    for index in range(2 * c.STEPS):
        small = small.then(np.arange(2 * c.STEPS)[None] == index)
    assert len(small.past) == c.STEPS


@settings(max_examples=60, deadline=None)
@given(MASKS)
def test_filling_and_keeping_are_idempotent(mask: np.ndarray) -> None:
    filled, largest = c.fill_holes(mask), c.keep_largest(mask)
    assert (filled >= mask).all()
    assert (largest <= mask).all()
    assert (c.fill_holes(filled) == filled).all()
    assert (c.keep_largest(largest) == largest).all()


@settings(max_examples=60, deadline=None)
@given(MASKS, RADII, RADII)
def test_growing_and_shrinking_are_monotone(mask: np.ndarray, one: float, two: float) -> None:
    low, high = sorted((one, two))
    assert (c.grow(mask, low) <= c.grow(mask, high)).all()
    assert (c.shrink(mask, high) <= c.shrink(mask, low)).all()
    assert (c.shrink(mask, low) <= mask).all()
    assert (mask <= c.grow(mask, low)).all()
    assert (c.shrink(c.grow(mask, low), low) >= mask).all()  # closing only adds
    more = mask | np.roll(mask, 1, axis=0)
    assert (c.grow(mask, low) <= c.grow(more, low)).all()


@settings(max_examples=60, deadline=None)
@given(MASKS, st.data())
def test_on_a_canvas_of_the_photos_size_strokes_are_exact(mask: np.ndarray, data: st.DataObject) -> None:
    after = data.draw(arrays(bool, mask.shape))
    assert (c.apply_strokes(mask, mask, after) == after).all()


@settings(max_examples=40, deadline=None)
@given(MASKS)
def test_a_mask_survives_the_history(mask: np.ndarray) -> None:
    assert (c.History.start(mask).mask == mask).all()
    assert (c.History.start(~mask).then(mask).mask == mask).all()
