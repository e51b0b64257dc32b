"""Edge sharpness in eight sectors, experimental: how abruptly the lightness changes across the border.

The ABCD rule's B counts sectors of eight with an abrupt cut-off of pigment (Stolz; Nachbar et al. 1994, doi
10.1016/S0190-9622(94)70061-3; automated by Kaya et al. 2016, doi 10.1186/s12859-016-1221-4). Here: along the
border's normals, the share of the whole step of lightness that falls within a narrow band at the border.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from dermomamba.measure.contour import Contour

SECTORS = 8
NEAR, FAR = 0.025, 0.10  # of the equivalent diameter, on each side of the border
ABRUPT_SHARE, LEAST_STEP = 0.5, 5.0  # a linear fade over the whole ±10 % has a share of 0.25


@dataclass(frozen=True)
class Edges:
    """Edge of a lesion in eight sectors round its centroid.

    Attributes:
        sectors: eight of (start angle in degrees, sharpness in [0, 1]); x to the right, y down, 45° each; NaN
            where a sector has no border in the photo.
        steps: (8,) L* outside minus inside.
        sharpness: mean over the sectors.
        abrupt: number of sectors that are sharp.
    """

    sectors: tuple[tuple[float, float], ...]
    steps: np.ndarray
    sharpness: float
    abrupt: int


def edges(lightness: np.ndarray, contour: Contour, zoom: float) -> Edges | None:
    """Edge sharpness along an outline.

    Args:
        lightness: (h, w) float32, L* of the photo at working size.
        contour: a smoothed outline in photo pixels.
        zoom: working pixels per photo pixel.

    Returns:
        The edges; None when no sector has a border whose both sides are in the photo.
    """
    points = (contour.points + 0.5) * zoom - 0.5
    points = points[:: max(1, len(points) // 1440)]
    diameter = contour.diameter * zoom
    tangent = np.roll(points, -3, axis=0) - np.roll(points, 3, axis=0)
    normal = np.stack([tangent[:, 1], -tangent[:, 0]], axis=1) / np.maximum(np.hypot(*tangent.T), 1e-9)[:, None]
    x, y = points.T
    if (x * np.roll(y, -1) - np.roll(x, -1) * y).sum() < 0:
        normal = -normal  # outward for either sense of the outline
    depths = np.array([-FAR, -NEAR, NEAR, FAR]) * diameter
    places = points[:, None] + depths[None, :, None] * normal[:, None]  # (point, depth, xy)
    height, width = lightness.shape
    inside = np.all((places >= 0) & (places <= (width - 1, height - 1)), axis=(1, 2))
    blurred = cv2.GaussianBlur(lightness, (0, 0), max(0.01 * diameter, 0.5))
    x_map, y_map = np.moveaxis(places.astype(np.float32), 2, 0)
    levels = cv2.remap(blurred, x_map, y_map, cv2.INTER_LINEAR)
    centre = (contour.moments[1] + 0.5) * zoom - 0.5
    angle = np.degrees(np.arctan2(*(points - centre).T[::-1])) % 360
    sector = (angle // (360 / SECTORS)).astype(int) % SECTORS
    shares, steps = np.full(SECTORS, np.nan), np.full(SECTORS, np.nan)
    for index in range(SECTORS):
        here = levels[inside & (sector == index)]
        if len(here) >= 3:
            deep, under, over, far = here.mean(axis=0)
            steps[index] = far - deep
            shares[index] = np.clip((over - under) / steps[index], 0, 1) if abs(steps[index]) > 0.5 else 0.0
    if np.isnan(shares).all():
        return None
    abrupt = int(np.sum((shares >= ABRUPT_SHARE) & (np.abs(steps) >= LEAST_STEP)))
    starts = np.arange(SECTORS) * 360 / SECTORS
    return Edges(tuple(zip(starts.tolist(), shares.tolist(), strict=True)), steps, float(np.nanmean(shares)), abrupt)
