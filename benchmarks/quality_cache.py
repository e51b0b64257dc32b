"""Predictions kept on disk for ``quality.py``: the four mirrorings of each photo, so that fits need no network.

A photo is one ``.npz``: probabilities (4, h, w) float16 (upright first; NaN where not yet computed), the photo at
the network's size, its own height and width, and the Dice of the upright outline with the expert's mask. The folder
belongs to one set of weights; a run that was cut off goes on.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from measure_certainty import dice

from dermomamba.learning.datasets import Pair, read_pairs
from dermomamba.learning.partition import read_ids
from dermomamba.postprocess import clean_mask
from dermomamba.predictor import Predictor
from dermomamba.resample import to_network, to_photo


@dataclass(frozen=True)
class Seen:
    """One photo and what the network said.

    Attributes:
        id: of the photo.
        variants: (4, h, w) float32 in [0, 1], upright first.
        photo: (h, w, 3) uint8, at the network's size.
        size: (H, W) of the photo itself.
        dice: of the outline (one pass, 0.5, largest region, holes filled) with the expert's mask.
    """

    id: str
    variants: np.ndarray
    photo: np.ndarray
    size: tuple[int, int]
    dice: float


def one_per_group(
    pairs: Iterable[Pair], groups: dict[str, str], count: int, without: Set[str] = frozenset(), seed: int = 0
) -> list[Pair]:
    """Photos of ``count`` lesions, one of each, drawn with the seed; then those of the lesions ``without`` go."""
    first: dict[str, Pair] = {}
    for pair in pairs:
        first.setdefault(groups.get(pair.id) or pair.id, pair)
    chosen = [first[name] for name in sorted(first)]
    order = np.random.default_rng(seed).permutation(len(chosen))[:count]
    return [chosen[i] for i in order if groups.get(chosen[i].id) not in without]


def sets(data: Path, ham: int) -> dict[str, list[Pair]]:
    """The photos that are looked at: ISIC validation, HAM10000 (one a lesion), the open half of PH2.

    Of the ``ham`` lesions that are drawn, those go that a calibration was fitted on.
    """
    validation = read_ids("isic2018_validation")
    isic = [pair for pair in read_pairs(data / "isic2018_train.zip", check=False) if pair.id in validation]
    parts = [read_pairs(data / f"ham10000_{part}of3.zip", check=False) for part in (1, 2, 3)]
    groups = {key: row.get("lesion_id", "") for part in parts for key, row in part.index.items()}
    fitted_on = read_ids("ham10000_validation_lesions")
    drawn = one_per_group([pair for part in parts for pair in part], groups, ham, fitted_on)
    return {"isic": isic, "ph2": list(read_pairs(data / "ph2_half.zip", check=False)), "ham": drawn}


def fill(folder: Path, pairs: Iterable[Pair], predictor: Predictor, passes: int) -> None:
    """Predict what is not in the folder yet; ``passes`` of the four mirrorings, the others stay NaN."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, pair in enumerate(pairs):
        path = folder / f"{pair.id}.npz"
        held = dict(np.load(path)) if path.is_file() else None
        if held is not None and not np.isnan(held["variants"][:passes]).any():
            continue
        image, truth = pair.both()
        found = [next(predictor.variants(image))] if passes == 1 else list(predictor.variants(image))[:passes]
        variants = np.full((4, *found[0].shape), np.nan, np.float16)
        variants[: len(found)] = found
        mask = clean_mask(to_photo(found[0], image.shape[:2])).mask
        content = {
            "variants": variants,
            "photo": to_network(image, found[0].shape),
            "size": np.array(image.shape[:2]),
            "dice": np.array(dice(mask, truth)),
        }
        with tempfile.NamedTemporaryFile(dir=folder, suffix=".part", delete=False) as draft:
            np.savez(draft, **content)
        os.replace(draft.name, path)
        if number % 50 == 0:
            print(f"{folder.name}: {number + 1}", flush=True)


def load(folder: Path) -> Iterator[Seen]:
    """The photos of a folder whose upright pass is done, in the order of their ids."""
    for path in sorted(folder.glob("*.npz")):
        held = np.load(path)
        height, width = held["size"]
        yield Seen(
            path.stem,
            held["variants"].astype(np.float32),
            held["photo"],
            (int(height), int(width)),
            float(held["dice"]),
        )
