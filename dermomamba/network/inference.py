"""The network rearranged once, at load, for inference only; here as the processor likes it (CUDA: ``inference_cuda``).

Exact rewritings, so that logits and gates stay the same to rounding:
    BatchNorm behind a convolution, and LayerNorm's affine before a linear layer, go into its weights;
    ``conv1x1(concat(up(a), gate b)) = up(Wa a) + spatial ((Wb channel) b)``, with CBAM's two gates;
    the decoder's BatchNorm behind GELU goes into the 1x1 convolutions that read it, the next stage's or the head's.
Images lie channels last. What is too thin for library operators runs compiled (``scan.cpu_around``, ``cpu_pool``).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dermomamba.network.attention import CBAM
from dermomamba.network.cross_scale import AxialMixer, CrossScaleMambaBlock
from dermomamba.network.dermomamba import DermoMamba, Gates
from dermomamba.network.stages import DecoderStage, EncoderStage
from dermomamba.network.sweep import SweepMamba
from dermomamba.scan import backend_for


def for_inference(network: DermoMamba) -> nn.Module:
    """The fastest form of a network where it is: same call ``(x, gates=None)``, same logits and gates.

    Args:
        network: with its final weights, on its device; it is left as it is, but for being set to evaluation.

    Returns:
        The rearranged network on a processor with the compiled scan, and on a GPU with the fused one if it agrees
        there with the network; elsewhere the network itself.
    """
    network.eval()
    parameter = network.head.weight
    if parameter.dtype != torch.float32 or not _whole(network):
        return network
    backend = backend_for(parameter.device)
    if backend == "fused":
        from dermomamba.network.inference_cuda import rearranged

        return rearranged(network)
    if backend != "cpu":
        return network
    with torch.no_grad():
        return InferenceNetwork(network).eval()


def _whole(network: DermoMamba) -> bool:
    """Whether every part is the paper's; an ablation (``ablation.py``) runs as it is."""
    blocks = [stage.res_mamba.block for stage in network.encoder if isinstance(stage, EncoderStage)]
    parts = [*((b, CrossScaleMambaBlock) for b in blocks), *((g, CBAM) for g in network.gates)]
    return all(isinstance(part, kind) for part, kind in [*parts, (network.sweep, SweepMamba)])


def _affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Scale and shift of a BatchNorm in evaluation, (C,) each."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale


class _Conv(nn.Module):
    """A convolution with a following BatchNorm inside, channels last."""

    weight: Tensor
    bias: Tensor

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d | None = None) -> None:
        super().__init__()
        weight = conv.weight.detach().clone()
        bias = weight.new_zeros(weight.shape[0]) if conv.bias is None else conv.bias.detach().clone()
        if norm is not None:
            scale, shift = _affine(norm)
            weight, bias = weight * scale[:, None, None, None], bias * scale + shift
        self.padding = tuple(side // 2 for side in conv.kernel_size)
        self.register_buffer("weight", weight.contiguous(memory_format=torch.channels_last))
        self.register_buffer("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias, padding=self.padding)


def _rows(mixer: AxialMixer) -> Tensor:
    """A mixer's 26 rows of weights and biases as ``cpu_around.mixer_worker`` reads them, (26, D, at least 8)."""
    rows = []
    for conv in (mixer.conv_1x7, mixer.conv_7x1, mixer.conv_3x3):
        assert conv.bias is not None
        rows += [conv.weight.flatten(1).T, conv.bias[None]]  # (taps, D), (1, D)
    weights = torch.cat(rows)
    return weights if weights.shape[1] >= 8 else weights.repeat(1, 8 // weights.shape[1])


class _Level(nn.Module):
    """An encoder stage: (B, C, H, W) to its skip and the pooled next, with the skip's means and maxima (B, 2C)."""

    def __init__(self, stage: EncoderStage) -> None:
        super().__init__()
        from dermomamba.scan import cpu  # needs numba

        block: CrossScaleMambaBlock = stage.res_mamba.block
        vss, scan = block.vss, block.vss.ss2d
        self.mixers = torch.stack([_rows(m) for m in block.mixers if isinstance(m, AxialMixer)])  # (3, 26, D)
        project = scan.in_proj.weight.detach()  # (2 E, D)
        self.before = torch.cat([(project * vss.norm.weight).T, (project @ vss.norm.bias)[None]]).contiguous()
        assert scan.conv2d.bias is not None
        self.depthwise = torch.cat([scan.conv2d.weight.flatten(1).T, scan.conv2d.bias[None]]).contiguous()
        self.scan = cpu.arranged(
            scan.x_proj_weight.detach().clone(), scan.dt_projs_weight.detach(), scan.dt_projs_bias.detach().clone(),
            -torch.exp(scan.A_logs.detach()), scan.Ds.detach().clone().view(4, -1),
        )  # fmt: skip
        self.eps = (vss.norm.eps, scan.out_norm.eps, stage.res_mamba.norm.eps)
        self.out_norm = torch.stack([scan.out_norm.weight, scan.out_norm.bias]).detach()  # (2, E)
        out = scan.out_proj.weight.detach().T  # (E, D)
        self.after = F.pad(out, (0, max(0, 8 - out.shape[1]))).contiguous()
        self.affine = torch.stack(_affine(block.norm)).detach()  # (2, C)
        self.conv = _Conv(stage.res_mamba.conv)
        self.instance = torch.stack([stage.res_mamba.norm.weight, stage.res_mamba.norm.bias]).detach()
        self.scale = float(stage.res_mamba.scale)
        self.widen = _Conv(stage.conv, stage.norm)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        from dermomamba.scan import cpu_level

        b = cpu_level.cross_scale(x, self)
        c = cpu_level.instance_residual(self.conv(b), self.instance, self.eps[2], 0.01, b, self.scale)
        return cpu_level.relu_pool(self.widen(c))


class _Gate(nn.Module):
    """CBAM's two gates from a skip and its pools."""

    def __init__(self, cbam: CBAM) -> None:
        super().__init__()
        self.reduce, self.expand = cbam.channel.reduce, cbam.channel.expand
        self.conv = _Conv(cbam.spatial.conv, cbam.spatial.norm)

    def forward(self, x: Tensor, mean: Tensor, peak: Tensor) -> tuple[Tensor, Tensor]:
        from dermomamba.scan import cpu_level

        channel = torch.sigmoid(self.expand(F.relu(self.reduce(mean))) + self.expand(F.relu(self.reduce(peak))))
        pooled = cpu_level.channel_pools(x, channel)  # (B, 2, H, W)
        return channel[:, :, None, None], torch.sigmoid(self.conv(pooled))


class _Up(nn.Module):
    """A decoder stage without its last BatchNorm, whose scale and shift the reader takes over.

    Args:
        stage: the decoder stage.
        before: the BatchNorm that its lower input has not gone through, or None.
    """

    weight: Tensor
    bias: Tensor
    weight_skip: Tensor

    def __init__(self, stage: DecoderStage, before: nn.BatchNorm2d | None) -> None:
        super().__init__()
        below, skip = stage.fuse.weight.detach().flatten(1).chunk(2, dim=1)  # (2C, 2C) each
        assert stage.fuse.bias is not None
        bias = stage.fuse.bias.detach()
        if before is not None:
            scale, shift = _affine(before)
            below, bias = below * scale, bias + below @ shift
        self.register_buffer("weight", below.contiguous())
        self.register_buffer("bias", bias)
        self.register_buffer("weight_skip", skip.contiguous())
        self.conv = _Conv(stage.conv)

    def forward(self, x: Tensor, skip: Tensor, channel: Tensor, spatial: Tensor) -> Tensor:
        from dermomamba.scan import cpu_level

        gated = self.weight_skip * channel.flatten(1)[:, None]  # (B, 2C, 2C)
        side, below = _sides(x, skip, gated, self.weight, self.bias)
        return F.gelu(self.conv(cpu_level.merge(side, spatial, below)))


def _sides(x: Tensor, skip: Tensor, gated: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """A decoder's 1x1 convolution of its two inputs: (B, 2H, 2W, 2C) of the skip, (B, H, W, 2C) of what is below."""
    below = F.linear(x.permute(0, 2, 3, 1), weight, bias)
    side = skip.permute(0, 2, 3, 1).flatten(1, 2) @ gated.transpose(1, 2)  # (B, 4 H W, 2C)
    return side.view(skip.shape[0], *skip.shape[2:], -1), below


class InferenceNetwork(nn.Module):
    """See ``for_inference``; the bottleneck is the network's own.

    Attributes:
        level, gate, up: what stands for an encoder stage, a CBAM and a decoder stage; another device has its own.
    """

    level: type[nn.Module] = _Level
    gate: type[nn.Module] = _Gate
    up: type[nn.Module] = _Up

    def __init__(self, network: DermoMamba) -> None:
        super().__init__()
        self.image_size = network.image_size
        self.stem = _Conv(network.stem)
        self.levels = nn.ModuleList(self.level(s) for s in network.encoder if isinstance(s, EncoderStage))
        self.gates = nn.ModuleList(self.gate(g) for g in network.gates if isinstance(g, CBAM))
        self.pcam, self.sweep = network.pcam, network.sweep
        stages = [s for s in network.decoder if isinstance(s, DecoderStage)]
        before = [None, *(s.norm for s in stages)]
        self.decoder = nn.ModuleList(self.up(s, norm) for s, norm in zip(stages, before, strict=False))
        head = _Conv(network.head)
        scale, shift = _affine(stages[-1].norm)
        head.bias += head.weight.flatten(1) @ shift
        head.weight *= scale[:, None, None]
        self.head: nn.Module = head

    def forward(self, x: Tensor, gates: Gates | None = None) -> Tensor:
        """As ``DermoMamba.forward``: (B, 3, H, W) in [0, 1] to logits (B, 1, H, W)."""
        if tuple(x.shape[-2:]) != self.image_size:
            height, width = self.image_size
            raise ValueError(f"this network takes {height}x{width} pixels, got {x.shape[-2]}x{x.shape[-1]}")
        with torch.no_grad():
            x = self.stem(x.contiguous(memory_format=torch.channels_last))
            skips = []
            for level, gate in zip(self.levels, self.gates, strict=True):
                x, skip, *pools = level(x)
                channel, spatial = gate(skip, *pools)
                skips.append((skip, channel, spatial))
                if gates is not None:
                    gates.channel.append(channel)
                    gates.spatial.append(spatial)
            x = self.sweep(self.pcam(x) + x)
            for stage, gated in zip(self.decoder, reversed(skips), strict=True):
                x = stage(x, *gated)
            return self.head(x)
