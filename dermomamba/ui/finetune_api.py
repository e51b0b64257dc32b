"""The /finetune endpoint: photos with masks in, new weights and the comparison out, in the same queue as the page's."""

from __future__ import annotations

import os
import tempfile
import uuid
from pathlib import Path
from typing import Any

from dermomamba.errors import DataError
from dermomamba.export import NOT_A_DEVICE
from dermomamba.ui.engine import Engine
from dermomamba.ui.finetune_session import Sessions
from dermomamba.ui.parts import forget

NAME = "dermomamba-fine-tuned.zip"


def whole(
    engine: Engine,
    sessions: Sessions,
    paths: list[str] | None,
    learns: str,
    epochs: float,
    minutes: float | None,
    held_out: float,
) -> tuple[tuple[str, bytes], dict[str, Any]]:
    """Fine-tune from the shipped weights and wait for it.

    Args:
        engine: the shared predictor.
        sessions: whose workshop does it.
        paths: uploads: ZIPs, or photos and masks.
        learns, epochs, minutes, held_out: see ``FineTuneSettings``.

    Returns:
        Name and bytes of a ZIP with weights and cards, and the comparison as plain values.

    Raises:
        DermoMambaError: too few usable pairs, or why the learning failed.
    """
    from dermomamba import weights_archive
    from dermomamba.learning.finetune_settings import FineTuneSettings
    from dermomamba.learning.own_images import OwnImages

    uploads = [Path(path) for path in paths or []]
    owner = f"program-{uuid.uuid4()}"
    images = OwnImages(Path(tempfile.mkdtemp(prefix="own-", dir=os.environ.get("GRADIO_TEMP_DIR"))))
    workshop = sessions.workshop
    try:
        settings = FineTuneSettings(learns, int(epochs), 60 * minutes if minutes else None, held_out=held_out)  # type: ignore[arg-type]
        problems = images.add_files(uploads)
        try:
            images.require()
        except DataError as problem:
            raise DataError("\n  ".join([str(problem), *problems])) from problem
        job = workshop.submit(owner, images.folder, engine.predictor().weights, settings)
        job.finished.wait()
        if job.comparison is None:
            raise DataError(job.sentence)
        numbers = job.comparison.to_dict() | {"kept_epoch": job.kept_epoch, "ended": job.ended, "left_out": problems}
        return (NAME, weights_archive.pack(job.weights_file)), {"notice": NOT_A_DEVICE, **numbers}
    finally:
        workshop.drop(owner)
        images.close()
        for upload in uploads:
            forget(upload)
