"""Whether the fused Mamba blocks may be used on a device: only after a tiny probe agreed there.

The probe runs a small Cross-Scale Mamba Block, fused in float32 and plain in float64: forward and backward as in
training, then the form for inference with the norm folded. All must agree. In the manner of ``scan.mamba_ssm``.
"""

from __future__ import annotations

import copy
import functools
import logging
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from dermomamba.network.cross_scale import CrossScaleMambaBlock

LOG = logging.getLogger(__name__)
TOLERANCE = 1e-3
"""Largest difference as a share of the largest value; a wrong kernel is off by far more, rounding by far less."""
SMALLEST = 1e-2
"""Share of the largest gradient that a smaller one is measured by: batch statistics leave some next to nothing."""
SENTENCE = "The fused operators around the scan are not used on %s: %s. The network runs as before, only slower."


@torch.compiler.assume_constant_result
def usable(device: torch.device) -> bool:
    """Whether the fused operators agree with the plain ones on this device; said once when they do not."""
    return _agrees(str(device))


@functools.cache
def _agrees(device: str) -> bool:
    try:
        with torch.enable_grad(), torch.inference_mode(False), torch.autocast(torch.device(device).type, enabled=False):
            error = difference(torch.device(device))
    except Exception as problem:  # whatever a kernel compiler may raise; said, and the plain path goes on
        LOG.warning(SENTENCE, device, problem)
        return False
    if error > TOLERANCE:
        LOG.warning(SENTENCE, device, f"they differ from the plain ones by {error:.1e}")
    return error <= TOLERANCE


def difference(device: torch.device) -> float:
    """Largest relative difference of outputs and gradients between the two ways.

    Args:
        device: where.

    Returns:
        The largest of all tensors' max |fused - plain| / max |plain|; infinite when something is not finite.
    """
    from dermomamba.network.cross_scale import CrossScaleMambaBlock

    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        block = CrossScaleMambaBlock(16).to(device)
        x = torch.randn(1, 16, 4, 22, device=device)
    exact = copy.deepcopy(block).double()
    worst = 0.0
    for training in (True, False):
        ours = _outcome(block.train(training), x, fused=True)
        theirs = _outcome(exact.train(training), x.double(), fused=False)
        least = SMALLEST * max(float(t.abs().max()) for t in theirs)
        for actual, expected in zip(ours, theirs, strict=True):
            error = float((actual - expected).abs().max() / expected.abs().max().clamp_min(least))
            worst = max(worst, error) if error == error else float("inf")
    return worst


def _outcome(block: CrossScaleMambaBlock, x: Tensor, fused: bool) -> tuple[Tensor, ...]:
    """In training output and gradients of input and parameters, else the output; float64 takes the plain path."""
    call = block.fused if fused else block
    if not block.training:
        with torch.no_grad():
            return (call(x),)
    x = x.clone().requires_grad_()
    y = call(x)
    weight = torch.linspace(-1, 2, y.numel(), device=y.device, dtype=y.dtype).view_as(y)
    return (y.detach(), *torch.autograd.grad((y * weight).sum(), (x, *block.parameters())))
