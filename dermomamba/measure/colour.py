"""Colour: the lesion against the ring of skin round it, and an estimate of the six colours of the ABCD rule.

All in CIELAB (CIE 015:2018) from sRGB, on the photo reduced so that a measure costs the same for any camera. Hair
(black-hat, the idea of DullRazor: Lee et al. 1997, doi 10.1016/S0010-4825(97)00020-6) and the dark corners of the
dermoscope are left out. No photo here is colour-calibrated: differences within one photo are sounder than absolute
colours, and the palette is an estimate.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

WORKING_SIDE = 512  # px: the photo's longer side when colours are measured
RING = (0.05, 0.25)  # of the equivalent diameter: where the skin round the lesion is looked at
LEAST_RING_SHARE = 0.05  # of the lesion's area
DARK_CORNER_L = 15.0
PALETTE = {  # sRGB; Kasmi, Mokrani 2016, doi 10.1049/iet-ipr.2015.0385, as re-used in public code
    "white": (197, 188, 217),
    "red": (118, 21, 17),
    "light brown": (163, 82, 16),
    "dark brown": (135, 44, 5),
    "blue-grey": (113, 108, 139),
    "black": (41, 31, 30),
}
PALETTE_SHARE = 0.05
TYPICAL_LIGHT = (1.176, 0.932, 0.892)  # R, G, B of the Minkowski mean (p = 6) over 140 photos of PH2, ISIC and HAM10000


@dataclass(frozen=True)
class Scene:
    """The photo at working size with what belongs to lesion, ring and neither.

    Attributes:
        rgb: (h, w, 3) uint8.
        lab: (h, w, 3) float32 CIELAB, L* in [0, 100].
        lesion: (h, w) bool, without hair.
        ring: (h, w) bool, skin round the lesion, without hair and dark corners.
        frame: (h, w) bool, the dark surround of the dermoscope.
        ring_enough: whether there is enough ring to stand for the skin.
    """

    rgb: np.ndarray
    lab: np.ndarray
    lesion: np.ndarray
    ring: np.ndarray
    frame: np.ndarray
    ring_enough: bool


def to_lab(rgb: np.ndarray) -> np.ndarray:
    """CIELAB (D65) of an (h, w, 3) uint8 sRGB picture, float32."""
    return cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)


def reduce_photo(image: np.ndarray, side: int = WORKING_SIDE) -> np.ndarray:
    """The photo with its longer side at most ``side`` px, by area averaging."""
    zoom = side / max(image.shape[:2])
    if zoom >= 1:
        return np.ascontiguousarray(image)
    size = (max(1, round(image.shape[1] * zoom)), max(1, round(image.shape[0] * zoom)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def dark_frame(lab: np.ndarray) -> np.ndarray:
    """Dark regions that reach the edge of the photo (vignette, black corners), widened a little, (h, w) bool."""
    _, labels = cv2.connectedComponents((lab[..., 0] < DARK_CORNER_L).astype(np.uint8))
    edge = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    frame = np.isin(labels, edge[edge > 0])
    return cv2.dilate(frame.astype(np.uint8), np.ones((7, 7), np.uint8)).astype(bool)


def hair(rgb: np.ndarray) -> np.ndarray:
    """Thin dark lines (black-hat of the grey picture above 10 grey levels), (h, w) bool."""
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9))
    return cv2.morphologyEx(grey, cv2.MORPH_BLACKHAT, kernel) > 10


def look(image: np.ndarray, mask: np.ndarray) -> Scene:
    """Prepare a photo for its colours.

    Args:
        image: (H, W, 3) uint8 RGB.
        mask: (H, W) bool, the lesion, not empty.

    Returns:
        The scene at working size.
    """
    rgb = reduce_photo(image)
    size = (rgb.shape[1], rgb.shape[0])
    inside = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA) >= 0.5
    if not inside.any():  # a lesion smaller than a working pixel
        inside = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0
    lab, frame, lines = to_lab(rgb), dark_frame(to_lab(rgb)), hair(rgb)
    diameter = float(np.sqrt(4 * inside.sum() / np.pi))
    away = cv2.distanceTransform((~inside).astype(np.uint8), cv2.DIST_L2, 5)
    ring = (away > max(RING[0] * diameter, 1.0)) & (away <= max(RING[1] * diameter, 4.0)) & ~frame & ~lines
    lesion = inside & ~lines
    if lesion.sum() < 0.5 * inside.sum():  # texture of the lesion itself was taken for hair
        lesion = inside
    return Scene(rgb, lab, lesion, ring, frame, bool(ring.sum() >= max(LEAST_RING_SHARE * inside.sum(), 20)))


def colour_values(scene: Scene) -> dict[str, float]:
    """Colour measures of a scene that has enough ring.

    Returns:
        ``colour_difference`` and ``colour_spread`` (ΔE*ab), ``skin_ita`` (degrees).
    """
    lesion, skin = scene.lab[scene.lesion], np.median(scene.lab[scene.ring], axis=0)
    away = lesion - lesion.mean(axis=0)
    return {
        "colour_difference": float(np.linalg.norm(np.median(lesion, axis=0) - skin)),
        "skin_ita": typology_angle(float(skin[0]), float(skin[2])),
        "colour_spread": float(np.sqrt((away**2).sum(axis=1).mean())),
    }


def typology_angle(lightness: float, yellow_blue: float) -> float:
    """Individual typology angle, degrees: arctan((L* - 50) / b*), continued through b* = 0 (Chardon et al. 1991)."""
    return float(np.degrees(np.arctan2(lightness - 50, yellow_blue)))


def shades_of_grey(rgb: np.ndarray, use: np.ndarray, power: int = 6) -> np.ndarray:
    """Colour constancy: estimate the light by a Minkowski mean and bring every photo to the same light.

    Finlayson and Trezzi 2004 bring it to grey; a dermoscopic photo is mostly skin, so grey would turn brown into
    blue-grey. The target is therefore the mean light of dermoscopic photos, which leaves a typical one as it is.

    Args:
        rgb: (h, w, 3) uint8.
        use: (h, w) bool, pixels that the illuminant is estimated from.
        power: p of the Minkowski norm.

    Returns:
        (h, w, 3) uint8 of the same mean level.
    """
    pixels = rgb[use].astype(np.float64) / 255
    light = np.mean(pixels**power, axis=0) ** (1 / power)
    gain = np.array(TYPICAL_LIGHT) * light.mean() / np.maximum(light, 1e-6)
    return np.clip(np.rint(rgb * gain), 0, 255).astype(np.uint8)


def palette(scene: Scene) -> dict[str, float]:
    """Share of the lesion nearest to each of the six ABCD colours after colour constancy; an estimate.

    White counts only where the lesion is lighter than the skin round it (Stolz).

    Returns:
        Name of the colour -> share in [0, 1]; the shares add up to 1.
    """
    lab = to_lab(shades_of_grey(scene.rgb, ~scene.frame))
    references = to_lab(np.array([list(PALETTE.values())], dtype=np.uint8))[0]
    pixels = lab[scene.lesion]
    distance = np.linalg.norm(pixels[:, None] - references[None], axis=2)  # (pixel, colour)
    skin = np.median(lab[scene.ring][:, 0]) if scene.ring.any() else 100.0
    distance[pixels[:, 0] <= skin, list(PALETTE).index("white")] = np.inf
    share = np.bincount(np.argmin(distance, axis=1), minlength=len(PALETTE)) / len(pixels)
    return dict(zip(PALETTE, share.tolist(), strict=True))
