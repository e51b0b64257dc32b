"""Shapes whose measures are known in closed form, drawn from formulas (never with the code under test)."""

from __future__ import annotations

import cv2
import numpy as np

Array = np.ndarray


def grid(height: int, width: int) -> tuple[Array, Array]:
    """x and y of every pixel."""
    y, x = np.mgrid[:height, :width].astype(float)
    return x, y


def soft_disc(
    radius: float, shape: tuple[int, int] | None = None, centre: tuple[float, float] | None = None, edge: float = 1.5
) -> Array:
    """Probability of a disc with a logistic edge: 0.5 exactly on the circle."""
    side = int(2 * radius) + 41
    height, width = shape or (side, side)
    cx, cy = centre or (width / 2 - 0.2, height / 2 + 0.3)
    x, y = grid(height, width)
    return 1 / (1 + np.exp(np.clip((np.hypot(x - cx, y - cy) - radius) / edge, -50, 50)))


def hard_disc(radius: float, shape: tuple[int, int] | None = None, centre: tuple[float, float] | None = None) -> Array:
    """Mask of 0 and 1 of a disc."""
    return (soft_disc(radius, shape, centre) >= 0.5).astype(np.float32)


def curve(radius: Array, turn: Array) -> Array:
    """Points of r(t)."""
    return np.stack([radius * np.cos(turn), radius * np.sin(turn)], axis=1)


def rose(radius: float, amplitude: float, lobes: int, count: int = 3000) -> Array:
    """r = R (1 + a cos kt)."""
    turn = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return curve(radius * (1 + amplitude * np.cos(lobes * turn)), turn)


def ellipse(a: float, b: float, count: int = 3000) -> Array:
    turn = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.stack([a * np.cos(turn), b * np.sin(turn)], axis=1)


def square(side: float) -> Array:
    half = side / 2
    return np.array([[-half, -half], [half, -half], [half, half], [-half, half]])


def koch(level: int, radius: float) -> Array:
    """Koch snowflake, dimension log 4 / log 3."""
    points = np.exp(-2j * np.pi * np.arange(3) / 3)
    for _ in range(level):
        step = (np.roll(points, -1) - points) / 3
        bump = points + step * (1 + np.exp(1j * np.pi / 3))
        points = np.stack([points, points + step, bump, points + 2 * step], axis=1).ravel()
    return radius * np.stack([points.real, points.imag], axis=1)


def turned(points: Array, degrees: float) -> Array:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return points @ np.array([[c, s], [-s, c]])


def drawn(points: Array, margin: int = 20, shift: tuple[float, float] = (0.0, 0.0)) -> Array:
    """Hard mask of a polygon, with a margin round it: pixel centres of an eightfold drawing by OpenCV."""
    low = points.min(axis=0) - margin - np.asarray(shift)
    placed = points - low
    width, height = np.ceil(placed.max(axis=0)).astype(int) + margin
    fine = np.zeros((8 * height, 8 * width), np.uint8)
    cv2.fillPoly(fine, [np.rint(placed * 8).astype(np.int32)], 1)
    return fine[::8, ::8].astype(np.float32)


def true_compactness(points: Array) -> float:
    """P² / (4π A) of a finely sampled closed curve."""
    x, y = points.T
    perimeter = np.hypot(*(np.roll(points, -1, axis=0) - points).T).sum()
    area = abs((x * np.roll(y, -1) - np.roll(x, -1) * y).sum()) / 2
    return float(perimeter**2 / (4 * np.pi * area))
