"""The private folder: gone after a polite end, and after a murder gone with the next start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dermomamba.ui.private_temp import LOCK, PREFIX, remove_leftovers

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import sys
from pathlib import Path
from dermomamba.ui.private_temp import make_private_temp
folder = make_private_temp()
(folder / "photo.png").write_bytes(b"pixels")
print(folder, flush=True)
sys.stdin.readline()
"""


def start(parent: Path) -> tuple[subprocess.Popen, Path]:
    """A process with a private folder, which lives until it gets a line or is killed."""
    env = os.environ | {"GRADIO_TEMP_DIR": str(parent)}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env, cwd=ROOT
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


@pytest.mark.skipif(sys.platform == "win32", reason="kills with a POSIX signal")
def test_what_a_killed_process_left_is_removed_by_the_next_and_the_living_keep_theirs(tmp_path: Path) -> None:
    killed, lost = start(tmp_path)
    living, kept = start(tmp_path)
    try:
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        assert (lost / "photo.png").is_file()
        third, fresh = start(tmp_path)
        assert not lost.exists()
        assert (kept / "photo.png").is_file()
        third.communicate("end\n")
        assert not fresh.exists()
    finally:
        living.communicate("end\n")
    assert not kept.exists()


def test_other_folders_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / f"{PREFIX}without-lock").mkdir()
    (tmp_path / "of-somebody-else").mkdir()
    (tmp_path / "of-somebody-else" / LOCK).write_text("")
    assert remove_leftovers(tmp_path) == []
    assert len(list(tmp_path.iterdir())) == 2
