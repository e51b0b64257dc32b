"""Which weights there are, their cards, loading and saving.

Weights are two files side by side: ``NAME.safetensors`` (float16 tensors, no code) and ``NAME.json``, the card:
what they were trained on, how, how good they are and under which licence. Pickle is never read.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from dermomamba.errors import WeightsError
from dermomamba.network.dermomamba import IMAGE_SIZE, STRIDE, DermoMamba

FOLDER = Path(__file__).resolve().parent.parent / "weights"
DEFAULT = "dermomamba-derm"
MAX_SIDE = 2048

_ORIGIN = ("data", "recipe", "started_from", "averaged_from", "taught_by", "trained_on", "validation", "curve")
"""Parts of a card that tell how its weights came about."""


@dataclass(frozen=True)
class Weights:
    """Loaded weights.

    Attributes:
        name: the file's name without its ending.
        state_dict: tensors under our names, float32.
        card: the JSON card, empty when the file has none.
        sha256: of the safetensors file.
        image_size: (height, width) that the network is built for.
    """

    name: str
    state_dict: dict[str, Tensor]
    card: dict[str, Any]
    sha256: str
    image_size: tuple[int, int]

    def network(self) -> DermoMamba:
        """A new network with these weights, in evaluation mode."""
        network = DermoMamba(self.image_size)
        network.load_state_dict(self.state_dict)
        return network.eval()

    def origin(self, *more: str) -> dict[str, Any]:
        """Name, checksum and how these weights came about, for the card of what goes on from them.

        Args:
            more: other parts of the card to hand down.
        """
        kept = (*_ORIGIN, *more)
        return {"name": self.name, "sha256": self.sha256} | {key: self.card[key] for key in kept if key in self.card}


def available() -> tuple[str, ...]:
    """Names of the weights that are shipped, the default first."""
    names = sorted(path.stem for path in FOLDER.glob("*.safetensors"))
    return tuple(sorted(names, key=lambda name: name != DEFAULT))


def locate(name_or_path: str | os.PathLike[str]) -> Path:
    """The safetensors file of a shipped name or a path.

    Raises:
        WeightsError: there is none.
    """
    for path in (Path(name_or_path), FOLDER / f"{name_or_path}.safetensors"):
        if path.is_file():
            return path
    names = ", ".join(available()) or "none"
    raise WeightsError(f"There are no weights called '{name_or_path}'. Shipped are: {names}.")


def read_card(path: Path) -> dict[str, Any]:
    """The card beside a safetensors file, or an empty one."""
    card = path.with_suffix(".json")
    return json.loads(card.read_text(encoding="utf-8")) if card.is_file() else {}


def check(state_dict: Mapping[str, Tensor], image_size: tuple[int, int]) -> None:
    """Refuse tensors that are not a DermoMamba for this image size.

    Raises:
        WeightsError: names the first tensor that is unknown, missing or of another shape.
    """
    with torch.device("meta"):
        wanted = {name: tensor.shape for name, tensor in DermoMamba(image_size).state_dict().items()}
    height, width = image_size
    for name, tensor in state_dict.items():
        if name not in wanted:
            raise WeightsError(f"This file does not hold DermoMamba weights: it has a tensor '{name}'.")
        if tensor.shape != wanted[name]:
            raise WeightsError(
                f"These weights are not for photos of {height}x{width}: '{name}' is {tuple(tensor.shape)}, "
                f"expected {tuple(wanted[name])}."
            )
    for name in wanted:
        if name not in state_dict:
            raise WeightsError(f"This file is incomplete: the tensor '{name}' is missing.")


def _image_size(card: Mapping[str, Any]) -> tuple[int, int]:
    """(height, width) that a card names, the paper's when it names none."""
    size = card.get("image_size", IMAGE_SIZE)
    usable = isinstance(size, list | tuple) and len(size) == 2 and all(type(side) is int for side in size)
    if not usable or not all(STRIDE <= side <= MAX_SIDE and side % STRIDE == 0 for side in size):
        raise WeightsError(f"The card of these weights names no usable image size (multiples of {STRIDE} px).")
    return size[0], size[1]


def load(name_or_path: str | os.PathLike[str] = DEFAULT) -> Weights:
    """Load weights by shipped name or path; only safetensors are read.

    Args:
        name_or_path: a name from ``available()`` or a ``.safetensors`` file.

    Returns:
        The weights in float32, with card and hash.

    Raises:
        WeightsError: unknown name, not a safetensors file, or tensors that do not fit.
    """
    path = locate(name_or_path)
    try:
        stored = load_file(path)
    except SafetensorError as error:
        raise WeightsError(
            f"'{path.name}' is not a safetensors file, or not a whole one. Copy it again; other formats may run code"
            " and are not opened."
        ) from error
    card = read_card(path)
    image_size = _image_size(card)
    check(stored, image_size)
    state_dict = {name: t.float() if t.is_floating_point() else t for name, t in stored.items()}
    return Weights(path.stem, state_dict, card, hashlib.sha256(path.read_bytes()).hexdigest(), image_size)


def untrained(image_size: tuple[int, int] = IMAGE_SIZE, seed: int = 0) -> Weights:
    """The initial values of a network that has learned nothing: a control beside trained weights.

    Args:
        image_size: (height, width) in pixels.
        seed: of the initial values; the same seed gives the same tensors.

    Returns:
        Weights called "untrained", with an empty card and no file hash.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = DermoMamba(image_size)
    return Weights("untrained", dict(network.state_dict()), {}, "", image_size)


def save(path: Path, state_dict: Mapping[str, Tensor], card: Mapping[str, Any]) -> None:
    """Write ``path`` (float16 safetensors) and its card; neither is ever left half-written.

    Args:
        path: ends in ``.safetensors``.
        state_dict: a DermoMamba's tensors.
        card: JSON-serialisable.
    """
    tensors = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous().cpu()
        for name, tensor in state_dict.items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        draft = Path(folder) / "weights"
        save_file(tensors, draft)
        draft_card = Path(folder) / "card"
        draft_card.write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(draft, path)
        os.replace(draft_card, path.with_suffix(".json"))
