"""The Batch tab: many photos in, a sortable gallery and one ZIP out. The work is done by `dermomamba.batch`."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from dermomamba import batch, export
from dermomamba.errors import DataError, DermoMambaError
from dermomamba.measure.catalogue import CATALOGUE
from dermomamba.ui import text, views
from dermomamba.ui.engine import Engine, OwnWeights
from dermomamba.ui.parts import forget
from dermomamba.ui.visit import STATE_SECONDS, checked_scale

SHOWN = 60
COLUMNS = ("area", "area_fraction", "longest_diameter", "border_irregularity", "outline_certainty")
SMALLEST_FIRST = frozenset({"outline_certainty"})


@dataclass(eq=False)
class Results:
    """What a batch leaves for its session: a folder with the ZIP and small pictures, and the numbers for sorting."""

    folder: Path
    steps: list[batch.Step] = field(default_factory=list)

    def small(self, step: batch.Step) -> str:
        """Path of the small picture of a step."""
        return str(self.folder / f"small-{step.number}.png")


def remove(results: Results | None) -> None:
    """Delete a session's batch folder."""
    if results is not None:
        shutil.rmtree(results.folder, ignore_errors=True)


def label(name: str) -> str:
    """What a measure is called."""
    return CATALOGUE[name].label if name in CATALOGUE else name.replace("_", " ").capitalize()


def sortable(steps: list[batch.Step]) -> list[str]:
    """Every measure that at least one photo has, in the catalogue's order."""
    found = {name for step in steps for name in step.values}
    return [name for name in CATALOGUE if name in found] + sorted(found - set(CATALOGUE))


def orders(steps: list[batch.Step]) -> list[tuple[str, str]]:
    """Choices of the order: that of the files, then every measure; an uncertain outline comes before a certain one."""
    words = ((name, text.BATCH_LEAST if name in SMALLEST_FIRST else text.BATCH_LARGEST) for name in sortable(steps))
    return [(text.BATCH_ORDER, "")] + [(pattern.format(measure=label(name)), name) for name, pattern in words]


def ordered(steps: list[batch.Step], key: str) -> list[batch.Step]:
    """Steps with a value from large to small (certainty from small to large), then those without.

    By their place for an empty key.
    """
    if not key:
        return list(steps)
    sign = 1 if key in SMALLEST_FIRST else -1
    return sorted(steps, key=lambda step: sign * step.values[key] if key in step.values else float("inf"))


def amount(step: batch.Step, name: str) -> str:
    """A value with its unit, or that it was not measured."""
    return views.with_unit(step.values[name], step.units[name]) if name in step.values else text.NOT_MEASURED


def cell(step: batch.Step, name: str) -> str:
    """The same with its interval, if it has one, behind it."""
    span = ""
    if name in step.values and name in step.intervals:
        low, high = (views.number(end, step.units[name]) for end in step.intervals[name])
        span = f' <small class="span">[{low}, {high}]</small>'
    return f'<td data-label="{escape(label(name))}">{amount(step, name)}{span}</td>'


def gallery(results: Results, key: str) -> list[tuple[str, str]]:
    """The first small pictures in an order, with their number and the value that put them there beneath."""
    done = [step for step in results.steps if not step.reason]
    return [
        (results.small(step), f"{step.number}: {amount(step, key or 'area')}") for step in ordered(done, key)[:SHOWN]
    ]


def brackets(steps: list[batch.Step], names: list[str]) -> str:
    """What stands in brackets in the columns of these measures: the usual kind first, others with their measure."""
    kinds = [(views.kind_of(step.interval_labels[n]), n) for step in steps for n in names if n in step.interval_labels]
    if not kinds:
        return ""
    usual = Counter(kind for kind, _ in kinds).most_common(1)[0][0]
    others = sorted({(label(name), kind) for kind, name in kinds if kind != usual})
    return " ".join([views.bracket(usual), *(f"{measure}: {kind}." for measure, kind in others)])


def table(results: Results, key: str) -> str:
    """The numbers of all measured photos in an order, and what was left out."""
    done = [step for step in results.steps if not step.reason]
    known = sortable(done)
    names = [name for name in COLUMNS if name in known]
    names += [key] if key and key not in names else []
    rows = []
    for step in ordered(done, key):
        cells = "".join(cell(step, name) for name in names)
        rows.append(
            f'<tr><th scope="row">{escape(step.case)}</th>{cells}<td>{escape(" ".join(step.warnings))}</td></tr>'
        )
    words = (text.BATCH_CASE, *(label(name) for name in names), text.BATCH_NOTE)
    head = "".join(f'<th scope="col">{escape(word)}</th>' for word in words)
    bad = [step for step in results.steps if step.reason]
    left = "".join(f"<li>{escape(text.BATCH_BAD.format(number=s.number, reason=s.reason))}</li>" for s in bad)
    out = f"<h3>{text.BATCH_SKIPPED}</h3><ul>{left}</ul>" if bad else ""
    if not rows:
        return out
    note = f'<p class="table-note">{escape(said)}</p>' if (said := brackets(done, names)) else ""
    return (
        f'{out}<div class="wide"><table class="plain batch"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>{note}"
    )


def progress(done: int, total: int) -> str:
    """A bar with words."""
    words = escape(text.BATCH_PROGRESS.format(done=done, total=total))
    return (
        f'<div role="status"><p class="note">{words}</p><progress max="{total}" value="{done}">{words}</progress></div>'
    )


def build(engine: Engine, own: gr.State) -> None:
    """Lay out the tab and wire it; call inside a `gr.Tab`. `own` holds the session's `OwnWeights`, or None."""
    stopped: set[str] = set()
    gr.HTML(f"<p>{text.BATCH_INTRO}</p>")
    with gr.Row(equal_height=False, elem_classes="desk"):
        with gr.Column(scale=2, min_width=300):
            files = gr.File(
                label=text.BATCH_FILES,
                file_count="multiple",
                file_types=["image", ".zip"],
                type="filepath",
                elem_id="batch-files",
                height=180,
            )
            scale = gr.Textbox("", label=text.BATCH_SCALE, placeholder=text.SCALE_EXAMPLE, elem_id="batch-scale")
            names = gr.Checkbox(False, label=text.BATCH_NAMES, info=text.BATCH_NAMES_HELP, elem_id="batch-names")
            with gr.Row():
                start = gr.Button(text.BATCH_START, variant="primary", size="sm", elem_id="batch-start")
                stop = gr.Button(text.BATCH_STOP, size="sm", visible=False, elem_id="batch-stop")
        with gr.Column(scale=5, min_width=320):
            status = gr.HTML(views.card("empty", text.BATCH_NOTHING, text.BATCH_NOTHING_LINES), elem_id="batch-status")
            download = gr.DownloadButton(
                text.BATCH_ZIP, variant="primary", size="sm", visible=False, elem_id="batch-zip"
            )
            order = gr.Dropdown(
                [(text.BATCH_ORDER, "")],
                value="",
                label=text.BATCH_SORT,
                visible=False,
                elem_id="batch-sort",
            )
            pictures = gr.Gallery(
                label=text.BATCH_GALLERY,
                show_label=False,
                columns=4,
                object_fit="contain",
                format="png",
                height="auto",
                interactive=False,
                visible=False,
                buttons=["fullscreen"],
                elem_id="batch-gallery",
            )
            numbers = gr.HTML(elem_id="batch-table")
    results = gr.State(None, time_to_live=STATE_SECONDS, delete_callback=remove)
    shown = [results, status, download, order, pictures, numbers, start, stop]

    def work(
        paths: list[str] | None,
        typed: str,
        keep: bool,
        before: Results | None,
        mine: OwnWeights | None,
        request: gr.Request,
    ) -> Iterator[dict[Any, Any]]:
        if not paths:
            yield {status: views.error(text.BATCH_EMPTY, text.BATCH_EMPTY_TITLE)}
            return
        remove(before)
        session = str(request.session_hash)
        stopped.discard(session)
        fresh = Results(Path(tempfile.mkdtemp(prefix="batch-", dir=os.environ.get("GRADIO_TEMP_DIR"))))
        uploads = [Path(path) for path in paths]
        began = time.monotonic()
        try:
            mm = checked_scale(typed)
            photos = batch.items(uploads)
            yield {
                results: None,
                status: progress(0, len(photos)),
                download: gr.update(visible=False),
                order: gr.update(visible=False, value=""),
                pictures: gr.update(visible=False, value=None),
                numbers: "",
                start: gr.update(interactive=False),
                stop: gr.update(visible=True),
            }
            predictor = engine.predictor_for(mine)
            run = batch.run(photos, predictor, fresh.folder, mm, keep, loose=False, stop=lambda: session in stopped)
            for step in run:
                if step.small is not None:
                    export.write_bytes(Path(fresh.small(step)), export.png(step.small))
                fresh.steps.append(batch.without_picture(step))
                yield {status: progress(step.number, step.total)}
        except DermoMambaError as problem:
            remove(fresh)
            yield {
                status: views.error(str(problem), text.BATCH_EMPTY_TITLE),
                start: gr.update(interactive=True),
                stop: gr.update(visible=False),
            }
            return
        finally:
            for upload in uploads:
                forget(upload)
        yield {
            results: fresh,
            status: finished(fresh, len(photos), time.monotonic() - began, session in stopped),
            download: gr.update(visible=True, value=str(fresh.folder / batch.ARCHIVE)),
            order: gr.update(visible=True, choices=orders(fresh.steps), value=""),
            pictures: gr.update(visible=True, value=gallery(fresh, "")),
            numbers: table(fresh, ""),
            start: gr.update(interactive=True),
            stop: gr.update(visible=False),
        }

    def sort(found: Results | None, key: str) -> dict[Any, Any]:
        if found is None:
            return {numbers: gr.skip()}
        return {pictures: gallery(found, key), numbers: table(found, key)}

    def halt(request: gr.Request) -> None:
        stopped.add(str(request.session_hash))

    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    start.click(work, [files, scale, names, results, own], shown, concurrency_limit=1, **private)
    stop.click(halt, None, None, **private)
    order.change(sort, [results, order], [pictures, numbers], **private)


def finished(results: Results, total: int, seconds: float, was_stopped: bool) -> str:
    """The closing sentence with the throughput."""
    done = sum(not step.reason for step in results.steps)
    if was_stopped:
        return views.card("empty", text.BATCH_STOPPED.format(done=done, total=total))
    rate = 60 * done / max(seconds, 1e-3)
    line = text.BATCH_DONE.format(done=done, total=total, seconds=seconds, rate=rate)
    more = f" {text.BATCH_SHOWN.format(shown=SHOWN, total=done)}" if done > SHOWN else ""
    return f'<p class="done" role="status">{escape(line + more)}</p>'


def whole(engine: Engine, paths: list[str] | None, mm_per_pixel: float | None) -> tuple[str, bytes]:
    """The /batch endpoint: all at once, the ZIP as bytes.

    Raises:
        DermoMambaError: nothing to do, a bad scale, or a ZIP that cannot be read.
    """
    if not paths:
        raise DataError(text.BATCH_EMPTY)
    uploads = [Path(path) for path in paths]
    with tempfile.TemporaryDirectory(prefix="batch-", dir=os.environ.get("GRADIO_TEMP_DIR")) as folder:
        scale = checked_scale(mm_per_pixel)
        try:
            for _ in batch.run(batch.items(uploads), engine.predictor(), Path(folder), scale, loose=False):
                pass
        finally:
            for upload in uploads:
                forget(upload)
        return batch.ARCHIVE, (Path(folder) / batch.ARCHIVE).read_bytes()
