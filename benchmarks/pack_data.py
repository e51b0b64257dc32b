"""Packs data for a machine that takes 64 MiB: sources at the network's size, as WebP and 16-grey PNG, in plain ZIPs.

    python benchmarks/pack_data.py ../shared/data --out .carry --limit-mib 45

writes ``isic2018_train.zip``, ``ham10000.zip``, ``ph2_half.zip`` and, with ``--crops N``, that many of
``isic2018_train_crops512.zip`` at 384 x 384, in the layout that every reader here knows (images/, masks/, index.csv),
and ``banks.npz`` with drawn hair and rulers. HAM10000 comes last and fills what is left: first the fixed validation
photos, then one photo a lesion, then further photos, in an order drawn with a fixed seed. The same data give the
same bytes.
"""

# ruff: noqa: E402  (the checkout is put on the path before it is imported)
from __future__ import annotations

import argparse
import csv
import io
import os
import sys
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from dermomamba.learning.datasets import Pair, Pairs
from dermomamba.learning.partition import read_ids
from dermomamba.learning.training_data import BANKS, drawings, find
from dermomamba.resample import to_network

SIZE, CROP = (192, 256), (384, 384)
COLUMNS = ("id", "lesion_id", "aspect", "agreement", "near_duplicate_of_test")
DATE = (2020, 1, 1, 0, 0, 0)
MEMBER = 330  # bytes that a ZIP adds for a pair: two headers, two entries in its table, a line of the index
Packed = tuple[str, bytes, bytes]


def packed(pair: Pair, size: tuple[int, int], quality: int) -> Packed:
    """One pair at a size: its id, the photo as WebP, the mask's share of each pixel as PNG of 16 greys."""
    image, mask = pair.both()
    share = to_network(mask.astype(np.uint8) * np.uint8(255), size)
    grey = ((share.astype(np.uint16) + 8) // 17 * 17).astype(np.uint8)  # 0, 17, ..., 255
    photo, outline = io.BytesIO(), io.BytesIO()
    Image.fromarray(to_network(image, size)).save(photo, "WEBP", quality=quality, method=4)
    palette = Image.fromarray(grey // 17, "P")
    palette.putpalette([level for i in range(16) for level in (17 * i,) * 3])
    palette.save(outline, "PNG", bits=4, optimize=True)
    return pair.id, photo.getvalue(), outline.getvalue()


def all_packed(pairs: Sequence[Pair], size: tuple[int, int], quality: int) -> Iterator[Packed]:
    """The same of many pairs, a few at a time, in their order."""
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for start in range(0, len(pairs), 64):
            yield from pool.map(lambda pair: packed(pair, size, quality), pairs[start : start + 64])


def write(path: Path, items: Iterable[Packed], index: dict[str, dict[str, str]], room: float) -> int:
    """Write items while there is room (bytes); returns how many were written."""
    part, count, taken = path.with_suffix(".part"), 0, 0
    text = io.StringIO(newline="")
    rows = csv.DictWriter(text, COLUMNS, extrasaction="ignore", restval="", lineterminator="\n")
    rows.writeheader()
    with zipfile.ZipFile(part, "w") as archive:

        def put(name: str, content: bytes) -> None:
            archive.writestr(zipfile.ZipInfo(name, DATE), content)

        for key, photo, outline in items:
            taken += len(photo) + len(outline) + MEMBER
            if taken > room:
                break
            put(f"images/{key}.webp", photo)
            put(f"masks/{key}.png", outline)
            rows.writerow(index.get(key, {}) | {"id": key})
            count += 1
        put("index.csv", text.getvalue().encode())
    os.replace(part, path)
    return count


def ham_order(pairs: Pairs, seed: int = 0) -> list[Pair]:
    """The fixed validation photos, then a photo of each other lesion, then the rest; validation lesions stay out."""
    chosen, banned = read_ids("ham10000_validation"), read_ids("ham10000_validation_lesions")
    drawn = [pairs.pairs[i] for i in np.random.default_rng(seed).permutation(len(pairs))]
    first: list[Pair] = []
    later: list[Pair] = []
    seen = set(banned)
    for pair in drawn:
        lesion = pairs.index[pair.id]["lesion_id"]
        if lesion not in banned and pair.id not in chosen:
            (later if lesion in seen else first).append(pair)
            seen.add(lesion)
    return [pair for pair in pairs if pair.id in chosen] + first + later


def left_out(pairs: Pairs, packed: int) -> list[str]:
    """Ids of one photo of each HAM10000 lesion of which a pack of so many photos holds none, and no list either."""
    order = ham_order(pairs)
    lesions = {pairs.index[pair.id]["lesion_id"] for pair in order[:packed]}
    found: dict[str, str] = {}
    for pair in order[packed:]:
        lesion = pairs.index[pair.id]["lesion_id"]
        if lesion not in lesions:
            found.setdefault(lesion, pair.id)
    return sorted(found.values())


def main(arguments: Sequence[str] | None = None) -> None:
    """Pack and say what was packed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of the full ZIPs")
    parser.add_argument("--out", type=Path, default=Path(".carry"))
    parser.add_argument("--limit-mib", type=float, default=45.0)
    parser.add_argument("--quality", type=int, default=85, help="of the WebP photos (default 85)")
    parser.add_argument("--ham-quality", type=int, help="of those of HAM10000 (default: the same)")
    parser.add_argument("--left-out", type=int, metavar="N", help="only print ids of what a pack of N leaves out")
    parser.add_argument("--crops", type=int, default=0, metavar="N", help="training pictures with 512 px crops")
    options = parser.parse_args(arguments)
    if options.left_out is not None:
        print("\n".join(left_out(find(options.data, "ham10000.zip"), options.left_out)))
        return
    options.out.mkdir(parents=True, exist_ok=True)
    banks = {kind: drawings(kind, SIZE, 64, seed=1).numpy() for kind in ("hair", "ruler")}
    np.savez_compressed(options.out / BANKS, **banks)
    left = options.limit_mib * 2**20 - (options.out / BANKS).stat().st_size
    jobs = [("isic2018_train.zip", SIZE, None), ("ph2_half.zip", SIZE, None)]
    if options.crops:
        jobs.append(("isic2018_train_crops512.zip", CROP, options.crops))
    jobs.append(("ham10000.zip", SIZE, None))
    for name, size, limit in jobs:
        pairs = find(options.data, name)
        chosen = ham_order(pairs) if name.startswith("ham") else list(pairs)
        if limit is not None:  # validation ids are never cropped from
            held = read_ids("isic2018_validation")
            free = [pair for pair in chosen if pair.id not in held]
            drawn = np.random.default_rng(0).permutation(len(free))[:limit]
            chosen = [free[i] for i in sorted(drawn)]
        path = options.out / name
        quality = (name.startswith("ham") and options.ham_quality) or options.quality
        count = write(path, all_packed(chosen, size, quality), pairs.index, left)
        left -= path.stat().st_size
        print(f"{name}: {count} of {len(pairs)} pairs, {path.stat().st_size / 2**20:.1f} MiB", flush=True)
        if count < len(chosen) and not name.startswith("ham"):
            raise SystemExit(f"{name} does not fit: raise --limit-mib or lower --quality.")
    print(f"left of {options.limit_mib:g} MiB: {left / 2**20:.2f} MiB")


if __name__ == "__main__":
    main()
