"""Each block alone: shapes, parameter counts, and its formula by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dermomamba.network import (
    CBAM,
    PCAM,
    SS2D,
    CrossScaleMambaBlock,
    DecoderStage,
    EncoderStage,
    ResMamba,
    SweepMamba,
)
from dermomamba.network.cross_scale import AxialMixer


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("module", "count"),
    [
        *(
            (EncoderStage(c), n)
            for c, n in zip((16, 32, 64, 128, 256), (9265, 32545, 121153, 467073, 1833217), strict=True)
        ),
        *((CBAM(c), n) for c, n in zip((32, 64, 128, 256, 512), (262, 680, 2284, 8564, 33412), strict=True)),
        *(
            (DecoderStage(c), n)
            for c, n in zip((256, 128, 64, 32, 16), (1705216, 426624, 106816, 26784, 6736), strict=True)
        ),
        (SweepMamba(512, 6, 8), 130729),
        (PCAM(512), 41984),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else str(value),
)
def test_parameters_are_the_published_ones(module: nn.Module, count: int) -> None:
    assert parameters(module) == count


def test_axial_mixer_reaches_as_far_as_its_kernels() -> None:
    mixer = AxialMixer(2, dilation=2)
    x = torch.zeros(1, 2, 41, 41, requires_grad=True)
    mixer(x)[0, 0, 20, 20].backward()
    rows, columns = x.grad[0, 0].nonzero().T
    assert (rows.min(), rows.max()) == (20 - 2 * 4, 20 + 2 * 4)  # 7x1 reaches 3, 3x3 reaches 1, both dilated by 2
    assert (columns.min(), columns.max()) == (20 - 2 * 4, 20 + 2 * 4)
    assert not x.grad[0, 1].any()  # depth-wise


def test_csmb_leaves_its_fourth_quarter_to_norm_and_relu() -> None:
    block = CrossScaleMambaBlock(16).eval()
    x = torch.randn(2, 16, 8, 12)
    norm = block.norm
    expected = F.relu(x[:, 12:] / torch.sqrt(norm.running_var[12:, None, None] + norm.eps))
    torch.testing.assert_close(block(x)[:, 12:], expected)


def test_csmb_shares_one_vss_block() -> None:
    block = CrossScaleMambaBlock(16).eval()
    with torch.no_grad():
        for mixer in block.mixers:
            mixer.conv_3x3.weight.zero_()
            mixer.conv_3x3.bias.zero_()  # every mixer is now the identity
    part = torch.randn(1, 4, 8, 12)
    y = block(torch.cat([part] * 4, dim=1))
    torch.testing.assert_close(y[:, :4], y[:, 4:8])
    torch.testing.assert_close(y[:, :4], y[:, 8:12])


def test_csmb_refuses_channels_that_do_not_split() -> None:
    with pytest.raises(ValueError, match="multiple of 4"):
        CrossScaleMambaBlock(18)


def test_res_mamba_adds_the_blocks_output_not_its_input() -> None:
    block = ResMamba(16).eval()
    with torch.no_grad():
        block.norm.weight.zero_()
        block.scale.fill_(2.0)
    x = torch.randn(1, 16, 8, 12)
    torch.testing.assert_close(block(x), 2 * block.block(x))


def test_encoder_stage_pools_its_skip() -> None:
    stage = EncoderStage(16).eval()
    down, skip = stage(torch.randn(1, 16, 8, 12))
    assert skip.shape == (1, 32, 8, 12)
    torch.testing.assert_close(down, F.max_pool2d(skip, 2))


def test_encoder_stage_keeps_no_indices_for_the_backward_of_its_pooling() -> None:
    stage, kinds = EncoderStage(16).train(), []
    x = torch.randn(2, 16, 8, 12, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kinds.append(t.dtype) or t, lambda t: t):
        pooled, skip = stage(x)
    assert kinds
    assert torch.int64 not in kinds
    weight = torch.randn_like(pooled)
    (found,) = torch.autograd.grad((pooled * weight).sum(), skip, retain_graph=True)
    plain = skip.detach().requires_grad_()
    (expected,) = torch.autograd.grad((F.max_pool2d(plain, 2) * weight).sum(), plain)
    assert torch.equal(found, expected)


def test_decoder_stage_doubles_the_size() -> None:
    assert DecoderStage(16)(torch.randn(2, 32, 4, 6), torch.randn(2, 32, 8, 12)).shape == (2, 16, 8, 12)


def test_cbam_multiplies_both_gates_channel_first() -> None:
    cbam = CBAM(32).eval()
    x = torch.randn(2, 32, 8, 12)
    y, channel, spatial = cbam(x)
    assert channel.shape == (2, 32, 1, 1)
    assert spatial.shape == (2, 1, 8, 12)
    assert 0 < channel.min() <= channel.max() < 1
    assert 0 < spatial.min() <= spatial.max() < 1
    torch.testing.assert_close(y, x * channel * spatial)
    torch.testing.assert_close(spatial, cbam.spatial(x * channel))


def test_cbam_channel_gate_of_a_constant_image() -> None:
    gate = CBAM(32).channel
    x = torch.randn(1, 32, 1, 1).expand(1, 32, 5, 7)  # mean and maximum are the same
    expected = torch.sigmoid(2 * gate.expand(F.relu(gate.reduce(x[:, :, 0, 0]))))
    torch.testing.assert_close(gate(x)[:, :, 0, 0], expected)


def test_pcam_by_its_formula() -> None:
    pcam = PCAM(8)
    x = torch.randn(2, 8, 6, 8)
    y = pcam.conv(x)
    m, m2 = x.mean((2, 3)), y.mean((2, 3))
    gate = torch.sigmoid(m2 * (1 + torch.softmax(m2 - m, dim=1)))
    torch.testing.assert_close(pcam(x), y * gate[:, :, None, None])


def test_sweep_without_its_gate_is_the_scaled_input() -> None:
    sweep = SweepMamba(64, 2, 3).eval()
    with torch.no_grad():
        sweep.proj_out.weight.zero_()
        sweep.proj_out.bias.zero_()
        sweep.scale.fill_(3.0)
    x = torch.randn(2, 64, 2, 3)
    torch.testing.assert_close(sweep(x), F.relu(3 * x / (1 + sweep.norm.eps) ** 0.5))


def test_ss2d_sees_the_whole_image_from_every_pixel() -> None:
    scan = SS2D(4)
    x = torch.randn(1, 5, 6, 4, requires_grad=True)
    scan(x)[0, 2, 3].sum().backward()
    assert (x.grad.abs().sum(-1) > 0).all()


def test_ss2d_initial_step_sizes_lie_in_mambas_range() -> None:
    step = F.softplus(SS2D(32).dt_projs_bias)
    assert 1e-3 * 0.999 <= step.min() <= step.max() <= 1e-1 * 1.001
