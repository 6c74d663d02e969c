"""Charts as lean inline SVG: drawn by matplotlib, coloured by the page's style sheet.

Colours are written as CSS variables so that a chart follows the page from light to dark and to paper;
text stays text. The same data give the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

from .html import Html, clean, escape

# stand-ins that matplotlib draws with, and what the page makes of them
INK, MUTED, GRID, PAPER = "#000001", "#000002", "#000003", "#000004"
SERIES = tuple(f"#0000a{i}" for i in range(8))
_COLOURS = {INK: "var(--ink)", MUTED: "var(--muted)", GRID: "var(--grid)", PAPER: "var(--paper)"}
_COLOURS |= {colour: f"var(--c{i + 1})" for i, colour in enumerate(SERIES)}

_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "reteach",
    "text.parse_math": False,  # a class may be called $\x$
    "font.size": 11,
    "axes.labelsize": 11,
    "axes.linewidth": 1.0,
}
_NUMBER = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")
_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}


def draw(
    paint: Callable[[Any], None],
    label: str,
    *,
    width: int = 300,
    height: int = 200,
    margins: tuple[float, float, float, float] = (8, 10, 36, 36),
) -> Html:
    """An inline SVG of what ``paint`` puts on matplotlib axes.

    Args:
        label: what the chart says, for those who cannot see it.
        width, height: in CSS pixels.
        margins: around the axes in pixels: top, right, bottom, left.
    """
    from matplotlib import style
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    top, right, bottom, left = margins
    box = (left / width, bottom / height, 1 - (left + right) / width, 1 - (top + bottom) / height)
    out = io.StringIO()
    with style.context(["default", _STYLE]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of glyphs its own font lacks: the browser's has them
        figure = Figure(figsize=(width / 72, height / 72), dpi=72)
        FigureCanvasSVG(figure)
        axes = figure.add_axes(box)
        plain(axes)
        paint(axes)
        figure.savefig(out, format="svg", transparent=True, metadata=_NO_METADATA)
    return _lean(out.getvalue(), clean(label), width, height)


def plain(axes: Any) -> None:
    """Light horizontal lines, a base line, small muted numbers; nothing else."""
    axes.set_axisbelow(True)
    axes.grid(axis="y", color=GRID, linewidth=1)
    axes.tick_params(length=0, colors=MUTED, labelsize=11, pad=5)
    for side in ("top", "left", "right"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(MUTED)
    axes.xaxis.label.set_color(MUTED)
    axes.yaxis.label.set_color(MUTED)


def write(
    axes: Any,
    text: str,
    at: tuple[float, float],
    offset: tuple[float, float],
    frame: str | tuple[str, str] = ("axes fraction", "data"),
    ink: str = INK,
    size: float = 11,
) -> None:
    """Text beside a point of ``frame``, ``offset`` pixels from it."""
    axes.annotate(tidy(text), at, offset, frame, "offset points", color=ink, size=size)


def tidy(text: str, length: int = 44) -> str:
    """A name as it may stand in a chart: printable, on one line, cut to ``length`` characters."""
    text = " ".join(clean(text).split())
    return text if len(text) <= length else text[: length - 1] + "…"


def _lean(source: str, label: str, width: int, height: int) -> Html:
    root = ElementTree.fromstring(source)
    used = set(re.findall(r'href="#([^"]+)"', source))
    salt = "s" + hashlib.sha256((label + source).encode()).hexdigest()[:8]
    body = "".join(_element(child, used, salt) for child in root)
    return Html(
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{escape(label)}">{body}</svg>'
    )


def _element(element: ElementTree.Element, used: set[str], salt: str) -> str:
    name = element.tag.rpartition("}")[2]
    if name in ("style", "metadata", "clipPath") or _invisible(element):
        return ""
    words = [name]
    for key, value in element.attrib.items():
        key = key.rpartition("}")[2]
        if key == "id":
            value = f"{salt}{value}" if value in used else ""
        elif key == "href":
            value = f"#{salt}{value[1:]}"
        elif key == "clip-path" or value.startswith("rotate(-0 "):
            value = ""
        elif key == "style":
            value = _declarations(value)
        elif key != "class":
            value = _NUMBER.sub(_rounded, " ".join(value.split()))
        if value:
            words.append(f'{key}="{escape(value)}"')
    inner = escape((element.text or "").strip()) if name == "text" else ""
    inner = Html(inner + "".join(_element(child, used, salt) for child in element))
    if (name == "g" and len(words) == 1) or (name in ("g", "defs") and not inner):
        return inner
    return f"<{' '.join(words)}>{inner}</{name}>"


def _invisible(element: ElementTree.Element) -> bool:
    return element.get("style") == "fill: none" and element.tag.endswith("}path")


def _declarations(style: str) -> str:
    kept = []
    for declaration in style.split(";"):
        key, _, value = (part.strip() for part in declaration.partition(":"))
        if key == "font":  # matplotlib < 3.9 writes size and family in one
            key, value = "font-size", value.split()[0]
        if key and key not in ("font-family", "stroke-linejoin"):  # the style sheet's
            kept.append(f"{key}:{_NUMBER.sub(_rounded, _COLOURS.get(value, value))}")
    return ";".join(kept)


def _rounded(match: re.Match[str]) -> str:
    return f"{float(match[0]):.2f}".rstrip("0").rstrip(".")
