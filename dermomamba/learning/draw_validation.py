"""Draws the fixed lists of ids in ``splits/``; kept so that the draw can be repeated and checked.

``python -m dermomamba.learning.draw_validation isic2018_train.zip isic2018_paper_split.json`` writes three files:
200 validation ids (never near-duplicates of anything, never a doubtful label, 50 from each quartile of the lesion's
share of the photo), the paper's 520 test ids, and the training ids that are near-duplicates of a test photo.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np

from dermomamba.learning.datasets import Pairs, read_pairs
from dermomamba.learning.partition import SPLITS

SEED = 2018
COUNT = 200
AGREEMENT = 0.9
COMMAND = "# python -m dermomamba.learning.draw_validation isic2018_train.zip isic2018_paper_split.json"


def draw(pairs: Pairs, near_duplicates: set[str], count: int = COUNT, seed: int = SEED) -> list[str]:
    """Validation ids, the same number from each quartile of the lesion's area fraction.

    Args:
        pairs: training part of ISIC 2018 Task 1 with its index (agreement, near_duplicate_of_test).
        near_duplicates: ids that have a near-duplicate anywhere.
        count: how many, a multiple of 4.
        seed: of numpy's default_rng.

    Returns:
        Sorted ids.
    """
    candidates = [
        pair
        for pair in pairs
        if pair.id not in near_duplicates
        and pairs.index[pair.id]["near_duplicate_of_test"] != "1"
        and float(pairs.index[pair.id]["agreement"]) >= AGREEMENT
    ]
    by_area = sorted(candidates, key=lambda pair: (float(pair.mask().mean()), pair.id))
    rng = np.random.default_rng(seed)
    ids = [
        quartile[i].id
        for quartile in np.array_split(np.array(by_area, dtype=object), 4)
        for i in rng.choice(len(quartile), count // 4, replace=False)
    ]
    return sorted(ids)


def write(name: str, lines: list[str]) -> None:
    """Write a list of ids with its comments, whole or not at all."""
    target = SPLITS / f"{name}.txt"
    temporary = target.with_suffix(".part")
    temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    os.replace(temporary, target)


def main(archive: str, paper_split: str) -> None:
    """Draw and write the three lists."""
    pairs = read_pairs(archive)
    split = json.loads(Path(paper_split).read_text(encoding="utf-8"))
    near = {name for couple in split["near_duplicates"] for name in couple}
    test, train = set(split["test"]), set(split["train"])
    marked = {key for key, row in pairs.index.items() if row["near_duplicate_of_test"] == "1"}
    beside_test = {a for x, y in split["near_duplicates"] for a, b in ((x, y), (y, x)) if b in test and a in train}
    write(
        "isic2018_validation",
        [
            f"# {COUNT} validation ids of ISIC 2018 Task 1, drawn from the training part of the paper's split by",
            COMMAND,
            f"# numpy default_rng({SEED}); {COUNT // 4} from each quartile of lesion area / photo area. Not drawn:",
            "# photos with a known near-duplicate (in the test part, in the training part, or elsewhere), and photos",
            f"# whose two mask copies agree by less than {AGREEMENT} (IoU). Written once; never draw it again.",
            *draw(pairs, near),
        ],
    )
    write(
        "isic2018_test",
        [
            "# The paper's 520 test ids of ISIC 2018 Task 1 (its repository: all 2594 ids sorted,",
            "# numpy RandomState(257).permutation, the first 520). Never trained or tuned on.",
            *sorted(test),
        ],
    )
    write(
        "isic2018_near_test",
        [
            "# Training ids of ISIC 2018 Task 1 that are near-duplicates of a test photo: left out of training so that",
            "# test figures are honest. From index.csv (near_duplicate_of_test) and isic2018_paper_split.json, by",
            COMMAND,
            *sorted(marked | beside_test),
        ],
    )


if __name__ == "__main__":
    main(*sys.argv[1:3])
