"""Lets the training code be imported on a machine without the page's packages (OpenCV, scikit-image, Gradio).

``import dermomamba`` brings the measures along, which need them; training and evaluation at the network's size do
not. ``prepare()`` puts an empty package in its place, so that only what is named is imported. Import this module before
torch: it also sets how OpenMP's threads wait, as the package itself would.
"""

from __future__ import annotations

import os
import sys
import types
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # why: dermomamba/__init__.py

ROOT = Path(__file__).resolve().parents[1]


def prepare() -> None:
    """Make ``import dermomamba.learning...`` find this checkout without running ``dermomamba/__init__.py``."""
    sys.path.insert(0, str(ROOT))
    if "dermomamba" not in sys.modules:
        package = types.ModuleType("dermomamba")
        package.__path__ = [str(ROOT / "dermomamba")]
        sys.modules["dermomamba"] = package
