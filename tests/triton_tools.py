"""What the tests of Triton kernels share: where they run, and, without a GPU, the interpreter and compiling for sm_90.

Triton's interpreter is chosen when triton is imported, so it must not reach other tests: without a CUDA device a file's
kernel tests (``runs``) skip, and one test (``not_here``) runs the file again in a process of its own.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
RUNNABLE = INTERPRETED or torch.cuda.is_available()
DEVICE = "cpu" if INTERPRETED or not torch.cuda.is_available() else "cuda"
runs = pytest.mark.skipif(not RUNNABLE, reason="no CUDA device; runs in test_under_the_interpreter")
not_here = pytest.mark.skipif(RUNNABLE, reason="the tests run here directly")
compiles = pytest.mark.skipif(INTERPRETED, reason="nothing is compiled under the interpreter")


def run_interpreted(file: str) -> None:
    """Run a test file in a process of its own under the interpreter; fails when a test of it does, or none runs."""
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", file, "-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist"]
    result = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-2000:]
    assert re.search(r"(\d+) passed", result.stdout)


def compiled_by(*command: str) -> list[dict]:
    """The kernels that a Python file, in a process of its own, compiled for sm_90 and printed as JSON."""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    environment["PYTHONPATH"] = os.pathsep.join(str(p) for p in (ROOT, ROOT / "tests"))
    result = subprocess.run(
        [sys.executable, *command], env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr[-4000:]
    return json.loads(result.stdout)


def _interpret_with_numpy_2_4() -> None:
    """Triton 3.6's interpreter takes int() of one-element arrays, which NumPy 2.4 refuses."""
    from triton.runtime import interpreter

    original = interpreter._patch_lang_tensor

    def patched(tensor, scope):
        original(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    interpreter._patch_lang_tensor = patched


if INTERPRETED:
    _interpret_with_numpy_2_4()
