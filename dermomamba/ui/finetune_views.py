"""What the Fine-tune tab shows, as HTML and pixels: the collection, where a run stands, and whether it got better."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from dermomamba import render
from dermomamba.ui import text_finetune as words
from dermomamba.ui import views

if TYPE_CHECKING:
    from dermomamba.learning.finetune_compare import Comparison, Outlines
    from dermomamba.learning.own_images import OwnImage
    from dermomamba.learning.workshop import Job

LEAST, ENOUGH = 4, 5
SIDE = 640


def thumbnails(images: Sequence[OwnImage]) -> list[tuple[np.ndarray, str]]:
    """Small pictures with their outlines, captioned by number."""
    return [(render.outline(image.small, image.small_mask), str(image.number)) for image in images]


def collection(count: int, held_out: float) -> str:
    """How many photos there are, and whether they suffice.

    Args:
        count: usable photos.
        held_out: share that will be held out.
    """
    line = words.COUNT_NONE if count == 0 else words.COUNT_ONE if count == 1 else words.COUNT.format(count=count)
    if count < LEAST:
        pattern = words.MISSING if count else words.MISSING_ALL
        line += " " + pattern.format(least=LEAST, missing=LEAST - count)
    else:
        held = min(max(1, round(held_out * count)), count - 2)
        if held < ENOUGH:
            line += " " + words.FEW_HELD_OUT.format(held=held)
    return f'<p class="note" role="status">{escape(line)}</p>'


def problems(lines: Sequence[str]) -> str:
    """What was left out, one by one."""
    if not lines:
        return ""
    listed = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<h3>{words.LEFT_OUT}</h3><ul class="left-out">{listed}</ul>'


def duration(seconds: float) -> str:
    """A time to wait for, in words: "40 s", "3 min"."""
    return f"{max(1, round(seconds))} s" if seconds < 100 else f"{round(seconds / 60)} min"


def progress(job: Job, place: int) -> str:
    """A bar, the stage, the time left, and the last epoch in words."""
    if job.state == "waiting":
        return views.card("working", words.WAITING.format(place=place))
    at = job.progress
    line = words.STOPPING if job.stopping and at.stage != "comparing" else words.STAGES[at.stage]
    if at.stage == "learning" and at.seconds_left is not None and not job.stopping:
        line += f", {words.LEFT.format(seconds=duration(at.seconds_left))}"
    bar = f'<progress max="1" value="{at.done:.3f}">{at.done:.0%}</progress>'
    told = f'<p class="note">{escape(epoch(at.rows, job.settings.epochs))}</p>' if at.rows else ""
    return f'<div role="status"><p class="card-title">{escape(line)}.</p>{bar}{told}</div>'


def epoch(rows: Sequence[dict[str, Any]], epochs: int) -> str:
    """The last row of the curve as a sentence: for who cannot see the curve."""
    before = rows[0]["val_dice"]
    if len(rows) == 1:
        return words.EPOCH_0.format(before=before)
    last = rows[-1]
    return words.EPOCH.format(
        epoch=last["epoch"], epochs=epochs, loss=last["train_loss"], dice=last["val_dice"], before=before
    )


def verdict(job: Job) -> str:
    """Why it ended, what was kept, and the sentence that claims no more than the interval allows."""
    assert job.comparison is not None
    kept = words.KEPT.format(epoch=job.kept_epoch) if job.kept_epoch else words.KEPT_BASE
    ended = words.ENDED[job.ended]
    return (
        f'<h2>{words.RESULT}</h2><p class="verdict" role="status">{escape(job.comparison.verdict())}</p>'
        f'<p class="note">{escape(ended)} {escape(kept)}</p>'
    )


def table(comparison: Comparison) -> str:
    """Dice of every held-out photo before and after, the means with intervals, and the drawn lesions."""
    head = "".join(f'<th scope="col">{word}</th>' for word in words.TABLE_HEAD)
    rows = [
        _row(words.TABLE_PHOTO.format(number=number), before, after)
        for number, before, after in zip(comparison.numbers, comparison.before, comparison.after, strict=True)
    ]
    before, after = comparison.means()
    change, phantoms = comparison.change(), comparison.rehearsal_change()
    spans = [_span(before.low, before.high), _span(after.low, after.high), _span(change.low, change.high, "+.4f")]
    rows.append(_row(words.TABLE_MEAN, before.mean, after.mean, spans if comparison.enough else ("", "", "")))
    count = len(comparison.rehearsal_before)
    rows.append(
        _row(
            words.TABLE_PHANTOMS.format(count=count),
            float(np.mean(comparison.rehearsal_before)),
            float(np.mean(comparison.rehearsal_after)),
            ["", "", _span(phantoms.low, phantoms.high, "+.4f")],
        )
    )
    notes = [words.TABLE_PHANTOMS_NOTE] + ([] if comparison.enough else [words.TABLE_FEW.format(enough=ENOUGH)])
    return (
        f'<div class="wide"><table class="plain compare"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody>'
        f'</table></div><p class="note">{escape(" ".join(notes))}</p>'
    )


def _span(low: float, high: float, pattern: str = ".4f") -> str:
    return words.INTERVAL.format(low=format(low, pattern), high=format(high, pattern))


def _row(name: str, before: float, after: float, spans: Sequence[str] = ("", "", "")) -> str:
    figures = (f"{before:.4f}", f"{after:.4f}", f"{after - before:+.4f}")
    cells = "".join(
        f'<td data-label="{label}">{figure}{f"<small>{escape(span)}</small>" if span else ""}</td>'
        for label, figure, span in zip(words.TABLE_HEAD[1:], figures, spans, strict=True)
    )
    return f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>'


def compared(photo: np.ndarray, outlines: Outlines) -> np.ndarray:
    """A held-out photo with three outlines: the person's dashed in white, before in orange, after in cyan."""
    return render.compared(render.fit(photo, SIDE), outlines.truth, outlines.before, outlines.after)
