"""Which event of the correction box calls which handler, and in which lane.

Events that change the outline run one after the other (LANE), so that two quick clicks cannot overwrite each other;
the network runs in the lane of the other tabs (MODEL).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import gradio as gr

from dermomamba import correction
from dermomamba.correction import History
from dermomamba.ui.desk import Desk

if TYPE_CHECKING:
    from dermomamba.ui.correct_box import CorrectBox

LANE: dict[str, Any] = {
    "show_progress": "hidden",
    "api_visibility": "private",
    "concurrency_limit": 1,
    "concurrency_id": "correct",
}
MODEL: dict[str, Any] = {**LANE, "concurrency_id": "model"}


def _history(step: Callable[[History], History], desk: Desk, _: float) -> Desk:
    return desk.stepped(step(desk.history))


CHANGES: dict[str, Callable[[Desk, float], Desk]] = {
    "undo": partial(_history, History.undo),
    "redo": partial(_history, History.redo),
    "grow": lambda desk, step: desk.changed(correction.grow(desk.mask, step)),
    "shrink": lambda desk, step: desk.changed(correction.shrink(desk.mask, step)),
    "smooth": lambda desk, step: desk.changed(correction.smooth(desk.mask, step)),
    "fill": lambda desk, _: desk.changed(correction.fill_holes(desk.mask)),
    "largest": lambda desk, _: desk.changed(correction.keep_largest(desk.mask)),
    "again": lambda desk, _: desk.again(),
}


def wire(box: CorrectBox) -> None:
    """Connect the parts of a box to its handlers."""
    press, seen = box.buttons, box.seen
    weights = [box.weights] if box.weights is not None else []

    def then_next(event: Any) -> None:
        event.then(box.on_next, [box.tray, box.desk, box.threshold, *weights], seen, **MODEL)

    then_next(box.files.upload(box.on_files, [box.files, box.tray, box.desk, box.accepted], seen, **LANE))
    then_next(press["accept"].click(box.on_accept, [box.desk, box.accepted], seen, **LANE))
    then_next(press["skip"].click(box.on_skip, None, seen, **LANE))
    press["remove"].click(box.on_remove, [box.accepted, box.which], seen, **LANE)

    box.canvas.input(box.on_stroke, [box.desk, box.canvas, box.points], seen, trigger_mode="multiple", **LANE)
    box.canvas.clear(
        lambda desk: {box.canvas: desk.content() if desk else gr.skip()}, [box.desk], [box.canvas], **LANE
    )  # the editor's own bin takes the photo away too: it comes back, as it was
    for name, change in CHANGES.items():
        press[name].click(
            partial(box.on_change, change),
            [box.desk, box.step, box.points],
            seen,
            trigger_mode="multiple",
            **LANE,
        )
    box.threshold.change(
        box.on_threshold, [box.desk, box.threshold, box.points], seen, trigger_mode="always_last", **LANE
    )
    press["points"].click(box.on_points, [box.desk, box.points, box.how], seen, **LANE)
    press["back"].click(box.on_back, [box.desk, box.points], seen, trigger_mode="multiple", **LANE)
    press["clear"].click(
        lambda desk: {box.points: "", **(box.charted(desk, "") if desk else {})}, [box.desk], seen, **LANE
    )
    box.points.change(
        lambda desk, points: box.charted(desk, points) if desk else {box.chart: gr.skip()},
        [box.desk, box.points],
        [box.chart],
        trigger_mode="always_last",
        **LANE,
    )
    box.chart.select(box.on_click, [box.desk, box.points], seen, trigger_mode="multiple", **LANE)
    for name, by in (("smaller", -1), ("larger", 1)):
        press[name].click(partial(box.on_size, by), [box.size], [box.size], trigger_mode="multiple", **LANE)
    box.size.change(box.on_brush, [box.size], [box.canvas], trigger_mode="always_last", **LANE)
