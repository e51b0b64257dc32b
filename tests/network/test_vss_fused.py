"""The fused parts of a VSS block against the same in plain PyTorch in float64, values and every gradient.

With a CUDA device the tests run compiled. Without, ``test_under_the_interpreter`` runs this file again in a
process of its own with Triton's interpreter, as ``tests/scan/test_fused_triton.py`` does.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from dermomamba.network import around_probe, fused_host, scan2d, vss_conv_fused, vss_fused
from dermomamba.network.scan2d import VSSBlock
from dermomamba.scan import cross_scan

pytest.importorskip("triton", reason="triton is not installed: pip install triton==3.6.0")
ROOT = Path(__file__).parents[2]

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
RUNNABLE = INTERPRETED or torch.cuda.is_available()
DEVICE = "cpu" if INTERPRETED or not torch.cuda.is_available() else "cuda"
runs = pytest.mark.skipif(not RUNNABLE, reason="no CUDA device; runs in test_under_the_interpreter")
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float16: 2e-3}
DTYPES = (torch.float32, torch.bfloat16)
SIZES = [(2, 3, 5), (1, 9, 16), (3, 1, 7), (1, 6, 1), (1, 1, 1)]

if INTERPRETED:
    sys.path.insert(0, str(ROOT / "tests"))
    from triton_tools import interpret_with_numpy_2_4

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
    monkeypatch.setattr(fused_host, "PROGRAMS", 2)
    monkeypatch.setattr(vss_fused, "FORWARD", dict.fromkeys((16, 32, 64, 128), (16, 4)))
    monkeypatch.setattr(vss_fused, "BACKWARD", dict.fromkeys((16, 32, 64, 128), (16, 4)))
    monkeypatch.setattr(vss_conv_fused, "BLOCK", 64)


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
    compare(vss_conv_fused.conv3_silu, conv3_silu, arguments, dtype)


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


def blocks(channels: int = 4) -> tuple[VSSBlock, Tensor]:
    torch.manual_seed(0)
    block = VSSBlock(channels).to(DEVICE)
    with torch.no_grad():
        block.norm.weight.add_(0.2 * torch.randn_like(block.norm.weight))
        block.norm.bias.normal_()
        block.ss2d.out_norm.bias.normal_()
    return block, normal(2, 3, 4, channels).to(DEVICE)


def run(module, x: Tensor, backend: str, monkeypatch, dtype: torch.dtype | None = None) -> list[Tensor]:
    """Result and the gradients of the input and of every parameter; the scan itself is tests/scan's."""
    monkeypatch.setenv("DERMOMAMBA_SCAN", backend)
    monkeypatch.setattr(scan2d, "cross_scan", lambda *a: cross_scan(*a, backend="chunked"))
    x = x.clone().requires_grad_()
    with torch.autocast(DEVICE, dtype, enabled=dtype is not None):
        y = module(x)
    grads = torch.autograd.grad(y.float().square().sum(), [x, *module.parameters()])
    return [y, *grads]


@runs
@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
@pytest.mark.parametrize("whole", [True, False])
def test_block_takes_the_fused_path(monkeypatch, dtype, whole):
    block, x = blocks()
    module = block if whole else block.ss2d
    assert around_probe.usable(x.device)
    called = []
    original = vss_fused.gated_out_proj
    monkeypatch.setattr(vss_fused, "gated_out_proj", lambda *a: called.append(a[5]) or original(*a))
    fused = run(module, x, "fused", monkeypatch, dtype)
    assert len(called) == 1
    assert (called[0] is not None) == whole
    plain = run(module, x, "chunked", monkeypatch, dtype)
    assert len(called) == 1
    assert [a.dtype for a in fused] == [b.dtype for b in plain]
    errors = [((a.float() - b.float()).norm() / b.float().norm()).item() for a, b in zip(fused, plain, strict=True)]
    assert max(errors) < (1e-4 if dtype is None else 4e-2), errors


@runs
def test_operators_are_well_formed():
    x, w = normal(1, 2, 3, 4).to(DEVICE).requires_grad_(), normal(16, 4).to(DEVICE).requires_grad_()
    g, v = normal(4).to(DEVICE).requires_grad_(), normal(8).to(DEVICE).requires_grad_()
    u, z, out = normal(1, 8, 2, 3), normal(1, 2, 3, 8), normal(4, 8)
    u, z, out = (t.to(DEVICE).requires_grad_() for t in (u, z, out))
    taps = normal(8, 1, 3, 3).to(DEVICE).requires_grad_()
    operators = torch.ops.dermomamba
    for operator, arguments in (
        (operators.norm_in_proj, (x, g, g, w, 1e-6, torch.float32)),
        (operators.norm_in_proj, (x, None, None, w, 0.0, torch.float32)),
        (operators.conv3_silu, (u, taps, v)),
        (operators.gated_out_proj, (u, z, v, v, out, x, 1e-5)),
        (operators.gated_out_proj, (u, z, v, v, out, None, 1e-5)),
    ):
        names = ("test_schema", "test_autograd_registration", "test_faketensor")
        torch.library.opcheck(operator.default, arguments, test_utils=names)


@runs
def test_gradients_have_the_layout_that_the_compiler_is_told():
    from torch._subclasses.fake_tensor import FakeTensorMode

    x, w, g, v = normal(2, 3, 5, 4), normal(16, 4), normal(4), normal(8)
    u, z, out, taps = normal(2, 8, 3, 5), normal(2, 3, 5, 8), normal(4, 8), normal(8, 1, 3, 3)
    turned = x.permute(0, 2, 1, 3)  # not contiguous
    taps = taps.contiguous(memory_format=torch.channels_last)
    operators = torch.ops.dermomamba
    for operator, arguments in (
        (operators.norm_in_proj, (turned, g, g, w, 1e-6, torch.bfloat16)),
        (operators.norm_in_proj_backward, (normal(2, 8, 5, 3), normal(2, 5, 3, 8), turned, g, g, w, 1e-6)),
        (operators.norm_in_proj_backward, (u, z, x, None, None, w, 0.0)),
        (operators.conv3_silu, (u.mT, taps, v)),
        (operators.conv3_silu_backward, (u, u, taps, v)),
        (operators.gated_out_proj, (u, z, v, v, out, x, 1e-5)),
        (operators.gated_out_proj_backward, (x, u, z.bfloat16(), v, v, out, 1e-5)),
    ):
        arguments = tuple(a.to(DEVICE) if isinstance(a, Tensor) else a for a in arguments)
        real = operator(*arguments)
        with FakeTensorMode() as mode:
            told = operator(*(mode.from_tensor(a) if isinstance(a, Tensor) else a for a in arguments))
        pairs = zip(*((t if isinstance(t, tuple) else (t,)) for t in (real, told)), strict=True)
        for a, b in pairs:
            assert (a.shape, a.stride(), a.dtype) == (b.shape, b.stride(), b.dtype), operator


@runs
def test_traced_without_a_break():
    def parts(x, gamma, w, taps, bias, out):
        u, z = vss_fused.norm_in_proj(x, gamma, gamma, w, 1e-6, torch.float32)
        return vss_fused.gated_out_proj(vss_conv_fused.conv3_silu(u, taps, bias), z, bias, bias, out, x, 1e-5)

    arguments = [normal(1, 2, 3, 4), normal(4), normal(16, 4), normal(8, 1, 3, 3), normal(8), normal(4, 8)]
    arguments = [a.to(DEVICE).requires_grad_() for a in arguments]
    traced = torch.compile(parts, backend="aot_eager", fullgraph=True)
    y, plain = traced(*arguments), parts(*arguments)
    assert torch.equal(y, plain)
    gradients = torch.autograd.grad(y.sum(), arguments), torch.autograd.grad(plain.sum(), arguments)
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


@pytest.mark.skipif(RUNNABLE, reason="the tests run here directly")
def test_under_the_interpreter():
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", __file__, "-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-2000:]
    assert re.search(r"(\d+) passed", result.stdout)


@pytest.mark.skipif(INTERPRETED, reason="nothing is compiled under the interpreter")
def test_compiles_for_hopper():
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    environment["PYTHONPATH"] = os.pathsep.join(str(p) for p in (ROOT, ROOT / "tests"))
    result = subprocess.run(
        [sys.executable, __file__], env=environment, capture_output=True, text=True, check=False
    )  # the __main__ part below
    assert result.returncode == 0, result.stderr[-4000:]
    kernels = json.loads(result.stdout)
    assert {k["name"] for k in kernels} == {
        "in_kernel", "in_gradient_kernel", "out_kernel", "out_gradient_kernel",
        "conv_kernel", "conv_slope_kernel", "conv_gradient_kernel",
    }  # fmt: skip
    assert [k for k in kernels if k["stack"]] == []  # registers spilled to memory
    assert all(k["shared"] <= 227 * 1024 for k in kernels)


def launch_all() -> None:
    """Forward and backward in bfloat16 at the narrowest and the widest stage."""
    for channels, height, width in ((4, 192, 256), (64, 12, 16)):
        inner = 2 * channels
        norm, w = torch.zeros(channels), torch.zeros(2 * inner, channels)
        x = torch.zeros(3, height, width, channels, dtype=torch.bfloat16)
        u, z = vss_fused._in(x, norm, norm, w, 1e-6, torch.bfloat16)
        vss_fused._in_backward(u, z, x, norm, norm, w, 1e-6)
        norm, w, taps = torch.zeros(inner), torch.zeros(channels, inner), torch.zeros(inner, 1, 3, 3)
        vss_conv_fused._conv(u, taps, norm)
        vss_conv_fused._conv_backward(u, u, taps, norm)
        vss_fused._out(u, z, norm, norm, w, x, 1e-5)
        vss_fused._out_backward(x, u, z, norm, norm, w, 1e-5)


if __name__ == "__main__":
    from triton_tools import compiled_for_hopper

    print(json.dumps(compiled_for_hopper(launch_all)))
