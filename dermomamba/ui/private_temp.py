"""A folder of this process alone for Gradio's uploads and pictures, removed when the process ends.

Gradio reads GRADIO_TEMP_DIR while it is being imported, so this runs first and imports nothing of it.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import sys
import tempfile
import threading
from pathlib import Path
from types import FrameType


def make_private_temp() -> Path:
    """Make the folder (mode 700), point GRADIO_TEMP_DIR at it, and see to its removal at exit.

    A GRADIO_TEMP_DIR that is already set becomes the parent of the folder. A polite end by SIGTERM removes it too.

    Returns:
        The folder.
    """
    if "gradio" in sys.modules:
        raise RuntimeError("make_private_temp() must run before gradio is imported")
    parent = os.environ.get("GRADIO_TEMP_DIR")
    if parent:
        Path(parent).mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="dermomamba-", dir=parent)).resolve()
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _leave)
    return folder


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
