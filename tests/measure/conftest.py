"""Lets the tests of this folder share lesion_shapes.py (pytest's importlib mode adds no path by itself)."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
