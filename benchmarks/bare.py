"""Lets the training code be imported on a machine without the page's packages (OpenCV, scikit-image, Gradio).

``import dermomamba`` brings the measures along, which need them; training and evaluation at the network's size do
not. ``bare()`` puts an empty package in its place, so that only what is named is imported. Call it first.
"""

from __future__ import annotations

import sys
import types
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def bare() -> None:
    """Make ``import dermomamba.learning...`` find this checkout without running ``dermomamba/__init__.py``."""
    sys.path.insert(0, str(ROOT))
    if "dermomamba" not in sys.modules:
        package = types.ModuleType("dermomamba")
        package.__path__ = [str(ROOT / "dermomamba")]
        sys.modules["dermomamba"] = package
