"""Registers, spills and shared memory of every Triton kernel for sm_90 (H100, H200), by stage; needs no GPU.

    python benchmarks/hopper_resources.py                 table, all stages, fp32 and bf16
    python benchmarks/hopper_resources.py --stages 1 5    only these encoder stages
    python benchmarks/hopper_resources.py --json          JSON for the tests

Every launch of a forward and a backward is compiled in place of run. "warps" is what fits on a multiprocessor of 64
(its 65,536 registers and 227 KiB of shared memory), an upper bound of the occupancy.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from dermomamba.network import CrossScaleMambaBlock
from dermomamba.network.fused_block import _backward, _forward
from dermomamba.scan import fused_launch

STAGES = {1: (16, 192, 256), 2: (32, 96, 128), 3: (64, 48, 64), 4: (128, 24, 32), 5: (256, 12, 16)}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


class Hopper:
    """Stands in for the driver."""

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", 90, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int | None = None) -> int:
        return 0


def resources(cubin: bytes) -> dict[str, int]:
    """Registers and stack bytes (spills) of a compiled kernel."""
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        text = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+)", text)
    if found is None:
        raise RuntimeError(f"cuobjdump did not say what a kernel uses: {text[:200]}")
    return {"registers": int(found[1]), "stack": int(found[2])}


def fitting_warps(registers: int, shared: int, warps: int) -> int:
    """Warps on one multiprocessor, by registers (given out in 256 a warp) and shared memory (1 KiB a block is lost)."""
    by_registers = 65536 // (-(-registers * 32 // 256) * 256) // warps
    by_shared = 227 * 1024 // (shared + 1024)
    return min(64 // warps, by_registers, by_shared, 32) * warps


def compiled_for_hopper(work: Callable[[], object]) -> list[dict[str, Any]]:
    """Every kernel that ``work`` launches on CPU tensors, compiled for sm_90 in place of run.

    Args:
        work: launches the kernels; what they should have computed is left undefined.

    Returns:
        For each distinct kernel its name, file, constants, programs, registers, bytes of stack (spills) and of shared
        memory, and the warps that fit on a multiprocessor.
    """
    rows: dict[int, dict[str, Any]] = {}
    kept = []  # as long as a kernel lives, no other has its id
    original = JITFunction.run

    def compiled(self: Any, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> Any:
        kernel = original(self, *args, grid=grid, warmup=True, **kwargs)
        if id(kernel) not in rows:
            kept.append(kernel)
            used = resources(kernel.asm["cubin"])
            shared, warps = kernel.metadata.shared, kernel.metadata.num_warps
            rows[id(kernel)] = {
                "file": self.__module__.rsplit(".", 1)[-1],
                "name": self.__name__,
                "constants": {k: v for k, v in kwargs.items() if k.isupper() or k == "num_warps"},
                "programs": math.prod(grid),
                "shared": shared,
                "warps": fitting_warps(used["registers"], shared, warps),
                **used,
            }
        return kernel

    driver.set_active(Hopper())
    JITFunction.run = compiled
    try:
        work()
    finally:
        JITFunction.run = original
    return list(rows.values())


def compile_stage(stage: int, precision: str, batch: int) -> list[dict[str, Any]]:
    """What a forward and a backward of one encoder stage's Cross-Scale Mamba Block launch."""
    channels, height, width = STAGES[stage]
    block, dtype = CrossScaleMambaBlock(channels), DTYPES[precision]
    mixers, weights = block.in_order()
    x = torch.empty(batch, channels, height, width, dtype=dtype).contiguous(memory_format=torch.channels_last)

    def launch() -> None:
        affine = [torch.empty(channels), torch.empty(channels)]
        with torch.no_grad():
            _forward(x, mixers, weights, affine, 1e-6, 1e-5, dtype)
            _, y = _forward(x, mixers, weights, [], 1e-6, 1e-5, dtype)
            _backward(x, x, y, mixers, weights, 1e-6, 1e-5, dtype)

    fused_launch.fast_math = lambda device: True
    return [{"stage": stage, "precision": precision} | row for row in compiled_for_hopper(launch)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stages", type=int, nargs="+", default=list(STAGES), choices=list(STAGES))
    parser.add_argument("--precision", nargs="+", default=list(DTYPES), choices=list(DTYPES))
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = [r for s in options.stages for p in options.precision for r in compile_stage(s, p, options.batch)]
    if options.json:
        print(json.dumps(rows))
        return
    print(f"{'stage':6}{'prec.':6}{'kernel':30}{'programs':>9}{'registers':>10}{'stack':>7}{'shared':>8}{'warps':>6}")
    for r in rows:
        print(
            f"{r['stage']:<6}{r['precision']:6}{r['name']:30}{r['programs']:9}{r['registers']:10}{r['stack']:7}"
            f"{r['shared']:8}{r['warps']:6}"
        )


if __name__ == "__main__":
    main()
