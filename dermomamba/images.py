"""Safe decoding: what may come in as a photo, what leaves, and how the rest is refused.

In: a JPEG, PNG, WebP, BMP or TIFF file (bytes or path), a PIL image, or an array. Out: an (H, W, 3) uint8
sRGB array and nothing else: no EXIF, no GPS, no name, no profile. Limits are checked on the header before
a pixel is decoded. Orientation is EXIF tag 0x0112 (CIPA DC-008, section 4.6.4), applied exactly once.
"""

from __future__ import annotations

import io
import os
import stat
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageCms

from dermomamba.errors import ImageError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
KINDS = "JPEG, PNG, WebP, BMP or TIFF"
MAX_PIXELS = 64_000_000
MAX_BYTES = 30_000_000

_TURN = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION_TAG = 0x0112
# What Pillow's decoders raise on damaged files; each of them becomes a sentence.
_DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    EOFError,
    LookupError,
    ArithmeticError,
    AttributeError,
    MemoryError,
    RuntimeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)
_DAMAGED = "This picture is damaged or incomplete. Copy or export it again from the camera and try once more."


def decode(
    source: bytes | str | os.PathLike[str] | Image.Image | np.ndarray,
    max_pixels: int = MAX_PIXELS,
    max_bytes: int = MAX_BYTES,
) -> np.ndarray:
    """Turn whatever a person may hand in into RGB pixels, or refuse it with a sentence.

    Transparent pixels are laid on white. Grey and 16-bit pictures are scaled by their full range (65535
    becomes 255), never clipped. A colour profile in the file is applied, so that the array is sRGB.

    Args:
        source: the bytes of a file, a path, a PIL image, or an array: (H, W), (H, W, 1), (H, W, 3) or
            (H, W, 4) with dtype uint8, uint16, bool, or float in [0, 1].
        max_pixels: largest width x height accepted, in px.
        max_bytes: largest file accepted, in bytes.

    Returns:
        (H, W, 3) uint8 RGB, contiguous, sharing no memory with ``source``.

    Raises:
        ImageError: the source is not one still picture of an accepted kind within the limits.
        TypeError: ``source`` is none of the types above.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source, max_pixels)
    if isinstance(source, Image.Image):
        return _from_picture(source, max_pixels)
    if isinstance(source, (bytes, bytearray, memoryview)):
        data = bytes(source)
    elif isinstance(source, (str, os.PathLike)):
        data = _read(source, max_bytes)
    else:
        raise TypeError(f"decode takes bytes, a path, a PIL image or an array, not {type(source).__name__}")
    _check_bytes(len(data), max_bytes)
    return _from_bytes(data, max_pixels)


def _read(path: str | os.PathLike[str], max_bytes: int) -> bytes:
    """The bytes of a regular file, at most ``max_bytes`` of them; the message never repeats the name."""
    try:
        status = Path(path).stat()
        if not stat.S_ISREG(status.st_mode):
            raise ImageError(f"This is not a file. Choose one photo ({KINDS}).")
        _check_bytes(status.st_size, max_bytes)
        with open(path, "rb") as file:
            return file.read(max_bytes + 1)
    except FileNotFoundError as error:
        raise ImageError("There is no such file. Check the path and try again.") from error
    except ImageError:
        raise
    except (OSError, ValueError) as error:
        raise ImageError("This file cannot be opened. Check that you may read it and try again.") from error


def _check_bytes(size: int, max_bytes: int) -> None:
    if size == 0:
        raise ImageError("This file is empty. Copy the photo again from the camera and try once more.")
    if size > max_bytes:
        raise ImageError(f"This file is larger than {max_bytes / 1e6:g} MB. Save the photo as JPEG or make it smaller.")


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width < 1 or height < 1:
        raise ImageError("This picture has no pixels. Choose another photo.")
    if width * height > max_pixels:
        raise ImageError(
            f"This picture has {width} x {height} pixels, more than the {max_pixels / 1e6:g} megapixels that "
            "can be read. Make it smaller or cut out the part with the lesion."
        )


def _from_bytes(data: bytes, max_pixels: int) -> np.ndarray:
    reason = _refusal(data)
    if reason:
        raise ImageError(reason)
    if data[:4] == b"RIFF":  # Pillow's WebP reader allocates the canvas before its size can be asked for
        width, height = _webp_size(data)
        _check_size(width, height, max_pixels)
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            return _from_picture(picture, max_pixels)
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"This picture has more than {max_pixels / 1e6:g} megapixels. Make it smaller.") from error
    except _DECODER_ERRORS as error:
        raise ImageError(_DAMAGED) from error


def _refusal(data: bytes) -> str:
    """Why a file is refused by its first bytes; an empty string for the five kinds that are read."""
    head = data[:16]
    if (
        head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"II*\0", b"MM\0*"))
        or head[:4] in (b"II+\0", b"MM\0+")  # BigTIFF
        or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
    ):
        return ""
    if head.startswith((b"GIF87a", b"GIF89a")):
        name = "a GIF, which may be animated and has few colours"
    elif head[4:8] == b"ftyp" and head[8:11] in (b"hei", b"hev", b"mif", b"msf", b"avi"):
        name = "a HEIC or AVIF picture (a phone's own format)"
    elif data[128:132] == b"DICM":
        name = "a DICOM file"
    elif b"<svg" in data[:4096].lower():
        name = "a drawing (SVG), not a photo"
    elif head.startswith(b"%PDF"):
        name = "a PDF document"
    elif head.startswith(b"PK\x03\x04"):
        name = "a ZIP archive or an office document, not a photo"
    elif head[4:8] == b"ftyp":
        name = "a film, not a photo"
    else:
        return f"This file is not a picture that can be read. Choose a photo saved as {KINDS}."
    return f"This file is {name}. Save or export one photo as {KINDS} and choose that."


def _webp_size(data: bytes) -> tuple[int, int]:
    """Width and height in a WebP header (RFC 9649, sections 2.5 to 2.7), in px."""
    kind, body = data[12:16], data[20:30]
    if len(body) < 10:
        raise ImageError(_DAMAGED)
    if kind == b"VP8X":
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + ((bits >> 14) & 0x3FFF)
    if kind == b"VP8 ":
        width, height = struct.unpack("<HH", body[6:10])
        return width & 0x3FFF, height & 0x3FFF
    raise ImageError(_DAMAGED)


def _from_picture(picture: Image.Image, max_pixels: int) -> np.ndarray:
    """Pixels of a PIL image, which is left as it was."""
    _check_size(*picture.size, max_pixels)
    # A phone's JPEG with a preview or depth map beside it (MPO) is one photo: its first frame is read.
    if getattr(picture, "is_animated", False) and picture.format != "MPO":
        raise ImageError("This file holds several pictures (an animation or pages). Save the one you want on its own.")
    try:
        picture.load()
        rgb = _to_rgb(picture)
        turn = _TURN.get(_orientation(picture))
        upright = rgb if turn is None else rgb.transpose(turn)
    except _DECODER_ERRORS as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError(_DAMAGED) from error
    return np.array(upright, dtype=np.uint8, order="C")


def _orientation(picture: Image.Image) -> int:
    """EXIF orientation 1 to 8; 1 where there is none or its block is broken (the pixels are still good)."""
    try:
        value = picture.getexif().get(_ORIENTATION_TAG, 1)
    except _DECODER_ERRORS:
        return 1
    return value if isinstance(value, int) else 1


def _to_rgb(picture: Image.Image) -> Image.Image:
    """An RGB image in sRGB from any Pillow mode."""
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        return Image.fromarray(_from_array(_deep_grey(picture), picture.width * picture.height))
    if picture.mode == "CMYK":
        # Adobe's JPEGs store inverted inks and say so in an APP14 marker (Adobe TN #5116); Pillow always
        # assumes it.
        plain = picture.format == "JPEG" and "adobe" not in picture.info
        inks = ImageChops.invert(picture) if plain else picture
        return _apply_profile(inks)
    if picture.has_transparency_data:
        rgba = picture.convert("RGBA")
        ground = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        opaque = Image.alpha_composite(ground, rgba).convert("RGB")
        return _apply_profile(opaque, picture.info.get("icc_profile"))
    if picture.mode == "RGB":
        return _apply_profile(picture)
    if picture.mode in ("1", "L", "P", "PA", "LA", "RGBX", "RGBA", "RGBa", "La", "YCbCr", "HSV"):
        return picture.convert("RGB")
    raise ImageError("The colours of this picture are stored in an unusual way. Save it as an RGB JPEG or PNG.")


def _deep_grey(picture: Image.Image) -> np.ndarray:
    """The values of a 16- or 32-bit grey picture as uint16 or float in [0, 1]."""
    values = np.asarray(picture)
    if values.dtype == np.uint16:
        return values
    if values.dtype.kind in "iu" and values.min() >= 0 and values.max() <= 65535:
        return values.astype(np.uint16)
    if values.dtype.kind == "f" and np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1:
        return values
    raise ImageError("The brightness range of this picture is unknown. Save it with 8 or 16 bits a channel.")


def _apply_profile(picture: Image.Image, profile: bytes | None = None) -> Image.Image:
    """RGB or CMYK to sRGB by the profile the file carries; without a usable one, by the plain formula."""
    profile = profile or picture.info.get("icc_profile")
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if "srgb" not in ImageCms.getProfileDescription(source).lower():
                converted = ImageCms.profileToProfile(picture, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
                if converted is not None:
                    return converted
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            return picture.convert("RGB")  # a broken or ill-fitting profile says nothing about the pixels
    return picture.convert("RGB")


def _from_array(array: np.ndarray, max_pixels: int) -> np.ndarray:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise ImageError(
            "This array is not one picture. Give height x width, or height x width x 3 (or 4), channels last."
        )
    _check_size(array.shape[1], array.shape[0], max_pixels)
    if array.dtype == np.uint8:
        pixels = array
    elif array.dtype == np.uint16:
        pixels = ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    elif array.dtype == np.bool_:
        pixels = array.astype(np.uint8) * np.uint8(255)
    elif array.dtype.kind == "f":
        if not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1):
            raise ImageError("Decimal pixel values must lie between 0 and 1. Divide by the largest value.")
        pixels = np.rint(array * 255.0).astype(np.uint8)
    else:
        raise ImageError("This type of pixel value cannot be read. Use 8 or 16 bits, or decimals 0 to 1.")
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.shape[2] == 1:
        return np.ascontiguousarray(np.repeat(pixels, 3, axis=2))
    if pixels.shape[2] == 4:
        colour, alpha = pixels[..., :3].astype(np.uint32), pixels[..., 3:].astype(np.uint32)
        return ((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    return np.array(pixels, order="C")
