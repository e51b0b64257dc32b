"""``cross_scan`` on every back end of this machine against the float64 reference and the directions written out.

Processor, GPU, or Triton's interpreter when TRITON_INTERPRET=1 is set.
"""

from __future__ import annotations

import pytest
import torch
from scan_tools import CROSS, EXACT, FLOAT32, FLOAT64, GRADIENT, cast, gradients, relative

from dermomamba.scan import cross_scan

CROSS_NAMES = ("x", "x_proj_weight", "dt_projs_weight", "dt_projs_bias", "A_logs", "Ds")


def cross_operands(batch=2, inner=8, rank=1, states=16, height=6, width=7, seed=0):
    maker = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=maker, dtype=torch.float64)

    return {
        "x": normal(batch, inner, height, width),
        "x_proj_weight": normal(4, rank + 2 * states, inner) * inner**-0.5,
        "dt_projs_weight": normal(4, inner, rank) * rank**-0.5,
        "dt_projs_bias": normal(4, inner) - 3,
        "A_logs": torch.arange(1, states + 1).double().log() + 0.1 * normal(4 * inner, states),
        "Ds": normal(4 * inner),
    }


IMAGES = [
    pytest.param({"height": 1, "width": 1}, id="1x1"),
    pytest.param({"height": 1, "width": 37}, id="1x37"),
    pytest.param({"height": 37, "width": 1, "batch": 1}, id="37x1"),
    pytest.param({"height": 13, "width": 9, "batch": 5}, id="13x9-batch5"),
    pytest.param({"height": 16, "width": 8, "inner": 16, "batch": 1}, id="E16"),
    pytest.param({"height": 5, "width": 8, "inner": 12}, id="E12"),
    pytest.param({"height": 9, "width": 6, "inner": 64, "rank": 2, "batch": 1}, id="E64-R2"),
    pytest.param({"height": 3, "width": 5, "inner": 5, "rank": 3, "states": 6}, id="E5-R3-N6"),
    pytest.param({"height": 70, "width": 3, "batch": 1}, id="tall"),
]


def by_hand(x, x_proj_weight, dt_projs_weight, dt_projs_bias, A_logs, Ds):
    """The four directions pixel by pixel, from SS2D's text: no shared code with the package."""
    batch, inner, height, width = x.shape
    rank, n = dt_projs_weight.shape[-1], A_logs.shape[-1]
    rows = [(i, j) for i in range(height) for j in range(width)]
    columns = [(i, j) for j in range(width) for i in range(height)]
    y = torch.zeros_like(x)
    for k, path in enumerate((rows, columns, rows[::-1], columns[::-1])):
        A = -torch.exp(A_logs[k * inner : (k + 1) * inner])
        h = torch.zeros(batch, inner, n, dtype=x.dtype)
        for i, j in path:
            p = x[:, :, i, j] @ x_proj_weight[k].T  # (B, R + 2N)
            step = torch.log1p(torch.exp(p[:, :rank] @ dt_projs_weight[k].T + dt_projs_bias[k]))  # (B, E)
            b, c = p[:, None, rank : rank + n], p[:, None, rank + n :]
            h = torch.exp(step[..., None] * A) * h + step[..., None] * b * x[:, :, i, j, None]
            y[:, :, i, j] += (h * c).sum(-1) + Ds[k * inner : (k + 1) * inner] * x[:, :, i, j]
    return y


@pytest.mark.parametrize(("backend", "device"), CROSS)
def test_cross_scan_by_hand(backend, device):
    operands = cross_operands(height=4, width=5, rank=2)
    want = by_hand(**operands)
    assert relative(cross_scan(**operands, backend="reference"), want) < FLOAT64
    got = cross_scan(**{k: v.to(device, torch.float32) for k, v in operands.items()}, backend=backend)
    assert relative(got, want) < FLOAT32


@pytest.mark.parametrize("shape", IMAGES)
@pytest.mark.parametrize(("backend", "device"), CROSS)
def test_cross_scan_float32_values_and_gradients(backend, device, shape):
    operands = cross_operands(**shape)
    if backend == "mamba_ssm" and operands["A_logs"].shape[1] % 8:
        pytest.skip("the official kernel takes only some state counts")
    weight = torch.randn(operands["x"].shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    want, want_grads = gradients(cross_scan, cast(operands, "cpu", torch.float64), weight, backend="reference")
    got, got_grads = gradients(cross_scan, cast(operands, device), weight, backend=backend)
    assert got.dtype == torch.float32
    assert relative(got, want) < FLOAT32
    for name in CROSS_NAMES:
        if want_grads[name].abs().max() == 0:
            assert got_grads[name].abs().max() == 0, name
        else:
            assert relative(got_grads[name], want_grads[name]) < GRADIENT, name


@pytest.mark.parametrize("backend", EXACT)
def test_cross_scan_float64(backend):
    operands = cross_operands(height=11, width=6)
    weight = torch.ones_like(operands["x"])
    want, want_grads = gradients(cross_scan, cast(operands, "cpu", torch.float64), weight, backend="reference")
    got, got_grads = gradients(cross_scan, cast(operands, "cpu", torch.float64), weight, backend=backend)
    assert got.dtype == torch.float64
    assert relative(got, want) < FLOAT64
    for name in CROSS_NAMES:
        assert relative(got_grads[name], want_grads[name]) < FLOAT64, name


@pytest.mark.parametrize("backend", EXACT)
def test_cross_scan_gradcheck(backend):
    o = cross_operands(batch=1, inner=2, states=2, height=2, width=3)
    operands = tuple(v.requires_grad_() for v in o.values())
    assert torch.autograd.gradcheck(lambda *v: cross_scan(*v, backend), operands)


@pytest.mark.parametrize(("backend", "device"), CROSS)
def test_cross_scan_without_steps_is_the_skip(backend, device):
    o = {k: v.detach() for k, v in cast(cross_operands(), device).items()}
    o["dt_projs_weight"] = torch.zeros_like(o["dt_projs_weight"])
    o["dt_projs_bias"] = torch.full_like(o["dt_projs_bias"], -80.0)
    skip = o["Ds"].view(4, -1).sum(0)
    torch.testing.assert_close(cross_scan(**o, backend=backend), skip[:, None, None] * o["x"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("backend", "device"), CROSS)
def test_cross_scan_of_any_memory_layout(backend, device):
    o = {k: v.detach() for k, v in cast(cross_operands(height=9, width=5), device).items()}
    want = cross_scan(**o, backend=backend)
    wide = torch.stack([o["x"], o["x"]], -1)
    for x in (o["x"].contiguous(memory_format=torch.channels_last), wide[..., 0], wide.permute(4, 0, 1, 2, 3)[1]):
        torch.testing.assert_close(cross_scan(**{**o, "x": x}, backend=backend), want, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("backend", "device"), CROSS)
def test_cross_scan_turned_around_swaps_directions(backend, device):
    """Turning the image by 180 degrees swaps directions 0 and 2, 1 and 3; transposing swaps 0 and 1, 2 and 3."""
    o = {k: v.detach() for k, v in cast(cross_operands(height=5, width=8), device).items()}

    def with_order(order):
        split = {k: v.view(4, -1, *v.shape[1:]) if k in ("A_logs", "Ds") else v for k, v in o.items()}
        moved = {k: v[list(order)] for k, v in split.items() if k != "x"}
        return {k: v.reshape(o[k].shape) for k, v in moved.items()}

    want = cross_scan(**o, backend=backend)
    turned = cross_scan(o["x"].flip(2, 3), **with_order((2, 3, 0, 1)), backend=backend).flip(2, 3)
    swapped = cross_scan(o["x"].transpose(2, 3), **with_order((1, 0, 3, 2)), backend=backend).transpose(2, 3)
    torch.testing.assert_close(turned, want, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(swapped, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("backend", "device"), CROSS)
def test_cross_scan_survives_large_steps(backend, device):
    o = cross_operands()
    o["dt_projs_bias"] = o["dt_projs_bias"] + 1e4
    y, grads = gradients(cross_scan, cast(o, device), torch.ones_like(o["x"]), backend=backend)
    assert y.isfinite().all()
    assert all(g.isfinite().all() for g in grads.values())


@pytest.mark.parametrize(("backend", "device"), CROSS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_cross_scan_under_autocast(backend, device, dtype):
    o = {k: v.to(torch.float32) for k, v in cross_operands().items()}
    o["x"] = o["x"].to(dtype).float()
    want = cross_scan(**{k: v.double() for k, v in o.items()}, backend="reference")
    moved = {k: v.to(device) for k, v in o.items()}
    moved["x"] = moved["x"].to(dtype)
    with torch.autocast(device, dtype=torch.bfloat16), torch.inference_mode():
        got = cross_scan(**moved, backend=backend)
    assert got.dtype == dtype
    assert relative(got, want) < max(FLOAT32, torch.finfo(dtype).eps)
