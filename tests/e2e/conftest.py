"""The real page as a program of its own, and a headless Chromium to use it like a person.

With trained weights in the checkout the page runs the network; without them it runs the fake predictor of tests/ui.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "ui"))

from served import served  # noqa: E402

from dermomamba.phantom import PhantomSpec, phantom  # noqa: E402
from dermomamba.weights import DEFAULT, FOLDER  # noqa: E402

SCREENSHOTS = Path(__file__).resolve().parent / "screenshots"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SWITCHES = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]
WEBGL = ["--use-gl=swiftshader", "--enable-unsafe-swiftshader"]


@pytest.fixture(scope="session")
def trained() -> bool:
    """Whether the trained weights are there."""
    return (FOLDER / f"{DEFAULT}.safetensors").is_file()


@pytest.fixture(scope="session")
def temp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the page makes its private folder."""
    return tmp_path_factory.mktemp("gradio")


@pytest.fixture(scope="session")
def address(trained: bool, browser, temp: Path) -> Iterator[str]:
    program = ROOT / "app.py" if trained else ROOT / "tests" / "ui" / "fake_app.py"
    with served(program, temp, wait=120) as url:
        yield url
    assert list(temp.iterdir()) == [], "the private folder is removed when the app stops"


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    program = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=program, args=SWITCHES)
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def webgl_browser(browser) -> Iterator[object]:
    """A second Chromium that draws WebGL in software, which Gradio's ImageEditor needs."""
    program = next(found for name in BROWSERS if (found := shutil.which(name)))
    opened = browser.browser_type.launch(executable_path=program, args=[*SWITCHES, *WEBGL])
    yield opened
    opened.close()


@pytest.fixture
def new_page(browser, address: str):
    """Opens pages of a given size; fails the test when a page throws a script error."""
    contexts, errors = [], []

    def open_page(width: int = 1440, height: int = 900, dark: bool = False):
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            permissions=["camera", "clipboard-read", "clipboard-write"],
            reduced_motion="reduce",
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(120_000)  # ms; generous, for a busy machine
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(address)
        page.wait_for_selector("#photo")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert errors == []


@pytest.fixture(scope="session")
def shoot():
    """Saves a screenshot under tests/e2e/screenshots/."""
    SCREENSHOTS.mkdir(exist_ok=True)

    def save(page, name: str, full: bool = False) -> Path:
        path = SCREENSHOTS / f"{name}.png"
        page.screenshot(path=str(path), full_page=full)
        return path

    return save


@pytest.fixture(scope="session")
def drawn():
    """A drawn lesion whose true scale is 0.02 mm a pixel."""
    return phantom(PhantomSpec(size=(600, 800), seed=4, diameter=0.5, pigment=1.1, mm_per_pixel=0.02))


@pytest.fixture(scope="session")
def photo(drawn, tmp_path_factory) -> Path:
    """A JPEG with a patient's name in its tags and in its file name."""
    exif = Image.Exif()
    exif[0x010E] = "Jane Doe"
    path = tmp_path_factory.mktemp("photo") / "Jane_Doe_1980.jpg"
    Image.fromarray(drawn.image).save(path, quality=95, exif=exif)
    return path
