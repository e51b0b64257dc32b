"""From a probability map to all the records: outline, measure, put intervals and validity beside each number."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Any

import numpy as np

from dermomamba.errors import ImageError, ScaleError
from dermomamba.measure import certainty, intervals
from dermomamba.measure.asymmetry import folds
from dermomamba.measure.border import (
    BOX_LEAST_DIAMETER,
    bays,
    border_values,
    box_dimension,
    ellipse_axes,
    fine_detail,
)
from dermomamba.measure.catalogue import CATALOGUE, factor_of, unit_of
from dermomamba.measure.colour import PALETTE_SHARE, Scene, colour_values, look, palette
from dermomamba.measure.edge import edges
from dermomamba.measure.lesion import HEADLINE_SCALE, Lesion, lesion_of
from dermomamba.measure.quality import outline_states, photo_states
from dermomamba.measure.records import Measurement, Measurements, State
from dermomamba.measure.size import hull_points, longest_diameter, size_values, width_across
from dermomamba.postprocess import clean_mask

POOR_ICC = 0.5  # poor reliability: Koo, Li 2016, J Chiropr Med 15:155-163, doi 10.1016/j.jcm.2016.02.012
NOT_SHOWN = "The photo does not show enough to measure this."
NEEDS_PHOTO = "Colours and edges are measured on the photo, and none was given."


@lru_cache(maxsize=1)
def reliability() -> dict[str, Any]:
    """The shipped result of the stability study (``reliability.json``)."""
    return json.loads(files(__package__).joinpath("reliability.json").read_text(encoding="utf-8"))


def agreement_note(name: str, shipped: Mapping[str, Any]) -> str:
    """A sentence where a measure of the predicted outline hardly agrees with that of the expert's, else empty.

    Args:
        name: of the measure.
        shipped: ``reliability.json``; ``agreement`` holds ICC(2,1) and photos of each measure.
    """
    found = shipped.get("agreement", {}).get("measures", {}).get(name)
    if not found or found["icc"] >= POOR_ICC:
        return ""
    return f"Agrees poorly with experts' outlines (ICC {found['icc']:.2f} on {found['n']} photos)."


def measure(
    probability: np.ndarray,
    mm_per_pixel: float | None = None,
    image: np.ndarray | None = None,
    threshold: float = 0.5,
    largest: bool = True,
    fill_holes: bool = True,
    variants: Sequence[np.ndarray] = (),
    weights_sha256: str = "",
) -> Measurements:
    """Measure the lesion that a probability map shows.

    Args:
        probability: (H, W) float in [0, 1] at the photo's own size (a bool mask is taken as 0 and 1).
        mm_per_pixel: scale of the photo; lengths are in px and areas in px² without it.
        image: (H, W, 3) uint8 RGB, the photo, for colours, edge sharpness and picture quality.
        threshold: a pixel belongs to the lesion at this probability or above, in (0, 1).
        largest: measure only the largest region.
        fill_holes: count holes as lesion.
        variants: further probability maps of the same photo, (H, W) each, that widen the intervals.
        weights_sha256: of the weights behind the map, as ``Segmentation.weights_sha256``: intervals are calibrated for
            each set of shipped weights; "" for the default's.

    Returns:
        The records by name, see :data:`~dermomamba.measure.catalogue.CATALOGUE`; what cannot be measured is
        there too, marked with the reason.

    Raises:
        ImageError: the arrays do not fit each other or hold no probabilities.
        ScaleError: the scale is not a positive number.
    """
    probability = _checked(probability)
    variants = [_checked(variant) for variant in variants]
    if any(variant.shape != probability.shape for variant in variants):
        raise ImageError("The variants of the probability map differ in size from the map; give them at the same size.")
    if image is not None and (image.ndim != 3 or image.shape[:2] != probability.shape or image.shape[2] != 3):
        raise ImageError(
            "The photo and the probability map differ in size; give the map at the size of the photo, in RGB."
        )
    if mm_per_pixel is not None and not (np.isfinite(mm_per_pixel) and mm_per_pixel > 0):
        raise ScaleError("The scale must be a positive number of millimetres per pixel, for example 0.02.")
    if not 0 < threshold < 1:
        raise ImageError("The threshold must lie between 0 and 1, for example 0.5.")

    cleaned = clean_mask(probability, threshold, largest, fill_holes)
    states = outline_states(cleaned.mask, cleaned.components, cleaned.dropped_px, largest)
    lesion = lesion_of(probability, cleaned.mask, threshold)
    values: dict[str, float] = {}
    spans: dict[str, tuple[float, float]] = {}
    found: list[Mapping[str, float]] = []
    drawings: dict[str, np.ndarray] = {}
    sectors: tuple[tuple[float, float], ...] = ()
    shares: dict[str, float] = {}
    invalid: dict[str, str] = {}
    blocked = frozenset().union(*(state.families for state in states)) if states else frozenset()
    settings = intervals.calibration(weights_sha256)
    agreed = settings.get(certainty.FITTED)
    if lesion is not None:
        bordered = not any(state.code == "too_small" for state in states)

        def values_of(one: Lesion) -> dict[str, float]:
            return repeatable_values(one, probability.size, bordered)

        values = values_of(lesion)
        if "area" not in blocked:
            found = intervals.sweep(probability, cleaned.mask, threshold, fill_holes, values_of, settings, variants)
        if bordered:
            values |= _shape_values(lesion, drawings, invalid)
        if certainty.says_nothing(probability):
            invalid[certainty.NAME] = certainty.NO_PROBABILITIES
        values[certainty.NAME] = certainty.estimate(certainty.expected_dice(probability, cleaned.mask), agreed)
        if span := certainty.span(values[certainty.NAME], agreed):
            spans[certainty.NAME] = span
        if certainty.doubtful(values[certainty.NAME], agreed):
            states.insert(0, certainty.CHECK)
        drawings |= _size_drawings(lesion)
        if image is not None:
            scene = look(image, cleaned.mask)
            seen, sectors, shares = _photo_values(scene, lesion, image.shape[1], bordered, invalid)
            values |= seen
            states += photo_states(scene, image, seen.get("colour_difference"))
    return Measurements(
        records={
            name: _record(name, values, found, spans, states, invalid, mm_per_pixel, image is not None, settings)
            for name in CATALOGUE
        },
        mm_per_pixel=mm_per_pixel,
        warnings=tuple(state.message for state in states),
        states=tuple(states),
        outline=np.zeros((0, 2)) if lesion is None else lesion.contour.points,
        drawings=drawings,
        sectors=sectors,
        palette=shares,
        threshold=threshold,
    )


def repeatable_values(lesion: Lesion, photo_px: int, bordered: bool = True) -> dict[str, float]:
    """The measures that are repeated on other outlines for an interval: size, and border where it is large enough."""
    values = size_values(lesion, photo_px)
    return values | border_values(lesion) if bordered else values


def _checked(probability: np.ndarray) -> np.ndarray:
    array = np.asarray(probability)
    if array.ndim != 2 or array.size == 0:
        raise ImageError("The probability map must be a picture of one channel, height by width.")
    array = array.astype(np.float32, copy=False)
    if not (array.min() >= 0 and array.max() <= 1):  # also false for NaN
        raise ImageError("The probability map must hold numbers from 0 to 1.")
    return array


def _shape_values(lesion: Lesion, drawings: dict[str, np.ndarray], invalid: dict[str, str]) -> dict[str, float]:
    """Measures that are taken once (no interval), their drawings, and reasons why some are not valid."""
    headline = lesion.smoothed(HEADLINE_SCALE)
    found = bays(headline)
    folded = folds(lesion.contour)
    drawings["smoothed_outline"] = headline.points
    drawings["indentations"], drawings["protrusions"] = found.indentations, found.protrusions
    drawings["axis_major"], drawings["axis_minor"] = folded.axis_major, folded.axis_minor
    drawings["folded_major"], drawings["folded_minor"] = folded.folded_major, folded.folded_minor
    values = {
        "indentations": float(len(found.indentations)),
        "protrusions": float(len(found.protrusions)),
        "deepest_indentation": float(found.depths.max(initial=0.0)),
        "asymmetry_major": folded.major,
        "asymmetry_minor": folded.minor,
        "asymmetry_least": folded.least,
    }
    if lesion.contour.diameter >= BOX_LEAST_DIAMETER:
        values["box_dimension"] = box_dimension(lesion.contour)
    else:
        invalid["box_dimension"] = "The lesion is too small in this photo to count boxes over three octaves of size."
    if not fine_detail(lesion):
        invalid["texture_irregularity"] = "The outline has too few pixels to show fine irregularity."
    return values


def _photo_values(
    scene: Scene, lesion: Lesion, width: int, bordered: bool, invalid: dict[str, str]
) -> tuple[dict[str, float], tuple[tuple[float, float], ...], dict[str, float]]:
    """Measures that need the photo: colours, and the edge in eight sectors."""
    values: dict[str, float] = {}
    shares: dict[str, float] = {}
    if scene.ring_enough:
        values = colour_values(scene)
        shares = palette(scene)
        values["palette_colours"] = float(sum(share > PALETTE_SHARE for share in shares.values()))
        if not -90 < values["skin_ita"] < 90:
            invalid["skin_ita"] = "The skin in this photo is bluish, so its typology angle has no meaning."
    found = None
    if bordered:
        zoom = scene.rgb.shape[1] / width
        found = edges(scene.lab[..., 0], lesion.smoothed(HEADLINE_SCALE), zoom)
    if found is not None:
        values["edge_sharpness"], values["abrupt_sectors"] = found.sharpness, float(found.abrupt)
    return values, () if found is None else found.sectors, shares


def _size_drawings(lesion: Lesion) -> dict[str, np.ndarray]:
    hull = hull_points(lesion.contour.points)
    _, ends = longest_diameter(hull)
    _, centre, moments = lesion.contour.moments
    a, b, angle = ellipse_axes(moments)
    turn = np.linspace(0, 2 * np.pi, 180, endpoint=False)
    along = np.array([np.cos(angle), np.sin(angle)])
    across = np.array([-along[1], along[0]])
    return {
        "longest_diameter": ends,
        "width": width_across(hull, ends)[1],
        "hull": hull,
        "ellipse": centre + a * np.cos(turn)[:, None] * along + b * np.sin(turn)[:, None] * across,
    }


def _record(
    name: str,
    values: Mapping[str, float],
    found: Sequence[Mapping[str, float]],
    spans: Mapping[str, tuple[float, float]],
    states: Sequence[State],
    invalid: Mapping[str, str],
    mm_per_pixel: float | None,
    has_photo: bool,
    settings: Mapping[str, Any],
) -> Measurement:
    entry = CATALOGUE[name]
    factor = factor_of(entry.kind, mm_per_pixel)
    doubtful = reliability()["unreliable"].get(name, "")
    error = certainty.error_note(settings.get(certainty.FITTED)) if name == certainty.NAME else ""
    record = Measurement(
        name=name,
        label=entry.label,
        value=values[name] * factor if name in values else None,
        unit=unit_of(entry.kind, mm_per_pixel),
        formula=entry.formula,
        source=entry.source,
        note=" ".join(filter(None, (entry.note, error, agreement_note(name, reliability()), doubtful))),
        reliable=not doubtful,
    )
    for state in states:
        if entry.family in state.families:
            if state.code == "touches_frame" and entry.family == "area":
                return record.invalid(f"{state.message} The value is a lower bound.", keep_value=True)
            return record.invalid(state.message)
    if name in invalid:
        return record.invalid(invalid[name])
    if record.value is None:
        return record.invalid(NEEDS_PHOTO if entry.needs == "photo" and not has_photo else NOT_SHOWN)
    others = [one[name] for one in found if name in one]
    if not others and name not in spans:
        return record
    if name in spans:
        low, high = spans[name]
        label = intervals.calibrated_label(settings["level"], settings[certainty.FITTED]["n"])
    else:
        low, high = intervals.interval(name, values[name], others, settings)
        label = intervals.label(settings, name)
    return Measurement(
        **{
            **record.__dict__,
            "interval": (low * factor, high * factor),
            "interval_label": label,
        }
    )
