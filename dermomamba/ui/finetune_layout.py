"""The parts of the Fine-tune tab and where they stand; `finetune` wires them."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from dermomamba.ui import finetune_views as show
from dermomamba.ui import text_finetune as words
from dermomamba.ui.parts import Download, Picture

POLL_SECONDS = 1.0


@dataclass
class Inputs:
    """The left column: files, what learns, how long, own weights."""

    files: gr.File
    begin: gr.HTML
    start: gr.Button
    stop: gr.Button
    learns: gr.Radio
    epochs: gr.Number
    minutes: gr.Number
    rate: gr.Number
    held_out: gr.Slider
    weights: gr.File
    told: gr.HTML


@dataclass
class Outputs:
    """The right column: the run, the comparison, the collection."""

    status: gr.HTML
    live: gr.Column
    loss: gr.LinePlot
    dice: gr.LinePlot
    preview: Picture
    result: gr.Column
    verdict: gr.HTML
    use: gr.Button
    download: gr.Button
    file: Download
    table: gr.HTML
    compared: gr.Gallery
    count: gr.HTML
    tidy: gr.Row
    remove: gr.Button
    clear: gr.Button
    problems: gr.HTML
    pairs: gr.Gallery
    timer: gr.Timer
    seen: gr.State
    chosen: gr.State


def inputs() -> Inputs:
    files = gr.File(
        label=words.FILES,
        file_count="multiple",
        file_types=["image", ".zip"],
        type="filepath",
        height=180,
        elem_id="finetune-files",
    )
    gr.HTML(f'<p class="note">{words.FILES_HELP}</p>')
    begin = gr.HTML(elem_id="finetune-begin")
    with gr.Row():
        start = gr.Button(words.START, variant="primary", size="sm", elem_id="finetune-start")
        stop = gr.Button(words.STOP, size="sm", visible=False, elem_id="finetune-stop")
    with gr.Accordion(words.SETTINGS, open=False, elem_id="finetune-settings"):
        learns = gr.Radio(
            [(label, key) for key, label in words.LEARNS_CHOICES.items()],
            value="decoder",
            label=words.LEARNS,
            info=words.LEARNS_HELP["decoder"],
            elem_id="finetune-learns",
        )
        epochs = gr.Number(10, precision=0, label=words.EPOCHS, info=words.EPOCHS_HELP, elem_id="finetune-epochs")
        minutes = gr.Number(0, minimum=0, label=words.MINUTES, info=words.MINUTES_HELP, elem_id="finetune-minutes")
        rate = gr.Number(3e-4, label=words.RATE, info=words.RATE_HELP, step=1e-5, elem_id="finetune-rate")
        held_out = gr.Slider(
            0.1, 0.5, 0.2, step=0.05, label=words.HELD_OUT, info=words.HELD_OUT_HELP, elem_id="finetune-held-out"
        )
    with gr.Accordion(words.OWN, open=False, elem_id="finetune-own"):
        weights = gr.File(
            label=words.OWN_FILES,
            file_count="multiple",
            file_types=[".zip", ".safetensors", ".json"],
            type="filepath",
            height=150,
            elem_id="finetune-weights",
        )
        told = gr.HTML(elem_id="finetune-own-told")
    return Inputs(files, begin, start, stop, learns, epochs, minutes, rate, held_out, weights, told)


def outputs() -> Outputs:
    status = gr.HTML(elem_id="finetune-status")
    with gr.Column(visible=False, elem_id="finetune-live") as live, gr.Row(equal_height=False):
        loss = _curve(words.CURVE_LOSS, "loss", "finetune-loss")
        dice = _curve(words.CURVE_DICE, "Dice", "finetune-dice")
        preview = Picture(
            label=words.PREVIEW, interactive=False, format="png", buttons=[], height=240, elem_id="finetune-preview"
        )
    with gr.Column(visible=False, elem_id="finetune-result") as result:
        verdict = gr.HTML(elem_id="finetune-verdict")
        with gr.Row(elem_classes="files"):
            use = gr.Button(words.USE, variant="primary", size="sm", elem_id="finetune-use")
            download = gr.Button(words.DOWNLOAD, size="sm", elem_id="finetune-download")
            file = Download(visible="hidden", elem_id="finetune-file")
        table = gr.HTML(elem_id="finetune-table")
        gr.HTML(f'<h3>{words.COMPARED}</h3><p class="note">{words.COMPARED_NOTE}</p>')
        compared = _gallery(words.COMPARED, 3, "finetune-compared")
    gr.HTML(f"<h3>{words.PAIRS}</h3>")
    count = gr.HTML(show.collection(0, 0.2), elem_id="finetune-count")
    with gr.Row(elem_classes="files", visible=False) as tidy:
        remove = gr.Button(words.REMOVE_NONE, size="sm", interactive=False, elem_id="finetune-remove")
        clear = gr.Button(words.CLEAR, size="sm", elem_id="finetune-clear")
    problems = gr.HTML(elem_id="finetune-problems")
    pairs = _gallery(words.PAIRS, 6, "finetune-pairs")
    timer = gr.Timer(POLL_SECONDS, active=False)
    return Outputs(
        status, live, loss, dice, preview, result, verdict, use, download, file, table, compared, count, tidy, remove,
        clear, problems, pairs, timer, gr.State(-1), gr.State(""),
    )  # fmt: skip


def _curve(title: str, y: str, name: str) -> gr.LinePlot:
    return gr.LinePlot(
        x="epoch", y=y, title=title, x_title="epoch", y_title=y, height=240, min_width=240, buttons=[], elem_id=name
    )


def _gallery(label: str, columns: int, name: str) -> gr.Gallery:
    return gr.Gallery(
        label=label,
        show_label=False,
        columns=columns,
        object_fit="contain",
        format="png",
        height="auto",
        interactive=False,
        visible=False,
        buttons=["fullscreen"],
        elem_id=name,
    )
