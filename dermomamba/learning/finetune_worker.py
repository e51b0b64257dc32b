"""One fine-tuning in a process of its own: ``python -m dermomamba.learning.finetune_worker FOLDER``.

A process, not a thread: its memory is given back whole, a crash takes nothing else with it, and it runs at a lower
priority, so that other people's analyses come first. `workshop` starts it. It reads ``job.json``, ``base.safetensors``
and ``pairs/`` in the folder, says on standard output where it stands (a JSON object a line), and leaves
``fine-tuned.safetensors`` with its card and ``outlines.npz``. The line "stop" on standard input ends the learning and
keeps the best so far; the end of standard input means that nobody is waiting any more, and ends the process.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dermomamba import weights
from dermomamba.errors import DermoMambaError
from dermomamba.learning.datasets import read_pairs
from dermomamba.learning.finetune import fine_tune
from dermomamba.learning.finetune_settings import FineTuneSettings, Progress

NICENESS = 10
RESULT, OUTLINES = "fine-tuned", "outlines.npz"
SHOWN = 12
_SECONDS_BETWEEN = 0.25


def say(event: dict[str, Any]) -> None:
    """Write one line."""
    sys.stdout.write(json.dumps(event, allow_nan=False) + "\n")
    sys.stdout.flush()


def _listen(stop: threading.Event) -> None:
    for line in sys.stdin:
        if line.strip() == "stop":
            stop.set()
    os._exit(1)  # whoever started this has gone


class Reporter:
    """Turns progress into lines, a few a second at most; the end of an epoch is always said."""

    def __init__(self) -> None:
        self._last, self._stage, self._rows = 0.0, "", 0

    def __call__(self, progress: Progress) -> None:
        """Say where the run stands."""
        now = time.monotonic()
        news = progress.stage != self._stage or len(progress.rows) != self._rows or progress.preview is not None
        if not news and now - self._last < _SECONDS_BETWEEN:
            return
        self._last, self._stage, self._rows = now, progress.stage, len(progress.rows)
        event = {
            "event": "progress",
            "stage": progress.stage,
            "done": progress.done,
            "seconds_left": progress.seconds_left,
            "rows": list(progress.rows),
        }
        if progress.preview is not None:
            mask = (progress.preview >= 0.5).astype(np.uint8) * 255
            event["previewed"] = progress.previewed
            event["preview"] = base64.b64encode(cv2.imencode(".png", mask)[1].tobytes()).decode()
        say(event)


def work(folder: Path, stop: threading.Event) -> None:
    """Fine-tune as ``job.json`` says, and leave the result in the folder.

    Args:
        folder: of the job.
        stop: set to end early.

    Raises:
        DermoMambaError: why it cannot be done.
    """
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    base = replace(weights.load(folder / "base.safetensors"), name=job["base"], sha256=job["base_sha256"])
    pairs = read_pairs(folder / "pairs", check=False)
    settings = FineTuneSettings(**job["settings"])
    tuned = fine_tune(base, pairs, settings, job["device"], stop, Reporter(), name=RESULT, outlines=SHOWN)
    weights.save(folder / f"{RESULT}.safetensors", tuned.state_dict, tuned.card)
    c = tuned.comparison
    masks = {f"{i}-{kind}": getattr(o, kind) for i, o in enumerate(c.outlines) for kind in ("before", "after", "truth")}
    np.savez_compressed(folder / OUTLINES, **masks)
    scores = {"before": c.before, "after": c.after, "rehearsal_before": c.rehearsal_before}
    say(
        {
            "event": "done",
            "ended": tuned.ended,
            "kept_epoch": tuned.card["validation"]["epoch"],
            "rows": list(tuned.curve),
            "comparison": {"numbers": c.numbers, "rehearsal_after": c.rehearsal_after, **scores},
        }
    )


def main() -> int:
    """Run the job of the folder that is named on the command line; returns 0 when it was done."""
    stop = threading.Event()
    threading.Thread(target=_listen, args=(stop,), daemon=True).start()
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    try:
        work(Path(sys.argv[1]), stop)
    except DermoMambaError as error:
        say({"event": "error", "sentence": str(error)})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
