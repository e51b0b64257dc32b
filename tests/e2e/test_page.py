"""A person at the page: drop, look, change, take away; what goes wrong is said. Real server, real browser."""

from __future__ import annotations

import base64
import csv
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from browser_tools import FORBIDDEN, changed, drop, picture, seconds, settled, value
from PIL import Image
from playwright.sync_api import TimeoutError

from dermomamba.phantom import PhantomSpec, phantom

pytestmark = pytest.mark.e2e

ONE_TRY = 20_000  # ms; then what was typed counts as lost


def wide_enough(page) -> bool:
    return page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_drop_look_change_and_take_away(new_page, photo: Path, drawn, shoot, tmp_path: Path) -> None:
    page = new_page()
    assert "It measures, it does not diagnose." in page.locator("#top").inner_text()
    assert page.locator("#status .card-empty").is_visible()
    shoot(page, "desktop-empty")

    drop(page, photo)  # no button: the result appears by itself
    settled(page)
    assert value(page, "area") == pytest.approx(drawn.area_px, rel=0.05)
    assert value(page, "area_fraction") == pytest.approx(drawn.area_px / drawn.mask.size, rel=0.05)
    assert "%" in page.locator("#words").inner_text()
    assert page.locator("#result img").get_attribute("alt").startswith("Outline.")
    assert "Jane" not in page.content()
    assert not FORBIDDEN.search(page.locator("body").inner_text())
    assert wide_enough(page)
    page.wait_for_function("document.querySelector('#result img').naturalWidth > 0")
    shoot(page, "desktop-result")
    shoot(page, "desktop-result-full", full=True)

    before, run = picture(page), seconds(page)
    for label in ("Filled mask", "Probability", "Guide Fusion", "CBAM 1", "CBAM 5"):
        page.get_by_label(label, exact=True).check()
        changed(page, before)
        before = picture(page)
    legend = page.locator("#legend").inner_text()
    assert "Computed at 12 x 16" in legend
    assert "0 to 1" in legend
    shoot(page, "desktop-cbam5")
    page.get_by_label("Outline", exact=True).check()
    changed(page, before)

    page.get_by_text("Scale (mm)").click()
    page.locator("#mm-per-pixel").get_by_role("textbox").fill("0,02")
    page.keyboard.press("Tab")
    page.locator('#numbers td.value[data-unit="mm²"]').first.wait_for()
    assert value(page, "area") == pytest.approx(drawn.area_px * 0.02**2, rel=0.05)
    assert seconds(page) == run  # neither a layer nor the scale ran the network again

    for kind, name in (("mask", "image-1_segmentation.png"), ("json", "image-1_measures.json"),
                       ("csv", "image-1_measures.csv"), ("report", "image-1_report.pdf")):  # fmt: skip
        with page.expect_download() as waiting:
            page.locator(f"#file-{kind}").click()
        assert waiting.value.suggested_filename == name
        waiting.value.save_as(tmp_path / name)
    mask = np.asarray(Image.open(tmp_path / "image-1_segmentation.png"))
    assert mask.shape == (600, 800)
    assert set(np.unique(mask)) == {0, 255}
    assert 2 * ((mask > 0) & drawn.mask).sum() / ((mask > 0).sum() + drawn.mask.sum()) > 0.95
    numbers = json.loads((tmp_path / "image-1_measures.json").read_text(encoding="utf-8"))
    assert numbers["measurements"]["area"]["value"] == pytest.approx(value(page, "area"))
    (cells,) = csv.DictReader(io.StringIO((tmp_path / "image-1_measures.csv").read_text(encoding="utf-8-sig")))
    assert float(cells["area_mm2"]) == pytest.approx(value(page, "area"), rel=1e-4)
    assert (tmp_path / "image-1_report.pdf").read_bytes().startswith(b"%PDF")


def test_a_text_file_named_jpg_says_what_is_wrong(new_page, tmp_path: Path, photo: Path, shoot) -> None:
    page = new_page()
    bad = tmp_path / "photo.jpg"
    bad.write_text("this is no photo")
    drop(page, bad)
    alert = page.locator("#status [role=alert]")
    alert.wait_for()
    assert "picture" in alert.inner_text()
    assert not page.locator("#numbers tbody tr").first.is_visible()
    shoot(page, "desktop-error")
    drop(page, photo)  # and the page goes on
    settled(page)
    assert value(page, "area") > 0


def test_example_shows_truth_and_threshold_moves_the_outline(new_page, shoot) -> None:
    page = new_page(dark=True)
    page.get_by_role("button", name="Large, irregular").click()
    settled(page)
    assert "Δ" in page.locator('#numbers tr[data-measure="area"] td.truth').inner_text()
    unit = page.locator('#numbers tr[data-measure="area"] td.value').get_attribute("data-unit")
    assert unit == "mm²"
    shoot(page, "desktop-dark-result", full=True)
    area, run = value(page, "area"), seconds(page)
    page.get_by_text("Options", exact=True).click()
    cell = """document.querySelector('#numbers tr[data-measure="area"] td.value')"""
    for cut in ("0.1", "0.15", "0.1", "0.15"):  # what is typed while the options are still opening is lost
        page.locator("#threshold input[type=number]").fill(cut)
        page.locator("#threshold input[type=number]").press("Tab")
        try:
            page.wait_for_function(f"before => Number({cell}?.dataset.value) > before", arg=area, timeout=ONE_TRY)
        except TimeoutError:
            continue
        break
    assert value(page, "area") > area
    assert seconds(page) == run


def test_a_lesion_at_the_frame_is_not_measured(new_page, shoot, tmp_path: Path) -> None:
    cut = phantom(PhantomSpec(size=(480, 640), seed=3, centre=(0.97, 0.5), diameter=0.8, pigment=1.2))
    Image.fromarray(cut.image).save(tmp_path / "cut.png")
    page = new_page()
    drop(page, tmp_path / "cut.png")
    page.locator("#status .card-cannot").wait_for()
    settled(page)
    row = page.locator('#numbers tr[data-measure="border_irregularity"]')
    assert "not measured" in row.inner_text()
    assert row.locator("td.value").count() == 0
    shoot(page, "desktop-cannot-measure")


def test_attention_by_mouse_and_keyboard(new_page, photo: Path, shoot) -> None:
    page = new_page()
    page.get_by_role("tab", name="Attention").click()
    page.locator("#attention-example").click()
    page.locator("#gate img").wait_for()
    assert page.locator('#u [aria-pressed="true"]').get_attribute("data-level") == "5"
    page.locator('#u [data-level="2"]').click()
    page.locator("#channels").get_by_text("64 channel gates").wait_for()
    page.locator('#u [data-level="4"]').focus()
    page.keyboard.press("Enter")
    page.locator("#channels").get_by_text("256 channel gates").wait_for()
    assert page.locator('#u [aria-pressed="true"]').get_attribute("data-level") == "4"
    assert "Colours run from 0 to 1" in page.locator("#gate-legend").inner_text()
    shoot(page, "desktop-attention", full=True)
    page.get_by_label("Same colours for all bridges").uncheck()
    page.locator("#gate-legend").get_by_text("own range").wait_for()
    assert not page.locator("#gate-untrained").is_visible()
    page.get_by_label("Beside it: the same network before training").check()
    page.locator("#gate-untrained img").wait_for()
    page.locator("#channels").get_by_text("untrained network").wait_for()
    assert picture(page, "gate") != picture(page, "gate-untrained")
    shoot(page, "desktop-attention-untrained", full=True)
    before = picture(page, "gate-untrained")
    page.locator('#u [data-level="1"]').click()  # both gates follow
    page.wait_for_function("before => document.querySelector('#gate-untrained img')?.src !== before", arg=before)
    assert "192 x 256" in page.locator("#gate-untrained-legend").inner_text()


def test_phone_is_one_column_and_nothing_is_cut_off(new_page, photo: Path, shoot) -> None:
    page = new_page(390, 844)
    shoot(page, "phone-empty")
    drop(page, photo)
    settled(page)
    assert wide_enough(page)
    tops = [page.locator(f"#{name}").bounding_box()["y"] for name in ("photo", "result", "numbers", "file-mask")]
    assert tops == sorted(tops)
    for name in ("result", "layer", "numbers", "words", "file-mask"):
        box = page.locator(f"#{name}").bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
    shoot(page, "phone-result")
    shoot(page, "phone-result-full", full=True)
    page.evaluate("document.querySelectorAll('details').forEach(fold => fold.open = true)")
    for fold in ("Scale (mm)", "Options", "ABCD rule, for teaching"):
        page.get_by_text(fold, exact=True).click()
    page.locator("#abcd").wait_for()
    assert wide_enough(page), "with everything unfolded"
    for tab in ("Attention", "Batch", "About"):
        page.get_by_role("tab", name=tab).click()
        page.get_by_role("tab", name=tab).and_(page.locator('[aria-selected="true"]')).wait_for()
        assert wide_enough(page), tab
    shoot(page, "phone-about")


@pytest.mark.parametrize("size", [(1366, 768), (390, 844)])
def test_the_photo_stays_in_its_place_when_the_result_comes(new_page, photo: Path, size: tuple[int, int]) -> None:
    page = new_page(*size)
    page.evaluate("""() => {
      window.tops = [];
      const look = () => {
        const shown = document.querySelector("#result img");
        if (shown?.complete) window.tops.push(Math.round(shown.getBoundingClientRect().top + window.scrollY));
        window.requestAnimationFrame(look);
      };
      look();
    }""")
    drop(page, photo)
    settled(page)
    page.wait_for_function("window.tops.length > 10")
    tops = page.evaluate("window.tops")
    assert max(tops) - min(tops) <= 2


def test_batch_skips_what_it_cannot_read(new_page, photo: Path, tmp_path: Path, shoot) -> None:
    page = new_page()
    bad = tmp_path / "bad.jpg"
    bad.write_text("no photo")
    packed = tmp_path / "more.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.write(photo, "../../Jane.jpg")
    page.get_by_role("tab", name="Batch").click()
    page.locator("#batch-files input[type=file]").set_input_files([str(photo), str(bad), str(packed)])
    page.locator("#batch-files").get_by_text("more").first.wait_for()
    page.locator("#batch-start").click()
    page.locator("#batch-table table").wait_for()
    assert "2 of 3 photos" in page.locator("#batch-status").inner_text()
    assert "photo 2:" in page.locator("#batch-table").inner_text()
    shoot(page, "desktop-batch", full=True)
    assert page.locator("#batch-gallery .thumbnail-lg").first.bounding_box()["width"] < 320
    page.locator("#batch-sort input").click()
    page.get_by_role("option", name="Perimeter: largest first").click()
    page.locator("#batch-table th").get_by_text("Perimeter").wait_for()
    with page.expect_download() as waiting:
        page.locator("#batch-zip").click()
    waiting.value.save_as(tmp_path / "got.zip")
    with zipfile.ZipFile(tmp_path / "got.zip") as archive:
        names = archive.namelist()
        assert "masks/image-0001_segmentation.png" in names
        assert "masks/image-0003_segmentation.png" in names
        assert not [name for name in names if "Jane" in name or name.startswith(("/", ".."))]
        assert len(list(csv.DictReader(io.StringIO(archive.read("measures.csv").decode("utf-8-sig"))))) == 2


def test_photo_from_the_camera(new_page) -> None:
    page = new_page()
    page.get_by_role("button", name="Capture from camera").click()
    page.get_by_text("Click to Access Webcam").click()
    page.wait_for_function("document.querySelector('#photo video')?.videoWidth > 0")
    page.get_by_role("button", name="capture photo").click()
    page.locator("#result img").wait_for()  # the fake camera shows a test card: whatever is found, it is answered
    page.wait_for_function("!document.querySelector('#status .card-working')")
    assert page.locator("#status").inner_text()


def test_photo_from_the_clipboard(new_page, drawn) -> None:
    page = new_page()
    content = io.BytesIO()
    Image.fromarray(drawn.image).save(content, "PNG")
    page.evaluate(
        """async (text) => {
            const blob = await (await fetch("data:image/png;base64," + text)).blob();
            await navigator.clipboard.write([new ClipboardItem({ "image/png": blob })]);
        }""",
        base64.b64encode(content.getvalue()).decode(),
    )
    page.get_by_role("button", name="Paste from clipboard").click()
    settled(page)
    assert value(page, "area") == pytest.approx(drawn.area_px, rel=0.05)
