"""One command for a short loan of an NVIDIA GPU: right first, then fast, in about eight minutes.

    PYTHONPATH=. python benchmarks/gpu_session.py --out gpu.json

Steps, each printed and saved as soon as it is done: parity of the fused operators with float64 on the device;
inference (batch 1 and 64, float32 and bfloat16) eager, as CUDA graph and compiled; the training step (batch 64,
bfloat16); a profile of each. Where mamba_ssm can be imported, its back end is timed in the same run. Nothing of the
page is needed: torch, triton and numpy are enough. Steps that would start after --minutes are left out, and said so.
Exit status 1 if a parity check fails.
"""

from __future__ import annotations

# ruff: noqa: E402  (the package is replaced by an empty one before it is imported)
import argparse
import importlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bare
import torch

bare.prepare()

from gpu_parity import (
    STAGES,
    TOLERANCE,
    BeforeNorm,
    backend,
    cases,
    derivatives,
    difference,
    folded_parity,
    parity,
    prepared,
)
from torch import Tensor, nn
from torch.nn import functional as F

from dermomamba.learning.optimisation import graphed
from dermomamba.learning.recipe import Recipe
from dermomamba.network import DermoMamba
from dermomamba.network.cross_scale import CrossScaleMambaBlock
from dermomamba.network.cuda_graph import GraphedNetwork
from dermomamba.network.inference import for_inference
from dermomamba.network.inference_cuda import CudaInferenceNetwork
from dermomamba.scan import fused_plan, why_unavailable


class Session:
    """What was measured, saved after each step, and the time that is left."""

    def __init__(self, out: Path | None, minutes: float) -> None:
        self.out, self.started, self.limit = out, time.perf_counter(), 60 * minutes
        self.results: dict[str, Any] = {
            "gpu": torch.cuda.get_device_name(),
            "torch": torch.__version__,
            "started": time.strftime("%Y-%m-%d %H:%M:%S"),
        }
        self.save("machine", self.results["gpu"])

    def save(self, name: str, value: Any) -> None:
        self.results[name] = value
        print(f"[{time.perf_counter() - self.started:5.0f} s] {name}: {value}", flush=True)
        if self.out:
            self.out.parent.mkdir(parents=True, exist_ok=True)
            self.out.write_text(json.dumps(self.results, indent=1) + "\n", encoding="utf-8")

    def step(self, name: str, work: Callable[[], Any]) -> None:
        """Run one step; a step that fails is noted and the rest goes on."""
        if time.perf_counter() - self.started > self.limit:
            self.save(name, "left out: no time")
            return
        try:
            self.save(name, work())
        except Exception as problem:  # a session on a lent machine must go on to its next step
            self.save(name, f"failed: {type(problem).__name__}: {str(problem)[:400]}")
        torch.cuda.empty_cache()


def warm(number: int, dtype: torch.dtype) -> None:
    """Compile what one case launches."""
    kind, shape = cases()[number]
    module, x = prepared(kind, *shape, dtype)
    with backend("fused"):
        derivatives(module, x, torch.ones_like(x))
        if kind is BeforeNorm:
            with torch.no_grad():
                CrossScaleMambaBlock(shape[0]).cuda().eval()(x)
    torch.cuda.synchronize()


def compile_beside() -> str:
    """Every case in a process of its own, all at once: Triton's cache is on disk."""
    workers = [
        subprocess.Popen(
            [sys.executable, __file__, "--warm", str(i), str(dtype)[6:]], stderr=subprocess.PIPE, text=True
        )
        for i in range(len(cases()))
        for dtype in TOLERANCE
    ]
    complaints = [worker.communicate()[1] for worker in workers]
    failed = [c for c, worker in zip(complaints, workers, strict=True) if worker.returncode]
    return f"{len(workers)} processes, {len(failed)} failed" + (f"; first: {failed[0][-1500:]}" if failed else "")


def all_parities(session: Session) -> bool:
    for dtype in TOLERANCE:
        name = str(dtype)[6:]
        for shape in STAGES:
            title = f"parity folded {shape} {name}"
            session.step(title, lambda shape=shape, dtype=dtype: folded_parity(shape, dtype))
        for kind, shape in cases():
            title = f"parity {kind.__name__} {shape} {name}"
            session.step(title, lambda kind=kind, shape=shape, dtype=dtype: parity(kind, *shape, dtype))
    found = {k: v for k, v in session.results.items() if k.startswith("parity ")}
    good = all(isinstance(v, dict) and v["pass"] for v in found.values())
    session.save("parity", f"{'PASS' if good else 'FAIL'}: {len(found)} cases")
    return good


def milliseconds(work: Callable[[], Any], seconds: float = 1.0) -> dict[str, float]:
    """Median and quartiles of repeated runs, and peak memory."""
    for _ in range(3):
        work()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    times: list[float] = []
    until = time.perf_counter() + seconds
    while len(times) < 5 or (time.perf_counter() < until and len(times) < 200):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        work()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    low, median, high = statistics.quantiles(times, n=4)
    peak = torch.cuda.max_memory_allocated() / 2**30
    return {"ms": round(median, 3), "q1": round(low, 3), "q3": round(high, 3), "peak_GiB": round(peak, 2)}


def folded(network: DermoMamba, scan: str = "fused") -> CudaInferenceNetwork:
    """The network rearranged for inference; an error where it is refused."""
    with backend(scan):
        form = for_inference(network)
    if not isinstance(form, CudaInferenceNetwork):
        raise RuntimeError("the rearranged network is refused; see the warning above")
    return form


def inference(how: str, scan: str, batch: int, dtype: torch.dtype) -> Callable[[], Any]:
    """A function that runs one batch: eager, graph or compile, or "folded" and one of the first two."""
    network = DermoMamba().eval().requires_grad_(False).cuda().to(memory_format=torch.channels_last)
    form: nn.Module = folded(network, scan) if how.startswith("folded") else network
    call: Any = GraphedNetwork(form) if how.endswith("graph") else form
    if how == "compile":
        call = torch.compile(network)
    x = torch.rand(batch, 3, *network.image_size, device="cuda").contiguous(memory_format=torch.channels_last)

    def work() -> Tensor:
        with backend(scan), torch.inference_mode(), torch.autocast("cuda", dtype, enabled=dtype != torch.float32):
            return call(x)

    return work


def training(how: str, scan: str, batch: int) -> Callable[[], Any]:
    """Forward in bfloat16, a soft Dice and cross-entropy loss, backward and AdamW: without the guided loss's maps."""
    network = DermoMamba().train().cuda().to(memory_format=torch.channels_last)
    step: Any = torch.compile(network) if how == "compile" else network
    recipe = Recipe(name="session", description="", sources=())
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    x = torch.rand(batch, 3, *network.image_size, device="cuda").contiguous(memory_format=torch.channels_last)
    t = (torch.rand(batch, 1, *network.image_size, device="cuda") > 0.5).float()
    if how == "graph":
        with backend(scan):
            problem = graphed(network, x, recipe)
        if problem:
            raise RuntimeError(problem)

    def work() -> None:
        with backend(scan):
            with torch.autocast("cuda", torch.bfloat16):
                logits = step(x)
            logits = logits.float()
            p = torch.sigmoid(logits)
            dice = 1 - (2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1)
            loss = F.binary_cross_entropy_with_logits(logits, t) + dice
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

    return work


def with_work_space(size: int, measured: Callable[[], Any]) -> Any:
    """The same with other work space of the forward scans, bytes: what memory costs in time."""
    before, fused_plan.FORWARD_WORKSPACE = fused_plan.FORWARD_WORKSPACE, size
    try:
        return measured()
    finally:
        fused_plan.FORWARD_WORKSPACE = before


def slices_parity() -> dict[str, Any]:
    """A batch of 64 scanned at once against the same in slices, which may cut their lanes elsewhere."""
    torch.manual_seed(0)
    network = DermoMamba().eval().requires_grad_(False).cuda()
    x = torch.rand(64, 3, *network.image_size, device="cuda")
    with torch.inference_mode(), backend("fused"), torch.backends.cudnn.flags(allow_tf32=False):
        whole = network(x)
        error = difference(with_work_space(2**28, lambda: network(x)), whole)
    return {"error": error, "pass": error < 1e-4}


def profile(work: Callable[[], Any]) -> list[dict[str, Any]]:
    """The twenty-five kernels that take most of the GPU's time."""
    for _ in range(3):
        work()
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as p:
        work()
        torch.cuda.synchronize()
    rows = sorted(p.key_averages(), key=lambda e: -e.self_device_time_total)
    whole = sum(e.self_device_time_total for e in rows)
    table = [
        {"ms": round(e.self_device_time_total / 1e3, 3), "share": round(e.self_device_time_total / whole, 3)}
        | {"calls": e.count, "kernel": e.key[:90]}
        for e in rows[:25]
    ]
    for row in table:
        print(f"   {row['ms']:9.3f} ms {row['share']:6.1%} x{row['calls']:<4d} {row['kernel']}", flush=True)
    return table


def network_parity() -> dict[str, Any]:
    """Logits of the whole network, fused, graphed and folded against plain PyTorch; folded also in bfloat16."""
    torch.manual_seed(0)
    network = DermoMamba().eval().requires_grad_(False).cuda()
    x, graphed = torch.rand(2, 3, *network.image_size, device="cuda"), GraphedNetwork(network)
    with torch.inference_mode(), torch.backends.cudnn.flags(allow_tf32=False):
        with backend("chunked"):
            plain = network(x)
        with backend("fused"):
            errors = {"fused": difference(network(x), plain), "graph": difference(graphed(x), plain)}
            fast = folded(network)
            errors["folded"] = difference(fast(x), plain)
            with torch.autocast("cuda", torch.bfloat16):
                half = {"folded bfloat16": difference(fast(x), plain), "bfloat16": difference(network(x), plain)}
    good = max(errors.values()) < 1e-3 and half["folded bfloat16"] < 5e-2
    return errors | half | {"captured": len(graphed._graphs) == 1, "pass": good}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSON, written after each step")
    parser.add_argument("--minutes", type=float, default=8.0, help="no step starts after so many")
    parser.add_argument("--compile", action="store_true", help="also torch.compile (minutes; last)")
    parser.add_argument("--warm", nargs=2, metavar=("CASE", "DTYPE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.warm:
        warm(int(options.warm[0]), getattr(torch, options.warm[1]))
        return 0
    if reason := why_unavailable("fused", "cuda"):
        print(reason)
        return 1
    session = Session(options.out, options.minutes)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    session.step("compiled", compile_beside)
    session.step("parity network", network_parity)
    session.step("parity slices", slices_parity)
    good = all_parities(session)
    dtypes = (torch.float32, torch.bfloat16)

    def time_all(scan: str) -> None:
        for batch in (64, 1):
            for dtype in dtypes:
                for how in ("eager", "folded eager", "folded graph") if scan == "fused" else ("eager",):
                    name = f"inference {scan} {how} batch {batch} {str(dtype)[6:]}"
                    session.step(name, lambda a=(how, scan, batch, dtype): milliseconds(inference(*a)))
        for how in ("eager", "graph") if scan == "fused" else ("eager",):
            name = f"training {scan} {how} batch 64 bfloat16"
            session.step(name, lambda how=how: milliseconds(training(how, scan, 64)))

    time_all("fused")
    for dtype in dtypes:
        name = f"inference fused folded graph batch 64 {str(dtype)[6:]}, 1 GiB for the forward scans"
        how = ("folded graph", "fused", 64, dtype)
        session.step(name, lambda h=how: with_work_space(2**30, lambda: milliseconds(inference(*h))))
    for dtype in dtypes:
        name = f"profile inference fused folded batch 64 {str(dtype)[6:]}"
        session.step(name, lambda d=dtype: profile(inference("folded eager", "fused", 64, d)))
    session.step("profile training fused batch 64", lambda: profile(training("eager", "fused", 64)))
    importlib.invalidate_caches()  # the yardstick may have been built meanwhile
    if why_unavailable("mamba_ssm", "cuda") is None:
        time_all("mamba_ssm")
    if options.compile:
        for batch in (64, 1):
            name = f"inference fused compile batch {batch} bfloat16"
            session.step(name, lambda b=batch: milliseconds(inference("compile", "fused", b, torch.bfloat16)))
        session.step("training fused compile batch 64", lambda: milliseconds(training("compile", "fused", 64)))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
