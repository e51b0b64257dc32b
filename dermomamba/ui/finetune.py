"""The Fine-tune tab put together and wired: images in, a run to watch, a comparison, weights to take away.

The parts stand in `finetune_layout`, what the handlers do in `finetune_tab`; the learning runs in processes of
`learning.workshop`.
"""

from __future__ import annotations

from typing import Any

import gradio as gr

from dermomamba.ui import finetune_layout
from dermomamba.ui import text_finetune as words
from dermomamba.ui.analyse import SAVE_AS
from dermomamba.ui.analyse_tab import LIGHT
from dermomamba.ui.correct_box import CorrectBox
from dermomamba.ui.engine import Engine
from dermomamba.ui.finetune_session import Sessions
from dermomamba.ui.finetune_tab import FineTuneTab


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
            inputs = finetune_layout.inputs()
        with gr.Column(scale=5, min_width=320, elem_classes="desk-right"):
            outputs = finetune_layout.outputs()
    with gr.Accordion(words.WITHOUT, open=False, elem_id="finetune-without"):
        box = CorrectBox.build(engine.predictor_for, own)
    tab = FineTuneTab(engine, sessions, own, box, inputs, outputs)
    _wire(tab)
    return tab


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
