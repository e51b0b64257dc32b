"""The Analyse tab laid out and wired: one drop, one picture, the numbers, a file to keep. `analyse_tab` acts."""

from __future__ import annotations

from functools import partial
from typing import Any

import gradio as gr

from dermomamba import export
from dermomamba.ui import text, views
from dermomamba.ui.abcd_box import AbcdBox
from dermomamba.ui.analyse_tab import HEAVY, LIGHT, AnalyseTab
from dermomamba.ui.engine import Engine
from dermomamba.ui.examples import Example
from dermomamba.ui.parts import Download, PhotoInput, Picture
from dermomamba.ui.scale_box import ScaleBox
from dermomamba.ui.visit import STATE_SECONDS, Visit

SAVE_AS = """(file) => {
  if (!file) return;
  const link = document.createElement("a");
  link.href = file.url;
  link.download = file.orig_name;
  document.body.appendChild(link);
  link.click();
  link.remove();
}"""


def take_away(kind: str, visit: Visit | None) -> tuple[str, bytes] | None:
    """The bytes of one kind of file under its ISIC-like name."""
    if visit is None:
        gr.Info(text.NOTHING_YET)
        return None
    record = visit.record()
    if kind == "all":
        return f"{record.case}_dermomamba.zip", export.bundle(record)
    pattern, make = export.KINDS[kind]
    return pattern.format(case=record.case), make(record)


def build(engine: Engine, own: gr.State, examples: tuple[Example, ...], thumbnails: list[str]) -> AnalyseTab:
    """Lay out the tab and wire it; call inside a `gr.Tab`. `own` holds the session's `OwnWeights`, or None."""
    visit = gr.State(None, time_to_live=STATE_SECONDS)
    buttons: list[gr.Button] = []
    with gr.Row(elem_classes="desk", equal_height=False):
        with gr.Column(scale=2, min_width=300, elem_classes="desk-left"):
            photo = PhotoInput(
                label=text.PHOTO,
                sources=["upload", "clipboard", "webcam"],
                type="filepath",
                image_mode=None,
                format="png",
                buttons=[],
                placeholder=text.PHOTO_PLACEHOLDER,
                elem_id="photo",
                webcam_options=gr.WebcamOptions(mirror=False),
            )
            with gr.Column(elem_classes="examples", min_width=200):
                gr.HTML(f'<p class="small-head">{text.EXAMPLES}</p><p class="note">{text.EXAMPLES_NOTE}</p>')
                with gr.Row(elem_classes="example-row"):
                    for example, thumbnail in zip(examples, thumbnails, strict=True):
                        buttons.append(
                            gr.Button(example.label, icon=thumbnail, size="sm", min_width=80, elem_classes="example")
                        )
            scale = ScaleBox.build()
            with gr.Accordion(text.OPTIONS, open=False, elem_classes="options"):
                threshold = gr.Slider(
                    0.05, 0.95, 0.5, step=0.05, label=text.THRESHOLD, info=text.THRESHOLD_HELP, elem_id="threshold"
                )
                largest = gr.Checkbox(True, label=text.LARGEST, elem_id="largest")
                fill = gr.Checkbox(True, label=text.FILL, elem_id="fill")
                tta = gr.Checkbox(False, label=text.TTA, info=text.TTA_HELP, elem_id="tta")
        with gr.Column(scale=5, min_width=320, elem_classes="desk-right"):
            status = gr.HTML(views.empty(), elem_id="status")
            with gr.Column(visible=False, elem_classes="stage") as stage:
                picture = Picture(
                    show_label=False,
                    label=text.RESULT,
                    interactive=False,
                    format="png",
                    buttons=["fullscreen"],
                    elem_id="result",
                )
                legend = gr.HTML(elem_id="legend")
            with gr.Column(visible=False, elem_id="results") as results:
                with gr.Row(elem_classes="layer-row"):
                    layer = gr.Radio(
                        [(label, key) for key, label in text.LAYERS.items()],
                        value="outline",
                        label=text.LAYER,
                        elem_id="layer",
                        scale=4,
                    )
                    opacity = gr.Slider(
                        0,
                        1,
                        0.55,
                        step=0.05,
                        label=text.OPACITY,
                        info=text.OPACITY_HELP,
                        elem_id="opacity",
                        scale=1,
                        min_width=220,
                    )
                drawn = gr.CheckboxGroup(
                    [(label, key) for key, label in text.DRAWN_CHOICES.items()],
                    value=[],
                    label=text.DRAWN,
                    elem_id="drawn",
                )
                numbers = gr.HTML(elem_id="numbers")
                words = gr.HTML(elem_id="words")
                abcd = AbcdBox.build()
                files, file = _file_row()
    tab = AnalyseTab(
        engine=engine,
        own=own,
        examples=examples,
        visit=visit,
        photo=photo,
        status=status,
        stage=stage,
        picture=picture,
        legend=legend,
        layer=layer,
        opacity=opacity,
        drawn=drawn,
        results=results,
        numbers=numbers,
        words=words,
        settings=[threshold, largest, fill, tta],
        scale=scale,
        abcd=abcd,
    )
    _wire(tab, buttons)
    for kind, button in files.items():
        button.click(partial(take_away, kind), [visit], [file], **LIGHT).success(
            None, [file], None, js=SAVE_AS, api_visibility="private"
        )
    return tab


def _file_row() -> tuple[dict[str, gr.Button], Download]:
    gr.HTML(f'<h3 class="files-head">{text.FILES}</h3>')
    with gr.Row(elem_classes="files"):
        files = {
            kind: gr.Button(label, size="sm", min_width=92, elem_id=f"file-{kind}", elem_classes="file")
            for kind, label in text.FILE_BUTTONS.items()
        }
    return files, Download(visible="hidden", elem_id="file-made")


def _wire(tab: AnalyseTab, buttons: list[gr.Button]) -> None:
    view = tab.view
    switches = tab.settings
    scale: list[Any] = [tab.scale.number, tab.scale.source]
    photo_inputs = [tab.photo, *tab.asking, *scale, *switches]
    tab.photo.input(tab.on_photo, photo_inputs, tab.shown, trigger_mode="always_last", **HEAVY)
    tab.photo.clear(tab.on_clear, [tab.scale.source], tab.shown, **LIGHT)
    for index, button in enumerate(buttons):
        button.click(partial(tab.on_example, index), [*tab.asking, *switches], tab.shown, **HEAVY)
    threshold, largest, fill, tta = switches
    again = [tab.visit, *tab.asking, *switches]
    tta.input(tab.on_again, again, tab.shown, trigger_mode="always_last", **HEAVY)
    tab.own.change(tab.on_again, again, tab.shown, trigger_mode="always_last", **HEAVY)
    cut: dict[str, Any] = {
        "fn": tab.on_cut,
        "inputs": [tab.visit, *view, *switches],
        "outputs": [tab.visit, tab.picture, tab.legend, tab.status, tab.numbers, tab.words],
        "trigger_mode": "always_last",
        **LIGHT,
    }
    threshold.change(**cut)
    largest.input(**cut)
    fill.input(**cut)
    redraw: dict[str, Any] = {
        "fn": tab.on_layer,
        "inputs": [tab.visit, *view, tab.scale.marks],
        "outputs": [tab.picture, tab.legend, tab.status],
        "trigger_mode": "always_last",
        **LIGHT,
    }
    tab.layer.change(**redraw)
    tab.opacity.change(**redraw)
    tab.drawn.change(**redraw)
    tab.scale.wire(tab)
