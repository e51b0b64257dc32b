"""What a training step needs beside network and loss: processes, precision, AdamW, schedules, batches."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed import init_process_group, is_initialized

from dermomamba.learning.recipe import Recipe
from dermomamba.learning.sampling import epoch_order


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
    for batch in shared_out(epoch_order([n], [n], epoch, recipe.seed), recipe, process):
        yield batch.to(process.device)


def shared_out(order: Tensor, recipe: Recipe, process: Process) -> Iterator[Tensor]:
    """This process's share of each whole batch of an epoch's order, on the CPU."""
    size = min(recipe.batch_size, len(order))
    for batch in order[: len(order) - len(order) % size].split(size):
        yield batch[process.rank :: process.world]


def average_decay(step: int, decay: float) -> float:
    """Decay of the average at a step (from 0): lower in the beginning, so that the initial values are forgotten."""
    return min(decay, (1 + step) / (10 + step))


def autocast(recipe: Recipe, device: torch.device) -> AbstractContextManager[Any]:
    """bfloat16 where the recipe asks for it and the device gains from it."""
    if recipe.precision == "bf16" and device.type == "cuda":
        return torch.autocast("cuda", torch.bfloat16)
    return nullcontext()
