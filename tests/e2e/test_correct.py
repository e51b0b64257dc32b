"""A person corrects an outline: brush, eraser, keys, buttons, points, and what is accepted. Real browser, real canvas.

The page holds the correction box alone, with the fake predictor. The canvas needs WebGL, here in software.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from browser_tools import FORBIDDEN, steady
from fake_predictor import FakePredictor
from PIL import Image
from playwright.sync_api import TimeoutError
from served import served

from dermomamba.correction import CANVAS, grow
from dermomamba.phantom import PhantomSpec, phantom

pytestmark = pytest.mark.e2e

FEW_FRAMES = """(() => {
  const next = window.requestAnimationFrame.bind(window);
  window.requestAnimationFrame = (draw) => window.setTimeout(() => next(draw), 200);
  window.cancelAnimationFrame = window.clearTimeout;
})();"""  # the canvas redraws all the time, and software WebGL would leave nothing of the processor to the page
ZOOMED = "/[1-9][0-9]?%/.test(document.querySelector('#correct-canvas').innerText)"
PATIENCE = 120_000  # ms; WebGL in software on a busy machine
ONE_TRY = 15_000  # ms; then a stroke counts as lost, since the canvas was still loading, and is drawn again
TRIES = 6
LATE = "Cannot read properties of null (reading 'extract')"  # see opened
CHANGED = "b => document.querySelector('#correct-facts p.note').innerText !== b"
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def out(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("accepted")


@pytest.fixture(scope="module")
def url(out: Path, tmp_path_factory) -> Iterator[str]:
    os.environ["CORRECT_OUT"] = str(out)
    temp = tmp_path_factory.mktemp("gradio")
    with served(ROOT / "tests" / "ui" / "correct_app.py", temp, wait=120) as address:
        yield address
    assert list(temp.iterdir()) == [], "the private folder is removed when the app stops"


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> list[tuple[np.ndarray, Path]]:
    folder = tmp_path_factory.mktemp("photos")
    specs = (
        PhantomSpec(size=(450, 600), seed=4, diameter=0.4, pigment=1.1),
        PhantomSpec(size=(360, 300), seed=8, diameter=0.3, pigment=1.1),
    )
    made = []
    for name, spec in zip(("Jane_Doe.png", "b.png"), specs, strict=True):
        image = phantom(spec).image
        Image.fromarray(image).save(folder / name)
        made.append((image, folder / name))
    return made


@pytest.fixture
def opened(webgl_browser, url: str):
    """Opens pages in a Chromium with WebGL; fails the test when a page throws a script error.

    One error is Gradio's own and harmless: 30 ms after a change its ImageEditor reads the canvas, and finds none when
    the page took the editor away meanwhile (6.31: ``get_blobs`` after the component was destroyed). No stroke is lost
    by it: what the editor held was accepted or removed before.
    """
    contexts, errors = [], []

    def open_page(width: int, height: int, scheme: str):
        context = webgl_browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce"
        )
        contexts.append(context)
        page = context.new_page()
        page.add_init_script(FEW_FRAMES)
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(url)
        page.wait_for_selector("#correct-files")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert [error for error in errors if error != LATE] == []


def facts(page) -> str:
    return page.locator("#correct-facts p.note").inner_text()


def change(page, act) -> str:
    """Does something and waits until another outline was received; gives the new line of facts."""
    before = facts(page)
    act()
    page.wait_for_function(CHANGED, arg=before)
    return facts(page)


def stroke(page, start: tuple[float, float], stop: tuple[float, float], shape: tuple[int, int]) -> None:
    """Draws from one photo pixel (x, y) to another; the photo lies in the middle of the canvas, that in the middle."""
    page.locator("#correct-canvas").scroll_into_view_if_needed()
    box = page.locator("#correct-canvas canvas").first.bounding_box()
    zoom = int(re.search(r"(\d+)%", page.locator("#correct-canvas").inner_text()).group(1)) / 100
    factor = zoom * min(CANVAS[0] / shape[0], CANVAS[1] / shape[1])

    def screen(x: float, y: float) -> tuple[float, float]:
        return (
            box["x"] + box["width"] / 2 + (x - shape[1] / 2) * factor,
            box["y"] + box["height"] / 2 + (y - shape[0] / 2) * factor,
        )

    page.mouse.move(*screen(*start))
    page.mouse.down()
    page.mouse.move(*screen(*stop), steps=6)
    page.mouse.up()


def painted(page, start: tuple[float, float], stop: tuple[float, float], shape: tuple[int, int]) -> str:
    """Draws until the outline changed, as a person would; gives the new line of facts."""
    before = facts(page)
    for _ in range(TRIES):
        stroke(page, start, stop, shape)
        try:
            page.wait_for_function(CHANGED, arg=before, timeout=ONE_TRY)
        except TimeoutError:
            continue
        return facts(page)
    raise AssertionError("no stroke was received")


def given(page, files: list[Path]) -> None:
    """Uploads photos and waits until the first can be corrected."""
    page.locator("#correct-files input[type=file]").set_input_files([str(file) for file in files])
    page.locator("#correct-facts p.note").wait_for()
    page.wait_for_function("document.querySelector('#correct-canvas canvas')?.width > 0")
    page.get_by_role("button", name="Brush", exact=True).wait_for()
    page.wait_for_function(ZOOMED)


def test_brush_eraser_and_keys(opened, photos, shoot) -> None:
    page = opened(1440, 1000, "light")
    image, path = photos[0]
    given(page, [path])
    first = painted(page, (80, 60), (200, 60), image.shape[:2])
    assert "Changed" in first
    shoot(page, "correct-stroke", full=True)
    page.get_by_role("button", name="Erase", exact=True).click()
    painted(page, (160, 60), (230, 60), image.shape[:2])
    assert change(page, lambda: page.keyboard.press("Control+z")) == first
    page.keyboard.press("]")
    page.wait_for_function("document.querySelector('#correct-size input[type=number]').value === '25'")


def test_buttons_points_and_what_is_accepted(opened, photos, out: Path, shoot) -> None:
    page = opened(1440, 1000, "light")
    (image, path), (_, second) = photos
    shape = image.shape[:2]
    network = FakePredictor()(image).mask
    shoot(page, "correct-empty")
    given(page, [path, second])
    assert "Same as the network's" in facts(page)
    assert "Photo 1 of 2" in page.locator("#correct-title").inner_text()
    assert "Jane" not in page.content()

    page.get_by_text("Redraw from points").click()
    page.locator("#correct-points-text textarea").fill("450, 330\n550, 330\n550, 420")
    chart = page.locator("#correct-chart img")
    page.wait_for_function("document.querySelector('#correct-chart img').alt.includes('3 points')")
    chart.scroll_into_view_if_needed()
    box = steady(chart)
    shown = min(box["width"] / shape[1], box["height"] / shape[0])
    left, top = (box["width"] - shown * shape[1]) / 2, (box["height"] - shown * shape[0]) / 2
    chart.click(position={"x": left + 450.5 * shown, "y": top + 420.5 * shown})
    page.wait_for_function("document.querySelector('#correct-chart img').alt.includes('4 points')")
    page.get_by_label("Add this area").check()
    shoot(page, "correct-points", full=True)
    change(page, lambda: page.locator("#correct-points").click())
    page.wait_for_function("document.querySelector('#correct-points-text textarea').value === ''")

    change(page, lambda: page.locator("#correct-grow").click())  # by 3 px, 1/200 of the photo's width

    page.locator("#correct-accept").click()
    page.locator("#correct-gallery img").first.wait_for()
    page.locator("#correct-title").get_by_text("Photo 2 of 2").wait_for()
    page.locator("#correct-facts").get_by_text("Same as the network's").wait_for()
    shoot(page, "correct-second", full=True)
    assert not FORBIDDEN.search(page.locator("body").inner_text())
    page.locator("#write").click()
    page.wait_for_function("document.querySelector('#written textarea').value !== ''")

    mask = np.asarray(Image.open(out / "1.png").convert("L")) > 127
    assert mask.shape == shape
    area = np.zeros(shape, bool)
    area[330:421, 450:551] = True
    near = grow(area, 6)
    assert (mask[~near] == grow(network, 3)[~near]).all()  # bit for bit where nothing was drawn
    assert mask[335:415, 455:545].all()
    edited = int(page.locator("#written textarea").input_value())
    assert edited == np.count_nonzero(mask != network)

    page.locator("#correct-remove").click()
    page.locator("#correct-count").get_by_text("No outline accepted yet.").wait_for()


def test_phone_in_the_dark_is_one_column(opened, photos, shoot) -> None:
    page = opened(390, 844, "dark")
    given(page, [photos[1][1]])
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    for name in ("canvas", "accept", "undo", "grow", "size"):
        box = page.locator(f"#correct-{name}").bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
    shoot(page, "correct-phone", full=True)
