"""Readers and ZIP hygiene, on files made on the fly; a real set when it lies beside the checkout."""

from __future__ import annotations

import io
import stat
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dermomamba.errors import DataError, ImageError
from dermomamba.learning.archive import Limits
from dermomamba.learning.datasets import decode_mask, load_uint8, read_pairs

SHARED = Path(__file__).parents[2] / ".." / "shared" / "data"
HEIGHT, WIDTH = 24, 32
real_data = pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared/data beside the checkout")


def a_mask() -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[6:18, 8:20] = True
    return mask


def a_photo() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def encoded(array: np.ndarray | Image.Image, kind: str = "png", **options: object) -> bytes:
    picture = array if isinstance(array, Image.Image) else Image.fromarray(array)
    out = io.BytesIO()
    picture.save(out, {"jpg": "jpeg", "tif": "tiff"}.get(kind, kind), **options)
    return out.getvalue()


def png_mask(mask: np.ndarray | None = None) -> bytes:
    return encoded((a_mask() if mask is None else mask).astype(np.uint8) * 255)


def write_folder(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def write_zip(path: Path, files: dict[str, bytes], how: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", how) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


LAYOUTS = {
    "images and masks": {
        "images/a.webp": encoded(a_photo(), "webp", lossless=True),
        "masks/a.png": png_mask(),
    },
    "img and gt": {"img/a.webp": encoded(a_photo(), "webp", lossless=True), "gt/a.png": png_mask()},
    "images and labels": {"images/a.webp": encoded(a_photo(), "webp", lossless=True), "labels/a.png": png_mask()},
    "images and masks, suffixed, inside a folder": {
        "set/Images/a.jpg": encoded(a_photo(), "jpg"),
        "set/Masks/a_segmentation.png": png_mask(),
    },
    "ISIC 2018 folders": {
        "ISIC2018_Task1-2_Training_Input/a.jpg": encoded(a_photo(), "jpg"),
        "ISIC2018_Task1-2_Training_Input/a_superpixels.png": png_mask(),
        "ISIC2018_Task1-2_Training_Input/ATTRIBUTION.txt": b"words",
        "ISIC2018_Task1_Training_GroundTruth/a_segmentation.png": png_mask(),
    },
    "ISIC names in one folder": {"a.jpg": encoded(a_photo(), "jpg"), "a_segmentation.png": png_mask()},
    "PH2's tree": {
        "PH2Dataset/PH2 Dataset images/a/a_Dermoscopic_Image/a.bmp": encoded(a_photo(), "bmp"),
        "PH2Dataset/PH2 Dataset images/a/a_lesion/a_lesion.bmp": encoded(Image.fromarray(a_mask()), "bmp"),
        "PH2Dataset/PH2 Dataset images/a/a_roi/a_R1_Label4.bmp": encoded(Image.fromarray(a_mask()), "bmp"),
        "PH2Dataset/PH2_dataset.txt": b"words",
    },
    "two folders of any name": {
        "photos_part_1/a.jpg": encoded(a_photo(), "jpg"),
        "segmentations_tschandl/a_segmentation.png": png_mask(),
    },
    "beside previews": {
        "images/a.png": encoded(a_photo()),
        "masks/a.png": png_mask(),
        "preview/b.png": encoded(a_photo()),
        "__MACOSX/images/._a.png": b"shadow",
        "images/.DS_Store": b"shadow",
    },
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
def test_each_layout_gives_its_one_pair(layout: str, packed: bool, tmp_path: Path) -> None:
    files = LAYOUTS[layout]
    source = write_zip(tmp_path / "set.zip", files) if packed else write_folder(tmp_path / "set", files)
    pairs = read_pairs(source)
    assert [pair.id for pair in pairs] == ["a"]
    assert pairs.problems == ()
    image, mask = pairs.pairs[0].both()
    assert image.shape == (HEIGHT, WIDTH, 3)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(mask, a_mask())
    if not layout.startswith(("ISIC", "two", "images and masks, ")):  # lossless photos
        np.testing.assert_array_equal(image, a_photo())


def palette_mask() -> Image.Image:
    picture = Image.fromarray(a_mask().astype(np.uint8), "P")
    picture.putpalette([0, 0, 0, 128, 0, 0])
    return picture


def transparent_mask() -> np.ndarray:
    white = np.full((HEIGHT, WIDTH, 4), 255, np.uint8)
    white[..., 3] = a_mask() * 255
    return white


MASKS = {
    "0 and 1": encoded(a_mask().astype(np.uint8)),
    "0 and 255": png_mask(),
    "one bit": encoded(Image.fromarray(a_mask())),
    "one bit BMP": encoded(Image.fromarray(a_mask()), "bmp"),
    "RGB": encoded(np.repeat(a_mask()[..., None] * np.uint8(255), 3, axis=2)),
    "pure red": encoded(a_mask()[..., None] * np.array([255, 0, 0], np.uint8)),
    "RGBA, opaque": encoded(np.dstack([*[a_mask() * np.uint8(255)] * 3, np.full((HEIGHT, WIDTH), 255, np.uint8)])),
    "RGBA, white on transparent": encoded(transparent_mask()),
    "palette": encoded(palette_mask()),
    "16 bits, 0 and 65535": encoded(a_mask().astype(np.uint16) * 65535),
    "16 bits, 0 and 1": encoded(a_mask().astype(np.uint16)),
    "16 bits, 0 and 255": encoded(a_mask().astype(np.uint16) * 255),
    "float TIFF": encoded(Image.fromarray(a_mask().astype(np.float32)), "tif"),
    "JPEG": encoded(a_mask().astype(np.uint8) * 255, "jpg", quality=95),
    "soft": encoded(np.where(a_mask(), 128, 127).astype(np.uint8)),
}


@pytest.mark.parametrize("kind", MASKS)
def test_every_kind_of_mask_gives_the_same_lesion(kind: str, tmp_path: Path) -> None:
    files = {"images/a.png": encoded(a_photo()), "masks/a.png": MASKS[kind]}
    pairs = read_pairs(write_zip(tmp_path / "set.zip", files))
    np.testing.assert_array_equal(pairs.pairs[0].mask(), a_mask())


def test_a_full_mask_of_ones_is_a_full_lesion() -> None:
    assert (decode_mask(encoded(np.ones((4, 5), np.uint8))) == 255).all()


def test_a_mask_that_is_no_picture_is_refused() -> None:
    with pytest.raises(ImageError):
        decode_mask(b"not a picture")


def test_bad_pairs_are_listed_by_name_and_the_rest_goes_on(tmp_path: Path) -> None:
    photo = encoded(a_photo())
    files = {
        "images/good.png": photo,
        "masks/good.png": png_mask(),
        "images/lonely.png": photo,
        "masks/orphan.png": png_mask(),
        "images/empty.png": photo,
        "masks/empty.png": png_mask(np.zeros((HEIGHT, WIDTH), bool)),
        "images/small.png": photo,
        "masks/small.png": png_mask(a_mask()[::2, ::2]),
        "images/twice.png": photo,
        "images/twice.jpg": encoded(a_photo(), "jpg"),
        "masks/twice.png": png_mask(),
        "images/broken.png": b"\x89PNG\r\n\x1a\n broken",
        "masks/broken.png": png_mask(),
        "images/badmask.png": photo,
        "masks/badmask.png": png_mask()[:40],
    }
    pairs = read_pairs(write_folder(tmp_path / "set", files))
    assert [pair.id for pair in pairs] == ["good"]
    expected = {
        "lonely": "the mask is missing",
        "orphan": "the photo is missing",
        "empty": "the mask is empty",
        "small": "16 x 12",
        "twice": "2 photos have this name",
        "broken": "the photo cannot be used",
        "badmask": "the mask cannot be used",
    }
    assert {problem.split(":")[0] for problem in pairs.problems} == set(expected)
    for name, words in expected.items():
        assert any(problem.startswith(f"{name}: ") and words in problem for problem in pairs.problems), name
        assert f"{name}: " in pairs.report()
    assert pairs.raise_if_empty() is pairs
    assert len(load_uint8(pairs, (12, 16))[0]) == 1


def test_no_usable_pair_is_one_message_with_every_name(tmp_path: Path) -> None:
    pairs = read_pairs(write_folder(tmp_path / "set", {"images/a.png": encoded(a_photo()), "masks/b.png": png_mask()}))
    with pytest.raises(DataError, match=r"(?s)a: the mask is missing.*b: the photo is missing"):
        pairs.raise_if_empty()


@pytest.mark.parametrize("what", ["nothing there", "a text file", "an empty folder"])
def test_a_source_that_is_no_data_set_is_refused(what: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    if what == "a text file":
        source.write_text("words")
    elif what == "an empty folder":
        source.mkdir()
    with pytest.raises(DataError):
        read_pairs(source)


def test_a_photo_turned_by_exif_fits_its_upright_mask(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = a_photo()
    stored = Image.fromarray(np.rot90(upright).copy())  # orientation 6: shown turned clockwise by a quarter
    files = {"images/a.png": encoded(stored, exif=exif.tobytes()), "masks/a.png": png_mask()}
    pairs = read_pairs(write_folder(tmp_path / "set", files))
    assert pairs.problems == ()
    np.testing.assert_array_equal(pairs.pairs[0].image(), upright)


GOOD = {"images/a.png": encoded(a_photo()), "masks/a.png": png_mask()}


@pytest.mark.parametrize("name", ["../a.png", "images/../../a.png", "/etc/a.png", "C:/a.png", "images\\..\\a.png"])
def test_a_zip_whose_names_lead_out_of_it_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="leads out"):
        read_pairs(write_zip(tmp_path / "set.zip", GOOD | {name: b"x"}))


def test_a_zip_with_a_link_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "set.zip", GOOD)
    link = zipfile.ZipInfo("images/b.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(DataError, match="links"):
        read_pairs(path)


def test_a_zip_in_a_zip_is_refused(tmp_path: Path) -> None:
    inner = write_zip(tmp_path / "inner.zip", GOOD).read_bytes()
    with pytest.raises(DataError, match="another archive"):
        read_pairs(write_zip(tmp_path / "set.zip", GOOD | {"more.zip": inner}))


def test_the_limits_on_files_bytes_and_ratio_hold(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "set.zip", GOOD)
    for limits, words in (
        (Limits(members=1), "2 files"),
        (Limits(total_bytes=100), "unpacks to more"),
        (Limits(member_bytes=100), "larger than"),
    ):
        with pytest.raises(DataError, match=words):
            read_pairs(path, limits)
    bomb = write_zip(tmp_path / "bomb.zip", GOOD | {"images/b.bmp": bytes(6_000_000)}, zipfile.ZIP_DEFLATED)
    with pytest.raises(DataError, match="far more than its own size"):
        read_pairs(bomb)


def test_a_damaged_member_is_a_problem_of_its_own(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "set.zip", GOOD | {"images/b.png": bytes(5000), "masks/b.png": png_mask()})
    content = bytearray(path.read_bytes())
    content[content.find(bytes(5000)) + 7] ^= 1  # the checksum no longer fits
    path.write_bytes(content)
    pairs = read_pairs(path)
    assert [pair.id for pair in pairs] == ["a"]
    assert len(pairs.problems) == 1
    assert pairs.problems[0].startswith("b: the photo cannot be used: is damaged")


def test_a_cut_off_zip_is_a_sentence(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "set.zip", GOOD)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DataError):
        read_pairs(path)


def test_index_csv_is_read_by_id_and_a_broken_one_is_a_problem(tmp_path: Path) -> None:
    good = read_pairs(write_zip(tmp_path / "good.zip", GOOD | {"index.csv": b"\xef\xbb\xbfid,lesion_id\na,L1\n"}))
    assert good.index == {"a": {"id": "a", "lesion_id": "L1"}}
    bad = read_pairs(write_zip(tmp_path / "bad.zip", GOOD | {"index.csv": b"name\na\n"}))
    assert bad.index == {}
    assert bad.problems == ("index.csv: it has no column 'id' and was not used",)


def test_load_uint8_keeps_the_share_of_lesion_and_reports_progress(tmp_path: Path) -> None:
    pairs = read_pairs(write_zip(tmp_path / "set.zip", GOOD))
    seen: list[tuple[int, int]] = []
    images, masks = load_uint8(pairs, (8, 8), progress=lambda done, total: seen.append((done, total)))
    assert (images.shape, images.dtype) == ((1, 8, 8, 3), np.uint8)
    assert (masks.shape, masks.dtype) == ((1, 8, 8), np.uint8)
    assert seen == [(1, 1)]
    assert masks.mean() / 255 == pytest.approx(a_mask().mean(), abs=0.002)
    np.testing.assert_allclose(images.mean(axis=(0, 1, 2)), a_photo().mean(axis=(0, 1)), atol=0.6)
    assert load_uint8((), (8, 8))[0].shape == (0, 8, 8, 3)


def test_load_uint8_leaves_out_and_names_a_photo_that_is_cut_off(tmp_path: Path) -> None:
    noisy = encoded(np.random.default_rng(1).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8), "jpg")
    files = GOOD | {"images/b.jpg": noisy[:-200], "masks/b.png": png_mask()}
    pairs = read_pairs(write_zip(tmp_path / "set.zip", files))
    with pytest.warns(UserWarning, match="b: "):
        images, masks = load_uint8(pairs, (8, 8))
    assert len(images) == len(masks) == 1


@real_data
def test_real_ph2_pairs_are_all_usable() -> None:
    pairs = read_pairs(SHARED / "ph2_half.zip")
    assert len(pairs) == 103
    assert pairs.problems == ()
    image, mask = pairs.pairs[0].both()
    assert image.shape[:2] == mask.shape
    assert 0.01 < mask.mean() < 0.99
