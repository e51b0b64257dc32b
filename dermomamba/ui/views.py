"""HTML of the Analyse tab: its five states, the table of numbers, the sentence in words. Strings in, strings out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from html import escape

from dermomamba.export import UNITS, not_measured, number
from dermomamba.measure import Measurement, Measurements
from dermomamba.ui import text


def card(kind: str, title: str, lines: tuple[str, ...] = (), role: str = "status") -> str:
    """A boxed message: kind "empty", "working", "cannot" or "error"."""
    body = "".join(f"<p>{escape(line)}</p>" for line in lines)
    line = '<div class="progress-line" aria-hidden="true"></div>' if kind == "working" else ""
    return f'<div class="card card-{kind}" role="{role}"><p class="card-title">{escape(title)}</p>{body}{line}</div>'


def note(message: str, kind: str = "note") -> str:
    """A line beside controls: kind "note" or "problem"; nothing for no message."""
    return f'<p class="{kind}" role="status">{escape(message)}</p>' if message else ""


def empty() -> str:
    """State 1: nothing yet."""
    return card("empty", text.EMPTY_TITLE, text.EMPTY_LINES)


def working(ready: bool) -> str:
    """State 2: the photo is there, the network runs."""
    return card("working", text.WORKING if ready else text.WORKING_FIRST)


def done(seconds: float, measurements: Measurements) -> str:
    """State 3, the result: the three numbers that come first; or state 4, when the area could not be measured."""
    if not measurements["area"].valid:
        reasons = tuple(dict.fromkeys((*(measurements.warnings or (measurements["area"].reason,)), text.CANNOT_HELP)))
        return card("cannot", text.CANNOT, reasons)
    figures = "".join(_figure(measurements[name]) for name in text.HEADLINE if name in measurements)
    notes = "".join(f"<p>{escape(line)}</p>" for line in measurements.warnings)
    warned = f'<div class="card card-cannot">{notes}</div>' if notes else ""
    shown = (measurements[name] for name in text.HEADLINE if name in measurements)
    kinds = {kind_of(record.interval_label) for record in shown if record.interval is not None}
    finished = "".join(f"{bracket(kind)} " for kind in sorted(kinds - {""})) + text.DONE.format(seconds=seconds)
    return f'<div role="status"><dl class="headline">{figures}<p class="done">{escape(finished)}</p></dl>{warned}</div>'


def _figure(record: Measurement) -> str:
    if record.valid and record.value is not None:
        value = f"<dd>{with_unit(record.value, record.unit)}{_span(record)}</dd>"
    else:
        value = f'<dd class="missing">{text.NOT_MEASURED}</dd>'
    return f"<div><dt>{escape(record.label)}</dt>{value}</div>"


def _span(record: Measurement) -> str:
    """The interval behind a figure, with what it is for who points at it or listens."""
    if record.interval is None:
        return ""
    low, high = (number(v, record.unit) for v in record.interval)
    label = escape(record.interval_label)
    return f' <small title="{label}" aria-label="{label}: {low} to {high}">[{low}, {high}]</small>'


def error(message: str, title: str = text.ERROR_TITLE) -> str:
    """State 5: what is wrong with this file and what to do."""
    return card("error", title, (message,), role="alert")


def unit_word(unit: str) -> str:
    """The unit as shown: nothing for pure numbers, % for fractions."""
    return UNITS.get(unit, unit)


def with_unit(value: float, unit: str) -> str:
    """Value and unit, kept on one line."""
    return f"{number(value, unit)}\u00a0{unit_word(unit)}".strip("\u00a0")


def kind_of(label: str) -> str:
    """What an interval is in a word or two: its label up to the first comma, "90 % interval"."""
    return label.split(",")[0]


def bracket(kind: str) -> str:
    """What stands in brackets behind values: "[ ] 90 % interval."."""
    return f"[\u2009]\u00a0{kind}."


def _row(name: str, record: Measurement, truth: Mapping[str, float] | None, kind: str) -> str:
    """A row of the table.

    Args:
        name: of the measure.
        record: its value.
        truth: true values by name, None where the table has no such column.
        kind: of the intervals as the table's head has it; an interval of another kind says what it is.
    """
    notes = [escape(record.note)] if record.note else []
    if not record.reliable:
        notes.append(f'<strong class="unsteady">{escape(text.UNRELIABLE)}</strong>')
    beside = "".join(f'<p class="row-note">{note}</p>' for note in notes)
    label = record.interval_label if record.interval is not None else ""
    origin = f'<span class="source">{escape(record.source)}</span>' if record.source else ""
    origin += f'<span class="source">{text.INTERVAL}: {escape(label)}.</span>' if label else ""
    detail = (
        f'<details class="formula"><summary>{text.FORMULA}</summary>'
        f"<code>{escape(record.formula)}</code>{origin}</details>"
    )
    head = f'<th scope="row"><span class="measure">{escape(record.label)}</span>{detail}{beside}</th>'
    columns = 3 if truth is not None else 2
    if not record.valid or record.value is None:
        reason = not_measured(record)
        return f'<tr class="invalid" data-measure="{name}">{head}<td colspan="{columns}">{escape(reason)}</td></tr>'
    interval = ""
    if record.interval is not None:
        low, high = (number(v, record.unit) for v in record.interval)
        interval = f'<span title="{escape(label)}">[{low}, {high}]</span>'
        interval += f'<span class="interval-label">{escape(label)}</span>' if kind_of(label) != kind else ""
    cells = (
        f'<td class="value" data-value="{record.value!r}" data-unit="{escape(record.unit)}">'
        f'{with_unit(record.value, record.unit)}</td><td class="interval">{interval}</td>'
    )
    if truth is not None:
        cells += f'<td class="truth" data-label="{text.HEAD[3]}">{_truth(record, truth.get(name))}</td>'
    return f'<tr data-measure="{name}">{head}{cells}</tr>'


def _truth(record: Measurement, true: float | None) -> str:
    if true is None or record.value is None:
        return ""
    difference = 100 * (record.value - true) / true
    return f'{with_unit(true, record.unit)} <span class="delta">Δ\u202f{difference:+.1f}\u202f%</span>'


def numbers(
    measurements: Measurements,
    scale_source: str = "",
    truth: Mapping[str, float] | None = None,
) -> str:
    """The table of numbers: the main ones, the rest folded away, and what scale they stand on.

    Args:
        measurements: records.
        scale_source: key of `text.SCALE_SOURCES`.
        truth: true values by name, for drawn examples.

    Returns:
        HTML.
    """
    main = [name for name in text.MAIN if name in measurements]
    rest = [name for name in measurements if name not in main]
    labels = [m.interval_label for m in measurements.values() if m.interval is not None and m.interval_label]
    kinds = Counter(kind_of(label) for label in labels)
    kind = kinds.most_common(1)[0][0] if kinds else text.INTERVAL

    def table(names: list[str]) -> str:
        true = truth if truth is not None and any(name in truth for name in names) else None
        words = (*text.HEAD[:2], kind[:1].upper() + kind[1:], *(text.HEAD[3:] if true is not None else ()))
        head = "".join(f'<th scope="col">{escape(word)}</th>' for word in words)
        rows = "".join(_row(name, measurements[name], true, kind) for name in names)
        return f'<table class="numbers"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'

    more = ""
    if rest:
        summary = text.MORE.format(count=len(rest))
        more = f'<details class="more"><summary>{escape(summary)}</summary>{table(rest)}</details>'
    if measurements.mm_per_pixel:
        source = text.SCALE_SOURCES.get(scale_source, scale_source)
        scale = text.SCALE_NOTE.format(scale=measurements.mm_per_pixel, source=source)
    else:
        scale = text.NO_SCALE_NOTE
    notes = [scale] + ([text.TRUTH_NOTE] if truth is not None else [])
    foot = "".join(f'<p class="table-note">{escape(note)}</p>' for note in notes)
    return f'<section aria-label="{text.NUMBERS}"><h3>{text.NUMBERS}</h3>{table(main)}{foot}{more}</section>'


def in_words(sentence: str, filled: int) -> str:
    """The sentence for who cannot see the picture, and how many pixels of holes were filled."""
    count = f"{filled:,}".replace(",", "\u202f")
    below = f'<p class="table-note">{escape(text.FILLED_NOTE.format(filled=count))}</p>' if filled else ""
    return (
        f'<section class="words" aria-label="{text.WORDS}"><h3>{text.WORDS}</h3>'
        f"<p>{escape(sentence)}</p>{below}</section>"
    )
