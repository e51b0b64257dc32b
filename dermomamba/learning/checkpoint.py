"""The state of an interrupted run, as safetensors and JSON: no pickle, never half-written."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

_STATE, _PROGRESS = "state.safetensors", "progress"


def save_state(
    folder: Path, modules: dict[str, nn.Module], optimizer: torch.optim.Optimizer, progress: dict[str, Any]
) -> None:
    """Write everything that resuming needs into one file of ``folder``.

    Args:
        folder: the run's folder.
        modules: named modules whose ``state_dict`` is kept.
        optimizer: its per-parameter state is kept; its settings come from the recipe.
        progress: JSON-serialisable (epoch, best value, curve).
    """
    tensors = {f"{key}/{n}": t for key, module in modules.items() for n, t in module.state_dict().items()}
    for index, entries in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{n}": torch.as_tensor(value) for n, value in entries.items()}
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as draft:
        pass
    save_file(tensors, draft.name, metadata={_PROGRESS: json.dumps(progress)})
    os.replace(draft.name, folder / _STATE)


def load_state(folder: Path, modules: dict[str, nn.Module], optimizer: torch.optim.Optimizer) -> dict[str, Any] | None:
    """Restore what ``save_state`` wrote; returns the progress, or None when there is nothing to resume."""
    path = folder / _STATE
    if not path.is_file():
        return None
    with safe_open(path, framework="pt") as stored:
        progress = json.loads(stored.metadata()[_PROGRESS])
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - not a dict
    for key, module in modules.items():
        prefix = f"{key}/"
        module.load_state_dict({n[len(prefix) :]: t for n, t in tensors.items() if n.startswith(prefix)})
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer/"):
            _, index, entry = name.split("/")
            state.setdefault(int(index), {})[entry] = tensor
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
    return progress
