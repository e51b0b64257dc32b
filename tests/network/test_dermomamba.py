"""The whole network: counts, sizes, gates, cost."""

from __future__ import annotations

import pytest
import torch

from dermomamba import DermoMamba
from dermomamba.network import Gates
from dermomamba.network.cost import count


@pytest.fixture(scope="module")
def network() -> DermoMamba:
    torch.manual_seed(0)
    return DermoMamba((64, 96)).eval()


def test_parameters_of_the_paper() -> None:
    assert sum(p.numel() for p in DermoMamba().parameters()) == 4_953_425


@pytest.mark.parametrize("size", [(32, 32), (64, 96), (96, 64)])
def test_any_multiple_of_32(size: tuple[int, int]) -> None:
    assert DermoMamba(size).eval()(torch.rand(2, 3, *size)).shape == (2, 1, *size)


@pytest.mark.parametrize("size", [(0, 32), (100, 128), (192, 255)])
def test_other_sizes_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="multiples of 32"):
        DermoMamba(size)


def test_an_image_of_another_size_is_refused_by_name(network: DermoMamba) -> None:
    with pytest.raises(ValueError, match="takes 64x96 pixels, got 96x64"):
        network(torch.rand(1, 3, 96, 64))


@torch.inference_mode()
def test_gates_do_not_change_the_output(network: DermoMamba) -> None:
    x = torch.rand(1, 3, 64, 96)
    gates = Gates()
    assert torch.equal(network(x), network(x, gates))
    assert [g.shape[1] for g in gates.channel] == [32, 64, 128, 256, 512]
    assert [tuple(g.shape[-2:]) for g in gates.spatial] == [(64, 96), (32, 48), (16, 24), (8, 12), (4, 6)]
    assert all(g.min() > 0 and g.max() < 1 for g in gates.channel + gates.spatial)


@torch.inference_mode()
def test_images_of_a_batch_do_not_mix(network: DermoMamba) -> None:
    x = torch.rand(3, 3, 64, 96)
    alone = torch.cat([network(image[None]) for image in x])
    torch.testing.assert_close(network(x), alone, rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_decode_of_encode_is_forward(network: DermoMamba) -> None:
    x = torch.rand(1, 3, 64, 96)
    assert torch.equal(network.decode(*network.encode(x)), network(x))


def test_every_parameter_learns(network: DermoMamba) -> None:
    network = DermoMamba((64, 64)).train()
    network(torch.rand(2, 3, 64, 64)).square().mean().backward()
    silent = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    # InstanceNorm and BatchNorm take away a constant that the convolution before them adds
    assert all(name.endswith("conv.bias") for name in silent), silent


def test_both_cost_counts() -> None:
    cost = count()
    assert cost.parameters == 4_953_425
    assert round(cost.paper / 1e9, 3) == 0.966
    assert round(cost.macs / 1e9, 3) == 3.825
    assert round(cost.total / 1e9, 3) == 5.162
    assert round(cost.scan_states / 1e6, 1) == 147.5
