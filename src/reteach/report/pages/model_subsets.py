"""The page of ``reteach relabel propose --gold``: which models to take."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...formatting import count, percent, plural
from ...relabel.raters.model_subsets import Subsets, members
from ..kit.blocks import big_numbers, columns, facts, head, panel, row, table
from ..kit.html import join, tag
from ..kit.page import Section, top, write_page
from ..kit.plane import Points, Shape, keys, plane


def write_subsets(
    path: Path, found: Subsets, names: Sequence[str], best: int, recall: float
) -> None:
    """Write precision and recall of the subsets of models; ``best`` was chosen at ``recall``."""
    everyone = len(found.recall) - 1
    front = found.frontier().tolist()
    title = f"Labels proposed by {len(members(best))} of {plural(len(names), 'model')}"
    header = top("proposals", title,
        big_numbers(
            [
                ("Precision", percent(float(found.precision[best])), "%",
                 f"{percent(float(found.precision[everyone]))}% with all models"),
                ("Recall", percent(float(found.recall[best])), "%",
                 f"{percent(float(found.recall[everyone]))}% with all models"),
                ("Proposals", count(float(found.proposed[best])), "",
                 f"on the gold items; {count(float(found.proposed[everyone]))} with all models"),
            ]
        ),
        facts([("Subsets tried", count(everyone)), ("Least recall", f"{percent(recall)}%")]),
    )  # fmt: skip
    points = [
        Points(
            "best trade-offs",
            found.recall[front].tolist(),
            found.precision[front].tolist(),
            0,
            "line",
        ),
        _one("all models", found, everyone, 1, "square"),
        _one("chosen", found, best, 2, "ring"),
    ]
    chart = plane(
        points,
        f"Precision against recall of {everyone:,} subsets; the chosen one has "
        f"{percent(float(found.precision[best]))}% at {percent(float(found.recall[best]))}%",
        "recall, %",
        "precision, %",
    )
    rows = [
        row(
            plural(len(members(s)), "model"),
            percent(float(found.recall[s])),
            percent(float(found.precision[s])),
            tag("td", ", ".join(names[m] for m in members(s))),
            class_="best" if s == best else None,
        )
        for s in front
    ]
    heads = columns("subset", "recall, %", "precision, %", head("models", text=True))
    sections = [
        Section(
            "trade-off",
            "Precision against recall",
            "No subset of the models beats one on this line in both. More recall asks raters about "
            "more labels that are not there.",
            join(keys(points), panel("Subsets of the models", chart)),
        ),
        Section(
            "frontier",
            "The best subsets",
            "By falling recall; the chosen one is marked.",
            table(heads, [rows], "Subsets on the frontier", class_="standings words"),
        ),
    ]
    write_page(path, f"{title} — reteach", header, sections)


def _one(name: str, found: Subsets, subset: int, look: int, shape: Shape) -> Points:
    x, y = [float(found.recall[subset])], [float(found.precision[subset])]
    return Points(name, x, y, look, shape, 110 if shape == "ring" else 40)
