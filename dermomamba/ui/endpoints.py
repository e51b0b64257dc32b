"""Endpoints for programs: /segment, /measure, /batch and /finetune, the same path from pixels to numbers as the page.

Every other event of the page is private. A session of a client shares nothing with another: nothing is kept.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from dermomamba import export
from dermomamba.errors import DermoMambaError, ImageError
from dermomamba.images import decode
from dermomamba.ui import batch, finetune_api, text, text_finetune
from dermomamba.ui.engine import Engine
from dermomamba.ui.finetune_session import Sessions
from dermomamba.ui.parts import ApiFile, PhotoInput, forget
from dermomamba.ui.visit import Settings, Visit, analyse


def _visit(engine: Engine, path: Path | None, mm_per_pixel: float | None = None) -> Visit:
    try:
        if path is None:
            raise ImageError(text.EMPTY_TITLE + ".")
        try:
            photo = decode(path)
        finally:
            forget(path)
        return analyse(photo, engine.predictor(), Settings(), mm_per_pixel, "entered" if mm_per_pixel else "")
    except DermoMambaError as problem:
        raise gr.Error(str(problem), print_exception=False) from problem


def build(engine: Engine, sessions: Sessions) -> None:
    """Add the endpoints; call inside the `gr.Blocks`."""

    def segment(image: Path | None) -> tuple[Any, Any, dict[str, Any]]:
        record = _visit(engine, image).record()
        return (
            (f"{record.case}_segmentation.png", export.mask_png(record)),
            (f"{record.case}_overlay.png", export.overlay_png(record)),
            export.as_dict(record),
        )

    def measure(image: Path | None, mm_per_pixel: float | None = None) -> dict[str, Any]:
        return export.as_dict(_visit(engine, image, mm_per_pixel).record())

    def many(files: list[str] | None, mm_per_pixel: float | None = None) -> Any:
        try:
            return batch.whole(engine, files, mm_per_pixel)
        except DermoMambaError as problem:
            raise gr.Error(str(problem), print_exception=False) from problem

    def tune(
        files: list[str] | None,
        learns: str = "decoder",
        epochs: float = 10,
        minutes: float | None = None,
        held_out: float = 0.2,
    ) -> tuple[Any, dict[str, Any]]:
        try:
            return finetune_api.whole(engine, sessions, files, learns, epochs, minutes, held_out)
        except DermoMambaError as problem:
            raise gr.Error(str(problem), print_exception=False) from problem

    with gr.Column(visible=False):
        image = PhotoInput(label="image", type="filepath", image_mode=None)
        scale = gr.Number(None, label="mm_per_pixel")
        mask, overlay = ApiFile(label="mask"), ApiFile(label="overlay")
        result = gr.JSON(label="result")
        lane: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "model", "api_visibility": "public"}
        gr.Button().click(
            segment, [image], [mask, overlay, result], api_name="segment", api_description=text.API_SEGMENT, **lane
        )
        gr.Button().click(
            measure, [image, scale], [result], api_name="measure", api_description=text.API_MEASURE, **lane
        )
        files = gr.File(file_count="multiple", type="filepath", label="files")
        archive = ApiFile(label="archive")
        gr.Button().click(
            many,
            [files, scale],
            [archive],
            api_name="batch",
            api_description=text.API_BATCH,
            api_visibility="public",
            concurrency_limit=1,
        )
        settings = [
            gr.Textbox("decoder", label="learns"),
            gr.Number(10, label="epochs"),
            gr.Number(None, label="minutes"),
            gr.Number(0.2, label="held_out"),
        ]
        gr.Button().click(
            tune,
            [files, *settings],
            [archive, result],
            api_name="finetune",
            api_description=text_finetune.API,
            api_visibility="public",
            concurrency_limit=4,
        )
