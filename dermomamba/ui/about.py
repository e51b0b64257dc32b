"""The About tab: what it is, where it fails, the card of the weights in use, formulas, privacy, licences."""

from __future__ import annotations

from html import escape
from typing import Any

import gradio as gr

from dermomamba.errors import DermoMambaError
from dermomamba.measure.catalogue import CATALOGUE
from dermomamba.ui import text
from dermomamba.ui.engine import Engine, OwnWeights

FOLD = 10


def _value(value: Any) -> str:
    """A value of the card: plain ones as they are, what is long or nested folded away."""
    if isinstance(value, dict):
        items = "".join(f"<li>{escape(str(key))}: {_value(item)}</li>" for key, item in value.items())
        listed = f"<ul>{items}</ul>"
        if len(value) <= FOLD and not any(isinstance(item, dict | list) for item in value.values()):
            return listed
        title = str(value.get("label") or text.CARD_FOLD.format(count=len(value)))
        return f"<details><summary>{escape(title)}</summary>{listed}</details>"
    if isinstance(value, list):
        if len(value) > FOLD:
            return text.CARD_LONG.format(count=len(value))
        if not any(isinstance(item, dict) for item in value):
            return ", ".join(_value(item) for item in value)
        listed = "".join(_value(item) for item in value)
        folded = len(value) > 1 and not all(isinstance(item, dict) and "label" in item for item in value)
        summary = text.CARD_LONG.format(count=len(value))
        return f"<details><summary>{summary}</summary>{listed}</details>" if folded else listed
    if value is None:
        return text.CARD_NONE
    if isinstance(value, float):
        return f"{value:.4g}"
    return escape(str(value))


def card_table(name: str, sha256: str, card: dict[str, Any]) -> str:
    """The card as a table of key and value; every text in it is escaped."""
    rows = {"name": name, "sha256": sha256, **{key: value for key, value in card.items() if key != "name"}}
    body = "".join(
        f'<tr><th scope="row">{escape(str(key).replace("_", " "))}</th><td>{_value(value)}</td></tr>'
        for key, value in rows.items()
    )
    missing = "" if card else f"<p>{text.CARD_MISSING}</p>"
    return f'{missing}<table class="plain"><tbody>{body}</tbody></table>'


def formula_table() -> str:
    """Every measure with formula and source, and the maps."""
    rows = [(entry.label, entry.formula, entry.source) for entry in CATALOGUE.values()]
    rows += [(name, formula, "") for name, formula in text.FORMULAS_EXTRA]
    head = "".join(f'<th scope="col">{word}</th>' for word in text.FORMULA_HEAD)
    body = "".join(
        f'<tr><th scope="row">{escape(label)}</th><td><code>{escape(formula)}</code></td><td>{escape(source)}</td></tr>'
        for label, formula, source in rows
    )
    return f'<table class="plain"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def build(engine: Engine) -> gr.HTML:
    """Lay out the tab; call inside a `gr.Tab`.

    Returns:
        The place of the weights card, filled when the network is loaded.
    """
    gr.Markdown(text.ABOUT.format(app=text.APP, notice=text.NOTICE), elem_classes="about-text")
    gr.Markdown(text.CARD_TITLE)
    card = gr.HTML(text.WEIGHTS_LOADING, elem_id="weights-card")
    gr.Markdown(f"{text.FORMULAS_TITLE}\n{text.FORMULAS_INTRO}")
    gr.HTML(formula_table(), elem_id="formulas")
    gr.Markdown(f"{text.ENDPOINTS_TITLE}\n{text.ENDPOINTS}")
    return card


def card_of(engine: Engine, own: OwnWeights | None = None) -> str:
    """The card of the weights in use, or why there are none."""
    try:
        weights = engine.predictor_for(own).weights
    except DermoMambaError as problem:
        return f"<p>{escape(str(problem))}</p>"
    return card_table(weights.name, weights.sha256, weights.card)
