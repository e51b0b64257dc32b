"""Fine-tuning on phantoms: what is frozen rests, what learns learns, nothing is lost, and it says what it did."""

from __future__ import annotations

import gc
import io
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dermomamba import weights
from dermomamba.cli import main
from dermomamba.errors import BackendError, DataError
from dermomamba.evaluation.metrics import counts, dice
from dermomamba.learning import finetune
from dermomamba.learning.augment import Augment, AugmentSettings, to_float
from dermomamba.learning.datasets import Pair
from dermomamba.learning.finetune import FineTuned, fine_tune, freeze
from dermomamba.learning.finetune_compare import Comparison
from dermomamba.learning.finetune_data import Examples, prepare, rehearsal
from dermomamba.learning.finetune_features import CachedFeatures
from dermomamba.learning.finetune_settings import PARTS, FineTuneSettings, Progress
from dermomamba.network import DermoMamba
from dermomamba.phantom import phantom, random_spec
from dermomamba.weights import Weights

SIZE = (32, 64)
QUICK = FineTuneSettings(epochs=2, learning_rate=1e-2, ema=0.5, rehearsal=2, held_out=0.4, variants=2)


def png(values: np.ndarray) -> Callable[[], bytes]:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    return buffer.getvalue


def made(n: int, seed: int = 3) -> list[Pair]:
    rng = np.random.default_rng(seed)
    drawn = [phantom(random_spec(rng, (64, 96))) for _ in range(n)]
    return [Pair(f"Mrs Example {i}", png(d.image), png(255 * d.mask.astype(np.uint8))) for i, d in enumerate(drawn)]


@pytest.fixture(scope="module", autouse=True)
def few_phantoms() -> Iterator[None]:
    """Two phantoms judge instead of eight."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finetune, "MEASURED_PHANTOMS", 2)
        yield


@pytest.fixture(scope="module")
def base() -> Weights:
    torch.manual_seed(0)
    state = {n: t.half().float() if t.is_floating_point() else t for n, t in DermoMamba(SIZE).state_dict().items()}
    return Weights("base", state, {"licence": "CC BY-NC 4.0", "image_size": list(SIZE)}, "ab" * 32, SIZE)


@pytest.fixture(scope="module")
def pairs() -> list[Pair]:
    return made(7)


@pytest.fixture(scope="module")
def tuned(base: Weights, pairs: list[Pair]) -> FineTuned:
    return fine_tune(base, pairs, replace(QUICK, epochs=12, learning_rate=2e-2, batch_size=3), "cpu")


@pytest.mark.parametrize("learns", ["decoder", "decoder+bottleneck", "all"])
def test_what_is_frozen_stays_bit_for_bit_and_the_rest_learns(
    base: Weights, pairs: list[Pair], learns: finetune.Learns, monkeypatch: pytest.MonkeyPatch
) -> None:
    live: list[dict[str, torch.Tensor]] = []
    measure = finetune._Run.measure

    def spy(run: finetune._Run) -> tuple[float, float]:
        live.append({name: tensor.clone() for name, tensor in run.network.state_dict().items()})
        return measure(run)[0], float(len(live))  # every epoch is the best so far, so that the last is kept

    monkeypatch.setattr(finetune._Run, "measure", spy)
    before = {name: tensor.clone() for name, tensor in base.state_dict.items()}
    result = fine_tune(base, pairs, replace(QUICK, learns=learns, epochs=1), "cpu")
    moved = dict.fromkeys(PARTS["all"], False)
    statistics = 0
    for name, old in before.items():
        part = name.split(".")[0]
        for new in (live[-1][name], result.state_dict[name]):
            if part in PARTS[learns]:
                moved[part] |= not torch.equal(new, old)
                statistics += "running_mean" in name and not torch.equal(new, old)
            else:
                assert torch.equal(new, old), name
        assert torch.equal(base.state_dict[name], old), f"the base was changed: {name}"
        assert result.state_dict[name].data_ptr() != base.state_dict[name].data_ptr()
    assert {part for part, changed in moved.items() if changed} == set(PARTS[learns])
    assert statistics, "the norms of what learns must follow the new photos"


def test_the_decoder_learns(tuned: FineTuned) -> None:
    rows = tuned.curve
    assert [row["epoch"] for row in rows] == list(range(13))
    assert rows[-1]["train_loss"] < 0.8 * rows[1]["train_loss"]
    assert max(row["val_dice"] for row in rows) > rows[0]["val_dice"] + 0.05
    assert tuned.ended == "epochs"


def test_the_best_epoch_is_what_is_returned(base: Weights, pairs: list[Pair], tuned: FineTuned) -> None:
    held_out = prepare(pairs, SIZE, QUICK.held_out, QUICK.seed).held_out
    network = replace(base, state_dict=tuned.state_dict).network()
    with torch.no_grad():
        x, t = to_float(held_out.images, held_out.masks)
        answers, truths = (network(x) >= 0).numpy(), (t >= 0.5).numpy()
    mean = np.mean([dice(counts(a, b)) for a, b in zip(answers, truths, strict=True)])
    assert mean == pytest.approx(max(row["val_dice"] for row in tuned.curve), abs=1e-9)


def test_an_epoch_that_the_file_cannot_hold_is_never_kept(
    base: Weights, pairs: list[Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    epoch = finetune._Run.epoch

    def swollen(run: finetune._Run, *args: object) -> float:
        loss = epoch(run, *args)  # type: ignore[arg-type]
        run.average.module["head"].weight.data.fill_(1e6)  # beyond float16
        return loss

    monkeypatch.setattr(finetune._Run, "epoch", swollen)
    result = fine_tune(base, pairs, replace(QUICK, epochs=1), "cpu")
    assert all(tensor.isfinite().all() for tensor in result.state_dict.values())


def test_cached_features_give_what_the_whole_network_gives(base: Weights) -> None:
    network = base.network()
    freeze(network, "decoder")
    network.eval()
    own, extra = rehearsal(3, SIZE), rehearsal(2, SIZE, measured=True)
    cache = CachedFeatures(network, own, extra, Augment(AugmentSettings()), variants=3, seed=1)
    assert len(cache) == 5
    assert len(cache.targets) == 3 * 3 + 2
    everything = Examples(torch.cat([own.images, extra.images]), torch.cat([own.masks, extra.masks]))
    x, t = to_float(everything.images, everything.masks)
    unchanged = torch.tensor([0, 1, 2, 9, 10])
    with torch.no_grad():
        whole = network(x)
        torch.testing.assert_close(cache.decode(network, unchanged), whole, atol=2e-2, rtol=0)  # float16 features
        cache.features = [part.float() for part in cache.features]
        for stored, part in zip(cache.features, (network.encode(x)[0], *network.encode(x)[1]), strict=True):
            torch.testing.assert_close(stored[unchanged], part, atol=1e-3, rtol=1e-3)
    assert torch.equal(cache.targets[unchanged], t)
    assert not torch.equal(cache.targets[3:6], cache.targets[:3]), "the other variants are turned and moved"


def test_each_example_is_drawn_with_its_own_truth(base: Weights) -> None:
    own, extra = rehearsal(3, SIZE), rehearsal(2, SIZE, measured=True)
    cache = CachedFeatures(base.network(), own, extra, Augment(AugmentSettings()), variants=2)
    rows = cache.rows(torch.arange(5).repeat(40), torch.Generator().manual_seed(0)).reshape(40, 5)
    assert {tuple(sorted(set(column.tolist()))) for column in rows.T} == {(0, 3), (1, 4), (2, 5), (6,), (7,)}


def test_stop_keeps_the_best_so_far(base: Weights, pairs: list[Pair]) -> None:
    stop, seen = threading.Event(), list[Progress]()

    def on_progress(progress: Progress) -> None:
        seen.append(progress)
        if progress.preview is not None:
            assert progress.preview.shape == SIZE
        if len(progress.rows) == 3 and progress.preview is None:
            stop.set()  # in the middle of the third epoch

    result = fine_tune(base, pairs, replace(QUICK, epochs=50), "cpu", stop, on_progress)
    assert result.ended == "stop"
    assert [row["epoch"] for row in result.curve] == [0, 1, 2]
    assert {progress.stage for progress in seen} == {"reading", "features", "learning", "comparing"}
    assert all(0 <= progress.done <= 1 for progress in seen)
    assert len(result.comparison.before) == 3


def test_stopped_before_it_began_it_is_the_base(base: Weights, pairs: list[Pair]) -> None:
    stop = threading.Event()
    stop.set()
    result = fine_tune(base, pairs, QUICK, "cpu", stop)
    assert all(torch.equal(tensor, base.state_dict[name]) for name, tensor in result.state_dict.items())
    assert result.card["validation"]["epoch"] == 0
    assert result.comparison.before == result.comparison.after


def test_a_time_budget_ends_it(base: Weights, pairs: list[Pair]) -> None:
    result = fine_tune(base, pairs, replace(QUICK, epochs=1000, seconds=1e-3), "cpu")
    assert result.ended == "time"
    assert len(result.curve) == 2


def test_resuming_after_a_kill_gives_the_same_weights(base: Weights, pairs: list[Pair], tmp_path: Path) -> None:
    settings = replace(QUICK, epochs=3)
    whole = fine_tune(base, pairs, settings, "cpu")

    def kill(progress: Progress) -> None:
        if len(progress.rows) == 3 and progress.preview is None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fine_tune(base, pairs, settings, "cpu", on_progress=kill, folder=tmp_path)
    resumed = fine_tune(base, pairs, settings, "cpu", folder=tmp_path)
    for name, tensor in whole.state_dict.items():
        assert torch.equal(tensor, resumed.state_dict[name]), name
    for a, b in zip(whole.curve, resumed.curve, strict=True):
        assert (a["epoch"], a["train_loss"], a["val_dice"]) == (b["epoch"], b["train_loss"], b["val_dice"])
    with pytest.raises(DataError, match="other photos, settings or weights"):
        fine_tune(base, pairs[1:], settings, "cpu", folder=tmp_path)


def test_too_few_pairs_are_refused_with_the_reasons(base: Weights, pairs: list[Pair]) -> None:
    unreadable = Pair("Mr Secret", lambda: b"Dear colleague", pairs[0].read_mask)
    empty = Pair("Mr Secret", pairs[4].read_image, png(np.zeros((64, 96), np.uint8)))
    with pytest.raises(DataError, match=r"at least 4 different photos.*; 3 can be used") as caught:
        fine_tune(base, [*pairs[:3], pairs[1], unreadable, empty], QUICK, "cpu")
    message = str(caught.value)
    assert "Pair 4 shows the same photo as pair 2" in message
    assert "Pair 5 cannot be used" in message
    assert "Pair 6 cannot be used: the mask is empty" in message
    assert "Secret" not in message


def test_a_photo_that_comes_twice_is_on_one_side_only(pairs: list[Pair]) -> None:
    again = [replace(pair, id=f"copy {pair.id}") for pair in pairs]
    for seed in range(5):
        own = prepare([*pairs, *again], SIZE, 0.4, seed)
        assert len(own.train) == 4
        assert len(own.held_out) == len(own.held_out_pairs) == 3
        assert not set(own.train_hashes) & set(own.held_out_hashes)
        assert len(own.problems) == 7
        assert [pairs[number - 1].id for number in own.numbers] == [pair.id for pair in own.held_out_pairs]


@pytest.mark.parametrize(("share", "held"), [(0.01, 1), (0.2, 1), (0.99, 2)])
def test_both_sides_of_a_small_set_hold_something(pairs: list[Pair], share: float, held: int) -> None:
    own = prepare(pairs[:4], SIZE, share, 0)
    assert (len(own.train), len(own.held_out)) == (4 - held, held)


def test_the_phantoms_that_judge_are_not_those_that_teach() -> None:
    learned, measured = rehearsal(4, SIZE), rehearsal(8, SIZE, measured=True)
    taught = {picture.numpy().tobytes() for picture in learned.images}
    assert not taught & {picture.numpy().tobytes() for picture in measured.images}
    assert torch.equal(learned.images, rehearsal(4, SIZE).images)


def test_the_verdict_claims_no_more_than_the_interval() -> None:
    few = Comparison((1, 2, 3, 4), (0.1,) * 4, (0.9,) * 4, (0.8,), (0.7,))
    assert not few.enough
    assert "too few to judge" in few.verdict()
    held = few.to_dict()["held_out"]
    assert held["before"]["low"] is held["after"]["high"] is held["change"]["p_bootstrap"] is None
    assert held["change"]["mean_difference"] == pytest.approx(0.8)
    assert "95%" not in few.table()
    many = replace(few, numbers=tuple(range(1, 7)), before=(0.5, 0.6, 0.7, 0.5, 0.6, 0.7), after=(0.8,) * 6)
    assert many.verdict().startswith("Better")
    assert replace(many, before=many.after, after=many.before).verdict().startswith("Worse")
    assert replace(many, after=(0.6, 0.5, 0.7, 0.6, 0.5, 0.7)).verdict().startswith("No clear change")
    assert many.means()[0].mean == pytest.approx(0.6)
    assert many.rehearsal_change().mean_difference == pytest.approx(-0.1)
    assert "-0.1000" in many.table()


def test_the_card_says_where_the_weights_come_from(base: Weights, tuned: FineTuned) -> None:
    card = tuned.card
    assert json.loads(json.dumps(card)) == card
    assert card["started_from"]["name"] == "base"
    assert card["started_from"]["sha256"] == base.sha256
    assert card["licence"] == "CC BY-NC 4.0"
    assert "Not a medical device" in card["notice"]
    own, phantoms = card["data"]
    assert (own["train"], own["validation"], phantoms["train"]) == (4, 3, 2)
    assert len(set(own["train_sha256"]) | set(own["validation_sha256"])) == 7
    assert card["fine_tuning"]["learns"] == "decoder"
    assert card["comparison"]["held_out"]["after"]["values"] == list(tuned.comparison.after)
    assert "Example" not in json.dumps(card), "no names"
    best = max(card["curve"], key=lambda row: row["val_dice"])
    assert card["validation"]["dice"] == best["val_dice"]


def test_everything_is_freed(base: Weights, pairs: list[Pair]) -> None:
    fine_tune(base, pairs, replace(QUICK, epochs=1), "cpu")
    gc.collect()
    kinds = (CachedFeatures, finetune._Run)
    assert not [o for o in gc.get_objects() if type(o) in kinds]


@pytest.mark.parametrize(
    "error", [MemoryError(), torch.OutOfMemoryError("CUDA"), RuntimeError("can't allocate memory")]
)
def test_out_of_memory_is_a_sentence(
    base: Weights, pairs: list[Pair], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def full(*_: object) -> None:
        raise error

    monkeypatch.setattr(DermoMamba, "encode", full)
    with pytest.raises(BackendError, match="not enough memory"):
        fine_tune(base, pairs, QUICK, "cpu")


@pytest.mark.parametrize(
    "change", [{"learns": "encoder"}, {"epochs": 0}, {"learning_rate": 1.0}, {"held_out": 1.0}, {"seconds": -1.0}]
)
def test_settings_out_of_range_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(DataError):
        FineTuneSettings(**change)  # type: ignore[arg-type]


def test_the_command_from_photos_to_weights(
    base: Weights, pairs: list[Pair], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights.save(tmp_path / "base.safetensors", base.state_dict, base.card)
    for part in ("images", "masks"):
        (tmp_path / "set" / part).mkdir(parents=True)
    for pair in pairs:
        (tmp_path / "set/images" / f"{pair.id}.png").write_bytes(pair.read_image())
        (tmp_path / "set/masks" / f"{pair.id}.png").write_bytes(pair.read_mask())
    out = tmp_path / "mine.safetensors"
    words = ["finetune", str(tmp_path / "set"), "--out", str(out), "--weights", str(tmp_path / "base.safetensors")]
    assert main([*words, "--epochs", "2", "--held-out", "0.7", "--learning-rate", "0.01", "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    assert "before" in printed
    assert "95% interval" in printed
    loaded = weights.load(out)
    assert loaded.card["name"] == "mine"
    assert loaded.card["comparison"]["held_out"]["n"] == 5
    assert loaded.card["started_from"]["sha256"] == weights.load(tmp_path / "base.safetensors").sha256
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "base.json", "base.safetensors", "mine.json", "mine.safetensors", "set",
    ]  # fmt: skip
    assert main(["finetune", str(tmp_path / "set"), "--out", str(tmp_path / "mine.pt")]) == 2
    assert ".safetensors" in capsys.readouterr().err
