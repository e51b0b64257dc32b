"""How fast is it here: one run, one table, the ratio to a yardstick of the same run, and the machine's own floor.

Every figure is the median of repeated runs after a warm-up, with the fastest and the slowest beside it. On a GPU the
yardstick is the published graph on the ``mamba_ssm`` back end; on a processor it is a plain 31 M-parameter U-Net.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from dermomamba.benchmark_case import PLAIN_UNET, Case, Timing, measure_case, peers
from dermomamba.network import DermoMamba
from dermomamba.network.cost import count
from dermomamba.scan import BACKENDS, why_unavailable


def backends(device: torch.device) -> tuple[str, ...]:
    """The scan back ends that this machine has for a device, without the step-by-step reference."""
    return tuple(b for b in BACKENDS if b != "reference" and why_unavailable(b, device) is None)


def rates(device: torch.device) -> dict[str, float]:
    """What this machine can do a second: bytes copied, matmul operations (bf16 on a GPU, else fp32), exponentials."""

    def best(work: Callable[[], Any], repeats: int = 5) -> float:
        times = []
        for _ in range(repeats + 1):
            if device.type == "cuda":
                torch.cuda.synchronize()
            started = time.perf_counter()
            work()
            if device.type == "cuda":
                torch.cuda.synchronize()
            times.append(time.perf_counter() - started)
        return min(times[1:])

    cuda = device.type == "cuda"
    source = torch.rand(1 << (28 if cuda else 25), device=device)
    target = torch.empty_like(source)
    copied = 2 * source.numel() * source.element_size() / best(lambda: target.copy_(source))
    side, dtype = (8192, torch.bfloat16) if cuda else (2048, torch.float32)
    matrix = torch.randn(side, side, device=device, dtype=dtype)
    multiplied = 2 * side**3 / best(lambda: matrix @ matrix)
    few = torch.rand(1 << (24 if cuda else 18), device=device)
    exponentials = few.numel() / best(lambda: torch.exp(few, out=few.clone()) if cuda else torch.exp(few))
    return {"copy_bytes": copied, "matmul_ops": multiplied, "exponentials": exponentials}


def floor_seconds(rate: dict[str, float]) -> float:
    """Seconds that one image needs at least at these rates: its MACs and its state updates, side by side."""
    cost = count()
    return max(2 * cost.macs / rate["matmul_ops"], cost.scan_states / rate["exponentials"])


def cases(
    device: torch.device,
    batches: Iterable[int],
    modes: Iterable[str],
    precisions: Iterable[str],
    networks: Iterable[str],
) -> list[Case]:
    """All combinations, the yardstick first."""
    out = []
    for mode in modes:
        for precision in precisions:
            for batch in batches:
                if mode != "decoder":  # the peers have no frozen encoder to compare with
                    out += [Case(name, "", mode, precision, batch) for name in networks]
                out += [Case("DermoMamba", b, mode, precision, batch) for b in reversed(backends(device))]
    return out


def yardstick(timing: Timing, timings: Iterable[Timing], device: torch.device) -> Timing | None:
    """The line that a line is compared with: same mode, precision and batch of this run."""
    for other in timings:
        same = (other.case.mode, other.case.precision, other.case.batch) == (
            timing.case.mode.replace("decoder", "training"), timing.case.precision, timing.case.batch
        )  # fmt: skip
        is_it = other.case.backend == "mamba_ssm" if device.type == "cuda" else other.case.network == PLAIN_UNET
        if same and is_it and not other.failed:
            return other
    return None


def table(timings: list[Timing], device: torch.device) -> str:
    """The timings as text columns."""
    head = f"{'network':16}{'scan':11}{'mode':11}{'prec.':7}{'batch':>5}{'ms / batch':>12}{'min - max':>18}"
    lines = [head + f"{'images/s':>10}{'peak GiB':>10}{'speed-up':>10}"]
    for t in timings:
        c = t.case
        line = f"{c.network:16}{c.backend:11}{c.mode:11}{c.precision:7}{c.batch:5}"
        if t.failed:
            lines.append(f"{line}  {t.failed}")
            continue
        reference = yardstick(t, timings, device)
        ratio = f"{reference.seconds / t.seconds:9.2f}x" if reference else " " * 10
        spread = f"{1e3 * t.fastest:.1f} - {1e3 * t.slowest:.1f}"
        lines.append(
            f"{line}{1e3 * t.seconds:12.2f}{spread:>18}{t.images_per_second:10.1f}{t.peak_bytes / 2**30:10.2f}{ratio}"
        )
    return "\n".join(lines)


def machine(device: torch.device) -> dict[str, Any]:
    """What the figures were taken on."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {
        "device": name,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }


def run(
    device: torch.device,
    batches: Iterable[int],
    modes: Iterable[str],
    precisions: Iterable[str],
    networks: Iterable[str] = (),
    seconds: float = 2.0,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Measure everything and print the table.

    Args:
        device: where.
        batches, modes, precisions: see ``Case``.
        networks: peers by the names of ``peers``.
        seconds: how long each case is repeated.
        say: receives the lines.

    Returns:
        Machine, rates, floor and rows, JSON-serialisable.
    """
    make: dict[str, Callable[[], nn.Module]] = {"DermoMamba": DermoMamba} | peers()
    timings = []
    for case in cases(device, list(batches), list(modes), list(precisions), list(networks)):
        timings.append(measure_case(case, make[case.network], device, seconds))
        say(table(timings[-1:], device).splitlines()[1])
    rate = rates(device)
    floor = floor_seconds(rate)
    say("\n" + table(timings, device))
    say(f"\nmachine: {machine(device)}")
    say(
        f"measured rates: copy {rate['copy_bytes'] / 1e9:.0f} GB/s, matmul {rate['matmul_ops'] / 1e12:.2f} TFLOP/s, "
        f"exponentials {rate['exponentials'] / 1e9:.1f} G/s; floor {1e3 * floor:.3f} ms an image"
    )
    rows = [asdict(t.case) | {k: v for k, v in asdict(t).items() if k != "case"} for t in timings]
    return {"machine": machine(device), "rates": rate, "floor_seconds": floor, "rows": rows}
