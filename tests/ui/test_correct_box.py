"""The correction box's handlers, called as the page calls them; no server, no browser."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np
import pytest
from fake_predictor import FakePredictor
from gradio.components.image_editor import EditorData, EditorDataBlobs
from PIL import Image

from dermomamba import correction
from dermomamba.correction import CANVAS
from dermomamba.errors import WeightsError
from dermomamba.ui import text_correct as words
from dermomamba.ui import tray as tray_module
from dermomamba.ui.canvas import Canvas, content, mask_of, place, version_of
from dermomamba.ui.correct_box import SIZES, CorrectBox
from dermomamba.ui.correct_wire import CHANGES
from dermomamba.ui.desk import Desk
from dermomamba.ui.tray import Tray


@pytest.fixture
def asked() -> list[Any]:
    return []


@pytest.fixture
def box(predictor, asked) -> CorrectBox:
    def predictor_for(weights: Any) -> FakePredictor:
        asked.append(weights)
        return predictor

    with gr.Blocks():
        return CorrectBox.build(predictor_for, gr.State("mine"))


@pytest.fixture
def desk(drawn, predictor) -> Desk:
    return Desk.open(drawn.image, predictor(drawn.image), 1)


def saved(image: np.ndarray, path: Path) -> str:
    Image.fromarray(image).save(path)
    return str(path)


def opacity_of(desk: Desk) -> np.ndarray:
    return desk.content()["layers"][0][..., 3].copy()


def drawn_on(desk: Desk, rows: slice, columns: slice, value: int) -> np.ndarray:
    """The layer after a stroke over a rectangle of the canvas."""
    opacity = opacity_of(desk)
    opacity[rows, columns] = value
    return opacity


def opened(box: CorrectBox, paths: list[str]) -> tuple[Desk, Tray, list[dict]]:
    first = box.on_files(paths, Tray(), None, ())
    steps = list(box.on_next(first[box.tray], None, 0.5, "mine"))
    return steps[-1].get(box.desk), steps[-1][box.tray], [first, *steps]


def test_photos_are_opened_one_after_the_other_and_the_bad_are_named(box, drawn, other, asked, tmp_path) -> None:
    bad = tmp_path / "Jane.jpg"
    bad.write_text("no photo")
    paths = [saved(drawn.image, tmp_path / "a.png"), str(bad), saved(other.image, tmp_path / "b.png")]
    desk, tray, steps = opened(box, paths)
    assert asked == ["mine"]
    assert (desk.photo == drawn.image).all()
    assert steps[0][box.files] is None
    assert "photo 2:" in steps[0][box.status]
    assert "Jane" not in steps[0][box.status]
    assert "Photo 1 of 3" in steps[-1][box.title]
    assert len(tray.waiting) == 1
    accepted = box.on_accept(desk, ())
    assert accepted[box.desk] is None
    assert len(accepted[box.accepted]) == 1
    last = list(box.on_next(tray, None, 0.5, "mine"))[-1]
    assert (last[box.desk].photo == other.image).all()
    assert "Photo 3 of 3" in last[box.title]
    done = list(box.on_next(last[box.tray], None, 0.5))[-1]
    assert words.ALL_DONE in done[box.title]
    assert "Photo 3" in next(iter(box.on_next(last[box.tray], last[box.desk], 0.5)))[box.title]  # one is open: it stays


def test_an_accepted_outline_has_the_photos_size_and_counts_what_was_changed(box, desk) -> None:
    untouched = box.on_accept(desk, ())[box.accepted][0]
    assert untouched.edited_px == 0
    assert (untouched.mask == FakePredictor()(desk.photo).mask).all()
    grown = box.on_change(CHANGES["grow"], desk, 5)[box.desk]
    updates = box.on_accept(grown, (untouched,))
    one = updates[box.accepted][1]
    assert (one.mask == correction.grow(untouched.mask, 5)).all()
    assert one.mask.shape == desk.photo.shape[:2]
    assert one.edited_px == correction.changed_px(one.mask, untouched.mask) > 0
    assert "2" in updates[box.count]
    left = box.on_remove(updates[box.accepted], 1)
    assert left[box.accepted] == (one,)
    assert box.on_remove((one,), 5)[box.which] is not None  # a choice that is gone does nothing
    assert box.on_remove((one,), 1)[box.accepted] == ()


def test_an_empty_outline_is_not_accepted(box, desk) -> None:
    empty = desk.changed(np.zeros_like(desk.mask))
    assert words.EMPTY_OUTLINE in box.on_accept(empty, ())[box.problem]
    assert box.accepted not in box.on_accept(empty, ())
    assert words.NOTHING_FOUND in box.shown(empty)[box.problem]
    assert words.NOTHING_OPEN in box.on_accept(None, ())[box.problem]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("grow", lambda m: correction.grow(m, 3)),
        ("shrink", lambda m: correction.shrink(m, 3)),
        ("smooth", lambda m: correction.smooth(m, 3)),
        ("fill", correction.fill_holes),
        ("largest", correction.keep_largest),
    ],
)
def test_each_button_does_what_it_says_and_can_be_undone(box, desk, name: str, expected) -> None:
    mask = desk.mask
    mask[5:9, 5:9] = True
    rows, columns = (int(v) for v in np.argwhere(desk.mask).mean(axis=0))
    mask[rows - 3 : rows + 3, columns - 3 : columns + 3] = False
    start = desk.changed(mask)
    after = box.on_change(CHANGES[name], start, 3)
    assert (after[box.desk].mask == expected(mask)).all()
    assert after[box.canvas]["layers"]
    back = box.on_change(CHANGES["undo"], after[box.desk], 3)[box.desk]
    assert (back.mask == mask).all()
    assert (box.on_change(CHANGES["redo"], back, 3)[box.desk].mask == expected(mask)).all()
    assert (box.on_change(CHANGES["again"], back, 3)[box.desk].mask == desk.mask).all()


def test_strokes_change_what_they_touch_and_nothing_else(box, desk) -> None:
    rows, columns = place(300, 400)
    assert (rows.stop - rows.start, columns.stop - columns.start) == CANVAS
    opacity = drawn_on(desk, slice(20, 60), slice(40, 120), 115)
    updates = box.on_stroke(desk, opacity, "")
    after = updates[box.desk]
    assert box.canvas not in updates  # the canvas shows it already
    stroke = np.zeros((300, 400), bool)
    stroke[9:28, 19:56] = True  # 20 to 60 and 40 to 120 canvas px of 2.16 to a photo px
    assert correction.changed_px(after.mask, desk.mask | stroke) < 80
    assert (after.mask[32:] == desk.mask[32:]).all()
    assert "Changed" in updates[box.facts]
    erased = box.on_stroke(after, drawn_on(after, slice(0, 150), slice(20, 225), 0), "")[box.desk]
    assert not erased.mask[:60, 19:56].any()


def test_a_stroke_on_older_content_or_a_loading_canvas_changes_nothing(box, desk) -> None:
    late = drawn_on(desk, slice(20, 60), slice(40, 120), 115)
    grown = box.on_change(CHANGES["grow"], desk, 9)[box.desk]
    for opacity in (late, np.zeros_like(late), late[:50], None, opacity_of(grown)):
        assert box.desk not in box.on_stroke(grown, opacity, "")
    assert box.desk not in box.on_stroke(None, late, "")
    painted = opacity_of(grown)
    painted[:30, :30] = 115  # the version was painted over: the stroke counts
    assert box.desk in box.on_stroke(grown, painted, "")


def test_points_redraw_add_and_cut(box, desk) -> None:
    square = "100, 50\n300, 50\n300, 250\n100, 250"
    updates = box.on_points(desk, square, "replace")
    assert updates[box.points] == ""
    assert updates[box.desk].mask.sum() == pytest.approx(200 * 200, rel=0.02)
    assert "three points" in box.on_points(desk, "1,1\n2,2", "add")[box.problem]
    assert "Line 2" in box.on_points(desk, "1,1\nx", "add")[box.problem]
    factor = desk.chart_factor
    clicked = box.on_click(desk, "1, 2\n", SimpleNamespace(index=[100 * factor, 50 * factor]))
    assert clicked[box.points] == "1, 2\n100, 50"
    assert box.on_back(desk, clicked[box.points])[box.points] == "1, 2"
    assert "2 points" in clicked[box.chart]["alt_text"]
    plain, marked = desk.chart([]), desk.chart([(100, 50), (1e9, 1e9)])
    assert (plain != marked).any()


def test_threshold_cuts_again_without_the_network(box, desk, predictor) -> None:
    runs = predictor.runs
    low = box.on_threshold(desk, 0.2, "")[box.desk]
    assert predictor.runs == runs
    assert (low.mask == desk.proposal.rethreshold(0.2).mask).all()
    assert low.drawn().edited_px == 0
    assert box.desk not in box.on_threshold(low, 0.2, "")


def test_brush_sizes_step_and_stay_in_range(box) -> None:
    assert box.on_size(1, 18)[box.size] == 25
    assert box.on_size(-1, 18)[box.size] == 12
    assert box.on_size(-1, SIZES[0])[box.size] == SIZES[0]
    assert box.on_size(1, SIZES[-1])[box.size] == SIZES[-1]
    sized = box.on_brush(33)[box.canvas]
    assert (sized["brush"].default_size, sized["eraser"].default_size) == (33, 33)


def test_weights_that_fail_are_said_and_leave_nothing_open(drawn, tmp_path) -> None:
    def missing(_: Any) -> Any:
        raise WeightsError("There are no weights called 'x'.")

    with gr.Blocks():
        box = CorrectBox.build(missing)
    desk, tray, steps = opened(box, [saved(drawn.image, tmp_path / "a.png")])
    assert desk is None
    assert not tray.waiting
    assert "photo 1: There are no weights" in steps[-1][box.status].replace("&#x27;", "'")


def test_a_session_holds_a_limited_number_of_pixels(box, drawn, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(tray_module, "MOST_PIXELS", 200_000)
    paths = [saved(drawn.image, tmp_path / f"{k}.png") for k in range(2)]
    tray, bad = Tray().add([Path(path) for path in paths], 0)
    assert len(tray.waiting) == 1
    assert len(bad) == 1
    assert bad[0].startswith("photo 2:")


def test_twelve_megapixels_are_kept_at_their_own_size() -> None:
    photo = np.full((3000, 4000, 3), 200, np.uint8)
    photo[1000:2200, 1500:2700] = 90
    desk = Desk.open(photo, FakePredictor()(photo), 1)
    start = desk.mask
    after = desk.stroked(drawn_on(desk, slice(100, 140), slice(100, 300), 115))
    assert after.mask.shape == (3000, 4000)
    assert (after.mask[670:] == start[670:]).all()
    assert after.mask[475:635, 475:1375].all()


@pytest.mark.parametrize("version", [0, 1, 64, 200, 255, 256 + 7])
def test_the_canvas_carries_its_version_through_a_png(version: int, tmp_path: Path) -> None:
    mask = np.zeros(CANVAS, bool)
    mask[0:300, 0:8] = True  # the mask lies on a part of the version
    layer = content(np.zeros((*CANVAS, 3), np.uint8), mask, version)["layers"][0]
    stream = io.BytesIO()
    Image.fromarray(layer, "RGBA").save(stream, "PNG")
    canvas = Canvas()
    canvas.blob_storage["k"] = EditorDataBlobs(background=None, layers=[stream.getvalue()], composite=None)
    opacity = canvas.preprocess(EditorData(id="k"))
    assert "k" not in canvas.blob_storage
    assert (opacity == layer[..., 3]).all()
    assert version_of(opacity) == version % 256
    assert (mask_of(opacity) == mask).all()


def test_every_opacity_survives_the_decoding() -> None:
    layer = np.zeros((16, 16, 4), np.uint8)
    layer[..., 1:3] = (222, 255)
    layer[..., 3] = np.arange(256).reshape(16, 16)
    stream = io.BytesIO()
    Image.fromarray(layer, "RGBA").save(stream, "PNG")
    canvas = Canvas()
    canvas.blob_storage["k"] = EditorDataBlobs(background=None, layers=[stream.getvalue()], composite=None)
    assert (canvas.preprocess(EditorData(id="k")) == layer[..., 3]).all()


def test_what_is_no_layer_is_ignored() -> None:
    canvas = Canvas()
    canvas.blob_storage["bad"] = EditorDataBlobs(background=None, layers=[b"no picture"], composite=None)
    assert canvas.preprocess(EditorData(id="bad")) is None
    assert canvas.preprocess(EditorData(id="unknown")) is None
    assert canvas.preprocess(EditorData()) is None
    assert canvas.preprocess(None) is None
