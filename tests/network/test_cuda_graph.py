"""The logic of captured graphs, on the processor: torch.cuda.graph is stood in for by re-running what it saw."""

from __future__ import annotations

import contextlib
import logging
import threading

import pytest
import torch

from dermomamba.network import DermoMamba, Gates, cuda_graph
from dermomamba.network.cuda_graph import GraphedNetwork


class Network(torch.nn.Module):
    """Doubles its input; counts its runs."""

    def __init__(self) -> None:
        super().__init__()
        self.runs = 0

    def forward(self, x, gates=None):
        self.runs += 1
        if gates is not None:
            gates.channel.append(x.amax(dim=(2, 3), keepdim=True))
            gates.spatial.append(x[:, :1])
        return 2 * x[:, :1]


class Replay:
    """A graph whose replay computes from the static input again, into the static outputs."""

    captured: cuda_graph._Captured
    replays = 0

    def replay(self) -> None:
        Replay.replays += 1
        fresh = Gates()
        self.captured.logits.copy_(2 * self.captured.x[:, :1])
        Network().forward(self.captured.x, fresh)
        self.captured.gates.channel[0].copy_(fresh.channel[0])
        self.captured.gates.spatial[0].copy_(fresh.spatial[0])


@pytest.fixture
def graphed(monkeypatch):
    """A GraphedNetwork that takes CPU tensors for CUDA ones and captures into a Replay."""

    def capture(network, x):
        gates, graph = Gates(), Replay()
        static = x.clone()
        graph.captured = cuda_graph._Captured(graph, static, network(static, gates), gates)
        gates.spatial[0] = gates.spatial[0].clone()
        return graph.captured

    Replay.replays = 0
    monkeypatch.setattr(cuda_graph, "_capture", capture)
    monkeypatch.setattr(GraphedNetwork, "_graphable", lambda self, x: not (self._failed or self.network.training))
    return GraphedNetwork(Network().eval())


def test_captures_once_for_each_shape_and_dtype(graphed):
    for _ in range(3):
        for batch, dtype in ((1, torch.float32), (2, torch.float32), (1, torch.float16)):
            x = torch.rand(batch, 3, 4, 4).to(dtype)
            y = graphed(x)
            assert torch.equal(y, 2 * x[:, :1])
    assert graphed.network.runs == 3
    assert Replay.replays == 9


def test_results_are_the_callers_own(graphed):
    first, second = Gates(), Gates()
    a, b = torch.rand(1, 3, 4, 4), torch.rand(1, 3, 4, 4)
    y = graphed(a, first)
    graphed(b, second)
    assert torch.equal(y, 2 * a[:, :1])
    assert torch.equal(first.channel[0], a.amax(dim=(2, 3), keepdim=True))
    assert torch.equal(second.spatial[0], b[:, :1])


def test_threads_do_not_mix_their_photos(graphed):
    wrong = []

    def work(value: float) -> None:
        x = torch.full((1, 3, 4, 4), value)
        wrong.extend(value for _ in range(50) if not torch.equal(graphed(x), 2 * x[:, :1]))

    threads = [threading.Thread(target=work, args=(float(i),)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert graphed.network.runs == 1


def test_keeps_the_most_recent(graphed):
    graphed._kept = 2
    for batch in (1, 2, 1, 3):  # 2 is the one not used for longest
        graphed(torch.rand(batch, 3, 4, 4))
    assert [key[0][0] for key in graphed._graphs] == [1, 3]
    graphed.forget()
    assert not graphed._graphs


def test_says_once_when_it_cannot_capture(graphed, monkeypatch, caplog):
    def fail(network, x):
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    monkeypatch.setattr(cuda_graph, "_capture", fail)
    x = torch.rand(1, 3, 4, 4)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert torch.equal(graphed(x), 2 * x[:, :1])
    assert len(caplog.records) == 1
    assert "CUDA graph (operation not permitted when stream is capturing)." in caplog.text


@pytest.mark.parametrize("inference", [torch.inference_mode, torch.no_grad])
def test_capture_warms_up_and_hands_over_static_buffers(monkeypatch, inference):
    seen = []

    class Stream:
        def wait_stream(self, other):
            seen.append("wait")

    @contextlib.contextmanager
    def record(graph, capture_error_mode):
        seen.append(capture_error_mode)
        yield

    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", object)
    monkeypatch.setattr(torch.cuda, "graph", record)
    network = Network().eval()
    with inference():
        x = torch.rand(2, 3, 4, 4).contiguous(memory_format=torch.channels_last)
        captured = cuda_graph._capture(network, x)
        captured.x.copy_(x)  # as a call does
    assert seen == ["wait", "wait", "thread_local"]
    assert network.runs == cuda_graph.WARM_UPS + 1
    assert captured.x.stride() == x.stride()
    assert not captured.x.is_inference()
    assert not captured.logits.requires_grad
    assert captured.x.data_ptr() != x.data_ptr()


def test_on_the_processor_it_is_the_network():
    network = DermoMamba((32, 32)).eval()
    graphed, gates = GraphedNetwork(network), Gates()
    x = torch.rand(1, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(graphed(x, gates), network(x))
    assert len(gates.channel) == 5
    assert not graphed._graphs


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_it_gives_the_networks_values():
    network = DermoMamba((64, 64)).eval().cuda()
    graphed, gates, eager = GraphedNetwork(network), Gates(), Gates()
    for seed in range(3):
        x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(seed)).cuda()
        with torch.inference_mode():
            torch.testing.assert_close(graphed(x, gates), network(x, eager))
    assert len(graphed._graphs) == 1
    for a, b in zip(gates.channel + gates.spatial, eager.channel + eager.spatial, strict=True):
        torch.testing.assert_close(a, b)
