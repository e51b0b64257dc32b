"""What one image costs, counted both ways: as the paper counts, and in full.

The paper's 0.97 "GFLOPs" are what fvcore's counter gives for the published code: one multiply-accumulate (MAC)
is one operation, norms and up-sampling count a few operations an element, and operators that it does not know
are skipped: convolutions whose padding is given as a string, and all selective scans. Both counts belong beside
each other wherever a cost is quoted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dermomamba.network.dermomamba import IMAGE_SIZE, DermoMamba
from dermomamba.network.scan2d import DIRECTIONS, SS2D
from dermomamba.network.stages import DecoderStage

SCAN_OPS = 9  # operations for each state and step, as VMamba counts them; one more for each step's skip
NORM_OPS = {nn.BatchNorm2d: 2, nn.LayerNorm: 5, nn.InstanceNorm2d: 5}  # fvcore's, for each element


@dataclass(frozen=True)
class Cost:
    """Counts for one image.

    Attributes:
        parameters: trainable numbers.
        paper: as the paper counts ("0.97 GFLOPs").
        macs: the same with every convolution counted.
        scan_ops: operations of the selective scans.
        scan_states: states that the scans update, one exponential each.
    """

    parameters: int
    paper: int
    macs: int
    scan_ops: int
    scan_states: int

    @property
    def total(self) -> int:
        """Convolutions, linear layers and scans together."""
        return self.macs + self.scan_ops


class _Tally:
    """Hooks that add up one forward pass."""

    def __init__(self) -> None:
        self.paper = self.macs = self.scan_ops = self.scan_states = 0

    def attach(self, network: nn.Module) -> list[Any]:
        kinds: dict[type, Any] = {nn.Conv2d: self.conv, nn.Linear: self.linear, SS2D: self.scan}
        kinds[nn.ConvTranspose2d] = self.transposed
        kinds |= {DecoderStage: self.upsample} | dict.fromkeys(NORM_OPS, self.norm)
        return [m.register_forward_hook(kinds[type(m)]) for m in network.modules() if type(m) in kinds]

    def add(self, count: int, in_paper: bool = True) -> None:
        self.macs += count
        self.paper += count if in_paper else 0

    def conv(self, module: nn.Conv2d, _: Any, output: Tensor) -> None:
        taps = module.kernel_size[0] * module.kernel_size[1] * module.in_channels // module.groups
        self.add(output.numel() * taps, in_paper=not isinstance(module.padding, str))

    def transposed(self, module: nn.ConvTranspose2d, inputs: tuple[Tensor], _: Tensor) -> None:
        taps = module.kernel_size[0] * module.kernel_size[1] * module.out_channels // module.groups
        self.add(inputs[0].numel() * taps)

    def linear(self, module: nn.Linear, _: Any, output: Tensor) -> None:
        self.add(output.numel() * module.in_features)

    def norm(self, module: nn.Module, _: Any, output: Tensor) -> None:
        self.add(output.numel() * NORM_OPS[type(module)])

    def upsample(self, module: DecoderStage, inputs: tuple[Tensor, Tensor], _: Tensor) -> None:
        self.add(inputs[0].numel() * 4)

    def scan(self, module: SS2D, inputs: tuple[Tensor], _: Tensor) -> None:
        pixels = inputs[0].numel() // inputs[0].shape[-1]
        rows, inner = module.x_proj_weight.shape[1:]
        self.add(pixels * DIRECTIONS * inner * (rows + module.dt_projs_weight.shape[-1]))  # the projections
        channels, states = module.A_logs.shape  # 4 E, N
        self.scan_states += pixels * channels * states
        self.scan_ops += pixels * channels * (SCAN_OPS * states + 1)


def count(image_size: tuple[int, int] = IMAGE_SIZE) -> Cost:
    """Count one forward pass.

    Args:
        image_size: (height, width) of the network.

    Returns:
        The counts for one image.
    """
    return count_network(DermoMamba(image_size), image_size)


def count_network(network: nn.Module, image_size: tuple[int, int] = IMAGE_SIZE) -> Cost:
    """The same for any network of convolutions, linear layers, norms and SS2D; attention's products are not counted.

    Args:
        network: on the CPU; it is left in evaluation mode, with hooks taken off again.
        image_size: (height, width) of its input of three channels.
    """
    tally = _Tally()
    handles = tally.attach(network.eval())
    with torch.inference_mode():
        network(torch.zeros(1, 3, *image_size))
    for handle in handles:
        handle.remove()
    parameters = sum(p.numel() for p in network.parameters())
    return Cost(parameters, tally.paper, tally.macs, tally.scan_ops, tally.scan_states)
