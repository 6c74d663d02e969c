"""What kind of mistakes remain? (ReaL, Section 5 and Figure 7)

Raters see predictions that count as mistakes by one set of labels, and judge each: a clear mistake,
no mistake, or undecidable.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from ..spreadsheet import from_csv
from .intervals import wilson
from .quality import Share

VERDICTS = ("clear mistake", "not a mistake", "undecidable")


@dataclass(frozen=True)
class Verdict:
    """One rater's judgement of one supposed mistake."""

    model: str
    labels: str
    """By which labels it is a mistake: "original" or "reassessed"."""
    item: str
    verdict: str


@dataclass(frozen=True)
class Mistakes:
    """The kinds of mistakes of one model by one set of labels."""

    model: str
    labels: str
    images: int
    shares: dict[str, Share]
    """Share of the images by verdict, where most raters gave it; *undecidable* at a draw."""


def read_verdicts(path: Path) -> list[Verdict]:
    """Read a CSV with columns ``model, labels, item, answer`` (``verdict`` in place of ``answer``).

    Raises:
        UserError: a missing column, or an answer that is not one of the three.
    """
    found, rows = from_csv(path, "table of verdicts")
    answer = "verdict" if "verdict" in found else "answer"
    for name in ("model", "labels", "item", answer):
        if name not in found:
            raise UserError(f"{path}: no column {name!r} (found: {', '.join(found) or 'none'})")
    out = []
    for number, row in rows:
        verdict = row[answer].strip().lower()
        if verdict not in VERDICTS:
            raise UserError(
                f"{path}: line {number}: {verdict!r} is not one of: {', '.join(VERDICTS)}"
            )
        out.append(Verdict(row["model"], row["labels"], row["item"], verdict))
    return out


def summarize(verdicts: Sequence[Verdict]) -> list[Mistakes]:
    """One summary per model and label set, in the order of first sight."""
    images: dict[tuple[str, str], dict[str, Counter[str]]] = {}
    for v in verdicts:
        per_item = images.setdefault((v.model, v.labels), {})
        per_item.setdefault(v.item, Counter())[v.verdict] += 1
    out = []
    for (model, labels), per_item in images.items():
        decided = Counter(_plurality(votes) for votes in per_item.values())
        shares = {}
        for name in VERDICTS:
            low, high = wilson(decided[name], len(per_item))
            shares[name] = Share(decided[name] / len(per_item), float(low), float(high))
        out.append(Mistakes(model, labels, len(per_item), shares))
    return out


def _plurality(votes: Counter[str]) -> str:
    first, *rest = votes.most_common(2)
    return "undecidable" if rest and rest[0][1] == first[1] else first[0]
