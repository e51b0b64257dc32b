"""The drawn examples beside the photo box, with the truth they were drawn from (`assets/examples`)."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from dermomamba.export import png
from dermomamba.images import decode
from dermomamba.render import fit
from dermomamba.ui import text

FOLDER = Path(__file__).resolve().parents[2] / "assets" / "examples"


@dataclass(frozen=True)
class Example:
    """One drawn lesion.

    Attributes:
        name: file stem.
        path: of the photo.
        entry: its entry in truth.json.
    """

    name: str
    path: Path
    entry: dict[str, Any]

    @property
    def label(self) -> str:
        """A word or two under its small picture."""
        return text.EXAMPLE_LABELS.get(self.name, self.name.replace("-", " "))

    @cached_property
    def mm_per_pixel(self) -> float | None:
        """The scale given with it; none where the ruler is there to be used."""
        return None if "ruler" in self.entry["features"] else self.entry["mm_per_pixel"]

    def photo(self) -> np.ndarray:
        """(H, W, 3) uint8 RGB."""
        return decode(self.path)

    def truth(self, mm_per_pixel: float | None) -> dict[str, float]:
        """True values by the name of the measure, in px or, with a scale, in mm."""
        unit = mm_per_pixel or 1.0
        true = {"area": self.entry["area_px"] * unit**2, "area_fraction": self.entry["area_fraction"]}
        if not self.entry["touches_frame"]:  # the border that the frame cuts off cannot be compared
            true["perimeter"] = self.entry["perimeter_px"] * unit
            true["border_irregularity"] = self.entry["compactness"]
        return true


def load_examples() -> tuple[Example, ...]:
    """The examples of `assets/examples` in the order of truth.json; none when the folder is not there."""
    source = FOLDER / "truth.json"
    if not source.is_file():
        return ()
    entries = json.loads(source.read_text(encoding="utf-8"))
    return tuple(Example(Path(entry["file"]).stem, FOLDER / entry["file"], entry) for entry in entries)


def thumbnails(examples: tuple[Example, ...]) -> list[str]:
    """Small pictures of the examples, as files in the private folder."""
    folder = Path(tempfile.mkdtemp(prefix="examples-", dir=os.environ.get("GRADIO_TEMP_DIR")))
    paths = []
    for example in examples:
        path = folder / f"{example.name}.png"
        path.write_bytes(png(fit(example.photo(), 192)))
        paths.append(str(path))
    return paths
