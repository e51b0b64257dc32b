"""The Fine-tune tab's handlers: two sessions at once, faults in words, and nothing left when a page is closed."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import gradio as gr
import numpy as np
import pytest
from fake_predictor import FakePredictor

from dermomamba.learning.finetune_compare import Comparison, Outlines
from dermomamba.learning.finetune_settings import FineTuneSettings, Progress
from dermomamba.learning.workshop import CRASHED, Job, Workshop
from dermomamba.phantom import phantom, random_spec
from dermomamba.ui import finetune
from dermomamba.ui import finetune_views as show
from dermomamba.ui.engine import Engine, OwnWeights
from dermomamba.ui.finetune_session import Sessions
from dermomamba.ui.finetune_tab import FineTuneTab

FAKE = (sys.executable, str(Path(__file__).parents[1] / "learning" / "fake_worker.py"))
FINISH, CRASH, UNTIL_STOPPED = 0.01, 0.02, 0.04


@dataclass
class Request:
    """What a handler looks at of a request."""

    session_hash: str


A, B = Request("a"), Request("b")


@pytest.fixture
def tab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    engine = Engine(FakePredictor)
    sessions = Sessions(engine, lambda device, root: Workshop(device, root, FAKE))
    with gr.Blocks(analytics_enabled=False):
        made = finetune.build(engine, sessions, gr.State(None))
    yield made
    for request in (A, B):
        sessions.leave(request.session_hash)
    assert list(tmp_path.glob("own-*")) == list(tmp_path.glob("finetune-*")) == [], "nothing is left"


def give(tab: FineTuneTab, request: Request, tmp_path: Path, seed: int, count: int = 4) -> list[dict]:
    """Upload pairs as single files; returns what the page was told."""
    rng, paths = np.random.default_rng(seed), []
    for number in range(count):
        drawn = phantom(random_spec(rng, (96, 128)))
        for name, values in ((f"{seed}-{number}.png", drawn.image), (f"{seed}-{number}_mask.png", 255 * drawn.mask)):
            paths.append(str(tmp_path / name))
            cv2.imwrite(paths[-1], np.asarray(values, np.uint8))
    return list(tab.on_files(paths, 0.2, request))


def start(tab: FineTuneTab, request: Request, play: float) -> dict:
    return tab.on_start(None, "decoder", 3, None, play, 0.2, request)


def job(tab: FineTuneTab, request: Request) -> Job:
    found = tab.sessions.workshop.job(request.session_hash)
    assert found is not None
    return found


def test_pairs_are_shown_and_too_few_do_not_start(tab: FineTuneTab, tmp_path: Path) -> None:
    told = give(tab, A, tmp_path, seed=1, count=3)[-1]
    assert "3 photos can be used." in told[tab.outputs.count]
    assert "1 more" in told[tab.outputs.count]
    assert len(told[tab.outputs.pairs]["value"]) == 3
    assert "Add 1 more" in start(tab, A, FINISH)[tab.outputs.status]
    assert tab.sessions.workshop.job("a") is None


def test_two_sessions_never_meet(tab: FineTuneTab, tmp_path: Path) -> None:
    give(tab, A, tmp_path, seed=1)
    give(tab, B, tmp_path, seed=2, count=5)
    first, second = (tab.sessions.of(request.session_hash).images for request in (A, B))
    assert (len(first), len(second)) == (4, 5)
    assert not {image.digest for image in first.images} & {image.digest for image in second.images}
    start(tab, A, FINISH)
    assert job(tab, A).finished.wait(60)
    done = tab.on_tick(-1, A)
    assert "too few to judge" in done[tab.outputs.verdict]
    assert tab.outputs.preview not in done
    job(tab, A).preview = np.ones((3, 4), bool)
    assert tab.outputs.preview in tab.on_tick(-1, A), "also when a short run is over before the first tick"
    assert done[tab.outputs.use]["visible"]
    job(tab, A).kept_epoch = 0
    assert not tab.on_tick(-1, A)[tab.outputs.use]["visible"], "there is nothing new to use"
    assert tab.on_download(B) is None
    assert tab.outputs.use in tab.on_use(B)
    assert "put away" in tab.on_tick(-1, B)[tab.outputs.status]
    assert tab.on_clear(0.2, B)[tab.outputs.count] == show.collection(0, 0.2)
    assert len(first) == 4


def test_a_crash_is_said_and_the_page_goes_on(tab: FineTuneTab, tmp_path: Path) -> None:
    give(tab, A, tmp_path, seed=1)
    start(tab, A, CRASH)
    assert job(tab, A).finished.wait(60)
    told = tab.on_tick(-1, A)
    assert CRASHED in told[tab.outputs.status]
    assert told[tab.inputs.start]["interactive"]
    start(tab, A, FINISH)
    assert job(tab, A).finished.wait(60)
    assert job(tab, A).state == "done"


def test_a_second_person_waits_and_sees_the_place(tab: FineTuneTab, tmp_path: Path) -> None:
    give(tab, A, tmp_path, seed=1)
    give(tab, B, tmp_path, seed=2)
    start(tab, A, UNTIL_STOPPED)
    assert "1 before you" in start(tab, B, FINISH)[tab.outputs.status]
    while job(tab, A).progress.stage != "learning":
        job(tab, A).finished.wait(0.01)
    tab.on_stop(A)
    assert job(tab, A).finished.wait(60)
    assert job(tab, A).ended == "stop"
    assert job(tab, B).finished.wait(60)


def test_closing_the_page_lets_everything_go(tab: FineTuneTab, tmp_path: Path) -> None:
    give(tab, A, tmp_path, seed=1)
    own = OwnWeights(object(), "base")
    tab.sessions.wear("a", own)
    assert tab.engine.predictor_for(own) is own.predictor
    start(tab, A, UNTIL_STOPPED)
    learning = job(tab, A)
    tab.sessions.leave("a")
    assert learning.state == "dropped"
    assert not learning.folder.exists()
    assert own.predictor is None
    assert isinstance(tab.engine.predictor_for(own), FakePredictor)
    assert list(tmp_path.glob("own-*")) == []


def test_other_weights_replace_the_ones_worn_before(tab: FineTuneTab) -> None:
    first, second = OwnWeights(object(), "base"), OwnWeights(object(), "base")
    tab.sessions.wear("a", first)
    tab.sessions.wear("a", second)
    assert first.predictor is None
    assert second.predictor is not None
    assert tab.on_back(A) is None
    assert second.predictor is None


def test_one_photo_is_chosen_and_removed(tab: FineTuneTab, tmp_path: Path) -> None:
    give(tab, A, tmp_path, seed=1)
    event = gr.SelectData(None, {"index": 1, "value": None})
    button, digest = tab.on_choose(event, A)
    assert "photo 2" in button["value"]
    told = tab.on_remove(digest, 0.2, A)
    assert [caption for _, caption in told[tab.outputs.pairs]["value"]] == ["1", "3", "4"]


def running(**changes) -> Job:
    rows = (
        {"epoch": 0, "train_loss": None, "val_dice": 0.9},
        {"epoch": 1, "train_loss": 0.25, "val_dice": 0.91},
    )
    made = Job("a", Path(), FineTuneSettings(epochs=4), ("0001",), state="learning")
    made.progress = Progress("learning", 0.25, 200.0, rows)
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def test_progress_in_words() -> None:
    html = show.progress(running(), 0)
    assert "about 3 min left" in html
    assert "Epoch 1 of 4: loss 0.250, Dice of the held-out photos 0.9100 (before: 0.9000)." in html
    assert 'value="0.250"' in html
    assert "Stopping" in show.progress(running(stopping=True), 0)
    assert "2 before you" in show.progress(running(state="waiting"), 2)
    assert (show.duration(40.2), show.duration(0.1)) == ("40 s", "1 s")


def test_comparison_table_shows_each_photo_and_honest_intervals() -> None:
    before, after = (0.80, 0.90, 0.85, 0.70, 0.95, 0.90), (0.90, 0.92, 0.90, 0.85, 0.96, 0.93)
    comparison = Comparison((2, 3, 5, 7, 8, 9), before, after, (0.95, 0.97), (0.94, 0.97))
    html = show.table(comparison)
    assert "Photo 7" in html
    assert "+0.1500" in html
    assert "0.8500" in html  # mean before
    assert "-0.0050" in html  # what was forgotten
    assert "95 % interval" in html
    assert "Better on the held-out photos" in show.verdict(running(comparison=comparison, ended="time", kept_epoch=3))
    assert "stayed as they were" in show.verdict(running(comparison=comparison, ended="stop"))


def test_a_mean_of_too_few_photos_has_no_interval() -> None:
    html = show.table(Comparison((4,), (0.98,), (0.98,), (0.97, 0.96), (0.97, 0.95)))
    row = html[html.index(">Mean<") : html.index("Drawn lesions")]
    assert "0.9800" in row
    assert "95 %" not in row
    assert "fewer than 5" in html


def test_the_three_outlines_have_three_colours() -> None:
    y, x = np.mgrid[:120, :160]
    discs = [(x - 80) ** 2 + (y - 60) ** 2 < r**2 for r in (20, 35, 50)]
    picture = show.compared(np.full((120, 160, 3), 128, np.uint8), Outlines(discs[0], discs[1], discs[2]))
    row = picture[picture.shape[0] // 2].astype(int)
    cyan = ((row[:, 2] > 200) & (row[:, 0] < 80)).any()
    orange = ((row[:, 0] > 200) & (row[:, 2] < 100)).any()
    assert cyan
    assert orange
    assert (picture.min(axis=2) > 240).any()  # white dashes
