"""A network for tests of its rearranged forms."""

from __future__ import annotations

import torch
from torch import nn

from dermomamba.network import DermoMamba


def trained_like(size: tuple[int, int]) -> DermoMamba:
    """A network whose norms and biases do something, as after training."""
    torch.manual_seed(3)
    network = DermoMamba(size).eval()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                assert module.running_mean is not None
                assert module.running_var is not None
                module.running_mean.normal_(0, 0.2)
                module.running_var.uniform_(0.5, 2)
            if isinstance(module, nn.BatchNorm2d | nn.LayerNorm | nn.InstanceNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.2)
        for name, parameter in network.named_parameters():
            if name.endswith("scale"):
                parameter.fill_(0.7)
    return network
