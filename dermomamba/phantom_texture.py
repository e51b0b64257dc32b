"""The look of a phantom: skin, pigment and its structures, as light absorbed by melanin and blood.

Colour is white light times exp(-(melanin + blood)), each with its own strength in red, green and blue: melanin
absorbs blue most, haemoglobin green (Jacques 2013, Phys Med Biol 58:R37, doi 10.1088/0031-9155/58/11/R37; the
three numbers each are chosen by eye for sRGB). So a brown lesion stays brown on skin of any tone.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from scipy.spatial import cKDTree

WHITE = np.array([250, 241, 236], np.float32)
MELANIN = np.array([0.48, 0.77, 1.06], np.float32)
BLOOD = np.array([0.14, 0.92, 0.74], np.float32)
BLUE_GREY = np.array([1.05, 0.72, 0.42], np.float32)


def noise(shape: tuple[int, int], scale: float, rng: np.random.Generator) -> np.ndarray:
    """Smooth Gaussian noise.

    Args:
        shape: (H, W).
        scale: correlation length (Gaussian sigma) in px.
        rng: source of chance.

    Returns:
        (H, W) float32 with mean near 0 and standard deviation near 1.
    """
    height, width = shape
    coarse = max(1.0, scale / 2)  # drawn on a grid that is just fine enough, then enlarged
    grid = (math.ceil(height / coarse) + 4, math.ceil(width / coarse) + 4)
    sigma = scale / coarse
    field = cv2.GaussianBlur(rng.standard_normal(grid, dtype=np.float32), (0, 0), sigma)
    field = field * np.float32(
        2 * math.sqrt(math.pi) * sigma
    )  # a Gaussian filter divides white noise's deviation by this
    size = (math.ceil(grid[1] * coarse), math.ceil(grid[0] * coarse))
    return cv2.resize(field, size, interpolation=cv2.INTER_CUBIC)[2 : 2 + height, 2 : 2 + width]


def mesh(shape: tuple[int, int], spacing: float, line: float, rng: np.random.Generator) -> np.ndarray:
    """A net of lines round irregular cells (the edges of a jittered Voronoi tiling).

    Args:
        shape: (H, W).
        spacing: mean distance of neighbouring holes, in px.
        line: half width of the lines, in px.
        rng: source of chance.

    Returns:
        (H, W) float32 in [0, 1], 1 on the lines.
    """
    height, width = shape
    y, x = np.mgrid[-2 : math.ceil(height / spacing) + 3, -2 : math.ceil(width / spacing) + 3]
    seeds = np.stack([x.ravel() + 0.5 * (y.ravel() % 2), y.ravel()], axis=1) * spacing
    seeds = seeds + rng.uniform(-0.5, 0.5, seeds.shape) * spacing
    half = 2 if spacing > 6 else 1  # looked up on every second pixel where the net is coarse enough
    py, px = np.mgrid[0:height:half, 0:width:half]
    wave = noise(py.shape, spacing / half, rng) * spacing * 0.22
    near, _ = cKDTree(seeds).query(np.stack([(px + wave).ravel(), (py + wave).ravel()], axis=1), k=2)
    gap = (near[:, 1] - near[:, 0]).reshape(py.shape).astype(np.float32)
    gap = cv2.resize(gap, (py.shape[1] * half, py.shape[0] * half), interpolation=cv2.INTER_LINEAR)
    return np.exp(-((gap[:height, :width] / (2 * line)) ** 2))


def dots(shape: tuple[int, int], count: int, radius: float, rng: np.random.Generator) -> np.ndarray:
    """Soft round spots at random places.

    Args:
        shape: (H, W).
        count: number of spots.
        radius: mean radius in px.
        rng: source of chance.

    Returns:
        (H, W) float32 in [0, 1].
    """
    height, width = shape
    field = np.zeros(shape, np.float32)
    for _ in range(count):
        cx, cy, r = rng.uniform(0, width), rng.uniform(0, height), radius * rng.uniform(0.55, 1.5)
        x0, y0 = max(0, int(cx - 2 * r)), max(0, int(cy - 2 * r))
        y, x = np.mgrid[y0 : min(height, int(cy + 2 * r) + 1), x0 : min(width, int(cx + 2 * r) + 1)]
        spot = 1 / (1 + np.exp((np.hypot(x - cx, (y - cy) * rng.uniform(0.8, 1.25)) - r) * (5 / r)))
        patch = field[y0 : y0 + y.shape[0], x0 : x0 + x.shape[1]]
        np.maximum(patch, spot.astype(np.float32), out=patch)
    return field


def skin(
    shape: tuple[int, int], tone: float, redness: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Melanin and blood of healthy skin.

    Args:
        shape: (H, W).
        tone: 0 for very light to 1 for very dark skin.
        redness: 0 to 1.
        rng: source of chance.

    Returns:
        melanin (H, W) and blood (H, W), float32 absorbances.
    """
    unit = min(shape) / 768
    level = 0.09 + 1.5 * tone**1.3
    cloud = noise(shape, 120 * unit, rng) * 0.05 + noise(shape, 28 * unit, rng) * 0.03
    grain = noise(shape, 5 * unit, rng) * 0.018 + noise(shape, 1.7 * unit, rng) * 0.022
    furrows = mesh(shape, 17 * unit, 2.2 * unit, rng) * (0.022 + 0.03 * noise(shape, 60 * unit, rng)).clip(0, 0.07)
    freckles = dots(shape, int(rng.integers(0, 14)), 9 * unit, rng) * rng.uniform(0.0, 0.12)
    melanin = level * (1 + cloud + grain) + 0.05 * (cloud + grain) + freckles + furrows * (0.4 + 0.8 * tone)
    blush = noise(shape, 70 * unit, rng) * 0.06 + noise(shape, 18 * unit, rng) * 0.03 + grain
    blood = (0.05 + 0.24 * redness) * (1 + blush.clip(-0.4, 0.6)) + 0.35 * furrows
    return melanin.clip(0.0).astype(np.float32), blood.clip(0.0).astype(np.float32)


def pigment(
    shape: tuple[int, int],
    depth: np.ndarray,
    variegation: float,
    network: float,
    globules: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """How much pigment a lesion adds at each pixel, relative to its mean.

    Args:
        shape: (H, W).
        depth: (H, W) 0 at the border to 1 in the middle.
        variegation: 0 even to 1 patchy.
        network: 0 none to 1 strong pigment network.
        globules: 0 none to 1 many.
        rng: source of chance.

    Returns:
        (H, W) float32, 0.55 to 2.2.
    """
    unit = min(shape) / 768
    patches = noise(shape, 55 * unit, rng) * 0.26 + noise(shape, 22 * unit, rng) * 0.16
    fine = noise(shape, 8 * unit, rng) * 0.07 + noise(shape, 3 * unit, rng) * 0.05
    amount = 0.86 + 0.22 * depth + patches * variegation + fine * (0.5 + 0.5 * variegation)
    net = cv2.GaussianBlur(mesh(shape, rng.uniform(12, 17) * unit, 2.2 * unit, rng), (0, 0), 1.1 * unit)
    where = (0.75 + 0.5 * noise(shape, 60 * unit, rng)).clip(0, 1) * (1.15 - 0.65 * depth)
    amount += network * where * (0.8 * net - 0.3)
    spots = dots(shape, int(800 * globules), 6.5 * unit, rng)
    amount += globules * 0.75 * spots * (1 - 0.3 * depth)
    return amount.clip(0.55, 2.2).astype(np.float32)


def light(shape: tuple[int, int], amount: float, rng: np.random.Generator) -> np.ndarray:
    """Uneven illumination: brighter near the middle and towards one side.

    Args:
        shape: (H, W).
        amount: 0 even to 1 strong.
        rng: source of chance.

    Returns:
        (H, W) float32 factors near 1.
    """
    height, width = shape
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    turn = rng.uniform(0, 2 * math.pi)
    slope = x * math.cos(turn) + y * math.sin(turn)
    return (1 + amount * (0.08 * slope - 0.13 * (x**2 + y**2) + 0.06)).astype(np.float32)
