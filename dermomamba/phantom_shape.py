"""The outline of a phantom: a closed curve whose area is a formula and whose length is exact to rounding.

An ellipse with half axes a, b, modulated by Fourier modes and turned by an angle:
    x(t) = cx + a R(t) cos t,   y(t) = cy + b R(t) sin t,   R(t) = 1 + sum_k m_k cos(k t + p_k),   k >= 2
By Green's theorem its area is (a b / 2) * integral of R^2 = pi a b (1 + sum_k m_k^2 / 2), with no approximation.
Its length is the integral of |(x', y')| over one period, where the trapezoid rule converges faster than any
power of the step (Trefethen & Weideman 2014, SIAM Review 56(3), doi 10.1137/130932132).

Pixel (row i, column j) has its centre at (x, y) = (j, i); the photo covers [-0.5, W - 0.5] x [-0.5, H - 0.5].
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

SAMPLES = 8192


@dataclass(frozen=True)
class Outline:
    """A star-shaped closed curve.

    Attributes:
        centre: (x, y) in px.
        half_axes: (a, b) of the ellipse before the modes, in px.
        angle: turn of the first axis from the x axis towards the y axis, in radians.
        modes: (k, amplitude, phase) of each Fourier mode; the amplitudes' sum is below 1.
    """

    centre: tuple[float, float]
    half_axes: tuple[float, float]
    angle: float = 0.0
    modes: tuple[tuple[int, float, float], ...] = ()

    def __post_init__(self) -> None:
        if sum(abs(amplitude) for _, amplitude, _ in self.modes) >= 1 or len({k for k, _, _ in self.modes}) < len(
            self.modes
        ):
            raise ValueError("the modes must be distinct and their amplitudes must add up to less than 1")

    @property
    def area(self) -> float:
        """Enclosed area in px^2: pi a b (1 + sum m_k^2 / 2)."""
        a, b = self.half_axes
        return math.pi * a * b * (1 + sum(amplitude**2 for _, amplitude, _ in self.modes) / 2)

    @property
    def perimeter(self) -> float:
        """Length in px, by the trapezoid rule on the periodic speed."""
        t = np.arange(SAMPLES) * (2 * math.pi / SAMPLES)
        return float(np.hypot(*self._derivative(t)).mean() * 2 * math.pi)

    @property
    def compactness(self) -> float:
        """P^2 / (4 pi A), 1 for a circle."""
        return self.perimeter**2 / (4 * math.pi * self.area)

    def radius(self, t: np.ndarray) -> np.ndarray:
        """R(t), without unit."""
        return 1 + sum((m * np.cos(k * t + p) for k, m, p in self.modes), np.zeros_like(t))

    def points(self, n: int = SAMPLES) -> np.ndarray:
        """(n, 2) points (x, y) on the curve in px, evenly spaced in t."""
        t = np.arange(n) * (2 * math.pi / n)
        a, b = self.half_axes
        r = self.radius(t)
        x, y = self._turn(a * r * np.cos(t), b * r * np.sin(t))
        return np.stack([x + self.centre[0], y + self.centre[1]], axis=1)

    def _turn(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        c, s = math.cos(self.angle), math.sin(self.angle)
        return c * x - s * y, s * x + c * y

    def _derivative(self, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        a, b = self.half_axes
        r = self.radius(t)
        dr = sum((-m * k * np.sin(k * t + p) for k, m, p in self.modes), np.zeros_like(t))
        return self._turn(a * (dr * np.cos(t) - r * np.sin(t)), b * (dr * np.sin(t) + r * np.cos(t)))

    def level(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """rho / R(t) at points (x, y): below 1 inside the curve, 1 on it, above 1 outside."""
        dx, dy = x - self.centre[0], y - self.centre[1]
        c, s = math.cos(self.angle), math.sin(self.angle)
        u, v = (c * dx + s * dy) / self.half_axes[0], (c * dy - s * dx) / self.half_axes[1]
        return np.hypot(u, v) / self.radius(np.arctan2(v, u))

    def distance(self, shape: tuple[int, int], band: float) -> np.ndarray:
        """Signed distance of every pixel centre to the curve, negative inside.

        Args:
            shape: (H, W) of the photo.
            band: within this many px of the curve the distance is exact to about 1e-3 px; beyond it only the
                sign and ``abs(distance) >= band`` hold.

        Returns:
            (H, W) float32 in px.
        """
        y, x = np.mgrid[: shape[0], : shape[1]]
        inside = self.level(x, y) <= 1
        t = np.arange(SAMPLES) * (2 * math.pi / SAMPLES)
        curve = self.points()
        low, high = curve.min(axis=0) - band, curve.max(axis=0) + band
        box = (x >= low[0]) & (x <= high[0]) & (y >= low[1]) & (y <= high[1])
        pixels = np.stack([x[box], y[box]], axis=1).astype(float)
        found, nearest = cKDTree(curve).query(pixels, distance_upper_bound=band + 1)
        near = np.isfinite(found)
        speed = np.stack(self._derivative(t), axis=1)
        normal = np.stack([speed[:, 1], -speed[:, 0]], axis=1) / np.hypot(*speed.T)[:, None]  # outward
        offset = pixels[near] - curve[nearest[near]]
        along = (offset * normal[nearest[near]]).sum(axis=1)
        out = np.where(inside, -np.float32(band + 1), np.float32(band + 1)).astype(np.float32)
        values = out[box]
        values[near] = np.sign(along) * np.maximum(np.abs(along), 1e-6)
        values[near] = np.where(inside[box][near], -np.abs(values[near]), np.abs(values[near]))
        out[box] = values
        return out

    def visible_area(self, shape: tuple[int, int]) -> float:
        """Area in px^2 of the part inside the photo: the formula when nothing is cut, else the clipped polygon."""
        polygon = self.points()
        height, width = shape
        low, high = polygon.min(axis=0), polygon.max(axis=0)
        if low.min() >= -0.5 and high[0] <= width - 0.5 and high[1] <= height - 0.5:
            return self.area
        for axis, bound, keep in ((0, -0.5, 1), (0, width - 0.5, -1), (1, -0.5, 1), (1, height - 0.5, -1)):
            polygon = _clip(polygon, axis, bound, keep)
        x, y = polygon.T
        return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def _clip(polygon: np.ndarray, axis: int, bound: float, keep: int) -> np.ndarray:
    """The part of a polygon on one side of an axis-parallel line (Sutherland & Hodgman 1974)."""
    if len(polygon) == 0:
        return polygon
    following = np.roll(polygon, -1, axis=0)
    here, there = keep * (polygon[:, axis] - bound), keep * (following[:, axis] - bound)
    crossing = (here >= 0) != (there >= 0)
    share = np.where(crossing, here / np.where(crossing, here - there, 1.0), 0.0)
    cut = polygon + share[:, None] * (following - polygon)
    both = np.stack([polygon, cut], axis=1).reshape(-1, 2)
    return both[np.stack([here >= 0, crossing], axis=1).ravel()]
