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
from torch.optim.swa_utils import AveragedModel

from dermomamba.learning.recipe import Recipe
from dermomamba.learning.sampling import epoch_order

GRAPH_TOLERANCE = 0.05
"""Largest relative difference between a graph and the network it was taken from, in bfloat16."""


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


@torch.no_grad()
def follow(average: AveragedModel, network: nn.Module, step: int, decay: float) -> None:
    """``average.update_parameters(network)`` without its waits for the device in every step.

    Args:
        average: of parameters and buffers.
        network: what it follows.
        step: steps averaged so far; the first one copies.
        decay: the average's share that stays.
    """
    pairs = list(zip(average.module.state_dict().values(), network.state_dict().values(), strict=True))
    numbers = [(a, n) for a, n in pairs if a.is_floating_point()]
    torch._foreach_lerp_([a for a, _ in numbers], [n for _, n in numbers], 1.0 - decay if step else 1.0)
    for a, n in pairs:
        if not a.is_floating_point():
            a.copy_(n)
    average.n_averaged += 1


def graphed(network: nn.Module, x: Tensor, recipe: Recipe) -> str | None:
    """Make a network's forward and backward in training replayed CUDA graphs, for one size of batch.

    Launch by launch, a GPU waits for some 5,000 launches a step (docs/performance.md). In evaluation the network runs
    as it was.

    Args:
        network: in training mode, on the GPU; changed.
        x: a batch of the shape and layout of all others.
        recipe: for its precision.

    Returns:
        Why it could not be done, when it could not; the network then trains as before.
    """
    kept = {name: buffer.clone() for name, buffer in network.named_buffers()}
    try:
        expected = _once(network, x, recipe)
        with autocast(recipe, x.device, cached=False):  # a cast weight that is kept would lie in the graph's memory
            torch.cuda.make_graphed_callables(network, (x.clone(),), allow_unused_input=True)
        for found, right in zip(_once(network, x, recipe), expected, strict=True):
            error = float((found - right).norm() / right.norm())
            if not error < GRAPH_TOLERANCE:
                vars(network).pop("forward")
                return f"the graph is off by {error:.1e}"
    except RuntimeError as problem:
        vars(network).pop("forward", None)
        return str(problem).splitlines()[0]
    finally:  # the rounds before the capture moved the running statistics
        for name, buffer in network.named_buffers():
            buffer.copy_(kept[name])
    return None


def _once(network: nn.Module, x: Tensor, recipe: Recipe) -> tuple[Tensor, Tensor]:
    """Logits, and all gradients of their mean square in one vector."""
    with autocast(recipe, x.device):
        logits = network(x).float()
    found = torch.autograd.grad(logits.square().mean(), list(network.parameters()), allow_unused=True)
    return logits.detach().clone(), torch.cat([g.flatten() for g in found if g is not None])


def autocast(recipe: Recipe, device: torch.device, cached: bool = True) -> AbstractContextManager[Any]:
    """bfloat16 where the recipe asks for it and the device gains from it; ``cached`` keeps the weights' casts."""
    if recipe.precision == "bf16" and device.type == "cuda":
        return torch.autocast("cuda", torch.bfloat16, cache_enabled=cached)
    return nullcontext()
