"""Time of every scan back end on the five encoder stages, in one run; with ``--network``, of the whole network.

    python benchmarks/scan.py [--threads 2] [--network] [--device cpu] [--json out.json]

Each stage scans its three dilation branches as a batch of three. Rounds go through all back ends in turn, so that a
disturbance hits them alike; the table shows medians, the spread (quartiles) and the ratio to ``chunked``.
``reference`` is timed only with ``--reference``: it takes minutes. Thread counts are asserted around every timing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from dermomamba.scan import BACKENDS, cross_scan, why_unavailable

STAGES = {  # stage: (E, R, H, W) at 192 x 256
    "stage 1": (8, 1, 192, 256),
    "stage 2": (16, 1, 96, 128),
    "stage 3": (32, 1, 48, 64),
    "stage 4": (64, 2, 24, 32),
    "stage 5": (128, 4, 12, 16),
}
BRANCHES, STATES = 3, 16


def machine(device: torch.device) -> str:
    """One line that names the hardware and the software."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        cpuinfo = Path("/proc/cpuinfo")
        lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
        name = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), platform.processor())
        wide = [x for x in ("avx2", "avx512f") if any(x in y.split() for y in lines if y.startswith("flags"))]
        name += f" ({', '.join(wide) or platform.machine()}), {os.cpu_count()} cores"
    return f"{name}; torch {torch.__version__}; Python {platform.python_version()}"


def operands(inner: int, rank: int, height: int, width: int, device: torch.device) -> list[torch.Tensor]:
    """Random input and a scan's parameters as they are at the start of training."""
    torch.manual_seed(0)
    x = torch.randn(BRANCHES, inner, height, width, device=device).contiguous(memory_format=torch.channels_last)
    parameters = [
        torch.randn(4, rank + 2 * STATES, inner) * inner**-0.5,
        torch.randn(4, inner, rank) * rank**-0.5,
        torch.rand(4, inner) * 4 - 6,
        torch.arange(1, STATES + 1.0).log().repeat(4 * inner, 1),
        torch.ones(4 * inner),
    ]
    return [x, *(p.to(device) for p in parameters)]


def timed(work: Callable[[], object], device: torch.device, threads: int) -> float:
    """Seconds of one call, with the thread count checked before and after."""
    assert torch.get_num_threads() == threads, torch.get_num_threads()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    seconds = time.perf_counter() - start
    assert torch.get_num_threads() == threads, torch.get_num_threads()
    return seconds


def rounds(
    works: dict[str, Callable[[], object]], repeats: int, device: torch.device, threads: int
) -> dict[str, list[float]]:
    """Call everything once to warm up, then all in turn ``repeats`` times."""
    for work in works.values():
        work()
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            seconds[name].append(timed(work, device, threads))
    return seconds


def show(title: str, seconds: dict[str, list[float]], results: list[dict]) -> None:
    """Print one row for each back end and keep it for the JSON file."""
    base = statistics.median(seconds["chunked"])
    for name, values in seconds.items():
        low, middle, high = statistics.quantiles(values, n=4) if len(values) > 1 else values * 3
        ratio = middle / base
        print(f"{title:30} {name:10} {middle * 1e3:9.1f} {low * 1e3:9.1f} {high * 1e3:9.1f} {ratio:8.3f}", flush=True)
        results.append(
            {"what": title, "backend": name, "median_s": middle, "quartiles_s": [low, high], "to_chunked": ratio}
        )


def stages(names: list[str], repeats: int, device: torch.device, threads: int) -> list[dict]:
    """Forward, and forward with backward, of cross_scan at the encoder's five shapes."""
    results: list[dict] = []
    for stage, shape in STAGES.items():
        inputs = operands(*shape, device)
        leaves = [t.clone().requires_grad_() for t in inputs]
        upstream = torch.randn_like(inputs[0])

        def forward(backend: str, inputs: list[torch.Tensor] = inputs) -> None:
            with torch.inference_mode():
                cross_scan(*inputs, backend=backend)

        def both(backend: str, leaves: list[torch.Tensor] = leaves, upstream: torch.Tensor = upstream) -> None:
            torch.autograd.grad(cross_scan(*leaves, backend=backend), leaves, upstream)

        for title, work in ((f"{stage} forward", forward), (f"{stage} forward+backward", both)):
            works = {name: lambda name=name, work=work: work(name) for name in names}
            show(title, rounds(works, repeats, device, threads), results)
    for kind in ("forward", "forward+backward"):
        rows = [r for r in results if r["what"].endswith(f" {kind}")]
        totals = {n: [sum(r["median_s"] for r in rows if r["backend"] == n)] for n in names}
        show(f"all five stages {kind}", totals, results)
    return results


def network(names: list[str], repeats: int, device: torch.device, threads: int) -> list[dict]:
    """The whole network on one image, forward, with each back end in turn."""
    from dermomamba.network import DermoMamba

    model = DermoMamba().eval().to(device)
    image = torch.rand(1, 3, 192, 256, device=device)

    def work(name: str) -> None:
        os.environ["DERMOMAMBA_SCAN"] = name
        try:
            with torch.inference_mode():
                model(image)
        finally:
            del os.environ["DERMOMAMBA_SCAN"]

    results: list[dict] = []
    works = {name: lambda name=name: work(name) for name in names}
    show("network, one image, forward", rounds(works, repeats, device, threads), results)
    return results


def main() -> None:
    """Read the command line, run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--network", action="store_true", help="time the whole network instead of the stages")
    parser.add_argument("--reference", action="store_true", help="also time the step-by-step reference")
    parser.add_argument("--json", type=Path, help="write the table here too")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    os.environ.pop("DERMOMAMBA_SCAN", None)
    torch.set_num_threads(arguments.threads)
    names = []
    for name in BACKENDS:
        reason = why_unavailable(name, device)
        if reason:
            print(f"{name}: {reason}")
        elif name != "reference" or arguments.reference:
            names.append(name)
    print(f"{machine(device)}; {arguments.threads} threads; {arguments.repeats} rounds; ms")
    print(f"{'what':30} {'back end':10} {'median':>9} {'25 %':>9} {'75 %':>9} {'ratio':>8}")
    run = network if arguments.network else stages
    results = run(names, arguments.repeats, device, arguments.threads)
    if arguments.json:
        report = {"machine": machine(device), "threads": arguments.threads, "results": results}
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
