"""``reteach relabel tasks``: proposals or mistakes as tasks for raters, in a store."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..item_index import rows_among
from ..labels import Multi, as_multi
from ..options.rate import TasksOptions
from ..progress import note
from ..rating.build import TaskPlan, build, from_mistakes, from_proposals, spread
from ..rating.class_descriptions import read_names
from ..rating.importer import bring_in
from ..rating.label_studio_import import LabelStudio, read_label_studio
from ..rating.read import Wanted, read_wanted
from ..rating.store import one_store
from ..rating.views import EXAMPLES
from ..relabel.raters.hierarchy import co_proposal, read_hierarchy
from ..relabel.raters.proposals import Proposals, read_proposals
from ..relabel.raters.ratings import Ratings, together
from ..relabel.raters.tasks import TaskSplit, groups, split
from ..tables import LabelTable, read_labels


@final
@dataclass(frozen=True)
class TasksResult:
    """The store that was made.

    Args:
        store: where it is.
        tasks: in it.
        questions: in all tasks.
        images: that they are about.
        raters: per question, or per question on which they differ.
        agree: answers that settle a question on which raters agree; None: as many as of others.
        golden: tasks whose answers are known.
        never_asked: classes of gold labels that no question names.
        kept: images that need no rating.
        answers: of earlier raters that were taken over.
        earlier_raters: who gave them.
        left_out: answers to questions that no task asks.
    """

    store: str
    tasks: int
    questions: int
    images: int
    raters: int
    agree: int | None
    golden: int
    never_asked: list[str]
    kept: int
    answers: int = 0
    earlier_raters: int = 0
    left_out: int = 0

    def lines(self) -> Iterator[str]:
        """What is in the store, and where it is."""
        yield (
            f"{self.tasks:,} tasks with {self.questions:,} questions about "
            f"{self.images:,} images, {self.raters} raters each"
            + (f", {self.agree} where they agree" if self.agree else "")
            + (f"; {self.golden:,} of them golden" if self.golden else "")
        )
        if self.never_asked:
            yield (
                f"{len(self.never_asked):,} classes are in gold labels but never asked about, "
                f"first: {self.never_asked[0]!r}; the consensus writes them for the golden images alone"
            )
        if self.kept:
            yield f"{self.kept:,} images need no rating: all models agree with their label"
        if self.earlier_raters:
            left = self.left_out
            yield f"{self.answers:,} answers of {self.earlier_raters} raters taken over" + (
                f", {left:,} left out: of questions that no task asks" if left else ""
            )
        yield f"store: {self.store}"


def tasks(options: TasksOptions) -> TasksResult:
    """Make a rating store.

    Raises:
        UserError: files that do not go together, or a store that exists already.
    """
    sources = (
        options.proposals is not None,
        bool(options.predictions),
        options.label_studio is not None,
    )
    if sum(sources) != 1:
        raise UserError("name one of --proposals, --predictions and --label-studio")
    where = one_store(options.out, options.store)
    address = "://" in where and not where.startswith("sqlite:")
    if not address and Path(where).suffix.lower() not in (".db", ".sqlite", ".sqlite3"):
        raise UserError(
            f"{where}: the tasks go into a rating store, an SQLite file: name it .db, .sqlite or .sqlite3; "
            "reteach relabel export then writes .json and .csv"
        )
    if options.predictions:
        plan, given, kept = _mistakes(options), None, 0
        wanted, agree = options.raters or RATERS, None
    else:
        plan, given, kept, said = _labels(options)
        wanted, agree = _wanted(options, said)
    plan = _with_texts(options, plan)
    store = build(
        where, plan, wanted=wanted, agree=agree, gold_rate=options.gold_rate, seed=options.seed
    )
    earlier = given if given is not None and len(given.answer) else None
    taken, left = (0, 0) if earlier is None else bring_in(store, earlier, time.time())
    store.close()
    return TasksResult(
        store.where,
        len(plan),
        len(plan.asked),
        len(np.unique(plan.item)),
        wanted,
        agree,
        int(plan.golden().sum()),
        _never_asked(plan),
        kept,
        taken,
        0 if earlier is None else len(earlier.raters),
        left,
    )


RATERS = 5
"""Per task, where neither the user nor a file says how many."""


def _wanted(options: TasksOptions, said: dict[Path, Wanted]) -> tuple[int, int | None]:
    """The answers that a question needs, and how many settle it where they agree, as the user or else the
    files that bring answers say it."""
    if options.raters is not None:
        return options.raters, options.agree
    if len(set(said.values())) > 1:
        each = ", ".join(f"{path}: {_words(number)}" for path, number in said.items())
        raise UserError(f"the files want different numbers of answers ({each}): give --raters")
    answers, agree = next(iter(said.values()), Wanted(RATERS, None))
    return answers or RATERS, options.agree or agree


def _words(number: Wanted) -> str:
    return f"{number.answers}" + (f", {number.agree} that agree" if number.agree else "")


def _never_asked(plan: TaskPlan) -> list[str]:
    """Classes of gold sets that no question names."""
    asked = set(plan.asked.tolist())
    gold = {c for names in plan.gold_sets.values() for c in names}
    return [plan.classes[c] for c in sorted(gold - asked)]


def _labels(
    options: TasksOptions,
) -> tuple[TaskPlan, Ratings | None, int, dict[Path, Wanted]]:
    """The plan, answers that exist already, the number of images kept unrated, and what files say of the
    answers that each task needs."""
    gold: dict[tuple[int, int], float] = {}
    sets: dict[int, list[int]] = {}
    given = None
    wanted: dict[Path, Wanted] = {}
    if options.label_studio is not None:
        found = read_label_studio(options.label_studio)
        proposals, given = found.proposals(), found.ratings()
        pairs = zip(given.pair_item.tolist(), given.pair_class.tolist(), given.gold, strict=True)
        gold = {
            (i, c): float(share)
            for row, (i, c, share) in enumerate(pairs)
            if not np.isnan(share) and row not in given.ruled
        }
        sets |= found.sets
        wanted[options.label_studio] = Wanted(found.wanted, found.agree)
    else:
        assert options.proposals is not None
        proposals = read_proposals(options.proposals)
    if options.ratings is not None:
        more_answers, wanted[options.ratings] = read_wanted(options.ratings)
        given = together([more_answers] if given is None else [given, more_answers])
        gold |= _gold_of(options.ratings, more_answers, proposals, gold)
    known = proposals.classes
    if options.gold is not None:
        more, known = _gold_sets(options.gold, proposals)
        sets |= more
    gold |= {
        (i, c): float(c in sets[i])
        for i, c in zip(proposals.pair_item.tolist(), proposals.pair_class.tolist(), strict=True)
        if i in sets
    }
    if options.hierarchy is not None:
        similarity = read_hierarchy(options.hierarchy).similarity(proposals.classes)
    else:
        similarity = co_proposal(proposals.pair_item, proposals.pair_class, len(proposals.classes))
    if options.label_studio is not None:
        tasks = _as_in_file(found, similarity, options.limit)
    else:
        tasks = split(proposals, similarity, options.limit)
    plan = replace(from_proposals(proposals, tasks, gold), classes=known, gold_sets=sets)
    if options.label_studio is not None:
        plan = replace(plan, original=found.ratings().original)
    agreed = tasks.kept[proposals.pair_item] & proposals.original
    shown = zip(
        proposals.pair_class[agreed].tolist(), proposals.pair_item[agreed].tolist(), strict=True
    )
    plan = replace(plan, examples=spread(shown, EXAMPLES + 1, options.seed))
    said = {path: number for path, number in wanted.items() if number.answers is not None}
    return plan, given, int(tasks.kept.sum()), said


def _gold_of(
    path: Path, ratings: Ratings, proposals: Proposals, known: Mapping[tuple[int, int], float]
) -> dict[tuple[int, int], float]:
    """(item, class) of the proposals -> gold, where a file of answers has it.

    Raises:
        UserError: another file says otherwise.
    """
    item = rows_among(ratings.items, proposals.items)[ratings.pair_item]
    label = rows_among(ratings.classes, proposals.classes)[ratings.pair_class]
    asked = set(zip(proposals.pair_item.tolist(), proposals.pair_class.tolist(), strict=True))
    golden = np.flatnonzero(ratings.without_rulings().golden)
    found = {(int(item[p]), int(label[p])): float(ratings.gold[p]) for p in golden}
    for (i, c), share in found.items():
        if known.get((i, c), share) != share:
            raise UserError(
                f"{path}: the gold of {proposals.items[i]!r}, class {proposals.classes[c]!r}, is not "
                "that of the other file"
            )
    if others := len(golden) - len(asked & found.keys()):
        note(f"{path}: {others:,} golden pairs are asked about by no task, and are left out")
    return {pair: share for pair, share in found.items() if pair in asked}


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


def _mistakes(options: TasksOptions) -> TaskPlan:
    for option in ("gold", "hierarchy", "ratings"):
        if getattr(options, option) is not None:
            raise UserError(f"--{option} belongs to --proposals")
    if not options.labels:
        raise UserError("--predictions needs --labels: by which they are right or wrong")
    labels = {path.stem: read_labels(path, kind="multi") for path in options.labels}
    if len(labels) < len(options.labels):
        raise UserError("two of --labels have the same file name")
    first = next(iter(labels.values()))
    predicted = {path.stem: read_labels(path, kind="single") for path in options.predictions}
    if len(predicted) < len(options.predictions):
        raise UserError("two of --predictions have the same file name: it names the model")
    classes = first.labels.classes
    for path in (*options.labels, *options.predictions):
        table = labels.get(path.stem) if path in options.labels else predicted[path.stem]
        assert table is not None
        _same_classes(path, table, classes, options.labels[0])
    items = first.items
    sets = {name: _aligned(table, items, classes) for name, table in labels.items()}
    plan = from_mistakes(
        items,
        classes,
        {n: _aligned(t, items, classes).as_single().index for n, t in predicted.items()},
        sets,
        options.most,
        options.seed,
    )
    judged = set(plan.item.tolist())
    at, columns, _ = next(iter(sets.values())).pairs()
    single = np.diff(next(iter(sets.values())).starts) == 1
    pairs = zip(columns[single[at]].tolist(), at[single[at]].tolist(), strict=True)
    shown = ((c, i) for c, i in pairs if i not in judged)
    return replace(plan, examples=spread(shown, EXAMPLES + 1, options.seed))


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


def _with_texts(options: TasksOptions, plan: TaskPlan) -> TaskPlan:
    if options.names is not None:
        plan = replace(plan, texts=read_names(options.names))
    if options.examples is not None:
        table = read_labels(options.examples, kind="multi", classes=plan.classes)
        rows = _rows(table, plan.items, options.examples)
        at, columns, _ = table.labels.pairs()
        pairs = zip(columns.tolist(), (rows[i] for i in at.tolist()), strict=True)
        plan = replace(plan, examples=spread(pairs, EXAMPLES + 1, options.seed))
    return plan


def _rows(table: LabelTable, items: Sequence[str], path: Path) -> list[int]:
    rows = rows_among(table.items, items)
    if (rows < 0).any():
        foreign = table.items[int(rows.argmin())]
        raise UserError(f"{path}: item {foreign!r} is not among the images to rate")
    return list(map(int, rows))
