"""Is it better? Both sets of weights on the same held-out photos, and on phantoms to see what was forgotten.

Dice is taken per photo at its own size on the cleaned outline, as the page shows it, and averaged over photos; the
intervals are bootstrap intervals over photos (Efron and Tibshirani 1993).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from dermomamba.evaluation.metrics import counts, dice
from dermomamba.evaluation.statistics import Interval, PairedTest, bootstrap_interval, paired_test
from dermomamba.learning.datasets import Pair
from dermomamba.learning.finetune_data import Examples
from dermomamba.predictor import Predictor
from dermomamba.weights import Weights

ENOUGH = 5


@dataclass(frozen=True, eq=False)
class Outlines:
    """One held-out photo with three outlines, each (H, W) bool at the photo's own size.

    Attributes:
        before, after: of the two weights.
        truth: the person's own.
    """

    before: np.ndarray
    after: np.ndarray
    truth: np.ndarray


@dataclass(frozen=True)
class Comparison:
    """Dice before and after on the same photos.

    Attributes:
        numbers: the photos' places among those given, from 1.
        before, after: Dice of each photo.
        rehearsal_before, rehearsal_after: Dice of each phantom that was never learned from.
        outlines: of the first held-out photos, as many as were asked for.
    """

    numbers: tuple[int, ...]
    before: tuple[float, ...]
    after: tuple[float, ...]
    rehearsal_before: tuple[float, ...]
    rehearsal_after: tuple[float, ...]
    outlines: tuple[Outlines, ...] = field(default=(), repr=False, compare=False)

    @property
    def enough(self) -> bool:
        """Whether there are enough held-out photos to judge."""
        return len(self.before) >= ENOUGH

    def means(self) -> tuple[Interval, Interval]:
        """Mean Dice before and after, each with its bootstrap interval."""
        return bootstrap_interval(np.array(self.before)), bootstrap_interval(np.array(self.after))

    def change(self) -> PairedTest:
        """After minus before on the held-out photos."""
        return paired_test(np.array(self.before), np.array(self.after))

    def rehearsal_change(self) -> PairedTest:
        """After minus before on the phantoms."""
        return paired_test(np.array(self.rehearsal_before), np.array(self.rehearsal_after))

    def verdict(self) -> str:
        """One sentence that claims no more than the interval allows."""
        n, change = len(self.before), self.change()
        if not self.enough:
            photos = "photo is" if n == 1 else "photos are"
            return f"{n} held-out {photos} too few to judge whether it is better; hold out at least {ENOUGH}."
        span = f"{change.mean_difference:+.4f} (95% interval {change.low:+.4f} to {change.high:+.4f}, n = {n})"
        if change.low > 0:
            return f"Better on the held-out photos: mean Dice changed by {span}."
        if change.high < 0:
            return f"Worse on the held-out photos: mean Dice changed by {span}."
        return f"No clear change on the held-out photos: mean Dice changed by {span}."

    def to_dict(self) -> dict[str, Any]:
        """For the card; means and intervals with the values that they come from."""
        before, after = (asdict(mean) for mean in self.means())
        change = asdict(self.change())
        if not self.enough:  # what so few photos give would look surer than it is
            for found in (before, after, change):
                found |= dict.fromkeys(found.keys() & {"low", "high", "p_bootstrap", "p_wilcoxon"})
        return {
            "metric": "Dice per photo at its own size, largest region, holes filled, probability 0.5",
            "held_out": {
                "n": len(self.before),
                "before": before | {"values": list(self.before)},
                "after": after | {"values": list(self.after)},
                "change": change,
            },
            "rehearsal": {
                "n": len(self.rehearsal_before),
                "before": _mean(self.rehearsal_before),
                "after": _mean(self.rehearsal_after),
                "change": asdict(self.rehearsal_change()),
            },
            "verdict": self.verdict(),
        }

    def table(self) -> str:
        """The comparison as aligned text, with the verdict below."""
        lines = ["photo       before   after    change"]
        for number, before, after in zip(self.numbers, self.before, self.after, strict=True):
            lines.append(f"{number:<10}  {before:.4f}   {after:.4f}   {after - before:+.4f}")
        before_mean, after_mean = self.means()
        spans = (
            f"95% interval: before {before_mean.low:.4f} to {before_mean.high:.4f}, "
            f"after {after_mean.low:.4f} to {after_mean.high:.4f} (bootstrap, n = {before_mean.n})"
        )
        lines += [
            f"{'mean':<10}  {before_mean.mean:.4f}   {after_mean.mean:.4f}   {self.change().mean_difference:+.4f}",
            *([spans] if self.enough else []),
            f"{'phantoms':<10}  {_mean(self.rehearsal_before):.4f}   {_mean(self.rehearsal_after):.4f}   "
            f"{self.rehearsal_change().mean_difference:+.4f}   (n = {len(self.rehearsal_before)}, not learned from)",
            self.verdict(),
        ]
        return "\n".join(lines)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def dice_of_pairs(loaded: Weights, pairs: Sequence[Pair], device: str) -> list[float]:
    """Dice of each pair at its own size, as ``Predictor`` outlines it."""
    return [value for value, _, _ in _judged(loaded, pairs, device)]


def _judged(loaded: Weights, pairs: Sequence[Pair], device: str) -> Iterator[tuple[float, np.ndarray, np.ndarray]]:
    """Dice, predicted and true mask of each pair at its own size."""
    predictor = Predictor(loaded, device)
    for pair in pairs:
        image, truth = pair.both()
        mask = predictor(image).mask
        yield dice(counts(mask, truth)), mask, truth


def dice_of_examples(loaded: Weights, examples: Examples, device: str) -> list[float]:
    """Dice of each example at the network's size."""
    predictor = Predictor(loaded, device)
    images, masks = examples.images.cpu().numpy(), examples.masks.cpu().numpy()
    return [dice(counts(predictor(i).mask, m >= 128)) for i, m in zip(images, masks, strict=True)]


def compare(
    before: Weights,
    after: Weights,
    pairs: Sequence[Pair],
    numbers: tuple[int, ...],
    phantoms: Examples,
    device: str,
    tick: Callable[[float], None] = lambda done: None,
    outlines: int = 0,
) -> Comparison:
    """Dice of both weights on the same held-out pairs and phantoms.

    Args:
        before, after: weights for the same size.
        pairs: held-out pairs.
        numbers: what to call them.
        phantoms: examples that neither learned from.
        device: torch device string.
        tick: called with the share done.
        outlines: of how many held-out pairs the masks are kept.

    Returns:
        The comparison.
    """
    scores: list[tuple[float, ...]] = []
    kept: list[list[tuple[np.ndarray, np.ndarray]]] = []
    for step, loaded in enumerate((before, after)):
        tick(step / 2)
        values: list[float] = []
        masks: list[tuple[np.ndarray, np.ndarray]] = []
        for value, mask, truth in _judged(loaded, pairs, device):
            values.append(value)
            if len(masks) < outlines:
                masks.append((mask, truth))
        scores += [tuple(values), tuple(dice_of_examples(loaded, phantoms, device))]
        kept.append(masks)
    drawn = tuple(Outlines(b, a, truth) for (b, truth), (a, _) in zip(*kept, strict=True))
    return Comparison(numbers, scores[0], scores[2], scores[1], scores[3], drawn)
