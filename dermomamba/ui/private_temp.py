"""A folder of this process alone for Gradio's uploads and pictures, removed when the process ends.

Gradio reads GRADIO_TEMP_DIR while it is being imported, so this runs first and imports nothing of it. A process that
was killed cannot tidy up: the next one does. Each folder holds a file that its process keeps locked while it lives, so
that a folder whose lock can be had belongs to nobody any more.
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
from typing import IO

if sys.platform != "win32":
    import fcntl

PREFIX, LOCK = "dermomamba-", ".alive"
TRIES = 100
_folders: list[Path] = []
_held: list[IO[str]] = []
"""Locks of this process's folders; closed, and so released, when it ends in whatever way."""


def make_private_temp() -> Path:
    """Make the folder (mode 700), point GRADIO_TEMP_DIR at it, and see to its removal at exit.

    A GRADIO_TEMP_DIR that is already set becomes the parent of the folder. A polite end by SIGTERM removes it too.
    Folders that killed processes left in the same parent are removed first.

    Returns:
        The folder.
    """
    if "gradio" in sys.modules:
        raise RuntimeError("make_private_temp() must run before gradio is imported")
    parent = os.environ.get("GRADIO_TEMP_DIR")
    if parent:
        Path(parent).mkdir(parents=True, exist_ok=True)
    remove_leftovers(Path(parent or tempfile.gettempdir()))
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent)).resolve()
    _held.append(_locked(folder))
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    _folders.append(folder)
    atexit.register(_remove_all)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _leave)
    return folder


def _locked(folder: Path) -> IO[str]:
    """The folder's lock, held; the file gets its name once it is locked, so that nobody ever finds it free."""
    if sys.platform == "win32":
        return (folder / LOCK).open("w", encoding="utf-8")
    draft = folder / f"{LOCK}.draft"
    file = draft.open("w", encoding="utf-8")
    fcntl.flock(file, fcntl.LOCK_EX)
    draft.rename(folder / LOCK)
    return file


def remove_leftovers(parent: Path) -> list[Path]:
    """Delete the folders of processes that are no more.

    Args:
        parent: where to look; only folders of ours with a lock that nobody holds are touched.

    Returns:
        The folders that were deleted.
    """
    gone = [lock.parent for lock in parent.glob(f"{PREFIX}*/{LOCK}") if not lock.is_symlink() and _free(lock)]
    for folder in gone:
        shutil.rmtree(folder, ignore_errors=True)
    return gone


def _free(lock: Path) -> bool:
    """Whether no living process holds this lock."""
    try:
        if sys.platform == "win32":  # a file that is open cannot be deleted there
            lock.unlink()
            return True
        with lock.open("r", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError:
        return False


def _remove_all() -> None:
    """Delete this process's folders; requests that are still being answered may write into them meanwhile."""
    for folder in _folders:
        for _ in range(TRIES):
            shutil.rmtree(folder, ignore_errors=True)
            if not folder.exists():
                break


def _leave(number: int, frame: FrameType | None) -> None:
    """End at once, so that no thread that still answers a request can bring the folder back."""
    _remove_all()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(128 + number)
