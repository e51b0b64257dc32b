"""The box in which a person corrects the network's outlines: photos in, outlines at the photos' own size out.

`CorrectBox.build` lays out and wires; `accepted` is what other parts of the page read. `desk` holds one photo's state,
`canvas` the drawing canvas, `tray` the photos that wait. `correct_wire` connects the
parts to the handlers here; only `on_next` asks the network.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from dermomamba import correction
from dermomamba.correction import Drawn
from dermomamba.errors import DermoMambaError
from dermomamba.ui import correct_layout, correct_wire, views
from dermomamba.ui import text_correct as words
from dermomamba.ui.canvas import Canvas, brushes
from dermomamba.ui.desk import Desk, thumbnail
from dermomamba.ui.tray import Tray, held
from dermomamba.ui.visit import STATE_SECONDS

LOG = logging.getLogger(__name__)
Updates = dict[Any, Any]
SIZES = (4, 8, 12, 18, 25, 35, 50, 70, 100)
"""Radii of the brush, canvas px."""


@dataclass(eq=False)
class CorrectBox:
    """The box's parts; `accepted` holds a tuple of `correction.Drawn`.

    Attributes:
        predictor_for: gives the predictor for the value of `weights`.
        weights: state that says which weights the session uses, or None.
        accepted: the outlines that the person has accepted.
        tray: photos that wait.
        desk: the photo on the canvas, None without one.
    """

    predictor_for: Callable[[Any], Any]
    weights: gr.State | None
    accepted: gr.State
    tray: gr.State
    desk: gr.State
    files: gr.File
    status: gr.HTML
    work: gr.Column
    title: gr.HTML
    canvas: Canvas
    facts: gr.HTML
    size: gr.Slider
    threshold: gr.Slider
    step: gr.Slider
    points: gr.Textbox
    how: gr.Radio
    chart: Any
    problem: gr.HTML
    buttons: dict[str, gr.Button]
    count: gr.HTML
    gallery: gr.Gallery
    which: gr.Dropdown
    removing: gr.Row

    @classmethod
    def build(cls, predictor_for: Callable[[Any], Any], weights_state: gr.State | None = None) -> CorrectBox:
        """Lay out and wire the box; call inside Blocks.

        Args:
            predictor_for: takes the value of ``weights_state`` (None without one) and gives the session's `Predictor`;
                may raise DermoMambaError, whose sentence is shown.
            weights_state: which weights the session uses.

        Returns:
            The box.
        """
        box = cls(
            predictor_for=predictor_for,
            weights=weights_state,
            accepted=gr.State((), time_to_live=STATE_SECONDS),
            tray=gr.State(Tray(), time_to_live=STATE_SECONDS),
            desk=gr.State(None, time_to_live=STATE_SECONDS),
            **correct_layout.parts(),
        )
        correct_wire.wire(box)
        return box

    @property
    def seen(self) -> list[Any]:
        """Every part that a handler may write to."""
        parts = [getattr(self, f.name) for f in fields(self) if f.name not in ("predictor_for", "weights", "buttons")]
        return [*parts, self.buttons["undo"], self.buttons["redo"]]

    # what is shown

    def shown(self, desk: Desk, points: str = "", redraw: bool = True) -> Updates:
        """The desk as it stands; ``redraw`` sends the canvas too."""
        mask = desk.mask
        changed, network = correction.changed_px(mask, desk.network_mask), max(1, int(desk.network_mask.sum()))
        filled = int(mask.sum())
        facts = words.FACTS if changed else words.NO_CHANGE
        line = facts.format(
            mask=views.number(filled, "px"),
            share=views.with_unit(filled / mask.size, "fraction"),
            changed=views.number(changed, "px"),
            changed_share=views.with_unit(changed / network, "fraction"),
        )
        updates: Updates = {
            self.desk: desk,
            self.facts: views.note(line),
            self.problem: "" if filled else views.note(words.NOTHING_FOUND, "problem"),
            self.buttons["undo"]: gr.update(interactive=bool(desk.history.past)),
            self.buttons["redo"]: gr.update(interactive=bool(desk.history.future)),
            **self.charted(desk, points),
        }
        return updates | ({self.canvas: desk.content()} if redraw else {})

    def charted(self, desk: Desk, points: str) -> Updates:
        """The picture of the points; while a line is still being typed it stays as it is."""
        try:
            corners = correction.parse_points(points)
        except DermoMambaError:
            return {self.chart: gr.skip()}
        return {self.chart: gr.update(value=desk.chart(corners), alt_text=words.CHART_ALT.format(count=len(corners)))}

    def listed(self, accepted: tuple[Drawn, ...]) -> Updates:
        """The accepted outlines as thumbnails."""
        pictures = [
            (thumbnail(d), words.CAPTION.format(number=k, changed=views.number(d.edited_px, "px")))
            for k, d in enumerate(accepted, 1)
        ]
        line = words.ACCEPTED.format(count=len(accepted)) if accepted else words.ACCEPTED_NONE
        choices = [(words.REMOVE_CHOICE.format(number=k), k) for k in range(1, len(accepted) + 1)]
        return {
            self.accepted: accepted,
            self.count: views.note(line),
            self.gallery: gr.update(value=pictures, visible=bool(accepted)),
            self.which: gr.update(choices=choices, value=len(accepted) or None),
            self.removing: gr.update(visible=bool(accepted)),
        }

    def told(self, message: str) -> Updates:
        """A sentence beside the controls."""
        return {self.problem: views.note(message, "problem")}

    # photos

    def on_files(self, paths: list[str] | None, tray: Tray, desk: Desk | None, accepted: tuple[Drawn, ...]) -> Updates:
        """Photos were chosen: those that can be read wait, the others are named."""
        if not paths:
            return {self.files: gr.skip()}
        tray, bad = tray.add([Path(path) for path in paths], held(accepted, desk.photo if desk else None))
        return {self.tray: tray, self.files: None, self.status: "", **self._left_out(bad)}

    def on_next(self, tray: Tray, desk: Desk | None, threshold: float, weights: Any = None) -> Iterator[Updates]:
        """Open the next photo, if none is open: the one handler that runs the network."""
        if desk is not None:
            yield {self.title: self._title(desk, tray)}
            return
        bad: list[str] = []
        while tray.waiting:
            number = tray.waiting[0][0]
            working = words.WORKING.format(number=number, total=tray.total)
            yield {self.title: views.card("working", working), self.work: gr.update(visible=False)}
            try:
                tray, photo = tray.next()
                fresh = Desk.open(photo, self.predictor_for(weights)(photo, threshold=threshold), number)
            except DermoMambaError as problem:
                bad.append(words.BAD.format(number=number, reason=problem))
            except Exception:  # a fault of ours: said on the page, and in the log with its traceback, without the photo
                LOG.exception("an outline could not be proposed")
                bad.append(words.BAD.format(number=number, reason=words.UNEXPECTED))
            else:
                step = max(1, round(max(photo.shape[:2]) / 200))
                yield {
                    self.tray: tray,
                    self.title: self._title(fresh, tray),
                    self.work: gr.update(visible=True),
                    self.points: "",
                    self.step: gr.update(value=step, maximum=max(20, 8 * step)),
                    **self.shown(fresh),
                    **self._left_out(bad),
                }
                return
        done = views.card("empty", words.ALL_DONE) if tray.total else gr.skip()
        yield {self.tray: tray, self.work: gr.update(visible=False), self.title: done, **self._left_out(bad)}

    def _left_out(self, bad: list[str]) -> Updates:
        return {self.status: views.card("cannot", words.LEFT_OUT, tuple(bad))} if bad else {}

    @staticmethod
    def _title(desk: Desk, tray: Tray) -> str:
        return f'<h3 class="small-head">{words.TITLE.format(number=desk.number, total=tray.total)}</h3>'

    def on_accept(self, desk: Desk | None, accepted: tuple[Drawn, ...]) -> Updates:
        """The outline is taken as it stands."""
        if desk is None:
            return self.told(words.NOTHING_OPEN)
        drawn = desk.drawn()
        if not drawn.mask.any():
            return self.told(words.EMPTY_OUTLINE)
        return {self.desk: None, **self.listed((*accepted, drawn))}

    def on_skip(self) -> Updates:
        """The photo is left out."""
        return {self.desk: None}

    def on_remove(self, accepted: tuple[Drawn, ...], which: int | None) -> Updates:
        """An accepted outline is taken away."""
        if not which or which > len(accepted):
            return {self.which: gr.skip()}
        return self.listed((*accepted[: which - 1], *accepted[which:]))

    # the outline

    def on_stroke(self, desk: Desk | None, opacity: np.ndarray | None, points: str) -> Updates:
        """The canvas has sent its layer."""
        fresh = desk.stroked(opacity) if desk is not None else None
        if fresh is None or fresh is desk:
            return {self.facts: gr.skip()}
        return self.shown(fresh, points, redraw=False)

    def on_change(
        self, change: Callable[[Desk, float], Desk], desk: Desk | None, step: float, points: str = ""
    ) -> Updates:
        """A button that changes the outline as a whole."""
        if desk is None:
            return self.told(words.NOTHING_OPEN)
        return self.shown(change(desk, step), points)

    def on_threshold(self, desk: Desk | None, threshold: float, points: str) -> Updates:
        """The network's outline is cut elsewhere."""
        if desk is None or desk.proposal.threshold == threshold:
            return {self.facts: gr.skip()}
        return self.shown(desk.cut(threshold), points)

    def on_points(self, desk: Desk | None, points: str, how: str) -> Updates:
        """The points are applied, and cleared when they were good."""
        if desk is None:
            return self.told(words.NOTHING_OPEN)
        try:
            mask = correction.with_polygon(desk.mask, correction.parse_points(points), how)
        except DermoMambaError as problem:
            return self.told(str(problem))
        return {self.points: "", **self.shown(desk.changed(mask))}

    def on_click(self, desk: Desk | None, points: str, event: gr.SelectData) -> Updates:
        """A point was clicked in the chart."""
        if desk is None:
            return {self.points: gr.skip()}
        x, y = ((value + 0.5) / desk.chart_factor - 0.5 for value in event.index[:2])
        lines = [line for line in points.splitlines() if line.strip()]
        points = "\n".join([*lines, f"{x:.0f}, {y:.0f}"])
        return {self.points: points, **self.charted(desk, points)}

    def on_back(self, desk: Desk | None, points: str) -> Updates:
        """The last point is taken back."""
        points = "\n".join([line for line in points.splitlines() if line.strip()][:-1])
        return {self.points: points, **(self.charted(desk, points) if desk else {})}

    def on_size(self, by: int, size: float) -> Updates:
        """The brush becomes one size smaller (-1) or larger (1)."""
        nearest = min(range(len(SIZES)), key=lambda k: abs(SIZES[k] - size))
        return {self.size: SIZES[min(max(nearest + by, 0), len(SIZES) - 1)]}

    def on_brush(self, size: float) -> Updates:
        """The slider of the brush's size was moved, by hand or by a key."""
        return {self.canvas: gr.update(**brushes(int(size)))}
