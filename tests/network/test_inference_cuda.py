"""The network folded for CUDA says what the trained one says; without a GPU in Triton's interpreter, see below."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from triton_tools import DEVICE, INTERPRETED, not_here, run_interpreted, runs

from dermomamba.network import DermoMamba, Gates, cuda_level, inference_cuda
from dermomamba.network.inference import for_inference
from dermomamba.network.inference_cuda import CudaInferenceNetwork

pytest.importorskip("triton", reason="triton is not installed: pip install triton==3.6.0")

SIZE = (32, 64)


def _spatial_gate(pooled: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """As the kernel, whose 98 taps take the interpreter too long here; ``test_cuda_level`` judges it."""
    with torch.autocast(pooled.device.type, enabled=False):
        return torch.sigmoid(F.conv2d(pooled, weight[None], bias, padding=3))


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> DermoMamba:
    """One whose norms and biases do something; its scans are plain, so that only what is around them is judged."""
    from network_tools import trained_like

    monkeypatch.setenv("DERMOMAMBA_SCAN", "chunked")
    if INTERPRETED:  # which takes as long for a program of any size
        monkeypatch.setattr(cuda_level, "TILE", 2**15)
        monkeypatch.setattr(cuda_level, "spatial_gate", _spatial_gate)
        monkeypatch.setattr(cuda_level, "PROGRAMS", 1)
    return trained_like(SIZE).requires_grad_(False).to(DEVICE)


@runs
def test_logits_and_gates_are_the_trained_networks(network: DermoMamba) -> None:
    fast = CudaInferenceNetwork(network).eval()
    x = torch.rand(2, 3, *SIZE).to(DEVICE)
    expected_gates, gates = Gates(), Gates()
    with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        expected, found = network(x, expected_gates), fast(x, gates)
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max()
    pairs = zip(expected_gates.spatial + expected_gates.channel, gates.spatial + gates.channel, strict=True)
    for a, b in pairs:
        torch.testing.assert_close(b, a, rtol=0, atol=4e-6)


@runs
def test_under_autocast_it_is_as_near_as_the_network(network: DermoMamba) -> None:
    fast = CudaInferenceNetwork(network).eval()
    x = torch.rand(1, 3, *SIZE).to(DEVICE)
    with torch.inference_mode():
        exact = network(x)
        with torch.autocast(DEVICE, torch.bfloat16):
            plain, found = network(x), fast(x)
    assert found.dtype == torch.bfloat16
    assert (found - exact).norm() < 1.5 * (plain - exact).norm() + 1e-3 * exact.norm()


@runs
def test_the_probe_is_passed(network: DermoMamba, caplog: pytest.LogCaptureFixture) -> None:
    assert isinstance(inference_cuda.rearranged(network), CudaInferenceNetwork)
    assert not caplog.records


@pytest.mark.parametrize("error", [0.5, float("nan")])
def test_a_network_that_differs_is_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: float
) -> None:
    network = DermoMamba(SIZE)
    monkeypatch.setattr(inference_cuda, "difference", lambda network, fast: error)
    with caplog.at_level(logging.WARNING):
        assert inference_cuda.rearranged(network) is network
    assert [r.message.count("logits differ by") for r in caplog.records] == [1]


def test_a_network_that_fails_is_not_used(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def fail(network: nn.Module, fast: nn.Module) -> float:
        raise RuntimeError("PTX was refused\nmore")

    network = DermoMamba(SIZE)
    monkeypatch.setattr(inference_cuda, "difference", fail)
    monkeypatch.setattr("dermomamba.network.inference.backend_for", lambda device: "fused")
    with caplog.at_level(logging.WARNING):
        assert for_inference(network) is network
    assert [r.message for r in caplog.records] == [inference_cuda.SENTENCE % ("cpu", "PTX was refused")]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_captured_as_a_graph(network: DermoMamba) -> None:
    from dermomamba.network.cuda_graph import GraphedNetwork

    fast = CudaInferenceNetwork(network).eval()
    graphed = GraphedNetwork(fast)
    for seed in range(3):
        x = torch.rand(2, 3, *SIZE, generator=torch.Generator().manual_seed(seed)).cuda()
        with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16):
            torch.testing.assert_close(graphed(x), fast(x))
    assert len(graphed._graphs) == 1


@not_here
def test_under_the_interpreter() -> None:
    run_interpreted(__file__)
