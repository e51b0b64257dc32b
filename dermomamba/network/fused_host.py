"""What the host sides of the network's Triton kernels share; no Triton needed."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

DTYPES = (torch.float32, torch.bfloat16, torch.float16)

PROGRAMS = 1056
"""Programs that keep sums over pixels, at most: eight for each multiprocessor of an H100 or H200."""


def padded(channels: int) -> int:
    """The power of two that a matrix product of so many channels is rounded up to."""
    return max(16, 1 << (channels - 1).bit_length())


def precision(*tensors: Tensor) -> str:
    """Three TF32 products make float32's accuracy; one is finer than 16-bit numbers."""
    return "tf32x3" if all(t.dtype == torch.float32 for t in tensors) else "tf32"


def on(x: Tensor) -> AbstractContextManager:
    """The device to launch on."""
    return torch.cuda.device(x.device) if x.is_cuda else nullcontext()


def as_float(w: Tensor) -> Tensor:
    """A parameter as the kernels read it."""
    return w.detach().float().contiguous()
