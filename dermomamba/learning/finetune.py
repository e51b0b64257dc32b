"""Fine-tuning: teach loaded weights somebody's own photos, without touching the weights themselves.

What does not learn stays as it is bit for bit, the running statistics of its batch norms included. Loss, augmentation,
optimiser, schedule and averaged weights (EMA) are those of training. What is kept is the average with the best Dice on
the held-out photos, and the base weights compete as epoch 0. Defaults: research notes, section 8.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dermomamba.errors import BackendError, DataError
from dermomamba.learning.augment import Augment, to_float
from dermomamba.learning.checkpoint import load_state, save_state
from dermomamba.learning.datasets import Pair
from dermomamba.learning.finetune_card import card_of
from dermomamba.learning.finetune_compare import Comparison, compare
from dermomamba.learning.finetune_data import MEASURED_PHANTOMS, OwnPairs, prepare, rehearsal
from dermomamba.learning.finetune_features import CachedFeatures, Photos, Samples
from dermomamba.learning.finetune_settings import PARTS, FineTuneSettings, Learns, Progress
from dermomamba.learning.optimisation import Process, autocast, batches, optimizer_for, rate_at
from dermomamba.learning.recipe_loss import RecipeLoss
from dermomamba.learning.training_data import hair_bank
from dermomamba.learning.validation import validate
from dermomamba.network import DermoMamba
from dermomamba.predictor import Predictor
from dermomamba.weights import Weights


@dataclass(frozen=True)
class FineTuned:
    """What a run leaves; ``weights.save(path, state_dict, card)`` makes a file of it.

    Attributes:
        state_dict: all tensors, float32 on the CPU, already rounded as the file rounds them.
        card: the JSON card.
        curve: a row for each epoch; epoch 0 is the base.
        comparison: before and after on the same held-out photos and phantoms.
        ended: why it ended: "epochs", "time", "stop" or "diverged" (the loss was no number; the best is kept).
        problems: a sentence for each pair left out.
    """

    state_dict: dict[str, Tensor]
    card: dict[str, Any]
    curve: tuple[dict[str, Any], ...]
    comparison: Comparison
    ended: str
    problems: tuple[str, ...]


def freeze(network: DermoMamba, learns: Learns) -> nn.ModuleDict:
    """Let only some parts learn; the others stay in evaluation mode, so that their statistics rest too.

    Args:
        network: changed in place.
        learns: a key of ``PARTS``.

    Returns:
        The parts that learn, in training mode, under their names in the network.
    """
    network.eval().requires_grad_(False)
    learned = nn.ModuleDict({part: getattr(network, part) for part in PARTS[learns]})
    learned.train().requires_grad_(True)
    return learned


class _Run:
    """The state of one fine-tuning; everything in it is freed with it."""

    def __init__(self, base: Weights, own: OwnPairs, settings: FineTuneSettings, device: torch.device) -> None:
        self.settings, self.device = settings, device
        self.recipe = settings.recipe("fine-tuned", base)
        self.train, self.held_out = own.train.to(device), own.held_out.to(device)
        self.extra = rehearsal(min(settings.rehearsal, len(own.train)), base.image_size).to(device)
        self.network = base.network().to(device)
        self.judge = base.network().to(device)
        self.learned = freeze(self.network, settings.learns)
        self.average = AveragedModel(self.learned, multi_avg_fn=get_ema_multi_avg_fn(settings.ema), use_buffers=True)
        self.best = copy.deepcopy(self.learned)
        self.optimizer = optimizer_for(self.learned, self.recipe)
        self.loss = RecipeLoss(self.recipe.loss, self.recipe.boundary_weight)
        bank = hair_bank(self.recipe)
        self.augment = Augment(self.recipe.augment, None if bank is None else bank.to(device))
        self.rows: list[dict[str, Any]] = []

    @property
    def improved(self) -> bool:
        """Whether an epoch was better than the base."""
        return max(row["val_dice"] for row in self.rows) > self.rows[0]["val_dice"]

    @property
    def modules(self) -> dict[str, nn.Module]:
        """What resuming needs."""
        return {"network": self.learned, "average": self.average, "best": self.best}

    def samples(self, tick: Callable[[float], bool]) -> Samples:
        """Cached features, or photos when the encoder learns."""
        if self.settings.learns == "all":
            return Photos(self.train, self.extra, self.augment)
        s = self.settings
        return CachedFeatures(self.network, self.train, self.extra, self.augment, s.variants, s.seed, tick)

    def epoch(
        self, epoch: int, samples: Samples, share: Callable[[float], float], go_on: Callable[[float], bool]
    ) -> float:
        """Learn from every example once; returns the mean loss, or NaN when ``go_on`` ended it early.

        Args:
            epoch: from 0.
            samples: to learn from.
            share: from the epochs done, with their fraction, to the share of the run.
            go_on: called after each step with the share; False ends the epoch at once.
        """
        generator = torch.Generator(self.device).manual_seed(self.settings.seed * 100_003 + epoch * 1_009)
        steps = list(batches(len(samples), epoch, self.recipe, Process(0, 1, self.device)))
        total = 0.0
        for index, batch in enumerate(steps):
            for group in self.optimizer.param_groups:
                group["lr"] = rate_at(share(epoch + index / len(steps)), self.recipe)
            with autocast(self.recipe, self.device):
                logits, truth = samples.logits(self.network, batch, generator)
            loss = self.loss(logits, truth)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(self.learned.parameters(), self.recipe.clip)
            self.optimizer.step()
            self.average.update_parameters(self.learned)
            total += loss.item()
            if not go_on(share(epoch + (index + 1) / len(steps))):
                return math.nan
            if not math.isfinite(total):
                break
        return total / len(steps)

    def measure(self) -> tuple[float, float]:
        """IoU and Dice of the average on the held-out photos, at the network's size.

        The average is rounded as the file will round it, so that one which does not survive that is never kept.
        """
        if self.rows:  # epoch 0 is the base itself
            self.judge.load_state_dict(_rounded(self.average.module), strict=False)
        self.judge.eval()
        return validate(self.judge, self.held_out.images, self.held_out.masks, self.settings.batch_size)

    @torch.no_grad()
    def preview(self) -> np.ndarray:
        """Probability (H, W) of the first held-out photo by the average."""
        x, _ = to_float(self.held_out.images[:1], self.held_out.masks[:1])
        return torch.sigmoid(self.judge(x))[0, 0].cpu().numpy()

    def add_row(self, epoch: int, seconds: float, speed: float | None, rate: float | None, loss: float | None) -> None:
        """Measure, add to the curve, and keep the average when it is the best so far."""
        iou, dice = self.measure()
        if self.rows and dice > max(row["val_dice"] for row in self.rows):
            self.best.load_state_dict(self.average.module.state_dict())
        self.rows.append(
            {
                "epoch": epoch,
                "seconds": round(seconds, 1),
                "images_per_second": speed and round(speed, 1),
                "learning_rate": rate,
                "train_loss": loss,
                "val_iou": iou,
                "val_dice": dice,
            }
        )


def fine_tune(
    base: Weights,
    pairs: Iterable[Pair],
    settings: FineTuneSettings | None = None,
    device: str = "auto",
    stop: threading.Event | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    folder: Path | None = None,
    name: str = "fine-tuned",
    outlines: int = 0,
) -> FineTuned:
    """Teach a copy of the weights these photos.

    Args:
        base: what to begin with; never changed.
        pairs: photos with masks; at least four different ones.
        settings: None for the defaults.
        device: "auto", "cpu", "cuda" or a torch device string.
        stop: set it from another thread to end; the best so far is compared and returned.
        on_progress: called often, from this thread.
        folder: where the state is kept after each epoch; when it holds the state of the same run, that goes on.
        name: of the new weights, for the card.
        outlines: of how many held-out photos the comparison keeps the masks.

    Returns:
        New weights with card, curve and comparison.

    Raises:
        DataError: too few usable pairs, or the folder holds another run.
        BackendError: the device is not there, or its memory does not suffice.
    """
    settings = settings or FineTuneSettings()
    stop = stop or threading.Event()
    tell = on_progress or (lambda progress: None)
    chosen = Predictor(base, device).device
    tell(Progress("reading", 0.0))
    own = prepare(pairs, base.image_size, settings.held_out, settings.seed)
    with _memory_in_words():
        run = _Run(base, own, settings, chosen)
        ended = _learn(run, base, own, stop, tell, folder)
        learned = {name: tensor.cpu() for name, tensor in _rounded(run.best).items()} if run.improved else {}
        state = {name: learned.get(name, tensor).clone() for name, tensor in base.state_dict.items()}
        rows = tuple(run.rows)
        learned_phantoms = len(run.extra)
        del run
        tell(Progress("comparing", 0.0, rows=rows))
        comparison = compare(
            base,
            replace(base, state_dict=state),
            own.held_out_pairs,
            own.numbers,
            rehearsal(MEASURED_PHANTOMS, base.image_size, measured=True),
            str(chosen),
            lambda done: tell(Progress("comparing", done, rows=rows)),
            outlines,
        )
    recipe = settings.recipe(name, base)
    card = card_of(base, own, asdict(settings), recipe, chosen, list(rows), learned_phantoms, comparison, ended)
    return FineTuned(state, card, rows, comparison, ended, own.problems)


def _learn(
    run: _Run,
    base: Weights,
    own: OwnPairs,
    stop: threading.Event,
    tell: Callable[[Progress], None],
    folder: Path | None,
) -> str:
    """Go through the epochs; returns why it ended."""
    settings = run.settings
    identity = _identity(base, own, settings)
    progress = load_state(folder, run.modules, run.optimizer) if folder else None
    if progress:
        if progress["identity"] != identity:
            raise DataError(
                "The unfinished run was started with other photos, settings or weights. Start afresh without resuming."
            )
        run.rows = progress["rows"]
    else:
        run.add_row(0, 0.0, None, None, None)
    first = run.rows[-1]["epoch"]
    if first >= settings.epochs:
        return "epochs"

    def features_tick(done: float) -> bool:
        tell(Progress("features", done, rows=tuple(run.rows)))
        return stop.is_set()

    samples = run.samples(features_tick)
    began = time.perf_counter() - run.rows[-1]["seconds"]

    def share(epochs: float) -> float:
        by_time = (time.perf_counter() - began) / settings.seconds if settings.seconds else 0.0
        return min(1.0, max(epochs / settings.epochs, by_time))

    def go_on(done: float) -> bool:
        elapsed = time.perf_counter() - began
        tell(Progress("learning", done, elapsed * (1 - done) / max(done, 1e-6), tuple(run.rows)))
        return not stop.is_set()

    for epoch in range(first, settings.epochs):
        before = time.perf_counter()
        loss = math.nan if stop.is_set() else run.epoch(epoch, samples, share, go_on)
        if stop.is_set():
            return "stop"
        if not math.isfinite(loss):
            return "diverged"
        now = time.perf_counter()
        done = share(epoch + 1)
        run.add_row(epoch + 1, now - began, len(samples) / (now - before), rate_at(done, run.recipe), loss)
        left = (now - began) * (1 - done) / done
        tell(Progress("learning", done, left, tuple(run.rows), run.preview(), own.numbers[0]))
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
            save_state(folder, run.modules, run.optimizer, {"identity": identity, "rows": run.rows})
        if done >= 1:
            return "epochs" if epoch + 1 == settings.epochs else "time"
    return "epochs"


def _identity(base: Weights, own: OwnPairs, settings: FineTuneSettings) -> str:
    """A hash of everything that decides a run."""
    parts = [base.sha256, own.train_hashes, own.held_out_hashes, asdict(settings)]
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode())
    for examples in (own.train, own.held_out):
        digest.update(examples.masks.numpy().tobytes())
    return digest.hexdigest()


def _rounded(module: nn.Module) -> dict[str, Tensor]:
    """A module's tensors in float32, with the values that a float16 file holds."""
    tensors = module.state_dict().items()
    return {name: t.half().float() if t.is_floating_point() else t.clone() for name, t in tensors}


@contextmanager
def _memory_in_words() -> Iterator[None]:
    """Turn running out of memory into a sentence."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in str(error):
            raise BackendError(
                "There is not enough memory for this fine-tuning. Use fewer photos, or let only the decoder learn."
            ) from None
        raise
