"""Selective scan, one signature over several back ends: chosen by the tensor's device, checked, never silently wrong.

``selective_scan`` is Mamba's operator (Gu and Dao 2023, arXiv 2312.00752) with the shapes of mamba-ssm;
``cross_scan`` is the four-direction scan of an image (VMamba, arXiv 2401.10166, section 4.3).

======================  =========================================================  =======================
back end                what it is                                                 chosen for
======================  =========================================================  =======================
``cpu``                 compiled by numba, fused cross_scan, float32               CPU
``fused``               Triton, fused cross_scan                                   CUDA
``mamba_ssm``           the official kernel, after a probe against the reference   CUDA, without ``fused``
``chunked``             plain PyTorch, two passes                                  every other device
``reference``           the recurrence step by step                                tests
======================  =========================================================  =======================

``DERMOMAMBA_SCAN`` in the environment overrides the choice. float64 on ``cpu`` is computed by ``chunked``, since the
compiled kernel is float32 only.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import logging
import os

import torch
from torch import Tensor

from dermomamba.errors import BackendError
from dermomamba.scan import chunked, mamba_ssm, reference

BACKENDS = ("reference", "chunked", "cpu", "fused", "mamba_ssm")
VARIABLE = "DERMOMAMBA_SCAN"
_log = logging.getLogger(__name__)


@functools.cache
def _say_once(sentence: str) -> None:
    _log.warning(sentence)


def why_unavailable(backend: str, device: torch.device | str) -> str | None:
    """Why a back end cannot run on a device, as a sentence with what to do; None when it can.

    Args:
        backend: one of ``BACKENDS``.
        device: where the tensors are.

    Returns:
        A reason, or None.
    """
    device = torch.device(device)
    if backend == "cpu":
        if device.type != "cpu":
            return f"The scan back end 'cpu' computes on the processor, and these tensors are on {device.type}."
        if importlib.util.find_spec("numba") is None:
            return "The compiled scan for the processor needs numba; install it with: pip install numba"
    elif backend == "fused":
        if importlib.util.find_spec("triton") is None:
            return (
                "The fused scan needs Triton, which PyTorch for CUDA brings along; install it with: pip install triton"
            )
        return importlib.import_module("dermomamba.scan.fused_triton").why_unavailable(device)
    elif backend == "mamba_ssm":
        return mamba_ssm.why_unavailable(device)
    elif backend not in BACKENDS:
        return f"There is no scan back end named '{backend}'; choose one of {', '.join(BACKENDS)}."
    return None


def _automatic(device: torch.device, candidates: dict[str, tuple[str, ...]]) -> str:
    reasons = []
    for name in candidates.get(device.type, ()):
        reason = why_unavailable(name, device)
        if reason is None:
            return name
        reasons.append(reason)
    if reasons:
        _say_once(" ".join(reasons) + " Until then the scan runs in plain PyTorch, exact but slower.")
    return "chunked"


def _resolve(backend: str, device: torch.device, fused: bool) -> str:
    """The back end's name for this call; ``fused`` tells whether the caller is cross_scan."""
    asked = backend
    if backend == "auto":
        asked = os.environ.get(VARIABLE, "").strip().lower() or "auto"
        if asked == "fused" and not fused:  # the variable speaks of the network; the bare operator has no such kernel
            asked = "auto"
    if asked == "auto":
        cuda = ("fused", "mamba_ssm") if fused else ("mamba_ssm",)
        return _automatic(device, {"cpu": ("cpu",), "cuda": cuda})
    source = f"{VARIABLE}={asked}" if backend == "auto" else f"backend='{asked}'"
    reason = why_unavailable(asked, device)
    if asked == "fused" and not fused:
        reason = "The fused back end computes the four-direction scan of an image only; choose another one."
    if reason is not None:
        raise BackendError(f"{source} was asked for. {reason} To let the program choose, leave it unset.")
    return asked


# For torch.compile the answer is a constant, so that a compiled network has no break here. This is the mark that
# torch.compiler.assume_constant_result sets; calling that would import the whole compiler at the app's start.
_resolve._dynamo_marked_constant = True  # type: ignore[attr-defined]


def backend_for(device: torch.device | str) -> str:
    """Name of the back end that ``backend="auto"`` means for ``cross_scan`` on a device.

    Args:
        device: for example "cpu" or torch.device("cuda", 0).

    Returns:
        "cpu", "fused", "mamba_ssm", "chunked" or "reference".

    Raises:
        BackendError: ``DERMOMAMBA_SCAN`` asks for one that cannot run there.
    """
    return _resolve("auto", torch.device(device), fused=True)


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
    backend: str = "auto",
) -> Tensor:
    """``h_t = exp(delta_t A) h_{t-1} + delta_t B_t u_t``, ``y_t = (C_t . h_t + D u_t) SiLU(z_t)``.

    Computed in float32 (float64 for float64 input), whatever autocast says.

    Args:
        u: (B, D, L) input, any float dtype.
        delta: (B, D, L) step sizes before bias and softplus.
        A: (D, N) decay rates, negative for a state that decays.
        B: (B, N, L) or (B, G, N, L) input weights; D / G channels share a group's.
        C: as B, output weights.
        D: (D,) skip, or None.
        z: (B, D, L) gate, or None.
        delta_bias: (D,) added to delta, or None.
        delta_softplus: whether step sizes are softplus(delta + delta_bias).
        backend: "auto" or one of ``BACKENDS`` but "fused".

    Returns:
        y (B, D, L) in the dtype of u.

    Raises:
        BackendError: the back end cannot run here.
        ValueError: shapes that do not belong together.

    Source:
        Gu and Dao 2023, arXiv 2312.00752, algorithm 2; argument order of mamba-ssm's selective_scan_fn.
    """
    name = _resolve(backend, u.device, fused=False)
    with torch.autocast(u.device.type, enabled=False):
        if name == "mamba_ssm" and u.dtype != torch.float64:
            reference.prepare(u, delta, A, B, C, None, False)
            return mamba_ssm.selective_scan(u, delta, A, B, C, D, z, delta_bias, delta_softplus)
        r = reference.prepare(u, delta, A, B, C, delta_bias, delta_softplus)
        if name == "reference":
            y = reference.scan(r.u, r.delta, r.A, r.B, r.C)
        elif name == "cpu" and r.u.dtype == torch.float32:
            from dermomamba.scan import cpu

            y = cpu.scan(r.u, r.delta, r.A, r.B, r.C)
        else:
            y = chunked.scan(r.u, r.delta, r.A, r.B, r.C)
        return reference.finish(y, r.u, D, z, u.dtype)


def cross_scan(
    x: Tensor,
    x_proj_weight: Tensor,
    dt_projs_weight: Tensor,
    dt_projs_bias: Tensor,
    A_logs: Tensor,
    Ds: Tensor,
    backend: str = "auto",
) -> Tensor:
    """Selective scan of an image along four directions, the outputs put back in place and added.

    Sequences k = 0..3: row-major, column-major, row-major reversed, column-major reversed. For each,
    ``[dt, B, C] = x_proj_weight[k] x``, ``delta = softplus(dt_projs_weight[k] dt + dt_projs_bias[k])``,
    ``A = -exp(A_logs)``. Computed in float32 (float64 for float64 input), whatever autocast says.

    Args:
        x: (B, E, H, W), any float dtype and memory layout.
        x_proj_weight: (4, R + 2 N, E).
        dt_projs_weight: (4, E, R).
        dt_projs_bias: (4, E).
        A_logs: (4 E, N).
        Ds: (4 E,).
        backend: "auto" or one of ``BACKENDS``.

    Returns:
        (B, E, H, W) in the dtype of x.

    Raises:
        BackendError: the back end cannot run here.
        ValueError: shapes that do not belong together.

    Source:
        Liu et al. 2024, VMamba, arXiv 2401.10166, section 4.3; steps 3-6 of SS2D as DermoMamba uses it.
    """
    _check_cross(x, x_proj_weight, dt_projs_weight, dt_projs_bias, A_logs, Ds)
    name = _resolve(backend, x.device, fused=True)
    parameters = (x_proj_weight, dt_projs_weight, dt_projs_bias, A_logs, Ds)
    with torch.autocast(x.device.type, enabled=False):
        if x.dtype != torch.float64:
            if name == "fused":
                from dermomamba.scan.fused_triton import cross_scan_fused  # needs Triton

                return cross_scan_fused(x, *parameters)
            if name == "cpu":
                from dermomamba.scan import cpu  # needs numba

                return cpu.cross_scan(x, *parameters)
        return _composed(x, *parameters, backend="chunked" if name == "fused" else name)


def _check_cross(x: Tensor, w: Tensor, dt_w: Tensor, dt_b: Tensor, A_logs: Tensor, Ds: Tensor) -> None:
    if x.ndim != 4:
        raise ValueError(f"x must be (B, E, H, W), not {tuple(x.shape)}")
    inner, states = x.shape[1], A_logs.shape[-1]
    rank = dt_w.shape[-1]
    wanted = {
        "x_proj_weight": (w, (4, rank + 2 * states, inner)),
        "dt_projs_weight": (dt_w, (4, inner, rank)),
        "dt_projs_bias": (dt_b, (4, inner)),
        "A_logs": (A_logs, (4 * inner, states)),
        "Ds": (Ds, (4 * inner,)),
    }
    for name, (tensor, shape) in wanted.items():
        if tuple(tensor.shape) != shape:
            raise ValueError(f"{name} must be {shape} for E = {inner}, not {tuple(tensor.shape)}")


def _composed(x: Tensor, w: Tensor, dt_w: Tensor, dt_b: Tensor, A_logs: Tensor, Ds: Tensor, backend: str) -> Tensor:
    """cross_scan out of selective_scan, for the back ends that have no kernel of their own."""
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    batch, inner, height, width = x.shape
    rank, states = dt_w.shape[-1], A_logs.shape[-1]
    image = x.to(dtype)
    rows = torch.stack([image.flatten(2), image.transpose(2, 3).flatten(2)], dim=1)  # (B, 2, E, L)
    sequences = torch.cat([rows, rows.flip(-1)], dim=1)  # (B, 4, E, L)
    dt, B, C = (w.to(dtype) @ sequences).split([rank, states, states], dim=2)  # (B, 4, R | N | N, L)
    delta = dt_w.to(dtype) @ dt  # (B, 4, E, L)
    A = -torch.exp(A_logs.to(dtype))
    y = selective_scan(
        sequences.flatten(1, 2), delta.flatten(1, 2), A, B, C, Ds, None, dt_b.flatten(), True, backend=backend
    ).view(batch, 4, inner, -1)  # fmt: skip
    y = y[:, :2] + y[:, 2:].flip(-1)  # (B, 2, E, L): row-major and column-major
    by_column = y[:, 1].view(batch, inner, width, height).transpose(2, 3)
    return (y[:, 0].view(batch, inner, height, width) + by_column).to(x.dtype)
