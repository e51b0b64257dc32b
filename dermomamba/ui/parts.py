"""Gradio parts with our own rules for what goes in and out.

PhotoInput hands over the upload's path unopened, so that `images.decode` alone reads it and a broken file gets our
sentence. Picture sends pixels as PNG without any metadata. Download sends bytes under a name that we chose.
"""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from gradio.data_classes import FileData, ImageData
from gradio.processing_utils import save_bytes_to_cache

from dermomamba import export

UPLOAD_SECONDS = 300.0
"""How long an upload stays after it was read: Gradio keeps equal uploads as one file, and another may be waiting."""


def forget(path: Path, after: float = UPLOAD_SECONDS) -> threading.Timer:
    """Delete an upload, with its name and tags, some time after it was read.

    A file that was uploaded again in the meantime stays: the later reading sees to it.

    Args:
        path: of the upload.
        after: seconds to wait.

    Returns:
        The running timer.
    """
    read = time.time()

    def remove() -> None:
        if path.is_file() and path.stat().st_mtime <= read:
            path.unlink(missing_ok=True)

    timer = threading.Timer(after, remove)
    timer.daemon = True
    timer.start()
    return timer


class PhotoInput(gr.Image):
    """An image input whose value reaches Python as the upload's path, unread."""

    is_template = True

    def preprocess(self, payload: ImageData | None) -> Path | None:  # type: ignore[override]
        """The path of the upload inside the private cache, None when there is no photo."""
        return Path(payload.path) if payload is not None and payload.path else None

    def postprocess(self, value: np.ndarray | None) -> ImageData | None:  # type: ignore[override]
        """Pixels as a PNG called photo.png."""
        return _picture(self, value, "photo.png")


class Picture(gr.Image):
    """An image output for (h, w, 3) uint8 pixels, sent as PNG."""

    is_template = True

    def postprocess(self, value: np.ndarray | None) -> ImageData | None:  # type: ignore[override]
        """Pixels as a PNG called picture.png."""
        return _picture(self, value, "picture.png")


def _picture(block: gr.Image, value: np.ndarray | None, name: str) -> ImageData | None:
    if value is None:
        return None
    path = save_bytes_to_cache(export.png(value, level=1), name, block.GRADIO_CACHE)
    return ImageData(path=path, orig_name=name, mime_type="image/png")


class Download(gr.DownloadButton):
    """A download of bytes under a given name."""

    is_template = True

    def postprocess(self, value: tuple[str, bytes] | None) -> FileData | None:  # type: ignore[override]
        """(name, bytes) as a file in the private cache."""
        return _file(self, value)


class ApiFile(gr.File):
    """A file of an endpoint, from bytes."""

    is_template = True

    def postprocess(self, value: tuple[str, bytes] | None) -> FileData | None:  # type: ignore[override]
        """(name, bytes) as a file in the private cache."""
        return _file(self, value)


def _file(block: Any, value: tuple[str, bytes] | None) -> FileData | None:
    if value is None:
        return None
    name, content = value
    return FileData(path=save_bytes_to_cache(content, name, block.GRADIO_CACHE), orig_name=name, size=len(content))


with contextlib.suppress(OSError):  # Gradio writes a stub beside every file that defines a component
    Path(__file__).with_suffix(".pyi").unlink(missing_ok=True)
