"""The outline for exchange: GeoJSON and SVG, in the photo's own pixels.

A single region without holes is given by the very outline that was measured, to a fraction of a pixel.
"""

from __future__ import annotations

import cv2
import numpy as np

from dermomamba import render
from dermomamba.export_record import NOT_A_DEVICE, Record, as_json_bytes


def _rings(record: Record) -> list[list[np.ndarray]]:
    """Border lines grouped as polygons: each list is an outer ring followed by the rings of its holes.

    A single region without holes is given by the very outline that was measured.
    """
    lines = [line for line in render.contours(record.segmentation.mask) if len(line) >= 4]
    measured = record.measurements.outline
    if len(lines) == 1 and len(measured) >= 3:
        lines = [np.vstack([measured, measured[:1]])]
    areas = [_signed_area(line) for line in lines]
    if not lines:
        return []
    outer_sign = np.sign(areas[int(np.argmax(np.abs(areas)))])  # the largest ring is never a hole
    polygons = [[line] for line, area in zip(lines, areas, strict=True) if np.sign(area) == outer_sign]
    for line, area in zip(lines, areas, strict=True):
        if np.sign(area) != outer_sign:
            x, y = (float(v) for v in line[0])
            home = [p for p in polygons if cv2.pointPolygonTest(p[0].astype(np.float32), (x, y), False) > 0]
            if home:
                min(home, key=lambda p: abs(_signed_area(p[0]))).append(line)
    return polygons


def _signed_area(line: np.ndarray) -> float:
    x, y = line[:, 0], line[:, 1]
    return float(0.5 * np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]))


def geojson(record: Record) -> bytes:
    """The outline as a GeoJSON feature (RFC 7946 structure) in image coordinates.

    Coordinates are px: the centre of the top-left pixel is (0, 0), x to the right, y down. Outer rings have
    a positive signed area in these axes.
    """
    polygons = []
    for rings in _rings(record):
        turned = []
        for place, ring in enumerate(rings):
            forward = (_signed_area(ring) > 0) == (place == 0)
            turned.append([[round(float(x), 3), round(float(y), 3)] for x, y in (ring if forward else ring[::-1])])
        polygons.append(turned)
    if not polygons:
        geometry = None
    elif len(polygons) == 1:
        geometry = {"type": "Polygon", "coordinates": polygons[0]}
    else:
        geometry = {"type": "MultiPolygon", "coordinates": polygons}
    properties = {
        "notice": NOT_A_DEVICE,
        "case_id": record.case,
        "axes": "image pixels: centre of the top-left pixel is (0, 0), x to the right, y down",
        "image_width_px": record.photo.shape[1],
        "image_height_px": record.photo.shape[0],
        "mm_per_px": record.measurements.mm_per_pixel,
    }
    return as_json_bytes({"type": "Feature", "geometry": geometry, "properties": properties}, indent=None)


def svg(record: Record) -> bytes:
    """The outline as an SVG path at the photo's size, without the photo."""
    height, width = record.photo.shape[:2]
    paths = []
    for rings in _rings(record):
        data = " ".join("M" + " L".join(f"{x + 0.5:.2f},{y + 0.5:.2f}" for x, y in ring[:-1]) + " Z" for ring in rings)
        paths.append(
            f'<path d="{data}" fill="none" fill-rule="evenodd" stroke="#00deff"'
            f' stroke-width="{render.line_width(height, width):.1f}"/>'
        )
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">\n'
        f"<title>{_xml(record.case)}: outline of the lesion</title>\n<desc>{NOT_A_DEVICE}</desc>\n"
        + "\n".join(paths)
        + "\n</svg>\n"
    )
    return text.encode()


def _xml(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
