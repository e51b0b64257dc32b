"""A person measures at the page: a line or the printed ruler gives the scale, measures and the ABCD sum are shown.

Real server, real browser.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from browser_tools import FORBIDDEN, changed, drop, picture, seconds, settled, steady

pytestmark = pytest.mark.e2e


def test_a_line_of_known_length_gives_the_scale(new_page, photo: Path, drawn) -> None:
    page = new_page()
    drop(page, photo)
    settled(page)
    page.get_by_text("Scale (mm)").click()
    page.locator("#line-length input").fill("8")
    page.locator("#line-start").click()
    page.locator("#scale-message").get_by_text("first end").wait_for()

    def point(x: float, y: float) -> None:
        box = steady(page.locator("#result img"))
        shown = box["height"] / 600  # the picture is fitted by height, centred
        page.mouse.click(box["x"] + (box["width"] - 800 * shown) / 2 + x * shown, box["y"] + y * shown)

    point(200, 300)
    page.locator("#scale-message").get_by_text("other end").wait_for()
    point(600, 300)
    page.locator('#numbers td.value[data-unit="mm²"]').first.wait_for()
    scale = float(page.locator("#mm-per-pixel").get_by_role("textbox").input_value())
    assert scale == pytest.approx(0.02, rel=0.02)
    assert "from a line of known length" in page.locator("#numbers").inner_text()


def test_the_printed_ruler_is_found_and_confirmed(new_page) -> None:
    page = new_page()
    page.get_by_role("button", name="Ruler").first.click()
    settled(page)
    page.get_by_text("Scale (mm)").click()
    page.locator("#ruler-find").click()
    page.locator("#ruler-use").click()
    page.locator('#numbers td.value[data-unit="mm²"]').first.wait_for()
    scale = float(page.locator("#mm-per-pixel").get_by_role("textbox").input_value())
    assert scale == pytest.approx(0.02, rel=0.02)
    assert "confirmed" in page.locator("#numbers").inner_text()


def test_measures_are_drawn_and_the_abcd_sum_is_written_out(new_page, photo: Path, shoot) -> None:
    page = new_page()
    drop(page, photo)
    settled(page)
    run = seconds(page)
    before = picture(page)
    for label, words in (("Longest diameter", "Yellow line"), ("Indentations", "protrusion"), ("Folded", "Dashed")):
        page.locator("#drawn").get_by_label(label).check()
        page.locator("#legend").get_by_text(words).wait_for()
    changed(page, before)
    page.locator("#abcd button").first.click()
    page.locator("#abcd-a input:checked").first.wait_for(state="attached")
    assert page.locator("#abcd-a input:checked").count() == 1  # suggested
    assert page.locator("#abcd-d input:checked").count() == 0  # never suggested
    assert "Still to be entered: D" in page.locator("#abcd-total").inner_text()
    for letter, score in (("a", "2"), ("b", "0"), ("c", "3"), ("d", "4")):
        page.locator(f"#abcd-{letter}").get_by_label(score, exact=True).check()
    page.locator("#abcd-total tfoot").get_by_text("6.1").wait_for()  # 2.6 + 0 + 1.5 + 2.0
    assert seconds(page) == run
    assert not FORBIDDEN.search(page.locator("body").inner_text())
    shoot(page, "desktop-abcd", full=True)
