"""DermoMamba without one part: what stays the same, what goes."""

from __future__ import annotations

import pytest
import torch

from dermomamba.network import SS2D, DermoMamba, SweepMamba
from dermomamba.network.ablation import PARTS, without
from dermomamba.network.inference import for_inference

SIZE = (32, 64)


def scans(network: torch.nn.Module) -> int:
    return sum(isinstance(module, SS2D) for module in network.modules())


@pytest.mark.parametrize("part", PARTS)
def test_it_still_outlines_and_learns(part: str) -> None:
    network = without(part, SIZE)
    logits = network(torch.rand(2, 3, *SIZE))
    assert logits.shape == (2, 1, *SIZE)
    logits.mean().backward()
    assert all(p.grad is not None for p in network.parameters())


def test_only_the_named_part_is_gone() -> None:
    whole = DermoMamba(SIZE)
    names = {name.split(".")[0] for name in whole.state_dict()}
    assert scans(whole) == 8
    assert scans(without("CSMB", SIZE)) == 3  # those of SweepMamba
    assert scans(without("SweepMamba", SIZE)) == 5
    assert not any(isinstance(m, SweepMamba) for m in without("SweepMamba", SIZE).modules())
    assert {name.split(".")[0] for name in without("CBAM", SIZE).state_dict()} == names - {"gates"}


def test_without_cbam_is_a_network_whose_gates_are_open() -> None:
    torch.manual_seed(0)
    whole = DermoMamba(SIZE).eval()
    open_ = without("CBAM", SIZE).eval()
    open_.load_state_dict({k: v for k, v in whole.state_dict().items() if not k.startswith("gates.")})
    for gate in whole.gates:
        gate.forward = lambda x: (x, torch.ones_like(x[:, :, :1, :1]), torch.ones_like(x[:, :1]))
    x = torch.rand(1, 3, *SIZE)
    torch.testing.assert_close(open_(x), whole(x))


def test_an_unknown_part_is_refused() -> None:
    with pytest.raises(ValueError, match="no part 'PCAM'"):
        without("PCAM")


@pytest.mark.parametrize("part", PARTS)
def test_for_inference_it_runs_as_it_is(part: str) -> None:
    network = without(part, SIZE)
    assert for_inference(network) is network
    assert not network.training
