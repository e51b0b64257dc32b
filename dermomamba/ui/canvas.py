"""The drawing canvas: Gradio's ImageEditor with the mask as its one layer, and what may come back from it.

The canvas has one size and a photo is fitted into its middle: an editor that has to resize itself to another photo puts
the layer beside the place where it belongs. Only the layer is read, through `images.decode`, and never more than a
canvas full. A canvas that was loaded while the person drew would overwrite the newer outline, so each one carries its
version: two bytes, one bit a pixel, in the lowest bit of the opacity along the top left edge, where nobody sees it.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from gradio.components.image_editor import EditorData

from dermomamba.correction import CANVAS, canvas_size
from dermomamba.errors import ImageError
from dermomamba.images import decode

COLOUR = "#00deff"  # the outline's cyan; its red is 0, so that on white the red channel is 255 - opacity
OPACITY = 0.45
_FULL = 2 * round(255 * OPACITY / 2)  # even, room for the lowest bit
_TAG, _CHECK = 16, 0xA5
_GROUND = 128  # grey, beside the photo


class Canvas(gr.ImageEditor):
    """An ImageEditor whose value reaches Python as the opacity of its one layer."""

    is_template = True

    def preprocess(self, payload: EditorData | None) -> np.ndarray | None:  # type: ignore[override]
        """(h, w) uint8, the layer's opacity; None when there is none or it cannot be read."""
        if payload is None:
            return None
        layer: Any = None
        if payload.id is not None:
            blobs = self.blob_storage.pop(payload.id, None)
            layer = blobs.layers[0] if blobs is not None and blobs.layers else None
        elif payload.layers:
            layer = Path(payload.layers[0].path)
        if layer is None:
            return None
        try:
            return 255 - decode(layer, max_pixels=CANVAS[0] * CANVAS[1])[..., 0]
        except ImageError:
            return None


def place(height: int, width: int) -> tuple[slice, slice]:
    """Rows and columns of the canvas that a photo of this size takes."""
    h, w = canvas_size(height, width)
    top, left = (CANVAS[0] - h) // 2, (CANVAS[1] - w) // 2
    return slice(top, top + h), slice(left, left + w)


def content(photo: np.ndarray, mask: np.ndarray, version: int) -> dict[str, Any]:
    """The editor's value.

    Args:
        photo: (H, W, 3) uint8 RGB, at its own size or at that of its place on the canvas.
        mask: (h, w) bool at the size of its place.
        version: of this content; only its lowest byte is carried.

    Returns:
        Background and one layer of the outline's hue, both at the canvas's size.
    """
    there = place(*photo.shape[:2])
    background = np.full((*CANVAS, 3), _GROUND, np.uint8)
    background[there] = photo
    opacity = np.zeros(CANVAS, np.uint8)
    opacity[there] = np.where(mask, _FULL, 0)
    code = (version & 0xFF) << 8 | (version & 0xFF) ^ _CHECK
    bits = np.array([code >> (_TAG - 1 - k) & 1 for k in range(_TAG)], np.uint8)
    opacity[0, :_TAG] = np.maximum(opacity[0, :_TAG], 2) | bits
    layer = np.zeros((*CANVAS, 4), np.uint8)
    layer[..., :3] = [int(COLOUR[k : k + 2], 16) for k in (1, 3, 5)]
    layer[..., 3] = opacity
    return {"background": background, "layers": [layer], "composite": None}


def brushes(size: int) -> dict[str, Any]:
    """Brush and eraser of one radius in canvas px, as arguments of the editor."""
    brush = gr.Brush(size, colors=[(COLOUR, OPACITY)], default_color=(COLOUR, OPACITY), color_mode="fixed")
    return {"brush": brush, "eraser": gr.Eraser(size)}


def mask_of(opacity: np.ndarray) -> np.ndarray:
    """(h, w) bool: where the layer (h, w) uint8 has at least half of the brush's opacity."""
    return opacity >= _FULL // 2


def version_of(opacity: np.ndarray) -> int | None:
    """The version (0 to 255) of a layer (h, w) uint8; None when it was painted over or never there."""
    code = 0
    for value in opacity[0, :_TAG]:
        code = code << 1 | int(value) & 1
    version = code >> 8
    return version if code & 0xFF == version ^ _CHECK else None


with contextlib.suppress(OSError):  # Gradio writes a stub beside every file that defines a component
    Path(__file__).with_suffix(".pyi").unlink(missing_ok=True)
