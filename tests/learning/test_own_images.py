"""The collection for a fine-tuning: what is kept, what is left out by name, and that nothing but pixels stays."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dermomamba.errors import DataError
from dermomamba.learning.datasets import read_pairs
from dermomamba.learning.own_images import SIDE, OwnImages, shrink


def photo(seed: int, size: tuple[int, int] = (60, 80)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype(np.uint8)


def disc(size: tuple[int, int] = (60, 80)) -> np.ndarray:
    y, x = np.mgrid[: size[0], : size[1]]
    return (x - size[1] / 2) ** 2 + (y - size[0] / 2) ** 2 < (size[0] / 3) ** 2


def encoded(values: np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    content = io.BytesIO()
    Image.fromarray(values).save(content, kind, **options)
    return content.getvalue()


@pytest.fixture
def own(tmp_path: Path) -> OwnImages:
    return OwnImages(tmp_path / "own")


def test_loose_files_and_a_zip_together(own: OwnImages, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "Jane Doe"
    (tmp_path / "Jane.jpg").write_bytes(encoded(photo(1), "JPEG", exif=exif))
    (tmp_path / "Jane_segmentation.png").write_bytes(encoded(disc()))
    (tmp_path / "alone.png").write_bytes(encoded(photo(2)))
    with zipfile.ZipFile(tmp_path / "more.zip", "w") as archive:
        archive.writestr("images/b.png", encoded(photo(3)))
        archive.writestr("masks/b.png", encoded(disc()))
        archive.writestr("images/small.png", encoded(photo(4)))
        archive.writestr("masks/small.png", encoded(disc((30, 40))))
    (tmp_path / "bad.zip").write_bytes(b"no archive")
    problems = own.add_files([tmp_path / name for name in ("Jane.jpg", "Jane_segmentation.png", "alone.png")]
                             + [tmp_path / "more.zip", tmp_path / "bad.zip"])  # fmt: skip
    assert len(own) == 2
    assert [image.number for image in own.images] == [1, 2]
    assert [p.split(":")[0] for p in problems] == ["small", "bad.zip", "alone"]
    assert "30" in problems[0]
    files = sorted(path.relative_to(own.folder).as_posix() for path in own.folder.rglob("*.png"))
    assert files == ["images/0001.png", "images/0002.png", "masks/0001.png", "masks/0002.png"]
    for path in own.folder.rglob("*.png"):
        with Image.open(path) as picture:
            assert not picture.getexif()
            assert not picture.info
        assert b"Jane" not in path.read_bytes()


def test_the_kept_pixels_are_the_given_ones_and_the_worker_can_read_them(own: OwnImages) -> None:
    assert own.add(photo(1), disc()) == ""
    (pair,) = read_pairs(own.folder, check=False)
    image, mask = pair.both()
    assert np.array_equal(image, photo(1))
    assert np.array_equal(mask, disc())


def test_twins_and_empty_masks_are_left_out(own: OwnImages) -> None:
    assert own.add(photo(1), disc()) == ""
    assert own.add(photo(1), ~disc()) == "it shows the same photo as number 1"
    assert own.add(photo(2), np.zeros((60, 80), bool)) == "the mask is empty"
    assert len(own) == 1


def test_a_large_photo_is_kept_smaller_with_the_same_share_of_lesion(own: OwnImages) -> None:
    size = (1500, 2000)
    own.add(np.zeros((*size, 3), np.uint8), disc(size))
    (pair,) = read_pairs(own.folder, check=False)
    image, mask = pair.both()
    assert image.shape == (768, SIDE, 3)
    assert mask.mean() == pytest.approx(disc(size).mean(), rel=0.01)
    assert max(own.images[0].small.shape) <= 224


def test_small_ones_are_not_enlarged() -> None:
    image, mask = shrink(photo(1), disc(), 200)
    assert image.shape == (60, 80, 3)
    assert mask.shape == (60, 80)


def test_removing_and_the_least_number(own: OwnImages) -> None:
    for seed in range(4):
        own.add(photo(seed), disc())
    own.require()
    own.remove(own.images[1].digest)
    assert [image.number for image in own.images] == [1, 3, 4]
    assert len(list(own.folder.rglob("*.png"))) == 6
    with pytest.raises(DataError, match="Add 1 more"):
        own.require()
    own.remove("unknown")
    own.close()
    assert not own.folder.exists()


def test_what_was_drawn_follows_the_page(own: OwnImages) -> None:
    first, second = (photo(1), disc()), (photo(2), disc())
    own.add(photo(9), disc())
    assert own.keep_drawn([first, second]) == []
    assert own.keep_drawn([first, second]) == []  # the same again changes nothing
    assert len(own) == 3
    assert own.keep_drawn([second]) == []
    assert len(own) == 2
    assert own.keep_drawn([second, (photo(9), disc())]) == ["Corrected photo 2: it shows the same photo as number 1"]
    own.keep_drawn([])
    assert len(own) == 1
