"""What the Analyse tab does: its parts, and what each of them writes when a photo comes or a control is moved.

Only `run` asks the network; every other handler works on the session's `Visit`. The upload is deleted as soon as its
pixels are read, and the box shows a clean copy of them. `analyse` lays the parts out.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from dermomamba import render, render_measures
from dermomamba.errors import DermoMambaError, ImageError, ScaleError
from dermomamba.images import decode
from dermomamba.measure.describe import in_words
from dermomamba.ui import layers, text, views
from dermomamba.ui.abcd_box import AbcdBox
from dermomamba.ui.engine import Engine, OwnWeights
from dermomamba.ui.examples import Example
from dermomamba.ui.parts import PhotoInput, Picture, forget
from dermomamba.ui.scale_box import ScaleBox
from dermomamba.ui.views import note
from dermomamba.ui.visit import Settings, Visit, analyse, checked_scale, recut

LOG = logging.getLogger(__name__)
Updates = dict[Any, Any]
LIGHT: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": 4}
HEAVY: dict[str, Any] = {
    "show_progress": "hidden",
    "api_visibility": "private",
    "concurrency_limit": 1,
    "concurrency_id": "model",
}


@dataclass
class AnalyseTab:
    """The tab's parts that other tabs use, and the handlers behind them."""

    engine: Engine
    own: gr.State
    examples: tuple[Example, ...]
    visit: gr.State
    photo: PhotoInput
    status: gr.HTML
    stage: gr.Column
    picture: Picture
    legend: gr.HTML
    layer: gr.Radio
    opacity: gr.Slider
    drawn: gr.CheckboxGroup
    results: gr.Column
    numbers: gr.HTML
    words: gr.HTML
    settings: list[Any]
    scale: ScaleBox
    abcd: AbcdBox

    @property
    def view(self) -> list[Any]:
        """The controls of the picture: layer, opacity, measures drawn."""
        return [self.layer, self.opacity, self.drawn]

    @property
    def asking(self) -> list[Any]:
        """What a run needs besides the photo: the session's own weights, the controls of the picture."""
        return [self.own, *self.view]

    @property
    def shown(self) -> list[Any]:
        """Every part that an analysis writes to."""
        return [
            self.visit,
            self.photo,
            self.status,
            self.stage,
            self.picture,
            self.legend,
            self.results,
            self.numbers,
            self.words,
            *self.scale.parts,
            *self.abcd.parts,
        ]

    def blank(self, status: str) -> Updates:
        """No photo: a card, and nothing below it."""
        return {
            self.visit: None,
            self.status: status,
            self.stage: gr.update(visible=False),
            self.results: gr.update(visible=False),
            self.picture: None,
            self.legend: "",
            self.numbers: "",
            self.words: "",
        }

    def pictured(
        self,
        visit: Visit,
        layer: str,
        opacity: float,
        drawn: list[str],
        marks: list[tuple[float, float]] | None = None,
    ) -> Updates:
        """The picture with the measures drawn on it, and its legend."""
        segmentation = replace(visit.segmentation)
        image = layers.picture(visit.photo, segmentation, layer, opacity)
        factor = image.shape[1] / visit.photo.shape[1]
        valid = layers.drawable(visit.measurements, drawn)
        if valid and layer != "outline":
            image = render.outline(image, segmentation.mask)  # what was measured, and what the folds are compared with
        if valid:
            image = render_measures.drawn(image, visit.measurements.drawings, valid, factor)
        if marks:
            image = render.marked_line(image, [((x + 0.5) * factor - 0.5, (y + 0.5) * factor - 0.5) for x, y in marks])
        sentence = in_words(visit.measurements, segmentation.mask)
        alt = text.ALT.format(picture=f"{text.LAYERS[layer]}.", words=sentence)
        return {
            self.picture: gr.update(value=image, alt_text=alt),
            self.legend: layers.legend(segmentation, layer) + layers.drawn_legend(visit.measurements, drawn),
        }

    def written(self, visit: Visit) -> Updates:
        """The state line, the table and the words."""
        segmentation = replace(visit.segmentation)
        known = visit.example is not None and visit.measurements["area"].valid
        truth = self.examples[visit.example or 0].truth(visit.mm_per_pixel) if known else None
        sentence = in_words(visit.measurements, segmentation.mask)
        return {
            self.visit: visit,
            self.status: views.done(visit.seconds, visit.measurements),
            self.numbers: views.numbers(visit.measurements, visit.scale_source, truth),
            self.words: views.in_words(sentence, segmentation.filled_px),
        }

    def run(
        self,
        own: OwnWeights | None,
        photo: np.ndarray,
        layer: str,
        opacity: float,
        drawn: list[str],
        settings: Settings,
        scale: str | float | None,
        source: str,
        example: int | None = None,
    ) -> Iterator[Updates]:
        """Show the photo at once, then the result."""
        small = render.fit(photo)
        yield {
            **self.blank(views.working(self.engine.ready)),
            self.photo: gr.update(value=small, alt_text=text.PHOTO_ALT),
            self.stage: gr.update(visible=True),
            self.picture: gr.update(value=small, alt_text=text.PHOTO_ALT),
        }
        try:
            predictor = self.engine.predictor_for(own)
        except DermoMambaError as problem:
            yield self.blank(views.error(str(problem), text.ENGINE_ERROR_TITLE))
            return
        try:
            visit = analyse(photo, predictor, settings, scale, source, example)
        except DermoMambaError as problem:
            yield self.blank(views.error(str(problem)))
            return
        except Exception:  # a fault of ours: said on the page, and in the log with its traceback, without the photo
            LOG.exception("an analysis failed")
            yield self.blank(views.error(text.UNEXPECTED, text.UNEXPECTED_TITLE))
            return
        yield {
            **self.pictured(visit, layer, opacity, drawn),
            **self.written(visit),
            **self.abcd.fresh(visit.measurements),
            self.stage: gr.update(visible=True),
            self.results: gr.update(visible=True),
        }

    def on_clear(self, source: str) -> Updates:
        """The photo was taken away; a typed scale stays for the next one."""
        box = {} if source == "entered" else self.scale.reset(None, "")
        return {**self.blank(views.empty()), **box}

    def on_photo(
        self,
        path: Path | None,
        own: OwnWeights | None,
        layer: str,
        opacity: float,
        drawn: list[str],
        typed: str,
        source: str,
        *switches: Any,
    ) -> Iterator[Updates]:
        """A photo was dropped, pasted or taken."""
        if path is None:
            yield self.blank(views.empty())
            return
        try:
            photo = decode(path)
        except ImageError as problem:
            yield {**self.blank(views.error(str(problem))), self.photo: None}
            return
        finally:
            forget(path)
        if source != "entered":  # a scale that was found in the photo before does not hold for this one
            typed, source = "", ""
        try:
            scale = checked_scale(typed)
        except ScaleError as problem:
            yield {**self.scale.reset(None, ""), self.scale.message: note(str(problem), "problem")}
            scale, source = None, ""
        else:
            yield self.scale.reset(scale, source)
        yield from self.run(own, photo, layer, opacity, drawn, Settings(*switches), scale, source)

    def on_example(
        self, index: int, own: OwnWeights | None, layer: str, opacity: float, drawn: list[str], *switches: Any
    ) -> Iterator[Updates]:
        """An example was chosen; its scale is known."""
        example = self.examples[index]
        source = "example" if example.mm_per_pixel else ""
        yield self.scale.reset(example.mm_per_pixel, source)
        settings = Settings(*switches)
        scale = example.mm_per_pixel
        yield from self.run(own, example.photo(), layer, opacity, drawn, settings, scale, source, index)

    def on_again(
        self,
        visit: Visit | None,
        own: OwnWeights | None,
        layer: str,
        opacity: float,
        drawn: list[str],
        *switches: Any,
    ) -> Iterator[Updates]:
        """Averaging was switched, or other weights are in use: what runs the network again."""
        if visit is None:
            yield {self.status: gr.skip()}
            return
        settings = Settings(*switches)
        yield from self.run(
            own, visit.photo, layer, opacity, drawn, settings, visit.mm_per_pixel, visit.scale_source, visit.example
        )

    def on_cut(self, visit: Visit | None, layer: str, opacity: float, drawn: list[str], *switches: Any) -> Updates:
        """Threshold or clean-up changed."""
        if visit is None:
            return {self.status: gr.skip()}
        visit = recut(visit, Settings(*switches))
        return {**self.pictured(visit, layer, opacity, drawn), **self.written(visit)}

    def on_layer(
        self, visit: Visit | None, layer: str, opacity: float, drawn: list[str], marks: list[tuple[float, float]] | None
    ) -> Updates:
        """Layer or opacity changed."""
        if visit is None:
            return {self.status: views.card("empty", text.PUT_AWAY)}
        return self.pictured(visit, layer, opacity, drawn, marks)
