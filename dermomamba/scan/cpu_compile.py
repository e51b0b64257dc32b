"""``compiled``: numba's ``njit`` for the kernels, with the machine code kept on disk between starts.

numba compares only a function's own file with what it kept, so the directory's name carries a hash of every kernel
file: a change in any of them compiles all of them anew. The directory is beside the code, or where
``NUMBA_CACHE_DIR`` says, or in the system's temporary directory when the code lies where nothing may be written;
where nothing at all may be written, each start compiles again.
"""

from __future__ import annotations

import functools
import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba import njit

HERE = Path(__file__).parent
config: Any = numba.config


def _writable(directory: Path) -> bool:
    """Whether files can be made in a directory of ours, which is made if it is missing."""
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError:
        return False
    owner = getattr(os, "getuid", lambda: None)()
    return owner is None or directory.stat().st_uid == owner  # never run machine code that another user left


@functools.cache
def cache_directory() -> Path | None:
    """Where compiled kernels are kept, or None when no directory can be written."""
    sources = b"".join(file.read_bytes() for file in sorted(HERE.glob("cpu_*.py")))
    name = f"dermomamba-{hashlib.sha256(sources).hexdigest()[:16]}"
    asked = [Path(config.CACHE_DIR)] if config.CACHE_DIR else []
    places = [*asked, HERE / "__pycache__", Path(tempfile.gettempdir()) / f"numba-{getattr(os, 'getuid', int)()}"]
    return next((place / name for place in places if _writable(place / name)), None)


def compiled(function: Callable) -> Callable:
    """Compile at the first call, without Python's lock, without checks of division."""
    directory, before = cache_directory(), config.CACHE_DIR
    config.CACHE_DIR = str(directory or "")  # read once, while the decorator runs
    try:
        return njit(nogil=True, cache=directory is not None, error_model="numpy")(function)
    finally:
        config.CACHE_DIR = before
