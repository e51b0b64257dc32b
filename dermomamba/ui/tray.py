"""The photos that wait to be corrected, as the bytes that were uploaded; names are dropped, files are forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from dermomamba.correction import Drawn
from dermomamba.errors import ImageError
from dermomamba.images import decode
from dermomamba.ui import text_correct as words
from dermomamba.ui.parts import forget

MOST_PIXELS = 250_000_000
"""Pixels of all photos that a session may hold, waiting and accepted: about a gigabyte once decoded."""


@dataclass(frozen=True, eq=False)  # compared by identity: Gradio hashes what a session holds
class Tray:
    """Photos in the order in which they came.

    Attributes:
        waiting: (number, pixels, bytes of the file) of each that was not opened yet.
        total: photos that were taken or left out so far.
    """

    waiting: tuple[tuple[int, int, bytes], ...] = field(default=(), repr=False)
    total: int = 0

    def add(self, paths: Sequence[Path], held: int) -> tuple[Tray, list[str]]:
        """Read uploads and forget them.

        Args:
            paths: of the uploads.
            held: pixels that the session holds besides.

        Returns:
            The tray with the readable ones, and a sentence for each of the others.
        """
        waiting, total, bad = list(self.waiting), self.total, []
        held += sum(pixels for _, pixels, _ in waiting)
        for path in paths:
            total += 1
            try:
                height, width = decode(path).shape[:2]
                if held + height * width > MOST_PIXELS:
                    raise ImageError(words.TOO_MANY.format(most=MOST_PIXELS // 1_000_000))
                waiting.append((total, height * width, path.read_bytes()))
                held += height * width
            except ImageError as problem:
                bad.append(words.BAD.format(number=total, reason=problem))
            finally:
                forget(path)
        return replace(self, waiting=tuple(waiting), total=total), bad

    def next(self) -> tuple[Tray, np.ndarray]:
        """The tray without its first photo, and that photo's pixels (H, W, 3) uint8; call it while some wait."""
        return replace(self, waiting=self.waiting[1:]), decode(self.waiting[0][2])


def held(accepted: Sequence[Drawn], open_photo: np.ndarray | None) -> int:
    """Pixels of the accepted photos and the open one (H, W, 3)."""
    photos = [drawn.photo for drawn in accepted] + ([] if open_photo is None else [open_photo])
    return sum(photo.shape[0] * photo.shape[1] for photo in photos)
