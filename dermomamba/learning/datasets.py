"""Photos with their lesion masks, read by name from a folder or a ZIP; what does not fit is listed, not fatal.

Layouts are in ``pairing``, what a ZIP may hold in ``archive``. Masks are read as they come: {0, 1}, {0, 255},
1-bit, 16-bit, palette, RGB or RGBA, or soft; a pixel belongs to the lesion from 128 of 255 upwards, and a
transparent pixel does not. A mask must have exactly its photo's size: a mask of another size is a problem, never
resized in silence. Which of the pairs train and which are kept apart is said in ``partition``.
"""

from __future__ import annotations

import csv
import io
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from dermomamba.errors import DataError, ImageError
from dermomamba.images import FORMATS, MAX_PIXELS, decode
from dermomamba.learning.archive import Limits, Store, open_store
from dermomamba.learning.pairing import LAYOUTS, Match, match
from dermomamba.resample import to_network

MASK_THRESHOLD = 128
_MAX_INDEX_BYTES = 20_000_000
_LISTED = 50


@dataclass(frozen=True)
class Pair:
    """One photo and its mask, read when asked for.

    Attributes:
        id: the photo's name without folder and extension.
        read_image, read_mask: return the bytes of the files.
    """

    id: str
    read_image: Callable[[], bytes] = field(repr=False, compare=False)
    read_mask: Callable[[], bytes] = field(repr=False, compare=False)

    def image(self) -> np.ndarray:
        """The photo, (H, W, 3) uint8 RGB; raises DataError or ImageError."""
        return decode(self.read_image())

    def mask(self) -> np.ndarray:
        """The lesion, (H, W) bool; raises DataError or ImageError."""
        return decode_mask(self.read_mask()) >= MASK_THRESHOLD

    def both(self, empty: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Photo (H, W, 3) uint8 and mask (H, W) bool of the same size.

        Args:
            empty: let a mask without a lesion pass, as ISIC's scoring does.

        Raises:
            DataError: one of them is unreadable, the mask is empty, or the sizes differ; the message names the pair.
        """
        try:
            image, mask = self.image(), self.mask()
        except (DataError, ImageError) as error:
            raise DataError(f"{self.id}: {error}") from error
        problem = _unfit(image.shape[:2], mask, empty)
        if problem:
            raise DataError(f"{self.id}: {problem}")
        return image, mask


@dataclass(frozen=True)
class Pairs:
    """The usable pairs of a data set and what is wrong with the others.

    Attributes:
        pairs: sorted by id.
        problems: one line for each photo or mask left out, beginning with its name.
        index: rows of ``index.csv`` by id, where there is one.
        name: of the folder or ZIP.
    """

    pairs: tuple[Pair, ...]
    problems: tuple[str, ...] = ()
    index: dict[str, dict[str, str]] = field(default_factory=dict)
    name: str = "data set"

    def __len__(self) -> int:
        return len(self.pairs)

    def __iter__(self) -> Iterator[Pair]:
        return iter(self.pairs)

    def report(self) -> str:
        """All problems in one message, at most 50 by name; empty when there are none."""
        if not self.problems:
            return ""
        lines = [f"{self.name}: {len(self.pairs)} pairs are usable, {len(self.problems)} were left out:"]
        lines += [f"  {problem}" for problem in self.problems[:_LISTED]]
        if len(self.problems) > _LISTED:
            lines.append(f"  and {len(self.problems) - _LISTED} more")
        return "\n".join(lines)

    def raise_if_empty(self) -> Pairs:
        """These pairs, or DataError with every problem when not one is usable."""
        if self.pairs:
            return self
        raise DataError(f"{self.name} holds no pair of photo and mask. Use {LAYOUTS}.\n{self.report()}".rstrip())


def read_pairs(
    source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    limits: Limits | None = None,
    check: bool = True,
    workers: int = 4,
) -> Pairs:
    """Find the pairs of a folder, a ZIP or a handful of files.

    Args:
        source: path of a folder or ZIP in one of the layouts of ``pairing``, or the paths of single files, which are
            paired by name (``x.jpg`` with ``x_segmentation.png``).
        limits: what a ZIP may hold; None for the defaults.
        check: open every pair (the photo's header, the whole mask) and leave out those that are unreadable, have
            no lesion or differ in size; False looks at the names alone.
        workers: threads that check.

    Returns:
        The pairs, sorted by id; the photos themselves are decoded later, when asked for.

    Raises:
        DataError: the source as a whole is missing, refused or holds no pictures. Single bad pairs are in
            ``Pairs.problems`` instead.
    """
    store = open_store(source, limits)
    matches, problems = match(store.names)
    name = Path(source).name if isinstance(source, str | os.PathLike) else "These files"
    if not matches and not problems:
        raise DataError(f"{name} holds no pictures in a layout that is known. Use {LAYOUTS}.")
    pairs = [_pair(store, m) for m in matches]
    if check:
        with ThreadPoolExecutor(max(1, workers)) as pool:
            found = list(pool.map(_problem, pairs))
        problems += [f"{pair.id}: {problem}" for pair, problem in zip(pairs, found, strict=True) if problem]
        pairs = [pair for pair, problem in zip(pairs, found, strict=True) if not problem]
    index, complaint = _read_index(store)
    return Pairs(tuple(pairs), tuple(sorted(problems) + complaint), index, name)


def _pair(store: Store, found: Match) -> Pair:
    return Pair(found.id, lambda: store.read(found.image), lambda: store.read(found.mask))


def _problem(pair: Pair) -> str:
    """What is wrong with a pair, from the photo's header and the whole mask; empty when nothing is."""
    try:
        size = _upright_size(pair.read_image())
    except (DataError, ImageError) as error:
        return f"the photo cannot be used: {error}"
    try:
        mask = pair.mask()
    except (DataError, ImageError) as error:
        return f"the mask cannot be used: {error}"
    return _unfit(size, mask)


def _unfit(size: tuple[int, ...], mask: np.ndarray, empty: bool = False) -> str:
    if mask.shape != size:
        return f"the mask is {mask.shape[1]} x {mask.shape[0]} pixels, the photo {size[1]} x {size[0]}"
    return "" if empty or mask.any() else "the mask is empty"


def _upright_size(data: bytes) -> tuple[int, int]:
    """(H, W) of a photo from its header, after EXIF orientation (0x0112: 5 to 8 turn it by a quarter)."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            width, height = picture.size
            turned = picture.getexif().get(0x0112, 1) in (5, 6, 7, 8)
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise ImageError("it is not a picture that can be read") from error
    return (width, height) if turned else (height, width)


def decode_mask(data: bytes) -> np.ndarray:
    """A mask file as grey values from 0 (skin) to 255 (lesion).

    Args:
        data: PNG, JPEG, BMP, TIFF or WebP; values {0, 1} and {0, 255}, one bit, 16 bits, a palette, RGB, RGBA or
            soft values. Of several channels the largest counts, so that an outline in any colour is seen.

    Returns:
        (H, W) uint8.

    Raises:
        ImageError: the file is not one readable picture within the limits.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise ImageError(f"it has more than {MAX_PIXELS / 1e6:g} megapixels")
            if picture.has_transparency_data:
                black = Image.new("RGBA", picture.size, (0, 0, 0, 255))
                values = decode(Image.alpha_composite(black, picture.convert("RGBA")).convert("RGB"))
            elif picture.mode == "I" or picture.mode.startswith("I;16"):
                deep = np.asarray(picture)
                # 0 and 1, or 0 and 255, stored in 16 bits, would vanish when scaled by 65535.
                values = deep * 255 if deep.max() <= 1 else deep if deep.max() <= 255 else deep // 257
                values = values.clip(0, 255).astype(np.uint8)
            else:
                values = decode(data)
    except ImageError:
        raise
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise ImageError("it is not a picture that can be read") from error
    grey = values if values.ndim == 2 else np.maximum(np.maximum(values[..., 0], values[..., 1]), values[..., 2])
    return grey * np.uint8(255) if grey.max() == 1 else grey


def _read_index(store: Store) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Rows of the topmost ``index.csv`` by id, and a complaint when it cannot be used."""
    places = [i for i, name in enumerate(store.names) if PurePosixPath(name).name.lower() == "index.csv"]
    if not places:
        return {}, []
    try:
        text = store.read(min(places, key=lambda i: store.names[i].count("/")))[:_MAX_INDEX_BYTES].decode("utf-8-sig")
        rows = list(csv.DictReader(io.StringIO(text)))
    except (DataError, UnicodeDecodeError, csv.Error) as error:
        return {}, [f"index.csv: it cannot be read and was not used ({error})"]
    if not rows or "id" not in rows[0]:
        return {}, ["index.csv: it has no column 'id' and was not used"]
    return {row["id"]: {str(k): v or "" for k, v in row.items() if k is not None} for row in rows}, []


def load_uint8(
    pairs: Sequence[Pair] | Pairs,
    size: tuple[int, int],
    workers: int = 4,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Decode all pairs and squeeze them to one size, as the network sees them.

    Args:
        pairs: what to load, in this order.
        size: (H, W).
        workers: threads.
        progress: called with (pairs done, pairs in all).

    Returns:
        images (n, H, W, 3) uint8 and masks (n, H, W) uint8: the share of each pixel that the lesion covers, times
        255 (area average; a mask that has this size already keeps its grey values). A pair that turns out
        unreadable is left out with one warning that names it.

    Raises:
        DataError: there are pairs and not one of them can be read.
    """
    items = tuple(pairs)
    images = np.empty((len(items), *size, 3), np.uint8)
    masks = np.empty((len(items), *size), np.uint8)

    def load(position: int) -> str:
        try:
            image, mask = items[position].both()
            grey = decode_mask(items[position].read_mask()) if mask.shape == size else mask.astype(np.uint8) * 255
        except DataError as error:
            return str(error)
        images[position] = to_network(image, size)
        masks[position] = to_network(grey.astype(np.uint8), size)
        return ""

    problems: dict[int, str] = {}
    with ThreadPoolExecutor(max(1, workers)) as pool:
        for position, problem in enumerate(pool.map(load, range(len(items)))):
            if problem:
                problems[position] = problem
            if progress is not None:
                progress(position + 1, len(items))
    if not problems:
        return images, masks
    message = f"{len(problems)} of {len(items)} pairs were left out:\n  " + "\n  ".join(problems.values())
    if len(problems) == len(items):
        raise DataError(message)
    warnings.warn(message, stacklevel=2)
    keep = [i for i in range(len(items)) if i not in problems]
    return images[keep], masks[keep]
