"""The kernels of a level against plain PyTorch in float64, and the folded network for CUDA against the trained one.

With a CUDA device the tests run compiled. Without, ``test_under_the_interpreter`` runs this file again in a
process of its own with Triton's interpreter, as ``tests/scan/test_fused_triton.py`` does.
"""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from triton_tools import DEVICE, compiled_by, compiles, not_here, run_interpreted, runs

from dermomamba.network import cuda_level

pytest.importorskip("triton", reason="triton is not installed: pip install triton==3.6.0")

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float16: 2e-3}
SHAPES = [(2, 16, 4, 6), (1, 12, 10, 14), (1, 80, 2, 2)]
cases = pytest.mark.parametrize(
    ("shape", "dtype"),
    [*((s, torch.float32) for s in SHAPES), (SHAPES[1], torch.bfloat16), (SHAPES[0], torch.float16)],
)


@pytest.fixture(autouse=True)
def _small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that an image has several parts, and a part several tiles."""
    monkeypatch.setattr(cuda_level, "TILE", 128)
    monkeypatch.setattr(cuda_level, "PROGRAMS", 4)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + sum(shape))).to(DEVICE)


def image(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    """Normal numbers (B, C, H, W) that lie channels last."""
    return normal(*shape, seed=seed).to(dtype).contiguous(memory_format=torch.channels_last)


def check(found: Tensor, exact: Tensor, dtype: torch.dtype) -> None:
    assert found.shape == exact.shape
    error = (found.double() - exact).norm() / exact.norm()
    assert error < TOLERANCE[dtype]


@runs
@cases
def test_instance_residual(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x, b = image(*shape, dtype=dtype) + 3, image(*shape, dtype=dtype, seed=1)
    norm = normal(2, shape[1])
    exact = F.leaky_relu(F.instance_norm(x.double(), weight=norm[0].double(), bias=norm[1].double()), 0.01)
    found = cuda_level.instance_residual(x, norm, 1e-5, 0.01, b, 0.7)
    assert found.dtype == dtype
    assert found.is_contiguous(memory_format=torch.channels_last)
    check(found, exact + 0.7 * b.double(), dtype)


@runs
def test_instance_norm_of_values_far_from_zero() -> None:
    """Sums of squares alone would lose the variance."""
    x = image(1, 16, 10, 14) + 1000
    norm = torch.stack([torch.ones(16), torch.zeros(16)]).to(DEVICE)
    found = cuda_level.instance_residual(x, norm, 1e-5, 1.0, torch.zeros_like(x), 0.0)
    torch.testing.assert_close(found.double(), F.instance_norm(x.double()), rtol=1e-3, atol=1e-3)


@runs
@cases
def test_relu_pool_and_channel_gate(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x, bias = image(*shape, dtype=dtype), normal(shape[1])
    reduce, expand = (normal(3, shape[1]), normal(3)), (normal(shape[1], 3), normal(shape[1]))
    exact = F.relu(x.double() + bias.double()[:, None, None])
    pooled, skip, pools = cuda_level.relu_pool(x, bias)
    gate = cuda_level.channel_gate(pools, reduce, expand)
    assert pooled.dtype == skip.dtype == dtype
    check(skip, exact, dtype)
    check(pooled, F.max_pool2d(exact, 2), dtype)
    mean, peak = exact.mean((2, 3)), exact.amax((2, 3))
    check(pools.sums.sum(1) / pools.pixels, mean, torch.float32)
    check(pools.peaks.amax(1), peak, torch.float32)
    layers = [t.double() for t in (*reduce, *expand)]
    both = [F.linear(F.relu(F.linear(v, *layers[:2])), *layers[2:]) for v in (mean, peak)]
    check(gate, torch.sigmoid(both[0] + both[1]), torch.float32)


@runs
@cases
def test_channel_pools(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x, gate = image(*shape, dtype=dtype), normal(*shape[:2])
    gated = x.double() * gate.double()[:, :, None, None]
    exact = torch.stack([gated.amax(1), gated.mean(1)], 1)
    check(cuda_level.channel_pools(x, gate), exact, torch.float32)


@runs
@pytest.mark.parametrize(("batch", "height", "width"), [(2, 2, 3), (1, 9, 17)])
def test_spatial_gate(batch: int, height: int, width: int) -> None:
    pooled, weight, bias = normal(batch, 2, height, width), normal(2, 7, 7), normal(1)
    exact = torch.sigmoid(F.conv2d(pooled.double(), weight.double()[None], bias.double(), padding=3))
    check(cuda_level.spatial_gate(pooled, weight, bias), exact, torch.float32)


@runs
@cases
def test_merge(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    batch, channels, height, width = shape
    side = normal(batch, height, width, channels).to(dtype)
    below = normal(batch, height // 2, width // 2, channels).to(dtype)
    gate = torch.sigmoid(normal(batch, 1, height, width))
    up = F.interpolate(below.double().permute(0, 3, 1, 2), scale_factor=2.0, mode="nearest")
    exact = side.double().permute(0, 3, 1, 2) * gate.double() + up
    check(cuda_level.merge(side, gate, below), exact, dtype)


@runs
@cases
def test_bias_gelu(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x, bias = image(*shape, dtype=dtype), normal(shape[1])
    exact = F.gelu(x.double() + bias.double()[:, None, None])
    check(cuda_level.bias_gelu(x, bias), exact, dtype)


@runs
@pytest.mark.parametrize("shape", SHAPES[:2])
def test_gelu_head(shape: tuple[int, ...]) -> None:
    x, bias, weight, last = image(*shape), normal(shape[1]), normal(shape[1], seed=1), normal(1)
    exact = F.gelu(x.double() + bias.double()[:, None, None])
    exact = F.conv2d(exact, weight.double()[None, :, None, None], last.double())
    check(cuda_level.gelu_head(x, bias, weight, last), exact, torch.float32)


@not_here
def test_under_the_interpreter() -> None:
    run_interpreted(__file__)


@compiles
def test_compiles_for_hopper() -> None:
    kernels = compiled_by(__file__)  # the __main__ part below
    assert {k["name"] for k in kernels} == {
        "moments_kernel", "instance_kernel", "relu_pool_kernel", "channel_gate_kernel", "channel_pools_kernel",
        "spatial_gate_kernel", "merge_kernel", "gelu_kernel", "gelu_head_kernel",
    }  # fmt: skip
    assert [k for k in kernels if k["stack"]] == []  # registers spilled to memory


def launch_all() -> None:
    """A level in bfloat16, at the narrowest and the widest."""
    for channels, height, width in ((16, 192, 256), (256, 12, 16)):
        x = torch.zeros(1, channels, height, width, dtype=torch.bfloat16).contiguous(memory_format=torch.channels_last)
        norm, hidden = torch.zeros(2, channels), max(2, channels // 16)
        cuda_level.instance_residual(x, norm, 1e-5, 0.01, x, 1.0)
        pools = cuda_level.relu_pool(x, norm[0])[2]
        reduce, expand = torch.zeros(hidden, channels), torch.zeros(channels, hidden)
        gate = cuda_level.channel_gate(pools, (reduce, norm[0]), (expand, norm[0]))
        pooled = cuda_level.channel_pools(x, gate)
        spatial = cuda_level.spatial_gate(pooled, torch.zeros(2, 7, 7), torch.zeros(1))
        cuda_level.merge(x.permute(0, 2, 3, 1), spatial, x[:, :, ::2, ::2].permute(0, 2, 3, 1))
        cuda_level.bias_gelu(x, norm[0])
    cuda_level.gelu_head(torch.zeros(1, 16, 192, 256, dtype=torch.bfloat16), norm[0], norm[1], torch.zeros(1))


if __name__ == "__main__":
    from hopper_resources import compiled_for_hopper

    print(json.dumps(compiled_for_hopper(launch_all)))
