"""The shell scripts for a lent GPU: every command in them is one that the script it calls understands.

A stand-in for python3 writes down what it is called with, a file for each call; each is then parsed by the real
argument parser.
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
if [ "$1" = -m ]; then exit; fi
printf '%q ' "$@" >{calls}.$$
"""


class ParsedError(Exception):
    """The arguments were understood."""


@pytest.fixture
def calls(tmp_path: Path):
    """Runs a script; gives the words of every call of a Python script."""
    if shutil.which("bash") is None or shutil.which("timeout") is None:
        pytest.skip("needs bash and timeout")

    def run(script: str, *words: str) -> list[list[str]]:
        folder = tmp_path / "path"
        folder.mkdir()
        program, noted = folder / "python3", folder / "calls"
        program.write_text(STAND_IN.format(calls=shlex.quote(str(noted))))
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


PARTS = {
    "members": ("experiments", ["member"]),
    "derm_members": ("experiments", ["derm_further", "derm_overlap"]),
    "folds": ("ph2_folds", None),
    "recipes": ("experiments", ["continued", "surface", "weighed", "certain", "published", "large_batch"]),
    "variation": ("experiments", ["crops", "member_light", "member_bare", "member"]),
    "taught": ("distil", None),
    "comparison": ("compare", None),
    "longer": ("compare", None),
}


@pytest.mark.parametrize("part", PARTS)
def test_the_accuracy_call(calls, part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (call,) = calls("gpu_accuracy.sh", ".carry", str(tmp_path), "wheels", part)
    program, recipes = PARTS[part]
    assert Path(call[0]).stem == program
    options = understood(call, monkeypatch)
    assert Path(options.out).parent == tmp_path
    assert options.data == Path(".carry")
    assert getattr(options, "recipes", None) == recipes
    if program == "compare":
        assert set(options.networks or ()) <= importlib.import_module("compare").entries((192, 256)).keys()
    pieces = list(tmp_path.glob(f"{part}.tar.*"))
    assert bool(pieces) == (program in ("experiments", "distil"))


def test_parts_of_the_accuracy_call_come_one_after_another(calls, tmp_path: Path) -> None:
    assert len(calls("gpu_accuracy.sh", ".carry", str(tmp_path), "wheels", "folds", "recipes")) == 2


def test_the_speed_call(calls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (call,) = calls("gpu_speed.sh", str(source), str(tmp_path))
    assert understood(call, monkeypatch).out == tmp_path / "gpu.json"
