"""What lies over the skin in a dermoscopic photo: hairs, a ruler, dark corners, air bubbles.

Each layer is a pure function ``layer(shape, rng, ...) -> (alpha (H, W) float32 in [0, 1], colour (3,) float32 RGB
in [0, 255])``; ``overlay`` lays it on a picture. They serve the phantoms and as augmentation of real photos.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

Layer = tuple[np.ndarray, np.ndarray]


def overlay(image: np.ndarray, layer: Layer) -> np.ndarray:
    """Lay a layer on a picture.

    Args:
        image: (H, W, 3) RGB, uint8 or float in [0, 255].
        layer: alpha (H, W) in [0, 1] and colour (3,).

    Returns:
        (H, W, 3) of the dtype of ``image``.
    """
    alpha, colour = layer
    mixed = image + (colour.astype(np.float32) - image) * alpha[..., None].astype(np.float32)
    return np.rint(mixed).clip(0, 255).astype(np.uint8) if image.dtype == np.uint8 else mixed


def hair_layer(shape: tuple[int, int], rng: np.random.Generator, count: int | None = None) -> Layer:
    """Bent, tapering hairs.

    Args:
        shape: (H, W) of the photo.
        rng: source of chance.
        count: number of hairs; drawn between 4 and 24 when None.

    Returns:
        alpha (H, W) float32 in [0, 1] and the hairs' colour.
    """
    height, width = shape
    count = int(rng.integers(4, 25)) if count is None else count
    fine = 3  # drawn three times larger, then averaged: soft edges and widths below a pixel
    canvas = np.zeros((height * fine, width * fine), np.uint8)
    unit = min(height, width)
    lie = rng.uniform(0, math.pi)  # hairs of one patch of skin lie roughly one way
    for _ in range(count):
        heading = lie + rng.normal(0, 0.45) + math.pi * rng.integers(0, 2)
        length = unit * rng.uniform(0.35, 1.3)
        bend = rng.normal(0, 1.1) / length
        twist = rng.normal(0, 1.5) / length**2
        s = np.linspace(0, length, 64)
        angle = heading + bend * s + twist * s**2
        step = length / 63
        path = np.stack([np.cumsum(np.cos(angle)), np.sin(angle).cumsum()], axis=1) * step
        path += [rng.uniform(-0.1, 1.0) * width, rng.uniform(-0.05, 1.05) * height]
        path -= path[rng.integers(0, 32)] - path[0]
        thick = unit * rng.uniform(0.0022, 0.0058) * fine
        dark = int(rng.uniform(150, 235))
        points = np.rint(path * fine * 16).astype(np.int32)
        for first in range(0, 63, 3):
            taper = max(1, round(thick * (1 - (first / 63) ** 3 * 0.7)))
            cv2.polylines(canvas, [points[first : first + 4]], False, dark, taper, cv2.LINE_AA, 4)
    alpha = cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    shade = rng.uniform(0.5, 1.6)
    return cv2.GaussianBlur(alpha, (0, 0), 0.6), np.array([44, 27, 18], np.float32) * np.float32(shade)


def ruler_layer(
    shape: tuple[int, int],
    rng: np.random.Generator,
    px_per_mm: float | None = None,
    angle: float | None = None,
    start: tuple[float, float] | None = None,
    length_mm: float | None = None,
    tick_mm: float = 1.0,
    baseline: bool | None = None,
) -> Layer:
    """A printed ruler: ticks at right angles to a line, every fifth and tenth longer.

    Tick k stands at ``start + k * tick_mm * px_per_mm`` along the line, exact to a fraction of a pixel.

    Args:
        shape: (H, W) of the photo.
        rng: source of chance for what is None.
        px_per_mm: pixels per millimetre.
        angle: direction of the line from the x axis towards the y axis, in degrees.
        start: (x, y) of the first tick's foot, in px.
        length_mm: length of the ruler.
        tick_mm: distance of neighbouring ticks.
        baseline: whether the line itself is printed.

    Returns:
        alpha (H, W) float32 in [0, 1] and the print's colour.
    """
    height, width = shape
    unit = min(height, width)
    px_per_mm = float(unit * rng.uniform(0.025, 0.06)) if px_per_mm is None else px_per_mm
    if angle is None:
        angle = float(rng.uniform(-180, 180))
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    if length_mm is None:
        length_mm = max(8 * tick_mm, math.floor(0.7 * unit / px_per_mm / tick_mm) * tick_mm)
    length = length_mm * px_per_mm
    if start is None:  # beside the middle, as far out as the photo lets it be
        side = rng.uniform(0.3, 0.42) * unit
        start = (width / 2 - c * length / 2 + s * side, height / 2 - s * length / 2 - c * side)
    baseline = bool(rng.integers(0, 2)) if baseline is None else baseline
    y, x = np.mgrid[:height, :width].astype(np.float32)
    along = (x - start[0]) * c + (y - start[1]) * s
    across = (x - start[0]) * s - (y - start[1]) * c  # towards the ticks' free ends
    spacing = tick_mm * px_per_mm
    half = max(0.6, 0.0011 * unit)
    index = np.rint(along / spacing)
    last = round(length_mm / tick_mm)
    short = min(1.2 * spacing, 0.02 * unit) + 2.0
    reach = short * np.where(index % 10 == 0, 2.4, np.where(index % 5 == 0, 1.7, 1.0))
    tick = _cover(half - np.abs(along - index * spacing)) * _cover(reach - across) * _cover(across + half)
    tick *= (index >= 0) & (index <= last)
    if baseline:
        rule = _cover(half - np.abs(across)) * _cover(along + half) * _cover(length + half - along)
        tick = np.maximum(tick, rule)
    return (tick * 0.85).astype(np.float32), np.array([38, 34, 40], np.float32)


def _cover(depth: np.ndarray) -> np.ndarray:
    """Share of a pixel covered by a half plane whose edge is ``depth`` px away (positive inside)."""
    return np.clip(depth + 0.5, 0, 1)


def vignette_layer(shape: tuple[int, int], rng: np.random.Generator, strength: float | None = None) -> Layer:
    """The dark corners of a round field of view.

    Args:
        shape: (H, W) of the photo.
        rng: source of chance (place, sharpness, and what is None).
        strength: 0 for none, 1 for a circle that touches the long sides' middles.

    Returns:
        alpha (H, W) float32 in [0, 1] and a nearly black colour.
    """
    height, width = shape
    strength = float(rng.uniform(0.4, 1.0)) if strength is None else strength
    corner = math.hypot(height, width) / 2
    radius = corner + (0.56 * max(height, width) - corner) * strength
    soft = min(height, width) * rng.uniform(0.012, 0.035)
    cx, cy = (width - 1) / 2 + rng.normal(0, 0.008) * width, (height - 1) / 2 + rng.normal(0, 0.008) * height
    y, x = np.mgrid[:height, :width].astype(np.float32)
    far = np.hypot(x - cx, y - cy) - radius
    alpha = 0.94 / (1 + np.exp(-(far / soft).clip(-30, 30))) if strength > 0 else np.zeros(shape)
    return alpha.astype(np.float32), np.array([26, 22, 22], np.float32)


def bubble_layer(shape: tuple[int, int], rng: np.random.Generator, count: int | None = None) -> Layer:
    """Air bubbles in the contact fluid: thin bright rims with a glint.

    Args:
        shape: (H, W) of the photo.
        rng: source of chance.
        count: number of bubbles; drawn between 2 and 10 when None.

    Returns:
        alpha (H, W) float32 in [0, 1] and a nearly white colour.
    """
    height, width = shape
    count = int(rng.integers(2, 11)) if count is None else count
    alpha = np.zeros(shape, np.float32)
    unit = min(height, width)
    for _ in range(count):
        size = unit * rng.uniform(0.008, 0.03)
        cx, cy = rng.uniform(0, width), rng.uniform(0, height)
        stretch, turn, light = rng.uniform(0.75, 1.0), rng.uniform(0, math.pi), rng.uniform(0, 2 * math.pi)
        x0, y0 = max(0, int(cx - 2 * size)), max(0, int(cy - 2 * size))
        y, x = np.mgrid[y0 : min(height, int(cy + 2 * size)), x0 : min(width, int(cx + 2 * size))].astype(float)
        u = (x - cx) * math.cos(turn) + (y - cy) * math.sin(turn)
        v = ((y - cy) * math.cos(turn) - (x - cx) * math.sin(turn)) / stretch
        rho, phi = np.hypot(u, v), np.arctan2(v, u)
        rim = np.exp(-(((rho - size) / (0.06 * size + 0.7)) ** 2)) * (0.25 + 0.3 * np.cos(phi - light).clip(0))
        glint = np.exp(-((u - 0.5 * size * math.cos(light)) ** 2 + (v - 0.5 * size * math.sin(light)) ** 2) / 3)
        patch = alpha[y0 : y0 + y.shape[0], x0 : x0 + x.shape[1]]
        np.maximum(patch, np.maximum(rim, 0.8 * glint), out=patch)
    return alpha, np.array([250, 246, 240], np.float32)
