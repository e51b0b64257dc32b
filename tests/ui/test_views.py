"""The HTML of the page: states, numbers, legends. No server."""

from __future__ import annotations

import re
from dataclasses import replace

import gradio as gr
import numpy as np
import pytest

from dermomamba.batch import Step
from dermomamba.errors import ScaleError
from dermomamba.measure import Measurement, Measurements
from dermomamba.ui import abcd_box, about, attention, batch, layers, text, views
from dermomamba.ui import analyse as analyse_tab
from dermomamba.ui.engine import Engine
from dermomamba.ui.visit import Settings, analyse, checked_scale, recut, rescale


def one(**changes) -> Measurements:
    area = Measurement("area", "Area", 38.2, "mm²", (36.9, 39.6), "A", "Source <b>1</b>")
    return Measurements({"area": replace(area, **changes)}, mm_per_pixel=0.05)


def test_a_number_has_its_unit_and_interval_and_is_escaped() -> None:
    html = views.numbers(one(), "entered")
    assert "38.20\u00a0mm²" in html
    assert "[36.90, 39.60]" in html
    assert "Source &lt;b&gt;1&lt;/b&gt;" in html
    assert "1 px = 0.05 mm, typed by hand." in html


def test_what_cannot_be_trusted_is_not_a_number() -> None:
    html = views.numbers(
        one(value=None, interval=None, valid=False, reason="The lesion touches the edge of the photo.")
    )
    assert "not measured - the lesion touches the edge of the photo." in html
    assert "38.2" not in html
    assert 'class="value"' not in html


def test_truth_stands_beside_the_measured_value() -> None:
    html = views.numbers(one(), "example", {"area": 40.0})
    assert "40.00\u00a0mm²" in html
    assert "Δ\u202f-4.5\u202f%" in html


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (0.1173, "fraction", "11.73"),
        (92279.4, "px²", "92\u202f279"),
        (6.0, "count", "6"),
        (0.0948, "ratio", "0.095"),
        (1.18, "ratio", "1.180"),
        (123.456, "px", "123.5"),
        (-3.5, "°", "-3.50"),
    ],
)
def test_numbers_are_plain_decimals(value: float, unit: str, shown: str) -> None:
    assert views.number(value, unit) == shown


def test_no_forbidden_word_in_any_text() -> None:
    words = repr({name: value for name, value in vars(text).items() if name.isupper()}).lower()
    words = words.replace(text.NOTICE.lower(), "")
    for word in ("benign", "malignant", "melanoma", "risk", "diagnos", "ai-powered"):
        assert word not in words, word


def test_error_card_is_an_alert_and_escapes() -> None:
    html = views.error("<script>x</script>")
    assert 'role="alert"' in html
    assert "<script>" not in html


def test_legend_states_limits_real_range_and_size(drawn, predictor) -> None:
    html = layers.legend(predictor(drawn.image), "cbam5")
    assert "from 0 to 1" in html
    assert "Computed at 12 x 16" in html
    values = predictor(drawn.image).attention["cbam5"]
    assert f"{values.min():.3g} to {values.max():.3g}" in html


def test_every_layer_has_a_picture_of_the_display_size(drawn, predictor) -> None:
    segmentation = predictor(drawn.image)
    shapes = {layers.picture(drawn.image, segmentation, key, 0.5).shape for key in text.LAYERS}
    assert shapes == {(900, 1200, 3)}


def test_threshold_and_scale_never_run_the_network(drawn, predictor) -> None:
    visit = analyse(drawn.image, predictor, Settings())
    assert predictor.runs == 1
    lower = recut(visit, Settings(threshold=0.2))
    assert lower.measurements["area"].value > visit.measurements["area"].value
    scaled = rescale(visit, 0.1, "entered")
    assert scaled.measurements["area"].value == pytest.approx(visit.measurements["area"].value * 0.01)
    assert rescale(scaled, None, "").measurements["area"].unit == "px²"
    assert predictor.runs == 1


def test_a_visit_keeps_only_the_photo_and_small_maps(drawn, predictor) -> None:
    visit = recut(analyse(drawn.image, predictor, Settings()), Settings(threshold=0.3))
    big = [value for value in vars(visit.segmentation).values() if isinstance(value, np.ndarray)]
    assert sum(value.nbytes for value in big) <= 192 * 256 * 4


@pytest.mark.parametrize("scale", [0.0, -1.0, 5.0, float("nan"), float("inf")])
def test_a_scale_that_makes_no_sense_is_refused(scale: float) -> None:
    with pytest.raises(ScaleError, match=r"(mm per pixel|larger than zero)"):
        checked_scale(scale)


def test_a_scale_may_have_a_comma_or_be_left_out() -> None:
    assert checked_scale("0,05") == checked_scale(" 0.05 ") == 0.05
    assert checked_scale("") is checked_scale(None) is None
    with pytest.raises(ScaleError, match="not a number"):
        checked_scale("five")


def test_the_u_has_five_buttons_and_one_is_pressed(drawn, predictor) -> None:
    html = attention.u_picture(predictor(drawn.image), 3, True)
    assert re.findall(r'data-level="(\d)" aria-pressed="(\w+)"', html) == [
        (str(n), "true" if n == 3 else "false") for n in (1, 2, 3, 4, 5)
    ]
    assert "48 x 64, 128 channels" in html


def test_bars_are_sorted_and_on_the_scale_0_to_1() -> None:
    html = attention.bars(np.array([0.25, 1.0, 0.5, 0.0], np.float32), 2)
    tops = [float(v) for v in re.findall(r"V([\d.]+)h", html)]
    assert tops == sorted(tops)
    assert tops == [8, 98, 143, 188]
    assert "between 0.00 and 1.00" in html


def test_untrained_gates_are_a_line_over_the_bars() -> None:
    gates = np.array([0.25, 1.0, 0.5, 0.0], np.float32)
    html = attention.bars(gates, 2, np.array([0.4, 0.6, 0.5, 0.5], np.float32))
    (points,) = re.findall(r'<polyline points="([^"]+)"', html)
    heights = [float(point.split(",")[1]) for point in points.split()]
    assert heights == sorted(heights)  # from open (high up, small y) to closed
    assert heights[0] == pytest.approx(8 + 180 * 0.4)
    assert "from 0.60 down to 0.40" in html
    assert "polyline" not in attention.bars(gates, 2)


def test_own_range_of_a_flat_map_is_still_a_range() -> None:
    low, high = attention.limits(np.full((3, 3), 0.5), same=False)
    assert low < 0.5 < high
    assert attention.limits(np.full((3, 3), 0.5), same=True) == (0.0, 1.0)


def test_a_long_part_of_a_card_is_folded_and_escaped() -> None:
    html = about.card_table("w", "0" * 64, {"recipe": {str(n): n for n in range(11)}, "data": {"a": "<b>"}, "x": None})
    assert "<summary>11 settings</summary>" in html
    assert "a: &lt;b&gt;" in html
    assert "<td>none</td>" in html


def test_a_fault_of_ours_is_said_and_logged_without_the_photo(drawn, caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def __call__(self, *_: object, **__: object) -> None:
            raise ZeroDivisionError("inside")

    with gr.Blocks(analytics_enabled=False):
        engine = Engine(Broken)
        tab = analyse_tab.build(engine, gr.State(None), (), [])
    updates = list(tab.run(None, drawn.image, "outline", 0.5, [], Settings(), None, ""))
    assert text.UNEXPECTED in updates[-1][tab.status]
    assert updates[-1][tab.visit] is None
    assert "ZeroDivisionError" in caplog.text


def two(**changes) -> Measurements:
    calibrated = "90 % interval, calibrated on 165 photos"
    area = Measurement("area", "Area", 38.2, "mm²", (36.9, 39.6), "A", "S", interval_label=calibrated)
    fine = Measurement(
        "texture_irregularity", "Fine", 0.2, "ratio", (0.1, 0.3), "T", "S",
        interval_label="range for outlines at 0.25 to 0.75, uncalibrated", note="An <i>estimate</i>.", reliable=False,
    )  # fmt: skip
    other = replace(area, name="perimeter", label="Perimeter")
    return Measurements({"area": replace(area, **changes), "perimeter": other, "texture_irregularity": fine})


def test_an_interval_says_what_it_is_and_notes_stand_beside_the_number() -> None:
    html = views.numbers(two())
    assert '<th scope="col">90 % interval</th>' in html
    rows = dict(re.findall(r'<tr data-measure="(\w+)">(.*?)</tr>', html))
    assert "uncalibrated" in re.sub(r"<details.*?</details>", "", rows["texture_irregularity"])
    assert "interval-label" not in rows["area"]
    assert "calibrated on 165 photos" in rows["area"]
    assert "An &lt;i&gt;estimate" in rows["texture_irregularity"]
    assert text.UNRELIABLE in rows["texture_irregularity"]
    assert text.UNRELIABLE not in rows["area"]
    headline = views.done(0.5, two())
    assert "[36.90, 39.60]" in headline
    assert "90 % interval" in headline


def test_warnings_stand_above_the_picture() -> None:
    check = replace(two(), warnings=("Check this outline: it may differ <much>.",))
    assert "Check this outline: it may differ &lt;much&gt;." in views.done(0.5, check)
    cannot = replace(two(value=None, valid=False, reason="Too small."), warnings=("Check this outline.",))
    assert "Check this outline." in views.done(0.5, cannot)


def test_abcd_sum_is_written_out_and_waits_for_d() -> None:
    assert "D" in abcd_box.arithmetic({"A": 1, "B": 3, "C": 2, "D": None})
    assert "Sum" not in abcd_box.arithmetic({"A": 1, "B": 3, "C": 2, "D": None})
    html = abcd_box.arithmetic({"A": 1, "B": 3, "C": 2, "D": 4})
    assert re.findall(r"<td>([\d.]+)</td></tr>", html) == ["1.3", "0.3", "1.0", "2.0", "4.6"]
    assert "1 × 1.3" in html
    assert "style" not in html  # no colour hangs on the sum


def test_abcd_suggests_from_the_picture_but_never_d(drawn, predictor) -> None:
    visit = analyse(drawn.image, predictor, Settings())
    scores = abcd_box.suggestion(visit.measurements)
    assert scores["D"] is None
    assert scores["A"] in (0, 1, 2)
    html = abcd_box.hint(visit.measurements)
    assert html.count("<li>") == 4
    assert f"Suggested {scores['A']}." in html
    bare = analyse(np.full_like(drawn.image, 200), predictor, Settings()).measurements
    assert abcd_box.suggestion(bare) == dict.fromkeys("ABCD")
    assert abcd_box.hint(bare).count(text.ABCD_NO_SUGGESTION) == 3


def test_drawn_measures_have_a_legend_even_when_there_is_nothing(drawn, predictor) -> None:
    measurements = analyse(drawn.image, predictor, Settings()).measurements
    assert "Yellow line" in layers.drawn_legend(measurements, ["diameter"])
    assert "lilac" in layers.drawn_legend(measurements, ["folds"])
    assert layers.drawn_legend(measurements, []) == ""
    nothing = analyse(np.full_like(drawn.image, 200), predictor, Settings()).measurements
    assert "no lesion was found" in layers.drawn_legend(nothing, ["bays"])
    assert layers.drawable(nothing, ["bays", "diameter", "folds"]) == []
    smooth = replace(measurements, drawings={**measurements.drawings, "indentations": (), "protrusions": ()})
    assert text.DRAWN_NONE in layers.drawn_legend(smooth, ["bays"])


def test_what_the_frame_cuts_is_neither_measured_nor_drawn(drawn, predictor) -> None:
    mask = predictor(drawn.image).mask
    middle = int(np.argwhere(mask.any(0)).mean())
    cut = analyse(np.ascontiguousarray(drawn.image[:, :middle]), predictor, Settings()).measurements
    assert not cut["longest_diameter"].valid
    assert len(cut.drawings["longest_diameter"]) == 2
    assert layers.drawable(cut, ["diameter", "folds"]) == []
    assert "not measured - the lesion touches" in layers.drawn_legend(cut, ["diameter"])


def steps() -> list[Step]:
    units = {"area": "px²", "outline_certainty": "ratio"}
    return [
        Step(1, 4, "image-0001", {"area": 5.0, "outline_certainty": 0.9}, units),
        Step(2, 4, reason="This is no picture."),
        Step(3, 4, "image-0003", {"area": 9.0, "outline_certainty": 0.4}, units),
        Step(4, 4, "image-0004", {"outline_certainty": 0.7}, units),
    ]


def test_a_batch_is_sorted_by_any_measure_and_the_least_certain_come_first() -> None:
    done = [step for step in steps() if not step.reason]
    assert [s.number for s in batch.ordered(done, "")] == [1, 3, 4]
    assert [s.number for s in batch.ordered(done, "area")] == [3, 1, 4]
    assert [s.number for s in batch.ordered(done, "outline_certainty")] == [3, 4, 1]
    assert [key for _, key in batch.orders(done)] == ["", "area", "outline_certainty"]
    assert any("least certain first" in words for words, _ in batch.orders(done))


def test_the_batch_table_has_intervals_and_says_what_they_are(tmp_path) -> None:
    first, *others = steps()
    labels = {"area": "90 % interval, calibrated on 401 photos", "outline_certainty": "range, uncalibrated"}
    made = replace(first, intervals={"area": [4.2, 6.0]}, interval_labels={"area": labels["area"]})
    both = replace(others[1], intervals={"area": [8, 10], "outline_certainty": [0.3, 0.5]}, interval_labels=labels)
    html = batch.table(batch.Results(tmp_path, [made, both, others[2]]), "")
    assert html.count("<small") == 3
    assert "[4.20, 6.00]" in html
    assert "90 % interval. Outline certainty (estimate): range." in html
    assert "<small" not in batch.table(batch.Results(tmp_path, steps()), "")


def test_the_batch_table_lists_what_was_left_out(tmp_path) -> None:
    html = batch.table(batch.Results(tmp_path, steps()), "outline_certainty")
    assert re.findall(r'<th scope="row">([\w-]+)</th>', html) == ["image-0003", "image-0004", "image-0001"]
    assert "photo 2: This is no picture." in html
    shown = batch.gallery(batch.Results(tmp_path, steps()), "outline_certainty")
    assert [caption for _, caption in shown] == ["3: 0.400", "4: 0.700", "1: 0.900"]
