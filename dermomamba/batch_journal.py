"""The journal of a batch: which photos are done, so that a rerun after a kill goes on where it was.

One JSON line a photo in ``journal.jsonl``, written and synced after the photo's files are whole. A photo is known by
the SHA-256 of its pixels under the SHA-256 of the settings, never by a file name. A line that a kill has torn is
skipped on reading. Only keys and places in the file are held in memory; the lines are read again when needed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

NAME = "journal.jsonl"


def settings_key(settings: Mapping[str, Any]) -> str:
    """Digest of everything but the pixels that the results depend on."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def photo_key(pixels: np.ndarray, settings: str) -> str:
    """Digest of a photo's pixels (H, W, 3) uint8 and size, after that of the settings."""
    digest = hashlib.sha256(str(pixels.shape).encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return f"{settings}-{digest.hexdigest()}"


class Journal:
    """The journal in one folder.

    Args:
        folder: of the batch; the file is made with the first photo.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self._places: dict[str, int] = {}  # key -> where its line begins
        self._owners: dict[str, str] = {}  # case -> key of the photo whose files lie under that name
        if self.path.is_file():
            with self.path.open("rb") as file:
                place = 0
                for line in file:
                    self._take(line, place)
                    place += len(line)

    def _take(self, line: bytes, place: int) -> None:
        try:
            entry = json.loads(line)
            key, case = entry["key"], entry["case"]
        except (ValueError, KeyError, TypeError):  # torn by a kill
            return
        self._places.pop(self._owners.pop(case, ""), None)
        if key:
            self._places[key], self._owners[case] = place, key

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def entry(self, key: str) -> dict[str, Any]:
        """The line of a photo that is in the journal."""
        return next(self.entries([key]))

    def case(self, key: str) -> str | None:
        """The name that a photo already has, None for a new one."""
        return self.entry(key)["case"] if key in self else None

    def entries(self, keys: Iterable[str]) -> Iterator[dict[str, Any]]:
        """The lines of photos that are in the journal, read one after the other."""
        if not self._places:
            return
        with self.path.open("rb") as file:
            for key in keys:
                file.seek(self._places[key])
                yield json.loads(file.readline())

    def free_case(self, wanted: str, number: int, settings: str) -> str:
        """A name for a new photo that no other photo under these settings has; one under others gives its name up.

        Args:
            wanted: the name that it should have.
            number: of the photo, appended when the name is taken.
            settings: from `settings_key`.

        Returns:
            The name; what lies under it may be overwritten.
        """
        case, more = wanted, 1
        while (owner := self._owners.get(case)) is not None and owner.startswith(f"{settings}-"):
            case = f"{wanted}-{number:04d}" if more == 1 else f"{wanted}-{number:04d}-{more}"
            more += 1
        if owner is not None:
            self._append({"key": "", "case": case})
        return case

    def add(self, entry: dict[str, Any]) -> None:
        """Write that a photo is done: "key", "case" and whatever is to be kept."""
        self._append(entry)

    def _append(self, entry: dict[str, Any]) -> None:
        line = json.dumps(entry, ensure_ascii=False, allow_nan=False).encode() + b"\n"
        with self.path.open("ab+") as file:
            place = file.seek(0, os.SEEK_END)
            if place:
                file.seek(place - 1)
                if file.read(1) != b"\n":  # a torn line gets its end, so that this one stands alone
                    line = b"\n" + line
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        skip = line.startswith(b"\n")
        self._take(line[skip:], place + skip)
