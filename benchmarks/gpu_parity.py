"""What ``gpu_session.py`` checks before it times anything: fused blocks and their gradients against float64."""

from __future__ import annotations

import contextlib
import os
from typing import Any

import torch
from torch import Tensor, nn

from dermomamba.network.cross_scale import CrossScaleMambaBlock
from dermomamba.network.fused_block import mamba_block
from dermomamba.network.scan2d import SS2D, VSSBlock
from dermomamba.scan import VARIABLE

STAGES = ((16, 192, 256), (32, 96, 128), (64, 48, 64), (128, 24, 32), (256, 12, 16), (16, 37, 53), (32, 65, 1))
"""Channels, height and width of Cross-Scale Mamba Blocks: the encoder's, and odd ones."""
ODD = ((4, 37, 53), (16, 1, 77), (6, 65, 1))
SWEEPS = ((64, 6, 8), (6, 8, 64), (8, 64, 6))
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 3e-2}


@contextlib.contextmanager
def backend(name: str):
    """The scan back end, and with it fused operators or plain PyTorch around the scan."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = name
    try:
        yield
    finally:
        os.environ.pop(VARIABLE)
        if before is not None:
            os.environ[VARIABLE] = before


def difference(a: Tensor, b: Tensor) -> float:
    return ((a.double() - b.double()).norm() / b.double().norm().clamp_min(1e-12)).item()


class BeforeNorm(nn.Module):
    """A Cross-Scale Mamba Block without its BatchNorm and ReLU; float64 takes the plain path.

    Behind the ReLU, values near zero change sides by a rounding, and their gradients come or go as a whole: bfloat16
    then seems ten times less accurate than it is.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block = CrossScaleMambaBlock(channels)
        self.block.norm = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        block = self.block
        if x.dtype == torch.float64:
            return block.before_norm(x)
        return mamba_block(x, *block.in_order(), block.vss.norm.eps, block.vss.ss2d.out_norm.eps)


def derivatives(module: nn.Module, x: Tensor, dy: Tensor) -> list[Tensor]:
    y = module(x)
    return [y, *torch.autograd.grad(y, [x, *module.parameters()], dy.to(y))]


def parity(kind: type[nn.Module], channels: int, height: int, width: int, dtype: torch.dtype) -> dict[str, Any]:
    """Largest relative error of result and gradients, against plain PyTorch in float64 (chunked scan)."""
    torch.manual_seed(0)
    module, x = prepared(kind, channels, height, width, dtype)
    dy = torch.randn_like(x)
    with backend("fused"):
        ours = derivatives(module, x, dy)
    with backend("chunked"):
        exact = derivatives(module.double(), x.detach().double().requires_grad_(), dy.double())
    names = ["y", "dx", *(f"d {name}" for name, _ in module.named_parameters())]
    errors = {n: difference(a, b) for n, a, b in zip(names, ours, exact, strict=True)}
    worst = max(errors, key=errors.__getitem__)
    good = errors[worst] < TOLERANCE[dtype]
    return {"pass": good, "worst": worst, "error": errors[worst], "y": errors["y"], "dx": errors["dx"]}


def prepared(
    kind: type[nn.Module], channels: int, height: int, width: int, dtype: torch.dtype
) -> tuple[nn.Module, Tensor]:
    """A module with noise on its parameters and an input of the layout it takes; one image of the largest."""
    module = kind(channels).cuda()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    batch = 1 if height * width > 40_000 else 2
    x = torch.randn(batch, height, width, channels, device="cuda").to(dtype)
    return module, (x if kind in (VSSBlock, SS2D) else x.permute(0, 3, 1, 2)).requires_grad_()


def cases() -> list[tuple[type[nn.Module], tuple[int, int, int]]]:
    blocks: list[tuple[type[nn.Module], tuple[int, int, int]]] = [(BeforeNorm, shape) for shape in STAGES]
    return blocks + [(VSSBlock, shape) for shape in ODD] + [(SS2D, shape) for shape in SWEEPS]


def folded_parity(shape: tuple[int, int, int], dtype: torch.dtype) -> dict[str, Any]:
    """The block for inference, BatchNorm and ReLU inside, against plain PyTorch in float64."""
    torch.manual_seed(0)
    module, x = prepared(CrossScaleMambaBlock, *shape, dtype)
    x = x.detach()
    with torch.no_grad():
        module(x.float())  # in training: running statistics that are not the initial ones
        module.eval()
        with backend("fused"):
            ours = module(x)
        with backend("chunked"):
            exact = module.double()(x.double())
    error = difference(ours, exact)
    return {"pass": error < TOLERANCE[dtype], "error": error}
