"""Where the parts of the correction box stand, and its keys. `correct_box` says what they do."""

from __future__ import annotations

from typing import Any

import gradio as gr

from dermomamba.correction import CANVAS
from dermomamba.ui import text_correct as words
from dermomamba.ui import views
from dermomamba.ui.canvas import Canvas, brushes
from dermomamba.ui.parts import Picture

FIRST_SIZE = 18

KEYS = """
const names = (event) => {
  const command = event.ctrlKey || event.metaKey, key = event.key.toLowerCase();
  if (command && key === "z") return event.shiftKey ? "redo" : "undo";
  if (command && key === "y") return "redo";
  if (!command && event.key === "[") return "smaller";
  if (!command && event.key === "]") return "larger";
  return null;
};
const typing = (target) => target.matches("textarea, [contenteditable], input:not([type=range]):not([type=radio])");
const listen = (event) => {
  if (!element.isConnected) return document.removeEventListener("keydown", listen);
  const name = names(event);
  if (!name || typing(event.target) || element.offsetParent === null) return;
  const button = document.getElementById("correct-" + name);
  if (!button) return;
  event.preventDefault();
  (button.querySelector("button") || button).click();
};
document.addEventListener("keydown", listen);
"""


def parts() -> dict[str, Any]:
    """Lay out the box.

    Returns:
        The parts by the names of `CorrectBox`'s attributes.
    """
    buttons: dict[str, gr.Button] = {}

    def button(name: str, label: str, variant: Any = "secondary", **more: Any) -> None:
        buttons[name] = gr.Button(
            label, size="sm", variant=variant, min_width=88, elem_id=f"correct-{name}", elem_classes="act", **more
        )

    with gr.Row(elem_classes="desk correct", equal_height=False):
        with gr.Column(scale=2, min_width=280, elem_classes="correct-left"):
            gr.HTML(f'<p class="note">{words.INTRO}</p>')
            files = gr.File(
                label=words.FILES,
                file_count="multiple",
                file_types=["image"],
                type="filepath",
                elem_id="correct-files",
                height=150,
            )
            status = gr.HTML(elem_id="correct-status")
            threshold = gr.Slider(
                0.05,
                0.95,
                0.5,
                step=0.05,
                label=words.THRESHOLD,
                info=words.THRESHOLD_HELP,
                elem_id="correct-threshold",
            )
            count = gr.HTML(views.note(words.ACCEPTED_NONE), elem_id="correct-count")
            gallery = gr.Gallery(
                label=words.GALLERY,
                show_label=False,
                columns=3,
                object_fit="contain",
                format="png",
                height="auto",
                interactive=False,
                visible=False,
                buttons=["fullscreen"],
                elem_id="correct-gallery",
            )
            with gr.Row(visible=False, elem_classes="act-row") as removing:
                which = gr.Dropdown([], label=words.REMOVE_WHICH, elem_id="correct-which", min_width=140)
                button("remove", words.REMOVE)
        with gr.Column(scale=5, min_width=320):
            title = gr.HTML(views.card("empty", words.EMPTY_TITLE, words.EMPTY_LINES), elem_id="correct-title")
            with gr.Column(visible=False, elem_id="correct-work") as work:
                canvas = Canvas(
                    label=words.CANVAS,
                    sources=(),
                    transforms=(),
                    format="png",
                    image_mode="RGBA",
                    layers=False,
                    buttons=[],
                    interactive=True,
                    canvas_size=CANVAS[::-1],
                    height=560,
                    elem_id="correct-canvas",
                    **brushes(FIRST_SIZE),
                )
                facts = gr.HTML(elem_id="correct-facts")
                problem = gr.HTML(elem_id="correct-problem")
                with gr.Row(elem_classes="act-row"):
                    button("accept", words.ACCEPT, "primary")
                    button("skip", words.SKIP)
                with gr.Row(elem_classes="act-row"):
                    button("undo", words.UNDO)
                    button("redo", words.REDO)
                    button("smaller", words.SMALLER)
                    button("larger", words.LARGER)
                    button("again", words.AGAIN)
                size = gr.Slider(4, 100, FIRST_SIZE, step=1, label=words.SIZE, elem_id="correct-size")
                gr.HTML(f'<p class="note">{words.KEYS}</p>', js_on_load=KEYS, elem_id="correct-keys")
                gr.HTML(f'<h3 class="small-head">{words.WHOLE}</h3>')
                step = gr.Slider(1, 20, 2, step=1, label=words.STEP, info=words.STEP_HELP, elem_id="correct-step")
                with gr.Row(elem_classes="act-row"):
                    button("grow", words.GROW)
                    button("shrink", words.SHRINK)
                    button("smooth", words.SMOOTH)
                    button("fill", words.FILL)
                    button("largest", words.LARGEST)
                with gr.Accordion(words.POINTS_TITLE, open=False, elem_id="correct-points-box"):
                    gr.HTML(f'<p class="note">{words.POINTS_HELP}</p>')
                    chart = Picture(
                        label=words.CHART,
                        interactive=False,
                        format="png",
                        buttons=[],
                        elem_id="correct-chart",
                    )
                    points = gr.Textbox(
                        "",
                        label=words.POINTS,
                        placeholder=words.POINTS_PLACEHOLDER,
                        lines=4,
                        max_lines=12,
                        elem_id="correct-points-text",
                    )
                    how = gr.Radio(
                        [(label, key) for key, label in words.HOW_CHOICES.items()],
                        value="replace",
                        label=words.HOW,
                        elem_id="correct-how",
                    )
                    with gr.Row(elem_classes="act-row"):
                        button("points", words.POINTS_APPLY, "primary")
                        button("back", words.POINTS_BACK)
                        button("clear", words.POINTS_CLEAR)
    return {
        "files": files,
        "status": status,
        "work": work,
        "title": title,
        "canvas": canvas,
        "facts": facts,
        "size": size,
        "threshold": threshold,
        "step": step,
        "points": points,
        "how": how,
        "chart": chart,
        "problem": problem,
        "buttons": buttons,
        "count": count,
        "gallery": gallery,
        "which": which,
        "removing": removing,
    }
