"""Where the photos of a batch come from: files, folders and ZIPs, listed first and read one at a time.

ZIP members are read within limits and never unpacked to disk, so their paths cannot lead anywhere (CWE-22, CWE-409).
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath, PurePosixPath

from dermomamba.errors import DataError, ImageError
from dermomamba.images import MAX_BYTES

LIMIT = 1000
MAX_RATIO = 200
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}


@dataclass(frozen=True)
class Item:
    """One photo to come.

    Attributes:
        number: its place, from 1.
        name: the file's own stem, made harmless; used only when the caller asks for names.
        read: gives the path or the bytes for `images.decode`.
    """

    number: int
    name: str
    read: Callable[[], Path | bytes]


def items(paths: Iterable[Path], limit: int = LIMIT) -> list[Item]:
    """List the photos in files, folders and ZIPs, without reading them.

    Args:
        paths: photos, ZIP files and folders, in order; what a folder or a ZIP holds follows in the order of its names.
        limit: largest number of photos.

    Returns:
        The photos; a file that is no photo is listed too, and refused when it is read.

    Raises:
        DataError: a ZIP is damaged, or there are more photos than the limit.
    """
    found: list[Item] = []
    for path in _spread(paths):
        if path.suffix.lower() == ".zip":
            for member in _members(path):
                found.append(Item(len(found) + 1, _harmless(member.filename), _reader(path, member)))
        else:
            found.append(Item(len(found) + 1, _harmless(path.name), partial(Path, path)))
        if len(found) > limit:
            raise DataError(f"This is more than {limit} photos. Split them into parts.")
    return found


def _spread(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(file for file in path.rglob("*") if _is_photo(file.relative_to(path)) and file.is_file())
        else:
            yield path


def _is_photo(path: PurePath) -> bool:
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts if part not in (".", ".."))
    return path.suffix.lower() in SUFFIXES and not hidden


def _members(path: Path) -> list[zipfile.ZipInfo]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
        raise DataError("The ZIP file is damaged or is no ZIP file. Pack it again and try once more.") from error
    photos = [member for member in members if _is_photo(PurePosixPath(member.filename))]
    return sorted(photos, key=lambda member: member.filename)


def _reader(path: Path, member: zipfile.ZipInfo) -> Callable[[], bytes]:
    def read() -> bytes:
        if member.flag_bits & 1:
            raise ImageError("This photo is locked with a password. Pack it without one.")
        if member.file_size > MAX_BYTES:
            raise ImageError(f"This photo is larger than {MAX_BYTES // 1_000_000} MB.")
        if member.file_size > MAX_RATIO * max(member.compress_size, 1):
            raise ImageError("This photo is packed suspiciously tightly and was not opened.")
        try:
            with zipfile.ZipFile(path) as archive, archive.open(member) as content:
                return content.read(MAX_BYTES + 1)
        except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, zlib.error) as error:
            raise ImageError("This photo is damaged inside the ZIP file.") from error

    return read


def _harmless(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", PurePosixPath(name).stem).strip("-")[:60]
