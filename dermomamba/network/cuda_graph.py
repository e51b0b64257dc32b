"""The network as CUDA graphs: one launch in place of some thousand, for inference on an NVIDIA GPU.

At batch 1 the GPU waits for the processor to launch kernels; a captured graph is launched whole. A graph is
captured for each batch size, dtype, memory layout and autocast dtype when it is first met; it reads and writes
fixed buffers, so calls are serialised by a lock and results are copied out. Where there is nothing to capture
(another device, training, gradients) or capturing fails, the network runs as it is.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dermomamba.network.dermomamba import Gates

WARM_UPS = 3
"""Eager runs before a capture: Triton compiles, cuDNN chooses, and allocations settle."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Captured:
    graph: Any  # torch.cuda.CUDAGraph
    x: Tensor  # read by the graph
    logits: Tensor  # written by the graph
    gates: Gates  # written by the graph


class GraphedNetwork:
    """A DermoMamba in eval mode, or its form ``for_inference``, whose calls on CUDA tensors replay a captured graph.

    The network's parameters must stay where they are in memory: after ``network.to(...)`` or the like, call
    ``forget``. Values that are changed in place (``load_state_dict``) are seen by the graphs. Hooks of modules
    run while a graph is captured, not when it is replayed.

    Args:
        network: the network, already on its device.
        kept: graphs that are kept; the one not used for longest goes first.
    """

    def __init__(self, network: nn.Module, kept: int = 4) -> None:
        self.network = network
        self._kept = kept
        self._lock = threading.Lock()
        self._graphs: OrderedDict[Hashable, _Captured] = OrderedDict()
        self._failed = False

    def __call__(self, x: Tensor, gates: Gates | None = None) -> Tensor:
        """As ``DermoMamba.forward``.

        Args:
            x: (B, 3, H, W) float in [0, 1].
            gates: filled with copies of CBAM's gates when given.

        Returns:
            (B, 1, H, W) logits, a tensor of the caller's own.
        """
        if not self._graphable(x):
            return self.network(x, gates)
        with self._lock:
            captured = self._captured(x)
            if captured is None:
                return self.network(x, gates)
            captured.x.copy_(x)
            captured.graph.replay()
            if gates is not None:
                gates.channel.extend(gate.clone() for gate in captured.gates.channel)
                gates.spatial.extend(gate.clone() for gate in captured.gates.spatial)
            return captured.logits.clone()

    def forget(self) -> None:
        """Drop every graph and its buffers; the next calls capture anew."""
        with self._lock:
            self._graphs.clear()
            self._failed = False

    def _graphable(self, x: Tensor) -> bool:
        return x.device.type == "cuda" and not (self._failed or self.network.training or torch.is_grad_enabled())

    def _captured(self, x: Tensor) -> _Captured | None:
        """The graph for inputs like x, captured if need be; None where it cannot be."""
        kind = x.device.type
        autocast = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        key = (tuple(x.shape), x.stride(), x.dtype, x.device, autocast)
        if key in self._graphs:
            self._graphs.move_to_end(key)
            return self._graphs[key]
        if self._failed:  # by another thread, while this one waited for the lock
            return None
        while len(self._graphs) >= self._kept:
            self._graphs.popitem(last=False)
        try:
            self._graphs[key] = _capture(self.network, x)
        except RuntimeError as problem:
            self._failed = True
            _log.warning(
                "The network could not be captured as a CUDA graph (%s). It runs without, exact but slower for "
                "single photos.",
                str(problem).splitlines()[0] if str(problem) else type(problem).__name__,
            )
            return None
        return self._graphs[key]


def _capture(network: nn.Module, x: Tensor) -> _Captured:
    """Run the network on a stream of its own until it is warm, then once more under capture."""
    with torch.inference_mode(False), torch.no_grad(), torch.cuda.device(x.device):
        static = torch.empty_strided(x.size(), x.stride(), dtype=x.dtype, device=x.device)
        static.copy_(x)
        side, current = torch.cuda.Stream(), torch.cuda.current_stream()
        side.wait_stream(current)
        with torch.cuda.stream(side):
            for _ in range(WARM_UPS):
                network(static)
        current.wait_stream(side)
        graph, gates = torch.cuda.CUDAGraph(), Gates()
        # autocast keeps cast weights for its whole region; one made under capture would lie in the graph's pool
        torch.clear_autocast_cache()
        cached = torch.is_autocast_cache_enabled()
        torch.set_autocast_cache_enabled(False)
        try:
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                logits = network(static, gates)
        finally:
            torch.set_autocast_cache_enabled(cached)
        return _Captured(graph, static, logits, gates)
