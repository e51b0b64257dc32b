"""The one-page PDF report: picture with outline, maps, table with intervals, scale, weights and version.

A4, fpdf2, built-in Helvetica, so signs outside Latin-1 are written out. Built only from pixels and numbers.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Sequence

import cv2
import numpy as np
from fpdf import FPDF
from PIL import Image

from dermomamba import render
from dermomamba.export_record import NOT_A_DEVICE, UNITS, Record, not_measured, number, version

INK, QUIET, LINE = (22, 32, 43), (82, 96, 113), (213, 220, 227)
MARGIN, WIDTH = 14.0, 182.0
PLAIN = ""  # the standard fonts have no thin space
SPELLED = {
    "≥": ">=", "≤": "<=", "–": "-", "—": "-", "−": "-", "√": "sqrt", "π": "pi", "σ": "sigma", "Σ": "sum ",
    "Δ": "d", "’": "'",
    "“": '"', "”": '"', "…": "...", "\u202f": " ", "\u2009": " ",
}  # fmt: skip
SCALE_WORDS = {"entered": "typed by hand", "line": "line of known length", "ruler": "ruler", "example": "drawn example"}
MAP_SIDE = 460
MAPS_NOTE = (
    "CBAM: where the network let information pass at this scale. Guide Fusion: closeness to the predicted border."
    " Neither says why."
)


def latin(words: str) -> str:
    """The text in Latin-1, with the signs that it lacks spelled out."""
    for sign, spelled in SPELLED.items():
        words = words.replace(sign, spelled)
    return words.encode("latin-1", "replace").decode("latin-1")


def _jpeg(image: np.ndarray) -> io.BytesIO:
    content = io.BytesIO()
    Image.fromarray(image).save(content, "JPEG", quality=90, subsampling=0)
    content.seek(0)
    return content


class _Page(FPDF):
    """One A4 page with a few shorthands."""

    def words(
        self, x: float, y: float, content: str, size: float = 8.5, bold: bool = False, quiet: bool = False
    ) -> None:
        self.set_font("Helvetica", "B" if bold else "", size)
        self.set_text_color(*(QUIET if quiet else INK))
        self.text(x, y, latin(content))

    def fitted(self, content: str, width: float, size: float) -> str:
        """The text cut to a width, with dots where it was cut."""
        content = latin(content)
        self.set_font("Helvetica", "", size)
        if self.get_string_width(content) <= width:
            return content
        while content and self.get_string_width(content + "...") > width:
            content = content[:-1]
        return content.rstrip() + "..."


def report_pdf(record: Record) -> bytes:
    """The report of one photo.

    Args:
        record: the analysed photo.

    Returns:
        The bytes of a one-page PDF without any metadata of the photo.
    """
    page = _Page(format="A4")
    page.set_auto_page_break(False)
    page.c_margin = 0
    page.set_title(f"DermoMamba Studio: {record.case}")
    page.set_creator(f"DermoMamba Studio {version()}")
    page.set_creation_date(record.created)
    page.add_page()
    page.words(MARGIN, 18, "DermoMamba Studio", 16, bold=True)
    page.words(MARGIN, 24, NOT_A_DEVICE, 9)
    y = _picture_and_facts(page, record, 29)
    y = _maps(page, record, y + 5)
    _table(page, record, y + 6)
    page.set_draw_color(*LINE)
    page.line(MARGIN, 284, MARGIN + WIDTH, 284)
    page.words(MARGIN, 288.5, NOT_A_DEVICE, 8)
    page.words(MARGIN, 292, f"DermoMamba Studio {version()}, {record.created:%Y-%m-%d %H:%M} UTC", 7, quiet=True)
    return bytes(page.output())


def _picture_and_facts(page: _Page, record: Record, top: float) -> float:
    seg, (rows, columns) = record.segmentation, record.photo.shape[:2]
    image = render.outline(render.fit(record.photo, 1100), seg.mask)
    height = min(82.0, 112.0 * rows / columns)
    width = height * columns / rows
    page.image(_jpeg(image), x=MARGIN, y=top, w=width, h=height)
    scale = record.measurements.mm_per_pixel
    source = SCALE_WORDS.get(record.scale_source, record.scale_source)
    facts = [
        ("Case", record.case),
        ("Photo", f"{columns} x {rows} px"),
        ("Scale", f"1 px = {scale:.4g} mm ({source})" if scale else "none: lengths in px"),
        ("Weights", seg.weights),
        ("SHA-256", seg.weights_sha256[:12]),
        ("Scan", f"{seg.scan_backend}, {seg.device}"),
        ("Threshold", f"{seg.threshold:g}" + (", mirrored copies averaged" if seg.tta else "")),
        ("Regions", f"{seg.components} found, {seg.dropped_px} px left out"),
        ("Holes", f"{seg.filled_px} px filled"),
    ]
    x, y = MARGIN + width + 6, top + 4
    for name, value in facts:
        page.words(x, y, name, 8, quiet=True)
        page.words(x + 18, y, page.fitted(value, MARGIN + WIDTH - x - 18, 8), 8)
        y += 5.2
    for warning in record.measurements.warnings[:3]:
        page.set_xy(x, y)
        page.set_font("Helvetica", "", 8)
        page.set_text_color(122, 75, 0)
        page.multi_cell(MARGIN + WIDTH - x, 3.8, latin(warning), align="L")
        y = page.get_y() + 3
    return top + height


def _maps(page: _Page, record: Record, top: float) -> float:
    seg = record.segmentation
    shown = [
        ("Probability", seg.network_probability, 1.0, "viridis"),
        ("Guide Fusion", seg.network_guide, 0.5, "magma"),
    ]
    shown += [(f"CBAM {key[-1]}", values, 1.0, "viridis") for key, values in sorted(seg.attention.items())]
    gap = 2.0
    width = (WIDTH - gap * (len(shown) - 1)) / len(shown)
    rows, columns = record.photo.shape[:2]
    height = min(width * rows / columns, 34.0)
    for place, (name, values, high, colours) in enumerate(shown):
        x = MARGIN + place * (width + gap)
        size = (MAP_SIDE, max(1, round(MAP_SIDE * rows / columns)))
        large = cv2.resize(values, size, interpolation=cv2.INTER_LINEAR)
        page.image(_jpeg(render.colour_map(large, 0.0, high, colours)), x=x, y=top, w=width, h=height)
        page.image(_jpeg(render.colour_bar(colours)), x=x, y=top + height + 0.8, w=width, h=1.6)
        below = top + height + 5.4
        page.words(x, below, f"{name}, 0 to {high:g}", 6.3, bold=True)
        page.words(x, below + 3, f"{values.min():.2f} to {values.max():.2f}", 6.8)
        page.words(x, below + 6, f"{values.shape[0]} x {values.shape[1]}", 6.8, quiet=True)
    below = top + height + 15.5
    page.words(MARGIN, below, MAPS_NOTE, 7, quiet=True)
    return below


def _table(page: _Page, record: Record, top: float) -> None:
    names = list(record.measurements)
    step = min(5.4, (278 - top - 2) / max(len(names), 1))
    size = min(8.5, step * 1.65)
    places = (MARGIN, MARGIN + 58, MARGIN + 84, MARGIN + 118)
    for x, word in zip(places, ("Measure", "Value", "Interval", "Formula"), strict=True):
        page.words(x, top, word, 7, quiet=True)
    page.set_draw_color(*LINE)
    usual, others = _interval_labels(record)
    y = top + 1.2
    for name in names:
        record_ = record.measurements[name]
        page.line(MARGIN, y, MARGIN + WIDTH, y)
        base = y + step * 0.72
        page.words(places[0], base, page.fitted(record_.label, 56, size), size)
        if record_.valid and record_.value is not None:
            unit = UNITS.get(record_.unit, record_.unit)
            page.words(places[1], base, f"{number(record_.value, record_.unit, PLAIN)} {unit}".strip(), size, bold=True)
            if record_.interval is not None:
                low, high = (number(value, record_.unit, PLAIN) for value in record_.interval)
                star = "" if record_.interval_label in usual else " *"
                page.words(places[2], base, f"[{low}, {high}]{star}", size)
            page.words(places[3], base, page.fitted(record_.formula, 64, size * 0.85), size * 0.85, quiet=True)
        else:
            reason = not_measured(record_, PLAIN)
            page.words(places[1], base, page.fitted(reason, 122, size), size, quiet=True)
        y += step
    note = interval_note(usual, others)
    if note:
        page.words(MARGIN, 281.5, page.fitted(note, WIDTH, 7), 7, quiet=True)


def _interval_labels(record: Record) -> tuple[list[str], list[str]]:
    """The labels of the most frequent kind of interval in the table, and those of the other kinds."""
    shown = [m for m in record.measurements.values() if m.valid and m.interval is not None and m.interval_label]
    labels = sorted({m.interval_label for m in shown})
    kinds = Counter(m.interval_label.split(",")[0] for m in shown)
    usual = kinds.most_common(1)[0][0] if kinds else ""
    return [x for x in labels if x.split(",")[0] == usual], [x for x in labels if x.split(",")[0] != usual]


def interval_note(usual: Sequence[str], others: Sequence[str]) -> str:
    """One line that says what the intervals are.

    Args:
        usual: labels of one kind, which may differ in the number of photos that they were calibrated on.
        others: labels of other kinds, marked by a star in the table.

    Returns:
        Such as "[ ] 90 % interval, calibrated on 161 to 200 photos. * range, uncalibrated."; "" without labels.
    """
    if not usual:
        return ""
    counts = sorted({int(n) for label in usual for n in re.findall(r"calibrated on (\d+) photos", label)})
    first = usual[0]
    if len(counts) > 1:
        first = re.sub(r"calibrated on \d+ photos", f"calibrated on {counts[0]} to {counts[-1]} photos", first)
    return f"[ ] {first}." + "".join(f" * {label}." for label in others)
