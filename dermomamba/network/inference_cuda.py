"""The network as an NVIDIA GPU likes it: ``inference.InferenceNetwork`` with steps from ``cuda_level``.

What differs from the processor's form: the Cross-Scale Mamba Block, PCAM and SweepMamba are the network's own modules,
which run fused there; biases of convolutions are added by the kernel that reads the result, so that no pass over the
images is theirs alone; the head is part of the last GELU's pass. Under autocast the weights are cast once, not at each
call. Nothing here waits for the GPU, so that it can be captured as a CUDA graph.
"""

from __future__ import annotations

import logging

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dermomamba.network import cuda_level
from dermomamba.network.attention import CBAM
from dermomamba.network.dermomamba import DermoMamba
from dermomamba.network.fused_block import mamba_block, wanted
from dermomamba.network.inference import InferenceNetwork, _Conv, _sides, _Up
from dermomamba.network.stages import DecoderStage, EncoderStage

LOG = logging.getLogger(__name__)
TOLERANCE = 1e-3
"""Largest difference of the logits as a share of the largest; a wrong kernel is off by far more."""
SENTENCE = "The rearranged network is not used on %s: %s. The network runs as it was trained, only slower."


def _dtype(x: Tensor) -> torch.dtype:
    """What convolutions of ``x`` are computed in."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


class _Cast:
    """Weights in whatever dtype is asked for, each cast once."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, torch.dtype], Tensor] = {}

    def __call__(self, name: str, weight: Tensor, dtype: torch.dtype) -> Tensor:
        if dtype == weight.dtype:
            return weight
        if (name, dtype) not in self._kept:
            self._kept[name, dtype] = weight.to(dtype)
        return self._kept[name, dtype]


class _BareConv(_Conv):
    """A convolution that leaves its bias to whoever reads the result."""

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d | None = None) -> None:
        super().__init__(conv, norm)
        self._cast = _Cast()

    def forward(self, x: Tensor) -> Tensor:
        dtype = _dtype(x)
        return F.conv2d(x.to(dtype), self._cast("weight", self.weight, dtype), padding=self.padding)


class _CudaLevel(nn.Module):
    """An encoder stage: (B, C, H, W) to the pooled next, its skip, and what the channel gate needs of the skip."""

    instance: Tensor

    def __init__(self, stage: EncoderStage) -> None:
        super().__init__()
        mamba = stage.res_mamba
        self.block = mamba.block
        self.states = mamba.block.vss.ss2d.A_logs.shape[-1]
        self.folded = mamba.block.folded()
        self.conv = _BareConv(mamba.conv)  # InstanceNorm takes its bias away again
        self.register_buffer("instance", torch.stack([mamba.norm.weight, mamba.norm.bias]).detach())
        self.eps, self.scale = mamba.norm.eps, float(mamba.scale)
        self.widen = _BareConv(stage.conv, stage.norm)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, cuda_level.Pools]:
        fused = wanted(x, x.shape[1] // 4, self.states)
        b = mamba_block(x, *self.folded) if fused else self.block(x)
        c = cuda_level.instance_residual(self.conv(b), self.instance, self.eps, 0.01, b, self.scale)
        return cuda_level.relu_pool(self.widen(c), self.widen.bias)


class _CudaGate(nn.Module):
    """CBAM's two gates from a skip and its pools."""

    weight: Tensor
    bias: Tensor

    def __init__(self, cbam: CBAM) -> None:
        super().__init__()
        self.reduce, self.expand = cbam.channel.reduce, cbam.channel.expand
        conv = _Conv(cbam.spatial.conv, cbam.spatial.norm)
        self.register_buffer("weight", conv.weight[0].contiguous())  # (2, 7, 7)
        self.register_buffer("bias", conv.bias)

    def forward(self, x: Tensor, pools: cuda_level.Pools) -> tuple[Tensor, Tensor]:
        channel = cuda_level.channel_gate(
            pools, (self.reduce.weight, self.reduce.bias), (self.expand.weight, self.expand.bias)
        )
        pooled = cuda_level.channel_pools(x, channel)
        return channel[:, :, None, None], cuda_level.spatial_gate(pooled, self.weight, self.bias)


class _CudaUp(_Up):
    """A decoder stage without its last BatchNorm; ``bare``: without its last bias and GELU too."""

    def __init__(self, stage: DecoderStage, before: nn.BatchNorm2d | None) -> None:
        super().__init__(stage, before)
        self.conv = _BareConv(stage.conv)
        self.bare = False
        self._cast = _Cast()

    def forward(self, x: Tensor, skip: Tensor, channel: Tensor, spatial: Tensor) -> Tensor:
        dtype = _dtype(x)
        gated = skip.new_empty(skip.shape[0], *self.weight_skip.shape, dtype=dtype)  # (B, 2C, 2C)
        torch.mul(self.weight_skip, channel.flatten(1)[:, None], out=gated)
        weight, bias = self._cast("weight", self.weight, dtype), self._cast("bias", self.bias, dtype)
        side, below = _sides(x.to(dtype), skip.to(dtype), gated, weight, bias)
        y = self.conv(cuda_level.merge(side, spatial, below))
        return y if self.bare else cuda_level.bias_gelu(y, self.conv.bias)


class _Head(nn.Module):
    """The last decoder stage's bias and GELU, and the head."""

    before: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(self, before: Tensor, head: _Conv) -> None:
        super().__init__()
        self.register_buffer("before", before)
        self.register_buffer("weight", head.weight.flatten())
        self.register_buffer("bias", head.bias)

    def forward(self, x: Tensor) -> Tensor:
        return cuda_level.gelu_head(x, self.before, self.weight, self.bias)


class CudaInferenceNetwork(InferenceNetwork):
    """See ``rearranged``."""

    level = _CudaLevel
    gate = _CudaGate
    up = _CudaUp

    def __init__(self, network: DermoMamba) -> None:
        super().__init__(network)
        last = self.decoder[-1]
        assert isinstance(last, _CudaUp)
        assert isinstance(self.head, _Conv)
        last.bare = True
        self.head = _Head(last.conv.bias, self.head)


def rearranged(network: DermoMamba) -> nn.Module:
    """The rearranged network if its logits are the network's on its device; the network itself, and why, if not.

    Args:
        network: in evaluation, in float32, on a device where the fused scan runs.
    """
    device = network.head.weight.device
    try:
        with torch.no_grad():
            fast = CudaInferenceNetwork(network).eval()
            error = difference(network, fast)
    except Exception as problem:  # whatever a kernel compiler may raise; said, and the network goes on
        LOG.warning(SENTENCE, device, str(problem).splitlines()[0] if str(problem) else type(problem).__name__)
        return network
    if not error <= TOLERANCE:  # also where something is not a number
        LOG.warning(SENTENCE, device, f"its logits differ by {error:.1e}")
        return network
    return fast


def difference(network: DermoMamba, fast: nn.Module) -> float:
    """Largest difference of two networks' logits as a share of the largest, in float32 without TF32.

    Args:
        network: the trained one.
        fast: what should say the same.
    """
    device = next(network.parameters()).device
    x = torch.rand(1, 3, *network.image_size, generator=torch.Generator().manual_seed(0)).to(device)
    exact = torch.backends.cudnn.flags(
        enabled=True, benchmark=torch.backends.cudnn.benchmark, deterministic=False, allow_tf32=False
    )
    with torch.no_grad(), torch.autocast(device.type, enabled=False), exact:
        plain, found = network(x), fast(x)
    return float((found - plain).abs().max() / plain.abs().max().clamp_min(1e-20))
