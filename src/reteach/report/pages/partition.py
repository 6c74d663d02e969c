"""The page of ``reteach partition``: the cuts, the re-ordered co-occurrence matrix, the subsets."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ... import formatting
from ...relabel.partition.class_subsets import Partition
from ...relabel.partition.cooccurrence import SIDES, Cooccurrence, Side
from ...relabel.partition.decomposition import Decomposition
from ..kit.blocks import columns, facts, head, named, notice, panel, panels, row, table
from ..kit.charts import Line, legend, lines
from ..kit.html import Child, Html, join, tag
from ..kit.page import Section, top, write_page

NAMED = 120
"""The most classes whose names stand beside the matrix."""
FAINT = 0.02
"""A best cut less than this share below a random one is called hardly any structure."""
_WORDS: dict[Side, tuple[str, str]] = {
    "co": ("Co-occurrence", "classes that share images stand together"),
    "dis": ("Dis-occurrence", "classes that share images stand apart"),
}


def write_partition_page(path: Path, seen: Cooccurrence, found: Sequence[Decomposition]) -> None:
    """Write the page; ``found`` are the decompositions, at least one."""
    title = f"{formatting.plural(len(seen.classes), 'class', 'classes')} in subsets"
    sections = [
        _cuts(found),
        _sweep(found),
        _matrices(seen, found[0]),
        *(_subsets(seen, found[0], side) for side in SIDES),
    ]
    write_page(path, f"{title} — reteach", _header(title, seen, found), sections)


def _header(title: str, seen: Cooccurrence, found: Sequence[Decomposition]) -> Html:
    pairs: list[tuple[str, Child]] = [
        ("classes", formatting.count(len(seen.classes))),
        ("images", formatting.count(seen.items) if seen.items is not None else formatting.DASH),
        ("pairs that occur", formatting.count(int(np.count_nonzero(np.triu(seen.pairs))))),
        ("τ", formatting.general(found[0].tau)),
        ("seed", str(found[0].seed)),
    ]
    kinds = (
        (seen.never, "never occur"),
        (seen.always, "are in every image"),
        (seen.alone, "never occur with another class"),
    )
    return top(
        "partition",
        title,
        [
            notice("No information", [_names(seen, mask), f" {words}; dealt out afterwards."])
            for mask, words in kinds
            if mask.any()
        ],
        facts(pairs),
    )


def _cuts(found: Sequence[Decomposition]) -> Section:
    heads = columns("Subsets", "cut", "below random", "random", "k-means alone", "searches agree")
    heads += [head("sizes", text=True), head("sizes by k-means", text=True)]
    rows = [
        row(
            f"{each.subsets} by {_WORDS[side][0].lower()}",
            formatting.decimal(half.cut, 4),
            f"{formatting.percent(_below(half))}%",
            f"{formatting.decimal(float(half.random.mean()), 4)} ± "
            f"{formatting.decimal(float(half.random.std(ddof=1)), 4)}",
            formatting.decimal(half.spectral, 4),
            f"{half.agreed} of {half.searches}" if half.searches else formatting.DASH,
            tag("td", ", ".join(str(len(subset)) for subset in half.subsets)),
            tag("td", ", ".join(map(str, half.spectral_sizes))),
        )
        for each in found
        for side in SIDES
        for half in (each.side(side),)
    ]
    faint = [
        f"{each.subsets} by {_WORDS[side][0].lower()} ({formatting.percent(_below(half), 2)}%)"
        for each in found
        if each.subsets > 1
        for side in SIDES
        for half in (each.side(side),)
        if _below(half) < FAINT
    ]
    warning = (
        f"The best cut found is less than {formatting.percent(FAINT, 0)}% below a random one for "
        f"{', '.join(faint)}: such subsets are hardly more than chance."
    )
    least = sorted({each.side(side).least for each in found for side in SIDES})
    guard = (
        ""
        if found[0].how == "spectral"
        else (
            f"Each subset has at least {' or '.join(map(str, least))} classes, so that no teacher has "
            "nearly the whole task. K-means alone has no such "
            "guard. Independent searches that agree are no proof of the optimum, but make another unlikely."
        )
    )
    lead = "The normalised cut is the sum over the subsets of the share of ties that leave them."
    body = join(
        table(heads, [rows], "Cuts"),
        tag("p", guard, class_="note"),
        notice("Hardly any structure", warning) if faint else None,
    )
    return Section("cuts", "Cuts", lead, body)


def _below(half: Partition) -> float:
    """How far the cut is below the mean random one, as a share of it."""
    mean = float(half.random.mean())
    return 1 - half.cut / mean if mean else 0.0


def _sweep(found: Sequence[Decomposition]) -> Section | None:
    several = sorted(found, key=lambda each: each.subsets)
    if len(several) < 2:
        return None
    x = [float(each.subsets) for each in several]
    curves = [
        Line(side, x, [100 * _below(each.side(side)) for each in several], look)
        for look, side in enumerate(SIDES)
    ]
    label = "How far the cut is below a random one, in percent. " + "; ".join(
        f"{c.name}: " + ", ".join(formatting.decimal(y) for y in c.y) for c in curves
    )
    chart = lines(curves, label, x_label="subsets", show=lambda v: formatting.decimal(v, 1))
    keys = legend([(_WORDS[side][0], look) for look, side in enumerate(SIDES)])
    lead = "A cut grows with the number of subsets; what is below a random cut is structure."
    return Section(
        "sweep",
        "Number of subsets",
        lead,
        join(keys, panels([panel("Cut below a random one", chart, "percent")])),
    )


def _matrices(seen: Cooccurrence, found: Decomposition) -> Section:
    affinity = seen.affinity("co", found.tau)
    figures = [
        tag(
            "figure",
            tag("figcaption", tag("b", _WORDS[side][0]), tag("span", _WORDS[side][1])),
            _matrix(affinity, found.side(side), seen.classes, side),
            style="max-width:54rem;margin-bottom:2rem",
        )
        for side in SIDES
    ]
    lead = (
        "How often two classes occur together, P⁺ of the paper's Eq. (1): the darker, the more. "
        f"Both show the same numbers, in the order of the {found.subsets} subsets; lines are borders."
    )
    return Section("matrix", "Co-occurrence", lead, join(figures))


def _matrix(
    affinity: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    half: Partition,
    classes: tuple[str, ...],
    side: Side,
) -> Html:
    position = {name: i for i, name in enumerate(classes)}
    order = [position[name] for subset in half.subsets for name in subset]
    size = len(order)
    cell, room = (9, 116) if size <= NAMED else (max(1.0, 900 / size), 0)
    side_length = cell * size
    image = tag(
        "image",
        href=_png(affinity[np.ix_(order, order)]),
        x=room,
        width=f"{side_length:g}",
        height=f"{side_length:g}",
        preserveAspectRatio="none",
        style="image-rendering:pixelated",
    )
    borders = np.cumsum([0, *(len(subset) for subset in half.subsets)]) * cell
    path = "".join(
        f"M{room} {at:g}h{side_length:g}M{room + at:g} 0v{side_length:g}" for at in borders
    )
    names = [
        tag("text", _short(classes[c]), x=room - 4, y=f"{(i + 0.76) * cell:g}", text_anchor="end")
        for i, c in enumerate(order)
        if room
    ]
    return tag(
        "svg",
        image,
        tag("path", d=path, fill="none", style="stroke:var(--muted)", stroke_width=1),
        tag("g", names, font_size=8, style="fill:var(--ink)") if room else None,
        viewBox=f"-1 -1 {room + side_length + 2:g} {side_length + 2:g}",
        role="img",
        aria_label=f"Co-occurrence of {size} classes in the order of the {side} subsets",
        style="width:100%;height:auto;font-family:inherit",
    )


def _png(shares: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> str:
    """The matrix as a picture whose opacity is the affinity, so that it suits any background."""
    from PIL import Image

    top = float(shares.max()) or 1.0
    pixels = np.empty((*shares.shape, 4), np.uint8)
    pixels[..., :3] = (38, 128, 196)
    pixels[..., 3] = np.round(255 * shares / top)
    out = io.BytesIO()
    Image.fromarray(pixels, "RGBA").save(out, "png")
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()


def _subsets(seen: Cooccurrence, found: Decomposition, side: Side) -> Section:
    half = found.side(side)
    position = {name: i for i, name in enumerate(seen.classes)}
    affinity = seen.affinity(side, found.tau)
    rows = []
    for number, subset in enumerate(half.subsets, 1):
        members = [position[name] for name in subset]
        volume = float(affinity[members].sum())
        within = float(affinity[np.ix_(members, members)].sum()) / volume if volume else 0.0
        rows.append(
            row(
                str(number),
                str(len(subset)),
                formatting.percent(within),
                formatting.count(int(seen.counts[members].sum())),
                tag("td", named(", ".join(subset))),
            )
        )
    heads = columns("No.", "classes", "ties kept, %", "labels", head("names", text=True))
    body: list[Child] = [table(heads, [rows], f"{side} subsets", class_="words")]
    if half.unplaced:
        kept = [
            f"Without ties on this side, dealt out to the smallest: {', '.join(half.unplaced)}."
        ]
        body.append(tag("p", kept, class_="note name"))
    lead = f"{found.subsets} subsets, one teacher per row: {_WORDS[side][1]}."
    return Section(side, f"{_WORDS[side][0]} subsets", lead, join(body))


def _names(seen: Cooccurrence, mask: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> Html:
    names = [seen.classes[c] for c in np.flatnonzero(mask)]
    more = f" and {len(names) - 12} more" if len(names) > 12 else ""
    return named(", ".join(names[:12]) + more)


def _short(name: str) -> str:
    return name if len(name) <= 22 else name[:21] + "…"
