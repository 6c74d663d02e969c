"""``reteach select``: the best images of every class out of a score table of any size."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np
import pyarrow.compute as pc

from ..data.loading.decode import ImageError
from ..data.sources.base import open_source
from ..errors import UserError, closest
from ..frames import TableFile
from ..inline import InNotebook
from ..options.scale import SelectOptions
from ..parquet import read_columns, read_schema
from ..progress import progress
from ..relabel.selection.database import Limits
from ..relabel.selection.item_lists import read_exclusions
from ..relabel.selection.quotas import read_frequencies
from ..relabel.selection.score_shards import open_shards
from ..relabel.selection.topk import RankingRule, Selection
from ..relabel.selection.topk import select as select_best
from ..report.pages.picks import Pick, write_picks
from ..runs.gallery import data_url
from ..scores.classes import read_classes
from ..scores.columns import UNFINISHED
from ..structured import parse_json

MOST = 50
"""Classes on a page, unless some are named."""
NAMED = 10
"""Classes without a pick that are named."""


@final
@dataclass(frozen=True, eq=False)
class SelectResult(InNotebook, TableFile):
    """The picks that were written.

    Args:
        out: the picks.
        page: their page, where it was asked for.
        pictures: images on the page.
        picks: how many there are.
        by_ratio: whether K follows from the number of images.
        selection: what they came to, class by class.
    """

    out: Path
    page: Path | None
    pictures: int
    picks: int
    by_ratio: bool
    selection: Selection = field(repr=False)

    def lines(self) -> Iterator[str]:
        """What was excluded, K, how many picks there are, and the files."""
        found = self.selection
        for line in found.excluded:
            yield f"excluded: {line}"
        if found.drawn is not None:
            yield f"drawn: {found.drawn:,} images"
        if self.by_ratio:
            yield f"K = {found.per_class:,} per class, by the paper's ratio"
        yield (
            f"{self.picks:,} picks for {len(found.classes) - len(found.empty):,} of "
            f"{len(found.classes):,} classes, out of {found.rows:,} rows"
        )
        yield f"picks: {self.out}"
        if self.page is not None:
            yield f"page: {self.page} ({self.pictures} images)"


def select(options: SelectOptions) -> SelectResult:
    """Pick the images with the best scores for every class.

    Raises:
        UserError: no such table, a rule that does not fit it, or images of the page that are not there.
    """
    table = open_shards(options.scores, incomplete=options.incomplete)
    rule = RankingRule(
        options.per_class,
        options.top,
        options.by,
        options.minimum,
        options.seed,
        options.sample,
        options.sample_seed,
    )
    with progress("selecting", table.rows) as on_progress:
        found = select_best(
            table,
            options.out,
            rule,
            classes=None if options.classes is None else read_classes(options.classes),
            frequencies=None
            if options.frequencies is None
            else read_frequencies(options.frequencies),
            exclude=read_exclusions(options.exclude),
            part=options.part,
            limits=Limits(options.memory, options.threads),
            on_progress=on_progress,
        )
    for line in (*_unfinished(options.scores), *_incomplete(found)):
        print(f"warning: {line}", file=sys.stderr)
    pictures = 0 if options.report is None else _write_page(options, options.report)
    return SelectResult(
        options.out,
        options.report,
        pictures,
        int(found.counts.sum()),
        options.per_class is None,
        found,
    )


def _unfinished(scores: Path) -> Iterator[str]:
    """Whether there will be more scores."""
    if (scores / UNFINISHED).exists():
        yield f"{scores} does not hold all scores yet, and is selected from as it is"


def _incomplete(found: Selection) -> Iterator[str]:
    """What the user should know of a selection that is not complete."""
    for shard in found.skipped:
        yield f"{shard.file} cannot be read and is left out: {shard.reason}"
    empty = found.empty
    if empty:
        more = f" and {len(empty) - NAMED} more" if len(empty) > NAMED else ""
        names = ", ".join(map(repr, empty[:NAMED]))
        yield f"no image was picked for {len(empty)} classes: {names}{more}"
    if found.short:
        yield f"classes with fewer images than asked for: {found.short}"
    if found.repeated is not None:
        item, cls = found.repeated
        yield (
            f"item {item!r} was picked more than once for class {cls!r}: is a shard in the table twice?"
        )


def _write_page(options: SelectOptions, page: Path) -> int:
    """Write the page of the picks at some ranks of each class; returns the number of images on it."""
    picks = options.out
    columns = read_columns(picks, ["class", "rank"])
    if not len(columns):
        raise UserError(f"{picks} has no picks to show")
    counts = _counts(columns["class"])
    indexed = isinstance(next(iter(counts)), int)
    met = range(max(counts) + 1) if indexed else sorted(counts)
    meta = read_schema(picks).metadata or {}
    names = [str(name) for name in parse_json(meta.get(b"reteach.classes", "null")) or met]
    sizes = {str(names[cls] if indexed else cls): size for cls, size in counts.items()}
    ranks = sorted(set(options.ranks)) or _ranks(max(sizes.values()))
    shown = list(options.shown) or _spread(list(sizes))
    for name in shown:
        if name not in names:
            raise UserError(f"--shown: no class is called {name!r}{closest(name, names)}")
    keys = [names.index(name) if indexed else name for name in shown]
    wanted = read_columns(
        picks,
        ["item", "class", "score", "rank"],
        filters=pc.field("rank").isin(ranks) & pc.field("class").isin(keys),
    ).to_pylist()
    pictures = _pictures(str(options.images), sorted({str(row["item"]) for row in wanted}))
    found: dict[tuple[str, int], Pick] = {}
    for row in wanted:
        name, item = names[row["class"]] if indexed else row["class"], str(row["item"])
        found[name, row["rank"]] = Pick(item, float(row["score"]), pictures[item])
    rows = [(name, sizes.get(name, 0), [found.get((name, r)) for r in ranks]) for name in shown]
    write_picks(page, ranks, rows, len(names))
    return len(found)


def _pictures(images: str, items: list[str]) -> dict[str, str]:
    """Item -> a small picture as a data URL, or why there is none."""
    source = open_source(images, items)
    pictures = {}
    for row, item in enumerate(source.items):
        try:
            pictures[item] = data_url(source.read(row))
        except ImageError as error:
            pictures[item] = str(error)
    return pictures


def _counts(column: Any) -> dict[Any, int]:
    return {entry["values"]: entry["counts"] for entry in pc.value_counts(column).to_pylist()}


def _ranks(most: int) -> list[int]:
    return sorted({1, most} | {10**power for power in range(1, 9) if 10**power <= most})


def _spread(names: list[str]) -> list[str]:
    at = np.linspace(0, len(names) - 1, min(MOST, len(names))).round().astype(int)
    return [names[i] for i in np.unique(at)]
