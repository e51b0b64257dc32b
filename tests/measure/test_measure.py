"""measure(): what is said when nothing, too little or too much is there; intervals; invariance; JSON."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from lesion_shapes import drawn, grid, hard_disc, rose, soft_disc, turned

from dermomamba import errors
from dermomamba.measure import Measurement, Measurements, intervals, measure
from dermomamba.measure.catalogue import CATALOGUE
from dermomamba.measure.intervals import calibration, interval, shifted
from dermomamba.measure.quality import touches_frame

NEVER = ("benign", "malignant", "melanoma", "risk", "diagnos", "cancer")


def test_every_measure_is_there_with_its_papers():
    records = measure(soft_disc(80))
    assert isinstance(records, Measurements)
    assert list(records) == list(CATALOGUE)
    for name in ("area", "area_fraction", "perimeter", "border_irregularity", "longest_diameter"):
        assert records[name].valid
        assert records[name].interval is not None
    for name, record in records.items():
        assert isinstance(record, Measurement)
        assert record.name == name
        assert record.label
        assert record.formula
        assert record.source
        assert record.unit
        assert record.valid == (record.reason == "")
        assert (record.value is not None) or not record.valid


def test_no_word_claims_more_than_a_measure():
    said = json.dumps(measure(soft_disc(80)).to_dict()).lower()
    assert not [word for word in NEVER if word in said]


def test_empty_map():
    records = measure(np.zeros((60, 80)))
    assert records.warnings == ("No lesion was found in this photo.",)
    assert all(not record.valid and record.value is None for record in records.values())
    assert records.outline.shape == (0, 2)


@pytest.mark.parametrize("place", [(20, 20), (0, 0), (59, 79)])
def test_one_pixel_is_no_crash_and_no_border(place):
    probability = np.zeros((60, 80))
    probability[place] = 1
    records = measure(probability)
    assert not records["border_irregularity"].valid
    assert not records["asymmetry_least"].valid
    assert records["area"].value > 0
    if place == (20, 20):
        assert "too small" in records["border_irregularity"].reason


@pytest.mark.parametrize("centre", [(10, 100), (190, 100), (100, 5), (100, 195)])
def test_a_lesion_that_touches_the_frame_is_cut_not_measured(centre):
    records = measure(soft_disc(40, (200, 200), centre))
    for name in ("perimeter", "border_irregularity", "longest_diameter", "asymmetry_least", "box_dimension"):
        assert not records[name].valid
        assert records[name].value is None
        assert records[name].reason == "The lesion touches the edge of the photo."
    assert not records["area"].valid
    assert "lower bound" in records["area"].reason
    assert 0 < records["area"].value < np.pi * 40**2
    assert records["area"].interval is None


@pytest.mark.parametrize(("side", "margin"), [(60, 1), (200, 2), (768, 8)])
def test_an_outline_within_one_per_cent_of_the_frame_counts_as_cut(side, margin):
    """A network's outline of a cut lesion stops a little short of the frame; lengths are in px of the shorter side."""
    mask = np.zeros((side, side + 40), bool)
    for gap, cut in ((margin - 1, True), (margin, False)):
        mask[:] = False
        mask[gap : side // 2, 20:-20] = True
        for turned_mask in (mask, mask[::-1], mask.T, mask.T[:, ::-1]):
            assert touches_frame(turned_mask) is cut


def test_a_soft_outline_that_stops_short_of_the_frame_is_not_trusted():
    probability = soft_disc(90, (400, 400), (93, 200))
    assert not (probability[:, 0] >= 0.5).any()
    records = measure(probability)
    assert not records["area"].valid
    assert records["longest_diameter"].value is None
    assert measure(soft_disc(90, (400, 400), (96, 200)))["area"].valid


def test_the_whole_photo_is_lesion():
    records = measure(np.ones((50, 60)))
    assert records["area"].value == pytest.approx(3000, rel=0.01)
    assert not records["area"].valid


def two_discs() -> np.ndarray:
    return np.maximum(soft_disc(40, (200, 300), (80, 100)), soft_disc(15, (200, 300), (230, 100)))


def test_of_two_regions_the_largest_is_measured_and_the_other_reported():
    records = measure(two_discs())
    assert records["area"].value == pytest.approx(np.pi * 1600, rel=0.005)
    assert records["border_irregularity"].value == pytest.approx(1, abs=0.005)
    assert any("2 regions were found" in warning for warning in records.warnings)
    assert records["area"].valid


def test_all_regions_kept_on_request_have_area_and_no_border():
    records = measure(two_discs(), largest=False)
    assert records["area"].value == pytest.approx(np.pi * (1600 + 225), rel=0.005)
    assert records["perimeter"].value is None
    assert "only their area" in records["border_irregularity"].reason


def test_holes_are_filled_or_not_as_asked():
    x, y = grid(200, 200)
    distance = np.hypot(x - 100.2, y - 99.7)
    ring = ((distance <= 60) & (distance > 20)).astype(float)
    assert measure(ring)["area"].value == pytest.approx(np.pi * 3600, rel=0.005)
    assert measure(ring)["border_irregularity"].value == pytest.approx(1, abs=0.005)
    open_ring = measure(ring, fill_holes=False)
    assert open_ring["area"].value == pytest.approx(np.pi * 3200, rel=0.005)
    assert open_ring["border_irregularity"].value == pytest.approx(1, abs=0.005)


def test_interval_of_a_soft_disc_is_the_shift_of_its_edge():
    """A logistic edge of width w moves by w ln((1-t)/t): 0.405 w for t = 0.4 and 0.6."""
    edge, radius = 4.0, 80.0
    records = measure(soft_disc(radius, edge=edge))
    low, high = records["equivalent_diameter"].interval
    assert not calibration()["calibrated"] or "calibrated on" in records["area"].interval_label
    if not calibration()["calibrated"]:
        assert (low, high) == pytest.approx((2 * (radius - 0.405 * edge), 2 * (radius + 0.405 * edge)), abs=0.05)
        assert "uncalibrated" in records["area"].interval_label


@given(
    radius=st.floats(14, 60),
    edge=st.floats(0.3, 8),
    threshold=st.sampled_from([0.2, 0.5, 0.8]),
    noise=st.floats(0, 0.3),
)
@settings(max_examples=15, deadline=None)
def test_every_interval_contains_its_value(radius, edge, threshold, noise):
    clean = soft_disc(radius, (180, 200), edge=edge)
    rough = np.clip(clean + noise * np.random.default_rng(0).standard_normal(clean.shape), 0, 1)
    for record in measure(rough, threshold=threshold).values():
        if record.interval is not None:
            assert record.interval[0] <= record.value <= record.interval[1]


def test_variants_widen_the_interval():
    one = measure(soft_disc(50, (180, 180), (90, 90)))["area"].interval
    variants = [soft_disc(radius, (180, 180), (90, 90)) for radius in (45, 56)]
    wide = measure(soft_disc(50, (180, 180), (90, 90)), variants=variants)["area"].interval
    assert wide[0] < one[0] < one[1] < wide[1]
    if not calibration()["calibrated"]:
        assert wide == pytest.approx((np.pi * 45**2, np.pi * 56**2), rel=0.01)


def test_a_calibrated_interval_follows_its_factors():
    settings_ = {
        "calibrated": True,
        "level": 0.9,
        "n": 200,
        "measures": {"area": {"q_low": -2.0, "q_high": 3.0, "floor": 0.05}},
    }
    spread = np.log(110 / 90) / 2
    low, high = interval("area", 100.0, [90.0, 110.0], settings_)
    assert low == pytest.approx(100 * np.exp(-2 * (spread + 0.05)))
    assert high == pytest.approx(100 * np.exp(3 * (spread + 0.05)))
    assert interval("solidity", 0.99, [0.98, 1.0], settings_ | {"measures": {}})[1] <= 1
    assert intervals.label(settings_, "area") == "90 % interval, calibrated on 200 photos"


def test_a_biased_calibration_still_contains_the_value():
    settings_ = {"calibrated": True, "measures": {"area": {"q_low": 1.0, "q_high": 2.0, "floor": 0.1}}}
    low, high = interval("area", 100.0, [100.0], settings_)
    assert low == 100
    assert high > 100


def test_threshold_shift_is_in_log_odds():
    assert shifted(0.5, 0.4) == pytest.approx(0.4)
    assert shifted(0.5, 0.6) == pytest.approx(0.6)
    assert 0 < shifted(0.05, 0.4) < 0.05 < shifted(0.05, 0.6) < 1


@given(degrees=st.floats(0, 359), scale=st.floats(0.7, 2.0), shift=st.tuples(st.floats(0, 9), st.floats(0, 9)))
@settings(max_examples=8, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
def test_turning_moving_scaling_keep_the_pure_numbers(degrees, scale, shift):
    base = rose(90, 0.2, 3)
    reference, moved = measure(drawn(base)), measure(drawn(turned(base, degrees) * scale, shift=shift))
    for name, tolerance in (
        ("border_irregularity", 0.015),
        ("border_excess", 0.015),
        ("solidity", 0.01),
        ("convexity", 0.01),
        ("structure_irregularity", 0.015),
    ):
        assert moved[name].value == pytest.approx(reference[name].value, rel=tolerance)
    assert moved["longest_diameter"].value == pytest.approx(scale * reference["longest_diameter"].value, abs=2.5)
    assert moved["indentations"].value == reference["indentations"].value == 3


def test_json_round_trip_and_copies():
    records = measure(soft_disc(50), mm_per_pixel=0.02)
    again = json.loads(json.dumps(records.to_dict(), allow_nan=False))
    assert again == records.to_dict()
    assert set(again["area"]) >= {"value", "unit", "interval", "formula", "source", "valid", "reason"}
    assert pickle.dumps(records)
    again = copy.deepcopy(records)  # by the same __reduce__, with nothing unpickled
    assert again is not records
    assert again.to_dict() == records.to_dict()
    json.dumps(measure(np.zeros((9, 9))).to_dict(), allow_nan=False)


@pytest.mark.parametrize("kind", [bool, np.uint8, np.float16, np.float64])
def test_masks_and_floats_of_any_kind(kind):
    assert measure(hard_disc(30).astype(kind))["border_irregularity"].value == pytest.approx(1, abs=0.005)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"probability": np.full((5, 5), np.nan)}, "from 0 to 1"),
        ({"probability": np.full((5, 5), 255)}, "from 0 to 1"),
        ({"probability": np.zeros((5, 5, 1))}, "one channel"),
        ({"probability": np.zeros((0, 5))}, "one channel"),
        ({"probability": np.zeros((5, 5)), "image": np.zeros((6, 5, 3), np.uint8)}, "differ in size"),
        ({"probability": np.zeros((5, 5)), "variants": [np.zeros((6, 5))]}, "differ in size"),
        ({"probability": np.zeros((5, 5)), "threshold": 1.0}, "between 0 and 1"),
    ],
)
def test_what_is_no_probability_map_is_refused_with_a_sentence(arguments, words):
    with pytest.raises(errors.ImageError, match=words):
        measure(**arguments)


def test_a_flat_map_above_the_threshold_has_a_finite_answer():
    records = measure(np.full((40, 40), 0.6))
    assert not records["area"].valid
    assert np.isfinite(records["area"].value)


def test_values_of_exactly_the_threshold_are_lesion():
    probability = np.zeros((60, 60))
    probability[20:45, 20:45] = 0.5
    records = measure(probability)
    assert records["area"].value == pytest.approx(24**2, rel=0.01)  # the edge runs through the outermost pixels
    assert np.isfinite(records["border_irregularity"].value)


def test_measures_do_not_import_the_network():
    code = "import sys, dermomamba.measure; sys.exit('torch' in sys.modules or 'gradio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_pixels_of_the_map_are_left_alone():
    probability = soft_disc(30).astype(np.float32)
    before = probability.copy()
    measure(probability, image=np.full((*probability.shape, 3), 150, np.uint8), variants=[probability])
    np.testing.assert_array_equal(probability, before)
