"""What the tests of experiments share: a data ZIP of phantoms, with two of the fixed validation ids."""

from __future__ import annotations

import zipfile
from pathlib import Path

import cv2
import numpy as np

from dermomamba.learning.partition import read_ids
from dermomamba.phantom import phantom, random_spec

VALIDATION = sorted(read_ids("isic2018_validation"))[:2]


def archive(path: Path, rows: list[dict[str, str]], frame: tuple[int, int] = (48, 64)) -> None:
    """A data ZIP of phantoms with these rows of the index."""
    rng = np.random.default_rng(len(rows))
    with zipfile.ZipFile(path, "w") as file:
        for row in rows:
            drawn = phantom(random_spec(rng, frame))
            png = cv2.imencode(".png", drawn.image[..., ::-1])[1].tobytes()
            file.writestr(f"images/{row['id']}.png", png)
            file.writestr(
                f"masks/{row['id']}.png", cv2.imencode(".png", drawn.mask.astype(np.uint8) * 255)[1].tobytes()
            )
        names = list(rows[0])
        lines = [",".join(names), *(",".join(row[name] for name in names) for row in rows)]
        file.writestr("index.csv", "\n".join(lines))
