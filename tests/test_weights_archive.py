"""Own weights as files: a round trip, and what is refused."""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dermomamba import weights
from dermomamba.errors import WeightsError
from dermomamba.weights_archive import pack, unpack

SIZE = (32, 32)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "fine-tuned.safetensors"
    card = json.loads((weights.FOLDER / f"{weights.DEFAULT}.json").read_text(encoding="utf-8"))
    weights.save(path, weights.untrained(SIZE).state_dict, card | {"name": "fine-tuned", "image_size": list(SIZE)})
    return path


def test_packed_weights_come_back_the_same(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "any name.zip").write_bytes(pack(saved))
    back, straight = unpack([tmp_path / "any name.zip"]), weights.load(saved)
    assert back.name == "fine-tuned"
    assert back.sha256 == straight.sha256
    assert back.card == straight.card
    assert all(torch.equal(tensor, straight.state_dict[name]) for name, tensor in back.state_dict.items())
    with zipfile.ZipFile(tmp_path / "any name.zip") as archive:
        assert b"Not a medical device" in archive.read("MODEL_CARD.md")


def test_the_two_files_and_the_tensors_alone(saved: Path) -> None:
    assert unpack([saved, saved.with_suffix(".json")]).image_size == SIZE
    with pytest.raises(WeightsError, match="192x256"):  # without a card the paper's size is expected
        unpack([saved])


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("w.pt", pickle.dumps({}), "no weights file"),
        ("w.safetensors", pickle.dumps({}), "not a safetensors file"),
        ("w.json", b"{}", "no .safetensors"),
        ("w.zip", b"PK", "cannot be used"),
    ],
)
def test_anything_else_is_refused(tmp_path: Path, name: str, content: bytes, sentence: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=sentence):
        unpack([tmp_path / name])


def test_a_zip_with_a_pickle_or_a_way_out_is_refused(saved: Path, tmp_path: Path) -> None:
    for name in ("extra.pkl", "../w.safetensors"):
        with zipfile.ZipFile(tmp_path / "w.zip", "w") as archive:
            archive.write(saved, "w.safetensors")
            archive.writestr(name, b"x")
        with pytest.raises(WeightsError):
            unpack([tmp_path / "w.zip"])


def test_wrong_tensors_are_named(tmp_path: Path, saved: Path) -> None:
    tensors = dict(weights.load(saved).state_dict)
    tensors["head.weight"] = torch.zeros(2, 16, 1, 1)
    save_file(tensors, tmp_path / "w.safetensors")
    (tmp_path / "w.json").write_text(json.dumps({"image_size": list(SIZE)}))
    with pytest.raises(WeightsError, match=r"'head.weight' is \(2, 16, 1, 1\)"):
        unpack([tmp_path / "w.safetensors", tmp_path / "w.json"])


@pytest.mark.parametrize(
    "card", ["[]", "{", '{"image_size": [31, 32]}', '{"image_size": "big"}', '{"image_size": [1]}']
)
def test_a_card_that_is_none_is_refused(tmp_path: Path, saved: Path, card: str) -> None:
    (tmp_path / "w.safetensors").write_bytes(saved.read_bytes())
    (tmp_path / "w.json").write_text(card)
    with pytest.raises(WeightsError, match="card"):
        unpack([tmp_path / "w.safetensors", tmp_path / "w.json"])
