"""Every measure in one table: its plain words, unit, formula and where it comes from.

The arithmetic lives in size.py, border.py, asymmetry.py and colour.py; this is what is written beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

FERET = "Feret 1930, La grosseur des grains des matières pulvérulentes"
COX = "Cox 1927, J Paleontol 1(3):179-183; Lee et al. 2003, doi 10.1016/S1361-8415(02)00090-7"
LEE = "Lee, McLean, Atkins 2003, Med Image Anal 7:47-64, doi 10.1016/S1361-8415(02)00090-7"
RAMANUJAN = "Ramanujan 1914, Q J Math 45:350-372 (perimeter of the ellipse)"
MARCHING = "Lorensen, Cline 1987, doi 10.1145/37402.37422 (sub-pixel contour); shoelace area"
SKLANSKY = "Sklansky 1972, IEEE Trans Comput C-21:1355-1364"
ZUNIC = "Zunic, Rosin 2004, IEEE Trans Pattern Anal Mach Intell 26:923-934, doi 10.1109/TPAMI.2004.19"
DICE = "Dice 1945, Ecology 26:297-302, doi 10.2307/1932409"
MANDELBROT = "Mandelbrot 1967, Science 156:636-638, doi 10.1126/science.156.3775.636"
STOLZ = "Nachbar et al. 1994, J Am Acad Dermatol 30:551-559, doi 10.1016/S0190-9622(94)70061-3"
STOECKER = "Stoecker, Li, Moss 1992, Comput Med Imaging Graph 16:191-197, doi 10.1016/0895-6111(92)90073-I"
CIELAB = "CIE 015:2018, doi 10.25039/TR.015.2018"
CHARDON = "Chardon, Cretois, Hourseau 1991, Int J Cosmet Sci 13:191-208, doi 10.1111/j.1467-2494.1991.tb00561.x"
FINLAYSON = "Finlayson, Trezzi 2004, Shades of gray and colour constancy, Color Imaging Conf 12:37-41"


@dataclass(frozen=True)
class Entry:
    """What is written beside a number.

    Attributes:
        label: plain words for the page.
        kind: ``"length"``, ``"area"`` (take px or mm), or the unit itself.
        family: which states make it invalid, see :class:`~dermomamba.measure.records.State`.
        formula: short text.
        source: author, year, DOI.
        note: a sentence for the page, else ``""``.
        needs: ``"outline"`` or ``"photo"``.
    """

    label: str
    kind: str
    family: str
    formula: str
    source: str
    note: str = ""
    needs: str = "outline"


_S = "the outline smoothed at"
CATALOGUE: dict[str, Entry] = {
    "area": Entry("Area", "area", "area", "A, shoelace area of the outline", MARCHING),
    "area_fraction": Entry("Share of the photo", "fraction", "area", "A / (width x height of the photo)", MARCHING),
    "border_irregularity": Entry(
        "Border irregularity", "ratio", "border", "P² / (4π A)", COX, "1 is a circle; 2:1 ellipse 1.19."
    ),
    "longest_diameter": Entry(
        "Longest diameter", "length", "size", "greatest distance between two points of the outline", FERET
    ),
    "width": Entry("Width across it", "length", "size", "extent at right angles to the longest diameter", FERET),
    "perimeter": Entry("Perimeter", "length", "size", f"P, length of {_S} 1 % of √(4A/π)", MARCHING),
    "equivalent_diameter": Entry(
        "Equivalent diameter", "length", "size", "√(4A/π)", MARCHING, "The diameter of the disc of the same area."
    ),
    "least_width": Entry(
        "Least width", "length", "size", "smallest distance between two parallel lines that hold the outline", FERET
    ),
    "border_excess": Entry(
        "Border beyond its ellipse",
        "ratio",
        "border",
        "[P² / (4π A)] / [the same of the ellipse with the same second moments]",
        RAMANUJAN,
        "1 is an ellipse of any length: elongation is taken out.",
    ),
    "structure_irregularity": Entry(
        "Coarse irregularity", "ratio", "border", f"P² / (4π A) of {_S} 2 % of √(4A/π)", LEE, "In the spirit of Lee."
    ),
    "texture_irregularity": Entry(
        "Fine irregularity",
        "ratio",
        "texture",
        "P² / (4π A) smoothed at 0.5 % minus the same at 2 % of √(4A/π)",
        LEE,
        "In the spirit of Lee.",
    ),
    "solidity": Entry("Solidity", "ratio", "border", "A / A of the convex hull", SKLANSKY, "1 has no bays."),
    "convexity": Entry("Convexity", "ratio", "border", "P of the convex hull / P", ZUNIC, "1 has no bays."),
    "indentations": Entry("Indentations", "count", "border", "bays of the convex hull deeper than 2 % of √(4A/π)", LEE),
    "protrusions": Entry(
        "Protrusions",
        "count",
        "border",
        "parts between two neighbouring indentations that stand out more than 2 % of √(4A/π), at most half the lesion",
        LEE,
    ),
    "deepest_indentation": Entry(
        "Deepest indentation", "fraction", "border", "depth of the deepest bay of the hull / √(4A/π)", LEE
    ),
    "box_dimension": Entry(
        "Box-counting dimension",
        "ratio",
        "detail",
        "-slope of log N(s) against log s, boxes of side s that the outline meets",
        MANDELBROT,
        "1 is a smooth line.",
    ),
    "asymmetry_major": Entry(
        "Asymmetry about the long axis", "ratio", "asymmetry", "|M xor flip(M)| / (2 |M|)", STOECKER
    ),
    "asymmetry_minor": Entry(
        "Asymmetry about the short axis", "ratio", "asymmetry", "|M xor flip(M)| / (2 |M|)", STOECKER
    ),
    "asymmetry_least": Entry(
        "Least asymmetry about any axis",
        "ratio",
        "asymmetry",
        "minimum of |M xor flip(M)| / (2 |M|) over axes through the centroid",
        STOLZ,
        "Shape only; the ABCD rule also looks at colour and structure.",
    ),
    "outline_certainty": Entry(
        "Outline certainty (estimate)",
        "ratio",
        "certainty",
        "a + b 2 Σ(p m) / (Σp + Σm): Dice with an expert's outline to expect, p the probability, m the outlined lesion",
        DICE,
        "An estimate of the agreement with an expert's outline; 1 is the same outline.",
    ),
    "edge_sharpness": Entry(
        "Edge sharpness (experimental)",
        "ratio",
        "edge",
        "share of the L* step from 10 % inside to 10 % outside that falls within ±2.5 % of √(4A/π)",
        STOLZ,
        "Experimental. Mean of the eight sectors.",
        "photo",
    ),
    "abrupt_sectors": Entry(
        "Sectors with a sharp edge (experimental)",
        "count",
        "edge",
        "sectors of eight with sharpness >= 0.5 and an L* step >= 5",
        STOLZ,
        "Experimental.",
        "photo",
    ),
    "colour_difference": Entry(
        "Colour difference from the skin",
        "ΔE",
        "colour",
        "ΔE*ab = √(ΔL*² + Δa*² + Δb*²), medians of the lesion and of the ring round it",
        CIELAB,
        "",
        "photo",
    ),
    "skin_ita": Entry(
        "Typology angle of the skin",
        "°",
        "colour",
        "arctan((L* - 50) / b*) x 180/π, medians of the ring",
        CHARDON,
        "The camera is not colour-calibrated.",
        "photo",
    ),
    "colour_spread": Entry(
        "Colour spread in the lesion",
        "ΔE",
        "colour",
        "root mean square ΔE*ab of the lesion's pixels from their mean",
        CIELAB,
        "",
        "photo",
    ),
    "palette_colours": Entry(
        "Colours of the ABCD palette (estimate)",
        "count",
        "colour",
        "of six reference colours, those nearest to more than 5 % of the pixels after shades-of-grey (p = 6)",
        f"{STOLZ}; {FINLAYSON}",
        "An estimate: the camera is not colour-calibrated.",
        "photo",
    ),
}


def unit_of(kind: str, mm_per_pixel: float | None) -> str:
    """The unit a kind is written in: px or mm for lengths, px² or mm² for areas, else the kind itself."""
    if kind == "length":
        return "px" if mm_per_pixel is None else "mm"
    if kind == "area":
        return "px²" if mm_per_pixel is None else "mm²"
    return kind


def factor_of(kind: str, mm_per_pixel: float | None) -> float:
    """What a value in px or px² is multiplied by."""
    return {"length": mm_per_pixel, "area": mm_per_pixel**2}.get(kind, 1.0) if mm_per_pixel else 1.0
