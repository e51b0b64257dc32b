"""The fused Triton scan against a float64 loop, and its kernels compiled for a GPU.

With a CUDA device the tests run compiled. Without, ``test_under_the_interpreter`` runs this file again in a
process of its own with Triton's interpreter (it is chosen when triton is imported, so it must not reach the
other tests), and ``test_compiles_for_hopper`` compiles every kernel for sm_90, which needs no GPU.
"""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from triton_tools import DEVICE, INTERPRETED, compiled_by, compiles, not_here, run_interpreted, runs

from dermomamba.errors import BackendError
from dermomamba.scan import fused_plan, fused_triton
from dermomamba.scan.fused_plan import Plan, Tuning

pytest.importorskip("triton", reason="triton is not installed: pip install triton==3.6.0")

FP32, BF16 = 1e-4, 2e-2


@pytest.fixture(autouse=True)
def _short_carry(monkeypatch):
    """The interpreter is slow at associative scans; short ones also exercise the carry from one to the next."""
    if INTERPRETED:
        from dermomamba.scan import fused_launch

        monkeypatch.setattr(fused_launch, "CARRY_LANES", 4)


def make(
    batch=1, channels=8, height=3, width=5, rank=1, states=8, dtype=torch.float32, dt_scale=1.0, seed=0
) -> list[Tensor]:
    """Random arguments of cross_scan, parameters in float32."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    arguments = [
        normal(batch, channels, height, width).to(dtype),
        normal(4, rank + 2 * states, channels) * channels**-0.5,
        normal(4, channels, rank) * rank**-0.5 * dt_scale,
        torch.rand(4, channels, generator=generator) * 4 - 5,
        torch.arange(1, states + 1.0).log().expand(4 * channels, states) + 0.1 * normal(4 * channels, states),
        normal(4 * channels),
    ]
    return [a.to(DEVICE) for a in arguments]


def oracle(x, w, dt_w, dt_b, a_logs, d) -> Tensor:
    """The definition, one position after the other, in float64."""
    batch, channels, height, width = x.shape
    states = a_logs.shape[1]
    rank = w.shape[1] - 2 * states
    by_row = [(h, v) for h in range(height) for v in range(width)]
    by_column = [(h, v) for v in range(width) for h in range(height)]
    total = torch.zeros_like(x)
    for k, order in enumerate((by_row, by_column, by_row[::-1], by_column[::-1])):
        a = -a_logs.view(4, channels, states)[k].exp()
        state = x.new_zeros(batch, channels, states)
        out: dict[tuple[int, int], Tensor] = {}
        for h, v in order:
            u = x[:, :, h, v]
            dt, b, c = (u @ w[k].T).split([rank, states, states], dim=1)
            delta = F.softplus(dt @ dt_w[k].T + dt_b[k])
            state = torch.exp(delta[..., None] * a) * state + (delta * u)[..., None] * b[:, None]
            out[h, v] = (state * c[:, None]).sum(-1) + d.view(4, channels)[k] * u
        total = total + torch.stack([torch.stack([out[h, v] for v in range(width)], -1) for h in range(height)], dim=-2)
    return total


def error(value: Tensor, truth: Tensor) -> float:
    assert torch.isfinite(value).all()
    return ((value.double() - truth).abs().max() / truth.abs().max().clamp_min(1e-30)).item()


NAMES = ("x", "x_proj_weight", "dt_projs_weight", "dt_projs_bias", "A_logs", "Ds")


def check(arguments: list[Tensor], tolerance: float, backward: bool = True, dy: Tensor | None = None) -> None:
    """Values and all gradients against the oracle."""
    ours = [a.detach().clone().requires_grad_() for a in arguments]
    if arguments[0].is_contiguous(memory_format=torch.channels_last):
        assert ours[0].is_contiguous(memory_format=torch.channels_last)
    exact = [a.detach().double().requires_grad_() for a in arguments]
    y, truth = fused_triton.cross_scan_fused(*ours), oracle(*exact)
    assert y.dtype == arguments[0].dtype
    assert error(y, truth) < tolerance
    if not backward:
        return
    if dy is None:
        dy = torch.randn(truth.shape, generator=torch.Generator().manual_seed(1)).to(y)
    y.backward(dy)
    truth.backward(dy.double())
    errors = {name: error(a.grad, b.grad) for name, a, b in zip(NAMES, ours, exact, strict=True)}
    assert all(e < tolerance for e in errors.values()), errors
    assert all(a.grad.dtype == a.dtype for a in ours)


@runs
@pytest.mark.parametrize(
    ("batch", "channels", "height", "width", "rank", "states"),
    [
        (2, 4, 2, 3, 1, 8),
        (3, 5, 1, 2, 2, 8),  # channels that do not fill the second program
        (1, 3, 1, 7, 3, 8),  # one row; rank no power of two
        (1, 2, 6, 1, 4, 8),  # one column
        (1, 1, 1, 1, 1, 8),
        (1, 3, 2, 3, 1, 16),
    ],
)
def test_float32(batch, channels, height, width, rank, states):
    check(make(batch, channels, height, width, rank, states), FP32)


@runs
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_16_bit(dtype):
    check(make(1, 4, 4, 3, dtype=dtype), BF16)


@runs
def test_memory_layouts():
    arguments = make(2, 4, 2, 3)
    arguments[0] = arguments[0].contiguous(memory_format=torch.channels_last)
    check(arguments, FP32, dy=torch.ones(1, device=DEVICE).expand(2, 4, 2, 3))  # gradient of sum(): strides 0


@runs
def test_large_delta():
    check(make(1, 4, 3, 4, dt_scale=300.0), FP32, backward=False)
    arguments = [a.requires_grad_() for a in make(1, 4, 3, 4, dt_scale=300.0)]
    fused_triton.cross_scan_fused(*arguments).square().sum().backward()
    assert all(torch.isfinite(a.grad).all() for a in arguments)


@runs
def test_columns_cut_into_lanes(monkeypatch):
    monkeypatch.setattr(fused_plan, "SHORTEST_LANE", 2)
    arguments = make(2, 2, 6, 4)
    plan = Plan(2, 2, 6, 4, 1, 8, fused_triton.FORWARD)
    assert plan.parts == (2, 3)
    assert plan.tiles == 2  # 24 lanes; the second image begins in the middle of the first tile
    check(arguments, FP32)


@runs
@pytest.mark.parametrize("shape", [(9, 5), (3, 11)])  # wider than the small square, or not
def test_squares_of_any_size_move_the_same_numbers(monkeypatch, shape):
    from dermomamba.scan import fused_launch

    def computed() -> list[Tensor]:
        arguments = [a.requires_grad_() for a in make(1, 1, *shape)]
        y = fused_triton.cross_scan_fused(*arguments)
        return [y, *torch.autograd.grad(y.square().sum(), arguments)]

    whole = computed()
    monkeypatch.setattr(fused_launch, "LARGE_SQUARE", 8)
    monkeypatch.setattr(fused_launch, "SMALL_SQUARE", 4)
    assert all(torch.equal(a, b) for a, b in zip(computed(), whole, strict=True))


@runs
def test_batch_in_slices(monkeypatch):
    monkeypatch.setattr(fused_plan, "WORKSPACE", 1)
    monkeypatch.setattr(fused_plan, "FORWARD_WORKSPACE", 1)
    check(make(2, 2, 1, 3), FP32)


@runs
@pytest.mark.parametrize("tuning", [Tuning(1, 32, 2), Tuning(1, 16, 1), Tuning(4, 4, 2)])
def test_other_tunings(monkeypatch, tuning):
    monkeypatch.setattr(fused_triton, "FORWARD", tuning)
    monkeypatch.setattr(fused_triton, "BACKWARD", tuning)
    check(make(1, 3, 2, 5), FP32)  # two programs of channels, or two tiles of lanes


@runs
def test_autocast_stores_the_projections_in_16_bits():
    arguments = make(1, 4, 3, 4)
    with torch.autocast(DEVICE, torch.bfloat16):
        y = fused_triton.cross_scan_fused(*arguments)
    exact = fused_triton.cross_scan_fused(*arguments)
    assert y.dtype == torch.float32
    assert 0 < error(y, exact.double()) < BF16


@runs
def test_operator_is_well_formed():
    arguments = [a.requires_grad_() for a in make(1, 4, 1, 2)]
    torch.library.opcheck(
        torch.ops.dermomamba.cross_scan_fused.default,
        (*arguments, torch.float32),
        test_utils=("test_schema", "test_autograd_registration", "test_faketensor"),
    )


@runs
def test_gradients_have_the_layout_that_the_compiler_is_told():
    from torch._subclasses.fake_tensor import FakeTensorMode

    arguments = make(1, 4, 2, 3, rank=2)
    real = torch.ops.dermomamba.cross_scan_fused_backward(arguments[0], *arguments, torch.float32)
    with FakeTensorMode() as mode:
        fakes = [mode.from_tensor(a) for a in arguments]
        told = torch.ops.dermomamba.cross_scan_fused_backward(fakes[0], *fakes, torch.float32)
    assert [(g.shape, g.stride(), g.dtype) for g in real] == [(g.shape, g.stride(), g.dtype) for g in told]


@runs
def test_traced_without_a_break():
    arguments = [a.requires_grad_() for a in make(1, 2, 1, 2)]
    traced = torch.compile(fused_triton.cross_scan_fused, backend="aot_eager", fullgraph=True)
    y, plain = traced(*arguments), fused_triton.cross_scan_fused(*arguments)
    assert torch.equal(y, plain)
    gradients = torch.autograd.grad(y.sum(), arguments), torch.autograd.grad(plain.sum(), arguments)
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


@runs
def test_refuses_what_it_cannot_take():
    with pytest.raises(BackendError, match="16-bit"):
        fused_triton.cross_scan_fused(*make(dtype=torch.float64))
    with pytest.raises(BackendError, match="states"):
        fused_triton.cross_scan_fused(*make(states=5))


def test_says_why_it_cannot_run(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert "NVIDIA" in fused_triton.why_unavailable("cpu")
    monkeypatch.setattr(fused_triton, "find_spec", lambda name: None)
    assert "Triton" in fused_triton.why_unavailable("cpu")


@pytest.mark.parametrize("batch", [1, 3, 192])
@pytest.mark.parametrize(("channels", "height", "width"), [(8, 192, 256), (128, 12, 16), (12, 8, 64), (3, 7, 5)])
def test_plan_covers_every_step_once(batch, channels, height, width):
    plan = Plan(batch, channels, height, width, 1, 16, Tuning())
    for parts, steps, columns in zip(plan.parts, (width, height), (height, width), strict=True):
        assert steps % parts == 0
        assert plan.tiles * plan.tuning.lanes >= batch * columns * parts
    assert plan.blocks * plan.tuning.block >= channels
    assert plan.positions >= batch * height * width


@pytest.mark.parametrize(("memory", "space"), [(None, 2**32), (80 * 2**30, 2**32), (16 * 2**30, 2**30)])
def test_a_small_card_gives_the_forward_less_space(memory, space):
    assert fused_plan.forward_space(memory) == space


@pytest.mark.parametrize(("batch", "each"), [(1, 10**12), (192, 60 * 2**20), (7, 200 * 2**20)])
def test_slices_cover_the_batch(batch, each):
    parts = fused_plan.slices(batch, each, 2**30)
    assert [i for part in parts for i in range(part.start, part.stop)] == list(range(batch))
    assert all(part.stop - part.start == 1 or (part.stop - part.start) * each <= 2**30 for part in parts)


@not_here
def test_under_the_interpreter() -> None:
    run_interpreted(__file__)


@compiles
def test_compiles_for_hopper():
    kernels = compiled_by(__file__)  # the __main__ part below
    assert {k["name"] for k in kernels} >= {"lanes_kernel", "carry_kernel", "scan_kernel", "adjoint_kernel"}
    assert [k for k in kernels if k["stack"]] == []  # registers spilled to memory
    inner = ("lanes_kernel", "scan_kernel", "states_kernel", "adjoint_kernel")
    assert [k for k in kernels if k["name"] in inner and k["shared"]] == []  # layouts converted in the loop


def launch_all() -> None:
    """Every launch of a forward and a backward."""
    from dermomamba.scan import fused_launch

    fused_launch.fast_math = lambda device: True
    for batch, channels, height, width, rank, dtype in (
        (3, 16, 96, 128, 1, torch.float32),
        (3, 8, 192, 256, 1, torch.bfloat16),
        (3, 128, 12, 16, 4, torch.float32),
    ):
        x, *weights = make(batch, channels, height, width, rank, 16, dtype)
        fused_triton._forward(x, *weights, dtype)
        fused_triton._backward(x, x, *weights, dtype)


if __name__ == "__main__":
    from hopper_resources import compiled_for_hopper

    DEVICE = "cpu"
    print(json.dumps(compiled_for_hopper(launch_all)))
