"""Assembles the page and holds its launch settings. Nothing here runs on import.

`build` takes a factory for the predictor, so that tests can hand in another one; the page answers while the factory
still loads in the background.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from html import escape
from typing import TYPE_CHECKING, Any

import gradio as gr

from dermomamba import export
from dermomamba.errors import DermoMambaError
from dermomamba.ui import about, analyse, attention, batch, endpoints, finetune, text, text_finetune
from dermomamba.ui.analyse_tab import LIGHT
from dermomamba.ui.engine import Engine, OwnWeights
from dermomamba.ui.examples import load_examples, thumbnails
from dermomamba.ui.finetune_session import Sessions
from dermomamba.ui.theme import STYLE, theme

if TYPE_CHECKING:
    from dermomamba.predictor import Predictor

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 7860
HEAD_START = 1.5
"""Seconds between the first answer and the loading of the network, unless a visitor comes before."""


def load_predictor() -> Predictor:
    """The shipped weights on the best device, kernels compiled; torch is imported here, in the background."""
    from dermomamba.predictor import Predictor

    predictor = Predictor.load()
    predictor.warm_up()
    return predictor


def header(weights: str) -> str:
    """Name, what this is not, and which weights are in use."""
    return (
        f'<header class="top"><h1>{text.APP}</h1><p class="notice">{escape(text.NOTICE)}</p>'
        f'<p class="weights">{escape(weights)}</p></header>'
    )


def build(predictor_factory: Callable[[], Any] = load_predictor) -> gr.Blocks:
    """The page.

    Args:
        predictor_factory: makes the predictor; called once, on a background thread, when the first visitor comes.

    Returns:
        Blocks with their queue set; launch them with `launch_settings`.
    """
    return assemble(Engine(predictor_factory))


def serve(predictor_factory: Callable[[], Any] = load_predictor) -> None:
    """Serve the page until the program is ended; the network is loaded once the first page had time to be answered."""
    engine = Engine(predictor_factory)
    page = assemble(engine)
    page.launch(prevent_thread_lock=True, **launch_settings())
    waiting = threading.Timer(HEAD_START, engine.start)  # importing torch would hold up the first page
    waiting.daemon = True
    waiting.start()
    page.block_thread()


def assemble(engine: Engine, sessions: Sessions | None = None) -> gr.Blocks:
    """The page around an engine; `sessions` is made when none is given."""
    examples = load_examples()
    sessions = sessions or Sessions(engine)
    with gr.Blocks(title=text.APP, analytics_enabled=False, delete_cache=(600, 1800)) as page:
        own = gr.State(None)
        with gr.Row(elem_id="head"):
            top = gr.HTML(header(text.WEIGHTS_LOADING), elem_id="top")
            back = gr.Button(text_finetune.BACK, size="sm", visible=False, scale=0, min_width=220, elem_id="back")
        with gr.Tabs(elem_id="tabs"):
            with gr.Tab(text.TABS["analyse"], id="analyse"):
                tab = analyse.build(engine, own, examples, thumbnails(examples))
            with gr.Tab(text.TABS["attention"], id="attention"):
                attention.build(tab)
            with gr.Tab(text.TABS["batch"], id="batch"):
                batch.build(engine, own)
            with gr.Tab(text.TABS["finetune"], id="finetune"):
                tuning = finetune.build(engine, sessions, own)
            with gr.Tab(text.TABS["about"], id="about"):
                card = about.build(engine)
        foot = gr.HTML(f"<footer>{escape(text.FOOTER_LOADING)}</footer>", elem_id="foot")
        endpoints.build(engine, sessions)

        def loaded(mine: OwnWeights | None = None) -> tuple[str, str, str, Any]:
            try:
                predictor = engine.predictor_for(mine)
            except DermoMambaError as problem:
                line = f"<footer>{escape(str(problem))}</footer>"
                return header(str(problem)), line, about.card_of(engine), gr.skip()
            line = text.FOOTER.format(backend=predictor.scan_backend, device=predictor.device, version=export.version())
            name = text.WEIGHTS.format(weights=predictor.weights.name)
            its_own = mine is not None and mine.predictor is not None
            if mine is not None and its_own:
                name = text_finetune.HEADER_OWN.format(name=predictor.weights.name, base=mine.base)
            foot_line = f"<footer>{escape(line)}</footer>"
            return header(name), foot_line, about.card_of(engine, mine), gr.update(visible=its_own)

        def left(request: gr.Request) -> None:
            key = str(request.session_hash)
            sessions.leave(key)
            page.app.state_holder.delete_state(key)  # Gradio itself would keep the photos for another hour

        page.load(loaded, None, [top, foot, card, back], **LIGHT)
        own.change(loaded, [own], [top, foot, card, back], **LIGHT)
        back.click(tuning.on_back, None, [own], **LIGHT)
        page.unload(left)
    return page.queue(max_size=32, default_concurrency_limit=1)


def launch_settings() -> dict[str, Any]:
    """Arguments of `launch`: nothing is shared, recorded, monitored or kept.

    GRADIO_SERVER_NAME and GRADIO_SERVER_PORT are honoured; the default is 127.0.0.1:7860.
    """
    return {
        "server_name": os.environ.get("GRADIO_SERVER_NAME", DEFAULT_HOST),
        "server_port": int(os.environ.get("GRADIO_SERVER_PORT", DEFAULT_PORT)),
        "max_file_size": "30mb",
        "allowed_paths": [],
        "show_error": False,
        "strict_cors": True,
        "run_history": False,
        "pwa": False,
        "enable_monitoring": False,
        "ssr_mode": False,
        "mcp_server": False,
        "share": False,
        "state_session_capacity": 200,
        "footer_links": ["api"],
        "theme": theme(),
        "css_paths": [STYLE],
    }
