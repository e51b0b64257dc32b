"""The queue of fine-tunings, with a stand-in for the worker: order, stopping, faults, isolation, and nothing left."""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from dermomamba import weights
from dermomamba.errors import DataError
from dermomamba.learning import workshop as workshop_module
from dermomamba.learning.finetune_settings import FineTuneSettings
from dermomamba.learning.workshop import CRASHED, NO_MEMORY, Job, Workshop

FAKE = (sys.executable, str(Path(__file__).with_name("fake_worker.py")))
FINISH, CRASH, SENTENCE, UNTIL_STOPPED, KILLED = 0.01, 0.02, 0.03, 0.04, 0.05


@pytest.fixture(scope="module")
def base() -> weights.Weights:
    return weights.untrained((32, 32))


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    for kind in ("images", "masks"):
        (tmp_path / "own" / kind).mkdir(parents=True)
        for number in (1, 2):
            (tmp_path / "own" / kind / f"{number:04d}.png").write_bytes(b"pixels")
    return tmp_path / "own"


@pytest.fixture
def workshop(tmp_path: Path) -> Iterator[Workshop]:
    (tmp_path / "jobs").mkdir()
    made = Workshop("cpu", tmp_path / "jobs", FAKE)
    yield made
    made.close()
    assert list((tmp_path / "jobs").iterdir()) == [], "nothing is left behind"


def until(true: Callable[[], bool]) -> None:
    """Waits for other threads and processes, at most a minute."""
    pause = threading.Event()
    for _ in range(6000):
        if true():
            return
        pause.wait(0.01)
    raise AssertionError("it did not happen within a minute")


def settings(play: float) -> FineTuneSettings:
    return FineTuneSettings(learning_rate=play)


def over(job: Job) -> Job:
    until(lambda: job.over)
    return job


def test_a_job_is_done_and_its_result_is_there(workshop: Workshop, pairs: Path, base: weights.Weights) -> None:
    job = over(workshop.submit("a", pairs, base, settings(FINISH)))
    assert (job.state, job.ended, job.kept_epoch) == ("done", "epochs", 1)
    assert job.comparison is not None
    assert job.comparison.after == (0.95,)
    assert job.comparison.outlines[0].truth.all()
    assert job.weights_file.read_bytes() == b"weights of 0.01"
    assert job.photo_file(2).name == "0002.png"
    assert not (job.folder / "base.safetensors").exists()


def test_one_learns_at_a_time_and_the_others_know_their_place(
    workshop: Workshop, pairs: Path, base: weights.Weights
) -> None:
    first = workshop.submit("a", pairs, base, settings(UNTIL_STOPPED))
    until(lambda: first.state == "learning" and first.progress.stage == "learning")
    second, third = (workshop.submit(owner, pairs, base, settings(FINISH)) for owner in "bc")
    assert [workshop.place(job) for job in (first, second, third)] == [0, 1, 2]
    assert second.state == third.state == "waiting"
    workshop.stop(second)  # one that waits is dropped
    assert second.state == "dropped"
    assert workshop.place(third) == 1
    workshop.stop(first)
    assert over(first).ended == "stop"
    assert over(third).state == "done"


@pytest.mark.parametrize(
    ("play", "sentence"), [(CRASH, CRASHED), (SENTENCE, "A sentence for the person."), (KILLED, NO_MEMORY)]
)
def test_a_fault_is_said_and_the_next_one_learns(
    workshop: Workshop, pairs: Path, base: weights.Weights, play: float, sentence: str
) -> None:
    job = over(workshop.submit("a", pairs, base, settings(play)))
    assert (job.state, job.sentence) == ("failed", sentence)
    assert not job.folder.exists()
    assert over(workshop.submit("b", pairs, base, settings(FINISH))).state == "done"


def test_who_leaves_takes_everything_along(workshop: Workshop, pairs: Path, base: weights.Weights) -> None:
    others = set(psutil.Process().children())  # of earlier tests in this process, such as a browser's driver
    other = over(workshop.submit("b", pairs, base, settings(FINISH)))
    job = workshop.submit("a", pairs, base, settings(UNTIL_STOPPED))
    until(lambda: job.progress.stage == "learning")
    (worker,) = set(psutil.Process().children()) - others
    workshop.drop("a")
    assert job.state == "dropped"
    assert not job.folder.exists()
    until(lambda: not worker.is_running())
    assert workshop.job("a") is None
    assert workshop.job("b") is other
    assert other.weights_file.is_file()


def test_a_worker_ends_when_nobody_waits_for_it(tmp_path: Path) -> None:
    """The real worker's listener: the end of standard input ends the process, whatever it does."""
    code = (
        "import threading, sys; from dermomamba.learning.finetune_worker import _listen;"
        "threading.Thread(target=_listen, args=(threading.Event(),), daemon=True).start();"
        "print('up', flush=True); threading.Event().wait()"
    )
    with psutil.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, cwd=Path(__file__).parents[2]) as process:
        assert process.stdout.readline() == b"up\n"
        process.stdin.close()
        assert process.wait(60) == 1


def test_images_that_change_later_do_not_change_a_job(workshop: Workshop, pairs: Path, base: weights.Weights) -> None:
    job = workshop.submit("a", pairs, base, settings(UNTIL_STOPPED))
    (pairs / "images" / "0001.png").unlink()
    assert job.names == ("0001", "0002")
    assert job.photo_file(1).read_bytes() == b"pixels"


def test_too_many_waiting_is_said(
    workshop: Workshop, pairs: Path, base: weights.Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workshop_module, "MOST_WAITING", 1)
    workshop.submit("a", pairs, base, settings(UNTIL_STOPPED))
    with pytest.raises(DataError, match="Try again later"):
        workshop.submit("b", pairs, base, settings(FINISH))


def test_starting_and_stopping_leaves_memory_and_threads_flat(
    workshop: Workshop, pairs: Path, base: weights.Weights
) -> None:
    def cycle() -> None:
        job = workshop.submit("a", pairs, base, settings(UNTIL_STOPPED))
        until(lambda: job.progress.stage == "learning")
        workshop.stop(job)
        over(job)
        workshop.drop("a")

    process = psutil.Process()
    others = set(process.children())
    for _ in range(3):
        cycle()
    gc.collect()
    before, threads, files = process.memory_info().rss, process.num_threads(), len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        cycle()
    gc.collect()
    until(lambda: process.num_threads() <= threads)
    assert len(os.listdir("/proc/self/fd")) <= files
    assert process.memory_info().rss - before < 30e6  # a copy of the base's weights is 20 MB
    assert set(process.children()) <= others
