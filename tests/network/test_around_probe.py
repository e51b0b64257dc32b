"""The probe of the fused operators around the scan: what agrees is used, what does not is said once and left alone."""

from __future__ import annotations

import logging

import pytest
import torch

from dermomamba.network import CrossScaleMambaBlock, around_probe

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _forget():
    around_probe._agrees.cache_clear()
    yield
    around_probe._agrees.cache_clear()


def stand_in(error: float):
    """Plain operations in the place of the fused ones, off by a share."""

    def fused(self: CrossScaleMambaBlock, x):
        return self(x) * (1 + error)

    return fused


def test_what_agrees_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CrossScaleMambaBlock, "fused", stand_in(0.0))
    assert around_probe.usable(CPU)


def test_what_differs_is_said_once_and_not_used(monkeypatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(CrossScaleMambaBlock, "fused", stand_in(0.1))
    with caplog.at_level(logging.WARNING):
        assert not around_probe.usable(CPU)
        assert not around_probe.usable(CPU)
    assert len(caplog.records) == 1
    assert "differ from the plain ones" in caplog.text


def test_nan_and_what_does_not_run_are_not_used(monkeypatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(CrossScaleMambaBlock, "fused", stand_in(float("nan")))
    assert not around_probe.usable(CPU)
    around_probe._agrees.cache_clear()

    def broken(*_):
        raise RuntimeError("no kernel image is available")

    monkeypatch.setattr(CrossScaleMambaBlock, "fused", broken)
    assert not around_probe.usable(CPU)
    assert "no kernel image is available" in caplog.text


def test_a_gradient_alone_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Right values, and one dilation's gradients wrong."""

    def fused(self: CrossScaleMambaBlock, x):
        bias = self.mixers[2].conv_7x1.bias
        return self(x) + (bias - bias.detach()).sum()

    monkeypatch.setattr(CrossScaleMambaBlock, "fused", fused)
    assert not around_probe.usable(CPU)


def test_the_generator_of_the_caller_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CrossScaleMambaBlock, "fused", stand_in(0.0))
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    around_probe.usable(CPU)
    assert torch.equal(torch.rand(2), expected)
