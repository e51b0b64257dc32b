"""Fine-tunings of several people on one device: one learns at a time, the others wait and see their place.

Each learns in a process of its own (`finetune_worker`), so that a crash or too little memory ends that one alone. Jobs
belong to an owner (a session); when the owner leaves, its process is ended and its folder deleted.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

import dermomamba
from dermomamba import weights
from dermomamba.errors import DataError
from dermomamba.learning.finetune_compare import Comparison, Outlines
from dermomamba.learning.finetune_settings import FineTuneSettings, Progress
from dermomamba.learning.finetune_worker import OUTLINES, RESULT

LOG = logging.getLogger(__name__)
State = Literal["waiting", "learning", "done", "failed", "dropped"]
WORKER = (sys.executable, "-m", "dermomamba.learning.finetune_worker")
MOST_WAITING = 16
CRASHED = (
    "The learning broke off: the program that does it ended by itself. Your photos are still here. "
    "Try again; if it happens twice, use fewer photos or let only the decoder learn."
)
NO_MEMORY = (
    "The learning was ended because there was not enough memory. Use fewer photos, or let only the decoder learn."
)


@dataclass(eq=False)
class Job:
    """One fine-tuning; only the workshop writes to it.

    Attributes:
        owner: whose it is.
        folder: private, deleted with the job.
        settings: of the run.
        names: of the pairs' files, in the order in which the comparison counts them.
        state: "waiting", "learning", "done", "failed" or "dropped".
        progress: where it stands; ``preview`` there is always None.
        preview: (h, w) bool, the lesion of one held-out photo as it is drawn after the last epoch.
        previewed: which photo that is, as the comparison counts.
        comparison: before and after, once done.
        ended: why the learning ended ("epochs", "time", "stop", "diverged"), once done.
        kept_epoch: which epoch was kept, 0 for the base.
        sentence: what went wrong, when it failed.
        version: grows with every change.
        stopping: whether it was told to stop.
        finished: set when the job is over.
    """

    owner: str
    folder: Path
    settings: FineTuneSettings
    names: tuple[str, ...]
    state: State = "waiting"
    progress: Progress = field(default_factory=lambda: Progress("reading", 0.0))
    preview: np.ndarray | None = field(default=None, repr=False)
    previewed: int = 0
    comparison: Comparison | None = None
    ended: str = ""
    kept_epoch: int = 0
    sentence: str = ""
    version: int = 0
    stopping: bool = False
    finished: threading.Event = field(default_factory=threading.Event, repr=False)

    @property
    def over(self) -> bool:
        """Whether nothing will change any more."""
        return self.state in ("done", "failed", "dropped")

    def photo_file(self, number: int) -> Path:
        """The photo that the comparison calls by this number, from 1."""
        return self.folder / "pairs" / "images" / f"{self.names[number - 1]}.png"

    @property
    def weights_file(self) -> Path:
        """The new weights, once done; the card lies beside them."""
        return self.folder / f"{RESULT}.safetensors"


class Workshop:
    """The queue of one device.

    Args:
        device: torch device string that the jobs run on.
        root: where the jobs' folders are made; the system's temporary folder by default.
        worker: the command that does a job, its folder is added.
    """

    def __init__(self, device: str = "auto", root: Path | None = None, worker: Sequence[str] = WORKER) -> None:
        self._device, self._root, self._worker = device, root, tuple(worker)
        self._lock = threading.Lock()
        self._jobs: list[Job] = []
        self._busy = False
        self._process: subprocess.Popen[str] | None = None

    def submit(self, owner: str, pairs: Path, base: weights.Weights, settings: FineTuneSettings) -> Job:
        """Queue a fine-tuning; a job that the owner had before is dropped.

        Args:
            owner: whose it is.
            pairs: folder with ``images/`` and ``masks/``; what lies in it now is used, later changes are not.
            base: weights to begin with.
            settings: of the run.

        Raises:
            DataError: too many are waiting.
        """
        self.drop(owner)
        if sum(not job.over for job in self._jobs) >= MOST_WAITING:
            raise DataError(f"{MOST_WAITING} fine-tunings are waiting already. Try again later.")
        folder = Path(tempfile.mkdtemp(prefix="finetune-", dir=self._root))
        shutil.copytree(pairs, folder / "pairs", copy_function=_link)
        weights.save(folder / "base.safetensors", base.state_dict, base.card)
        request = {"base": base.name, "base_sha256": base.sha256, "device": self._device, "settings": asdict(settings)}
        (folder / "job.json").write_text(json.dumps(request), encoding="utf-8")
        names = tuple(sorted(file.stem for file in (folder / "pairs" / "images").iterdir()))
        job = Job(owner, folder, settings, names)
        with self._lock:
            self._jobs.append(job)
            if not self._busy:
                self._busy = True
                threading.Thread(target=self._go_through, name="workshop", daemon=True).start()
        return job

    def place(self, job: Job) -> int:
        """How many fine-tunings come before this one; 0 when it is its turn or over."""
        with self._lock:
            before = [other for other in self._jobs if not other.over]
            return before.index(job) if job in before else 0

    def job(self, owner: str) -> Job | None:
        """The owner's job, if there is one."""
        with self._lock:
            return next((job for job in self._jobs if job.owner == owner), None)

    def stop(self, job: Job) -> None:
        """End the learning and keep the best so far; one that still waits is dropped."""
        with self._lock:
            if job.state == "learning" and self._process is not None and not job.stopping:
                job.stopping = True
                job.version += 1
                self._tell("stop\n")
                return
        if job.state == "waiting":
            self.drop(job.owner)

    def drop(self, owner: str) -> None:
        """End what an owner has, and delete it."""
        with self._lock:
            mine = [job for job in self._jobs if job.owner == owner]
            self._jobs = [job for job in self._jobs if job.owner != owner]
            for job in mine:
                if job.state == "learning" and self._process is not None:
                    self._process.kill()
                job.state = "dropped"
                job.version += 1
                job.finished.set()
        for job in mine:
            shutil.rmtree(job.folder, ignore_errors=True)

    def close(self) -> None:
        """Drop everything."""
        for owner in {job.owner for job in list(self._jobs)}:
            self.drop(owner)

    def _tell(self, line: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line)
            self._process.stdin.flush()
        except OSError:
            LOG.debug("the worker had ended before it could be told to stop")

    def _go_through(self) -> None:
        """Do the waiting jobs one by one; the thread ends with the last."""
        while True:
            with self._lock:
                job = next((job for job in self._jobs if job.state == "waiting"), None)
                if job is None:
                    self._busy = False
                    return
                job.state, job.version = "learning", job.version + 1
            try:
                self._do(job)
            except Exception:  # a fault of ours: said on the page, and in the log with its traceback
                LOG.exception("a fine-tuning failed")
                self._end(job, "failed", sentence=CRASHED)

    def _do(self, job: Job) -> None:
        package = str(Path(dermomamba.__file__).resolve().parent.parent)
        env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))}
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "encoding": "utf-8"}
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as complaints:
            command = [*self._worker, str(job.folder)]
            with subprocess.Popen(command, stderr=complaints, env=env, **pipes) as process:
                with self._lock:
                    self._process = process
                    if job.state == "dropped":
                        process.kill()
                assert process.stdout is not None
                for line in process.stdout:
                    if line.startswith("{"):
                        self._hear(job, json.loads(line))
                assert process.stdin is not None
                process.stdin.close()
            with self._lock:
                self._process = None
            if not job.over:
                complaints.seek(0)
                LOG.error("a fine-tuning ended with code %s:\n%s", process.returncode, complaints.read()[-4000:])
                self._end(job, "failed", sentence=NO_MEMORY if process.returncode == -9 else CRASHED)

    def _hear(self, job: Job, event: dict[str, Any]) -> None:
        if event["event"] == "error":
            self._end(job, "failed", sentence=event["sentence"])
        elif event["event"] == "done":
            outlines = tuple(_outlines(job.folder / OUTLINES))
            scores = {name: tuple(values) for name, values in event["comparison"].items()}
            progress = Progress("comparing", 1.0, 0.0, tuple(event["rows"]))
            found = {"comparison": Comparison(**scores, outlines=outlines), "ended": event["ended"]}
            self._end(job, "done", progress=progress, kept_epoch=event["kept_epoch"], **found)
        else:
            with self._lock:
                rows = tuple(event["rows"])
                job.progress = Progress(event["stage"], event["done"], event["seconds_left"], rows)
                if "preview" in event:
                    packed = np.frombuffer(base64.b64decode(event["preview"]), np.uint8)
                    job.previewed = event["previewed"]
                    job.preview = np.asarray(cv2.imdecode(packed, cv2.IMREAD_GRAYSCALE)) > 0
                job.version += 1

    def _end(self, job: Job, state: State, **found: Any) -> None:
        """Close a job; what is no longer needed is deleted first."""
        for name in ("base.safetensors", "base.json", OUTLINES):
            (job.folder / name).unlink(missing_ok=True)
        if state == "failed":
            shutil.rmtree(job.folder, ignore_errors=True)
        with self._lock:
            if job.over:
                return
            for name, value in found.items():
                setattr(job, name, value)
            job.state, job.version = state, job.version + 1
            job.finished.set()


def _outlines(path: Path) -> list[Outlines]:
    with np.load(path, allow_pickle=False) as stored:
        count = len(stored.files) // 3
        return [Outlines(stored[f"{i}-before"], stored[f"{i}-after"], stored[f"{i}-truth"]) for i in range(count)]


def _link(source: str, target: str) -> None:
    """A second name for the same bytes where the file system can, otherwise a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
