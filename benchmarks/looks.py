"""Whether looking at a photo more than once, or cutting elsewhere than at 0.5, gives better outlines (validation data).

    python benchmarks/looks.py --data .carry --weights dermomamba-derm --out docs/looks.jsonl
    python benchmarks/looks.py --table docs/results.md --out docs/looks.jsonl

For each photo of the sets of ``experiments.py``, at the network's size, with the page's clean-up: the photo upright;
its mirrorings; a second look at the lesion alone, cut out with a margin around the first outline and enlarged to the
whole frame (what lies outside comes from the first look); a look from farther away, the photo continued by reflection;
means of these; other thresholds. Differences to the plain outline are means over photos with their standard error.
"""

# ruff: noqa: E402  (the package is replaced by an empty one before it is imported)
from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import bare
import cv2
import numpy as np
import torch

bare.prepare()

from experiment_table import between, rows_of
from experiments import append, judges, machine_of

from dermomamba import weights
from dermomamba.learning.training_data import Decoder
from dermomamba.network.inference import for_inference
from dermomamba.postprocess import clean_mask

Look = Callable[[np.ndarray], np.ndarray]
"""(h, w, 3) uint8 to probabilities (h, w) float32."""
Frame = tuple[float, float, float]
"""Centre y, centre x in pixels, and how many times as large as the photo: what a look sees."""

MARGINS = (0.25, 0.6)
FARTHER = 1.25
MEANS = {
    "upright": ("upright",),
    "two mirrorings": ("upright", "mirrored"),
    "and the lesion alone, margin 25 %": ("upright", "alone 0.25"),
    "and the lesion alone, margin 60 %": ("upright", "alone 0.6"),
    "and from farther away": ("upright", "farther"),
    "all of these": ("upright", "mirrored", "alone 0.25", "alone 0.6", "farther"),
}
THRESHOLDS = (0.4, 0.45, 0.55, 0.6)


def around(mask: np.ndarray, margin: float) -> Frame | None:
    """The frame of the photo's own proportions around an outline, None when there is none.

    Args:
        mask: (h, w) bool.
        margin: added on every side, as a share of the outline's extent.
    """
    rows, columns = np.nonzero(mask)
    if len(rows) == 0:
        return None
    middles = [(float(x.min()) + float(x.max())) / 2 for x in (rows, columns)]
    extents = [float(np.ptp(x)) + 1 for x in (rows, columns)]
    size = max(extent / side for extent, side in zip(extents, mask.shape, strict=True))
    return middles[0], middles[1], size * (1 + 2 * margin)


def _matrix(frame: Frame, shape: tuple[int, ...]) -> np.ndarray:
    """From pixels of a look to pixels of the photo, (2, 3)."""
    y, x, size = frame
    height, width = shape[:2]
    return np.array([[size, 0, x - size * (width - 1) / 2], [0, size, y - size * (height - 1) / 2]])


def seen(image: np.ndarray, frame: Frame) -> np.ndarray:
    """What lies in a frame, at the photo's size; outside the photo it is continued by reflection."""
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    size = (image.shape[1], image.shape[0])
    return cv2.warpAffine(image, _matrix(frame, image.shape), size, flags=flags, borderMode=cv2.BORDER_REFLECT_101)


def put_back(probability: np.ndarray, frame: Frame) -> np.ndarray:
    """Probabilities of a look where they belong in the photo; below 0 where the look saw nothing."""
    size = (probability.shape[1], probability.shape[0])
    matrix = _matrix(frame, probability.shape)
    return cv2.warpAffine(probability, matrix, size, flags=cv2.INTER_LINEAR, borderValue=-1.0)


def looks(image: np.ndarray, look: Look) -> dict[str, np.ndarray]:
    """Probabilities (h, w) of every look, put back upright; below 0 where a look saw nothing."""
    upright = look(image)
    middle = ((image.shape[0] - 1) / 2, (image.shape[1] - 1) / 2, FARTHER)
    frames = {f"alone {margin}": around(clean_mask(upright).mask, margin) for margin in MARGINS} | {"farther": middle}
    further = {name: put_back(look(seen(image, frame)), frame) for name, frame in frames.items() if frame}
    return {"upright": upright, "mirrored": look(image[:, ::-1])[:, ::-1], **further}


def mean(found: Sequence[np.ndarray]) -> np.ndarray:
    """The mean of those that saw a pixel."""
    stacked = np.stack(found)
    there = stacked >= 0
    return np.where(there, stacked, 0).sum(axis=0) / np.maximum(there.sum(axis=0), 1)


def iou(probability: np.ndarray, truth: np.ndarray, threshold: float = 0.5) -> float:
    """IoU of the cleaned outline; 1 where both are empty."""
    mask = clean_mask(probability, threshold).mask
    union = np.count_nonzero(mask | truth)
    return np.count_nonzero(mask & truth) / union if union else 1.0


def ways(found: dict[str, np.ndarray], truth: np.ndarray) -> dict[str, float]:
    """IoU of every mean of looks and of every threshold; what could not be looked at is left out of a mean."""
    scores = {name: iou(mean([found[key] for key in keys if key in found]), truth) for name, keys in MEANS.items()}
    return scores | {f"upright, cut at {cut}": iou(found["upright"], truth, cut) for cut in THRESHOLDS}


def compared(scores: Sequence[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Mean IoU of each way, its mean difference to the plain outline and the standard error of that difference."""
    plain = np.array([one["upright"] for one in scores])
    result = {}
    for name in scores[0]:
        values = np.array([one[name] for one in scores])
        error = (values - plain).std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else 0.0
        result[name] = {"iou": float(values.mean()), "difference": float((values - plain).mean()), "se": float(error)}
    return result


def run(name: str, data: Path, limit: int | None = None) -> dict[str, Any]:
    """All ways on all sets of photos that are there; returns the row."""
    loaded = weights.load(name)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = for_inference(loaded.network().requires_grad_(False).to(device))

    @torch.inference_mode()
    def look(image: np.ndarray) -> np.ndarray:
        x = torch.from_numpy(np.ascontiguousarray(image)).to(device).permute(2, 0, 1)[None].float() / 255
        return torch.sigmoid(network(x))[0, 0].cpu().numpy()

    row: dict[str, Any] = {"weights": loaded.name, "sha256": loaded.sha256, "machine": machine_of(device), "sets": {}}
    began = time.perf_counter()
    for group, (images, masks) in judges(Decoder(data, device), loaded.image_size).items():
        pairs = list(zip(images[:limit].cpu().numpy(), masks[:limit].cpu().numpy(), strict=True))
        found = compared([ways(looks(image, look), mask >= 128) for image, mask in pairs])
        row["sets"][group] = {"n": len(pairs), "ways": found}
        for way, score in found.items():
            print(
                f"{group}: {way}: IoU {score['iou']:.4f} ({score['difference']:+.4f} ± {score['se']:.4f})", flush=True
            )
    return row | {"seconds": round(time.perf_counter() - began, 1)}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown: a line for each way, a column for each set, per cent."""
    parts = []
    for row in rows:
        sets = row["sets"]
        head = " | ".join(f"{name}, {one['n']}" for name, one in sets.items())
        lines = [f"| `{row['weights']}`: IoU, difference ± standard error | {head} |", "|---" * (len(sets) + 1) + "|"]
        for way in next(iter(sets.values()))["ways"]:
            cells = [_cell(one["ways"][way], way) for one in sets.values()]
            lines.append(f"| {way} | {' | '.join(cells)} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _cell(score: dict[str, float], way: str) -> str:
    plain = f"{100 * score['iou']:.2f}"
    return plain if way == "upright" else f"{plain} ({100 * score['difference']:+.2f} ± {100 * score['se']:.2f})"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", nargs="+", default=["dermomamba-derm"], help="names or paths")
    parser.add_argument("--data", type=Path, default=Path(".carry"))
    parser.add_argument("--limit", type=int, help="so many photos of each set")
    parser.add_argument("--out", type=Path, default=Path("docs/looks.jsonl"))
    parser.add_argument("--table", type=Path, help="write the table into this Markdown file, run nothing")
    options = parser.parse_args(arguments)
    if options.table:
        between(options.table, "looks", table(rows_of(options.out)) or "None has been run yet.")
        return
    for name in options.weights:
        append(options.out, run(name, options.data, options.limit))


if __name__ == "__main__":
    main()
