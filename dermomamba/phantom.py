"""Synthetic dermoscopic photos whose truth is known: outline, area, perimeter, scale.

A ``PhantomSpec`` says everything about one picture; ``phantom`` draws it, the same every time. The truth comes
from formulas (phantom_shape), never from the drawn pixels. Each layer has its own stream of chance, so that
adding hairs to a spec leaves skin and lesion as they were. The examples are made by phantom_examples.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
from PIL import Image
from scipy.special import erfc

from dermomamba.phantom_layers import bubble_layer, hair_layer, overlay, ruler_layer, vignette_layer
from dermomamba.phantom_shape import Outline
from dermomamba.phantom_texture import BLOOD, BLUE_GREY, MELANIN, WHITE, light, noise, pigment, skin


@dataclass(frozen=True)
class PhantomSpec:
    """One synthetic photo, in words and numbers.

    Attributes:
        size: (H, W) in px.
        seed: same spec and seed, same picture.
        centre: (x, y) of the lesion as a fraction of width and height.
        diameter: diameter of the circle of the lesion's area, as a fraction of the photo's shorter side.
        aspect: long half axis / short half axis of the ellipse under the modes, >= 1.
        angle: turn of the long axis from the x axis towards the y axis, in degrees.
        modes: Fourier modes (k >= 2, amplitude, phase in radians) of the outline.
        edge_px: the border is a step blurred by a Gaussian of this sigma, centred on the outline, in px.
        tone: skin, 0 very light to 1 very dark.
        redness: skin, 0 to 1.
        pigment: mean melanin that the lesion adds (absorbance): 0.25 pale, 1 brown, 2 nearly black.
        variegation: 0 even to 1 patchy.
        network: pigment network, 0 to 1.
        globules: 0 to 1.
        blue: blue-grey part, 0 to 1.
        hairs: number of hairs.
        bubbles: number of air bubbles.
        vignette: dark corners, 0 none to 1 a circle.
        illumination: unevenness of the light, 0 to 1.
        mm_per_pixel: the photo's scale, None when unknown.
        ruler: whether a ruler is printed (needs ``mm_per_pixel``).
        ruler_angle: its direction, in degrees from the x axis towards the y axis.
        ruler_start: (x, y) of its first tick as fractions of width and height; None places it beside the middle.
        ruler_tick_mm: distance of its ticks.
        ruler_length_mm: its length; None fits the photo.
        ruler_baseline: whether the line under the ticks is printed.
        noise: sensor noise, standard deviation in grey levels.
        jpeg_quality: compress and decode once at this quality; None for not at all.
    """

    size: tuple[int, int] = (576, 768)
    seed: int = 0
    centre: tuple[float, float] = (0.5, 0.5)
    diameter: float = 0.45
    aspect: float = 1.15
    angle: float = 20.0
    modes: tuple[tuple[int, float, float], ...] = ((2, 0.04, 0.5), (3, 0.05, 1.0), (5, 0.02, 2.0))
    edge_px: float = 3.0
    tone: float = 0.15
    redness: float = 0.5
    pigment: float = 1.0
    variegation: float = 0.5
    network: float = 0.4
    globules: float = 0.0
    blue: float = 0.0
    hairs: int = 0
    bubbles: int = 0
    vignette: float = 0.0
    illumination: float = 0.5
    mm_per_pixel: float | None = None
    ruler: bool = False
    ruler_angle: float = 0.0
    ruler_start: tuple[float, float] | None = None
    ruler_tick_mm: float = 1.0
    ruler_length_mm: float | None = None
    ruler_baseline: bool = True
    noise: float = 2.0
    jpeg_quality: int | None = None

    def outline(self) -> Outline:
        """The lesion's outline in px, scaled so that its area is that of the circle of ``diameter``."""
        height, width = self.size
        radius = self.diameter * min(height, width) / 2
        swell = 1 + sum(amplitude**2 for _, amplitude, _ in self.modes) / 2
        mean = radius / math.sqrt(swell)
        axes = (mean * math.sqrt(self.aspect), mean / math.sqrt(self.aspect))
        centre = (self.centre[0] * width - 0.5, self.centre[1] * height - 0.5)
        return Outline(centre, axes, math.radians(self.angle), self.modes)


@dataclass(frozen=True)
class Phantom:
    """A synthetic photo and the truth about it.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        mask: (H, W) bool, pixels whose centre lies inside the outline.
        area_px: area of the lesion's part inside the photo, in px^2, from the formula.
        whole_area_px: area of the whole lesion, in px^2; larger than ``area_px`` only when the frame cuts it.
        perimeter_px: length of the whole outline, in px.
        compactness: P^2 / (4 pi A) of the whole outline.
        contour: (n, 2) float (x, y) points of the whole outline, in px; pixel centres are whole numbers.
        mm_per_pixel: scale, or None.
        touches_frame: whether the frame cuts the lesion.
        spec: what was asked for.
    """

    image: np.ndarray
    mask: np.ndarray
    area_px: float
    whole_area_px: float
    perimeter_px: float
    compactness: float
    contour: np.ndarray
    mm_per_pixel: float | None
    touches_frame: bool
    spec: PhantomSpec


def phantom(spec: PhantomSpec) -> Phantom:
    """Draw a synthetic dermoscopic photo.

    Args:
        spec: what to draw.

    Returns:
        The picture with its truth.

    Raises:
        ValueError: the spec asks for a ruler but gives no scale.
    """
    if spec.ruler and not spec.mm_per_pixel:
        raise ValueError("a ruler needs mm_per_pixel")
    outline = spec.outline()
    height, width = spec.size
    y, x = np.mgrid[:height, :width]
    level = outline.level(x, y)
    contour = outline.points(2048)
    low, high = contour.min(axis=0), contour.max(axis=0)
    return Phantom(
        image=_draw(spec, outline, level),
        mask=level <= 1,
        area_px=outline.visible_area(spec.size),
        whole_area_px=outline.area,
        perimeter_px=outline.perimeter,
        compactness=outline.compactness,
        contour=contour,
        mm_per_pixel=spec.mm_per_pixel,
        touches_frame=bool(low.min() < -0.5 or high[0] > width - 0.5 or high[1] > height - 0.5),
        spec=spec,
    )


def edge_profile(spec: PhantomSpec) -> np.ndarray:
    """How much of the lesion is present at each pixel: 1 inside, 0 outside, 0.5 on the outline.

    Args:
        spec: the phantom.

    Returns:
        (H, W) float32 in [0, 1], half the complementary error function of distance / (sqrt(2) edge_px).
    """
    sigma = max(spec.edge_px, 0.3)
    distance = spec.outline().distance(spec.size, band=4 * sigma)
    return (0.5 * erfc(distance / (math.sqrt(2) * sigma))).astype(np.float32)


def _draw(spec: PhantomSpec, outline: Outline, level: np.ndarray) -> np.ndarray:
    """The photo, (H, W, 3) uint8."""

    def chance(layer: int) -> np.random.Generator:
        return np.random.default_rng([spec.seed, layer])

    shape = spec.size
    unit = min(shape) / 768
    melanin, blood = skin(shape, spec.tone, spec.redness, chance(0))
    present = edge_profile(spec)
    depth = (1 - level**2).clip(0, 1).astype(np.float32)
    amount = pigment(shape, depth, spec.variegation, spec.network, spec.globules, chance(1))
    added = spec.pigment * present * amount
    deep = (noise(shape, 45 * unit, chance(2)) + 0.6).clip(0, 1.4) * depth * spec.blue * present
    absorbed = (
        (melanin + added)[..., None] * MELANIN
        + (blood * (1 + 0.1 * present))[..., None] * BLOOD
        + (0.55 * deep)[..., None] * BLUE_GREY
    )
    image = WHITE * np.exp(-absorbed) * light(shape, spec.illumination, chance(3))[..., None]
    if spec.bubbles:
        image = overlay(image, bubble_layer(shape, chance(4), spec.bubbles))
    if spec.hairs:
        image = overlay(image, hair_layer(shape, chance(5), spec.hairs))
    if spec.ruler and spec.mm_per_pixel:
        start = spec.ruler_start and (spec.ruler_start[0] * shape[1], spec.ruler_start[1] * shape[0])
        layer = ruler_layer(
            shape,
            chance(6),
            px_per_mm=1 / spec.mm_per_pixel,
            angle=spec.ruler_angle,
            start=start,
            length_mm=spec.ruler_length_mm,
            tick_mm=spec.ruler_tick_mm,
            baseline=spec.ruler_baseline,
        )
        image = overlay(image, layer)
    if spec.vignette:
        image = overlay(image, vignette_layer(shape, chance(7), spec.vignette))
    grain = cv2.GaussianBlur(chance(8).standard_normal((*shape, 3), dtype=np.float32), (0, 0), 0.7)
    image = image + grain * (2 * math.sqrt(math.pi) * 0.7 * spec.noise)
    pixels = np.rint(image).clip(0, 255).astype(np.uint8)
    return pixels if spec.jpeg_quality is None else _jpeg(pixels, spec.jpeg_quality)


def _jpeg(pixels: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer)).copy()


def random_spec(rng: np.random.Generator, size: tuple[int, int] = (576, 768)) -> PhantomSpec:
    """A varied phantom: any skin tone, lesion, border and clutter; the lesion lies inside the frame.

    Args:
        rng: source of chance.
        size: (H, W) in px.

    Returns:
        A spec for ``phantom``.
    """

    def sometimes(share: float, low: float, high: float) -> float:
        return float(rng.uniform(low, high)) if rng.random() < share else 0.0

    tone = float(rng.beta(1.1, 2.2))
    rough = float(rng.uniform(0, 1)) ** 1.5
    modes = tuple(
        (k, float(rng.normal(0, 0.16 * rough / k**0.7)), float(rng.uniform(0, 2 * math.pi))) for k in range(2, 10)
    )
    scale = min(1.0, 0.6 / max(1e-9, sum(abs(m) for _, m, _ in modes)))
    has_ruler = bool(rng.random() < 0.25)
    spec = PhantomSpec(
        size=size,
        seed=int(rng.integers(0, 2**31)),
        centre=(float(rng.uniform(0.42, 0.58)), float(rng.uniform(0.42, 0.58))),
        diameter=float(rng.uniform(0.18, 0.62)),
        aspect=float(rng.uniform(1.0, 1.7)),
        angle=float(rng.uniform(0, 180)),
        modes=tuple((k, m * scale, p) for k, m, p in modes),
        edge_px=float(rng.uniform(0.002, 0.018) * min(size)),
        tone=tone,
        redness=float(rng.uniform(0.1, 1.0)),
        pigment=float(rng.uniform(0.45, 1.7)),
        variegation=float(rng.uniform(0.1, 1.0)),
        network=sometimes(0.5, 0.2, 0.9),
        globules=sometimes(0.33, 0.2, 0.9),
        blue=sometimes(0.25, 0.3, 0.9),
        hairs=round(sometimes(0.33, 3, 24)),
        bubbles=round(sometimes(0.33, 2, 11)),
        vignette=sometimes(0.33, 0.4, 1.0),
        illumination=float(rng.uniform(0.1, 1.0)),
        mm_per_pixel=float(rng.uniform(10, 22) / size[1]),
        ruler=has_ruler,
        ruler_angle=float(rng.uniform(-180, 180)),
        ruler_baseline=bool(rng.random() < 0.5),
        noise=float(rng.uniform(0.5, 4.0)),
        jpeg_quality=int(rng.integers(70, 97)),
    )
    return _inside(spec)


def _inside(spec: PhantomSpec) -> PhantomSpec:
    """The spec with its lesion made smaller until it keeps 3% of the short side between itself and the frame."""
    height, width = spec.size
    rim = 0.03 * min(height, width)
    while True:
        points = spec.outline().points(512)
        low, high = points.min(axis=0), points.max(axis=0)
        if low.min() >= rim and high[0] <= width - rim and high[1] <= height - rim:
            return spec
        spec = replace(spec, diameter=0.93 * spec.diameter)
