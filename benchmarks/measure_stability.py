"""Stability of the measures under rescaling, rotation, JPEG compression and dilation, against their spread."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from measure_agreement import pyplot, save
from measure_data import Case, Predict, numbers

from dermomamba.measure import measure
from dermomamba.measure.catalogue import CATALOGUE


def disturbed(case: Case, predict: Predict) -> Iterator[tuple[str, float, np.ndarray, np.ndarray]]:
    """A photo's disturbances: name, size factor, probability, photo.

    The network sees every disturbed photo again except those turned by 15 and 45 degrees, whose corners have to be
    made up: there the map is turned, and it is the measures that are tested.
    """
    probability = predict(case.image)
    for factor in (0.5, 2.0, 4.0):
        image = _zoomed(case.image, factor)
        yield f"rescale x{factor:g}", factor, predict(image), image
    for name, image in (("turn 90, again", np.rot90(case.image)), ("mirror, again", case.image[:, ::-1])):
        image = np.ascontiguousarray(image)
        yield name, 1.0, predict(image), image
    for degrees in (15, 45):
        image, turned = _turned(case.image, degrees, cv2.BORDER_REFLECT), _turned(probability, degrees)
        yield f"rotate {degrees}", 1.0, np.clip(turned, 0, 1), image
    for quality in (90, 60, 30):
        _, code = cv2.imencode(".jpg", case.image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
        image = np.ascontiguousarray(cv2.imdecode(code, cv2.IMREAD_COLOR)[..., ::-1])
        yield f"JPEG {quality}", 1.0, predict(image), image
    yield "dilate 1 px", 1.0, cv2.dilate(probability, np.ones((3, 3), np.uint8)), case.image


def stability(chosen: Iterable[Case], predict: Predict) -> dict[str, Any]:
    """Noise of each measure under disturbance over its spread between lesions.

    Noise is the root mean square of the change, spread the standard deviation between lesions, both of the
    logarithm for lengths and areas. A ratio above 1 makes a measure unreliable.
    """
    base: list[dict[str, float]] = []
    changes: dict[str, dict[str, list[float]]] = {}
    for case in chosen:
        start = _comparable(numbers(measure(predict(case.image), image=case.image)), 1.0)
        base.append(start)
        for kind, factor, probability, image in disturbed(case, predict):
            then = _comparable(numbers(measure(probability, image=image)), factor)
            grown = {"area_fraction"} if kind.startswith("rotate") else set()  # turning makes the canvas larger
            for name in (start.keys() & then.keys()) - grown:
                changes.setdefault(name, {}).setdefault(kind, []).append(then[name] - start[name])
    table = {}
    for name in CATALOGUE:
        values = np.array([row[name] for row in base if name in row])
        if len(values) < 3 or name not in changes:
            continue
        by_kind = {kind: float(np.sqrt(np.mean(np.square(d)))) for kind, d in changes[name].items()}
        noise = float(np.sqrt(np.mean(np.square(np.concatenate([*map(np.asarray, changes[name].values())])))))
        spread = float(values.std(ddof=1))
        ratio = noise / spread if spread > 0 else math.inf
        table[name] = {"n": len(values), "spread": spread, "noise": noise, "ratio": ratio, "by_kind": by_kind}
    return table


def unreliable(table: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Measures with more noise than spread, with the sentence that the page shows."""
    said = "Unreliable: small changes of the photo move it by {:.1f} times its spread between lesions."
    return {name: said.format(row["ratio"]) for name, row in table.items() if row["ratio"] > 1}


def stability_plot(path: Path, table: Mapping[str, Mapping[str, Any]]) -> None:
    """Noise over spread of each measure, the least stable on top."""
    names = sorted(table, key=lambda name: table[name]["ratio"])
    figure, axes = pyplot().subplots(figsize=(8, 0.26 * len(names) + 1), layout="constrained")
    axes.barh([CATALOGUE[name].label for name in names], [table[name]["ratio"] for name in names], color="#0b6b88")
    axes.axvline(1, linestyle="--", color="#333333", linewidth=1)
    axes.tick_params(labelsize=8)
    axes.set_xlabel("noise under disturbance / spread between lesions")
    save(figure, path)


def _comparable(values: Mapping[str, float], factor: float) -> dict[str, float]:
    kinds = {"length": 1, "area": 2}
    return {
        name: math.log(value) - kinds[CATALOGUE[name].kind] * math.log(factor)
        if CATALOGUE[name].kind in kinds
        else value
        for name, value in values.items()
    }


def _zoomed(image: np.ndarray, factor: float) -> np.ndarray:
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return cv2.resize(image, None, fx=factor, fy=factor, interpolation=how)


def _turned(picture: np.ndarray, degrees: float, border: int = cv2.BORDER_CONSTANT) -> np.ndarray:
    """Turned about its middle on a canvas that holds all of it."""
    height, width = picture.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
    c, s = abs(matrix[0, 0]), abs(matrix[0, 1])
    size = (math.ceil(height * s + width * c), math.ceil(height * c + width * s))
    matrix[:, 2] += ((size[0] - width) / 2, (size[1] - height) / 2)
    return cv2.warpAffine(picture, matrix, size, flags=cv2.INTER_LINEAR, borderMode=border)
