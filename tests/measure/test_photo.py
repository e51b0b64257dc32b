"""Colour, edge sharpness and the quality of the photo, on painted and on real photos."""

from __future__ import annotations

import csv
import io
import zipfile

import cv2
import numpy as np
import pytest
from lesion_shapes import grid, soft_disc

from dermomamba.measure import measure
from dermomamba.measure.colour import (
    PALETTE,
    colour_values,
    hair,
    look,
    palette,
    shades_of_grey,
    to_lab,
    typology_angle,
)
from dermomamba.measure.contour import outlines
from dermomamba.measure.edge import edges

SKIN, BROWN = (224, 178, 150), (120, 72, 48)


def painted(lesion=BROWN, skin=SKIN, fade: float = 1.5, size=(240, 320), radius: float = 60):
    """A disc of one colour on another, with a little grain, and its probability map."""
    probability = soft_disc(radius, size, (160, 120))
    blend = soft_disc(radius, size, (160, 120), edge=fade)[..., None]
    image = blend * np.array(lesion, float) + (1 - blend) * np.array(skin, float)
    x, y = grid(*size)
    image *= 1 - 0.12 * (np.hypot(x - 160, y - 120) / 200)[..., None] ** 2  # the light falls off a little
    image += np.random.default_rng(0).normal(0, 3, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8), probability


def lab_of(colour) -> np.ndarray:
    return to_lab(np.array([[colour]], np.uint8))[0, 0]


def test_colour_difference_and_skin_angle_are_those_of_the_paints():
    image, probability = painted()
    records = measure(probability, image=image)
    skin, lesion = lab_of(SKIN), lab_of(BROWN)
    assert records["colour_difference"].value == pytest.approx(np.linalg.norm(skin - lesion), abs=2.5)
    assert records["skin_ita"].value == pytest.approx(np.degrees(np.arctan((skin[0] - 50) / skin[2])), abs=3)
    assert records["colour_spread"].value < 6
    assert records.warnings == ()


def test_typology_angle_by_hand():
    assert typology_angle(70, 20) == pytest.approx(45)
    assert typology_angle(50, 15) == pytest.approx(0)
    assert typology_angle(30, 20) == pytest.approx(-45)


def test_palette_shares_add_up_and_find_two_paints():
    image, probability = painted()
    image[:, 160:][probability[:, 160:] > 0.9] = (41, 31, 30)
    shares = palette(look(image, probability >= 0.5))
    assert sum(shares.values()) == pytest.approx(1)
    assert set(shares) == set(PALETTE)
    assert shares["black"] == pytest.approx(0.5, abs=0.1)
    assert measure(probability, image=image)["palette_colours"].value >= 2


def test_white_counts_only_where_it_is_lighter_than_the_skin():
    image, probability = painted(lesion=(200, 190, 215), skin=(150, 100, 80))
    assert palette(look(image, probability >= 0.5))["white"] > 0.5
    image, probability = painted(lesion=(200, 190, 215), skin=(250, 245, 240))
    assert palette(look(image, probability >= 0.5))["white"] < 0.1


def test_colour_constancy_takes_a_tint_away():
    image, _ = painted()
    tinted = np.clip(image * np.array([1.0, 0.85, 0.7]), 0, 255).astype(np.uint8)
    use = np.ones(image.shape[:2], bool)
    same = np.abs(shades_of_grey(image, use).astype(float) / image.mean() - shades_of_grey(tinted, use) / tinted.mean())
    assert same.mean() < 0.05


def test_hair_and_dark_corners_are_left_out_of_the_colours():
    image, probability = painted()
    clean = colour_values(look(image, probability >= 0.5))
    for x in range(10, 320, 40):
        cv2.line(image, (x, 0), (x - 30, 239), (20, 15, 12), 2)
    x, y = grid(240, 320)
    image[np.hypot(x - 160, y - 120) > 165] = 0
    scene = look(image, probability >= 0.5)
    assert hair(image).mean() > 0.02
    assert scene.frame[0, 0]
    assert not (scene.ring & scene.frame).any()
    assert colour_values(scene)["colour_difference"] == pytest.approx(clean["colour_difference"], abs=1.5)


def test_a_sharp_edge_has_eight_abrupt_sectors_and_a_fading_one_none():
    image, probability = painted(fade=0.5)
    sharp = measure(probability, image=image)
    assert sharp["abrupt_sectors"].value == 8
    assert sharp["edge_sharpness"].value > 0.9
    assert len(sharp.sectors) == 8
    image, probability = painted(fade=14.0)
    faded = measure(probability, image=image)
    assert faded["abrupt_sectors"].value == 0
    assert faded["edge_sharpness"].value < 0.45


def test_edges_know_which_sector_is_which():
    """Sharp on the right (0°), fading on the left (180°)."""
    _, probability = painted()
    x, y = grid(240, 320)
    width = np.where(x > 160, 0.5, 14.0)
    lightness = (80 - 40 / (1 + np.exp((np.hypot(x - 160, y - 120) - 60) / width))).astype(np.float32)
    found = edges(lightness, outlines(probability)[0], 1.0)
    sharpness = dict(found.sectors)
    assert min(sharpness[0], sharpness[315]) > 0.9 > 0.5 > max(sharpness[135], sharpness[180])
    np.testing.assert_allclose(found.steps[[0, 7]], 40, atol=2)


def test_edges_outside_the_photo_are_not_guessed():
    contour = outlines(soft_disc(60, (140, 140), (70, 70)))[0]
    assert edges(np.full((140, 140), 50, np.float32), contour, 1.0) is not None
    crop = outlines(soft_disc(100, (120, 120), (60, 60)))
    assert edges(np.full((120, 120), 50, np.float32), crop[0], 1.0) is None


def test_low_contrast_says_so_and_keeps_the_area():
    image, probability = painted(lesion=(223, 177, 150))
    records = measure(probability, image=image)
    assert any("differs too little in colour" in warning for warning in records.warnings)
    assert not records["border_irregularity"].valid
    assert records["area"].valid


def test_a_blurred_photo_says_so():
    image, probability = painted()
    records = measure(probability, image=cv2.GaussianBlur(image, (0, 0), 8))
    assert any("too blurred" in warning for warning in records.warnings)
    assert not records["edge_sharpness"].valid
    assert records["area"].valid


def test_what_is_no_photo_of_skin_is_not_measured():
    probability = soft_disc(60, (240, 320), (160, 120))
    drawing = np.full((240, 320, 3), 255, np.uint8)
    cv2.circle(drawing, (160, 120), 60, (0, 0, 0), 2)
    sky = np.clip(np.random.default_rng(0).normal((90, 150, 220), 6, (240, 320, 3)), 0, 255).astype(np.uint8)
    for image in (drawing, sky):
        records = measure(probability, image=image)
        assert any("not look like a dermoscopic photo" in warning for warning in records.warnings)
        assert not any(record.valid for record in records.values())


def test_a_grey_photo_has_no_colour_to_measure():
    image, probability = painted()
    grey = np.repeat(image.mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2)
    records = measure(probability, image=grey)
    assert not records["palette_colours"].valid
    assert records["colour_difference"].reason == "The photo has no colour, so colours are not measured."
    assert records["border_irregularity"].valid


def test_a_lesion_that_fills_the_photo_has_no_skin_round_it():
    image, _ = painted()
    records = measure(np.ones(image.shape[:2]), image=image)
    assert not records["skin_ita"].valid


def test_without_a_photo_colours_ask_for_it():
    record = measure(soft_disc(60))["colour_difference"]
    assert not record.valid
    assert "none was given" in record.reason


@pytest.mark.parametrize("name", ["ph2_half", "ham10000_1of3"])
def test_few_real_dermoscopic_photos_are_refused(shared, name):
    path = shared / "data" / f"{name}.zip"
    if not path.is_file():
        pytest.skip(f"needs {path}")
    refused = found = 0
    with zipfile.ZipFile(path) as archive:
        rows = list(csv.DictReader(io.StringIO(archive.read("index.csv").decode())))
        for row in rows[:: len(rows) // 10]:
            image = cv2.imdecode(np.frombuffer(archive.read(row["image"]), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
            mask = cv2.imdecode(np.frombuffer(archive.read(row["mask"]), np.uint8), cv2.IMREAD_GRAYSCALE) > 127
            records = measure(mask, image=np.ascontiguousarray(image))
            found += 1
            refused += bool({state.code for state in records.states} & {"not_dermoscopic", "blurred"})
    assert found >= 10
    assert refused == 0
