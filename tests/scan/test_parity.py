"""Every scan back end of this machine against the float64 reference and against what is known on paper.

One parametrisation runs ``selective_scan`` and ``cross_scan`` through whatever can run here: processor, GPU, or
Triton's interpreter when TRITON_INTERPRET=1 is set.
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dermomamba.scan import BACKENDS, chunked, cross_scan, reference, selective_scan, why_unavailable

DEVICES = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
USABLE = [(b, d) for b in BACKENDS for d in DEVICES if why_unavailable(b, d) is None]
PLAIN = [pytest.param(b, d, id=f"{b}-{d}") for b, d in USABLE if b != "fused"]
CROSS = [pytest.param(b, d, id=f"{b}-{d}") for b, d in USABLE]
EXACT = ("reference", "chunked", "cpu")  # take float64 and return it computed in float64
FLOAT32, GRADIENT, FLOAT64 = 1e-5, 1e-4, 1e-12

SCAN_NAMES = ("u", "delta", "A", "B", "C", "D", "z", "delta_bias")
CROSS_NAMES = ("x", "x_proj_weight", "dt_projs_weight", "dt_projs_bias", "A_logs", "Ds")


def scan_operands(batch=2, channels=8, groups=2, states=16, length=50, seed=0):
    """Random operands in float64, step sizes of the size that a trained network has."""
    maker = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=maker, dtype=torch.float64)

    return {
        "u": normal(batch, channels, length),
        "delta": normal(batch, channels, length),
        "A": -torch.exp(normal(channels, states)),
        "B": normal(batch, groups, states, length),
        "C": normal(batch, groups, states, length),
        "D": normal(channels),
        "z": normal(batch, channels, length),
        "delta_bias": normal(channels) - 2,
    }


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


def relative(actual, expected):
    return ((actual.double().cpu() - expected).abs().max() / expected.abs().max().clamp_min(1e-30)).item()


def cast(operands, device, dtype=torch.float32):
    return {k: v.to(device, dtype).requires_grad_() for k, v in operands.items()}


def gradients(operator, operands, weight, **options):
    y = operator(**operands, **options)
    grads = torch.autograd.grad((y * weight.to(y.device, y.dtype)).sum(), tuple(operands.values()))
    return y.detach(), dict(zip(operands, grads, strict=True))


SHAPES = [
    pytest.param({"length": 1}, id="L1"),
    pytest.param({"length": 50}, id="L50"),
    pytest.param({"length": 64}, id="L64"),
    pytest.param({"length": 131, "batch": 1}, id="L131-batch1"),
    pytest.param({"length": 23, "batch": 5}, id="batch5"),
    pytest.param({"channels": 6, "groups": 2, "states": 3}, id="odd-channels-and-states"),
    pytest.param({"channels": 10, "groups": 1, "states": 16}, id="one-group"),
    pytest.param({"channels": 4, "groups": 4, "states": 20}, id="a-group-a-channel"),
]
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


# --- selective_scan ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("backend", "device"), PLAIN)
def test_scan_float32_values_and_gradients(backend, device, shape):
    operands = scan_operands(**shape)
    if backend == "mamba_ssm" and operands["A"].shape[1] % 8:
        pytest.skip("the official kernel takes only some state counts")
    weight = torch.randn(operands["u"].shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    want, want_grads = gradients(
        selective_scan, cast(operands, "cpu", torch.float64), weight, delta_softplus=True, backend="reference"
    )
    got, got_grads = gradients(selective_scan, cast(operands, device), weight, delta_softplus=True, backend=backend)
    assert got.dtype == torch.float32
    assert relative(got, want) < FLOAT32
    for name in SCAN_NAMES:
        if want_grads[name].abs().max() == 0:  # one step from a zero state does not depend on A
            assert got_grads[name].abs().max() == 0, name
        else:
            assert relative(got_grads[name], want_grads[name]) < GRADIENT, name


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("backend", EXACT)
def test_scan_float64(backend, shape):
    operands = scan_operands(**shape)
    weight = torch.ones_like(operands["u"])
    want, want_grads = gradients(
        selective_scan, cast(operands, "cpu", torch.float64), weight, backend="reference", delta_softplus=True
    )
    got, got_grads = gradients(
        selective_scan, cast(operands, "cpu", torch.float64), weight, backend=backend, delta_softplus=True
    )
    assert got.dtype == torch.float64
    assert relative(got, want) < FLOAT64
    for name in SCAN_NAMES:
        assert relative(got_grads[name], want_grads[name]) < FLOAT64, name


@pytest.mark.parametrize(("backend", "device"), PLAIN)
@pytest.mark.parametrize("length", [1, 9, 200])
def test_scan_closed_form(backend, device, length):
    """Constant input: h_t = b u delta (1 - a^t) / (1 - a) with a = exp(delta A)."""
    A = -torch.linspace(0.1, 3, 16, dtype=torch.float64).expand(8, 16)
    step, u, b, c = 0.3, 1.7, 0.6, -1.1
    a, t = torch.exp(step * A[0]), torch.arange(1, length + 1, dtype=torch.float64)
    expected = (c * b * u * step * (1 - a ** t[:, None]) / (1 - a)).sum(1)  # (L,)
    full = torch.ones(1, 8, length)
    weights = torch.ones(1, 16, length)
    y = selective_scan(
        *(v.to(device) for v in (u * full, step * full, A.float(), b * weights, c * weights)), backend=backend
    )
    assert relative(y[0, 3], expected) < FLOAT32


@pytest.mark.parametrize(("backend", "device"), PLAIN)
def test_scan_without_steps_is_the_skip(backend, device):
    o = cast(scan_operands(), device)
    y = selective_scan(o["u"], torch.zeros_like(o["delta"]), o["A"], o["B"], o["C"], o["D"], backend=backend)
    torch.testing.assert_close(y, o["D"][:, None] * o["u"], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("backend", "device"), PLAIN)
def test_scan_is_causal(backend, device):
    o = cast(scan_operands(length=90), device)
    options = {"D": o["D"], "delta_softplus": True, "backend": backend}
    with torch.no_grad():
        before = selective_scan(o["u"], o["delta"], o["A"], o["B"], o["C"], **options)
        u = o["u"].clone()
        u[..., 70] += 1
        after = selective_scan(u, o["delta"], o["A"], o["B"], o["C"], **options)
    assert torch.equal(before[..., :70], after[..., :70])
    assert not torch.equal(before[..., 70:], after[..., 70:])


@pytest.mark.parametrize(("backend", "device"), PLAIN)
def test_scan_of_strided_input(backend, device):
    o = {k: v.detach() for k, v in cast(scan_operands(length=33), device).items()}
    strided = {k: torch.stack([v, v], -1)[..., 0] for k, v in o.items()}
    strided["u"] = o["u"].transpose(1, 2).contiguous().transpose(1, 2)
    assert not strided["u"].is_contiguous()
    assert not strided["B"].is_contiguous()
    torch.testing.assert_close(
        selective_scan(**strided, delta_softplus=True, backend=backend),
        selective_scan(**o, delta_softplus=True, backend=backend),
        rtol=1e-6, atol=1e-6,
    )  # fmt: skip


@pytest.mark.parametrize(("backend", "device"), PLAIN)
def test_scan_shares_ungrouped_weights(backend, device):
    o = {k: v.detach() for k, v in cast(scan_operands(groups=1), device).items()}
    flat = {**o, "B": o["B"][:, 0], "C": o["C"][:, 0]}
    got, want = (selective_scan(**v, delta_softplus=True, backend=backend) for v in (flat, o))
    assert torch.equal(got, want)


@pytest.mark.parametrize(("backend", "device"), PLAIN)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_scan_keeps_the_dtype(backend, device, dtype):
    operands = {k: v.to(dtype).double() for k, v in scan_operands().items()}
    want = selective_scan(**operands, delta_softplus=True, backend="reference")
    low = {k: v.to(device, dtype) for k, v in operands.items()}
    got = selective_scan(**low, delta_softplus=True, backend=backend)
    assert got.dtype == dtype
    assert relative(got, want) < torch.finfo(dtype).eps


@pytest.mark.parametrize("backend", ["reference", "chunked", "cpu"])
def test_scan_with_growing_states(backend):
    """A positive A or a negative step is unusual, and still right."""
    o = scan_operands(length=40)
    o["A"] = o["A"].abs() * 0.05
    want = selective_scan(**o, delta_softplus=False, backend="reference")
    got = selective_scan(**{k: v.float() for k, v in o.items()}, delta_softplus=False, backend=backend)
    assert relative(got, want) < FLOAT32


@pytest.mark.parametrize(("backend", "device"), PLAIN)
def test_scan_survives_large_steps(backend, device):
    o = {k: v.detach() for k, v in cast(scan_operands(), device).items()}
    o["delta"] = o["delta"] * 1e4
    o = {k: v.requires_grad_() for k, v in o.items()}
    y, grads = gradients(selective_scan, o, torch.ones_like(o["u"]), delta_softplus=True, backend=backend)
    assert y.isfinite().all()
    assert all(g.isfinite().all() for g in grads.values())


@settings(max_examples=25, deadline=None)
@given(length=st.integers(1, 70), chunk=st.integers(1, 80), groups=st.sampled_from([1, 2]))
def test_chunk_size_does_not_matter(length, chunk, groups):
    o = scan_operands(batch=1, channels=4, groups=groups, states=3, length=length)
    operands = [o[k].requires_grad_() for k in ("u", "delta", "A", "B", "C")]
    operands[1] = operands[1].abs()
    want, got = reference.scan(*operands), chunked.scan(*operands, chunk_size=chunk)
    assert relative(got, want.detach()) < FLOAT64
    for w, g in zip(*(torch.autograd.grad(y.square().sum(), operands) for y in (want, got)), strict=True):
        assert relative(g, w) < FLOAT64 or (w - g).abs().max() < FLOAT64


@pytest.mark.parametrize("backend", EXACT)
def test_scan_gradcheck(backend):
    o = scan_operands(batch=1, channels=2, groups=1, states=3, length=7)
    operands = tuple(v.requires_grad_() for v in o.values())
    assert torch.autograd.gradcheck(lambda *v: selective_scan(*v, True, backend), operands)


# --- cross_scan -------------------------------------------------------------------------------------------------


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
