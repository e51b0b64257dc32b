"""Whether the fused operators around the scan may be used on a device: only after a tiny probe agreed there.

The probe runs a small SS2D both ways, fused and plain, forward and backward, with the same scan in both, so that it
judges what is around the scan alone; the scan has its own parity. In the manner of ``scan.mamba_ssm``.
"""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from dermomamba.network.scan2d import SS2D

LOG = logging.getLogger(__name__)
TOLERANCE = 1e-3
"""Largest difference as a share of the largest value; a wrong kernel is off by far more, rounding by far less."""
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
    """Largest relative difference of output and gradients between the two ways.

    Args:
        device: where.

    Returns:
        The largest of all tensors' max |fused - plain| / max |plain|; infinite when something is not finite.
    """
    from dermomamba.network.scan2d import SS2D

    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        block, norm = SS2D(4).to(device), torch.nn.LayerNorm(4, eps=1e-6).to(device)
        x = torch.randn(2, 5, 7, 4, device=device, requires_grad=True)
    learned = (x, *norm.parameters(), *block.parameters())
    plain, fused = (_both_ways(block, norm, x, learned, way) for way in (False, True))
    worst = 0.0
    for expected, actual in zip(plain, fused, strict=True):
        error = float((actual - expected).abs().max() / expected.abs().max().clamp_min(1e-20))
        worst = max(worst, error) if error == error else float("inf")
    return worst


def _both_ways(
    block: SS2D, norm: torch.nn.LayerNorm, x: torch.Tensor, learned: tuple[torch.Tensor, ...], fused: bool
) -> tuple[torch.Tensor, ...]:
    """Output and gradients, one way."""
    y = block.around(x, norm, x) if fused else x + block.plain(norm(x))
    weight = torch.linspace(-1, 1, y.numel(), device=y.device).view_as(y)
    return (y.detach(), *torch.autograd.grad((y * weight).sum(), learned))
