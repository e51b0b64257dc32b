"""The teaching calculator for the ABCD rule: A, B and C suggested from the picture, D entered, the sum written out.

The person may change every score. Nothing is concluded from the sum and no colour is attached to it; the arithmetic
and its source are in `dermomamba.measure.abcd`.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr

from dermomamba.measure import Measurements
from dermomamba.measure.abcd import MEANINGS, RANGES, WEIGHTS, score, suggest
from dermomamba.ui import text


def suggestion(measurements: Measurements) -> dict[str, int | None]:
    """Letter -> suggested score, None where the picture cannot say; D is never suggested."""
    found = suggest(measurements)
    return {"A": found.asymmetry, "B": found.border, "C": found.colours, "D": None}


def hint(measurements: Measurements) -> str:
    """What is suggested for A, B and C and what each rests on, as HTML."""
    notes = suggest(measurements).notes | {"D": text.ABCD_D}
    items = []
    for letter, value in suggestion(measurements).items():
        if value is not None:
            words = f"{text.ABCD_SUGGESTED.format(value=value)} {notes[letter]}"
        else:
            words = notes[letter] if letter == "D" else text.ABCD_NO_SUGGESTION
        items.append(f"<li><b>{letter}</b> {escape(words)}</li>")
    return f'<ul class="abcd-hints">{"".join(items)}</ul>'


def arithmetic(scores: dict[str, int | None]) -> str:
    """The sum with every step, or what is still to be entered, as HTML."""
    missing = [letter for letter, value in scores.items() if value is None]
    if missing:
        return f'<p class="note">{escape(text.ABCD_MISSING.format(letters=", ".join(missing)))}</p>'
    given = {letter: int(value) for letter, value in scores.items() if value is not None}
    total = score(given["A"], given["B"], given["C"], given["D"])
    rows = "".join(
        f'<tr><th scope="row">{letter}</th><td>{escape(MEANINGS[letter])}</td>'
        f"<td>{given[letter]} \u00d7 {WEIGHTS[letter]:g}</td><td>{total.terms[letter]:.1f}</td></tr>"
        for letter in given
    )
    return (
        f'<table class="abcd"><tbody>{rows}</tbody><tfoot><tr><th scope="row" colspan="3">{text.ABCD_SUM}</th>'
        f'<td>{total.value:.1f}</td></tr></tfoot></table><p class="note">{escape(text.ABCD_RANGE)}</p>'
    )


@dataclass
class AbcdBox:
    """The box's parts.

    Attributes:
        scores: letter -> choice of its score.
        hints: what is suggested and why.
        total: the arithmetic.
    """

    scores: dict[str, gr.Radio]
    hints: gr.HTML
    total: gr.HTML

    @classmethod
    def build(cls) -> AbcdBox:
        """Lay out the box, folded, and wire it; it needs no photo to work."""
        with gr.Accordion(text.ABCD_TITLE, open=False, elem_id="abcd", elem_classes="abcd-box"):
            gr.HTML(f'<p class="note">{escape(text.ABCD_INTRO)}</p>')
            scores = {
                letter: gr.Radio(
                    list(range(low, high + 1)),
                    value=None,
                    label=f"{letter}: {MEANINGS[letter]}",
                    elem_id=f"abcd-{letter.lower()}",
                    elem_classes="abcd-score",
                )
                for letter, (low, high) in RANGES.items()
            }
            total = gr.HTML(arithmetic(dict.fromkeys(RANGES)), elem_id="abcd-total")
            hints = gr.HTML(elem_id="abcd-hints")

        def add(*values: int | None) -> str:
            return arithmetic(dict(zip(RANGES, values, strict=True)))

        choices: list[Any] = list(scores.values())
        gr.on(
            [choice.input for choice in choices],
            add,
            choices,
            total,
            trigger_mode="always_last",
            show_progress="hidden",
            api_visibility="private",
            concurrency_limit=4,
        )
        return cls(scores=scores, hints=hints, total=total)

    @property
    def parts(self) -> list[Any]:
        """Every part that an analysis writes to."""
        return [*self.scores.values(), self.hints, self.total]

    def fresh(self, measurements: Measurements) -> dict[Any, Any]:
        """What the box shows for a new photo: the suggestions, and D open."""
        scores = suggestion(measurements)
        return {
            **{choice: scores[letter] for letter, choice in self.scores.items()},
            self.total: arithmetic(scores),
            self.hints: hint(measurements),
        }
