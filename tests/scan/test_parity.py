"""``selective_scan`` on every back end of this machine against the float64 reference and what is known on paper.

Processor, GPU, or Triton's interpreter when TRITON_INTERPRET=1 is set; ``cross_scan`` has ``test_cross_parity.py``.
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scan_tools import EXACT, FLOAT32, FLOAT64, GRADIENT, PLAIN, cast, gradients, relative

from dermomamba.scan import chunked, reference, selective_scan

SCAN_NAMES = ("u", "delta", "A", "B", "C", "D", "z", "delta_bias")


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
