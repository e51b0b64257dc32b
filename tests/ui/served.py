"""Starts a page as a program of its own on a free port, waits until it answers, and ends it politely."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


@contextmanager
def served(program: Path, temp: Path, wait: float = 60.0) -> Iterator[str]:
    """Run a program that launches a page.

    Args:
        program: path of the Python file.
        temp: parent of the page's private folder.
        wait: how long it may take to answer, s.

    Yields:
        The page's address.
    """
    port = free_port()
    env = os.environ | {"GRADIO_SERVER_PORT": str(port), "GRADIO_TEMP_DIR": str(temp), "OMP_NUM_THREADS": "1"}
    env.pop("GRADIO_SERVER_NAME", None)
    log = temp.parent / f"page-{port}.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, str(program)], env=env, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for(url, process, log, wait)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(url: str, process: subprocess.Popen, log: Path, wait: float) -> None:
    end = time.monotonic() + wait
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        try:
            if httpx.get(url, timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)  # not yet listening; the loop, not this pause, decides
    raise AssertionError(f"the page did not answer:\n{log.read_text()}")
