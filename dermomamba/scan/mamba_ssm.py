"""The official CUDA kernel (mamba-ssm, Gu and Dao 2023), used only after it proved itself on the device at hand.

Importing mamba-ssm says little: since 2.3 it installs without its compiled kernel, and a kernel built for another
GPU may run and be wrong. So a tiny probe compares values and gradients with the reference once for each device.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util

import torch
from torch import Tensor

from dermomamba.scan import reference

INSTALL = "pip install --no-build-isolation -r requirements-gpu.txt"
TOLERANCE = 1e-3  # relative to the largest value; the kernel's float32 sums differ by about 1e-6


def _kernel():
    return importlib.import_module("mamba_ssm.ops.selective_scan_interface").selective_scan_fn


def _probe(device: torch.device) -> str | None:
    """Reason why the kernel's values or gradients cannot be trusted on ``device``, or None."""
    maker = torch.Generator().manual_seed(0)

    def operand(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=maker).to(device)

    u, delta = operand(2, 8, 37), operand(2, 8, 37)
    A, B, C, weight = -operand(8, 16).exp(), operand(2, 2, 16, 37), operand(2, 2, 16, 37), operand(2, 8, 37)
    D, bias = operand(8), operand(8)
    operands = {"u": u, "delta": delta, "A": A, "B": B, "C": C, "D": D, "delta_bias": bias}
    for tensor in operands.values():
        tensor.requires_grad_()
    r = reference.prepare(u, delta, A, B, C, bias, True)
    expected = reference.finish(reference.scan(r.u, r.delta, r.A, r.B, r.C), r.u, D, None, u.dtype)
    actual = _kernel()(u, delta, A, B, C, D, None, bias, True)
    pairs = {"y": (expected, actual)}
    grads = [torch.autograd.grad((y * weight).sum(), tuple(operands.values())) for y in (expected, actual)]
    pairs |= {f"d{name}": pair for name, pair in zip(operands, zip(*grads, strict=True), strict=True)}
    for name, (want, got) in pairs.items():
        error = ((got.float() - want).abs().max() / want.abs().max()).item()
        if not error <= TOLERANCE:
            return f"mamba-ssm is installed, but its {name} differs from the reference by {error:.1e} on {device}."
    return None


@functools.cache
def why_unavailable(device: torch.device) -> str | None:
    """Why mamba-ssm cannot be used on a device, as a sentence with what to do; None when it can.

    Args:
        device: where the tensors are.

    Returns:
        A reason, or None after the probe agreed with the reference.
    """
    if device.type != "cuda":
        return f"mamba-ssm runs on NVIDIA GPUs only, and these tensors are on {device.type}."
    if not torch.cuda.is_available():
        return "mamba-ssm needs an NVIDIA GPU, and PyTorch sees none on this machine."
    if importlib.util.find_spec("mamba_ssm") is None:
        return f"mamba-ssm is not installed; install it with: {INSTALL}"
    try:
        with torch.enable_grad(), torch.inference_mode(False), torch.autocast("cuda", enabled=False):
            return _probe(device)
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        return f"mamba-ssm is installed but does not run here ({error}); build it again with: {INSTALL}"


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
) -> Tensor:
    """mamba-ssm's ``selective_scan_fn`` with float32 parameters; shapes as in ``dermomamba.scan``."""
    u, delta = u.contiguous(), delta.contiguous()
    B, C = B.to(u.dtype).contiguous(), C.to(u.dtype).contiguous()
    D, delta_bias = (None if t is None else t.float().contiguous() for t in (D, delta_bias))
    z = None if z is None else z.contiguous()
    return _kernel()(u, delta.to(u.dtype), A.float().contiguous(), B, C, D, z, delta_bias, delta_softplus)
