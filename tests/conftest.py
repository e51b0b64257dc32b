"""What all tests share: the data beside the checkout, which a clone elsewhere does not have."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

import dermomamba  # noqa: F401 - the whole package, before a benchmark puts a bare one in its place

SHARED = Path(__file__).resolve().parents[2] / "shared"

settings.register_profile("same-each-time", derandomize=True)
settings.load_profile("same-each-time")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference files and real images; tests that need it skip, visibly, where it is missing."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the reference files and real images in {SHARED}")
    return SHARED
