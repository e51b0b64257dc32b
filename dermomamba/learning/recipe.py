"""A training recipe: everything that decides what a run does, in one small YAML file under version control."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from dermomamba.errors import DataError
from dermomamba.learning.augment import AugmentSettings

FOLDER = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class Source:
    """One data set of a recipe.

    Attributes:
        path: folder or ZIP, relative to the ``--data`` folder.
        split: "isic2018" uses the fixed validation list of this project and leaves out near-duplicates of the
            test part; "isic2018_train" takes its training part alone, for a second source of the same photos;
            "ham10000" leaves out the lesions of the fixed list of this project, and holds nothing out;
            "train" uses all pairs for training; a number in (0, 1) holds that share out.
        group: column of ``index.csv`` whose values must not be split (photos of one lesion), with a number.
        limit: use only that many training pairs, drawn with the seed.
        share: of the images of an epoch, relative to the other sources' shares; all sources have one or none has.
            Without shares an epoch is one pass over all pairs.
        least_agreement: leave out pairs whose ``agreement`` in ``index.csv`` is below this (doubtful masks).
        weigh_by: column of ``index.csv`` in [0, 1] whose value is the image's weight in the loss, or None.
        size: (height, width) at which the pictures are kept, when they are larger than the network's input.
        window: (least, most) height of a random crop as a share of the picture's height; its width follows from the
            network's aspect, for pictures with square pixels. Without it the whole picture is squeezed.
    """

    path: str
    split: Literal["isic2018", "isic2018_train", "ham10000", "train"] | float = "train"
    group: str | None = None
    limit: int | None = None
    share: float | None = None
    least_agreement: float | None = None
    weigh_by: str | None = None
    size: tuple[int, int] | None = None
    window: tuple[float, float] | None = None


@dataclass(frozen=True)
class Recipe:
    """A training run.

    Attributes:
        name: of the weights that come out.
        description: one sentence for the card.
        sources: data sets, in order.
        image_size: (height, width), multiples of 32.
        epochs: passes over the training pairs.
        minutes: wall-clock budget, from the end of the first step (which compiles) on; the learning rate falls to its
            end by whichever is used up first.
        batch_size: over all devices together.
        learning_rate: peak of the cosine schedule of AdamW.
        final_rate: end of the schedule as a share of the peak.
        warmup: share of the run in which the rate rises linearly.
        weight_decay: not applied to norms, biases, A_logs, Ds and other vectors.
        clip: largest norm of the gradient.
        ema: decay of the averaged weights that are validated and kept; in the beginning it is lower, so that the
            average forgets the initial values: min(ema, (1 + t) / (10 + t)) at step t.
        loss: "guided", "published", or "plain" (BCE and Dice without the boundary map).
        boundary_weight: lambda of the guided loss.
        lovasz_weight: of the Lovasz hinge beside the guided loss (``overlap_losses``).
        surface_weight: of the boundary loss beside the guided loss.
        teachers: weights (names or paths) whose mean probability is learnt from beside the masks (``distillation``).
        teacher_weight: the teachers' share of the loss, in [0, 1].
        precision: "bf16" or "fp32".
        validate_every: epochs between validations.
        seed: of initial values, order and augmentation.
        start_from: weights to begin with (name or path), or None.
        compile: torch.compile the training step.
        epoch_images: images of an epoch; None for one pass over all pairs.
        hair_bank: how many drawings of hair, and of rulers, to prepare.
        augment: how strongly images are varied.
    """

    name: str
    description: str
    sources: tuple[Source, ...]
    image_size: tuple[int, int] = (192, 256)
    epochs: int = 100
    minutes: float | None = None
    batch_size: int = 32
    learning_rate: float = 1e-3
    final_rate: float = 0.01
    warmup: float = 0.03
    weight_decay: float = 0.02
    clip: float = 1.0
    ema: float = 0.999
    loss: Literal["guided", "plain", "published"] = "guided"
    boundary_weight: float = 4.0
    lovasz_weight: float = 0.0
    surface_weight: float = 0.0
    teachers: tuple[str, ...] = ()
    teacher_weight: float = 0.5
    precision: Literal["bf16", "fp32"] = "bf16"
    validate_every: int = 5
    seed: int = 1
    start_from: str | None = None
    compile: bool = False
    epoch_images: int | None = None
    hair_bank: int = 64
    augment: AugmentSettings = field(default_factory=AugmentSettings)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the card and for resuming, as JSON gives them back."""
        return json.loads(json.dumps(dataclasses.asdict(self)))


def _build(cls: type, values: Any, where: str) -> Any:
    if not isinstance(values, dict):
        raise DataError(f"{where} must be a list of 'key: value' lines.")
    known = {f.name for f in dataclasses.fields(cls)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise DataError(f"{where} has no setting '{unknown[0]}'. Known are: {', '.join(sorted(known))}.")
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    try:
        return cls(**values)
    except TypeError as error:
        raise DataError(f"{where} is incomplete: {error}.") from error


def changes_of(words: Iterable[str]) -> dict[str, Any]:
    """Changes of a recipe as they are typed: ``epochs=3``, ``augment.flip=false``.

    Args:
        words: KEY=VALUE, values as in YAML.

    Returns:
        For ``read_recipe``.

    Raises:
        DataError: a word without "=".
    """
    changes = {}
    for word in words:
        key, separator, value = word.partition("=")
        if not separator:
            raise DataError(f"'{word}' is not a setting; write --set key=value.")
        changes[key] = yaml.safe_load(value)
    return changes


def read_recipe(path: str | os.PathLike[str], changes: dict[str, Any] | None = None) -> Recipe:
    """Read a recipe from a YAML file or by the name of a shipped one.

    Args:
        path: a YAML file, or a name such as "isic2018".
        changes: values that replace those of the file; "augment.flip" reaches into the augmentation.

    Returns:
        The recipe.

    Raises:
        DataError: no such file, or a setting that does not exist.
    """
    file = Path(path) if Path(path).is_file() else FOLDER / f"{path}.yaml"
    if not file.is_file():
        names = ", ".join(sorted(p.stem for p in FOLDER.glob("*.yaml")))
        raise DataError(f"There is no recipe '{path}'. Give a YAML file or one of: {names}.")
    values = yaml.safe_load(file.read_text(encoding="utf-8"))
    for key, value in (changes or {}).items():
        target, *rest = key.split(".")
        if rest:
            values.setdefault(target, {})[rest[0]] = value
        else:
            values[target] = value
    where = f"The recipe '{file.name}'"
    values["augment"] = _build(AugmentSettings, values.get("augment") or {}, f"{where}, part 'augment',")
    sources = values.get("sources") or []
    values["sources"] = tuple(_build(Source, s, f"{where}, part 'sources',") for s in sources)
    if len({source.share is None for source in values["sources"]}) > 1:
        raise DataError(f"{where} gives some sources a share and others none. Give each one, or none.")
    return _build(Recipe, values, where)
