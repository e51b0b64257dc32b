"""A person teaches the network eight photos: give, train, watch, compare, use, take away, bring back."""

from __future__ import annotations

import io
import json
import re
import threading
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from gradio_client import Client, handle_file
from safetensors.numpy import load as load_tensors

from dermomamba.phantom import phantom, random_spec
from dermomamba.weights import DEFAULT
from dermomamba.weights_archive import unpack

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).resolve().parents[2]
LONG = 480_000  # ms; generous, since a test never waits for time to pass but for something to appear


def png(values: np.ndarray) -> bytes:
    return cv2.imencode(".png", values)[1].tobytes()


def wide(mask: np.ndarray) -> np.ndarray:
    """A mask (h, w) bool, 8 pixels wider all round, as 0 and 1."""
    return cv2.dilate(mask.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (17, 17)))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Path:
    """Eight phantoms with masks, a photo without one, the first once more, and an empty mask, in one ZIP.

    The masks are drawn wider than the lesions by a habit that the network can learn, so that an epoch is kept.
    """
    rng = np.random.default_rng(3)
    drawn = [phantom(random_spec(rng, (240, 320))) for _ in range(9)]
    path = tmp_path_factory.mktemp("pairs") / "Jane_Doe.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number, one in enumerate(drawn[:8]):
            archive.writestr(f"images/p{number}.png", png(one.image[..., ::-1]))
            archive.writestr(f"masks/p{number}.png", png(255 * wide(one.mask)))
        archive.writestr("images/twin.png", png(drawn[0].image[..., ::-1]))
        archive.writestr("masks/twin.png", png(255 * wide(drawn[0].mask)))
        archive.writestr("images/empty.png", png(drawn[8].image[..., ::-1]))
        archive.writestr("masks/empty.png", png(np.zeros((240, 320), np.uint8)))
        archive.writestr("images/alone.png", png(drawn[8].image[..., ::-1]))
    return path


def pictures(page, name: str, count: int) -> None:
    """Waits for so many pictures in a gallery, and no more."""
    found = page.locator(f"#{name} .grid-container img")
    found.nth(count - 1).wait_for()
    assert found.count() == count


def open_tab(page) -> None:
    page.get_by_role("tab", name="Fine-tune").click()
    page.locator("#finetune-start").wait_for()


def test_give_train_compare_use_take_away_and_bring_back(
    new_page, trained: bool, pairs: Path, shoot, tmp_path: Path
) -> None:
    if not trained:
        pytest.skip("needs the shipped weights to begin with")
    page = new_page()
    open_tab(page)
    page.locator("#finetune-start").click()  # too early: a sentence, and nothing starts
    page.locator("#finetune-status [role=alert]").get_by_text("at least 4").wait_for()

    page.locator("#finetune-files input[type=file]").set_input_files(str(pairs))
    page.locator("#finetune-count").get_by_text("8 photos can be used").wait_for()
    left_out = page.locator("#finetune-problems").inner_text()
    assert "alone: the mask is missing" in left_out
    assert "empty: the mask is empty" in left_out
    assert "twin: it shows the same photo as number" in left_out
    pictures(page, "finetune-pairs", 8)
    shoot(page, "desktop-finetune-pairs", full=True)

    page.get_by_text("Settings", exact=True).click()
    page.locator("#finetune-epochs input").fill("4")
    page.locator("#finetune-rate input").fill("0.002")
    page.locator("#finetune-held-out input[type=number]").fill("0.25")
    page.locator("#finetune-start").click()
    page.locator("#finetune-stop:visible, #finetune-table table:visible").first.wait_for()  # it has begun
    # Curve and preview, on its way or at the end: on a quick machine four epochs pass between two looks of the page.
    page.locator("#finetune-dice canvas, #finetune-dice svg").first.wait_for(timeout=LONG)
    page.locator("#finetune-preview img").wait_for()
    shoot(page, "desktop-finetune-learning", full=True)

    page.locator("#finetune-table table").wait_for(timeout=LONG)
    assert "2 held-out photos are too few to judge" in page.locator("#finetune-verdict").inner_text()
    rows = page.locator("#finetune-table tbody tr")
    assert rows.count() == 4  # two photos, their mean, the drawn lesions
    pictures(page, "finetune-compared", 2)
    shoot(page, "desktop-finetune-result", full=True)

    page.locator("#finetune-use").click()
    page.locator("#top").get_by_text(f"of this session, from {DEFAULT}").wait_for()
    page.get_by_role("tab", name="Analyse").click()
    page.get_by_role("button", name="Small, round").click()
    page.locator("#numbers tbody tr").first.wait_for()
    with page.expect_download() as waiting:
        page.locator("#file-json").click()
    used = json.loads(Path(waiting.value.path()).read_text(encoding="utf-8"))
    assert used["model"]["weights"] == "fine-tuned"

    open_tab(page)
    with page.expect_download() as waiting:
        page.locator("#finetune-download").click()
    assert waiting.value.suggested_filename == "dermomamba-fine-tuned.zip"
    waiting.value.save_as(tmp_path / "weights.zip")
    with zipfile.ZipFile(tmp_path / "weights.zip") as archive:
        assert sorted(archive.namelist()) == ["MODEL_CARD.md", "fine-tuned.json", "fine-tuned.safetensors"]
        card = json.loads(archive.read("fine-tuned.json"))
        tensors = load_tensors(archive.read("fine-tuned.safetensors"))
    assert card["started_from"]["name"] == DEFAULT
    assert card["licence"] == "CC BY-NC 4.0"
    assert len(tensors) > 100
    assert "Jane" not in json.dumps(card)

    page.locator("#back").click()
    page.locator("#top").get_by_text(f"Weights: {DEFAULT}").wait_for()
    assert not page.locator("#back").is_visible()

    other = new_page()  # a second person brings the file back; neither sees the other's
    open_tab(other)
    assert other.locator("#finetune-pairs img").count() == 0
    assert not other.locator("#finetune-result").is_visible()
    other.get_by_text("Go on from weights of your own").click()
    other.locator("#finetune-weights input[type=file]").set_input_files(str(tmp_path / "weights.zip"))
    other.locator("#top").get_by_text("Weights: fine-tuned, of this session").wait_for()
    assert "fine-tuned" not in page.locator("#top").inner_text()


def test_a_long_run_says_where_it_stands_and_ends_when_told(new_page, trained: bool, pairs: Path) -> None:
    if not trained:
        pytest.skip("needs the shipped weights to begin with")
    page = new_page()
    open_tab(page)
    page.locator("#finetune-files input[type=file]").set_input_files(str(pairs))
    page.locator("#finetune-count").get_by_text("8 photos can be used").wait_for()
    page.get_by_text("Settings", exact=True).click()
    page.locator("#finetune-epochs input").fill("1000")
    page.locator("#finetune-start").click()
    page.locator("#finetune-status").get_by_text(re.compile(r"Epoch [1-9]\d* of 1000")).wait_for(timeout=LONG)
    page.locator("#finetune-stop").click()
    page.locator("#finetune-table table").wait_for(timeout=LONG)
    assert "It was stopped." in page.locator("#finetune-verdict").inner_text()


def test_closing_the_page_deletes_its_photos_within_a_minute(new_page, pairs: Path, temp: Path) -> None:
    page = new_page()
    open_tab(page)
    others = set(temp.glob("*/own-*"))
    page.locator("#finetune-files input[type=file]").set_input_files(str(pairs))
    page.locator("#finetune-count").get_by_text("8 photos can be used").wait_for()
    (mine,) = set(temp.glob("*/own-*")) - others
    assert len(list(mine.rglob("*.png"))) == 16
    page.context.close()
    pause = threading.Event()
    for _ in range(600):
        if not mine.exists():
            return
        pause.wait(0.1)
    raise AssertionError("the photos are still there")


def test_what_is_no_weights_file_is_refused(new_page, tmp_path: Path) -> None:
    page = new_page()
    open_tab(page)
    page.get_by_text("Go on from weights of your own").click()
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("weights.pt", b"\x80\x04.")
    (tmp_path / "weights.zip").write_bytes(content.getvalue())
    page.locator("#finetune-weights input[type=file]").set_input_files(str(tmp_path / "weights.zip"))
    page.locator("#finetune-own-told [role=alert]").get_by_text("was not opened").wait_for()
    assert "fine-tuned" not in page.locator("#top").inner_text()


def test_phone(new_page, pairs: Path, shoot) -> None:
    page = new_page(390, 844)
    open_tab(page)
    page.locator("#finetune-files input[type=file]").set_input_files(str(pairs))
    page.locator("#finetune-count").get_by_text("8 photos can be used").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "nothing is cut off"
    shoot(page, "phone-finetune", full=True)


def test_a_program_fine_tunes_and_nobody_elses_outline_changes(
    address: str, trained: bool, pairs: Path, tmp_path: Path
) -> None:
    if not trained:
        pytest.skip("needs the shipped weights to begin with")
    example = handle_file(str(ROOT / "assets" / "examples" / "hairs.jpg"))
    learner, other = (Client(address, verbose=False, download_files=str(tmp_path / name)) for name in ("a", "b"))
    before = other.predict(example, api_name="/measure")
    archive, numbers = learner.predict([handle_file(str(pairs))], "decoder", 1, None, 0.25, api_name="/finetune")
    assert "medical device" in numbers["notice"]
    assert numbers["held_out"]["n"] == 2
    assert len(numbers["left_out"]) == 3
    assert unpack([Path(archive)]).card["fine_tuning"]["epochs"] == 1
    after = other.predict(example, api_name="/measure")
    assert after["measurements"] == before["measurements"]
    assert after["model"] == before["model"]
    with pytest.raises(Exception, match="at least 4"):
        learner.predict([example], api_name="/finetune")
