"""DermoMamba Studio: builds the page and serves it (``python app.py``; a Space's entry)."""

from __future__ import annotations

from dermomamba.ui.private_temp import make_private_temp

if __name__ == "__main__":
    make_private_temp()  # before gradio is imported

    from dermomamba.ui.app import serve

    serve()
