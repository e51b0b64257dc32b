"""A page with nothing but the correction box and the fake predictor, for the browser test.

What was accepted is written, as PNG masks, into the folder named by CORRECT_OUT, so that a test can look at it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parent)]

from dermomamba.ui.private_temp import make_private_temp  # noqa: E402

if __name__ == "__main__":
    make_private_temp()

    import gradio as gr
    from fake_predictor import FakePredictor

    from dermomamba import export
    from dermomamba.correction import Drawn
    from dermomamba.ui.app import launch_settings
    from dermomamba.ui.correct_box import CorrectBox

    predictor = FakePredictor()

    def write(accepted: tuple[Drawn, ...]) -> str:
        for number, drawn in enumerate(accepted, 1):
            picture = (drawn.mask[..., None] * 255).astype("uint8").repeat(3, axis=2)
            export.write_bytes(Path(os.environ["CORRECT_OUT"]) / f"{number}.png", export.png(picture))
        return ",".join(str(drawn.edited_px) for drawn in accepted)

    with gr.Blocks(title="Correction box", analytics_enabled=False) as page:
        box = CorrectBox.build(lambda _: predictor)
        gr.Button("Write", elem_id="write").click(write, [box.accepted], gr.Textbox(label="Written", elem_id="written"))
    page.queue(max_size=32, default_concurrency_limit=1)
    page.launch(**launch_settings())
