"""Which files of a data set are photos, which are masks, and which belong together: by names alone.

Layouts read (folder names in any case, at any depth):
- ISIC challenges (challenge.isic-archive.com/data): ``..._Input`` or ``..._Data`` beside ``..._GroundTruth``, with
  ``ISIC_x.jpg`` and ``ISIC_x_segmentation.png``;
- PH2 (Mendonca et al. 2013): ``IMDx/IMDx_Dermoscopic_Image/IMDx.bmp`` and ``IMDx/IMDx_lesion/IMDx_lesion.bmp``;
- ``images/`` (or ``img/``) beside ``masks/`` (or ``labels/``, ``gt/``, ``ground_truth/``, ``segmentations/``), any
  picture types;
- photos and ``<name>_segmentation`` (or ``_mask``) files in one folder, or in two folders of any name.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import PurePosixPath

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})
LAYOUTS = (
    "images/ and masks/ with the same names, ISIC names (ISIC_x.jpg and ISIC_x_segmentation.png), "
    "or PH2's folders (IMDx_Dermoscopic_Image and IMDx_lesion)"
)
_IMAGE_FOLDERS, _IMAGE_ENDS = ("images", "image", "img", "imgs"), ("_dermoscopic_image", "_input", "_data")
_MASK_FOLDERS = ("masks", "mask", "labels", "gt", "groundtruth", "ground_truth", "segmentations")
_MASK_ENDS = ("_lesion", "_groundtruth")
_SUFFIXES = ("_segmentation", "_mask", "_lesion")
_IGNORED_ENDS = ("_roi", "_superpixels")


@dataclass(frozen=True)
class Match:
    """Files that belong together, as positions in the list of names.

    Attributes:
        id: the photo's name without folder and extension.
        image, mask: positions.
    """

    id: str
    image: int
    mask: int


def match(names: tuple[str, ...]) -> tuple[list[Match], list[str]]:
    """Pair photos with masks by their names.

    Args:
        names: relative paths with "/" between parts; other files than pictures are passed over.

    Returns:
        The matches sorted by id, and one sentence for each photo or mask that has no partner or more than one.
    """
    images: dict[str, list[int]] = defaultdict(list)
    loose: dict[str, list[int]] = defaultdict(list)
    mask_stems: list[tuple[str, int]] = []
    for position, name in enumerate(names):
        path = PurePosixPath(name)
        if path.suffix.lower() not in EXTENSIONS or path.stem.lower().endswith(_IGNORED_ENDS):
            continue
        role = _role(path)
        if role == "mask" or (role == "" and path.stem.lower().endswith(_SUFFIXES)):
            mask_stems.append((path.stem, position))
        elif role == "image":
            images[path.stem].append(position)
        elif role == "":
            loose[path.stem].append(position)
    images = images or loose  # pictures beside images/ (previews, figures) are not photos of the set
    masks: dict[str, list[int]] = defaultdict(list)
    for stem, position in mask_stems:
        masks[stem if stem in images else _without_suffix(stem)].append(position)

    matches, problems = [], []
    for key in sorted(images.keys() | masks.keys()):
        photos, outlines = images.get(key, []), masks.get(key, [])
        if len(photos) > 1 or len(outlines) > 1:
            twice = "photos" if len(photos) > 1 else "masks"
            problems.append(f"{key}: {max(len(photos), len(outlines))} {twice} have this name")
        elif not outlines:
            problems.append(f"{key}: the mask is missing")
        elif not photos:
            problems.append(f"{key}: the photo is missing")
        else:
            matches.append(Match(key, photos[0], outlines[0]))
    return matches, problems


def _role(path: PurePosixPath) -> str:
    """ "image", "mask", "ignored" or "" by the nearest folder whose name says it."""
    for part in (p.lower() for p in reversed(path.parent.parts)):
        if part.endswith(_IGNORED_ENDS):
            return "ignored"
        if part in _IMAGE_FOLDERS or part.endswith(_IMAGE_ENDS):
            return "image"
        if part in _MASK_FOLDERS or part.endswith(_MASK_ENDS):
            return "mask"
    return ""


def _without_suffix(stem: str) -> str:
    for suffix in _SUFFIXES:
        if stem.lower().endswith(suffix):
            return stem[: -len(suffix)]
    return stem
