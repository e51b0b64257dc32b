"""The rearranged network says what the trained one says: logits, gates, any size, any thread."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from network_tools import trained_like

from dermomamba import weights
from dermomamba.network import IMAGE_SIZE, DermoMamba, Gates
from dermomamba.network.inference import InferenceNetwork, for_inference

pytest.importorskip("numba")


@pytest.mark.parametrize(("size", "batch"), [((64, 96), 1), ((96, 32), 2), (IMAGE_SIZE, 1)])
def test_logits_and_gates_are_the_trained_networks(size: tuple[int, int], batch: int) -> None:
    network = weights.load().network().eval() if size == IMAGE_SIZE else trained_like(size)
    fast = for_inference(network)
    assert isinstance(fast, InferenceNetwork)
    x = torch.rand(batch, 3, *size)
    expected_gates, gates = Gates(), Gates()
    threads = torch.get_num_threads()
    with torch.inference_mode():
        expected, found = network(x, expected_gates), fast(x, gates)
        again = fast(x)
    assert torch.get_num_threads() == threads
    assert found.shape == expected.shape
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max()
    assert torch.equal(found, again)  # looking at the gates changes nothing
    for a, b in zip(expected_gates.spatial + expected_gates.channel, gates.spatial + gates.channel, strict=True):
        torch.testing.assert_close(b, a, rtol=0, atol=4e-6)


def test_each_image_of_a_batch_is_alone() -> None:
    fast = for_inference(trained_like((64, 32)))
    x = torch.rand(2, 3, 64, 32)
    with torch.inference_mode():
        torch.testing.assert_close(fast(x)[1:], fast(x[1:]), rtol=1e-5, atol=1e-5)


def test_threads_share_it_and_the_network_stays() -> None:
    network = trained_like((32, 64))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    fast = for_inference(network)
    images = [torch.rand(1, 3, 32, 64) for _ in range(4)]
    with torch.no_grad():
        alone = [fast(x) for x in images]
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(fast, images * 2))
    for index, found in enumerate(together):
        torch.testing.assert_close(found, alone[index % 4])
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])


def test_elsewhere_the_network_itself_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DERMOMAMBA_SCAN", "chunked")
    network = DermoMamba((32, 32))
    assert for_inference(network) is network
    assert not network.training


def test_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="takes 32x64"):
        for_inference(trained_like((32, 64)))(torch.zeros(1, 3, 64, 64))
