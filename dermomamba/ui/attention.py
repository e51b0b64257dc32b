"""The Attention tab, for teaching: the U with its five bridges, and the two gates of the one that is chosen.

CBAM (Woo et al. 2018, doi 10.1007/978-3-030-01234-2_1) gates each skip twice: by channel, then by place.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import cv2
import gradio as gr
import numpy as np

from dermomamba import render
from dermomamba.errors import DermoMambaError
from dermomamba.ui import layers, text, views
from dermomamba.ui.analyse_tab import HEAVY, LIGHT, AnalyseTab
from dermomamba.ui.engine import OwnWeights
from dermomamba.ui.parts import Picture
from dermomamba.ui.visit import STATE_SECONDS, Visit

if TYPE_CHECKING:
    from dermomamba.predictor import Segmentation

LEVELS = (1, 2, 3, 4, 5)
PICK = """
element.addEventListener('click', (event) => {
  const bridge = event.target.closest('[data-level]');
  if (bridge) trigger('click', { level: Number(bridge.dataset.level) });
});
"""


@dataclass(frozen=True, eq=False)  # compared by identity: Gradio hashes what a session holds
class Control:
    """What the untrained network lets pass for one photo.

    Attributes:
        photo: the visit's own array, so that a control of another photo is never shown.
        attention, channel_attention: as in ``Segmentation``.
    """

    photo: np.ndarray
    attention: dict[str, np.ndarray]
    channel_attention: dict[str, np.ndarray]


def limits(values: np.ndarray, same: bool) -> tuple[float, float]:
    """Limits of the colours: 0 to 1 for all bridges, or the map's own range (widened when it is flat)."""
    if same:
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    return (low, high) if high - low > 1e-6 else (low - 5e-7, high + 5e-7)


def u_picture(segmentation: Segmentation | None, chosen: int, same: bool) -> str:
    """The network as a U: five bridges as buttons that carry their own gate as a small picture.

    Args:
        segmentation: None before the first photo; the bridges then carry no picture.
        chosen: the bridge that is shown, 1 (finest) to 5.
        same: whether the small pictures share the colours 0 to 1.

    Returns:
        HTML.
    """
    rows = []
    for level in LEVELS:
        size, image = "", ""
        if segmentation is not None:
            values = segmentation.attention[f"cbam{level}"]
            channels = len(segmentation.channel_attention[f"cbam{level}"])
            small = render.colour_map(cv2.resize(values, (96, 72)), *limits(values, same))
            image = f'<img alt="" src="{layers.data_uri(small)}">'
            size = text.U_SKIP.format(level=level, rows=values.shape[0], columns=values.shape[1], channels=channels)
        label = size or f"{text.LEVEL} {level}"
        pressed = "true" if level == chosen else "false"
        rows.append(
            f'<div class="u-row u-row-{level}"><span class="u-box" aria-hidden="true"></span>'
            f'<button type="button" class="u-bridge" data-level="{level}" aria-pressed="{pressed}"'
            f' aria-label="{escape(label)}">{image}<span class="u-label"><b>{level}</b>'
            f"<small>{escape(size.split(': ')[-1])}</small></span></button>"
            '<span class="u-box" aria-hidden="true"></span></div>'
        )
    return (
        f'<div class="u" role="group" aria-label="{text.U_ALT}">'
        f'<div class="u-ends"><span>{text.U_PHOTO} ↓ {text.U_DOWN}</span>'
        f"<span>{text.U_UP} ↑ {text.U_OUTLINE}</span></div>"
        + "".join(rows)
        + f'<div class="u-bottom"><span>{text.U_BOTTOM}</span></div></div>'
    )


def bars(gates: np.ndarray, level: int, untrained: np.ndarray | None = None) -> str:
    """Channel gates from the most to the least open, as an SVG bar chart on the scale 0 to 1.

    Args:
        gates: (c,) float32 in (0, 1).
        level: the bridge.
        untrained: (c,) float32 in (0, 1), the same gates before training, drawn as a line over the bars.

    Returns:
        HTML: heading, chart, sentence.
    """
    values = np.sort(gates)[::-1]
    count, width, height, left, top = len(values), 640, 180, 34, 8
    step = (width - left) / count
    gap = 0.0 if step < 4 else 1.0
    path = "".join(
        f"M{left + i * step:.2f},{top + height}V{top + height * (1 - v):.2f}h{step - gap:.2f}V{top + height}Z"
        for i, v in enumerate(values)
    )
    lines = "".join(
        f'<line x1="{left}" x2="{width}" y1="{top + height * (1 - v):.1f}" y2="{top + height * (1 - v):.1f}"/>'
        f'<text x="{left - 6}" y="{top + height * (1 - v) + 4:.1f}" text-anchor="end">{v:g}</text>'
        for v in (0, 0.5, 1)
    )
    line, more = "", ""
    if untrained is not None:
        control = np.sort(untrained)[::-1]
        points = " ".join(f"{left + (i + 0.5) * step:.2f},{top + height * (1 - v):.2f}" for i, v in enumerate(control))
        line = f'<polyline points="{points}"/>'
        more = " " + text.UNTRAINED_LINE.format(min=float(control[-1]), max=float(control[0]))
    facts: dict[str, Any] = {
        "count": count,
        "level": level,
        "min": float(values[-1]),
        "max": float(values[0]),
        "median": float(np.median(values)),
    }
    return (
        f"<h3>{text.CHANNELS.format(**facts)}</h3>"
        f'<svg class="bars" viewBox="0 0 {width} {height + 2 * top}" role="img"'
        f' aria-label="{text.CHANNELS_ALT.format(**facts)}{more}">'
        f'{lines}<path d="{path}"/>{line}</svg><p class="legend-text">{text.CHANNELS_TEXT.format(**facts)}{more}</p>'
    )


def build(tab: AnalyseTab) -> gr.Column:
    """Lay out the tab and wire it; call inside a `gr.Tab`.

    Returns:
        The column to refresh when the tab is opened, see `wire`.
    """
    gr.HTML(f"<h2>{text.ATTENTION_TITLE}</h2><p>{text.ATTENTION_INTRO}</p>")
    with gr.Column(elem_id="attention-empty") as nothing:
        message = gr.HTML(views.card("empty", text.ATTENTION_EMPTY), elem_id="attention-message")
        example = gr.Button(text.ATTENTION_EXAMPLE, size="sm", elem_id="attention-example")
    with gr.Row(elem_classes="teach", equal_height=False, visible=False, elem_id="attention-body") as body:
        with gr.Column(scale=2, min_width=300):
            gr.HTML(f'<p class="note">{text.ATTENTION_PICK}</p>')
            u = gr.HTML(u_picture(None, 5, True), js_on_load=PICK, elem_id="u")
            level = gr.Slider(1, 5, 5, step=1, label=text.LEVEL, info=text.LEVEL_HELP, elem_id="level")
            same = gr.Checkbox(True, label=text.SAME_SCALE, elem_id="same-scale")
            beside = gr.Checkbox(False, label=text.UNTRAINED, info=text.UNTRAINED_HELP, elem_id="untrained")
            opacity = gr.Slider(0, 1, 0.65, step=0.05, label=text.OPACITY, elem_id="gate-opacity")
        with gr.Column(scale=3, min_width=320):
            with gr.Row(equal_height=False, elem_classes="gates"):
                with gr.Column(min_width=300):
                    gr.HTML(f"<h3>{text.SPATIAL}</h3>")
                    picture = _gate(text.SPATIAL, "gate")
                    legend = gr.HTML(elem_id="gate-legend")
                with gr.Column(min_width=300, visible=False) as second:
                    gr.HTML(f"<h3>{text.UNTRAINED_TITLE}</h3>")
                    other = _gate(text.UNTRAINED_TITLE, "gate-untrained")
                    other_legend = gr.HTML(elem_id="gate-untrained-legend")
            channels = gr.HTML(elem_id="channels")
    control = gr.State(None, time_to_live=STATE_SECONDS)

    def show(
        visit: Visit | None, chosen: float, same_scale: bool, amount: float, wanted: bool, found: Control | None
    ) -> dict[Any, Any]:
        if visit is None:
            return {nothing: gr.update(visible=True), body: gr.update(visible=False)}
        number = int(chosen)
        key = f"cbam{number}"
        photo = render.fit(visit.photo)

        def drawn(values: np.ndarray, alt: str, what: str) -> tuple[Any, str]:
            low, high = limits(values, same_scale)
            words = alt.format(level=number, min=float(values.min()), max=float(values.max()))
            image = gr.update(value=render.over(photo, values, low, high, amount), alt_text=words)
            return image, layers.map_legend(values, low, high, "viridis", what, own=not same_scale)

        image, its_legend = drawn(visit.segmentation.attention[key], text.SPATIAL_ALT, text.WHAT["cbam"])
        gates = visit.segmentation.channel_attention[key]
        updates = {
            nothing: gr.update(visible=False),
            body: gr.update(visible=True),
            u: u_picture(visit.segmentation, number, same_scale),
            picture: image,
            legend: its_legend,
        }
        if not wanted or found is None or found.photo is not visit.photo:
            return {**updates, second: gr.update(visible=False), channels: bars(gates, number)}
        image, its_legend = drawn(found.attention[key], text.UNTRAINED_ALT, text.UNTRAINED_WHAT)
        return {
            **updates,
            second: gr.update(visible=True),
            other: image,
            other_legend: its_legend,
            channels: bars(gates, number, found.channel_attention[key]),
        }

    def compare(visit: Visit | None, wanted: bool, found: Control | None) -> Control | None:
        if visit is not None and found is not None and found.photo is visit.photo:
            return found
        if visit is None or not wanted:
            return None
        try:
            untrained = tab.engine.untrained()(visit.photo)
        except DermoMambaError as problem:
            gr.Warning(str(problem))
            return None
        return Control(visit.photo, untrained.attention, untrained.channel_attention)

    def first_example(
        own: OwnWeights | None, layer: str, amount: float, drawn: list[str], *switches: Any
    ) -> Iterator[dict[Any, Any]]:
        for update in tab.on_example(0, own, layer, amount, drawn, *switches):
            if tab.status in update:
                yield {**update, message: update[tab.status]}
            else:
                yield update

    def picked(event: gr.EventData) -> int:
        return min(max(int(event.level), 1), 5)

    inputs = [tab.visit, level, same, opacity, beside, control]
    outputs = [nothing, body, u, picture, legend, channels, second, other, other_legend]
    drawing: dict[str, Any] = {"fn": show, "inputs": inputs, "outputs": outputs, **LIGHT}
    comparing: dict[str, Any] = {"fn": compare, "inputs": [tab.visit, beside, control], "outputs": [control], **HEAVY}
    level.change(**drawing, trigger_mode="always_last")
    same.input(**drawing)
    opacity.change(**drawing, trigger_mode="always_last")
    beside.change(**comparing).then(**drawing)
    u.click(picked, None, [level], **LIGHT)
    if tab.examples:
        example.click(first_example, [*tab.asking, *tab.settings], [*tab.shown, message], **HEAVY).then(**drawing)
    else:
        example.visible = False
    tab.visit.change(**drawing)
    tab.visit.change(**comparing)
    control.change(**drawing)
    return body


def _gate(label: str, name: str) -> Picture:
    """A place for a gate over the photo."""
    return Picture(show_label=False, label=label, interactive=False, format="png", buttons=["fullscreen"], elem_id=name)
