"""The fused parts of a VSS block against the same in plain PyTorch in float64, values and every gradient.

With a CUDA device the tests run compiled. Without, ``test_under_the_interpreter`` runs this file again in a
process of its own with Triton's interpreter, as ``tests/scan/test_fused_triton.py`` does.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from dermomamba.network import vss_fused

pytest.importorskip("triton", reason="triton is not installed: pip install triton==3.6.0")
sys.path.insert(0, str(Path(__file__).parents[1] / "scan"))

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
RUNNABLE = INTERPRETED or torch.cuda.is_available()
DEVICE = "cpu" if INTERPRETED or not torch.cuda.is_available() else "cuda"
runs = pytest.mark.skipif(not RUNNABLE, reason="no CUDA device; runs in test_under_the_interpreter")
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float16: 2e-3}
DTYPES = (torch.float32, torch.bfloat16)
SIZES = [(2, 3, 5), (1, 9, 16), (3, 1, 7), (1, 6, 1), (1, 1, 1)]

if INTERPRETED:
    from test_fused_triton import interpret_with_numpy_2_4

    interpret_with_numpy_2_4()


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


def compare(fused, plain, arguments: list[Tensor], dtype: torch.dtype) -> None:
    """Values and all gradients of two functions; ``plain`` runs in float64."""
    ours = [a.to(DEVICE).requires_grad_() for a in arguments]
    exact = [a.detach().double().cpu().requires_grad_() for a in ours]
    results, truths = fused(*ours), plain(*exact)
    results = results if isinstance(results, tuple) else (results,)
    truths = truths if isinstance(truths, tuple) else (truths,)
    assert [r.shape for r in results] == [t.shape for t in truths]
    grads = [normal(*t.shape, seed=7) for t in truths]
    ours_grads = torch.autograd.grad(results, ours, [g.to(r) for g, r in zip(grads, results, strict=True)])
    exact_grads = torch.autograd.grad(truths, exact, [g.to(dtype).double() for g in grads])
    assert all(g.dtype == a.dtype for g, a in zip(ours_grads, ours, strict=True))
    pairs = zip((*results, *ours_grads), (*truths, *exact_grads), strict=True)
    errors = [((a.double().cpu() - b).norm() / b.norm().clamp_min(1e-3)).item() for a, b in pairs]
    assert max(errors) < TOLERANCE[dtype], errors


def norm_in_proj(x, gamma, beta, w):
    u, z = F.linear(F.layer_norm(x, x.shape[-1:], gamma, beta, 1e-6), w).chunk(2, -1)
    return u.permute(0, 3, 1, 2), z


def gated_out_proj(y, z, gamma, beta, w, residual):
    y = F.layer_norm(y.permute(0, 2, 3, 1), z.shape[-1:], gamma, beta, 1e-5)
    return residual + F.linear(y * F.silu(z), w)


def conv3_silu(x, w, b):
    return F.silu(F.conv2d(x, w, b, padding=1, groups=x.shape[1]))


@pytest.fixture(autouse=True)
def _few_programs(monkeypatch):
    """So that a program that keeps sums takes several tiles, and a tile is smaller than an image."""
    monkeypatch.setattr(vss_fused, "PROGRAMS", 2)
    monkeypatch.setattr(vss_fused, "FORWARD", dict.fromkeys((16, 32, 64, 128), (16, 4)))
    monkeypatch.setattr(vss_fused, "BACKWARD", dict.fromkeys((16, 32, 64, 128), (16, 4)))
    monkeypatch.setattr(vss_fused, "BLOCK", 64)


@runs
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("channels", "size"), [*((4, s) for s in SIZES), *((c, (1, 5, 9)) for c in (6, 8, 16, 32, 64))]
)
def test_norm_in_proj(channels, size, dtype):
    arguments = [normal(*size, channels).to(dtype), 1 + 0.3 * normal(channels), normal(channels, seed=1)]
    arguments.append(normal(4 * channels, channels) * channels**-0.5)
    compare(lambda x, g, b, w: vss_fused.norm_in_proj(x, g, b, w, 1e-6, dtype), norm_in_proj, arguments, dtype)


@runs
def test_in_proj_without_norm_of_a_view():
    x = normal(2, 6, 3, 5)
    compare(
        lambda x, w: vss_fused.norm_in_proj(x.permute(0, 2, 3, 1), None, None, w, 0.0, torch.float32),
        lambda x, w: tuple(
            t if i else t.permute(0, 3, 1, 2) for i, t in enumerate(F.linear(x.permute(0, 2, 3, 1), w).chunk(2, -1))
        ),
        [x, normal(24, 6)],
        torch.float32,
    )


@runs
@pytest.mark.parametrize(
    ("channels", "size", "dtype"),
    [*((2, s, torch.float32) for s in SIZES), (3, (5, 3, 4), torch.float32), (2, (3, 3, 5), torch.bfloat16)],
)
def test_conv3_silu(channels, size, dtype):
    batch, height, width = size
    arguments = [normal(batch, channels, height, width).to(dtype), normal(channels, 1, 3, 3), normal(channels)]
    compare(vss_fused.conv3_silu, conv3_silu, arguments, dtype)


@runs
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("channels", "size"), [*((4, s) for s in SIZES), *((c, (1, 5, 9)) for c in (6, 8, 16, 32, 64))]
)
def test_gated_out_proj(channels, size, dtype):
    batch, height, width = size
    inner = 2 * channels
    arguments = [
        normal(batch, inner, height, width).to(dtype),
        normal(batch, height, width, inner).to(dtype),
        1 + 0.3 * normal(inner),
        normal(inner, seed=1),
        normal(channels, inner) * inner**-0.5,
        normal(batch, height, width, channels).to(dtype),
    ]
    compare(lambda *a: vss_fused.gated_out_proj(*a, 1e-5), gated_out_proj, arguments, dtype)


@pytest.mark.skipif(RUNNABLE, reason="the tests run here directly")
def test_under_the_interpreter():
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", __file__, "-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-2000:]
    assert re.search(r"(\d+) passed", result.stdout)
