"""The average of the weights against torch's own, and CUDA graphs that are refused where they fail or differ."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dermomamba.learning.optimisation import average_decay, follow, graphed
from dermomamba.learning.recipe import Recipe


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, 1, 1))


def recipe() -> Recipe:
    return Recipe(name="small", description="A test.", sources=())


def test_the_average_follows_as_torchs_own_does() -> None:
    network = small()
    ours = AveragedModel(network, use_buffers=True)
    theirs = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    for step in range(4):
        with torch.no_grad():
            for p in network.parameters():
                p += torch.randn_like(p)
        network(torch.rand(2, 3, 8, 8))  # moves the running statistics
        follow(ours, network, step, 0.9)
        theirs.update_parameters(network)
    assert int(ours.n_averaged) == int(theirs.n_averaged) == 4
    for (name, a), b in zip(ours.module.state_dict().items(), theirs.module.state_dict().values(), strict=True):
        if a.is_floating_point():
            torch.testing.assert_close(a, b, msg=name)
        else:  # a count is taken over as it is
            assert a == network.state_dict()[name]


def test_the_decay_grows_from_a_tenth_to_what_is_asked() -> None:
    assert average_decay(0, 0.998) == pytest.approx(0.1)
    assert average_decay(10**6, 0.998) == 0.998


def capture_as(monkeypatch: pytest.MonkeyPatch, work) -> None:
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", work)


def test_a_failed_capture_leaves_the_network_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    network, x = small().train(), torch.rand(2, 3, 8, 8)
    before = {name: value.clone() for name, value in network.state_dict().items()}

    def fails(module, sample, **options):
        module(*sample)
        raise RuntimeError("operation not permitted when stream is capturing\nmore lines")

    capture_as(monkeypatch, fails)
    assert graphed(network, x, recipe()) == "operation not permitted when stream is capturing"
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize(("factor", "accepted"), [(1.0, True), (1.2, False)])
def test_a_graph_is_used_only_where_it_agrees(monkeypatch: pytest.MonkeyPatch, factor: float, accepted: bool) -> None:
    network, x = small().train(), torch.rand(2, 3, 8, 8)

    def captured(module, sample, **options):
        original = module.forward
        module.forward = lambda image: factor * original(image)

    capture_as(monkeypatch, captured)
    reason = graphed(network, x, recipe())
    assert (reason is None) == accepted
    assert ("forward" in vars(network)) == accepted
