"""What browser tests share: forbidden words; drop a photo, wait for its result, read it; find a place in a picture."""

from __future__ import annotations

import re
from pathlib import Path

FORBIDDEN = re.compile(r"benign|malignant|melanoma|\brisk\b|diagnosis|AI-powered", re.IGNORECASE)


def drop(page, path: Path) -> None:
    page.locator("#photo input[type=file]").set_input_files(str(path))


def settled(page) -> None:
    """Waits for a result: numbers are there and nothing is working."""
    page.locator("#numbers tbody tr").first.wait_for()
    page.wait_for_function("!document.querySelector('#status .card-working')")


def value(page, measure: str) -> float:
    return float(page.locator(f'#numbers tr[data-measure="{measure}"] td.value').get_attribute("data-value"))


def picture(page, name: str = "result") -> str:
    return page.locator(f"#{name} img").get_attribute("src")


def seconds(page) -> str:
    return page.locator("#status .done").inner_text()


def changed(page, before: str) -> None:
    page.wait_for_function("before => document.querySelector('#result img')?.src !== before", arg=before)


def steady(locator) -> dict[str, float]:
    """Bounding box of an element once it has been drawn and has kept its place for a third of a second."""
    return locator.evaluate(
        """async (element) => {
          const frame = () => new Promise((next) => setTimeout(next, 30));
          const box = () => { const b = element.getBoundingClientRect(); return [b.x, b.y, b.width, b.height]; };
          let last = box();
          for (let same = 0; same < 10; ) {
            await frame();
            const now = box();
            same = element.complete !== false && now[2] > 0 && String(now) === String(last) ? same + 1 : 0;
            last = now;
          }
          const [x, y, width, height] = last;
          return {x, y, width, height};
        }"""
    )
