"""DermoMamba Studio: outline and measure skin lesions in dermoscopic photos.

Research and teaching demonstration. Not a medical device. It measures, it does not diagnose.

    from dermomamba import Predictor, measure

    result = Predictor.load()("photo.jpg")
    print(measure(result.probability)["area"])

The network is Hoang et al. 2025, doi 10.1007/s10044-025-01506-w.
"""

from __future__ import annotations

import os
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

# OpenMP's threads would otherwise spin between torch's operations on the cores that the compiled scan is to use; read
# once, when torch loads OpenMP. On two cores this takes a quarter off the network's time (docs/performance.md).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from dermomamba.measure import measure

if TYPE_CHECKING:
    from dermomamba.learning.guide_fusion import GuideFusionLoss
    from dermomamba.network import DermoMamba
    from dermomamba.predictor import Predictor

try:
    __version__ = version("dermomamba")
except PackageNotFoundError:  # run from a checkout that was not installed
    __version__ = "0.1.0"

__all__ = ["DermoMamba", "GuideFusionLoss", "Predictor", "__version__", "measure"]

_LAZY = {  # torch is imported only when one of these is used
    "DermoMamba": "dermomamba.network",
    "GuideFusionLoss": "dermomamba.learning.guide_fusion",
    "Predictor": "dermomamba.predictor",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'dermomamba' has no attribute '{name}'")
