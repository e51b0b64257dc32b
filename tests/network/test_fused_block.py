"""The fused Mamba blocks against the plain modules in float64, and their kernels compiled for a GPU.

With a CUDA device the tests run compiled. Without, ``test_under_the_interpreter`` runs this file again in a process of
its own with Triton's interpreter, and ``test_compiles_for_hopper`` compiles every kernel for sm_90.
"""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn
from triton_tools import DEVICE, INTERPRETED, compiled_by, compiles, not_here, run_interpreted, runs

from dermomamba.network import SS2D, CrossScaleMambaBlock, VSSBlock, around_probe
from dermomamba.network.fused_block import WIDEST, _backward, _forward, mamba_block, wanted
from dermomamba.scan import cross_scan

pytest.importorskip("triton", reason="triton is not installed: pip install triton==3.6.0")

FP32, BF16 = 1e-4, 3e-2


def plain_forward(x: Tensor, *rest, stream_dtype=None) -> Tensor:
    return cross_scan(x, *rest, backend="chunked").contiguous()  # planar, as the fused scan's for planar x


def plain_backward(dy: Tensor, x: Tensor, *rest, stream_dtype=None) -> tuple[Tensor, ...]:
    leaves = [t.detach().clone().requires_grad_() for t in (x, *rest)]
    with ThreadPoolExecutor(1) as other:  # inside an operator autograd is off, for its thread only
        found = other.submit(lambda: torch.autograd.grad(plain_forward(*leaves), leaves, dy)).result()
    return tuple(g.contiguous() for g in found)


@pytest.fixture(autouse=True)
def _plain_scan(monkeypatch, request):
    """Under the interpreter a plain scan, since the fused one is tested in tests/scan and takes its time there."""
    monkeypatch.setenv("DERMOMAMBA_SCAN", "chunked")
    if INTERPRETED:
        from dermomamba.scan import fused_launch, fused_triton

        monkeypatch.setattr(fused_launch, "CARRY_LANES", 4)
        if "fused_scan" not in request.fixturenames:
            monkeypatch.setattr(fused_triton, "forward", plain_forward)
            monkeypatch.setattr(fused_triton, "backward", plain_backward)


@pytest.fixture
def fused_scan():
    """Asks for the fused scan under the interpreter too."""


def noisy(module: nn.Module, seed: int = 0) -> nn.Module:
    """Every parameter moved away from its initial value, so that none of the gradients is special."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
        for name, buffer in module.named_buffers():
            if name.endswith(("mean", "var")):
                buffer += torch.rand(buffer.shape, generator=generator)
    return module.to(DEVICE)


def rows(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1)).to(DEVICE, dtype)


def error(value: Tensor, truth: Tensor) -> float:
    assert torch.isfinite(value).all()
    return ((value.double() - truth).norm() / truth.norm().clamp_min(1e-30)).item()


def check(module: nn.Module, x: Tensor, tolerance: float) -> None:
    """Values and the gradients of input and parameters against the same module in float64."""
    exact = copy.deepcopy(module).double()
    ours, theirs = x.detach().clone(memory_format=torch.preserve_format), x.detach().double()
    assert ours.stride() == x.stride()
    ours.requires_grad_()
    theirs.requires_grad_()
    y, truth = module.fused(ours), exact(theirs)
    assert y.dtype == x.dtype
    assert error(y, truth) < tolerance
    dy = torch.randn(truth.shape, generator=torch.Generator().manual_seed(2)).to(y)
    y.backward(dy)
    truth.backward(dy.double())
    errors = {"x": error(ours.grad, theirs.grad)}
    for (name, a), b in zip(module.named_parameters(), exact.parameters(), strict=True):
        errors[name] = error(a.grad, b.grad) if b.grad.norm() > 1e-2 else (a.grad - b.grad).norm().item()
    assert all(e < tolerance for e in errors.values()), errors


@runs
def test_cross_scale_block():
    x = rows(2, 16, 3, 5).contiguous(memory_format=torch.channels_last)
    check(noisy(CrossScaleMambaBlock(16)).eval(), x, FP32)


@runs
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_16_bit(dtype):
    check(noisy(VSSBlock(4)), rows(1, 3, 4, 4, dtype=dtype), BF16)


@runs
def test_ss2d_of_any_width():
    check(noisy(SS2D(6, d_state=8)), rows(2, 3, 4, 6), FP32)


@runs
def test_ss2d_of_a_view_whose_rows_are_apart():
    check(noisy(SS2D(5, d_state=8)), rows(1, 5, 3, 4).permute(0, 3, 2, 1), FP32)


@runs
@pytest.mark.parametrize("channels", [4, 17])
def test_vss_block(channels):
    """17: weight gradients by products of what is kept."""
    check(noisy(VSSBlock(channels)), rows(1, 2, 3, channels), FP32)


@runs
@pytest.mark.usefixtures("fused_scan")
def test_around_the_fused_scan():
    check(noisy(SS2D(2, d_state=8)), rows(1, 2, 2, 2), FP32)


@runs
def test_several_blocks_of_pixels(monkeypatch):
    """Programs that go over more than one block, and images that do not fill the last one."""
    from dermomamba.network import fused_block_launch, fused_depthwise

    monkeypatch.setattr(fused_block_launch.Launches, "_most", staticmethod(lambda n: 16))
    monkeypatch.setattr(fused_block_launch, "SHARES", 1)
    monkeypatch.setattr(fused_depthwise, "PROGRAMS", 2)
    monkeypatch.setattr(fused_depthwise, "PATCH", (4, 16))
    check(noisy(VSSBlock(4)), rows(1, 3, 9, 4), FP32)


@runs
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_inference_folds_the_norm(dtype):
    block = noisy(CrossScaleMambaBlock(16)).eval()
    x = rows(1, 16, 3, 4, dtype=dtype).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        y, truth = block.fused(x), copy.deepcopy(block).double()(x.double())
    assert y.stride() == x.stride()
    assert error(y, truth) < (FP32 if dtype == torch.float32 else BF16)


@runs
def test_autocast_leaves_the_dtype_alone():
    block, x = noisy(VSSBlock(4)), rows(1, 2, 3, 4, dtype=torch.bfloat16).requires_grad_()
    with torch.autocast(DEVICE, torch.bfloat16):
        y = block.fused(x)
    assert y.dtype == torch.bfloat16
    y.sum().backward()  # a gradient of stride 0
    assert x.grad.dtype == torch.bfloat16


@runs
def test_saves_no_more_than_its_input_and_the_scan_output():
    block = noisy(CrossScaleMambaBlock(16))
    x = rows(2, 16, 3, 5).requires_grad_()
    own = {p.data_ptr() for p in block.parameters()}
    saved: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in own and tensor.numel() > 3 * 12 * 9:
            saved[tensor.data_ptr()] = tensor.numel()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        mamba_block(x, *block.in_order())
    assert sum(saved.values()) == x.numel() + 3 * 2 * 8 * 3 * 5  # x, and y (3B, E, H, W)


def operands() -> tuple:
    block = noisy(CrossScaleMambaBlock(8))
    mixers, weights = block.in_order()
    x = rows(1, 8, 2, 3).contiguous(memory_format=torch.channels_last)
    return x, [m.detach() for m in mixers], [w.detach() for w in weights], [], 1e-6, 1e-5, torch.float32


@runs
def test_the_compiler_is_told_the_layouts():
    from torch._subclasses.fake_tensor import FakeTensorMode

    x, mixers, weights, *rest = operands()
    real = _forward(x, mixers, weights, *rest)
    back = _backward(torch.ones_like(x), x, real[1], mixers, weights, *rest[1:])
    with FakeTensorMode() as mode:
        fx, fm, fw = mode.from_tensor(x), [mode.from_tensor(m) for m in mixers], [mode.from_tensor(w) for w in weights]
        told = _forward(fx, fm, fw, *rest)
        told_back = _backward(fx, fx, told[1], fm, fw, *rest[1:])
    for a, b in zip((*real, *back), (*told, *told_back), strict=True):
        assert (a.shape, a.stride(), a.dtype) == (b.shape, b.stride(), b.dtype)


@runs
def test_traced_without_a_break():
    block = noisy(VSSBlock(4))
    x = rows(1, 2, 2, 4).requires_grad_()
    y, plain = torch.compile(block.fused, backend="aot_eager", fullgraph=True)(x), block.fused(x)
    torch.testing.assert_close(y, plain)
    parameters = [x, *block.parameters()]
    for a, b in zip(
        torch.autograd.grad(y.sum(), parameters), torch.autograd.grad(plain.sum(), parameters), strict=True
    ):
        torch.testing.assert_close(a, b)


@runs
def test_operator_is_well_formed():
    torch.library.opcheck(
        torch.ops.dermomamba.mamba_block_fused.default, operands(), test_utils=("test_schema", "test_faketensor")
    )


@runs
def test_the_probe_agrees():
    """A planar image, in training and folded for inference."""
    assert around_probe.difference(torch.device(DEVICE)) < 1e-4


@runs
def test_the_modules_take_the_fused_path_where_the_probe_agreed(monkeypatch):
    monkeypatch.setenv("DERMOMAMBA_SCAN", "fused")
    x, taken = rows(1, 8, 2, 8), []
    monkeypatch.setattr(around_probe, "usable", lambda device: True)
    for kind in (CrossScaleMambaBlock, VSSBlock, SS2D):
        monkeypatch.setattr(kind, "fused", lambda self, x: taken.append(type(self)) or x)
        kind(8).to(DEVICE)(x)
    assert taken == [CrossScaleMambaBlock, VSSBlock, SS2D]
    assert wanted(x, 4, 16)
    assert not wanted(x.double(), 4, 16)
    assert not wanted(x, WIDEST + 1, 16)
    assert not wanted(x, 4, 12)
    monkeypatch.setattr(around_probe, "usable", lambda device: False)
    assert not wanted(x, 4, 16)


def test_a_processor_takes_the_plain_path(monkeypatch):
    """Everywhere but on CUDA the modules compute exactly what they did."""
    monkeypatch.setattr(CrossScaleMambaBlock, "fused", lambda self, x: pytest.fail("took the fused path"))
    CrossScaleMambaBlock(8)(torch.randn(1, 8, 2, 3))


@not_here
def test_under_the_interpreter() -> None:
    run_interpreted(__file__)


@compiles
def test_compiles_for_hopper():
    kernels = compiled_by("benchmarks/hopper_resources.py", "--json", "--stages", "5", "--precision", "bf16")
    ours = [k for k in kernels if k["file"].startswith("fused_vss") or k["file"].startswith("fused_depthwise")]
    assert {k["name"] for k in ours} >= {
        "project_in_kernel", "project_out_kernel", "project_out_gradient_kernel", "project_in_gradient_kernel",
        "depthwise_kernel", "depthwise_gradient_kernel", "untouched_kernel",
    }  # fmt: skip
    assert [k for k in ours if k["shared"] > 227 * 1024 or not k["warps"]] == []  # would not start
    spilled = [k for k in ours if k["stack"] > (256 if "gradient" in k["name"] else 0)]
    assert spilled == []  # a few registers of the gradients at most
