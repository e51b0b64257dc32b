"""Training on phantoms: it learns, resumes exactly, keeps the best, and says what it did."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from dermomamba import weights
from dermomamba.errors import DataError
from dermomamba.learning.augment import AugmentSettings
from dermomamba.learning.optimisation import Process, average_decay, batches, optimizer_for, rate_at
from dermomamba.learning.pixels import Pool, TrainingData
from dermomamba.learning.recipe import Recipe, Source, read_recipe
from dermomamba.learning.train import Trainer
from dermomamba.learning.training_data import load
from dermomamba.learning.validation import per_image, validate
from dermomamba.network import DermoMamba
from dermomamba.phantom import phantom, random_spec

TINY = Recipe(
    name="tiny",
    description="For tests.",
    sources=(Source("data"),),
    image_size=(32, 64),
    epochs=4,
    batch_size=4,
    learning_rate=2e-3,
    validate_every=2,
    ema=0.9,
    hair_bank=0,
    augment=AugmentSettings(rotate=10, elastic=0, hair=0),
)


def stack(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    drawn = [phantom(random_spec(rng, (96, 192))) for _ in range(n)]
    images = [cv2.resize(d.image, (64, 32), interpolation=cv2.INTER_AREA) for d in drawn]
    masks = [cv2.resize(255 * d.mask.astype(np.uint8), (64, 32), interpolation=cv2.INTER_AREA) for d in drawn]
    return torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(masks))


@pytest.fixture(scope="module")
def data() -> TrainingData:
    description = [{"source": "phantoms", "train": 8, "validation": 3}]
    return TrainingData((Pool(*stack(8, 0)),), *stack(3, 1), description=description)


@pytest.fixture(scope="module")
def finished(data: TrainingData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    Trainer(TINY, data, folder, "cpu").run()
    return folder


def test_a_run_leaves_weights_card_curve_and_picture(finished: Path) -> None:
    loaded = weights.load(finished / "tiny.safetensors")
    assert loaded.image_size == (32, 64)
    card = loaded.card
    assert card["data"][0]["train"] == 8
    assert card["recipe"]["seed"] == 1
    assert card["validation"]["n"] == 3
    assert card["licence"] == "CC BY-NC 4.0"
    assert "Not a medical device" in card["notice"]
    rows = list(csv.DictReader((finished / "curve.csv").open()))
    assert [int(row["epoch"]) for row in rows] == [2, 4]
    assert [row["epoch"] for row in card["curve"]] == [2, 4]
    assert cv2.imread(str(finished / "curve.png")) is not None
    assert not list(finished.glob("tmp*"))


def test_the_card_describes_the_kept_epoch(finished: Path) -> None:
    card = weights.load(finished / "tiny.safetensors").card
    best = max(card["curve"], key=lambda row: row["val_iou"])
    assert card["validation"]["epoch"] == best["epoch"]
    assert card["validation"]["iou"] == best["val_iou"]


def test_kept_weights_have_the_iou_of_the_card(finished: Path, data: TrainingData) -> None:
    loaded = weights.load(finished / "tiny.safetensors")
    iou, dice = validate(loaded.network(), data.val_images, data.val_masks)
    assert iou == pytest.approx(loaded.card["validation"]["iou"], abs=0.02)  # float16 storage
    assert dice >= iou


def test_a_killed_run_resumes_to_the_same_weights(
    finished: Path, data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, step = Trainer(TINY, data, tmp_path, "cpu"), Trainer.train_step
    calls = 0

    def killed(self: Trainer, *args: object) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == 6:  # in the third of four epochs of two steps
            raise KeyboardInterrupt
        return step(self, *args)

    monkeypatch.setattr(Trainer, "train_step", killed)
    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    monkeypatch.setattr(Trainer, "train_step", step)
    again = Trainer(dataclasses.replace(TINY), data, tmp_path, "cpu")
    outcome = again.run(resume=True)
    assert [row["epoch"] for row in outcome.rows] == [2, 4]
    first = list(csv.DictReader((finished / "curve.csv").open()))
    assert outcome.rows[-1]["train_loss"] == pytest.approx(float(first[-1]["train_loss"]), rel=1e-4)
    assert outcome.rows[-1]["val_iou"] == pytest.approx(float(first[-1]["val_iou"]), abs=1e-3)


def test_it_learns(data: TrainingData, tmp_path: Path) -> None:
    recipe = dataclasses.replace(TINY, epochs=20, validate_every=20, learning_rate=4e-3)
    trainer = Trainer(recipe, data, tmp_path, "cpu")
    before, _ = validate(trainer.network.eval(), data.val_images, data.val_masks)
    assert trainer.run().best["val_iou"] > before + 0.3


def test_start_from_other_weights(finished: Path, data: TrainingData, tmp_path: Path) -> None:
    recipe = dataclasses.replace(TINY, start_from=str(finished / "tiny.safetensors"), epochs=1)
    start = weights.load(finished / "tiny.safetensors")
    trainer = Trainer(recipe, data, tmp_path, "cpu")
    assert torch.equal(trainer.network.stem.weight.data, start.state_dict["stem.weight"])


def test_a_minute_budget_ends_the_run(data: TrainingData, tmp_path: Path) -> None:
    outcome = Trainer(dataclasses.replace(TINY, epochs=1000, minutes=1e-6), data, tmp_path, "cpu").run()
    assert outcome.rows[-1]["epoch"] == 1


def test_too_little_data_is_said(data: TrainingData, tmp_path: Path) -> None:
    nothing = dataclasses.replace(data, val_images=data.val_images[:0], val_masks=data.val_masks[:0])
    with pytest.raises(DataError, match="held out for validation"):
        Trainer(TINY, nothing, tmp_path, "cpu")


def test_learning_rate_rises_then_falls() -> None:
    rates = [rate_at(done, TINY) for done in np.linspace(0, 1, 101)]
    assert max(rates) == pytest.approx(TINY.learning_rate)
    peak = int(np.argmax(rates))
    assert peak == 3
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert rates[-1] == pytest.approx(TINY.learning_rate * TINY.final_rate)


def test_batches_are_shared_out_without_overlap() -> None:
    cpu = torch.device("cpu")
    both = [list(batches(10, 3, TINY, Process(rank, 2, cpu))) for rank in (0, 1)]
    alone = list(batches(10, 3, TINY, Process(0, 1, cpu)))
    for a, b, whole in zip(*both, alone, strict=True):
        assert sorted([*a.tolist(), *b.tolist()]) == sorted(whole.tolist())
    assert len(set(torch.cat(alone).tolist())) == 8  # the two that do not fill a batch wait for the next epoch


def test_state_space_parameters_are_not_decayed() -> None:
    network = DermoMamba((32, 32))
    plain = {id(p) for p in optimizer_for(network, TINY).param_groups[1]["params"]}
    for name, parameter in network.named_parameters():
        if name.endswith(("A_logs", "Ds", "bias", "scale")) or "norm" in name:
            assert id(parameter) in plain, name
    assert id(network.stem.weight) not in plain


def test_validate_counts_an_empty_pair_as_right() -> None:
    class Nothing(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.full((len(x), 1, *x.shape[-2:]), -1.0)

    images, masks = torch.zeros(2, 4, 4, 3, dtype=torch.uint8), torch.zeros(2, 4, 4, dtype=torch.uint8)
    masks[1, :2] = 255
    assert validate(Nothing(), images, masks) == (0.5, 0.5)


def test_recipes_are_read_and_mistakes_named(tmp_path: Path) -> None:
    recipe = read_recipe("isic2018", {"epochs": 3, "augment.flip": 0.1})
    assert (recipe.epochs, recipe.augment.flip, recipe.image_size) == (3, 0.1, (192, 256))
    with pytest.raises(DataError, match="no setting 'epoch'"):
        read_recipe("isic2018", {"epoch": 3})
    with pytest.raises(DataError, match="no recipe 'nothing'"):
        read_recipe("nothing")


def test_a_recipe_runs_from_a_folder_of_pairs(tmp_path: Path) -> None:
    phantom_folder(tmp_path, 4)
    recipe = dataclasses.replace(TINY, sources=(Source("data", split=0.25),), hair_bank=2, augment=AugmentSettings())
    data = load(recipe, tmp_path)
    assert (len(data), len(data.val_images)) == (3, 1)
    assert data.hair_bank.shape == (2, 32, 64)
    assert json.dumps(data.description)
    with pytest.raises(DataError):
        load(dataclasses.replace(recipe, sources=(Source("missing"),)), tmp_path)


def phantom_folder(root: Path, n: int) -> None:
    for part in ("images", "masks"):
        (root / "data" / part).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for index in range(n):
        drawn = phantom(random_spec(rng, (96, 192)))
        cv2.imwrite(str(root / f"data/images/{index}.png"), drawn.image[..., ::-1])
        cv2.imwrite(str(root / f"data/masks/{index}.png"), 255 * drawn.mask.astype(np.uint8))


def test_torchrun_trains_on_two_processes(tmp_path: Path) -> None:
    """The command of the documentation, with two processes of the CPU in place of two GPUs."""
    phantom_folder(tmp_path, 6)
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(
        "name: tiny\ndescription: For tests.\nsources: [{path: data, split: 0.34}]\nimage_size: [32, 64]\n"
        "epochs: 2\nbatch_size: 4\nvalidate_every: 1\nhair_bank: 0\naugment: {hair: 0}\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "dermomamba.cli", "train", str(recipe), "--data", str(tmp_path), "--out", str(tmp_path / "run")]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    loaded = weights.load(tmp_path / "run/tiny.safetensors")
    assert loaded.card["trained_on"]["processes"] == 2
    assert len(loaded.card["curve"]) == 2
    assert done.stdout.count("best at epoch") == 1


def test_the_average_forgets_the_initial_values_first() -> None:
    """(1 + t) / (10 + t) until the recipe's decay: after 90 steps the beginning weighs under 1e-6, not 0.99^90."""
    decays = [average_decay(step, 0.99) for step in range(2000)]
    assert decays == sorted(decays)
    assert decays[0] == pytest.approx(0.1)
    assert decays[-1] == 0.99
    assert np.prod(decays[:90]) < 1e-6 < 0.99**90


def test_flips_are_averaged_upright() -> None:
    class Half(torch.nn.Module):
        """Sure of the left half only; mirrored it is as sure of the right half."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            z = torch.full((len(x), 1, *x.shape[-2:]), -1.0)
            z[..., : x.shape[-1] // 2] = 5.0
            return z

    images, masks = torch.zeros(1, 4, 8, 3, dtype=torch.uint8), torch.full((1, 4, 8), 255, dtype=torch.uint8)
    assert per_image(Half(), images, masks)[0].item() == 0.5
    assert per_image(Half(), images, masks, flips=True)[0].item() == 1.0  # (sigmoid(5) + sigmoid(-1)) / 2 > 0.5


def test_sources_of_several_sizes_and_weights_make_one_batch(data: TrainingData, tmp_path: Path) -> None:
    images, masks = stack(4, 3)
    large = images.repeat_interleave(2, 1), masks.repeat_interleave(2, 1)
    pools = (data.pools[0], Pool(*large, window=(0.4, 0.6), weight=torch.tensor([0.0, 1, 1, 1])))
    trainer = Trainer(TINY, dataclasses.replace(data, pools=pools), tmp_path, "cpu")
    generator = torch.Generator().manual_seed(0)
    x, t, weight = trainer._varied(torch.tensor([0, 8, 3, 9]), generator)
    assert x.shape == (4, 3, 32, 64)
    assert t.shape == (4, 1, 32, 64)
    assert weight.tolist() == [1, 1, 0, 1]
    assert torch.isfinite(trainer.train_step(torch.tensor([0, 8, 3, 9]), 0.5, generator))
