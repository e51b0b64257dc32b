"""What cannot be measured, and why: states of the outline and of the photo, each a sentence.

A state names the families of measures that it makes invalid. Thresholds are conservative: they were set so that
at most a few in a thousand ordinary dermoscopic photos are refused, counted on 1,300 photos of PH2, ISIC 2018 and
HAM10000 (their extremes stand beside each threshold; see docs/measurements.md).
"""

from __future__ import annotations

import cv2
import numpy as np
from skimage.measure import blur_effect

from dermomamba.measure.colour import Scene, reduce_photo
from dermomamba.measure.records import State

EVERYTHING = frozenset({"area", "size", "border", "texture", "detail", "asymmetry", "edge", "colour"})
SHAPE = frozenset({"border", "texture", "detail", "asymmetry", "edge"})
LEAST_PX = 300  # below a radius of about 10 px every estimate of a border is off by more than 5 %
LEAST_DIFFERENCE = 2.3  # ΔE*ab that is just noticeable (Mahy et al. 1994, Color Res Appl 19:105-121); 0.5 % of photos
MOST_BLUR = 0.86  # blur effect (Crete et al. 2007, doi 10.1117/12.702790) at 256 px; most in the photos: 0.82
MOST_ODD = 0.95  # share of blue, green and violet pixels; most in the photos: 0.88
MOST_FLAT = 0.75  # share of the commonest of 64 grey levels; most in the photos: 0.49
MOST_EDGES = 0.35  # share of Canny edge pixels; most in the photos: 0.29
LEAST_CHROMA = 0.5  # median C*ab; least in the photos: 1.2
BLUR_SIDE = 256
FRAME_MARGIN = 0.01  # of the shorter side: outlines of cut lesions may stop this short of the frame, see the docs

NOTHING = State("nothing_found", "No lesion was found in this photo.", EVERYTHING | {"certainty"})
FRAME = State("touches_frame", "The lesion touches the edge of the photo.", EVERYTHING - {"colour"})
SMALL = State("too_small", "The lesion is too small in this photo for its border to be measured.", SHAPE)


def outline_states(mask: np.ndarray, components: int, dropped_px: int, largest: bool) -> list[State]:
    """States that the kept region itself shows.

    Args:
        mask: (H, W) bool, the kept region(s).
        components: regions at the threshold before any was dropped.
        dropped_px: pixels of the regions that were dropped.
        largest: whether only the largest was kept.

    Returns:
        States, most important first; empty when nothing stands in the way.
    """
    if not mask.any():
        return [NOTHING]
    states = []
    if touches_frame(mask):
        states.append(FRAME)
    if components > 1 and largest:
        others = components - 1
        regions = "1 smaller one" if others == 1 else f"{others} smaller ones"
        states.append(
            State(
                "several_regions",
                f"{components} regions were found; the largest is measured, {regions} ({dropped_px:,} px) left out.",
            )
        )
    elif components > 1:
        states.append(
            State(
                "several_regions",
                f"{components} regions were found and all are kept; only their area and perimeter are measured.",
                SHAPE | {"size"},
            )
        )
    if int(mask.sum()) < LEAST_PX:
        states.append(SMALL)
    return states


def touches_frame(mask: np.ndarray) -> bool:
    """Whether a lesion pixel lies in the outermost 1 % of the photo (of its shorter side, at least one pixel).

    Args:
        mask: (H, W) bool, the kept region(s).
    """
    margin = max(1, round(FRAME_MARGIN * min(mask.shape)))
    return bool(mask[:margin].any() or mask[-margin:].any() or mask[:, :margin].any() or mask[:, -margin:].any())


CONTRAST = State(
    "low_contrast",
    "The lesion differs too little in colour from the skin round it for its border to be trusted.",
    SHAPE,
)
BLURRED = State(
    "blurred", "The photo is too blurred for fine detail of the border.", frozenset({"texture", "detail", "edge"})
)
FOREIGN = State(
    "not_dermoscopic",
    "This does not look like a dermoscopic photo, so nothing is measured on it.",
    EVERYTHING | {"certainty"},
)
COLOURLESS = State("no_colour", "The photo has no colour, so colours are not measured.", frozenset({"colour"}))
NO_SKIN = State(
    "no_skin", "Too little skin is visible round the lesion for colours to be measured.", frozenset({"colour"})
)


def photo_states(scene: Scene, image: np.ndarray, colour_difference: float | None) -> list[State]:
    """States that the photo shows.

    Args:
        scene: the photo at working size.
        image: (H, W, 3) uint8 RGB, the photo.
        colour_difference: ΔE*ab of lesion and skin, None when there is too little skin.

    Returns:
        States, most important first; empty when nothing stands in the way.
    """
    states = []
    grey = cv2.cvtColor(reduce_photo(image, BLUR_SIDE), cv2.COLOR_RGB2GRAY)
    skin = ~scene.frame
    colour = scene.lab[..., 1:][skin]
    chroma = np.hypot(*colour.T) if len(colour) else np.zeros(1)
    if looks_foreign(grey, colour):
        states.append(FOREIGN)
    if colour_difference is not None and colour_difference < LEAST_DIFFERENCE:
        states.append(CONTRAST)
    if min(grey.shape) > 16 and blur_effect(grey, h_size=5) > MOST_BLUR:
        states.append(BLURRED)
    if np.median(chroma) < LEAST_CHROMA:
        states.append(COLOURLESS)
    elif colour_difference is None:
        states.append(NO_SKIN)
    return states


def looks_foreign(grey: np.ndarray, colour: np.ndarray) -> bool:
    """Whether a picture is surely no dermoscopic photo: mostly blue or green, a flat drawing, or full of edges.

    It catches drawings, screenshots, pages and skies; a clinical photo of skin passes, as it should when in doubt.

    Args:
        grey: (h, w) uint8 at a longer side of 256 px.
        colour: (n, 2) a* and b* of the pixels outside the dark frame.
    """
    hue = np.degrees(np.arctan2(colour[:, 1], colour[:, 0]))
    odd = np.mean((np.hypot(*colour.T) > 12) & ((hue < -75) | (hue > 115))) if len(colour) else 0.0
    flat = np.bincount((grey // 4).ravel(), minlength=64).max() / grey.size
    crowded = np.count_nonzero(cv2.Canny(grey, 100, 200)) / grey.size
    return bool(odd > MOST_ODD or flat > MOST_FLAT or crowded > MOST_EDGES)
