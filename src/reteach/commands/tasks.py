"""The work of ``reteach relabel tasks`` and ``reteach relabel export``."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..files import atomic_write
from ..item_index import rows_among
from ..labels import Multi, as_multi
from ..options.rate import one_store
from ..rating.build import TaskPlan, build, from_mistakes, from_proposals, spread
from ..rating.class_descriptions import read_names
from ..rating.export import ratings_csv, read_ratings, verdicts_csv
from ..rating.importer import bring_in
from ..rating.interop import CONFIG, LabelStudio, label_studio_json, read_label_studio
from ..rating.store import open_store
from ..rating.views import EXAMPLES
from ..relabel.raters.hierarchy import co_proposal, read_hierarchy
from ..relabel.raters.proposals import Proposals, read_proposals
from ..relabel.raters.ratings import Ratings
from ..relabel.raters.tasks import TaskSplit as TaskSplit
from ..relabel.raters.tasks import groups, split
from ..tables import LabelTable, read_labels

if TYPE_CHECKING:
    from ..options.rate import ExportOptions, TasksOptions


def make(command: TasksOptions) -> Iterator[str]:
    """Do it; yields the lines to print."""
    sources = (
        command.proposals is not None,
        bool(command.predictions),
        command.label_studio is not None,
    )
    if sum(sources) != 1:
        raise UserError("name one of --proposals, --predictions and --label-studio")
    where = one_store(command.out, command.store)
    address = "://" in where and not where.startswith("sqlite:")
    if not address and Path(where).suffix.lower() not in (".db", ".sqlite", ".sqlite3"):
        raise UserError(
            f"{where}: the tasks go into a rating store, an SQLite file: name it .db, .sqlite or .sqlite3; "
            "reteach relabel export then writes .json and .csv"
        )
    if command.predictions:
        plan, given, kept = _mistakes(command), None, 0
    else:
        plan, given, kept = _labels(command)
    plan = _with_texts(command, plan)
    store = build(
        where, plan, wanted=command.raters, gold_rate=command.gold_rate, seed=command.seed
    )
    golden = int(plan.golden().sum())
    yield (
        f"{len(plan):,} tasks with {len(plan.asked):,} questions about "
        f"{len(np.unique(plan.item)):,} images, {command.raters} raters each"
        + (f"; {golden:,} of them golden" if golden else "")
    )
    if odd := _never_asked(plan):
        yield (
            f"{len(odd):,} classes are in gold labels but never asked about, first: {odd[0]!r}; "
            "the consensus writes them for the golden images alone"
        )
    if kept:
        yield f"{kept:,} images need no rating: all models agree with their label"
    if given is not None and len(given.answer):
        taken, left = bring_in(store, given, time.time())
        yield f"{taken:,} answers of {len(given.raters)} raters taken over" + (
            f", {left:,} left out: of tasks that the rater did not answer whole" if left else ""
        )
    yield f"store: {store.where}"
    store.close()


def _never_asked(plan: TaskPlan) -> list[str]:
    """Classes of gold sets that no question names."""
    asked = set(plan.asked.tolist())
    gold = {c for names in plan.gold_sets.values() for c in names}
    return [plan.classes[c] for c in sorted(gold - asked)]


def export(command: ExportOptions) -> Iterator[str]:
    """Do it; yields the lines to print."""
    store = open_store(command.ratings)
    ending = command.out.suffix.lower()
    if ending == ".json":
        atomic_write(command.out, label_studio_json(store))
        config = command.out.with_suffix(".xml")
        atomic_write(config, CONFIG)
        yield f"labelling interface for the project: {config}"
    elif ending == ".csv" and store.settings.kind == "mistakes":
        atomic_write(command.out, verdicts_csv(store))
    elif ending == ".csv":
        atomic_write(command.out, ratings_csv(store, command.columns))
        if command.columns == "crowd-kit":
            yield (
                "crowd-kit's columns list answers only: pairs nobody answered, gold they have, and images "
                "without a task are left out; the store and --columns reteach have them"
            )
    else:
        raise UserError(f"{command.out}: answers are written as .csv or .json")
    yield f"answers: {command.out}"
    store.close()


def _labels(command: TasksOptions) -> tuple[TaskPlan, Ratings | None, int]:
    """The plan, answers that exist already, and the number of images kept unrated."""
    gold: dict[tuple[int, int], float] = {}
    sets: dict[int, list[int]] = {}
    given = None
    if command.label_studio is not None:
        found = read_label_studio(command.label_studio)
        proposals, given = found.proposals(), found.ratings()
        pairs = zip(given.pair_item.tolist(), given.pair_class.tolist(), given.gold, strict=True)
        gold = {(i, c): float(share) for i, c, share in pairs if not np.isnan(share)}
        sets |= found.sets
    else:
        assert command.proposals is not None
        proposals = read_proposals(command.proposals)
    if command.ratings is not None:
        given = read_ratings(command.ratings)
    known = proposals.classes
    if command.gold is not None:
        more, known = _gold_sets(command.gold, proposals)
        sets |= more
    gold |= {
        (i, c): float(c in sets[i])
        for i, c in zip(proposals.pair_item.tolist(), proposals.pair_class.tolist(), strict=True)
        if i in sets
    }
    if command.hierarchy is not None:
        similarity = read_hierarchy(command.hierarchy).similarity(proposals.classes)
    else:
        similarity = co_proposal(proposals.pair_item, proposals.pair_class, len(proposals.classes))
    if command.label_studio is not None:
        tasks = _as_in_file(found, similarity, command.limit)
    else:
        tasks = split(proposals, similarity, command.limit)
    plan = replace(from_proposals(proposals, tasks, gold), classes=known, gold_sets=sets)
    if command.label_studio is not None:
        plan = replace(plan, original=found.ratings().original)
    agreed = tasks.kept[proposals.pair_item] & proposals.original
    shown = zip(
        proposals.pair_class[agreed].tolist(), proposals.pair_item[agreed].tolist(), strict=True
    )
    plan = replace(plan, examples=spread(shown, EXAMPLES + 1, command.seed))
    return plan, given, int(tasks.kept.sum())


def _as_in_file(found: LabelStudio, similarity: NDArray[np.float64], limit: int) -> TaskSplit:
    """The tasks of a Label Studio file as they are; those without answers in parts of ``limit`` classes."""
    answered = found.answered()
    item: list[int] = []
    parts: list[list[int]] = []
    for task in found.tasks:
        asked = [c for _, c in task]
        whole = len(task) <= limit or any(pair in answered for pair in task)
        split_ = [list(range(len(asked)))]
        if not whole:
            split_ = groups(similarity[np.ix_(asked, asked)], limit)
        parts += [[asked[k] for k in group] for group in split_]
        item += [task[0][0]] * len(split_)
    return TaskSplit(
        np.array(item, np.int64),
        np.cumsum([0, *map(len, parts)]),
        np.array([c for part in parts for c in part], np.int64),
        np.zeros(len(found.items), np.bool_),
    )


def _gold_sets(path: Path, proposals: Proposals) -> tuple[dict[int, list[int]], list[str]]:
    """Golden image -> all its classes, proposed or not; and the classes with those that no model knows."""
    table = read_labels(path, kind="multi")
    classes = list(dict.fromkeys([*proposals.classes, *table.labels.classes]))
    rows = _rows(table, proposals.items, path)
    own = [rows_among(names, classes).tolist() for names in table.labels.names()]
    return dict(zip(rows, own, strict=True)), classes


def _mistakes(command: TasksOptions) -> TaskPlan:
    for option in ("gold", "hierarchy", "ratings"):
        if getattr(command, option) is not None:
            raise UserError(f"--{option} belongs to --proposals")
    if not command.labels:
        raise UserError("--predictions needs --labels: by which they are right or wrong")
    labels = {path.stem: read_labels(path, kind="multi") for path in command.labels}
    if len(labels) < len(command.labels):
        raise UserError("two of --labels have the same file name")
    first = next(iter(labels.values()))
    predicted = {path.stem: read_labels(path, kind="single") for path in command.predictions}
    if len(predicted) < len(command.predictions):
        raise UserError("two of --predictions have the same file name: it names the model")
    classes = first.labels.classes
    for path in (*command.labels, *command.predictions):
        table = labels.get(path.stem) if path in command.labels else predicted[path.stem]
        assert table is not None
        _same_classes(path, table, classes, command.labels[0])
    items = first.items
    sets = {name: _aligned(table, items, classes) for name, table in labels.items()}
    plan = from_mistakes(
        items,
        classes,
        {n: _aligned(t, items, classes).as_single().index for n, t in predicted.items()},
        sets,
        command.most,
        command.seed,
    )
    judged = set(plan.item.tolist())
    at, columns, _ = next(iter(sets.values())).pairs()
    single = np.diff(next(iter(sets.values())).starts) == 1
    pairs = zip(columns[single[at]].tolist(), at[single[at]].tolist(), strict=True)
    shown = ((c, i) for c, i in pairs if i not in judged)
    return replace(plan, examples=spread(shown, EXAMPLES + 1, command.seed))


def _aligned(table: LabelTable, items: Sequence[str], classes: Sequence[str]) -> Multi:
    """The label sets of these items, empty where the table has none."""
    labels = as_multi(table.labels.reorder(tuple(classes), what="the labels"))
    rows = rows_among(table.items, items)
    at, columns, _ = labels.pairs()
    known = rows[at] >= 0
    return Multi.from_pairs(rows[at][known], columns[known], len(items), classes)


def _same_classes(path: Path, table: LabelTable, classes: Sequence[str], first: Path) -> None:
    odd = sorted(set(table.labels.classes) - set(classes))
    if odd:
        raise UserError(f"{path}: class {odd[0]!r} is not among the classes of {first}")


def _with_texts(command: TasksOptions, plan: TaskPlan) -> TaskPlan:
    if command.names is not None:
        plan = replace(plan, texts=read_names(command.names))
    if command.examples is not None:
        table = read_labels(command.examples, kind="multi", classes=plan.classes)
        rows = _rows(table, plan.items, command.examples)
        at, columns, _ = table.labels.pairs()
        pairs = zip(columns.tolist(), (rows[i] for i in at.tolist()), strict=True)
        plan = replace(plan, examples=spread(pairs, EXAMPLES + 1, command.seed))
    return plan


def _rows(table: LabelTable, items: Sequence[str], path: Path) -> list[int]:
    rows = rows_among(table.items, items)
    if (rows < 0).any():
        foreign = table.items[int(rows.argmin())]
        raise UserError(f"{path}: item {foreign!r} is not among the images to rate")
    return list(map(int, rows))
