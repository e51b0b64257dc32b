"""The outline's certainty: expected Dice in closed form, its line, its interval and the sentence that asks to look."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lesion_shapes import hard_disc, soft_disc

from dermomamba import weights
from dermomamba.measure import assemble, certainty, measure
from dermomamba.measure.certainty import CHECK, NAME, doubtful, estimate, expected_dice, span
from dermomamba.measure.intervals import calibration

FITTED = {
    "slope": 1.5,
    "intercept": -0.5,
    "q_low": -1.0,
    "q_high": 0.5,
    "threshold": 0.85,
    "n": 200,
    "cross_validated": {"n": 200, "mae": 0.0507, "spearman": 0.633},
}


def test_expected_dice_by_hand():
    probability = np.array([[1.0, 0.5, 0.25, 0.0]])
    assert expected_dice(probability, probability >= 0.5) == pytest.approx(2 * 1.5 / (1.75 + 2))
    assert expected_dice(probability, np.zeros((1, 4), bool)) == 0
    certain = hard_disc(20)
    assert expected_dice(certain, certain > 0) == 1


def test_expected_dice_is_the_mean_dice_of_masks_drawn_from_the_map():
    """With many pixels, a mask drawn pixel by pixel from the probabilities has just this Dice."""
    probability = soft_disc(60, edge=9.0)
    mask = probability >= 0.5
    rng = np.random.default_rng(0)
    drawn = [rng.random(probability.shape) < probability for _ in range(20)]
    dice = [2 * np.count_nonzero(one & mask) / (one.sum() + mask.sum()) for one in drawn]
    assert expected_dice(probability, mask) == pytest.approx(np.mean(dice), abs=2e-3)


@given(edge=st.floats(0.5, 12), sharper=st.floats(0.2, 0.9))
@settings(max_examples=15, deadline=None)
def test_a_softer_edge_is_less_certain(edge, sharper):
    soft, sharp = soft_disc(40, (160, 160), (80, 80), edge), soft_disc(40, (160, 160), (80, 80), edge * sharper)
    assert expected_dice(soft, soft >= 0.5) < expected_dice(sharp, sharp >= 0.5) <= 1


def test_line_interval_and_threshold():
    assert estimate(0.9, FITTED) == pytest.approx(0.85)
    assert estimate(0.1, FITTED) == 0
    assert estimate(0.9, None) == 0.9
    assert span(0.9, FITTED) == pytest.approx((0.8, 0.95))
    assert span(0.9, None) is None
    assert doubtful(0.84, FITTED)
    assert not doubtful(0.85, FITTED)
    assert not doubtful(0.1, FITTED | {"threshold": None})
    assert not doubtful(0.1, None)


@pytest.fixture
def fitted(monkeypatch):
    content = calibration() | {"certainty": FITTED}
    monkeypatch.setattr(assemble.intervals, "calibration", lambda sha256="": content)


def test_a_sure_outline_has_an_estimate_and_no_warning(fitted):
    probability = soft_disc(60, edge=1.5)
    record = measure(probability)[NAME]
    assert record.valid
    assert record.value == pytest.approx(1.5 * expected_dice(probability, probability >= 0.5) - 0.5)
    assert record.interval[0] <= record.value <= record.interval[1] <= 1
    assert record.interval_label == "90 % interval, calibrated on 200 photos"
    assert "estimate" in record.note.lower()
    assert record.note.endswith("On 200 validation photos it was off by 0.05 on average (rank correlation 0.63).")
    assert measure(probability).warnings == ()


def test_an_unsure_outline_asks_to_be_checked_first_and_stays_measured(fitted):
    probability = np.clip(0.7 * soft_disc(60, edge=6.0) + 0.05, 0, 1)
    records = measure(probability)
    assert records.warnings[0] == CHECK.message
    assert records.warnings[0].startswith("Check this outline")
    assert records.states[0].code == "check_outline"
    assert records[NAME].value < 0.85
    assert records["area"].valid


def test_a_cut_lesion_still_has_its_certainty_and_nothing_found_has_none(fitted):
    cut = measure(soft_disc(40, (200, 200), (5, 100)))
    assert cut[NAME].valid
    assert not cut["area"].valid
    empty = measure(np.zeros((50, 50)))
    assert not empty[NAME].valid
    assert empty.warnings == ("No lesion was found in this photo.",)


def test_what_is_no_dermoscopic_photo_has_no_certainty(fitted):
    probability = soft_disc(60, edge=1.5)
    blue = np.full((*probability.shape, 3), (20, 40, 220), np.uint8)
    assert "dermoscopic" in measure(probability, image=blue)[NAME].reason


def test_weights_without_a_calibration_get_no_calibrated_interval():
    probability = soft_disc(60, edge=1.5)
    default, other = measure(probability), measure(probability, weights_sha256="of other weights")
    assert "calibrated on" in default["area"].interval_label
    assert "uncalibrated" in other["area"].interval_label
    assert default[NAME].interval is not None
    assert other[NAME].interval is None
    assert other[NAME].value == default[NAME].value


@pytest.mark.parametrize("name", weights.available())
def test_the_shipped_calibration_is_of_validation_photos(name):
    """Area covered within 3 points of 90 %, 80 % of poor outlines caught, on held-out folds too; stated with n."""
    sha256 = weights.load(name).sha256
    shipped = calibration(sha256)
    assert shipped["weights_sha256"] == sha256
    assert (calibration() == shipped) == (name == weights.DEFAULT)
    assert shipped["calibrated"]
    assert 0.87 <= shipped["coverage"] <= 0.93
    assert 0.87 <= shipped["coverage_fitted"] <= 0.93
    figures, held = shipped["certainty"]["fitted"], shipped["certainty"]["cross_validated"]
    assert shipped["n"] <= figures["n"] == shipped["certainty"]["n"]
    assert figures["n"] >= 200
    assert figures["poor_flagged"] >= 0.8 * figures["poor"] > 0
    assert held["poor_flagged"] >= 0.8 * held["poor"] > 0
    assert shipped["certainty"]["slope"] > 0


def test_a_bare_mask_has_no_certainty_and_other_weights_say_so() -> None:
    rows, columns = np.mgrid[:120, :160]
    distance = np.hypot(rows - 60, columns - 80)
    soft = (1 / (1 + np.exp((distance - 40) / 3))).astype(np.float32)
    bare = measure((distance < 40).astype(np.float32))["outline_certainty"]
    assert not bare.valid
    assert bare.value is None
    assert bare.reason == certainty.NO_PROBABILITIES
    shipped, other = (measure(soft, weights_sha256=sha)["outline_certainty"] for sha in ("", "ab" * 32))
    assert shipped.valid
    assert certainty.NOT_FITTED not in shipped.note
    assert other.interval is None
    assert certainty.NOT_FITTED in other.note
