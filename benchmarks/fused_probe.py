"""Probe of the fused Triton scan on a CUDA device: right first, then fast.

    python benchmarks/fused_probe.py            parity, times, memory, one profile (about a minute)
    python benchmarks/fused_probe.py --tune     and the best launch parameters of a few stages

Shapes are those of the published network at 192 x 256: five encoder stages, in which three dilation branches share
one call (B' = 3 B), and the three scans of the bottleneck. Exit status 1 if a parity check fails.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from torch import Tensor

from dermomamba.scan import cross_scan, fused_plan, fused_triton
from dermomamba.scan.fused_plan import Tuning

STATES = 16
SCANS = {  # name: (calls' batch per image, E, H, W, R)
    "stage 1": (3, 8, 192, 256, 1),
    "stage 2": (3, 16, 96, 128, 1),
    "stage 3": (3, 32, 48, 64, 1),
    "stage 4": (3, 64, 24, 32, 2),
    "stage 5": (3, 128, 12, 16, 4),
    "sweep hwc": (1, 128, 6, 8, 4),
    "sweep wch": (1, 12, 8, 64, 1),
    "sweep chw": (1, 16, 64, 6, 1),
}
ODD = {"odd": (1, 20, 37, 53, 3), "one row": (1, 8, 1, 77, 1), "one column": (1, 8, 65, 1, 1)}
NAMES = ("x", "W", "P", "bias", "A_logs", "D")
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 2e-2, torch.float16: 2e-2}
FORWARD_TUNINGS = [
    Tuning(2, 8, 1),
    Tuning(1, 8, 1),
    Tuning(1, 4, 1),
    Tuning(2, 16, 1),
    Tuning(2, 32, 4),
    Tuning(4, 16, 1),
]
BACKWARD_TUNINGS = [Tuning(2, 8, 1), Tuning(1, 8, 1), Tuning(1, 4, 1), Tuning(2, 16, 1), Tuning(2, 32, 4)]


def arguments(batch: int, channels: int, height: int, width: int, rank: int, dtype: torch.dtype) -> list[Tensor]:
    """Random input, and parameters as SS2D is initialised with some noise."""
    g = torch.Generator("cuda").manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, device="cuda")

    dt = torch.exp(torch.rand(4, channels, generator=g, device="cuda") * 4.6 - 6.9)  # 1e-3 .. 1e-1
    a = torch.arange(1, STATES + 1.0, device="cuda").log()
    return [
        normal(batch, channels, height, width).to(dtype),
        normal(4, rank + 2 * STATES, channels) * channels**-0.5,
        normal(4, channels, rank) * rank**-0.5,
        dt + torch.log(-torch.expm1(-dt)),
        a + 0.1 * normal(4 * channels, STATES),
        1 + 0.1 * normal(4 * channels),
    ]


def parity(name: str, shape: tuple[int, ...], dtype: torch.dtype, batch: int = 2) -> bool:
    """One line: relative errors (norm, and largest entry for y) against the chunked scan in float64."""
    inputs = arguments(batch, *shape[1:], dtype)
    ours = [a.clone().requires_grad_() for a in inputs]
    exact = [a.double().requires_grad_() for a in inputs]
    dy = torch.randn_like(inputs[0])
    y = fused_triton.cross_scan_fused(*ours)
    y.backward(dy)
    truth = cross_scan(*exact, backend="chunked")
    truth.backward(dy.double())

    def norm(a: Tensor, b: Tensor) -> float:
        return ((a.double() - b).norm() / b.norm()).item()

    errors = {"y": norm(y, truth)}
    errors |= {f"d{n}": norm(a.grad, b.grad) for n, a, b in zip(NAMES, ours, exact, strict=True)}
    largest = ((y.double() - truth).abs().max() / truth.abs().max()).item()
    good = all(e < TOLERANCE[dtype] for e in (*errors.values(), largest))
    row = " ".join(f"{n} {e:.1e}" for n, e in errors.items())
    print(f"{'PASS' if good else 'FAIL'} {name:11s} {str(dtype)[6:]:9s} {row}  max y {largest:.1e}", flush=True)
    return good


def milliseconds(work, repeats: int = 12) -> float:
    """Median time of ``work`` on the GPU."""
    for _ in range(3):
        work()
    times = []
    for _ in range(repeats):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        work()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    return statistics.median(times)


def graphed(work) -> float:
    """Median time of ``work`` as a replayed CUDA graph: no launch costs."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            work()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return milliseconds(graph.replay, 20)


def step(inputs: list[Tensor]):
    """A forward and a backward with gradients of everything."""
    leaves = [a.clone().requires_grad_() for a in inputs]
    dy = torch.randn_like(inputs[0])
    return lambda: torch.autograd.grad(fused_triton.cross_scan_fused(*leaves), leaves, dy)


def times(batch: int, dtype: torch.dtype) -> None:
    """A line for each call of the network, and their sum."""
    total = [0.0, 0.0, 0.0]
    print(f"\n{str(dtype)[6:]}, {batch} image(s): ms forward | forward as CUDA graph | forward + backward | peak MiB")
    for name, (each, *rest) in SCANS.items():
        inputs = arguments(each * batch, *rest, dtype)

        def forward(inputs=inputs):
            return fused_triton.cross_scan_fused(*inputs)

        row = [milliseconds(forward), graphed(forward)]
        torch.cuda.empty_cache()
        work = step(inputs)
        base = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        row.append(milliseconds(work, 8))
        peak = (torch.cuda.max_memory_allocated() - base) / 2**20
        total = [t + r for t, r in zip(total, row, strict=True)]
        print(f"  {name:10s} {row[0]:9.3f} {row[1]:9.3f} {row[2]:9.3f} {peak:8.0f}", flush=True)
        del inputs, forward, work
        torch.cuda.empty_cache()
    rates = " ".join(f"{1e3 * batch / t:9.0f}" for t in total)
    print(f"  {'all 18':10s} " + " ".join(f"{t:9.3f}" for t in total) + f"\n  images/s   {rates}", flush=True)


def profile(batch: int, dtype: torch.dtype, name: str) -> None:
    """Time of each kernel in one forward + backward."""
    each, *rest = SCANS[name]
    work = step(arguments(each * batch, *rest, dtype))
    work()
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as p:
        work()
        torch.cuda.synchronize()
    rows = sorted(p.key_averages(), key=lambda e: -e.self_device_time_total)
    whole = sum(e.self_device_time_total for e in rows)
    print(f"\nprofile {name}, {batch} image(s), {str(dtype)[6:]}, forward + backward, {whole / 1e3:.2f} ms")
    for e in rows[:14]:
        share = e.self_device_time_total / whole
        print(f"  {e.self_device_time_total / 1e3:9.3f} ms {share:5.0%} x{e.count:<4d} {e.key[:80]}")


def tune(dtype: torch.dtype) -> None:
    """Times of a few launch parameters; the best is marked."""
    for name in ("stage 1", "stage 2", "stage 5"):
        for batch in (64, 1):
            each, *rest = SCANS[name]
            inputs = arguments(each * batch, *rest, dtype)

            def forward(inputs=inputs):
                return fused_triton.cross_scan_fused(*inputs)

            def backward(inputs=inputs):
                return fused_triton._backward(inputs[0], *inputs, dtype)

            for kind, work, options in (
                ("FORWARD", forward, FORWARD_TUNINGS),
                ("BACKWARD", backward, BACKWARD_TUNINGS),
            ):
                kept = getattr(fused_triton, kind)
                found = {}
                for option in options:
                    setattr(fused_triton, kind, option)
                    try:
                        found[option.each, option.lanes, option.warps] = (
                            graphed(work) if batch == 1 else milliseconds(work, 6)
                        )
                    except Exception as problem:
                        print("  failed", option, type(problem).__name__, str(problem)[:200])
                setattr(fused_triton, kind, kept)
                row = " ".join(f"{k} {v:.3f}{'*' if v == min(found.values()) else ''}" for k, v in found.items())
                print(f"tune {str(dtype)[6:]} {name} x{batch} {kind}: {row}", flush=True)
            if batch == 1:
                sweep("WANTED_WARPS", (512, 1024, 2048, 4096, 8192), lambda f=forward: graphed(f), name)
            elif name == "stage 1":
                sweep("FORWARD_WORKSPACE", (2**29, 2**30, 2**31, 2**32), lambda f=forward: milliseconds(f, 6), name)
                sweep(
                    "WORKSPACE", (2**27, 2**28, 2**29, 2**30), lambda f=backward: milliseconds(f, 4), name + " backward"
                )


def sweep(constant: str, values: tuple[int, ...], measure, name: str) -> None:
    """Times for values of one constant of fused_plan."""
    kept = getattr(fused_plan, constant)
    row = []
    for value in values:
        setattr(fused_plan, constant, value)
        row.append(f"{value} {measure():.3f}")
    setattr(fused_plan, constant, kept)
    print(f"tune {name} {constant}: " + " | ".join(row), flush=True)


def warm(rank: int, dtype: torch.dtype, tuning: bool) -> None:
    """Compile what shapes of this rank need (in a process of its own: the compiler's cache is on disk)."""
    shapes = [s for s in (*SCANS.values(), *ODD.values()) if s[4] == rank]
    for option in FORWARD_TUNINGS if tuning else [fused_triton.FORWARD]:
        fused_triton.FORWARD = option
        if option in BACKWARD_TUNINGS:
            fused_triton.BACKWARD = option
        for shape in shapes:
            step(arguments(shape[0], *shape[1:], dtype))()
    torch.cuda.synchronize()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tune", action="store_true", help="try launch parameters")
    parser.add_argument("--warm", nargs=2, metavar=("RANK", "DTYPE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = False
    if options.warm:
        warm(int(options.warm[0]), getattr(torch, options.warm[1]), options.tune)
        return 0
    began = time.perf_counter()
    print(torch.cuda.get_device_name(), "torch", torch.__version__, fused_triton.why_unavailable("cuda") or "available")
    more = ["--tune"] if options.tune else []
    workers = [
        subprocess.Popen([sys.executable, __file__, "--warm", str(rank), dtype, *more])
        for rank in (1, 2, 3, 4)
        for dtype in ("float32", "bfloat16")
    ]
    failures = sum(worker.wait() != 0 for worker in workers)
    print(f"compiled in {time.perf_counter() - began:.0f} s, {failures} failure(s)", flush=True)
    good = [parity(n, s, dtype) for dtype in (torch.float32, torch.bfloat16) for n, s in (SCANS | ODD).items()]
    good.append(parity("stage 3", SCANS["stage 3"], torch.float16))
    print("PARITY", "PASS" if all(good) else "FAIL", f"({time.perf_counter() - began:.0f} s)", flush=True)
    for batch in (64, 1):
        for dtype in (torch.float32, torch.bfloat16):
            times(batch, dtype)
    for dtype in (torch.float32, torch.bfloat16):
        profile(64, dtype, "stage 1")
    profile(64, torch.float32, "stage 5")
    if options.tune:
        for dtype in (torch.float32, torch.bfloat16):
            tune(dtype)
    print(f"done in {time.perf_counter() - began:.0f} s")
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
