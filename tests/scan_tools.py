"""What the parity tests of the scans share: back ends of this machine, tolerances, gradients."""

from __future__ import annotations

import pytest
import torch

from dermomamba.scan import BACKENDS, why_unavailable

DEVICES = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
USABLE = [(b, d) for b in BACKENDS for d in DEVICES if why_unavailable(b, d) is None]
PLAIN = [pytest.param(b, d, id=f"{b}-{d}") for b, d in USABLE if b != "fused"]
CROSS = [pytest.param(b, d, id=f"{b}-{d}") for b, d in USABLE]
EXACT = ("reference", "chunked", "cpu")  # take float64 and return it computed in float64
FLOAT32, GRADIENT, FLOAT64 = 1e-5, 1e-4, 1e-12


def relative(actual, expected):
    return ((actual.double().cpu() - expected).abs().max() / expected.abs().max().clamp_min(1e-30)).item()


def cast(operands, device, dtype=torch.float32):
    return {k: v.to(device, dtype).requires_grad_() for k, v in operands.items()}


def gradients(operator, operands, weight, **options):
    y = operator(**operands, **options)
    grads = torch.autograd.grad((y * weight.to(y.device, y.dtype)).sum(), tuple(operands.values()))
    return y.detach(), dict(zip(operands, grads, strict=True))
