"""images.decode: every accepted kind comes out as the same RGB pixels, everything else as an ImageError."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from image_tools import COARSE, LOSSLESS, RNG, exif, saved
from PIL import Image, ImageCms

from dermomamba.errors import ImageError
from dermomamba.images import decode

pytestmark = pytest.mark.filterwarnings("ignore:Corrupt EXIF data", "ignore:Truncated File Read")
FORWARD = {  # how a camera that wrote this orientation holds the upright picture (EXIF 0x0112)
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize(("kind", "options"), LOSSLESS)
def test_lossless_kinds_return_their_pixels(kind, options):
    out = decode(saved(COARSE, kind, **options))
    assert out.dtype == np.uint8
    assert out.flags["C_CONTIGUOUS"]
    np.testing.assert_array_equal(out, COARSE)


@pytest.mark.parametrize(("kind", "options"), [("JPEG", {"quality": 95}), ("WEBP", {"quality": 98})])
def test_lossy_kinds_return_nearly_their_pixels(kind, options):
    assert np.abs(decode(saved(COARSE, kind, **options)).astype(int) - COARSE).mean() < 8


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("kind", "options"),
    [*LOSSLESS[:1], *LOSSLESS[2:], ("JPEG", {"quality": 98, "subsampling": 0})],
)
def test_orientation_is_applied_once(kind, options, orientation):
    stored = np.ascontiguousarray(FORWARD[orientation](COARSE))
    data = saved(stored, kind, exif=exif(orientation), **options)
    for source in (data, Image.open(io.BytesIO(data))):
        out = decode(source)
        assert out.shape == COARSE.shape
        assert np.abs(out.astype(int) - COARSE).mean() < (3 if kind == "JPEG" else 0.001)
    np.testing.assert_array_equal(decode(decode(data)), decode(data))


@pytest.mark.parametrize("value", [0, 9, 77])
def test_an_impossible_orientation_changes_nothing(value):
    np.testing.assert_array_equal(decode(saved(COARSE, "PNG", exif=exif(value))), COARSE)


def test_a_broken_exif_block_does_not_lose_the_photo():
    good = saved(COARSE, "JPEG", exif=exif(6))
    start = good.index(b"Exif\0\0") + 6
    broken = good[:start] + b"XX\xff\xff" + good[start + 4 :]
    assert decode(broken).shape == COARSE.shape


def test_only_pixels_leave():
    data = saved(COARSE, "JPEG", exif=exif(gps=True), comment=b"ward 7")
    assert Image.open(io.BytesIO(data)).getexif().get_ifd(0x8825)
    out = decode(data)
    assert type(out) is np.ndarray
    again = saved(out, "JPEG")
    assert b"Jane" not in again
    assert b"ward" not in again
    assert not dict(Image.open(io.BytesIO(again)).getexif())


def test_a_pil_image_is_left_as_it_was():
    data = saved(COARSE, "JPEG", exif=exif(6))
    picture = Image.open(io.BytesIO(data))
    decode(picture)
    assert picture.size == (56, 40)
    assert picture.getexif()[0x0112] == 6


# ---- colour modes ----


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_grey(kind):
    np.testing.assert_array_equal(decode(saved(COARSE[..., 0], kind)), np.repeat(COARSE[..., :1], 3, 2))


def test_bilevel():
    bits = COARSE[..., 0] > 128
    np.testing.assert_array_equal(decode(saved(Image.fromarray(bits), "PNG"))[..., 1], bits * 255)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_palette(kind):
    flat = Image.fromarray(COARSE).quantize(64)
    assert flat.mode == "P"
    np.testing.assert_array_equal(decode(saved(flat, kind)), np.asarray(flat.convert("RGB")))


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True, "exact": True})])
def test_alpha_is_laid_on_white(kind, options):
    rgba = np.dstack([COARSE, np.full(COARSE.shape[:2], 255, np.uint8)])
    rgba[:10, ..., 3] = 0
    rgba[10:20, ..., 3] = 51  # a fifth
    out = decode(saved(rgba, kind, **options)).astype(int)
    assert (out[:10] == 255).all()
    assert np.abs(out[10:20] - (COARSE[10:20] * 0.2 + 255 * 0.8)).max() <= 1
    np.testing.assert_array_equal(out[20:], COARSE[20:])
    assert np.abs(decode(rgba).astype(int) - out).max() <= 1


def test_alpha_of_grey_and_of_a_palette_with_a_transparent_entry():
    grey = np.dstack([COARSE[..., 0], np.zeros(COARSE.shape[:2], np.uint8)])
    assert (decode(saved(Image.fromarray(grey, "LA"), "PNG")) == 255).all()
    flat = Image.fromarray(COARSE).quantize(16)
    index = int(np.asarray(flat)[0, 0])
    out = decode(saved(flat, "PNG", transparency=index))
    assert (out[np.asarray(flat) == index] == 255).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_not_clipped(kind):
    ramp = np.linspace(0, 65535, 40 * 56).round().astype(np.uint16).reshape(40, 56)
    out = decode(saved(Image.fromarray(ramp), kind))
    assert np.abs(out[..., 0] - ramp / 257.0).max() <= 0.5
    np.testing.assert_array_equal(out, decode(ramp))


def png_rgb16(pixels: np.ndarray) -> bytes:
    """A 16-bit RGB PNG, written by hand because Pillow cannot."""

    def chunk(tag: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + tag + body + struct.pack(">I", zlib.crc32(tag + body))

    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_sixteen_bit_colour_is_scaled_not_clipped():
    pixels = RNG.integers(0, 65536, (9, 11, 3)).astype(np.uint16)
    pixels[0, 0], pixels[0, 1] = 65535, 0
    out = decode(png_rgb16(pixels))
    assert np.abs(out - pixels / 257.0).max() <= 1.0
    assert out[0, 0].tolist() == [255] * 3
    assert out[0, 1].tolist() == [0] * 3


@pytest.mark.parametrize("values", [np.float32([[0, 0.5, 1]]), np.int32([[0, 32768, 65535]])])
def test_thirty_two_bit_grey_within_a_known_range(values):
    assert decode(saved(Image.fromarray(values), "TIFF"))[0, :, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize("values", [np.float32([[0, 900]]), np.int32([[-5, 8]]), np.float32([[0, np.nan]])])
def test_thirty_two_bit_grey_of_unknown_range_is_refused(values):
    with pytest.raises(ImageError, match="brightness range"):
        decode(saved(Image.fromarray(values), "TIFF"))


def cmyk_truth(inks: np.ndarray) -> np.ndarray:
    c, m, y, k = np.moveaxis(inks.astype(float) / 255, -1, 0)
    return np.stack([(1 - c) * (1 - k), (1 - m) * (1 - k), (1 - y) * (1 - k)], -1) * 255


@pytest.mark.parametrize("marker", [True, False], ids=["adobe inverted", "no marker"])
def test_cmyk_jpeg(marker):
    inks = np.kron(RNG.integers(0, 200, (5, 7, 4), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))
    data = saved(Image.fromarray(inks, "CMYK"), "JPEG", quality=98, subsampling=0)
    start = data.index(b"\xff\xee")
    length = struct.unpack(">H", data[start + 2 : start + 4])[0]
    if not marker:  # the same stored bytes, without APP14, mean inks that are not inverted
        data = data[:start] + data[start + 2 + length :]
        inks = 255 - inks
    assert np.abs(decode(data) - cmyk_truth(inks)).mean() < 3


def test_cmyk_tiff():
    inks = RNG.integers(0, 256, (6, 8, 4), dtype=np.uint8)
    assert np.abs(decode(saved(Image.fromarray(inks, "CMYK"), "TIFF")) - cmyk_truth(inks)).max() <= 2


def test_an_embedded_profile_is_applied_and_a_broken_one_ignored():
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    np.testing.assert_array_equal(decode(saved(COARSE, "PNG", icc_profile=srgb)), COARSE)
    np.testing.assert_array_equal(decode(saved(COARSE, "PNG", icc_profile=b"not a profile")), COARSE)
    # sRGB with the red and blue primaries exchanged: honouring it exchanges the channels
    swapped = bytearray(srgb)
    red, blue = swapped.index(b"rXYZ"), swapped.index(b"bXYZ")
    swapped[red : red + 4], swapped[blue : blue + 4] = b"bXYZ", b"rXYZ"
    name = swapped.find("sRGB".encode("utf-16-be"))
    swapped[name : name + 8] = "test".encode("utf-16-be")
    out = decode(saved(COARSE, "PNG", icc_profile=bytes(swapped)))
    assert np.abs(out.astype(int) - COARSE[..., ::-1]).max() <= 2


DTYPES, SHAPES = [np.uint8, np.uint16, np.bool_], [(3, 4), (3, 4, 1), (3, 4, 3)]


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(st.sampled_from(DTYPES), st.sampled_from(SHAPES)))
def test_integer_arrays_scale_by_their_full_range(array):
    full = {"uint8": 255, "uint16": 65535, "bool": 1}[array.dtype.name]
    truth = np.broadcast_to((array.astype(float) / full * 255).reshape(3, 4, -1), (3, 4, 3))
    assert np.abs(decode(array) - truth).max() <= 0.5 + 1e-9
