"""Files to take away: read back with other libraries than those that wrote them."""

from __future__ import annotations

import csv
import io
import json
import re
import struct
import sys
import zipfile
import zlib
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent / "ui"))

from fake_predictor import FakePredictor

from dermomamba import export
from dermomamba.export_pdf import interval_note, latin
from dermomamba.export_table import SPANNED
from dermomamba.measure import measure
from dermomamba.measure.catalogue import CATALOGUE
from dermomamba.phantom import PhantomSpec, phantom

FORBIDDEN = ("benign", "malignant", "melanoma", "risk", "diagnosis", "ai-powered")


def make(mm: float | None = 0.05, **spec: object) -> export.Record:
    drawn = phantom(PhantomSpec(size=(240, 320), seed=5, diameter=0.5, pigment=1.1, **spec))
    segmentation = FakePredictor()(drawn.image)
    measured = measure(segmentation.probability, mm_per_pixel=mm, image=drawn.image)
    return export.Record(drawn.image, segmentation, measured, "entered" if mm else "")


@pytest.fixture(scope="module")
def record() -> export.Record:
    return make()


def chunks(content: bytes) -> list[str]:
    names, place = [], 8
    while place < len(content):
        (length,) = struct.unpack(">I", content[place : place + 4])
        names.append(content[place + 4 : place + 8].decode())
        place += 12 + length
    return names


def test_mask_has_two_grey_levels_the_photos_size_and_no_metadata(record: export.Record) -> None:
    content = export.mask_png(record)
    picture = Image.open(io.BytesIO(content))
    assert picture.mode == "L"
    assert picture.size == (320, 240)
    assert set(np.unique(np.asarray(picture))) == {0, 255}
    assert (np.asarray(picture) == record.segmentation.mask * 255).all()
    assert set(chunks(content)) == {"IHDR", "IDAT", "IEND"}


def test_overlay_is_the_photo_away_from_the_outline(record: export.Record) -> None:
    content = export.overlay_png(record)
    pixels = np.asarray(Image.open(io.BytesIO(content)))
    assert (pixels[:10] == record.photo[:10]).all()
    assert (pixels != record.photo).any()
    assert set(chunks(content)) == {"IHDR", "IDAT", "IEND"}


def test_geojson_ring_is_closed_and_has_the_measured_area(record: export.Record) -> None:
    feature = json.loads(export.geojson(record))
    assert feature["properties"]["notice"] == export.NOT_A_DEVICE
    assert feature["geometry"]["type"] == "Polygon"
    (ring,) = (np.array(r) for r in feature["geometry"]["coordinates"])
    assert (ring[0] == ring[-1]).all()
    x, y = ring.T
    area = 0.5 * np.sum(x[:-1] * y[1:] - x[1:] * y[:-1])
    assert area == pytest.approx(export.row(record)["area_px"], rel=1e-3)


def test_geojson_keeps_holes_and_several_regions(record: export.Record) -> None:
    rows, columns = np.mgrid[:240, :320]
    ring = np.hypot(columns - 100, rows - 120)
    probability = ((ring < 60) & (ring > 25)) | (np.hypot(columns - 250, rows - 120) < 30)
    segmentation = export_segmentation(record, probability.astype(np.float32))
    measured = measure(segmentation.probability, largest=False, fill_holes=False)
    feature = json.loads(export.geojson(export.Record(record.photo, segmentation, measured)))
    assert feature["geometry"]["type"] == "MultiPolygon"
    assert sorted(len(polygon) for polygon in feature["geometry"]["coordinates"]) == [1, 2]


def export_segmentation(record: export.Record, probability: np.ndarray):
    from dataclasses import replace

    return replace(
        record.segmentation, network_probability=probability, size=probability.shape, largest=False, fill_holes=False
    )


def test_geojson_of_nothing_has_no_geometry(record: export.Record) -> None:
    nothing = export_segmentation(record, np.zeros((240, 320), np.float32))
    empty = export.Record(record.photo, nothing, measure(nothing.probability))
    assert json.loads(export.geojson(empty))["geometry"] is None
    for _, make_file in export.KINDS.values():
        assert make_file(empty)
    cells = export.row(empty)
    assert cells["area_px"] is None or cells["area_px"] == 0
    assert cells["feret_max_px"] is None


def test_svg_is_well_formed_and_carries_the_sentence(record: export.Record) -> None:
    root = ElementTree.fromstring(export.svg(record))
    space = "{http://www.w3.org/2000/svg}"
    assert root.get("viewBox") == "0 0 320 240"
    assert root.findtext(f"{space}desc") == export.NOT_A_DEVICE
    assert len(root.findall(f"{space}path")) == 1


def test_json_has_units_and_the_csv_row(record: export.Record) -> None:
    content = json.loads(export.as_json(record))
    assert content["notice"] == export.NOT_A_DEVICE
    assert content["scale"] == {"mm_per_px": 0.05, "source": "entered"}
    area = content["measurements"]["area"]
    assert area["unit"] == "mm²"
    assert content["csv_row"]["area_mm2"] == pytest.approx(area["value"], rel=1e-5)
    assert content["csv_row"]["area_px"] == pytest.approx(area["value"] / 0.05**2, rel=1e-5)
    assert content["maps"]["cbam5"]["rows"] == 12


def test_csv_reads_back_with_bom_units_and_blanks(record: export.Record) -> None:
    content = export.csv_row(record)
    assert content.startswith(b"\xef\xbb\xbf")
    (cells,) = csv.DictReader(io.StringIO(content.decode("utf-8-sig")))
    assert list(cells)[: len(export.COLUMNS)] == list(export.COLUMNS)
    assert float(cells["perimeter_mm"]) == pytest.approx(float(cells["perimeter_px"]) * 0.05, rel=1e-4)
    assert cells["notice"] == export.NOT_A_DEVICE
    assert float(cells["lesion_fraction"]) == pytest.approx(float(cells["area_px"]) / (240 * 320), rel=1e-4)


def test_without_a_scale_px_stay_the_same_and_mm_are_blank(record: export.Record) -> None:
    plain, scaled = export.row(make(mm=None)), export.row(record)
    for column in ("area_px", "perimeter_px", "feret_max_px", "compactness_p2_over_4pi_a", "width_px"):
        assert plain[column] == pytest.approx(scaled[column], rel=1e-5), column
    (cells,) = csv.DictReader(io.StringIO(export.csv_table([plain]).decode("utf-8-sig")))
    assert cells["area_mm2"] == cells["perimeter_mm"] == cells["mm_per_px"] == cells["scale_source"] == ""


@pytest.mark.parametrize("mm", [None, 0.05])
def test_csv_has_both_ends_of_every_interval_in_the_values_unit(mm: float | None) -> None:
    made = make(mm)
    cells = export.row(made)
    lows = [
        column.removesuffix("_low") for column, cell in cells.items() if column.endswith("_low") and cell is not None
    ]
    for column in lows:
        assert cells[f"{column}_low"] <= cells[column] <= cells[f"{column}_high"], column
    given = [m for m in made.measurements.values() if m.valid and m.interval is not None]
    lengths = [m for m in given if m.unit[:2] in ("mm", "px")]
    assert len(given) > 3
    assert len(lows) == len(given) + (len(lengths) if mm else 0)  # in px, and in mm when there is a scale
    assert all(m.interval_label in cells["intervals"] for m in given)
    area = made.measurements["area"].interval
    ends = (cells[f"area_{'mm2' if mm else 'px'}_{end}"] for end in ("low", "high"))
    assert tuple(ends) == pytest.approx(area, rel=1e-5)


def test_tables_have_the_same_columns_whatever_was_measured(record: export.Record) -> None:
    nothing = export_segmentation(record, np.zeros((240, 320), np.float32))
    empty = export.Record(record.photo, nothing, measure(nothing.probability))
    assert list(export.row(empty)) == list(export.row(record)) == list(export.row(make(mm=None)))
    spanned = {name for name, m in record.measurements.items() if m.valid and m.interval is not None}
    assert spanned <= set(SPANNED) <= CATALOGUE.keys()
    assert export.csv_table([]).decode("utf-8-sig").startswith("case_id,image_width_px")


@pytest.mark.parametrize("text", ["=1+1", "+A1", "-2", "@SUM(A1)", "\tx"])
def test_csv_never_starts_a_formula(text: str) -> None:
    content = export.csv_table([{"case_id": text, "area_px": -1.5}]).decode("utf-8-sig")
    (cells,) = csv.DictReader(io.StringIO(content))
    assert cells["case_id"] == "'" + text
    assert cells["area_px"] == "-1.5"  # numbers are numbers


def test_csv_of_rows_with_different_measures_keeps_all_columns() -> None:
    table = export.csv_table([{"case_id": "a", "x_px": 1}, {"case_id": "b", "y_px": 2, "notice": "n"}])
    first, second = csv.DictReader(io.StringIO(table.decode("utf-8-sig")))
    assert (first["x_px"], first["y_px"], second["y_px"]) == ("1", "", "2")
    assert list(first)[-1] == "notice"


def test_report_is_one_page_with_the_sentence(record: export.Record) -> None:
    content = export.report(record)
    assert content.startswith(b"%PDF-")
    assert content.count(b"/Type /Page\n") == 1
    streams = re.findall(rb"stream\n(.*?)\nendstream", content, re.DOTALL)
    page = b"".join(zlib.decompress(stream) for stream in streams if stream[:1] == b"x")
    assert page.count(b"It measures, it does not diagnose.") == 2
    assert b"Border irregularity" in page


def test_nothing_of_the_upload_is_in_any_file(record: export.Record, tmp_path: Path) -> None:
    paths = export.write(record, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in paths.values())
    assert paths["mask"].name == "image-1_segmentation.png"
    for kind in ("csv", "json", "geojson", "svg"):
        words = paths[kind].read_text(encoding="utf-8").lower().replace(export.NOT_A_DEVICE.lower(), "")
        assert not [word for word in FORBIDDEN if word in words], kind
    assert Image.open(paths["overlay"]).getexif() == {}


def test_bundle_holds_every_kind(record: export.Record) -> None:
    with zipfile.ZipFile(io.BytesIO(export.bundle(record))) as archive:
        assert archive.testzip() is None
        assert len(archive.namelist()) == len(export.KINDS)


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(export.os, "replace", broken)
    with pytest.raises(OSError, match="disk full"):
        export.write_bytes(tmp_path / "a.csv", b"x")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("value", "unit", "interval", "words"),
    [
        (76190.4, "px²", (71002.2, 80411.0), "76190 [71002, 80411] px²"),
        (0.0123, "fraction", None, "1.23 %"),
        (1.2345, "ratio", (1.2, 1.3), "1.234 [1.200, 1.300]"),
        (0.0321, "mm", None, "0.032 mm"),
        (3.0, "count", None, "3"),
    ],
)
def test_an_amount_is_one_plain_line(value: float, unit: str, interval: tuple[float, float] | None, words: str) -> None:
    assert export.amount(value, unit, interval) == words
    if interval:
        assert export.amount(value, unit, interval, "range, uncalibrated") == f"{words} (uncalibrated range)"


def test_the_reports_note_on_intervals_is_one_line() -> None:
    usual = ["90 % interval, calibrated on 161 photos", "90 % interval, calibrated on 200 photos"]
    note = interval_note(usual, ["range for outlines at 0.25 to 0.75, uncalibrated"])
    assert note == (
        "[ ] 90 % interval, calibrated on 161 to 200 photos. * range for outlines at 0.25 to 0.75, uncalibrated."
    )
    assert interval_note(usual[:1], []) == "[ ] 90 % interval, calibrated on 161 photos."
    assert interval_note([], []) == ""


def test_every_formula_can_be_printed_in_the_report() -> None:
    for entry in CATALOGUE.values():
        assert "?" not in latin(entry.formula + entry.label), entry.formula
