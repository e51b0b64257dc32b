"""Shared by the tests of the page: the fake predictor, one photo, and a page that is served in this process."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from fake_predictor import FakePredictor

from dermomamba.phantom import Phantom, PhantomSpec, phantom


@pytest.fixture(scope="session")
def drawn() -> Phantom:
    return phantom(PhantomSpec(size=(300, 400), seed=3, diameter=0.45, pigment=1.1, mm_per_pixel=0.03))


@pytest.fixture(scope="session")
def other() -> Phantom:
    return phantom(PhantomSpec(size=(360, 300), seed=8, diameter=0.3, pigment=1.1, aspect=1.4))


@pytest.fixture
def predictor() -> FakePredictor:
    return FakePredictor()
