"""Filling a new store with tasks: from proposals, or from predictions that count as mistakes."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Table, insert

from ..errors import UserError
from ..labels import Multi
from ..relabel.raters.proposals import Proposals
from ..relabel.raters.tasks import TaskSplit
from . import schema
from .class_descriptions import ClassText
from .schema import Kind
from .store import Store, open_store

Indices = NDArray[np.int64]
Floats = NDArray[np.float64]

CHUNK = 5_000


@dataclass(frozen=True, eq=False)
class TaskPlan:
    """All that a store is built from: T tasks with Q questions about N items and C classes.

    The questions of task t are ``asked[starts[t]:starts[t + 1]]``.
    """

    kind: Kind
    items: Sequence[str]
    original: Indices
    """(N,) class index, -1 for none."""
    classes: Sequence[str]
    item: Indices
    """(T,) the image of each task."""
    starts: Indices
    """(T + 1,)"""
    asked: Indices
    """(Q,) class indices."""
    gold: Floats
    """(Q,) share of experts who said yes; NaN where unknown."""
    gold_sets: Mapping[int, Sequence[int]] = field(default_factory=dict)
    """Labels: item -> its whole gold set, with the classes that nobody is asked about; items without a task
    can have one too."""
    given: Sequence[tuple[int, int]] = ()
    """Mistakes: (task, class) pairs of the labels by which the prediction is wrong."""
    predictors: Sequence[tuple[int, str, str]] = ()
    """Mistakes: (task, model, name of the labels)."""
    examples: Sequence[tuple[int, int]] = ()
    """(class, item) pairs: images that show a class."""
    texts: dict[str, ClassText] = field(default_factory=dict)
    """What raters read in place of a class's bare name."""

    def __len__(self) -> int:
        return len(self.item)

    def golden(self) -> NDArray[np.bool_]:
        """(T,) tasks with a question whose answer is known."""
        known = np.concatenate([[0], np.cumsum(~np.isnan(self.gold))])
        return np.asarray(known[self.starts[1:]] > known[self.starts[:-1]])


def from_proposals(
    proposals: Proposals, tasks: TaskSplit, gold: Mapping[tuple[int, int], float]
) -> TaskPlan:
    """Tasks of the kind *labels*.

    Args:
        gold: (item, class) -> share of experts who said yes, where experts were asked.
    """
    original = np.full(len(proposals.items), -1, np.int64)
    pairs = proposals.original
    original[proposals.pair_item[pairs]] = proposals.pair_class[pairs]
    item = np.repeat(tasks.item, np.diff(tasks.starts))
    asked = zip(item.tolist(), tasks.classes.tolist(), strict=True)
    return TaskPlan(
        "labels",
        proposals.items,
        original,
        proposals.classes,
        tasks.item,
        tasks.starts,
        tasks.classes,
        np.array([gold.get(pair, np.nan) for pair in asked], np.float64),
    )


def from_mistakes(
    items: Sequence[str],
    classes: Sequence[str],
    predicted: dict[str, Indices],
    labels: dict[str, Multi],
    most: int | None = None,
    seed: int = 0,
) -> TaskPlan:
    """Tasks of the kind *mistakes*: one for each item, wrong prediction and set of labels.

    Models that make the same mistake share a task. Items without labels count as no mistake.

    Args:
        predicted: model -> (N,) class index of its first prediction, -1 for none.
        labels: name of the labels -> the label sets of the N items.
        most: take so many mistakes of each model and label set, at random.
    """
    rng = np.random.default_rng(seed)
    task_of: dict[tuple[int, int, tuple[int, ...]], int] = {}
    predictors: list[tuple[int, str, str]] = []
    for name, sets in labels.items():
        rows = [sets.columns[a:b].tolist() for a, b in pairwise(sets.starts.tolist())]
        for model, first in predicted.items():
            wrong = [
                i for i, c in enumerate(first.tolist()) if c >= 0 and rows[i] and c not in rows[i]
            ]
            if most is not None and len(wrong) > most:
                wrong = sorted(rng.choice(wrong, most, replace=False).tolist())
            for i in wrong:
                key = (i, int(first[i]), tuple(rows[i]))
                predictors.append((task_of.setdefault(key, len(task_of)), model, name))
    n = len(task_of)
    return TaskPlan(
        "mistakes",
        items,
        np.full(len(items), -1, np.int64),
        classes,
        np.array([i for i, _, _ in task_of], np.int64),
        np.arange(n + 1),
        np.array([c for _, c, _ in task_of], np.int64),
        np.full(n, np.nan),
        given=[(t, c) for (_, _, right), t in task_of.items() for c in right],
        predictors=predictors,
    )


def spread(pairs: Iterable[tuple[int, int]], each: int, seed: int = 0) -> list[tuple[int, int]]:
    """At most ``each`` items per class, at random, out of many (class, item) pairs."""
    found: dict[int, list[int]] = {}
    for c, item in pairs:
        found.setdefault(c, []).append(item)
    rng = np.random.default_rng(seed)
    return [
        (c, item)
        for c, members in sorted(found.items())
        for item in rng.permutation(sorted(members))[:each].tolist()
    ]


def build(
    where: str | Path,
    plan: TaskPlan,
    *,
    wanted: int = 5,
    agree: int | None = None,
    gold_rate: float = 0.1,
    seed: int = 0,
) -> Store:
    """A new store with these tasks, in random order; everything or nothing.

    Args:
        wanted: answers to each question, or to those on which raters differ.
        agree: answers that settle a question on which they agree; None: ``wanted``.
        gold_rate: share of golden tasks among those that a rater sees; 1 if there are no others.

    Raises:
        UserError: no tasks, a name that no database keeps, or what :func:`open_store` raises.
    """
    if not len(plan):
        raise UserError("there is nothing to rate: all models agree with all labels")
    if wanted < 1:
        raise UserError(f"a task needs at least 1 rater, got {wanted}")
    if agree is not None and not 2 <= agree < wanted:
        raise UserError(
            f"answers that agree settle a question from 2 to fewer than the {wanted} of others, got {agree}"
        )
    if not 0 <= gold_rate <= 1:
        raise UserError(f"the rate of golden tasks lies between 0 and 1, got {gold_rate}")
    for name in (*plan.items, *plan.classes):
        _check_text(name)
    golden = plan.golden()
    rate = 1.0 if golden.all() else gold_rate if golden.any() else 0.0
    settings = {
        "id": secrets.token_hex(4),
        "kind": plan.kind,
        "wanted": str(wanted),
        "gold_rate": repr(float(rate)),
    }
    if agree is not None:
        settings["agree"] = str(agree)
    store = open_store(where, "new")
    with store.write() as connection:
        rows = [{"name": name, "value": value} for name, value in settings.items()]
        connection.execute(insert(schema.store), rows)
        for table, entries in _rows(plan, golden, seed, wanted if agree is None else agree):
            for start in range(0, len(entries), CHUNK):
                connection.execute(insert(table), entries[start : start + CHUNK])
    return store


def _rows(
    plan: TaskPlan, golden: NDArray[np.bool_], seed: int, first: int
) -> Iterator[tuple[Table, list[dict[str, object]]]]:
    texts = [plan.texts.get(name, ClassText(name, "")) for name in plan.classes]
    yield (
        schema.classes,
        [
            {"id": c, "name": name, "title": text.title, "description": text.description}
            for c, (name, text) in enumerate(zip(plan.classes, texts, strict=True))
        ],
    )
    yield (
        schema.items,
        [
            {"id": i, "name": name, "original": None if label < 0 else label}
            for i, (name, label) in enumerate(zip(plan.items, plan.original.tolist(), strict=True))
        ],
    )
    place: dict[int, int] = {}
    shown: list[dict[str, object]] = []
    for c, item in plan.examples:
        place[c] = place.get(c, -1) + 1
        shown.append({"class_id": c, "place": place[c], "item_id": item})
    yield schema.examples, shown
    order = np.random.default_rng(seed).permutation(len(plan)).tolist()
    yield (
        schema.tasks,
        [
            {
                "id": t,
                "item_id": item,
                "golden": known,
                "place": order[t],
                "state": "open",
                "lacking": first,
            }
            for t, (item, known) in enumerate(zip(plan.item.tolist(), golden.tolist(), strict=True))
        ],
    )
    gold = [None if np.isnan(share) else share for share in plan.gold.tolist()]
    yield (
        schema.questions,
        [
            {"id": q, "task_id": t, "place": q - a, "class_id": int(plan.asked[q]), "gold": gold[q]}
            for t, (a, b) in enumerate(pairwise(plan.starts.tolist()))
            for q in range(a, b)
        ],
    )
    sets: list[tuple[int, int | None]] = [
        (item, c) for item, names in plan.gold_sets.items() for c in (*names,) or (None,)
    ]
    yield (
        schema.gold_sets,
        [{"id": k, "item_id": item, "class_id": c} for k, (item, c) in enumerate(sets)],
    )
    yield schema.given, [{"task_id": t, "class_id": c} for t, c in plan.given]
    yield (
        schema.predictors,
        [{"task_id": t, "model": model, "labels": labels} for t, model, labels in plan.predictors],
    )


def _check_text(name: str) -> None:
    try:
        odd = "\0" in name or not name.encode()
    except UnicodeEncodeError:
        odd = True
    if odd:
        raise UserError(f"the name {name[:60]!r} cannot be kept in a database")
