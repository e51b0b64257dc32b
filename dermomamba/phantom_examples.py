"""The example photos of the app and their truth: ``python -m dermomamba.phantom_examples --out assets/examples``.

Eight phantoms that a class can talk about. ``truth.json`` holds for each the file, a sentence that describes it,
the true area, compactness and scale. Running the command again writes the same bytes.
"""

from __future__ import annotations

import argparse
import io
import json
import os
from pathlib import Path
from typing import Any

from PIL import Image

from dermomamba.phantom import Phantom, PhantomSpec, phantom

SIZE = (768, 1024)
QUALITY = 88


EXAMPLES: dict[str, tuple[str, PhantomSpec]] = {
    "small-round": (
        "A small, round, evenly brown lesion with a smooth border on light skin.",
        PhantomSpec(
            size=SIZE, seed=11, centre=(0.47, 0.52), diameter=0.26, aspect=1.06, angle=40, modes=((3, 0.012, 0.4),),
            edge_px=4.0, tone=0.08, redness=0.45, pigment=0.95, variegation=0.3, network=0.35, mm_per_pixel=0.018,
        ),
    ),
    "large-irregular": (
        "A large, patchy, brown and blue-grey lesion with an irregular, notched border on light skin.",
        PhantomSpec(
            size=SIZE, seed=23, centre=(0.5, 0.5), diameter=0.66, aspect=1.3, angle=-25,
            modes=(
                (2, 0.07, 2.1), (3, 0.10, 0.3), (4, 0.05, 4.0), (5, 0.055, 1.2), (7, 0.04, 5.0), (9, 0.03, 2.2),
                (13, 0.018, 0.7), (17, 0.012, 3.3),
            ),
            edge_px=4.5, tone=0.12, redness=0.6, pigment=1.0, variegation=1.0, network=0.6, globules=0.15, blue=0.8,
            mm_per_pixel=0.016,
        ),
    ),
    "dark-skin": (
        "A dark brown lesion with a clear, slightly wavy border on dark skin.",
        PhantomSpec(
            size=SIZE, seed=37, centre=(0.53, 0.48), diameter=0.42, aspect=1.25, angle=70,
            modes=((2, 0.03, 1.0), (3, 0.04, 2.0), (5, 0.02, 0.0)), edge_px=5.0, tone=0.78, redness=0.4, pigment=1.15,
            variegation=0.5, network=0.5, mm_per_pixel=0.016,
        ),
    ),
    "hairs": (
        "A brown lesion with a pigment network, crossed by many dark hairs.",
        PhantomSpec(
            size=SIZE, seed=43, centre=(0.5, 0.52), diameter=0.45, aspect=1.2, angle=15,
            modes=((2, 0.04, 0.2), (3, 0.05, 1.5), (4, 0.03, 3.0), (6, 0.02, 2.0)), edge_px=4.0, tone=0.2, redness=0.6,
            pigment=1.0, variegation=0.6, network=0.7, hairs=22, bubbles=4, mm_per_pixel=0.015,
        ),
    ),
    "ruler": (
        "A brown lesion with dark spots beside a printed ruler whose ticks are 1 mm apart.",
        PhantomSpec(
            size=SIZE, seed=57, centre=(0.5, 0.42), diameter=0.38, aspect=1.15, angle=120,
            modes=((2, 0.05, 0.7), (3, 0.04, 2.5), (5, 0.025, 1.0)), edge_px=4.0, tone=0.15, redness=0.35, pigment=0.9,
            variegation=0.5, network=0.2, globules=0.6, mm_per_pixel=0.02, ruler=True, ruler_angle=-4.0,
            ruler_start=(0.12, 0.93), ruler_length_mm=15.0,
        ),
    ),
    "dark-corners": (
        "An oval brown lesion seen through a round field of view with dark corners and a few air bubbles.",
        PhantomSpec(
            size=SIZE, seed=61, centre=(0.48, 0.5), diameter=0.4, aspect=1.45, angle=150,
            modes=((3, 0.03, 0.0), (4, 0.02, 1.0), (7, 0.012, 2.0)), edge_px=3.5, tone=0.18, redness=0.25, pigment=1.2,
            variegation=0.6, network=0.6, bubbles=9, hairs=3, vignette=0.85, mm_per_pixel=0.017,
        ),
    ),
    "pale": (
        "A pale, pinkish-brown lesion with a soft border and little contrast to the skin.",
        PhantomSpec(
            size=SIZE, seed=73, centre=(0.52, 0.5), diameter=0.46, aspect=1.2, angle=10,
            modes=((2, 0.04, 1.4), (3, 0.04, 0.6), (5, 0.02, 2.7)), edge_px=11.0, tone=0.1, redness=0.7, pigment=0.34,
            variegation=0.45, network=0.3, mm_per_pixel=0.017,
        ),
    ),
    "cut-by-frame": (
        "A large brown lesion that reaches beyond the right edge of the photo, so that it cannot be measured whole.",
        PhantomSpec(
            size=SIZE, seed=89, centre=(0.86, 0.45), diameter=0.62, aspect=1.2, angle=80,
            modes=((2, 0.04, 0.3), (3, 0.05, 1.0), (5, 0.03, 0.5), (8, 0.015, 2.0)), edge_px=5.0, tone=0.3, redness=0.5,
            pigment=1.0, variegation=0.8, network=0.6, mm_per_pixel=0.016,
        ),
    ),
}  # fmt: skip


def features(spec: PhantomSpec) -> list[str]:
    """What can be seen in a phantom, in short words."""
    present = {
        "hairs": spec.hairs > 0,
        "ruler": spec.ruler,
        "dark corners": spec.vignette > 0,
        "air bubbles": spec.bubbles > 0,
        "dark skin": spec.tone > 0.6,
        "pigment network": spec.network >= 0.5,
        "globules": spec.globules >= 0.1,
        "blue-grey part": spec.blue > 0,
        "low contrast": spec.pigment < 0.4,
    }
    return [name for name, seen in present.items() if seen]


def truth(file: str, sentence: str, drawn: Phantom) -> dict[str, Any]:
    """One entry of ``truth.json``; lengths in px of the photo, areas in px^2."""
    mm = drawn.mm_per_pixel
    return {
        "file": file,
        "description": sentence,
        "width": drawn.image.shape[1],
        "height": drawn.image.shape[0],
        "area_px": round(drawn.area_px, 2),
        "area_mm2": None if mm is None else round(drawn.area_px * mm**2, 4),
        "area_fraction": round(drawn.area_px / drawn.mask.size, 6),
        "perimeter_px": round(drawn.perimeter_px, 2),
        "compactness": round(drawn.compactness, 5),
        "mm_per_pixel": mm,
        "touches_frame": drawn.touches_frame,
        "features": features(drawn.spec) + (["cut by the frame"] if drawn.touches_frame else []),
    }


def write(out: Path) -> list[Path]:
    """Draw all examples and write them with ``truth.json``.

    Args:
        out: folder; made when missing.

    Returns:
        The files written.
    """
    out.mkdir(parents=True, exist_ok=True)
    files: dict[Path, bytes] = {}
    entries = []
    for name, (sentence, spec) in EXAMPLES.items():
        drawn = phantom(spec)
        buffer = io.BytesIO()
        Image.fromarray(drawn.image).save(buffer, "JPEG", quality=QUALITY, subsampling=0)
        files[out / f"{name}.jpg"] = buffer.getvalue()
        entries.append(truth(f"{name}.jpg", sentence, drawn))
    files[out / "truth.json"] = (json.dumps(entries, indent=2) + "\n").encode()
    for path, data in files.items():
        part = path.with_name(path.name + ".part")
        part.write_bytes(data)
        os.replace(part, path)
    return list(files)


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m dermomamba.phantom_examples", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("assets/examples"), help="folder to write to")
    for path in write(parser.parse_args(arguments).out):
        print(f"{path}  {path.stat().st_size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
