"""What a session holds between two events: one photo, what the network said of it, and what was measured.

Immutable: every control makes a new `Visit` from the old one. Only `analyse` runs the network. The segmentation is
kept at the network's size (about 0.5 MB) and enlarged again when needed, so a session costs little more than its photo.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dermomamba.export import Record
from dermomamba.measure import Measurements, measure
from dermomamba.measure.scale import by_number

if TYPE_CHECKING:
    from dermomamba.predictor import Segmentation

STATE_SECONDS = 1800


@dataclass(frozen=True)
class Settings:
    """Threshold, the two clean-up switches, and averaging over mirrored copies (which runs the network)."""

    threshold: float = 0.5
    largest: bool = True
    fill_holes: bool = True
    tta: bool = False


@dataclass(frozen=True, eq=False)  # compared by identity: Gradio hashes what a session holds
class Visit:
    """One analysed photo.

    Attributes:
        photo: (H, W, 3) uint8 RGB.
        segmentation: at the network's size inside.
        measurements: of it.
        mm_per_pixel: the scale in use, None for px.
        scale_source: key of `text.SCALE_SOURCES`, "" without a scale.
        example: index of the drawn example, None for a photo.
        seconds: time that the network took.
    """

    photo: np.ndarray = field(repr=False)
    segmentation: Segmentation = field(repr=False)
    measurements: Measurements = field(repr=False)
    mm_per_pixel: float | None = None
    scale_source: str = ""
    example: int | None = None

    @property
    def seconds(self) -> float:
        """Time of all steps of the prediction, s."""
        return float(sum(self.segmentation.seconds.values()))

    def record(self, case: str = "image-1") -> Record:
        """The same for writing files."""
        return Record(self.photo, replace(self.segmentation), self.measurements, self.scale_source, case)


def checked_scale(mm_per_pixel: str | float | None) -> float | None:
    """A usable scale, or None when the box is empty; a decimal comma is as good as a point.

    Raises:
        ScaleError: no number, or none that fits a dermoscopic photo.
    """
    if isinstance(mm_per_pixel, str):
        mm_per_pixel = mm_per_pixel.strip().replace(",", ".")
    return None if mm_per_pixel in (None, "") else by_number(mm_per_pixel)  # type: ignore[arg-type]


def _measured(photo: np.ndarray, segmentation: Segmentation, mm_per_pixel: float | None) -> Measurements:
    return measure(
        segmentation.probability,
        mm_per_pixel=mm_per_pixel,
        image=photo,
        threshold=segmentation.threshold,
        largest=segmentation.largest,
        fill_holes=segmentation.fill_holes,
        weights_sha256=segmentation.weights_sha256,
    )


def analyse(
    photo: np.ndarray,
    predictor: Any,
    settings: Settings,
    mm_per_pixel: str | float | None = None,
    scale_source: str = "",
    example: int | None = None,
) -> Visit:
    """Run the network once and measure.

    Args:
        photo: (H, W, 3) uint8 RGB.
        predictor: a `Predictor`.
        settings: threshold, switches, averaging.
        mm_per_pixel: scale, None for px.
        scale_source: where it comes from.
        example: index of the drawn example, if it is one.

    Returns:
        The new visit.

    Raises:
        DermoMambaError: a sentence for the person.
    """
    scale = checked_scale(mm_per_pixel)
    segmentation = predictor(
        photo,
        tta=settings.tta,
        threshold=settings.threshold,
        largest=settings.largest,
        fill_holes=settings.fill_holes,
    )
    measurements = _measured(photo, segmentation, scale)
    return Visit(photo, replace(segmentation), measurements, scale, scale_source if scale else "", example)


def recut(visit: Visit, settings: Settings) -> Visit:
    """The same prediction with another threshold or switches, measured again; the network does not run."""
    cut = visit.segmentation.rethreshold(settings.threshold, settings.largest, settings.fill_holes)
    return replace(visit, segmentation=replace(cut), measurements=_measured(visit.photo, cut, visit.mm_per_pixel))


def rescale(visit: Visit, mm_per_pixel: str | float | None, source: str) -> Visit:
    """The same outline measured with another scale; the network does not run.

    Raises:
        ScaleError: not a usable scale.
    """
    scale = checked_scale(mm_per_pixel)
    cut = replace(visit.segmentation)
    return replace(
        visit,
        measurements=_measured(visit.photo, cut, scale),
        mm_per_pixel=scale,
        scale_source=source if scale else "",
    )
