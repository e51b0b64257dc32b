"""Checkpoints of the published code (github.com, Hoang et al. 2025) under our names, and back.

The published network has the same tensors under other names; the map below is one to one, so that converting
there and back returns the same checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import torch
from torch import Tensor

from dermomamba.errors import WeightsError
from dermomamba.network.dermomamba import IMAGE_SIZE, STRIDE, DermoMamba

_MODULES = {  # ours -> published, module prefixes; the longest prefix that fits is used
    "stem": "pw_in",
    "head": "conv_out",
    "pcam.conv": "b2.dw",
    "sweep": "b1",
    "sweep.norm_in": "b1.ln",
    "sweep.norm": "b1.bn",
    "sweep.scan_hwc": "b1.mamba1",
    "sweep.scan_wch": "b1.mamba2",
    "sweep.scan_chw": "b1.mamba3",
}
for _i in range(5):
    _e, _s, _d = f"encoder.{_i}", f"gates.{_i}", f"decoder.{_i}"
    _MODULES |= {
        f"{_e}.conv": f"e{_i + 1}.pw",
        f"{_e}.norm": f"e{_i + 1}.bn",
        f"{_e}.res_mamba": f"e{_i + 1}.resmamba",
        f"{_e}.res_mamba.norm": f"e{_i + 1}.resmamba.ins_norm",
        f"{_e}.res_mamba.block.norm": f"e{_i + 1}.resmamba.block.bn",
        f"{_e}.res_mamba.block.vss.norm": f"e{_i + 1}.resmamba.block.vss.ln_1",
        f"{_e}.res_mamba.block.vss.ss2d": f"e{_i + 1}.resmamba.block.vss.self_attention",
        f"{_s}.channel.reduce": f"s{_i + 1}.ChannelGate.mlp.1",
        f"{_s}.channel.expand": f"s{_i + 1}.ChannelGate.mlp.3",
        f"{_s}.spatial.conv": f"s{_i + 1}.SpatialGate.spatial.conv",
        f"{_s}.spatial.norm": f"s{_i + 1}.SpatialGate.spatial.bn",
        f"{_d}.fuse": f"d{5 - _i}.pw",
        f"{_d}.conv": f"d{5 - _i}.pw2",
        f"{_d}.norm": f"d{5 - _i}.bn",
    }
    for _j in range(3):
        _mixer = f"{_e}.res_mamba.block.mixers.{_j}"
        _MODULES |= {
            f"{_mixer}.conv_1x7": f"e{_i + 1}.resmamba.block.dw{_j + 1}.mixer_w",
            f"{_mixer}.conv_7x1": f"e{_i + 1}.resmamba.block.dw{_j + 1}.mixer_h",
            f"{_mixer}.conv_3x3": f"e{_i + 1}.resmamba.block.dw{_j + 1}.conv",
        }


def _published_name(ours: str) -> str:
    prefix = max((p for p in _MODULES if ours.startswith(p + ".")), key=len)
    return _MODULES[prefix] + ours[len(prefix) :]


@cache
def _shapes(image_size: tuple[int, int]) -> dict[str, torch.Size]:
    """Our names and shapes, without allocating the network."""
    with torch.device("meta"):
        return {name: tensor.shape for name, tensor in DermoMamba(image_size).state_dict().items()}


@cache
def names(image_size: tuple[int, int] = IMAGE_SIZE) -> dict[str, str]:
    """The one-to-one map from published names to ours, in our order."""
    return {_published_name(ours): ours for ours in _shapes(image_size)}


def convert(state_dict: Mapping[str, Tensor], image_size: tuple[int, int] = IMAGE_SIZE) -> dict[str, Tensor]:
    """Map a checkpoint of the published code onto our names.

    Args:
        state_dict: tensors under the published names (386 for 192x256); a leading ``model.`` (Lightning's) is
            taken off.
        image_size: (height, width) that the network was built for.

    Returns:
        The same tensors under our names, for ``DermoMamba(image_size).load_state_dict``.

    Raises:
        WeightsError: a key is missing, unknown, or has another shape; the message names the first one.
    """
    state_dict = {name.removeprefix("model."): tensor for name, tensor in state_dict.items()}
    known, shapes = names(image_size), _shapes(image_size)
    height, width = image_size
    network = f"the published DermoMamba for {height}x{width}"
    for name, tensor in state_dict.items():
        if name not in known:
            raise WeightsError(f"These are not weights of {network}: it has no '{name}'.")
        if tensor.shape != shapes[known[name]]:
            hint = f" (SweepMamba is tied to H/{STRIDE} and W/{STRIDE})" if ".mamba" in name else ""
            raise WeightsError(
                f"These weights do not fit {network}: '{name}' is {tuple(tensor.shape)}, "
                f"expected {tuple(shapes[known[name]])}{hint}."
            )
    for name in known:
        if name not in state_dict:
            raise WeightsError(f"These weights of {network} are incomplete: '{name}' is missing.")
    return {ours: state_dict[published] for published, ours in known.items()}


def to_published(state_dict: Mapping[str, Tensor], image_size: tuple[int, int] = IMAGE_SIZE) -> dict[str, Tensor]:
    """The way back: our names to the published ones, so that the published code can load our weights."""
    return {published: state_dict[ours] for published, ours in names(image_size).items()}
