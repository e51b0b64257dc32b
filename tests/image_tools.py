"""What the tests of images.decode share: a coarse picture, the lossless kinds, and saving to bytes."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

RNG = np.random.default_rng(7)
COARSE = np.kron(RNG.integers(30, 225, (5, 7, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))  # 40 x 56
LOSSLESS = [
    ("PNG", {}),
    ("BMP", {}),
    ("TIFF", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
    ("WEBP", {"lossless": True}),
]


def saved(picture: Image.Image | np.ndarray, kind: str, **options) -> bytes:
    if isinstance(picture, np.ndarray):
        picture = Image.fromarray(picture)
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def exif(orientation: int | None = None, gps: bool = False) -> Image.Exif:
    block = Image.Exif()
    if orientation is not None:
        block[0x0112] = orientation
    if gps:
        block.get_ifd(0x8825).update({1: "N", 2: (48.0, 8.0, 15.0), 3: "E", 4: (11.0, 34.0, 30.0)})
        block[0x010E] = "Jane Doe 1970-01-01"
    return block
