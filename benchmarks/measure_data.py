"""Photos with experts' outlines for the evidence of the measures: square pixels, valid numbers by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from dermomamba.learning.datasets import read_pairs
from dermomamba.measure import Measurements

Predict = Callable[[np.ndarray], np.ndarray]  # (H, W, 3) uint8 -> (H, W) float32 in [0, 1]


@dataclass(frozen=True)
class Case:
    """One photo with its expert's outline at square pixels: image (H, W, 3) uint8, truth (H, W) float32 in [0, 1]."""

    id: str
    image: np.ndarray
    truth: np.ndarray
    row: Mapping[str, str]


def cases(sources: Iterable[str], keep: set[str] | None, limit: int | None) -> Iterator[Case]:
    """Read photos evenly spread over each source, with any squeeze undone."""
    for source in sources:
        pairs = read_pairs(source, check=False)
        chosen = [pair for pair in pairs if keep is None or pair.id in keep]
        step = 1 if not limit else max(1, math.ceil(len(chosen) / limit))
        for pair in chosen[::step]:
            image, mask = pair.both()
            row = pairs.index.get(pair.id, {})
            yield Case(pair.id, *unsqueezed(image, mask, row.get("aspect")), row)


def unsqueezed(image: np.ndarray, mask: np.ndarray, aspect: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Photo and mask at width / height = aspect (as they are without one), the mask as float32 in [0, 1]."""
    truth = mask.astype(np.float32)
    if not aspect:
        return image, truth
    size = (round(image.shape[0] * float(aspect)), image.shape[0])
    resized = cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)
    return resized, np.clip(cv2.resize(truth, size, interpolation=cv2.INTER_LINEAR), 0, 1)


def numbers(records: Measurements) -> dict[str, float]:
    """Valid values by name."""
    return {name: float(r.value) for name, r in records.items() if r.valid and r.value is not None}
