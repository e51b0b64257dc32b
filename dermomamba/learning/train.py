"""Training: one loop for a CPU, one GPU, or several under ``torchrun`` (plain DistributedDataParallel).

The whole data set lives on the device as uint8 and is augmented there in batches, so there is no loader. What
is kept is the average of the weights (EMA; Polyak and Juditsky 1992, doi 10.1137/0330046) with the best macro
IoU on the validation images; test images are never looked at.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed import all_reduce, destroy_process_group, init_process_group, is_initialized
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from dermomamba import weights
from dermomamba.errors import DataError
from dermomamba.learning import curve
from dermomamba.learning.augment import Augment, to_float
from dermomamba.learning.checkpoint import load_state, save_state
from dermomamba.learning.guide_fusion import GuideFusionLoss
from dermomamba.learning.recipe import Recipe
from dermomamba.learning.training_data import TrainingData
from dermomamba.network import DermoMamba
from dermomamba.scan import backend_for


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


@dataclass(frozen=True)
class Process:
    """This process among those of ``torchrun``; alone when it was started directly."""

    rank: int
    world: int
    device: torch.device

    @classmethod
    def join(cls, device: str) -> Process:
        rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if device == "cuda" and world > 1:
            device = f"cuda:{os.environ['LOCAL_RANK']}"
        chosen = torch.device(device)
        if chosen.index is not None:
            torch.cuda.set_device(chosen)
        if world > 1 and not is_initialized():
            init_process_group("nccl" if chosen.type == "cuda" else "gloo")
        return cls(rank, world, chosen)


def optimizer_for(network: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW; vectors (norms, biases, Ds) and A_logs are not decayed (Gu and Dao 2023)."""
    decay: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for name, parameter in network.named_parameters():
        matrix = parameter.ndim >= 2 and not name.endswith(("A_logs", "dt_projs_bias"))
        (decay if matrix else plain).append(parameter)
    groups = [{"params": decay, "weight_decay": recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=next(network.parameters()).is_cuda)


def rate_at(done: float, recipe: Recipe) -> float:
    """Learning rate after the share ``done`` of the run: linear warm-up, then half a cosine."""
    if done < recipe.warmup:
        return recipe.learning_rate * (done + 1e-3) / (recipe.warmup + 1e-3)
    fall = (min(done, 1.0) - recipe.warmup) / (1 - recipe.warmup)
    return recipe.learning_rate * (recipe.final_rate + (1 - recipe.final_rate) * (1 + math.cos(math.pi * fall)) / 2)


def batches(n: int, epoch: int, recipe: Recipe, process: Process) -> Iterator[Tensor]:
    """This process's share of each batch of one epoch, as indices; the order depends on seed and epoch only."""
    generator = torch.Generator().manual_seed(recipe.seed * 100_003 + epoch)
    size = min(recipe.batch_size, n)
    order = torch.randperm(n, generator=generator)[: n - n % size]
    for batch in order.split(size):
        yield batch[process.rank :: process.world].to(process.device)


def autocast(recipe: Recipe, device: torch.device) -> AbstractContextManager[Any]:
    """bfloat16 where the recipe asks for it and the device gains from it."""
    if recipe.precision == "bf16" and device.type == "cuda":
        return torch.autocast("cuda", torch.bfloat16)
    return nullcontext()


@torch.no_grad()
def validate(network: nn.Module, images: Tensor, masks: Tensor, batch_size: int = 32) -> tuple[float, float]:
    """Macro IoU and Dice at the network's own size and probability 0.5; an empty pair counts 1 (ISIC).

    Args:
        network: in evaluation mode.
        images: (n, H, W, 3) uint8.
        masks: (n, H, W) uint8 in 0..255.
        batch_size: images at once.

    Returns:
        Mean IoU and mean Dice over the images.
    """
    overlaps, sums = [], []
    for start in range(0, len(images), batch_size):
        part = slice(start, start + batch_size)
        x, t = to_float(images[part], masks[part])
        predicted, truth = network(x) >= 0, t >= 0.5
        overlaps.append((predicted & truth).sum(dim=(1, 2, 3)))
        sums.append(predicted.sum(dim=(1, 2, 3)) + truth.sum(dim=(1, 2, 3)))
    overlap, total = torch.cat(overlaps).double(), torch.cat(sums).double()
    empty = total == 0
    iou = torch.where(empty, 1.0, overlap / (total - overlap).clamp_min(1))
    dice = torch.where(empty, 1.0, 2 * overlap / total.clamp_min(1))
    return iou.mean().item(), dice.mean().item()


class Trainer:
    """One run of a recipe on loaded data.

    Args:
        recipe: what to do.
        data: uint8 pairs.
        folder: where curve, state and weights go.
        device: "auto", "cpu", "cuda" or a torch device string.
    """

    def __init__(self, recipe: Recipe, data: TrainingData, folder: Path, device: str = "auto") -> None:
        self.recipe, self.folder, self.process = recipe, folder, Process.join(device)
        if len(data.images) < 2 or not len(data.val_images):
            raise DataError("Training needs at least two pairs to learn from and one held out for validation.")
        device_ = self.process.device
        self.data = data.to(device_)
        torch.manual_seed(recipe.seed)
        torch.backends.cudnn.benchmark = True
        self.start = weights.load(recipe.start_from) if recipe.start_from else None
        network = self.start.network().train() if self.start else DermoMamba(recipe.image_size)
        memory_format = torch.channels_last if device_.type == "cuda" else torch.contiguous_format
        self.network = network.to(device_, memory_format=memory_format)  # type: ignore[call-overload]
        self.average = AveragedModel(self.network, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema), use_buffers=True)
        self.optimizer = optimizer_for(self.network, recipe)
        self.loss = GuideFusionLoss(recipe.loss, recipe.boundary_weight)
        self.augment = Augment(recipe.augment, self.data.hair_bank)
        step: nn.Module = self.network
        if self.process.world > 1:
            ids = [device_.index] if device_.type == "cuda" else None
            step = DistributedDataParallel(nn.SyncBatchNorm.convert_sync_batchnorm(step) if ids else step, ids)
        self.step = torch.compile(step) if recipe.compile else step

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
        rows: list[dict[str, Any]] = progress["rows"] if progress else []
        first = rows[-1]["epoch"] if rows else 0
        started = time.perf_counter() - (rows[-1]["seconds"] if rows else 0)
        n = len(self.data.images)
        steps = max(1, n // min(recipe.batch_size, n))
        bar = tqdm(total=recipe.epochs * steps, initial=first * steps, unit="step", disable=not main)
        done = 0.0
        for epoch in range(first, recipe.epochs):
            generator = torch.Generator(self.process.device)
            generator.manual_seed(recipe.seed * 100_003 + epoch * 1_009 + self.process.rank)
            self.network.train()
            total = torch.zeros((), device=self.process.device)
            before = time.perf_counter()
            for index, batch in enumerate(batches(n, epoch, recipe, self.process)):
                done = (epoch + index / steps) / recipe.epochs
                if recipe.minutes:
                    done = max(done, (time.perf_counter() - started) / 60 / recipe.minutes)
                total += self.train_step(batch, done, generator)
                bar.update()
            speed = steps * min(recipe.batch_size, n) / (self._synchronised() - before)
            last = epoch + 1 == recipe.epochs or done >= 1
            if (epoch + 1) % recipe.validate_every == 0 or last:
                iou, dice = self._validate()
                rows.append(
                    {
                        "epoch": epoch + 1,
                        "seconds": round(time.perf_counter() - started, 1),
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
            if last:
                break
        bar.close()
        if self.process.world > 1:
            destroy_process_group()
        best = max(rows, key=lambda row: row["val_iou"])
        return Outcome(self.weights_path, best, rows)

    def train_step(self, batch: Tensor, done: float, generator: torch.Generator) -> Tensor:
        """One step on the pairs with these indices; returns the loss, detached, without waiting for it."""
        recipe = self.recipe
        for group in self.optimizer.param_groups:
            group["lr"] = rate_at(done, recipe)
        x, t = self.augment(self.data.images[batch], self.data.masks[batch], generator)
        if self.process.device.type == "cuda":
            x = x.contiguous(memory_format=torch.channels_last)
        with autocast(recipe, self.process.device):
            logits = self.step(x)
        loss = self.loss(logits, t)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), recipe.clip)
        self.optimizer.step()
        self.average.update_parameters(self.network)
        return loss.detach()

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
        self.folder.mkdir(parents=True, exist_ok=True)
        curve.write_csv(self.folder / "curve.csv", rows)
        curve.plot(self.folder / "curve.png", rows, self.recipe.name)
        if all(row["val_iou"] < rows[-1]["val_iou"] for row in rows[:-1]):
            weights.save(self.weights_path, self.average.module.state_dict(), self.card(rows, note))
        else:  # the curve in the card goes on
            path = self.weights_path.with_suffix(".json")
            card = json.loads(path.read_text(encoding="utf-8")) | {"curve": rows}
            path.write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        save_state(self.folder, modules, self.optimizer, {"rows": rows})

    def _ancestor(self) -> dict[str, Any] | None:
        """The weights that this run began with, with how they came about."""
        if self.start is None:
            return None
        kept = ("data", "recipe", "started_from", "trained_on", "validation", "curve")
        return {"name": self.start.name, "sha256": self.start.sha256} | {
            key: self.start.card[key] for key in kept if key in self.start.card
        }

    def card(self, rows: list[dict[str, Any]], note: dict[str, Any]) -> dict[str, Any]:
        """The card beside the weights: data, recipe, seed, curve, machine, validation figures, licence."""
        device = self.process.device
        machine = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
        row = rows[-1]
        return {
            "name": self.recipe.name,
            "description": self.recipe.description,
            "notice": "Research and teaching demonstration. Not a medical device. It measures, it does not diagnose.",
            "architecture": "DermoMamba (Hoang et al. 2025, doi 10.1007/s10044-025-01506-w)",
            "parameters": sum(p.numel() for p in self.network.parameters()),
            "image_size": list(self.recipe.image_size),
            "licence": "CC BY-NC 4.0",
            "data": self.data.description,
            "recipe": self.recipe.to_dict(),
            "started_from": self._ancestor(),
            "trained_on": {
                "machine": machine,
                "processes": self.process.world,
                "torch": torch.__version__,
                "scan_backend": backend_for(device),
                "seconds": row["seconds"],
            },
            "validation": {
                "n": len(self.data.val_images),
                "protocol": "macro mean over images at 192x256, probability 0.5, no post-processing",
                "epoch": row["epoch"],
                "iou": row["val_iou"],
                "dice": row["val_dice"],
            },
            "curve": rows,
        } | note
