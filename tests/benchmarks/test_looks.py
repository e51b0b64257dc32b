"""The script that looks more than once: where a look lies, what comes back, and the arithmetic of the comparison."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import looks

ROWS, COLUMNS = np.mgrid[:48, :64].astype(np.float32)


@given(y=st.floats(18, 30), x=st.floats(24, 40), size=st.floats(0.2, 0.7))
def test_what_a_look_sees_comes_back_to_its_place(y: float, x: float, size: float) -> None:
    frame = (y, x, size)
    for plane in (ROWS, COLUMNS):  # bilinear sampling keeps a plane exact
        back = looks.put_back(looks.seen(plane, frame), frame)
        inside = (abs(ROWS - y) < size * 47 / 2 - 1) & (abs(COLUMNS - x) < size * 63 / 2 - 1)
        np.testing.assert_allclose(back[inside], plane[inside], atol=0.1)  # OpenCV interpolates in 32nds of a pixel
        outside = (abs(ROWS - y) > size * 47 / 2 + 1) | (abs(COLUMNS - x) > size * 63 / 2 + 1)
        assert (back[outside] < 0).all()


def test_the_frame_around_an_outline_has_the_photos_proportions() -> None:
    mask = np.zeros((48, 64), bool)
    mask[10:22, 20:28] = True  # 12 of 48 rows, 8 of 64 columns: the rows decide
    assert looks.around(mask, 0.25) == pytest.approx((15.5, 23.5, 12 / 48 * 1.5))
    assert looks.around(np.zeros((48, 64), bool), 0.25) is None


def test_a_mean_takes_only_who_saw_the_pixel() -> None:
    first, second = np.array([[0.2, 0.4]]), np.array([[0.6, -1.0]])
    np.testing.assert_allclose(looks.mean([first, second]), [[0.4, 0.4]])


def test_looks_are_upright_again_and_nothing_found_is_no_frame() -> None:
    image = np.zeros((48, 64, 3), np.uint8)
    image[12:30, 4:24] = 255
    found = looks.looks(image, lambda seen: seen[..., 0].astype(np.float32) / 255)
    assert found.keys() == {"upright", "mirrored", "alone 0.25", "alone 0.6", "farther"}
    truth = image[..., 0] > 0
    for name, probability in found.items():
        assert looks.iou(np.where(probability < 0, found["upright"], probability), truth) > 0.8, name
    np.testing.assert_array_equal(found["mirrored"], found["upright"])
    nothing = looks.looks(image, lambda seen: np.zeros(seen.shape[:2], np.float32))
    assert nothing.keys() == {"upright", "mirrored", "farther"}


def test_differences_are_paired_and_the_table_shows_them() -> None:
    scores = [{"upright": 0.8, "other": 0.9}, {"upright": 0.6, "other": 0.6}]
    found = looks.compared(scores)
    assert found["upright"] == {"iou": pytest.approx(0.7), "difference": 0.0, "se": 0.0}
    assert found["other"]["difference"] == pytest.approx(0.05)
    assert found["other"]["se"] == pytest.approx(0.05)
    text = looks.table([{"weights": "w", "sets": {"a": {"n": 2, "ways": found}}}])
    assert "| other | 75.00 (+5.00 ± 5.00) |" in text
    assert "| upright | 70.00 |" in text
