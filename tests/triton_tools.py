"""What the tests of Triton kernels share where there is no GPU: the interpreter, and compiling for sm_90."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path


def interpret_with_numpy_2_4() -> None:
    """Triton 3.6's interpreter takes int() of one-element arrays, which NumPy 2.4 refuses."""
    from triton.runtime import interpreter

    original = interpreter._patch_lang_tensor

    def patched(tensor, scope):
        original(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    interpreter._patch_lang_tensor = patched


def compiled_for_hopper(work: Callable[[], object]) -> list[dict]:
    """Every kernel that ``work`` launches on CPU tensors, compiled for sm_90 in place of run.

    Changes this process for good: call it in one of its own.

    Args:
        work: launches the kernels; what they should have computed is left undefined.

    Returns:
        For each distinct kernel its name, constants, registers, bytes of stack (spills) and of shared memory.
    """
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.runtime import driver
    from triton.runtime.jit import JITFunction

    class Hopper:
        def get_current_target(self):
            return GPUTarget("cuda", 90, 32)

        def get_current_device(self):
            return 0

        def get_current_stream(self, device=None):
            return 0

    kernels: dict[int, dict] = {}
    kept = []
    original = JITFunction.run

    def compiled(self, *args, grid, warmup, **kwargs):
        kernel = original(self, *args, grid=grid, warmup=True, **kwargs)
        if id(kernel) not in kernels:
            kept.append(kernel)
            kernels[id(kernel)] = {
                "name": self.__name__,
                "constants": {k: v for k, v in kwargs.items() if k.isupper() or k == "num_warps"},
                "shared": kernel.metadata.shared,
                **_resources(Path(triton.__file__).parent, kernel.asm["cubin"]),
            }
        return kernel

    driver.set_active(Hopper())
    JITFunction.run = compiled
    work()
    return list(kernels.values())


def _resources(triton_folder: Path, cubin: bytes) -> dict[str, int]:
    tool = triton_folder / "backends/nvidia/bin/cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        text = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True).stdout
    registers, stack = re.search(r"REG:(\d+) STACK:(\d+)", text).groups()
    return {"registers": int(registers), "stack": int(stack)}
