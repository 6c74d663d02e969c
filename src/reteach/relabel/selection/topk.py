"""The K best items of every class: SQL over score tables of any size, in bounded memory.

Yalniz, Jégou, Chen, Paluri & Mahajan, "Billion-scale semi-supervised learning for image
classification" (2019), Section 3.2: of each image the P highest softmax scores count; for each class
the images are ranked by that score and the first K become its new positives. An image may be picked
for several classes and then stands in several rows.

How it is computed. The table is read once, piece by piece. A row whose class already has K better
rows is dropped as it is read; the others gather, and are cut back to the K best of each class when
there are too many. Ranks follow (score falling, item rising), which is a total order, so neither
threads nor shards nor the order of rows change the result, and the K best of a union are among the
K best of its parts: **picks are themselves a score table, and selecting from picks merges them.**

P is checked afterwards. Only if a picked row turns out not to be among its item's P best (tables
normally hold no more than P per item) are rows beyond P dropped in each piece, and picks whose item
has better rows in other pieces are banned: exact for any layout, and one more reading for the usual
one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...errors import UserError
from ...structured import parse_json
from .database import Database, Limits, database
from .item_lists import Exclusions
from .quotas import (
    align,
    balanced,
    check_per_class,
    check_picks,
    paper_ratio,
    proportional,
    too_many,
)
from .score_shards import CLASSES, RULE, TEACHER, ShardLayout, Shards, Skipped
from .shard_classes import find_classes
from .topk_duckdb import DamagedShard, Ranking

if TYPE_CHECKING:
    from ...progress import Progress


@dataclass(frozen=True)
class RankingRule:
    """What is to be picked.

    Args:
        per_class: K, at least 1: picks per class (with frequencies: on average); None: by the paper's
            ratio, see :func:`~reteach.relabel.selection.quotas.paper_ratio`.
        top: P: only so many classes of each item count, those of its highest scores; None: all.
        by: the column that ranks, or ``random``: K drawn at random from each class's rows, which
            may be a label table of tags ("balanced-with-tags").
        minimum: rows with a lower score never count.
        seed: of the random draw, which is a function of seed, class and item alone.
        sample: share of the items that count, drawn at random; None: all. A function of ``sample_seed`` and
            item alone, so that parts can be selected apart, and a smaller share lies within a larger one.
    """

    per_class: int | None
    top: int | None = None
    by: Literal["score", "logit", "random"] = "score"
    minimum: float | None = None
    seed: int = 0
    sample: float | None = None
    sample_seed: int = 0

    def __post_init__(self) -> None:
        if self.per_class is not None and self.per_class < 1:
            raise UserError(f"K, the picks per class, must be at least 1, got {self.per_class}")
        if self.top is not None and self.top < 1:
            raise UserError(f"P, the classes per item, must be at least 1, got {self.top}")
        if self.by == "random" and (self.top is not None or self.minimum is not None):
            raise UserError("a random selection looks at no scores: leave top and minimum away")

    def check(self, classes: int) -> None:
        """Hold the rule against the number of classes.

        Raises:
            UserError: P is above it.
        """
        if self.top is not None and self.top > classes:
            raise UserError(
                f"P, the classes per item, is {self.top}, but there are only {classes} classes"
            )


@dataclass(frozen=True)
class Selection:
    """What a selection came to; all arrays are (C,)."""

    rows: int
    """Rows of the table."""
    per_class: int
    """K, as it was given or follows from the number of images."""
    classes: tuple[str, ...]
    quotas: NDArray[np.int64]
    counts: NDArray[np.int64]
    """Picks per class."""
    skipped: tuple[Skipped, ...]
    """Shards that could not be read."""
    repeated: tuple[str, str] | None
    """An item and class that are picked more than once, because the table repeats them."""
    excluded: tuple[str, ...] = ()
    """How many items of each exclude list are in the table, in words."""
    drawn: int | None = None
    """How many items the sample has; None: all of them count."""

    @property
    def empty(self) -> list[str]:
        """The classes without a pick."""
        return [self.classes[c] for c in np.flatnonzero(self.counts == 0)]

    @property
    def short(self) -> int:
        """How many classes have fewer picks than their quota, but some."""
        return int(((self.counts < self.quotas) & (self.counts > 0)).sum())


def select(
    shards: Shards,
    out: Path,
    rule: RankingRule,
    *,
    classes: Sequence[str] | None = None,
    frequencies: Mapping[str, float] | None = None,
    exclude: Exclusions | None = None,
    part: bool = False,
    limits: Limits | None = None,
    on_progress: Progress | None = None,
) -> Selection:
    """Write the picks: ``item``, ``class``, ``score`` (and ``logit``), ``rank``, sorted by class and rank.

    ``rank`` counts from 1. Items are ordered by bytes (strings) or value (integers). ``class`` is
    what it is in the table, an index or a name. In a random selection ``score`` is the draw, in [0, 1).

    Args:
        shards: of :func:`~reteach.relabel.selection.score_shards.open_shards`: scores, earlier picks, or tags
            (a label table).
        classes: the class list, where the table does not have it in its metadata.
        frequencies: of the classes: quotas follow them and add up to K · C.
        exclude: items that are never picked.
        part: the table is a part of a larger one, whose picks will be merged: K is that of the whole.

    Raises:
        UserError: an exclude list of which no item is in the table (unless ``part``); empty lists; a table
            that lacks a column, mixes teachers or class lists, or has a shard that cannot be read; P above
            the number of classes; picks that were made by narrower options; unless ``part``, a K that is
            too large for the images, or picks of most classes for each image.
    """
    _check_columns(shards.layout, rule, shards.path)
    with database("the selection", limits or Limits(), out.parent) as db:
        names, shards = find_classes(db, shards, classes)
        rule.check(len(names))
        merged = shards.layout.rule is not None
        if rule.per_class is None:
            _refuse_picks(shards)
        drawn = None if rule.sample is None or merged else _count_drawn(db, shards, rule)
        k = rule.per_class or paper_ratio(_available(db, shards, drawn), len(names))
        if not part and shards.layout.rule is None and _counted(shards.layout):
            available = _available(db, shards, drawn)
            check_per_class(k, available, len(names), rule.top or shards.layout.top)
        if frequencies is None:
            quotas = balanced(k, len(names))
        else:
            quotas = proportional(k, align(frequencies, names, "the class frequencies"))
        parts = _parts(shards, rule, quotas)
        rank = Ranking(db, shards, names, rule.by, rule.minimum, rule.seed, sampled(rule))
        exclude = exclude or Exclusions()
        rank.exclude(exclude.items)
        holds = rule.top if parts else shards.layout.top
        checked = rule.top is None or (holds is not None and holds <= rule.top)
        local: int | None = None
        while True:
            try:
                rank.read(quotas, local, on_progress)
                if checked or not rank.ban_beyond(rule.top or 0):
                    break
                local = rule.top
            except DamagedShard:
                continue  # its shard is set aside; what was read of it goes as well
        example = rank.example() if exclude.items else None
        excluded = exclude.found(rank.excluded(), "the scores", example, part=part)
        counts = rank.counts()
        if not part:
            picks, picked = int(counts.sum()), rank.count_items()
            if too_many(picks / max(picked, 1), len(names)):
                check_picks(picks, picked, k, _available(db, rank.table, drawn), len(names))
        listed = shards.layout.classes or classes
        rank.write(out, _metadata(shards.layout, rule, listed, quotas))
        table = rank.table
        return Selection(
            table.rows,
            k,
            names,
            quotas,
            counts,
            table.skipped,
            rank.repeated(),
            tuple(excluded),
            drawn,
        )


def _counted(layout: ShardLayout) -> bool:
    """Whether the number of items follows from the number of rows."""
    return layout.classes_are == "lists" or layout.top is not None


def count_items(db: Database, table: Shards) -> int:
    """The items of a table: of scores as ``reteach score`` writes them, without reading it."""
    if table.layout.classes_are == "lists":
        return table.rows
    if table.layout.top is not None:
        return max(1, table.rows // table.layout.top)
    files = [shard.file for shard in table.shards]
    sql = "select count(distinct item) from read_parquet($files, hive_partitioning = false)"
    return int(db.run(sql, files)[0][0])


def _refuse_picks(table: Shards) -> None:
    if table.layout.rule is not None:
        raise UserError(
            f"{table.path} holds picks, which do not tell how many images there were: give --per-class"
        )


def _available(db: Database, table: Shards, drawn: int | None) -> int:
    """How many items there are to pick from."""
    return count_items(db, table) if drawn is None else max(1, drawn)


def _count_drawn(db: Database, table: Shards, rule: RankingRule) -> int:
    """The items of the sample.

    Raises:
        UserError: there are none.
    """
    count = "count(*)" if table.layout.classes_are == "lists" else "count(distinct item)"
    rows = "read_parquet($files, hive_partitioning = false)"
    sql = f"select {count} from {rows} where {sampled(rule)}"

    def of(files: list[Path]) -> int | None:
        """None where one of them cannot be read."""
        try:
            return int(db.run(sql, files)[0][0])
        except db.error:
            return None

    files = [shard.file for shard in table.shards]
    found = of(files)
    if found is None:  # the selection will set damaged shards aside, and name them
        found = of([file for file in files if of([file]) is not None])
    if not found:
        raise UserError(
            f"--sample {rule.sample:g} draws none of the images of {table.path}: raise it"
        )
    return found


SAMPLED = "\x1esample"
"""In place of the class in the hash that draws a sample: no class is called so."""


def sampled(rule: RankingRule) -> str | None:
    """The condition on ``item`` by which an item is in the sample: 53 bits of a hash."""
    if rule.sample is None:
        return None
    text = f"concat_ws(chr(31), '{rule.sample_seed:d}', chr(30) || 'sample', item)"
    return f"(md5_number_lower({text}) >> 11)::DOUBLE / 9007199254740992 < {rule.sample!r}"


def described(rule: RankingRule, quotas: NDArray[np.int64]) -> str:
    """The options of a selection, as picks carry them in their metadata."""
    made: dict[str, Any] = {
        "quotas": quotas.tolist() if len(set(quotas.tolist())) > 1 else int(quotas[0]),
        "top": rule.top,
        "by": rule.by,
        "minimum": rule.minimum,
        "seed": rule.seed,
    }
    if rule.sample is not None:
        made |= {"sample": rule.sample, "sample_seed": rule.sample_seed}
    return json.dumps(made)


def _check_columns(layout: ShardLayout, rule: RankingRule, table: Path) -> None:
    if rule.by == "random":
        return
    if layout.classes_are == "lists":
        raise UserError(f"{table}: a label table has no scores to rank by: select by random")
    for name in {"score", rule.by}:
        if getattr(layout, name) is None:
            raise UserError(f"{table}: no column {name!r}")


def _metadata(
    layout: ShardLayout, rule: RankingRule, classes: Sequence[str] | None, quotas: NDArray[np.int64]
) -> dict[str, str]:
    """What the picks say of themselves; classes that were merely met are no class list."""
    meta = {RULE: described(rule, quotas)}
    meta |= {} if classes is None else {CLASSES: json.dumps(list(classes))}
    return meta | ({} if layout.teacher is None else {TEACHER: layout.teacher})


def _parts(shards: Shards, rule: RankingRule, quotas: NDArray[np.int64]) -> bool:
    """Whether the shards are picks, to be merged; they must hold all that ``rule`` asks for."""
    if shards.layout.rule is None:
        return False
    try:
        made = parse_json(shards.layout.rule)
        kept = np.asarray(made["quotas"], np.int64)
        same = (made["top"], made["by"]) == (rule.top, rule.by)
        same &= rule.by != "random" or made["seed"] == rule.seed
        drawn = (made.get("sample"), made.get("sample_seed", 0))
        same &= drawn == (rule.sample, rule.sample_seed)
        lower = -np.inf if rule.minimum is None else rule.minimum
        same &= made["minimum"] is None or made["minimum"] <= lower
        enough = bool((quotas <= kept).all())
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{shards.path}: the options in its metadata are damaged") from None
    if not (same and enough):
        options = ", ".join(f"{name} {value}" for name, value in made.items() if name != "quotas")
        raise UserError(
            f"{shards.path} holds picks ({kept.min()} to {kept.max()} per class, {options}): they "
            "merge under the same options and no more per class; else select from the scores"
        )
    return True
