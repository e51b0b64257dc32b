"""Which pairs train and which are held out: fixed lists of ids in ``splits/``, and draws by groups.

The splits keep photos of one lesion, and near-duplicates of test photos, apart. How the lists were drawn is in
``draw_validation`` and ``draw_ham10000``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dermomamba.errors import DataError
from dermomamba.learning.datasets import Pair, Pairs

SPLITS = Path(__file__).parent / "splits"


def read_ids(name: str) -> frozenset[str]:
    """The ids of a text file, or of a list in ``splits/`` such as "isic2018_validation"; # begins a comment.

    Raises:
        DataError: there is no such list.
    """
    path = Path(name) if Path(name).is_file() else SPLITS / f"{name}.txt"
    if not path.is_file():
        raise DataError(f"There is no list of ids '{name}'. Give a text file or one of: {', '.join(split_names())}.")
    lines = path.read_text(encoding="utf-8").splitlines()
    return frozenset(line.strip() for line in lines if line.strip() and not line.startswith("#"))


def split_names() -> list[str]:
    """The lists of ids that are shipped."""
    return sorted(path.stem for path in SPLITS.glob("*.txt"))


def isic2018_split(pairs: Pairs) -> tuple[tuple[Pair, ...], tuple[Pair, ...]]:
    """ISIC 2018 Task 1 for training and validation, with nothing of the paper's test part.

    Left out of both: the 520 test ids of the paper's split (present when the whole of ISIC is given), the training
    photos that are near-duplicates of one of them, and those that ``index.csv`` marks so.

    Args:
        pairs: of the training part or of all of ISIC 2018 Task 1.

    Returns:
        Training pairs, and the validation pairs of ``splits/isic2018_validation.txt``.

    Raises:
        DataError: nothing is left to train on, or no validation photo is among the pairs.
    """
    chosen = read_ids("isic2018_validation")
    train = isic2018_train(pairs)
    banned = _isic2018_banned(pairs)
    validation = tuple(pair for pair in pairs if pair.id in chosen and pair.id not in banned)
    if not train or not validation:
        raise DataError(f"{pairs.name} is not ISIC 2018 Task 1: too few of its names are in the fixed split.")
    return train, validation


def isic2018_train(pairs: Pairs) -> tuple[Pair, ...]:
    """The training pairs of ``isic2018_split``, also where no validation photo is among the pairs."""
    out = _isic2018_banned(pairs) | read_ids("isic2018_validation")
    return tuple(pair for pair in pairs if pair.id not in out)


def _isic2018_banned(pairs: Pairs) -> frozenset[str]:
    banned = read_ids("isic2018_test") | read_ids("isic2018_near_test")
    return banned | {key for key, row in pairs.index.items() if row.get("near_duplicate_of_test") == "1"}


def ham10000_train(pairs: Pairs) -> tuple[Pair, ...]:
    """HAM10000 without any photo of the lesions of ``splits/ham10000_validation_lesions.txt``.

    Args:
        pairs: HAM10000 or a part of it, with its index (``lesion_id``).

    Raises:
        DataError: the index has no lesion ids, so that photos of one lesion could not be kept apart.
    """
    banned, chosen = read_ids("ham10000_validation_lesions"), read_ids("ham10000_validation")
    if not all(pairs.index.get(pair.id, {}).get("lesion_id") for pair in pairs):
        raise DataError(f"{pairs.name} has no index.csv with a lesion_id for each photo of HAM10000.")
    return tuple(p for p in pairs if p.id not in chosen and pairs.index[p.id]["lesion_id"] not in banned)


def group_split(
    pairs: Pairs, key: str | None = "lesion_id", fraction: float = 0.1, seed: int = 0
) -> tuple[tuple[Pair, ...], tuple[Pair, ...]]:
    """Hold out a share of the groups, so that no group is on both sides.

    Args:
        pairs: with an index that has the column ``key``.
        key: column of ``index.csv``; rows without a value, and all pairs when it is None, are groups of one.
        fraction: of the groups to hold out, in (0, 1); at least one group stays on each side.
        seed: of the draw.

    Returns:
        Training pairs and held-out pairs, each in the order of ``pairs``.

    Raises:
        DataError: the index has no such column, the fraction is out of range, or there is only one group.
    """
    if not 0 < fraction < 1:
        raise DataError(f"The share to hold out must lie between 0 and 1, not {fraction:g}.")
    if key is not None and not any(key in row for row in pairs.index.values()):
        raise DataError(f"{pairs.name} has no index.csv with a column '{key}'. Split without it or add it.")
    group = {p.id: (pairs.index.get(p.id, {}).get(key, "") if key else "") or f"\0{p.id}" for p in pairs}
    groups = sorted(set(group.values()))
    if len(groups) < 2:
        raise DataError(f"{pairs.name} holds one lesion only and cannot be split. Add more photos.")
    count = min(max(1, round(fraction * len(groups))), len(groups) - 1)
    held = {groups[i] for i in np.random.default_rng(seed).permutation(len(groups))[:count]}
    train = tuple(pair for pair in pairs if group[pair.id] not in held)
    return train, tuple(pair for pair in pairs if group[pair.id] in held)
