"""Which picture a layer is, and the legend that goes with it: colours, limits, real range, size, meaning."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from dermomamba import export, render, render_measures
from dermomamba.measure import Measurements
from dermomamba.ui import text

if TYPE_CHECKING:
    from dermomamba.predictor import Segmentation

DRAWINGS = {
    "diameter": ("longest_diameter", "width"),
    "bays": ("indentations", "protrusions"),
    "folds": ("folded_major", "folded_minor"),
}

MEASURED = {"diameter": "longest_diameter", "bays": "indentations", "folds": "asymmetry_major"}
"""The measure that a group of drawings stands for."""


@dataclass(frozen=True)
class Map:
    """A map at the size that the network computed it, with the limits of its colours.

    Attributes:
        values: (h, w) float32.
        low, high: limits of the colours, those of the quantity and not of this map.
        colours: "viridis" or "magma".
        what: what it is, in words.
    """

    values: np.ndarray
    low: float
    high: float
    colours: str
    what: str


def map_of(segmentation: Segmentation, layer: str) -> Map | None:
    """The map behind a layer; None for the outline and the filled mask."""
    if layer == "probability":
        return Map(segmentation.network_probability, 0.0, 1.0, "viridis", text.WHAT["probability"])
    if layer == "guide":
        return Map(segmentation.network_guide, 0.0, 0.5, "magma", text.WHAT["guide"])
    if layer.startswith("cbam"):
        return Map(segmentation.attention[layer], 0.0, 1.0, "viridis", text.WHAT["cbam"])
    return None


def picture(photo: np.ndarray, segmentation: Segmentation, layer: str, opacity: float) -> np.ndarray:
    """The photo with a layer on it, at display size.

    Args:
        photo: (H, W, 3) uint8 RGB.
        segmentation: of the photo.
        layer: key of `text.LAYERS`.
        opacity: of the filled mask and the maps, in [0, 1].

    Returns:
        (h, w, 3) uint8 RGB.
    """
    small = render.fit(photo)
    if layer == "outline":
        return render.outline(small, segmentation.mask)
    if layer == "mask":
        return render.filled(small, segmentation.mask, opacity)
    chosen = map_of(segmentation, layer)
    assert chosen is not None, layer
    return render.over(small, chosen.values, chosen.low, chosen.high, opacity, chosen.colours)


def data_uri(image: np.ndarray) -> str:
    """Pixels as a data: address of a PNG."""
    return "data:image/png;base64," + base64.b64encode(export.png(image, level=6)).decode()


def legend(segmentation: Segmentation, layer: str) -> str:
    """The legend of a layer as HTML."""
    chosen = map_of(segmentation, layer)
    if chosen is None:
        return f'<p class="legend-text">{escape(text.WHAT[layer].format(threshold=segmentation.threshold))}</p>'
    return map_legend(chosen.values, chosen.low, chosen.high, chosen.colours, chosen.what)


def map_legend(values: np.ndarray, low: float, high: float, colours: str, what: str, own: bool = False) -> str:
    """Colour bar with marks at the map's real minimum and maximum, and the sentences beside it.

    Args:
        values: (h, w) float.
        low, high: limits of the colours.
        colours: "viridis" or "magma".
        what: what the map is.
        own: whether the limits are this map's own range.

    Returns:
        HTML.
    """
    least, most = float(values.min()), float(values.max())
    marks = "".join(
        f'<span class="bar-mark" style="left:{100 * (value - low) / (high - low):.2f}%"></span>'
        for value in (least, most)
    )
    pattern = text.RANGE_OWN if own else text.RANGE
    sentence = pattern.format(low=low, high=high, min=least, max=most)
    size = text.COMPUTED.format(rows=values.shape[0], columns=values.shape[1])
    return (
        f'<div class="legend"><span class="bar-end">{low:.3g}</span>'
        f'<span class="bar" style="background-image:url({data_uri(render.colour_bar(colours))})" aria-hidden="true">'
        f"{marks}</span>"
        f'<span class="bar-end">{high:.3g}</span></div>'
        f'<p class="legend-text"><strong>{escape(what)}</strong> {escape(sentence)} {escape(size)}</p>'
    )


def drawable(measurements: Measurements, groups: list[str]) -> list[str]:
    """The groups whose measure is valid: what is not shown as a number is not drawn either."""
    return [name for name in groups if MEASURED[name] in measurements and measurements[MEASURED[name]].valid]


def drawn_legend(measurements: Measurements, groups: list[str]) -> str:
    """What each drawn measure is, that there is nothing of it to draw, or why it was not measured."""
    lines = []
    valid = drawable(measurements, groups)
    for group in (name for name in render_measures.GROUPS if name in groups):
        if group not in valid:
            why = export.not_measured(measurements[MEASURED[group]])
            lines.append(f'<p class="legend-text">{escape(f"{text.DRAWN_CHOICES[group]}: {why}")}</p>')
            continue
        there = any(len(measurements.drawings.get(name, ())) for name in DRAWINGS[group])
        lines.append(f'<p class="legend-text">{escape(text.DRAWN_WHAT[group] if there else text.DRAWN_NONE)}</p>')
    return "".join(lines)
