"""What all tests share: the data beside the checkout, which a clone elsewhere does not have."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference files and real images; tests that need it skip, visibly, where it is missing."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the reference files and real images in {SHARED}")
    return SHARED
