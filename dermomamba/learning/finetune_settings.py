"""What a person may set for a fine-tuning, and where a run stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from dermomamba.errors import DataError
from dermomamba.learning.recipe import Recipe
from dermomamba.weights import Weights

Learns = Literal["decoder", "decoder+bottleneck", "all"]
PARTS: dict[str, tuple[str, ...]] = {
    "decoder": ("decoder", "head"),
    "decoder+bottleneck": ("gates", "pcam", "sweep", "decoder", "head"),
    "all": ("stem", "encoder", "gates", "pcam", "sweep", "decoder", "head"),
}
"""Parts of ``DermoMamba`` that learn; the gates of the skips go with the bottleneck."""


@dataclass(frozen=True)
class FineTuneSettings:
    """What a person may set; the defaults make one click enough.

    Attributes:
        learns: "decoder", "decoder+bottleneck" or "all".
        epochs: passes over the photos.
        seconds: budget for the learning alone, or None; whichever of the two is used up first ends it.
        learning_rate: peak of the schedule.
        held_out: share of the photos that are kept apart to choose and to judge, in (0, 1).
        batch_size: pictures in a step.
        ema: decay of the averaged weights, in [0, 1).
        variants: in how many variants each photo's features are kept while the encoder is frozen.
        rehearsal: phantoms mixed in, at most as many as there are photos to learn from.
        seed: of split, order and augmentation.
    """

    learns: Learns = "decoder"
    epochs: int = 10
    seconds: float | None = None
    learning_rate: float = 3e-4
    held_out: float = 0.2
    batch_size: int = 4
    ema: float = 0.9
    variants: int = 4
    rehearsal: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        checks = (
            (self.learns in PARTS, f"What learns is one of {', '.join(PARTS)}, not '{self.learns}'."),
            (self.epochs >= 1, "At least one epoch is needed."),
            (self.seconds is None or self.seconds > 0, "The time to learn must be more than nothing."),
            (0 < self.learning_rate <= 0.1, "The learning rate must lie between 0 and 0.1; try 0.0003."),
            (0 < self.held_out < 1, "The share held out must lie between 0 and 1; try 0.2."),
            (self.batch_size >= 2, "A step needs at least two pictures."),
            (0 <= self.ema < 1, "The decay of the average must lie between 0 and 1; try 0.9."),
            (self.variants >= 1, "At least one variant of each photo is needed."),
            (self.rehearsal >= 0, "The number of rehearsal pictures cannot be negative."),
        )
        for good, sentence in checks:
            if not good:
                raise DataError(sentence)

    def recipe(self, name: str, base: Weights) -> Recipe:
        """The same in the words of training."""
        return Recipe(
            name=name,
            description=f"Fine-tuned from {base.name} on somebody's own photos; what learned: {self.learns}.",
            sources=(),
            image_size=base.image_size,
            epochs=self.epochs,
            minutes=None if self.seconds is None else self.seconds / 60,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            warmup=0.1,
            ema=self.ema,
            validate_every=1,
            seed=self.seed,
            start_from=base.name,
            hair_bank=16,
        )


@dataclass(frozen=True)
class Progress:
    """Where a run stands.

    Attributes:
        stage: "reading", "features", "learning" or "comparing".
        done: share of the stage, in [0, 1].
        seconds_left: of the learning, an estimate; None when unknown.
        rows: the curve so far, with the columns of ``learning.curve``; epoch 0 is the base.
        preview: probability (H, W) float32 of the first held-out photo at the end of an epoch, otherwise None.
        previewed: place of that photo among those given, from 1; 0 without a preview.
    """

    stage: str
    done: float
    seconds_left: float | None = None
    rows: tuple[dict[str, Any], ...] = ()
    preview: np.ndarray | None = None
    previewed: int = 0
