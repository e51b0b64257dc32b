"""Own weights as files: packed to be taken away, and read again from what somebody uploads.

A ZIP holds the safetensors, the JSON card and the model card for people. What comes in is never more than tensors and
a card: pickle and everything else is refused (huggingface.co/docs/hub/security-pickle).
"""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from dermomamba import model_card, weights
from dermomamba.errors import DataError, WeightsError
from dermomamba.learning.archive import Limits, open_store

LIMITS = Limits(members=10, total_bytes=100_000_000, member_bytes=60_000_000)
MAX_CARD_BYTES = 2_000_000
MAX_NAME = 40
WANTED = "Choose the ZIP that was downloaded here, or a .safetensors file with its .json card."


def pack(path: Path) -> bytes:
    """Weights and cards as one ZIP.

    Args:
        path: a ``.safetensors`` file with its card beside it.

    Returns:
        The bytes of the ZIP.
    """
    card = weights.read_card(path)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.write(path, path.name)
        archive.write(path.with_suffix(".json"), path.with_suffix(".json").name)
        archive.writestr("MODEL_CARD.md", model_card.render(card))
    return content.getvalue()


def unpack(paths: Sequence[Path]) -> weights.Weights:
    """Read uploaded weights.

    Args:
        paths: one ZIP, or one ``.safetensors`` file and, if there is one, its ``.json`` card.

    Returns:
        The weights, called as their card calls them.

    Raises:
        WeightsError: anything else; the message says what is wrong, and names the first tensor that does not fit.
    """
    try:
        single_zip = len(paths) == 1 and paths[0].suffix.lower() == ".zip"
        store = open_store(paths[0] if single_zip else list(paths), LIMITS)
        found: dict[str, bytes] = {}
        for index, name in enumerate(store.names):
            kind = PurePosixPath(name).suffix.lower()
            if kind not in (".safetensors", ".json"):
                if kind == ".md":
                    continue
                raise WeightsError(f"'{PurePosixPath(name).name}' is no weights file and was not opened. {WANTED}")
            if kind in found:
                raise WeightsError(f"There are two {kind} files. {WANTED}")
            found[kind] = store.read(index)
    except DataError as problem:
        raise WeightsError(f"These files cannot be used: {problem}") from problem
    if ".safetensors" not in found:
        raise WeightsError(f"There is no .safetensors file. {WANTED}")
    card = _card(found.get(".json", b"{}"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "own.safetensors"
        path.write_bytes(found[".safetensors"])
        path.with_suffix(".json").write_text(json.dumps(card), encoding="utf-8")
        loaded = weights.load(path)
    title = card.get("name")
    return replace(loaded, name=title[:MAX_NAME] if isinstance(title, str) and title else "own weights")


def _card(content: bytes) -> dict[str, object]:
    try:
        card = json.loads(content.decode("utf-8")) if len(content) <= MAX_CARD_BYTES else None
    except ValueError:
        card = None
    if not isinstance(card, dict):
        raise WeightsError(f"The .json file is not the card of some weights. {WANTED}")
    return card
