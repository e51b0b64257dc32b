"""Checkpoints of the published code: names, refusals, and equality of what the two networks return."""

from __future__ import annotations

import csv
import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from dermomamba import DermoMamba
from dermomamba.errors import WeightsError
from dermomamba.network import Gates
from dermomamba.network.published import convert, names, to_published

FIXTURE = Path(__file__).with_name("published_fixture.npz")


def published_weights(shared: Path, seed: int) -> dict[str, torch.Tensor]:
    spec = importlib.util.spec_from_file_location("parity_weights", shared / "reference/parity_weights.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.state_dict(seed)


@pytest.fixture(scope="module")
def checkpoint() -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    return to_published(DermoMamba().state_dict())


def test_round_trip(checkpoint: dict[str, torch.Tensor]) -> None:
    again = to_published(convert(checkpoint))
    assert again.keys() == checkpoint.keys()
    assert all(torch.equal(again[name], tensor) for name, tensor in checkpoint.items())


def test_lightnings_prefix_is_taken_off(checkpoint: dict[str, torch.Tensor]) -> None:
    assert convert({f"model.{name}": t for name, t in checkpoint.items()}).keys() == set(names().values())


def test_an_unknown_key_is_named(checkpoint: dict[str, torch.Tensor]) -> None:
    with pytest.raises(WeightsError, match=r"has no 'e6\.pw\.weight'"):
        convert(checkpoint | {"e6.pw.weight": torch.zeros(1)})


def test_a_missing_key_is_named(checkpoint: dict[str, torch.Tensor]) -> None:
    with pytest.raises(WeightsError, match=r"'b1\.scale' is missing"):
        convert({name: t for name, t in checkpoint.items() if name != "b1.scale"})


def test_a_wrong_shape_is_named(checkpoint: dict[str, torch.Tensor]) -> None:
    with pytest.raises(WeightsError, match=r"'pw_in\.bias' is \(17,\), expected \(16,\)"):
        convert(checkpoint | {"pw_in.bias": torch.zeros(17)})


def test_another_image_size_is_explained(checkpoint: dict[str, torch.Tensor]) -> None:
    with pytest.raises(WeightsError, match=r"SweepMamba is tied to H/32 and W/32"):
        convert(checkpoint, (256, 256))


def test_names_and_shapes_are_the_published_ones(shared: Path) -> None:
    with open(shared / "reference/upstream_state_dict.csv") as file:
        rows = {row["name"]: row["shape"] for row in csv.DictReader(file)}
    ours = to_published(DermoMamba().state_dict())
    assert {name: "x".join(map(str, t.shape)) or "scalar" for name, t in ours.items()} == rows


@torch.inference_mode()
def test_logits_equal_the_published_networks(shared: Path) -> None:
    network = DermoMamba().eval()
    network.load_state_dict(convert(published_weights(shared, seed=1)))
    stored = np.load(shared / "reference/parity_seed1.npz")
    gates = Gates()
    logits = network(torch.from_numpy(stored["image"]), gates).numpy()
    assert np.abs(logits - stored["logits"]).max() <= 1e-4 * np.abs(stored["logits"]).max()


STAGES = {  # published stage -> our module, and which of its outputs
    "e3": ("encoder.2", 0),
    "e4": ("encoder.3", 0),
    "e5": ("encoder.4", 0),
    "s5": ("gates.4", 0),
    "b2": ("pcam", None),
    "b1": ("sweep", None),
    "d5": ("decoder.0", None),
    "d4": ("decoder.1", None),
}


@torch.inference_mode()
def test_every_stage_equals_the_published_networks(shared: Path) -> None:
    network = DermoMamba().eval()
    network.load_state_dict(convert(published_weights(shared, seed=1)))
    outputs = {}
    for stage, (name, index) in STAGES.items():

        def keep(module, inputs, output, stage=stage, index=index) -> None:
            outputs[stage] = output if index is None else output[index]

        network.get_submodule(name).register_forward_hook(keep)
    stored = np.load(shared / "reference/parity_seed1.npz")
    network(torch.from_numpy(stored["image"]))
    for stage, output in outputs.items():
        error = np.abs(output.numpy() - stored[stage]).max() / np.abs(stored[stage]).max()
        assert error <= 1e-4, f"{stage}: {error:.2g}"


def seeded_checkpoint(seed: int) -> dict[str, torch.Tensor]:
    """Weights under the published names that depend on name and seed alone, of sensible size."""
    out, start = {}, DermoMamba().state_dict()
    for published, ours in names().items():
        tensor, leaf = start[ours], published.rsplit(".", 1)[-1]
        rng = np.random.default_rng([seed, *published.encode()])
        noise = torch.from_numpy(rng.standard_normal(tensor.shape)).float()
        if leaf == "num_batches_tracked":
            out[published] = tensor
        elif leaf == "A_logs":
            out[published] = tensor + 0.1 * noise
        elif leaf == "dt_projs_bias":
            out[published] = noise - 4
        elif tensor.ndim >= 2:
            out[published] = noise * (1.5 / tensor[0].numel()) ** 0.5
        elif leaf in ("weight", "Ds", "scale", "running_var"):
            out[published] = 1 + 0.1 * noise.abs()
        else:
            out[published] = 0.1 * noise
    return out


@pytest.mark.parametrize("seed", [2, 3])
@torch.inference_mode()
def test_stored_logits_of_other_seeds(seed: int) -> None:
    """Stored while the network equalled the published one (above); guards clones that lack ../shared."""
    logits = logits_of(seed)
    stored = np.load(FIXTURE)[f"seed{seed}"]
    assert np.abs(logits - stored).max() <= 1e-4 * np.abs(stored).max()


def logits_of(seed: int) -> np.ndarray:
    """Every eighth logit for a smooth seeded image."""
    network = DermoMamba().eval()
    network.load_state_dict(convert(seeded_checkpoint(seed)))
    rng = np.random.default_rng(seed)
    small = torch.from_numpy(rng.random((1, 3, 6, 8))).float()
    image = torch.nn.functional.interpolate(small, size=(192, 256), mode="bilinear")
    return network(image)[0, 0, ::8, ::8].numpy()
