"""``python -m dermomamba``: the same as the command ``dermomamba``."""

from __future__ import annotations

import sys

from dermomamba.cli import main

if __name__ == "__main__":
    sys.exit(main())
