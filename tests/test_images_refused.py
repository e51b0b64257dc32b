"""images.decode refuses: what is no accepted photo becomes an ImageError with a sentence, and nothing else."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_tools import COARSE, LOSSLESS, RNG, exif, saved
from PIL import Image, ImageFile, TiffImagePlugin, WebPImagePlugin

from dermomamba.errors import ImageError
from dermomamba.images import decode

pytestmark = pytest.mark.filterwarnings("ignore:Corrupt EXIF data", "ignore:Truncated File Read")


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
