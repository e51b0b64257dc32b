"""The real page with the fake predictor, for the browser tests: ``python tests/ui/fake_app.py``."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parent)]

from dermomamba.ui.private_temp import make_private_temp  # noqa: E402

if __name__ == "__main__":
    make_private_temp()

    from fake_predictor import FakePredictor

    from dermomamba.ui.app import serve

    serve(FakePredictor)
