"""Pictures: analytic masks and maps whose pixels are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dermomamba import render, render_measures


def disc(height: int, width: int, radius: float, x: float, y: float) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return (columns - x) ** 2 + (rows - y) ** 2 <= radius**2


def test_contour_of_a_disc_lies_on_its_circle() -> None:
    (line,) = render.contours(disc(200, 260, 60, 120.0, 90.0))
    distance = np.hypot(line[:, 0] - 120.0, line[:, 1] - 90.0)
    assert np.abs(distance - 60).max() < 0.7
    assert np.allclose(line[0], line[-1])


def test_contours_of_nothing_a_speck_a_ring_and_a_lesion_at_the_frame() -> None:
    assert render.contours(np.zeros((20, 30), bool)) == []
    speck = np.zeros((20, 30), bool)
    speck[7, 11] = True
    (line,) = render.contours(speck)
    assert np.allclose(line.mean(axis=0), (11, 7), atol=0.3)
    ring = disc(100, 100, 40, 50, 50) & ~disc(100, 100, 20, 50, 50)
    assert len(render.contours(ring)) == 2
    (edge,) = render.contours(np.ones((10, 12), bool))
    assert edge.min() < 0
    assert edge[:, 0].max() > 11  # closed outside the frame


@pytest.mark.parametrize("shape", [(300, 400), (150, 200), (900, 1200)])
def test_outline_is_cyan_on_the_border_and_leaves_the_rest_alone(shape: tuple[int, int]) -> None:
    mask = disc(300, 400, 80, 200, 150)
    photo = np.full((*shape, 3), 150, np.uint8)
    before = photo.copy()
    drawn = render.outline(photo, mask)
    factor = shape[1] / 400
    on_border = drawn[round(150 * factor), round((200 + 80) * factor)]
    assert on_border.astype(int)[2] > 200
    assert on_border.astype(int)[0] < 90
    assert (drawn[round(150 * factor), round(200 * factor)] == 150).all()
    assert (drawn[2, 2] == 150).all()
    assert (photo == before).all()
    halo = (drawn.astype(int).sum(axis=2) < 150).any()
    assert halo


def test_outline_of_an_empty_mask_is_the_photo() -> None:
    photo = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    assert (render.outline(photo, np.zeros((40, 60), bool)) == photo).all()


def test_filled_mixes_by_the_opacity() -> None:
    mask = disc(100, 100, 40, 50, 50)
    photo = np.full((100, 100, 3), 100, np.uint8)
    assert (render.filled(photo, mask, 0.0)[50, 50] == 100).all()
    assert tuple(render.filled(photo, mask, 1.0)[50, 50]) == render.CYAN
    half = render.filled(photo, mask, 0.5)[50, 50].astype(float)
    assert np.allclose(half, (100 + np.array(render.CYAN)) / 2, atol=1)


def test_colour_map_has_fixed_limits() -> None:
    flat = np.full((3, 4), 0.5, np.float32)
    middle = render.colour_map(np.array([[0.0, 0.5, 1.0]], np.float32), 0, 1)[0, 1]
    assert (render.colour_map(flat, 0, 1) == middle).all()  # a flat map stays flat: nothing is stretched
    ends = render.colour_map(np.array([[-9.0, 0.0, 1.0, 9.0]], np.float32), 0, 1)[0]
    assert (ends[0] == ends[1]).all()
    assert (ends[2] == ends[3]).all()
    with pytest.raises(ValueError, match="below"):
        render.colour_map(flat, 1, 1)


@pytest.mark.parametrize("name", ["viridis", "magma"])
def test_colour_maps_grow_lighter_all_the_way(name: str) -> None:
    bar = render.colour_bar(name)[0].astype(float)
    luminance = bar @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(luminance) > -1.0).all()
    assert luminance[-1] - luminance[0] > 150


def test_a_coarse_map_is_enlarged_before_it_is_coloured() -> None:
    values = np.zeros((2, 2), np.float32)
    values[:, 1] = 1
    wide = render.over(np.zeros((40, 400, 3), np.uint8), values, 0, 1, 1.0)
    palette = {tuple(c) for c in render.colour_bar("viridis", 2048)[0]}
    assert all(tuple(pixel) in palette for pixel in wide[20])
    assert len({tuple(pixel) for pixel in wide[20]}) > 100


def test_opacity_nought_is_the_photo() -> None:
    photo = np.random.default_rng(1).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    assert (render.over(photo, np.ones((3, 4), np.float32), 0, 1, 0.0) == photo).all()


@given(st.integers(1, 4000), st.integers(1, 4000))
def test_fit_keeps_proportions_and_limits(height: int, width: int) -> None:
    height, width = min(height, 60), min(width, 60)
    small = render.fit(np.zeros((height, width, 3), np.uint8), 30)
    assert max(small.shape[:2]) <= max(30, 3)
    assert abs(small.shape[1] / 30 - width / max(height, width)) <= 0.04 or max(height, width) * 3 < 30


def test_marks_are_drawn_where_they_are() -> None:
    drawn = render.marked_line(np.zeros((200, 300, 3), np.uint8), [(50, 60), (250, 60)])
    assert drawn[60, 150].astype(int)[:2].min() > 150
    assert drawn[120, 150].sum() == 0


SEGMENTS = {
    "longest_diameter": np.array([[20.0, 50.0], [80.0, 50.0]]),
    "width": np.array([[50.0, 20.0], [50.0, 80.0]]),
    "indentations": np.array([[30.0, 30.0]]),
    "protrusions": np.zeros((0, 2)),
}


@pytest.mark.parametrize("factor", [1.0, 3.0])
def test_a_drawn_diameter_lies_on_its_points_at_any_size(factor: float) -> None:
    picture = np.full((round(100 * factor), round(100 * factor), 3), 120, np.uint8)
    before = picture.copy()
    seen = render_measures.drawn(picture, SEGMENTS, ["diameter"], factor)
    x, y = (round((v + 0.5) * factor - 0.5) for v in (65.0, 50.0))
    assert tuple(seen[y, x]) == render_measures.YELLOW
    assert tuple(seen[x, round(50.5 * factor - 0.5)]) == render_measures.WHITE
    assert (picture == before).all()
    assert (seen[: round(10 * factor)] == 120).all()


def test_only_what_was_chosen_is_drawn_and_nothing_missing_is() -> None:
    picture = np.full((100, 100, 3), 120, np.uint8)
    assert (render_measures.drawn(picture, SEGMENTS, [], 1.0) == picture).all()
    assert (render_measures.drawn(picture, {}, render_measures.GROUPS, 1.0) == picture).all()
    seen = render_measures.drawn(picture, SEGMENTS, ["bays"], 1.0)
    assert tuple(seen[30, 30]) == render_measures.ORANGE
    assert (seen[50:] == 120).all()


def test_a_folded_outline_and_its_dashed_axis_are_drawn() -> None:
    square = np.array([[20.0, 20.0], [80.0, 20.0], [80.0, 80.0], [20.0, 80.0]])
    seen = render_measures.drawn(
        np.full((100, 100, 3), 120, np.uint8),
        {"folded_major": square, "axis_major": np.array([[10.0, 50.0], [90.0, 50.0]])},
        ["folds"],
        1.0,
    )
    near = np.abs(seen.astype(int) - render_measures.LILAC).max(axis=-1) < 30
    assert near[80, 50]
    assert near[35, 20]
    along = near[50, 25:75]
    assert along.any()
    assert not along.all()
