"""Weights: safetensors and a card, float16 and back, and nothing else is opened."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from dermomamba import weights
from dermomamba.errors import WeightsError
from dermomamba.network import DermoMamba


@pytest.fixture(scope="module")
def network() -> DermoMamba:
    torch.manual_seed(0)
    return DermoMamba((32, 64)).eval()


@pytest.fixture
def file(network: DermoMamba, tmp_path: Path) -> Path:
    weights.save(tmp_path / "mine.safetensors", network.state_dict(), {"image_size": [32, 64], "licence": "x"})
    return tmp_path / "mine.safetensors"


def test_the_default_is_shipped_with_its_card() -> None:
    assert weights.available()[0] == weights.DEFAULT
    loaded = weights.load()
    card = loaded.card
    assert card["licence"] == "CC BY-NC 4.0"
    assert "Not a medical device" in card["notice"]
    assert card["validation"]["n"] == 200
    assert sum(t.numel() for n, t in loaded.state_dict.items() if "running" not in n and "num_b" not in n) == 4_953_425
    assert weights.locate(weights.DEFAULT).stat().st_size < 10_000_000


@pytest.mark.parametrize("name", weights.available())
def test_the_model_card_is_made_from_the_json(name: str) -> None:
    from dermomamba.model_card import render

    text = (weights.FOLDER / f"{name}.md").read_text(encoding="utf-8")
    assert text == render(weights.load(name).card)


def test_round_trip_in_float16(network: DermoMamba, file: Path) -> None:
    loaded = weights.load(file)
    assert loaded.image_size == (32, 64)
    assert loaded.name == "mine"
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(loaded.state_dict[name], tensor, rtol=1e-3, atol=1e-4)
        assert loaded.state_dict[name].dtype == tensor.dtype
    assert load_file(file)["stem.weight"].dtype == torch.float16
    x = torch.rand(1, 3, 32, 64)
    with torch.inference_mode():
        torch.testing.assert_close(loaded.network()(x), network(x), rtol=2e-2, atol=2e-2)
    assert {p.name for p in file.parent.iterdir()} == {"mine.safetensors", "mine.json"}


def test_pickle_is_not_opened(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self):
            return (Path(tmp_path / "sprung").touch, ())

    (tmp_path / "bad.safetensors").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(WeightsError, match="not a safetensors file"):
        weights.load(tmp_path / "bad.safetensors")
    assert not (tmp_path / "sprung").exists()


def test_a_tensor_too_many_too_few_or_misshapen_is_named(network: DermoMamba, tmp_path: Path) -> None:
    state = dict(network.state_dict())
    wrong = {
        "has a tensor 'classifier'": state | {"classifier": torch.zeros(1)},
        "'head.bias' is missing": {n: t for n, t in state.items() if n != "head.bias"},
        r"'head.bias' is \(2,\), expected \(1,\)": state | {"head.bias": torch.zeros(2)},
    }
    for message, tensors in wrong.items():
        with pytest.raises(WeightsError, match=message):
            weights.check(tensors, (32, 64))
    save_file({n: t.contiguous() for n, t in state.items()}, tmp_path / "nocard.safetensors")
    with pytest.raises(WeightsError, match="not for photos of 192x256"):
        weights.load(tmp_path / "nocard.safetensors")


def test_unknown_names_list_what_there_is() -> None:
    with pytest.raises(WeightsError, match=f"Shipped are: {weights.DEFAULT}"):
        weights.load("dermomamba-isic2019")


def test_untrained_weights_are_the_same_each_time_and_leave_the_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = weights.untrained()
    assert torch.equal(torch.rand(3), expected)
    again, other = weights.untrained(), weights.untrained(seed=1)
    name = "encoder.0.conv.weight"
    assert torch.equal(first.state_dict[name], again.state_dict[name])
    assert not torch.equal(first.state_dict[name], other.state_dict[name])
    weights.check(first.state_dict, first.image_size)
