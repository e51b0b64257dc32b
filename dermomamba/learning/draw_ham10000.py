"""Draws the fixed HAM10000 lists in ``splits/``; kept so that the draw can be repeated and checked.

``python -m dermomamba.learning.draw_ham10000 DATA`` writes 300 lesions that are never trained on, and the one photo of
each that is looked at.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from dermomamba.learning.datasets import Pairs, read_pairs
from dermomamba.learning.draw_validation import write

SEED, COUNT = 2018, 300
COMMAND = "# python -m dermomamba.learning.draw_ham10000 DATA"


def draw(parts: list[Pairs], count: int = COUNT, seed: int = SEED) -> dict[str, str]:
    """One photo for each of ``count`` lesions.

    Args:
        parts: HAM10000 with its index (lesion_id).
        count: lesions.
        seed: of numpy's default_rng.

    Returns:
        Lesion id to photo id, the first of the lesion's photos by name.
    """
    first: dict[str, str] = {}
    for key, lesion in sorted((pair.id, part.index[pair.id]["lesion_id"]) for part in parts for pair in part):
        first.setdefault(lesion, key)
    lesions = sorted(first)
    chosen = np.random.default_rng(seed).permutation(len(lesions))[:count]
    return {lesions[i]: first[lesions[i]] for i in sorted(chosen)}


def main(data: str) -> None:
    """Draw and write both lists."""
    parts = [read_pairs(Path(data) / f"ham10000_{part}of3.zip", check=False) for part in (1, 2, 3)]
    chosen = draw(parts)
    origin = [f"# drawn by numpy default_rng({SEED}) from the lesions of HAM10000 (Tschandl 2018):", COMMAND]
    write("ham10000_validation", [f"# One photo of each of {COUNT} lesions,", *origin, *sorted(chosen.values())])
    write("ham10000_validation_lesions", [f"# {COUNT} lesions never trained on,", *origin, *sorted(chosen)])


if __name__ == "__main__":
    main(sys.argv[1])
