"""The scale box: millimetres per pixel by number, by a line of known length, or from a ruler that the person confirms.

Pixel spacing is never guessed: without one of these, lengths stay in px (DICOM PS3.17, annex on dermoscopy, says why).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from dermomamba.errors import ScaleError
from dermomamba.measure.scale import RulerFinding, by_line, by_number, find_ruler
from dermomamba.render import fit_factor
from dermomamba.ui import text
from dermomamba.ui.views import note
from dermomamba.ui.visit import Visit, rescale

if TYPE_CHECKING:
    from dermomamba.ui.analyse_tab import AnalyseTab

Marks = list[tuple[float, float]]


def shown(scale: float | None) -> str:
    """A scale as it stands in the box."""
    return "" if scale is None else f"{scale:.5g}"


@dataclass
class ScaleBox:
    """The box's parts.

    Attributes:
        number: mm per pixel.
        source: key of `text.SCALE_SOURCES` of what stands in `number`.
        length: true length of the line, mm.
        line: starts and stops the marking.
        marks: None when not marking, else up to two points in photo px.
        ruler: looks for a ruler.
        finding: the ruler that was found and not confirmed yet.
        tick: distance of its ticks, mm, to be checked by the person.
        confirm: takes the ruler's scale.
        proposal: the row of the two, shown when there is a finding.
        message: what to do next, or what is wrong.
    """

    number: gr.Textbox
    source: gr.State
    length: gr.Number
    line: gr.Button
    marks: gr.State
    ruler: gr.Button
    finding: gr.State
    tick: gr.Number
    confirm: gr.Button
    proposal: gr.Row
    message: gr.HTML

    @classmethod
    def build(cls) -> ScaleBox:
        """Lay out the box."""
        with gr.Accordion(text.SCALE, open=False, elem_classes="scale"):
            gr.HTML(f'<p class="note">{text.SCALE_HELP}</p>')
            number = gr.Textbox(
                "",
                label=text.SCALE_NUMBER,
                info=text.SCALE_NUMBER_HELP,
                elem_id="mm-per-pixel",
                placeholder=text.SCALE_EXAMPLE,
            )
            with gr.Row(elem_classes="line-row"):
                length = gr.Number(
                    10, label=text.LINE_LENGTH, info=text.LINE_LENGTH_HELP, elem_id="line-length", min_width=120
                )
                line = gr.Button(text.LINE_BUTTON, size="sm", elem_id="line-start", min_width=120)
            ruler = gr.Button(text.RULER_BUTTON, size="sm", elem_id="ruler-find")
            message = gr.HTML(elem_id="scale-message")
            with gr.Row(visible=False, elem_classes="line-row") as proposal:
                tick = gr.Number(None, label=text.RULER_TICK, elem_id="ruler-tick", min_width=120)
                confirm = gr.Button(
                    text.RULER_CONFIRM, size="sm", variant="primary", elem_id="ruler-use", min_width=120
                )
        return cls(
            number=number,
            source=gr.State(""),
            length=length,
            line=line,
            marks=gr.State(None),
            ruler=ruler,
            finding=gr.State(None),
            tick=tick,
            confirm=confirm,
            proposal=proposal,
            message=message,
        )

    @property
    def parts(self) -> list[Any]:
        """Every part that an analysis may write to."""
        return [self.number, self.source, self.marks, self.line, self.finding, self.proposal, self.message]

    def reset(self, scale: float | None, source: str) -> dict[Any, Any]:
        """What the box shows for a new photo."""
        return {
            self.number: shown(scale),
            self.source: source,
            self.marks: None,
            self.line: gr.update(value=text.LINE_BUTTON, variant="secondary"),
            self.finding: None,
            self.proposal: gr.update(visible=False),
            self.message: "",
        }

    def wire(self, tab: AnalyseTab) -> None:
        """Connect the box to the tab; nothing here runs the network."""
        light: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": 4}
        view: list[Any] = tab.view
        changed = [tab.visit, tab.status, tab.numbers, tab.words, self.source, self.message]

        def apply(visit: Visit | None, scale: str | float | None, source: str, message: str = "") -> dict[Any, Any]:
            if visit is None:
                return {self.source: source if scale else "", self.message: note(message)}
            try:
                visit = rescale(visit, scale, source)
            except ScaleError as problem:
                return {self.message: note(str(problem), "problem")}
            return {**tab.written(visit), self.source: visit.scale_source, self.message: note(message)}

        def typed(visit: Visit | None, scale: str) -> dict[Any, Any]:
            if visit is not None and scale.strip() == shown(visit.mm_per_pixel):
                return {self.message: gr.skip()}  # left as it was
            return apply(visit, scale, "entered")

        def start(
            visit: Visit | None, marks: Marks | None, length: float | None, layer: str, opacity: float, drawn: list[str]
        ) -> dict[Any, Any]:
            if visit is None:
                return {self.message: note(text.LINE_NO_PHOTO, "problem")}
            if marks is not None:
                return {
                    **tab.pictured(visit, layer, opacity, drawn),
                    self.marks: None,
                    self.line: gr.update(value=text.LINE_BUTTON, variant="secondary"),
                    self.message: "",
                }
            if not length or length <= 0:
                return {self.message: note(text.LINE_NO_LENGTH, "problem")}
            return {
                **tab.pictured(visit, layer, opacity, drawn),
                self.marks: [],
                self.line: gr.update(value=text.LINE_STOP, variant="primary"),
                self.message: note(text.LINE_FIRST),
            }

        def mark(
            visit: Visit | None,
            marks: Marks | None,
            length: float | None,
            layer: str,
            opacity: float,
            drawn: list[str],
            event: gr.SelectData,
        ) -> dict[Any, Any]:
            if visit is None or marks is None or not length:
                return {self.message: gr.skip()}
            factor = fit_factor(*visit.photo.shape[:2])
            marks = [*marks, ((event.index[0] + 0.5) / factor - 0.5, (event.index[1] + 0.5) / factor - 0.5)]
            if len(marks) == 1:
                seen = tab.pictured(visit, layer, opacity, drawn, marks)
                return {**seen, self.marks: marks, self.message: note(text.LINE_SECOND)}
            stopped = {self.marks: None, self.line: gr.update(value=text.LINE_BUTTON, variant="secondary")}
            seen = tab.pictured(visit, layer, opacity, drawn, marks)
            try:
                scale = by_line(marks[0], marks[1], length)
            except ScaleError as problem:
                return {**seen, **stopped, self.message: note(str(problem), "problem")}
            message = text.LINE_DONE.format(pixels=length / scale, scale=scale)
            return {**seen, **stopped, **apply(visit, scale, "line", message), self.number: shown(scale)}

        def look(visit: Visit | None, layer: str, opacity: float, drawn: list[str]) -> dict[Any, Any]:
            if visit is None:
                return {self.message: note(text.LINE_NO_PHOTO, "problem")}
            found = find_ruler(visit.photo)
            if found.mm_per_pixel is None:
                nothing = gr.update(visible=False)
                return {self.finding: None, self.proposal: nothing, self.message: note(found.reason, "problem")}
            return {
                **tab.pictured(visit, layer, opacity, drawn, list(found.line or ())),
                self.finding: found,
                self.tick: found.tick_mm,
                self.proposal: gr.update(visible=True),
                self.message: note(found.reason),
            }

        def use(visit: Visit | None, found: RulerFinding | None, tick: float | None) -> dict[Any, Any]:
            if found is None or found.tick_spacing_px is None:
                return {self.message: gr.skip()}
            try:
                scale = by_number((tick or 0) / found.tick_spacing_px)
            except ScaleError as problem:
                return {self.message: note(str(problem), "problem")}
            message = text.RULER_CONFIRMED.format(spacing=found.tick_spacing_px, scale=scale)
            return {
                **apply(visit, scale, "ruler", message),
                self.number: shown(scale),
                self.finding: None,
                self.proposal: gr.update(visible=False),
            }

        gr.on(
            [self.number.input, self.number.blur, self.number.submit],  # typing; pasting and speaking; Enter
            typed,
            [tab.visit, self.number],
            changed,
            trigger_mode="always_last",
            **light,
        )
        self.line.click(
            start,
            [tab.visit, self.marks, self.length, *view],
            [tab.picture, tab.legend, self.marks, self.line, self.message],
            **light,
        )
        tab.picture.select(
            mark,
            [tab.visit, self.marks, self.length, *view],
            [*changed, tab.picture, tab.legend, self.marks, self.line, self.number],
            **light,
        )
        self.ruler.click(
            look,
            [tab.visit, *view],
            [tab.picture, tab.legend, self.finding, self.tick, self.proposal, self.message],
            **light,
        )
        self.confirm.click(
            use,
            [tab.visit, self.finding, self.tick],
            [*changed, self.number, self.finding, self.proposal],
            **light,
        )
