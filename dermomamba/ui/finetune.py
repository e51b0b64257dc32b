"""The Fine-tune tab laid out and wired: images in, settings, a run to watch, a comparison, weights to take away.

What the handlers do stands in `finetune_tab`; the learning itself runs in processes of `learning.workshop`.
"""

from __future__ import annotations

from typing import Any

import gradio as gr

from dermomamba.ui import finetune_views as show
from dermomamba.ui import text_finetune as words
from dermomamba.ui.analyse import SAVE_AS
from dermomamba.ui.analyse_tab import LIGHT
from dermomamba.ui.correct_box import CorrectBox
from dermomamba.ui.engine import Engine
from dermomamba.ui.finetune_session import Sessions
from dermomamba.ui.finetune_tab import FineTuneTab, Inputs, Outputs
from dermomamba.ui.parts import Download, Picture

POLL_SECONDS = 1.0


def build(engine: Engine, sessions: Sessions, own: gr.State) -> FineTuneTab:
    """Lay out the tab and wire it; call inside a `gr.Tab`.

    Args:
        engine: the shared predictor.
        sessions: what each session holds.
        own: State of the session's `OwnWeights`, written by this tab and read by the others.
    """
    gr.HTML(f"<p>{words.INTRO}</p>")
    with gr.Row(equal_height=False, elem_classes="desk"):
        with gr.Column(scale=2, min_width=300, elem_classes="desk-left"):
            inputs = _inputs()
        with gr.Column(scale=5, min_width=320, elem_classes="desk-right"):
            outputs = _outputs()
    with gr.Accordion(words.WITHOUT, open=False, elem_id="finetune-without"):
        box = CorrectBox.build(engine.predictor_for, own)
    tab = FineTuneTab(engine, sessions, own, box, inputs, outputs)
    _wire(tab)
    return tab


def _inputs() -> Inputs:
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
        minutes = gr.Number(None, label=words.MINUTES, info=words.MINUTES_HELP, elem_id="finetune-minutes")
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


def _outputs() -> Outputs:
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


def _wire(tab: FineTuneTab) -> None:
    i, o = tab.inputs, tab.outputs
    alone: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": 2}
    collected = tab.collected
    i.files.upload(tab.on_files, [i.files, i.held_out], [i.files, *collected], **alone)
    i.held_out.change(tab.on_share, [i.held_out], [o.count], trigger_mode="always_last", **LIGHT)
    i.learns.change(tab.on_learns, [i.learns], [i.learns], **LIGHT)
    o.pairs.select(tab.on_choose, None, [o.remove, o.chosen], **LIGHT)
    o.remove.click(tab.on_remove, [o.chosen, i.held_out], collected, **LIGHT)
    o.clear.click(tab.on_clear, [i.held_out], collected, **LIGHT)
    tab.box.accepted.change(tab.on_drawn, [tab.box.accepted, i.held_out], collected, **alone)
    settings = [i.learns, i.epochs, i.minutes, i.rate, i.held_out]
    i.start.click(tab.on_start, [tab.own, *settings], tab.running, **alone)
    i.stop.click(tab.on_stop, None, [i.stop], **LIGHT)
    o.timer.tick(tab.on_tick, [o.seen], [*tab.running, *tab.judged], **LIGHT)
    o.use.click(tab.on_use, None, [tab.own, o.use], **alone)
    o.download.click(tab.on_download, None, [o.file], **LIGHT).success(
        None, [o.file], None, js=SAVE_AS, api_visibility="private"
    )
    i.weights.upload(tab.on_weights, [i.weights], [tab.own, i.weights, i.told, o.use], **alone)
    tab.own.change(tab.on_own, [tab.own], [i.begin, i.told, o.use], **LIGHT)
