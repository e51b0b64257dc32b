"""One case of the benchmark: which network works how, what is timed, and how long it took with how much memory."""

from __future__ import annotations

import gc
import importlib.util
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dermomamba.errors import BackendError
from dermomamba.learning.guide_fusion import GuideFusionLoss
from dermomamba.network import IMAGE_SIZE
from dermomamba.network import dermomamba as dermomamba_
from dermomamba.network.inference import for_inference
from dermomamba.scan import VARIABLE

PLAIN_UNET, SEGFORMER = "U-Net 31 M", "SegFormer-B0"


@dataclass(frozen=True)
class Case:
    """One line of the table.

    Attributes:
        network: "DermoMamba" or a peer.
        backend: scan back end, "" for peers.
        mode: "inference", "training" (forward, guided loss, backward, AdamW step) or "decoder" (the same with the
            encoder frozen, run without gradients).
        precision: "fp32" or "bf16" (autocast).
        batch: images at once.
    """

    network: str
    backend: str
    mode: str
    precision: str
    batch: int


@dataclass(frozen=True)
class Timing:
    """What was measured for a case.

    Attributes:
        case: which.
        seconds: median of one batch; fastest and slowest: of the repeats.
        repeats: how many were counted.
        peak_bytes: largest device memory in use; on a processor the most memory that the process ever held up to then.
        failed: why there is no figure, "" when there is one.
    """

    case: Case
    seconds: float = 0.0
    fastest: float = 0.0
    slowest: float = 0.0
    repeats: int = 0
    peak_bytes: int = 0
    failed: str = ""

    @property
    def images_per_second(self) -> float:
        """Throughput at the median."""
        return self.case.batch / self.seconds if self.seconds else 0.0


def peers() -> dict[str, Callable[[], nn.Module]]:
    """Networks of others to compare with: MONAI's U-Net and ResNet34-UNet, and SegFormer-B0 where transformers is."""
    from monai.networks.nets import BasicUNet, FlexibleUNet

    features = (64, 128, 256, 512, 1024, 64)
    found: dict[str, Callable[[], nn.Module]] = {
        PLAIN_UNET: lambda: BasicUNet(2, 3, 1, features, act="relu", norm="batch"),
        "ResNet34-UNet": lambda: FlexibleUNet(3, 1, "resnet34", pretrained=False),
    }
    if importlib.util.find_spec("transformers"):
        found[SEGFORMER] = SegFormerB0
    return found


class SegFormerB0(nn.Module):
    """SegFormer-B0 (Xie et al. 2021, arXiv 2105.15203) of transformers, its map enlarged to the picture's size.

    Shape:
        input (B, 3, H, W), output (B, 1, H, W) logits.
    """

    def __init__(self) -> None:
        super().__init__()
        from transformers import SegformerConfig, SegformerForSemanticSegmentation

        self.inner = SegformerForSemanticSegmentation(SegformerConfig(num_labels=1))  # type: ignore[call-arg]

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(self.inner(x).logits, x.shape[-2:], mode="bilinear")  # (B, 1, H/4, W/4) -> (B, 1, H, W)


def _layout(network: str, device: torch.device) -> torch.memory_format:
    """Channels last on a GPU; on a processor for the convolutional peers, which are faster so."""
    if device.type == "cuda" or network not in (SEGFORMER, "DermoMamba"):
        return torch.channels_last
    return torch.contiguous_format


@contextmanager
def scan_backend(name: str) -> Iterator[None]:
    """Use one scan back end inside the block."""
    before = os.environ.get(VARIABLE)
    if name:
        os.environ[VARIABLE] = name
    try:
        yield
    finally:
        os.environ.pop(VARIABLE, None)
        if before is not None:
            os.environ[VARIABLE] = before


def _work(network: nn.Module, case: Case, device: torch.device) -> Callable[[], Any]:
    """The function that is timed."""
    x = torch.rand(case.batch, 3, *IMAGE_SIZE, device=device)
    x = x.contiguous(memory_format=_layout(case.network, device))

    def autocast() -> Any:
        return torch.autocast(device.type, torch.bfloat16) if case.precision == "bf16" else nullcontext()

    if case.mode == "inference":
        network.eval()
        if isinstance(network, dermomamba_.DermoMamba):
            network = for_inference(network)

        def infer() -> None:
            with torch.inference_mode(), autocast():
                network(x)

        return infer
    network.train()
    if case.mode == "decoder":
        assert isinstance(network, dermomamba_.DermoMamba)
        network.stem.requires_grad_(False).eval()
        network.encoder.requires_grad_(False).eval()
    y, x0 = torch.meshgrid(torch.arange(IMAGE_SIZE[0]), torch.arange(IMAGE_SIZE[1]), indexing="ij")
    target = ((x0 - 128) ** 2 + (y - 96) ** 2 < 60**2).float().to(device).expand(case.batch, 1, -1, -1)
    loss, optimizer = (
        GuideFusionLoss(),
        torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], fused=device.type == "cuda"),
    )

    def train() -> None:
        with autocast():
            if case.mode == "decoder":
                with torch.no_grad():
                    encoded = network.encode(x)  # type: ignore[operator]
                logits = network.decode(*encoded)  # type: ignore[operator]
            else:
                logits = network(x)
        optimizer.zero_grad(set_to_none=True)
        loss(logits, target).backward()
        optimizer.step()

    return train


def _process_peak() -> int:
    """Most bytes that the process has held since ``_forget_peak`` or its start; 0 where nobody counts."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss cannot be set back
        line = next((x for x in status.read_text().splitlines() if x.startswith("VmHWM:")), "")
        return int(line.split()[1]) * 1024 if line else 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if platform.system() == "Darwin" else 1024)


def _forget_peak() -> None:
    """Begin a new count of the process's memory, where Linux lets us."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def measure_case(case: Case, make: Callable[[], nn.Module], device: torch.device, seconds: float = 2.0) -> Timing:
    """Time one case.

    Args:
        case: what.
        make: builds the network.
        device: where.
        seconds: how long to repeat, at least three times.

    Returns:
        The timing, or a failed one when the device runs out of memory or the back end is missing.
    """

    def synchronise() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()

    torch.manual_seed(0)
    threads = torch.get_num_threads()
    try:
        with scan_backend(case.backend):
            network = make().to(device)
            network = network.to(memory_format=_layout(case.network, device))  # type: ignore[call-overload]
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats()
            _forget_peak()
            work = _work(network, case, device)
            for _ in range(3):
                work()
            synchronise()
            times: list[float] = []
            begin = time.perf_counter()
            while len(times) < 3 or (time.perf_counter() - begin < seconds and len(times) < 200):
                started = time.perf_counter()
                work()
                synchronise()
                times.append(time.perf_counter() - started)
    except torch.OutOfMemoryError:
        return Timing(case, failed="out of memory")
    except BackendError as error:
        return Timing(case, failed=str(error))
    finally:
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
    if torch.get_num_threads() != threads:
        raise RuntimeError(f"the number of threads changed from {threads} to {torch.get_num_threads()} while timing")
    peak = torch.cuda.max_memory_allocated() if device.type == "cuda" else _process_peak()
    return Timing(case, statistics.median(times), min(times), max(times), len(times), peak)
