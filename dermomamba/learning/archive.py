"""Reading a data set's files from a folder or a ZIP, with the hygiene that a ZIP from a stranger needs.

Nothing is ever unpacked to disk. A ZIP is refused as a whole when one of its names leads out of it, when it holds
links, other archives or locked files, or when its numbers (files, bytes, ratio of packing) exceed the limits:
the defences against "zip slip" and decompression bombs (CWE-22, CWE-59, CWE-409).
"""

from __future__ import annotations

import os
import stat
import threading
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from dermomamba.errors import DataError

_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".zst")
_JUNK = ("__macosx",)
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError, ValueError)


@dataclass(frozen=True)
class Limits:
    """What a data set may hold; the defaults admit the whole of ISIC 2018 Task 1 (about 11 GB).

    Attributes:
        members: files.
        total_bytes: all files, unpacked.
        member_bytes: one file, unpacked.
        ratio: unpacked over packed bytes of the whole archive, looked at beyond ``ratio_from`` bytes.
        ratio_from: archives that unpack to less than this are harmless at any ratio.
    """

    members: int = 60_000
    total_bytes: int = 32_000_000_000
    member_bytes: int = 30_000_000
    ratio: float = 100.0
    ratio_from: int = 5_000_000


class Store(Protocol):
    """Files by their names relative to the data set's root, with "/" between parts; a name may occur twice."""

    names: tuple[str, ...]

    def read(self, index: int) -> bytes:
        """The bytes of ``names[index]``; raises DataError when they cannot be had."""
        ...


def open_store(
    source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], limits: Limits | None = None
) -> Store:
    """A folder, a ZIP or a handful of files as a store of files.

    Args:
        source: path of a folder or of a ZIP file, or the paths of single files.
        limits: what it may hold; None for the defaults.

    Returns:
        The store; hidden files and the Finder's shadow files are left out.

    Raises:
        DataError: there is no such thing, it is neither folder nor ZIP, or it breaks a rule.
    """
    limits = limits or Limits()
    if not isinstance(source, str | os.PathLike):
        return FileStore([Path(file) for file in source], limits)
    path = Path(source)
    if path.is_dir():
        return FolderStore(path, limits)
    if not path.exists():
        raise DataError(f"There is no folder or ZIP '{path.name}'. Check the path and try again.")
    if not path.is_file() or not zipfile.is_zipfile(path):
        raise DataError(f"'{path.name}' is neither a folder nor a ZIP file. Give one of the two.")
    return ZipStore(path, limits)


class FolderStore:
    """The files below a folder; links to other folders are not followed."""

    def __init__(self, root: Path, limits: Limits) -> None:
        self.root, self._limits = root, limits
        names: list[str] = []
        for folder, subfolders, files in os.walk(root, followlinks=False):
            subfolders[:] = sorted(name for name in subfolders if not _is_junk(name))
            here = Path(folder).relative_to(root)
            names += [(here / name).as_posix() for name in files if not _is_junk(name)]
            if len(names) > limits.members:
                raise DataError(f"The folder holds more than {limits.members:,} files. Give the data set's own folder.")
        self.names = tuple(sorted(names))

    def read(self, index: int) -> bytes:
        """The bytes of one file; see Store."""
        return _read_file(self.root / self.names[index], self._limits)


class FileStore:
    """Single files, as somebody picks them in a dialog: known by their own names, whatever folders they lie in."""

    def __init__(self, paths: Sequence[Path], limits: Limits) -> None:
        self._paths, self._limits = sorted((p for p in paths if not _is_junk(p.name)), key=lambda p: p.name), limits
        self.names = tuple(path.name for path in self._paths)

    def read(self, index: int) -> bytes:
        """The bytes of one file; see Store."""
        return _read_file(self._paths[index], self._limits)


def _read_file(path: Path, limits: Limits) -> bytes:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise DataError("is not a file")
        if status.st_size > limits.member_bytes:
            raise DataError(f"is larger than {limits.member_bytes / 1e6:g} MB")
        return path.read_bytes()
    except OSError as error:
        raise DataError("cannot be opened") from error


class ZipStore:
    """The files inside a ZIP, read in place; several threads may read at once."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self._limits, self._lock = limits, threading.Lock()
        try:
            self._zip = zipfile.ZipFile(path)
            members = self._zip.infolist()
        except _ZIP_ERRORS as error:
            raise DataError("The ZIP file is damaged. Make it again and try once more.") from error
        try:
            _check_archive(members, limits)
        except DataError:
            self._zip.close()
            raise
        self._members = [m for m in members if not m.is_dir() and not _is_junk(m.filename)]
        self._members.sort(key=lambda member: member.filename)
        self.names = tuple(member.filename for member in self._members)

    def read(self, index: int) -> bytes:
        """The bytes of one member; see Store."""
        member = self._members[index]
        try:
            with self._lock, self._zip.open(member) as file:
                data = file.read(self._limits.member_bytes + 1)
        except _ZIP_ERRORS as error:
            raise DataError("is damaged inside the ZIP") from error
        if len(data) > self._limits.member_bytes:
            raise DataError(f"is larger than {self._limits.member_bytes / 1e6:g} MB")
        return data

    def close(self) -> None:
        """Close the file; a store that is dropped closes itself."""
        self._zip.close()


def _is_junk(name: str) -> bool:
    return any(part.startswith(".") or part.lower() in _JUNK for part in PurePosixPath(name).parts)


def _check_archive(members: list[zipfile.ZipInfo], limits: Limits) -> None:
    """Refuse an archive by its table of contents, before a byte of it is unpacked."""
    if len(members) > limits.members:
        raise DataError(
            f"The ZIP holds {len(members):,} files, more than {limits.members:,}. Make several smaller ones."
        )
    for member in members:
        # orig_filename is the name as stored; zipfile itself turns backslashes of other systems into slashes.
        name = member.orig_filename
        if name.startswith("/") or "\\" in name or ":" in name.split("/")[0] or "\0" in name or ".." in name.split("/"):
            raise DataError("A name inside the ZIP leads out of it. Make the ZIP from one plain folder.")
        kind = stat.S_IFMT(member.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise DataError("The ZIP holds links or special files. Put the pictures themselves into it.")
        if name.lower().endswith(_ARCHIVES):
            raise DataError("The ZIP holds another archive. Unpack that first and put its pictures into one ZIP.")
        if member.flag_bits & 0x1:
            raise DataError("The ZIP is locked with a password. Make it without one.")
        if member.file_size > limits.member_bytes:
            raise DataError(f"A file inside the ZIP is larger than {limits.member_bytes / 1e6:g} MB. Make it smaller.")
    total = sum(member.file_size for member in members)
    packed = sum(member.compress_size for member in members)
    if total > limits.total_bytes:
        raise DataError(f"The ZIP unpacks to more than {limits.total_bytes / 1e9:g} GB. Make several smaller ones.")
    if total > limits.ratio_from and total > limits.ratio * max(packed, 1):
        raise DataError("The ZIP unpacks to far more than its own size, as damaged or hostile files do. Make it again.")
