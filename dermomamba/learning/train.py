"""Training: one loop for a CPU, one GPU, or several under ``torchrun`` (plain DistributedDataParallel).

The whole data set lives on the device as uint8 and is augmented there in batches, so there is no loader. What
is kept is the average of the weights (EMA; Polyak and Juditsky 1992, doi 10.1137/0330046) with the best macro
IoU on the validation images; test images are never looked at.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed import all_reduce, barrier, destroy_process_group
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from dermomamba import weights
from dermomamba.errors import DataError
from dermomamba.learning import curve
from dermomamba.learning.augment import Augment
from dermomamba.learning.checkpoint import load_state, save_state
from dermomamba.learning.distillation import Ensemble, Teacher, distilled, teachers_of
from dermomamba.learning.optimisation import (
    Process,
    autocast,
    average_decay,
    follow,
    graphed,
    optimizer_for,
    rate_at,
    shared_out,
)
from dermomamba.learning.pixels import TrainingData
from dermomamba.learning.recipe import Recipe
from dermomamba.learning.recipe_loss import RecipeLoss
from dermomamba.learning.sampling import counts, epoch_order
from dermomamba.learning.training_card import training_card
from dermomamba.learning.validation import validate
from dermomamba.network import DermoMamba

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What a run leaves.

    Attributes:
        weights: the best weights' file.
        best: the curve's row with the best validation IoU.
        rows: the whole curve.
    """

    weights: Path
    best: dict[str, Any]
    rows: list[dict[str, Any]]


class Trainer:
    """One run of a recipe on loaded data.

    Args:
        recipe: what to do.
        data: uint8 pairs.
        folder: where curve, state and weights go.
        device: "auto", "cpu", "cuda" or a torch device string.
        network: to train instead of a new DermoMamba, for comparisons; its average is in ``best_state`` afterwards,
            and no weights file is written for it.
        on_row: called with each new row of the curve.
        light: keep curve and weights only: no picture and no state to resume from, for experiments.
        teachers: further networks to learn from, beside the recipe's, with what the card says of each.
    """

    def __init__(
        self,
        recipe: Recipe,
        data: TrainingData,
        folder: Path,
        device: str = "auto",
        network: nn.Module | None = None,
        on_row: Callable[[dict[str, Any]], None] | None = None,
        light: bool = False,
        teachers: Sequence[Teacher] = (),
    ) -> None:
        self.recipe, self.folder, self.process = recipe, folder, Process.join(device)
        self.on_row, self.light = on_row, light
        if len(data) < 2 or not len(data.val_images):
            raise DataError("Training needs at least two pairs to learn from and one held out for validation.")
        device_ = self.process.device
        self.data = data.to(device_)
        torch.manual_seed(recipe.seed)
        torch.backends.cudnn.benchmark = True
        self.start = weights.load(recipe.start_from) if recipe.start_from else None
        teachers = [*teachers_of(recipe, device_), *teachers]
        self.taught_by = [origin for _, origin in teachers]
        self.teacher = Ensemble([expert for expert, _ in teachers]).to(device_) if teachers else None
        self.own = network is None
        self.best_state: dict[str, Tensor] = {}
        if network is None:
            network = self.start.network().train() if self.start else DermoMamba(recipe.image_size)
        memory_format = torch.channels_last if device_.type == "cuda" else torch.contiguous_format
        self.network = network.to(device_, memory_format=memory_format)  # type: ignore[call-overload]
        self.average = AveragedModel(self.network, use_buffers=True)
        self.averaged = 0  # steps
        self.optimizer = optimizer_for(self.network, recipe)
        self.loss = RecipeLoss(recipe.loss, recipe.boundary_weight, recipe.lovasz_weight, recipe.surface_weight)
        self.augment = Augment(recipe.augment, self.data.hair_bank, self.data.ruler_bank)
        self.sizes = [len(pool) for pool in data.pools]
        self.counts = counts(self.sizes, [pool.share for pool in data.pools], recipe.epoch_images)
        step: nn.Module = self.network
        if self.process.world > 1:
            ids = [device_.index] if device_.type == "cuda" else None
            step = DistributedDataParallel(nn.SyncBatchNorm.convert_sync_batchnorm(step) if ids else step, ids)
        self.step = torch.compile(step) if recipe.compile else step
        self.to_graph = device_.type == "cuda" and self.process.world == 1 and not recipe.compile

    def run(self, resume: bool = False, note: dict[str, Any] | None = None) -> Outcome:
        """Train to the end; ``resume`` goes on where a killed run stopped.

        Args:
            resume: use the state in the folder when there is one.
            note: added to the card.

        Returns:
            The best weights and the curve.
        """
        recipe, main = self.recipe, self.process.rank == 0
        modules = {"network": self.network, "average": self.average}
        progress = load_state(self.folder, modules, self.optimizer) if resume else None
        self.averaged = int(self.average.n_averaged)
        rows: list[dict[str, Any]] = progress["rows"] if progress else []
        first = rows[-1]["epoch"] if rows else 0
        started = time.perf_counter() - (rows[-1]["seconds"] if rows else 0)
        n = sum(self.counts)
        steps = max(1, n // min(recipe.batch_size, n))
        seen = first * steps * min(recipe.batch_size, n)
        bar = tqdm(total=recipe.epochs * steps, initial=first * steps, unit="step", disable=not main or self.light)
        done = 0.0
        for epoch in range(first, recipe.epochs):
            generator = torch.Generator(self.process.device)
            generator.manual_seed(recipe.seed * 100_003 + epoch * 1_009 + self.process.rank)
            self.network.train()
            total = torch.zeros((), device=self.process.device)
            before = time.perf_counter()
            order = epoch_order(self.sizes, self.counts, epoch, recipe.seed)
            for index, batch in enumerate(shared_out(order, recipe, self.process)):
                done = (epoch + index / steps) / recipe.epochs
                if recipe.minutes:
                    done = max(done, (time.perf_counter() - started) / 60 / recipe.minutes)
                total += self.train_step(batch, done, generator)
                bar.update()
                if epoch == first and not index:  # the first step compiles, which must not use up the run's minutes
                    started += self._synchronised() - before
            seen += steps * min(recipe.batch_size, n)
            speed = steps * min(recipe.batch_size, n) / (self._synchronised() - before)
            last = epoch + 1 == recipe.epochs or done >= 1
            if (epoch + 1) % recipe.validate_every == 0 or last:
                iou, dice = self._validate()
                rows.append(
                    {
                        "epoch": epoch + 1,
                        "seconds": round(time.perf_counter() - started, 1),
                        "images": seen,
                        "images_per_second": round(speed, 1),
                        "learning_rate": rate_at(done, recipe),
                        "train_loss": total.item() / steps,
                        "val_iou": iou,
                        "val_dice": dice,
                    }
                )
                bar.set_postfix(loss=f"{rows[-1]['train_loss']:.3f}", val_iou=f"{iou:.4f}", speed=f"{speed:.0f}/s")
                if main:
                    self._keep(rows, modules, note or {})
                    if self.on_row is not None:
                        self.on_row(rows[-1])
            if last:
                break
        bar.close()
        if self.process.world > 1:
            # Gloo's threads let go of the last tensors here, while this thread waits without Python's lock; else its
            # destructor, which holds the lock, may wait for them for ever.
            barrier()
            destroy_process_group()
        best = max(rows, key=lambda row: row["val_iou"])
        return Outcome(self.weights_path, best, rows)

    def train_step(self, batch: Tensor, done: float, generator: torch.Generator) -> Tensor:
        """One step on the pairs of these numbers (on the CPU); returns the loss, detached, without waiting for it."""
        recipe = self.recipe
        for group in self.optimizer.param_groups:
            group["lr"] = rate_at(done, recipe)
        x, t, weight = self._varied(batch, generator)
        if self.process.device.type == "cuda":
            x = x.contiguous(memory_format=torch.channels_last)
            if self.to_graph:
                self.to_graph = False
                if problem := graphed(self.network, x, recipe):
                    LOG.warning("Training runs without CUDA graphs, more slowly: %s", problem)
        with autocast(recipe, self.process.device):
            logits = self.step(x)
            taught = None if self.teacher is None else self.teacher(x)
        loss = self.loss(logits, t, weight)
        if taught is not None:
            loss = distilled(loss, logits, taught, recipe.teacher_weight, weight)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), recipe.clip)
        self.optimizer.step()
        follow(self.average, self.network, self.averaged, average_decay(self.averaged, recipe.ema))
        self.averaged += 1
        return loss.detach()

    def _varied(self, batch: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor | None]:
        """Augmented images (B, 3, H, W), masks (B, 1, H, W) and the images' weights (B,), pool by pool."""
        device = self.process.device
        images, masks, weights_ = [], [], []
        weighted = any(pool.weight is not None for pool in self.data.pools)
        first = 0
        for pool in self.data.pools:
            chosen = batch[(batch >= first) & (batch < first + len(pool))] - first
            first += len(pool)
            if not len(chosen):
                continue
            chosen = chosen.to(device)
            size = self.recipe.image_size
            x, t = self.augment(pool.images[chosen], pool.masks[chosen], generator, size, pool.window)
            images.append(x)
            masks.append(t)
            if weighted:
                weights_.append(torch.ones(len(x), device=device) if pool.weight is None else pool.weight[chosen])
        return torch.cat(images), torch.cat(masks), torch.cat(weights_) if weighted else None

    @property
    def weights_path(self) -> Path:
        return self.folder / f"{self.recipe.name}.safetensors"

    def _synchronised(self) -> float:
        if self.process.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def _validate(self) -> tuple[float, float]:
        """Validation of the average, by every process on its share."""
        self.average.eval()
        rank, world = self.process.rank, self.process.world
        images, masks = self.data.val_images[rank::world], self.data.val_masks[rank::world]
        with autocast(self.recipe, self.process.device):
            iou, dice = validate(self.average, images, masks) if len(images) else (0.0, 0.0)
        if world == 1:
            return iou, dice
        share = torch.tensor([iou * len(images), dice * len(images)], device=self.process.device)
        all_reduce(share)
        iou, dice = (share / len(self.data.val_images)).tolist()
        return iou, dice

    def _keep(self, rows: list[dict[str, Any]], modules: dict[str, nn.Module], note: dict[str, Any]) -> None:
        """Curve, state, and the weights when they are the best so far."""
        best = all(row["val_iou"] < rows[-1]["val_iou"] for row in rows[:-1])
        if best:
            self.best_state = {name: t.detach().clone() for name, t in self.average.module.state_dict().items()}
        if not self.own:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        curve.write_csv(self.folder / "curve.csv", rows)
        if not self.light:
            curve.plot(self.folder / "curve.png", rows, self.recipe.name)
        if best:
            weights.save(self.weights_path, self.average.module.state_dict(), self.card(rows, note))
        else:  # the curve in the card goes on
            path = self.weights_path.with_suffix(".json")
            card = json.loads(path.read_text(encoding="utf-8")) | {"curve": rows}
            path.write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        if not self.light:
            save_state(self.folder, modules, self.optimizer, {"rows": rows})

    def card(self, rows: list[dict[str, Any]], note: dict[str, Any]) -> dict[str, Any]:
        """The card beside the weights, with the run's own notes."""
        card = training_card(
            self.recipe,
            data=self.data.description,
            rows=rows,
            held_out=len(self.data.val_images),
            parameters=sum(p.numel() for p in self.network.parameters()),
            start=self.start,
            teachers=self.taught_by,
            device=self.process.device,
            processes=self.process.world,
        )
        return card | note
