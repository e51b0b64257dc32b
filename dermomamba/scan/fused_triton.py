"""Fused four-direction selective scan for NVIDIA GPUs: steps 3 to 6 of SS2D before the norm, both ways.

Equations: Gu and Dao 2023 (arXiv 2312.00752), algorithm 2, along the four directions of Liu et al. 2024
(arXiv 2401.10166), section 4.3. Geometry, buffers and arithmetic of the kernels: ``fused_kernels.py``.

Forward, for a slice of the batch whose work space stays near what ``fused_plan.py`` allows:
    1. orient    x in both orientations, so that four directions become two scans forth and back
    2. project   B, C, dt_raw at every position
    3. lanes     every lane from zero: end state, sum of delta
    4. carry     an associative scan over the lanes of each sequence: true state at the end of every lane
    5. scan      every lane again, from its true start: y of each direction
    6. merge     the four added in place
Backward recomputes 1 to 4 (step 3 also sums what each lane passes back, step 4 also joins that), then sweeps
with the sequence (dC, dA), against it (dB, d(delta), dx), and through the projections. Only the arguments
are saved: never anything of size L x N.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec

import torch
from torch import Tensor

from dermomamba.errors import BackendError
from dermomamba.scan import fused_plan
from dermomamba.scan.fused_plan import Tuning, can_take, forward_space, slices

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


FORWARD = Tuning(each=2, lanes=16)
BACKWARD = Tuning(each=2, lanes=16)


def why_unavailable(device: torch.device | str) -> str | None:
    """Why the fused scan cannot run on a device, as a sentence; None when it can.

    Args:
        device: where the tensors are.
    """
    device = torch.device(device)
    if find_spec("triton") is None:
        return "The fused scan needs Triton, which is not installed here; it comes with PyTorch for NVIDIA GPUs."
    if os.environ.get("TRITON_INTERPRET") == "1":
        return None
    if device.type != "cuda" or not torch.cuda.is_available():
        return f"The fused scan runs on NVIDIA GPUs only, and the chosen device is {device.type!r}."
    if torch.version.hip is not None:
        return "The fused scan is written for NVIDIA GPUs; this is an AMD one."
    if torch.cuda.get_device_capability(device) < (8, 0):
        return "The fused scan needs an NVIDIA GPU of the Ampere generation (2020) or newer."
    return None


def _on(x: Tensor) -> AbstractContextManager:
    return torch.cuda.device(x.device) if x.is_cuda else nullcontext()


def _float(*weights: Tensor) -> tuple[Tensor, ...]:
    return tuple(w.detach().float().contiguous() for w in weights)


def _memory(x: Tensor) -> int | None:
    """Bytes of the GPU that x is on."""
    return torch.cuda.get_device_properties(x.device).total_memory if x.is_cuda else None


def forward(
    x: Tensor,
    x_proj_weight: Tensor,
    dt_projs_weight: Tensor,
    dt_projs_bias: Tensor,
    A_logs: Tensor,
    Ds: Tensor,
    stream_dtype: torch.dtype,
) -> Tensor:
    """The launches of the forward, for operators that contain a scan; see ``cross_scan_fused``.

    Args:
        x: (B, E, H, W), and the parameters as there.
        stream_dtype: how the projected B, C and dt are stored.

    Returns:
        (B, E, H, W), dtype and memory layout of x.
    """
    from dermomamba.scan.fused_launch import Pass

    weights = _float(x_proj_weight, dt_projs_weight, dt_projs_bias, A_logs, Ds)
    out = torch.empty_like(x)
    rows, channels = x_proj_weight.shape[1:]
    bytes_a_pixel = 4 * rows * stream_dtype.itemsize + channels * 6 * x.itemsize
    with _on(x):
        for part in slices(x.shape[0], bytes_a_pixel * x[0, 0].numel(), forward_space(_memory(x))):
            one = Pass(x[part], weights, stream_dtype, FORWARD)
            one.merge(one.scan(), out[part], four=True)
    return out


_forward = torch.library.custom_op("dermomamba::cross_scan_fused", forward, mutates_args=())


@_forward.register_fake
def _(x, x_proj_weight, dt_projs_weight, dt_projs_bias, A_logs, Ds, stream_dtype):
    return torch.empty_like(x)


def backward(
    dy: Tensor,
    x: Tensor,
    x_proj_weight: Tensor,
    dt_projs_weight: Tensor,
    dt_projs_bias: Tensor,
    A_logs: Tensor,
    Ds: Tensor,
    stream_dtype: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The launches of the backward, for operators that contain a scan.

    Args:
        dy: (B, E, H, W), gradient of the output; x, the parameters and ``stream_dtype`` as for ``forward``.

    Returns:
        Gradients of x and the five parameters, in their shapes and dtypes.
    """
    from dermomamba.scan.fused_launch import Pass

    weights = _float(x_proj_weight, dt_projs_weight, dt_projs_bias, A_logs, Ds)
    dx = torch.empty_like(x)
    rows, channels = x_proj_weight.shape[1:]
    bytes_a_pixel = 4 * rows * (stream_dtype.itemsize + 4) + channels * (16 + 4 * x.itemsize)
    total: list[Tensor] = []
    with _on(x):
        for part in slices(x.shape[0], bytes_a_pixel * x[0, 0].numel(), fused_plan.WORKSPACE):
            one = Pass(x[part], weights, stream_dtype, BACKWARD)
            sums = one.gradients(dy[part], dx[part])
            total = [t + s for t, s in zip(total, sums, strict=True)] if total else list(sums)
    d_w, small, d_a = total
    d_a_logs = (d_a.flatten(0, 1) * -weights[3].exp()).to(A_logs.dtype)  # (4E, N)
    return (
        dx,
        d_w.to(x_proj_weight.dtype),
        small[..., 2:].to(dt_projs_weight.dtype).contiguous(),
        small[..., 1].to(dt_projs_bias.dtype).contiguous(),
        d_a_logs,
        small[..., 0].flatten().to(Ds.dtype).contiguous(),
    )


_backward = torch.library.custom_op("dermomamba::cross_scan_fused_backward", backward, mutates_args=())


@_backward.register_fake
def _(dy, x, x_proj_weight, dt_projs_weight, dt_projs_bias, A_logs, Ds, stream_dtype):
    weights = (x_proj_weight, dt_projs_weight, dt_projs_bias, A_logs, Ds)
    return (torch.empty_like(x), *(torch.empty(w.shape, dtype=w.dtype, device=w.device) for w in weights))


def _keep(ctx, inputs, output) -> None:
    *tensors, ctx.stream_dtype = inputs
    ctx.save_for_backward(*tensors)


def _differentiate(ctx, dy):
    return (*_backward(dy, *ctx.saved_tensors, ctx.stream_dtype), None)


_forward.register_autograd(_differentiate, setup_context=_keep)


def cross_scan_fused(
    x: Tensor,
    x_proj_weight: Tensor,
    dt_projs_weight: Tensor,
    dt_projs_bias: Tensor,
    A_logs: Tensor,
    Ds: Tensor,
) -> Tensor:
    """Scan an image along four directions and add the results, in one differentiable operator.

    State and decay are float32. Where x is 16-bit, or under autocast, the projected B, C and dt are stored in
    16 bits, as a 16-bit matrix product would give them.

    Args:
        x: (B, E, H, W) float32, bfloat16 or float16, any strides.
        x_proj_weight: (4, R + 2N, E), rows dt, B, C of each direction; N a power of two.
        dt_projs_weight: (4, E, R).
        dt_projs_bias: (4, E).
        A_logs: (4E, N), A = -exp(A_logs).
        Ds: (4E,).

    Returns:
        (B, E, H, W), dtype of x.

    Raises:
        BackendError: where ``why_unavailable`` names a reason, or for sizes or dtypes it cannot take.

    Source:
        SS2D of VMamba v0 (Liu et al. 2024, arXiv 2401.10166), section 4.3.
    """
    if reason := why_unavailable(x.device):
        raise BackendError(reason)
    if x.dtype not in DTYPES:
        raise BackendError(f"The fused scan takes 32- or 16-bit numbers, not {x.dtype}; use another scan back end.")
    states = A_logs.shape[-1]
    if not can_take(states):
        raise BackendError(f"The fused scan takes 8, 16, 32 ... states, not {states}; use another scan back end.")
    stream_dtype = x.dtype
    if x.dtype == torch.float32 and torch.is_autocast_enabled(x.device.type):
        stream_dtype = torch.get_autocast_dtype(x.device.type)
    return _forward(x, x_proj_weight, dt_projs_weight, dt_projs_bias, A_logs, Ds, stream_dtype)
