"""A stand-in for `finetune_worker`: does as the learning rate of its job says, at the pace of the test's marker files.

Rates are the plays: 0.01 finish, 0.02 crash, 0.03 a sentence, 0.04 learn until told to stop, 0.05 as if the system had
killed it for its memory.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import numpy as np


def say(event: dict) -> None:
    print(json.dumps(event), flush=True)


def main() -> None:
    folder = Path(sys.argv[1])
    rate = json.loads((folder / "job.json").read_text())["settings"]["learning_rate"]
    row = {"epoch": 0, "train_loss": None, "val_dice": 0.9, "val_iou": 0.8}
    say({"event": "progress", "stage": "learning", "done": 0.5, "seconds_left": 1.0, "rows": [row]})
    print("a line of some library that is no JSON", flush=True)
    if rate == 0.02:
        sys.exit(3)
    if rate == 0.03:
        say({"event": "error", "sentence": "A sentence for the person."})
        sys.exit(1)
    if rate == 0.05:
        os.kill(os.getpid(), signal.SIGKILL)
    if rate == 0.04 and sys.stdin.readline().strip() != "stop":
        sys.exit(4)
    (folder / "fine-tuned.safetensors").write_bytes(b"weights of " + str(rate).encode())
    mask = np.ones((3, 4), bool)
    np.savez(folder / "outlines.npz", **{f"0-{kind}": mask for kind in ("before", "after", "truth")})
    scores = {"before": [0.9], "after": [0.95], "rehearsal_before": [0.8], "rehearsal_after": [0.8], "numbers": [2]}
    ended = "stop" if rate == 0.04 else "epochs"
    say({"event": "done", "ended": ended, "kept_epoch": 1, "rows": [row], "comparison": scores})


main()
