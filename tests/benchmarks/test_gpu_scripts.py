"""The shell scripts for a lent GPU: every command in them is one that the script it calls understands.

A stand-in for python3 writes down what it is called with, a file for each call, since two run at a time; each call is
then parsed by the real argument parser.
"""

from __future__ import annotations

import argparse
import importlib
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

STAND_IN = """#!/bin/bash
if [ "$1" = -c ]; then echo {gpus}; exit; fi
if [ "$1" = -m ]; then exit; fi
printf '%q ' "$@" >{calls}.$$
"""


class ParsedError(Exception):
    """The arguments were understood."""


@pytest.fixture
def calls(tmp_path: Path):
    """Runs a script with so many pretended GPUs; gives the words of every call of a Python script."""
    if shutil.which("bash") is None or shutil.which("timeout") is None:
        pytest.skip("needs bash and timeout")

    def run(script: str, gpus: int, *words: str) -> list[list[str]]:
        folder = tmp_path / str(gpus)
        folder.mkdir()
        program, noted = folder / "python3", folder / "calls"
        program.write_text(STAND_IN.format(gpus=gpus, calls=shlex.quote(str(noted))))
        program.chmod(0o755)
        environment = os.environ | {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
        subprocess.run(["bash", str(ROOT / "benchmarks" / script), *words], cwd=ROOT, env=environment, timeout=60)
        return [shlex.split(call.read_text()) for call in folder.glob("calls.*")]

    return run


def understood(call: list[str], monkeypatch: pytest.MonkeyPatch) -> argparse.Namespace:
    """Has the script's own parser read the words of a call; it goes no further."""
    program, *words = call
    assert (ROOT / program).is_file()
    found: list[argparse.Namespace] = []
    original = argparse.ArgumentParser.parse_args

    def parse(self, args=None, namespace=None):
        found.append(original(self, args, namespace))
        raise ParsedError

    module = importlib.import_module(Path(program).stem)
    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse)
    monkeypatch.setattr(sys, "argv", [program, *words])
    with pytest.raises(ParsedError):
        module.main(words) if module.main.__code__.co_argcount else module.main()
    monkeypatch.undo()
    return found[0]


@pytest.mark.parametrize("gpus", [1, 2])
def test_the_accuracy_call(calls, gpus: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = calls("gpu_accuracy.sh", gpus, ".carry", str(tmp_path))
    assert sorted(Path(call[0]).stem for call in made) == [
        "compare", "experiments", "experiments", "ph2_folds", "soup", "soup"
    ]  # fmt: skip
    read = {" ".join(call): understood(call, monkeypatch) for call in made}
    for call, options in read.items():
        assert Path(options.out).parent == tmp_path, call
        assert options.data == Path(".carry"), call
    known = importlib.import_module("compare").entries((192, 256))
    assert all(set(options.networks) <= known.keys() for options in read.values() if hasattr(options, "networks"))
    recipes = [options.recipes for options in read.values() if hasattr(options, "recipes")]
    assert sorted(recipes) == [["derm_member"], ["member"]]


def test_the_speed_call(calls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (call,) = calls("gpu_speed.sh", 1, str(source), str(tmp_path))
    assert understood(call, monkeypatch).out == tmp_path / "gpu.json"
