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
from PIL import Image, ImageCms, ImageFile, TiffImagePlugin, WebPImagePlugin

from dermomamba.errors import ImageError
from dermomamba.images import decode

pytestmark = pytest.mark.filterwarnings("ignore:Corrupt EXIF data", "ignore:Truncated File Read")
RNG = np.random.default_rng(7)
COARSE = np.kron(RNG.integers(30, 225, (5, 7, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))  # 40 x 56
LOSSLESS = [
    ("PNG", {}),
    ("BMP", {}),
    ("TIFF", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
    ("WEBP", {"lossless": True}),
]
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


# ---- refusals ----


def sentence(error: pytest.ExceptionInfo) -> str:
    text = str(error.value)
    assert text[0].isupper()
    assert text.endswith(".")
    assert text.count(".") >= 2, "what is wrong, and what to do"
    assert not any(word in text for word in ("Error", "Pillow", "PIL", "None", "0x", "dtype"))
    return text


SVG = b'<?xml version="1.0"?>\n<!-- x --><svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'
REFUSED = {
    "empty": (b"", "empty"),
    "text": (b"patient list\n" * 20, "not a picture"),
    "svg": (SVG, "SVG"),
    "gif": (saved(COARSE, "GIF"), "GIF"),
    "pdf": (b"%PDF-1.7 ...", "PDF"),
    "zip": (b"PK\x03\x04" + b"\0" * 40, "ZIP"),
    "heic": (b"\0\0\0\x18ftypheic" + b"\0" * 40, "HEIC"),
    "film": (b"\0\0\0\x18ftypisom" + b"\0" * 40, "film"),
    "dicom": (b"\0" * 128 + b"DICM" + b"\0" * 40, "DICOM"),
    "jpeg 2000": (saved(COARSE, "JPEG2000"), "not a picture"),
    "icon": (saved(COARSE, "ICO"), "not a picture"),
    "postscript": (saved(COARSE, "EPS"), "not a picture"),
    "wave": (b"RIFF\x24\0\0\0WAVEfmt " + b"\0" * 40, "not a picture"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_an_accepted_photo_is_named(name):
    data, word = REFUSED[name]
    with pytest.raises(ImageError) as error:
        decode(data)
    assert word in sentence(error)


@pytest.mark.parametrize("kind", ["WEBP", "PNG", "TIFF"])
def test_several_pictures_in_one_file_are_refused(kind):
    frames = [Image.fromarray(np.roll(COARSE, 8 * i, 0)) for i in range(3)]
    data = saved(frames[0], kind, save_all=True, append_images=frames[1:])
    for source in (data, Image.open(io.BytesIO(data))):
        with pytest.raises(ImageError) as error:
            decode(source)
        assert "several pictures" in sentence(error)


def test_a_phone_jpeg_with_a_second_frame_is_one_photo():
    frames = [Image.fromarray(COARSE), Image.fromarray(255 - COARSE)]
    data = saved(frames[0], "MPO", save_all=True, append_images=frames[1:], quality=95)
    assert np.abs(decode(data).astype(int) - COARSE).mean() < 8


@pytest.mark.parametrize(("kind", "options"), [*LOSSLESS, ("JPEG", {}), ("WEBP", {})])
@pytest.mark.parametrize("part", [0.02, 0.3, 0.6, 0.9])
def test_a_truncated_file_is_refused(kind, options, part):
    noisy = RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = saved(noisy, kind, **options)
    with pytest.raises(ImageError) as error:
        decode(data[: int(len(data) * part)])
    sentence(error)


def test_limits_are_checked_before_decoding(monkeypatch):
    def never(self):
        raise AssertionError("decoded in spite of the limit")

    black = np.zeros((300, 400, 3), np.uint8)
    big = {kind: saved(black, kind) for kind in ("PNG", "JPEG", "BMP", "TIFF", "WEBP")}
    big["VP8L"] = saved(black, "WEBP", lossless=True)
    big["VP8X"] = saved(black, "WEBP", exif=exif(1))
    for reader in (ImageFile.ImageFile, TiffImagePlugin.TiffImageFile, WebPImagePlugin.WebPImageFile):
        monkeypatch.setattr(reader, "load", never)
    for data in big.values():
        with pytest.raises(ImageError) as error:
            decode(data, max_pixels=400 * 300 - 1)
        assert "400 x 300" in sentence(error)
        with pytest.raises(AssertionError):
            decode(data, max_pixels=400 * 300)


def test_a_decompression_bomb_is_refused_from_its_header():
    def chunk(tag: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + tag + body + struct.pack(">I", zlib.crc32(tag + body))

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(10_000_000)))
    with pytest.raises(ImageError) as error:
        decode(bomb + chunk(b"IEND", b""))
    assert "megapixels" in sentence(error)
    canvas = bytearray(saved(COARSE, "WEBP", exif=exif(1)))
    canvas[24:30] = (16_000).to_bytes(3, "little") * 2
    with pytest.raises(ImageError, match="16001 x 16001"):
        decode(bytes(canvas))


def test_byte_limit(tmp_path):
    data = saved(COARSE, "BMP")
    path = tmp_path / "photo.bmp"
    path.write_bytes(data)
    for source in (data, path, str(path)):
        np.testing.assert_array_equal(decode(source, max_bytes=len(data)), COARSE)
        with pytest.raises(ImageError, match="larger than"):
            decode(source, max_bytes=len(data) - 1)


def test_paths_that_are_no_photo(tmp_path):
    for path in (tmp_path / "Doe_Jane.jpg", tmp_path, "a\0b"):
        with pytest.raises(ImageError) as error:
            decode(path)
        assert "Doe" not in sentence(error)


def test_a_wrong_type_is_a_programming_error():
    with pytest.raises(TypeError):
        decode(None)


# ---- arrays ----


def test_arrays_are_copied():
    out = decode(COARSE)
    assert not np.shares_memory(out, COARSE)
    flipped = decode(COARSE[:, ::-1])
    assert flipped.flags["C_CONTIGUOUS"]
    np.testing.assert_array_equal(flipped, COARSE[:, ::-1])


def test_array_dtypes():
    assert decode(np.array([[True, False]]))[0, :, 2].tolist() == [255, 0]
    assert decode(np.array([[0.0, 0.5, 1.0]]))[0, :, 0].tolist() == [0, 128, 255]
    assert decode(np.array([[0.0, 0.25, 1.0]], np.float16))[0, :, 0].tolist() == [0, 64, 255]
    assert decode(np.array([[[0], [257], [65535]]], np.uint16))[0, :, 0].tolist() == [0, 1, 255]


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((3, 8, 9), np.uint8),
        np.zeros(5, np.uint8),
        np.zeros((0, 4), np.uint8),
        np.zeros((4, 0, 3), np.uint8),
        np.zeros((2, 2, 2, 3), np.uint8),
        np.array([[0.0, 1.5]]),
        np.array([[0.0, np.nan]]),
        np.array([[-1.0]]),
        np.zeros((2, 2), np.int64),
        np.zeros((2, 2), complex),
        np.array([["a"]]),
    ],
)
def test_arrays_that_are_no_photo(array):
    with pytest.raises(ImageError) as error:
        decode(array)
    assert str(error.value).count(".") >= 2


# ---- properties ----

KINDS = [*LOSSLESS, ("JPEG", {}), ("WEBP", {})]
VALID = [saved(COARSE[:16, :16], kind, **options) for kind, options in KINDS]


def array_or_image_error(data: bytes) -> None:
    try:
        out = decode(data, max_pixels=1_000_000)
    except ImageError as error:
        assert str(error).endswith(".")  # noqa: PT017 (either outcome is right)
    else:
        assert out.dtype == np.uint8
        assert out.ndim == 3
        assert out.shape[2] == 3


SIGNATURES = [b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"BM", b"II*\0\x08\0\0\0", b"MM\0*"]
SIGNATURES += [b"RIFF\x40\0\0\0WEBP" + kind for kind in (b"VP8X", b"VP8L", b"VP8 ")]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(SIGNATURES), st.binary(max_size=300))
def test_any_bytes_give_an_array_or_an_image_error(signature, tail):
    array_or_image_error(signature + tail)


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(VALID),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=12),
    st.floats(0, 1),
)
def test_any_damage_gives_an_array_or_an_image_error(data, edits, keep):
    damaged = bytearray(data)
    for place, value in edits:
        damaged[int(place * len(damaged))] = value
    array_or_image_error(bytes(damaged[: max(1, int(len(damaged) * (0.3 + 0.7 * keep)))]))


DTYPES, SHAPES = [np.uint8, np.uint16, np.bool_], [(3, 4), (3, 4, 1), (3, 4, 3)]


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(st.sampled_from(DTYPES), st.sampled_from(SHAPES)))
def test_integer_arrays_scale_by_their_full_range(array):
    full = {"uint8": 255, "uint16": 65535, "bool": 1}[array.dtype.name]
    truth = np.broadcast_to((array.astype(float) / full * 255).reshape(3, 4, -1), (3, 4, 3))
    assert np.abs(decode(array) - truth).max() <= 0.5 + 1e-9
