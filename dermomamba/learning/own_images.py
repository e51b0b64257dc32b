"""The images that somebody collects for a fine-tuning: checked one by one, named by number, kept in a private folder.

A photo is kept as pixels alone, at most 1024 px long, four times what the network sees: its name, tags and original
size stay behind. Photos are told apart by a hash of their pixels, so that one which comes twice is used once (research
notes, section 8). The names in the sentences about what was left out are for the person who sent them; none is kept.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from dermomamba.errors import DataError
from dermomamba.learning.archive import Limits
from dermomamba.learning.datasets import Pair, Pairs, read_pairs
from dermomamba.learning.finetune_data import MIN_PAIRS
from dermomamba.network.dermomamba import IMAGE_SIZE
from dermomamba.resample import to_network

SIDE, SMALL = 1024, 224
MOST = 500
LIMITS = Limits(members=2 * MOST + 50, total_bytes=4_000_000_000)


@dataclass(frozen=True, eq=False)
class OwnImage:
    """One usable pair.

    Attributes:
        number: place among all that were given, from 1; also its file name.
        small, small_mask: (h, w, 3) uint8 and (h, w) bool, at most 224 px long, for a thumbnail.
        digest: SHA-256 of the photo's pixels at the network's size.
    """

    number: int
    small: np.ndarray = field(repr=False)
    small_mask: np.ndarray = field(repr=False)
    digest: str


def shrink(photo: np.ndarray, mask: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Photo and mask with the longer side at most ``side`` px; smaller ones are left alone.

    Args:
        photo: (H, W, 3) uint8.
        mask: (H, W) bool.
        side: px.

    Returns:
        (h, w, 3) uint8 and (h, w) bool: averaged over areas, the mask then cut at one half.
    """
    factor = side / max(mask.shape)
    if factor >= 1:
        return photo, mask
    size = (max(1, round(mask.shape[1] * factor)), max(1, round(mask.shape[0] * factor)))
    soft = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    return cv2.resize(photo, size, interpolation=cv2.INTER_AREA), soft >= 0.5


class OwnImages:
    """The collection of one session.

    Args:
        folder: made if need be; everything in it belongs to the collection and goes with ``close``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.images: list[OwnImage] = []
        self._count = 0
        self._drawn: dict[str, str] = {}  # what was drawn on the page: hash of photo and mask, digest of the photo
        for name in ("images", "masks"):
            (folder / name).mkdir(parents=True, exist_ok=True)

    def __len__(self) -> int:
        return len(self.images)

    def add_files(self, paths: Sequence[Path], tick: Callable[[float], None] = lambda done: None) -> list[str]:
        """Check files and keep the usable pairs.

        Args:
            paths: ZIPs, and single photos and masks that are paired by name.
            tick: called with the share done.

        Returns:
            A sentence for each photo, mask or ZIP that was left out, beginning with its name.
        """
        loose = [path for path in paths if path.suffix.lower() != ".zip"]
        problems: list[str] = []
        found: list[Pair] = []
        sources: list[Path | list[Path]] = [path for path in paths if path.suffix.lower() == ".zip"]
        for source in [*sources, loose] if loose else sources:
            name = source.name if isinstance(source, Path) else ""
            try:
                pairs: Pairs = read_pairs(source, LIMITS)
            except DataError as problem:
                problems.append(f"{name}: {problem}" if name else str(problem))
                continue
            problems += pairs.problems
            found += pairs.pairs
        for done, pair in enumerate(found):
            tick(done / len(found))
            try:
                photo, mask = pair.both()
            except DataError as problem:
                problems.append(str(problem))
                continue
            reason = self.add(photo, mask)
            if reason:
                problems.append(f"{pair.id}: {reason}")
        return problems

    def add(self, photo: np.ndarray, mask: np.ndarray) -> str:
        """Keep one pair.

        Args:
            photo: (H, W, 3) uint8.
            mask: (H, W) bool.

        Returns:
            Why it was left out, "" when it was kept.
        """
        self._count += 1
        photo, mask = shrink(photo, mask, SIDE)
        if not mask.any():
            return "the mask is empty"
        if len(self.images) >= MOST:
            return f"there are {MOST} photos already, which is the most"
        digest = hashlib.sha256(to_network(photo, IMAGE_SIZE).tobytes()).hexdigest()
        twin = next((image.number for image in self.images if image.digest == digest), None)
        if twin is not None:
            return f"it shows the same photo as number {twin}"
        fast = [cv2.IMWRITE_PNG_COMPRESSION, 1]
        photo_file, mask_file = self._files(self._count)
        photo_file.write_bytes(cv2.imencode(".png", cv2.cvtColor(photo, cv2.COLOR_RGB2BGR), fast)[1].tobytes())
        mask_file.write_bytes(cv2.imencode(".png", mask.astype(np.uint8) * 255, fast)[1].tobytes())
        self.images.append(OwnImage(self._count, *shrink(photo, mask, SMALL), digest))
        return ""

    def remove(self, digest: str) -> None:
        """Take one pair out again; none is known by this hash when it has gone already."""
        for image in [image for image in self.images if image.digest == digest]:
            self.images.remove(image)
            for file in self._files(image.number):
                file.unlink(missing_ok=True)

    def _files(self, number: int) -> tuple[Path, Path]:
        return tuple(self.folder / kind / f"{number:04d}.png" for kind in ("images", "masks"))  # type: ignore[return-value]

    def keep_drawn(self, drawn: Sequence[tuple[np.ndarray, np.ndarray]]) -> list[str]:
        """Take over what was drawn on the page: new ones are added, those that are no longer given are removed.

        Args:
            drawn: all photos (H, W, 3) uint8 and masks (H, W) bool that are accepted now.

        Returns:
            A sentence for each that was left out.
        """
        given = {hashlib.sha256(photo.tobytes() + mask.tobytes()).hexdigest(): (photo, mask) for photo, mask in drawn}
        for key in self._drawn.keys() - given.keys():
            self.remove(self._drawn.pop(key))
        problems = []
        for place, (key, pair) in enumerate(given.items(), start=1):
            if key in self._drawn:
                continue
            reason = self.add(*pair)
            if reason:
                problems.append(f"Corrected photo {place}: {reason}")
            else:
                self._drawn[key] = self.images[-1].digest
        return problems

    def require(self) -> None:
        """Do nothing when there are enough pairs to fine-tune.

        Raises:
            DataError: how many more are needed.
        """
        missing = MIN_PAIRS - len(self.images)
        if missing > 0:
            raise DataError(
                f"Fine-tuning needs at least {MIN_PAIRS} different photos with an outline; {len(self.images)} can be "
                f"used. Add {missing} more."
            )

    def close(self) -> None:
        """Delete everything."""
        self.images.clear()
        shutil.rmtree(self.folder, ignore_errors=True)
