"""Measures of a lesion's outline: size, border, asymmetry and colour, each with unit, formula and validity.

``measure(probability)`` is the door; it needs NumPy, SciPy, OpenCV and scikit-image, never the network.
"""

from __future__ import annotations

from dermomamba.measure.assemble import measure
from dermomamba.measure.records import Measurement, Measurements

__all__ = ["Measurement", "Measurements", "measure"]
