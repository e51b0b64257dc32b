"""What all tests share: the data beside the checkout, which a clone elsewhere does not have."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

import dermomamba  # noqa: F401 - the whole package, before a benchmark puts a bare one in its place

SHARED = Path(__file__).resolve().parents[2] / "shared"

LONGEST_FIRST = (
    "e2e/test_finetune.py",
    "scan/test_fused_triton.py",
    "e2e/test_correct.py",
    "e2e/test_page.py",
    "e2e/test_page_measures.py",
    "network/test_fused_block.py",
    "measure/test_scale.py",
    "measure/test_evidence.py",
    "learning/test_train.py",
    "learning/test_finetune.py",
    "ui/test_endpoints.py",
    "test_batch.py",
)
"""Files of more than half a minute. With ``make test`` each core takes one file after the other in this order, so that
none begins a long one when the other has nothing left to do."""

settings.register_profile("same-each-time", derandomize=True)
settings.load_profile("same-each-time")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference files and real images; tests that need it skip, visibly, where it is missing."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the reference files and real images in {SHARED}")
    return SHARED


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, the others as they were found."""
    root = Path(__file__).parent
    rank = {root / name: number for number, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: rank.get(item.path, len(rank)))
