"""Answers out of a store: as :class:`Ratings` for the consensus, and as CSV text."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Select, select

from ..analysis.mistakes import VERDICTS
from ..errors import UserError
from ..relabel.raters.rating_tables import Dialect, write_ratings
from ..relabel.raters.ratings import ANSWERS, YES, Ratings, Ruling
from ..relabel.raters.reference_labels import with_gold_sets
from ..spreadsheet import to_csv
from .schema import (
    answers,
    assignments,
    classes,
    gold_sets_of,
    items,
    predictors,
    questions,
    raters,
    remarks,
    rulings,
    tasks,
)
from .store import Store

CLEAR, UNDECIDABLE, NO_MISTAKE = 0, 1, 2
"""Answers to "is the prediction right?": no, cannot say, yes."""
VERDICT = {CLEAR: VERDICTS[0], NO_MISTAKE: VERDICTS[1], UNDECIDABLE: VERDICTS[2]}


def ratings_of(store: Store) -> Ratings:
    """The answers of all raters who are not excluded, as they are now, and the owner's gold sets.

    Gold that nobody was asked about is there as golden pairs without an answer.

    Raises:
        UserError: the raters judged mistakes.
    """
    with store.understood():
        return _ratings_of(store)


def _ratings_of(store: Store) -> Ratings:
    if store.settings.kind != "labels":
        raise UserError(
            f"{store.where} holds judgements of mistakes, not labels: "
            "write them as CSV with 'reteach relabel export'"
        )
    with store.read() as connection:
        names = [name for (name,) in connection.execute(select(items.c.name).order_by(items.c.id))]
        classes_ = connection.scalars(select(classes.c.name).order_by(classes.c.id)).all()
        original = _column(connection, select(items.c.original).order_by(items.c.id), none=-1)
        asked = (
            select(tasks.c.item_id, questions.c.class_id, questions.c.gold)
            .join(tasks, questions.c.task_id == tasks.c.id)
            .order_by(questions.c.id)
        )
        pairs = connection.execute(asked).all()
        counted = raters.c.state != "excluded"
        people = connection.execute(
            select(raters.c.id, raters.c.name).where(counted).order_by(raters.c.id)
        ).all()
        said = connection.execute(
            select(answers.c.question_id, answers.c.rater_id, answers.c.answer)
            .join(raters, answers.c.rater_id == raters.c.id)
            .where(counted)
            .order_by(answers.c.question_id, answers.c.rater_id)
        )
        rows = np.array([tuple(row) for row in said], np.int64).reshape(-1, 3)
        sets = gold_sets_of(connection)
        ruled = connection.execute(select(rulings)).all()
    ids = np.array(
        [row.id for row in people], np.int64
    )  # in order; numbers of a damaged store are of any size
    found = Ratings(
        names,
        list(classes_),
        np.array([row.item_id for row in pairs], np.int64),
        np.array([row.class_id for row in pairs], np.int64),
        [row.name for row in people],
        np.searchsorted(ids, rows[:, 1]),
        rows[:, 0],
        rows[:, 2].astype(np.int8),
        np.array([np.nan if row.gold is None else row.gold for row in pairs], np.float64),
        original,
    )
    whole = with_gold_sets(found, list(sets), list(sets.values()))
    gold, before = whole.gold.copy(), whole.golden
    for row in ruled:
        gold[row.question_id] = float(row.answer == YES)
    return replace(
        whole,
        gold=gold,
        ruled={  # gold that the owner mends was there before anybody answered
            row.question_id: Ruling(row.ruled_by, iso(row.ruled_at))
            for row in ruled
            if not before[row.question_id]
        },
    )


def iso(at: float) -> str:
    """Seconds since 1970 as ISO 8601, UTC."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def rulings_csv(store: Store) -> str:
    """``item, class, ruling, by, at, yes, maybe, no`` of the owner's rulings, the oldest first."""
    with store.understood(), store.read() as connection:
        rows = connection.execute(
            select(rulings, items.c.name.label("item"), classes.c.name.label("class"))
            .join(questions, rulings.c.question_id == questions.c.id)
            .join(tasks, questions.c.task_id == tasks.c.id)
            .join(items, tasks.c.item_id == items.c.id)
            .join(classes, questions.c.class_id == classes.c.id)
            .order_by(rulings.c.ruled_at, rulings.c.question_id)
        ).all()
    counts = ratings_of(store).counts().tolist()
    said = (
        (
            row.item,
            row[-1],
            ANSWERS[row.answer],
            row.ruled_by,
            iso(row.ruled_at),
            *reversed(counts[row.question_id]),
        )
        for row in rows
    )
    return to_csv(("item", "class", "ruling", "by", "at", "yes", "maybe", "no"), said)


def answers_csv(store: Store, rater: int | None = None) -> str:
    """Every answer with its times: a row for each question that a rater answered, and one for each task that
    a rater skipped.

    Columns ``rater, task, item, class, answer, shown_at, submitted_at, seconds, active_seconds, changes,
    flagged, comment, skipped``; times are those of the task, in seconds, the same in all its rows.

    Args:
        rater: that one alone; None: all, excluded ones too.
    """
    query = (
        select(
            raters.c.name,
            tasks.c.id,
            items.c.name,
            classes.c.name,
            answers.c.answer,
            assignments.c.shown_at,
            assignments.c.submitted_at,
            assignments.c.seconds,
            assignments.c.active,
            assignments.c.version,
            remarks.c.flagged,
            remarks.c.comment,
            assignments.c.skipped_at,
        )
        .select_from(assignments)
        .join(raters, assignments.c.rater_id == raters.c.id)
        .join(tasks, assignments.c.task_id == tasks.c.id)
        .join(items, tasks.c.item_id == items.c.id)
        .join(
            remarks,
            (remarks.c.task_id == tasks.c.id) & (remarks.c.rater_id == raters.c.id),
            isouter=True,
        )
        .join(questions, questions.c.task_id == tasks.c.id)
        .join(classes, questions.c.class_id == classes.c.id)
        .join(
            answers,
            (answers.c.question_id == questions.c.id) & (answers.c.rater_id == raters.c.id),
            isouter=True,
        )
        .where(
            answers.c.answer.is_not(None)
            | (assignments.c.skipped_at.is_not(None) & (questions.c.place == 0))
        )
        .order_by(raters.c.id, assignments.c.claimed_at, tasks.c.id, questions.c.place)
    )
    if rater is not None:
        query = query.where(raters.c.id == rater)
    words = [VERDICT[k] for k in (0, 1, 2)] if store.settings.kind == "mistakes" else ANSWERS
    with store.understood(), store.read() as connection:
        rows = [_answer_row(row, words) for row in connection.execute(query)]
    heads = (
        "rater task item class answer shown_at submitted_at seconds active_seconds changes flagged"
    )
    return to_csv((*heads.split(), "comment", "skipped"), rows)


def _answer_row(row: Any, words: Sequence[str]) -> tuple[str | int, ...]:
    name, task, item, cls, answer, shown, submitted, seconds, active, version, *rest = row
    flagged, comment, skipped = rest
    return (
        name,
        task + 1,
        item,
        "" if answer is None else cls,
        "" if answer is None else words[answer],
        "" if shown is None else iso(shown),
        "" if submitted is None else iso(submitted),
        "" if seconds is None else f"{seconds:.1f}",
        "" if active is None else f"{active:.1f}",
        max(version - 1, 0),
        "yes" if flagged else "",
        comment or "",
        "" if skipped is None else iso(skipped),
    )


def ratings_csv(store: Store, dialect: Dialect = "reteach") -> str:
    """``task, rater, answer`` or crowd-kit's ``task, worker, label``; see :mod:`rating_tables`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ratings.csv"
        write_ratings(path, ratings_of(store), dialect, store.settings.wanted, store.settings.agree)
        return path.read_text(encoding="utf-8")


def verdicts_csv(store: Store) -> str:
    """``model, labels, item, prediction, rater, answer`` of a store of mistakes."""
    query = (
        select(
            predictors.c.model,
            predictors.c.labels,
            items.c.name,
            classes.c.name,
            raters.c.name,
            answers.c.answer,
        )
        .select_from(answers)
        .join(questions, answers.c.question_id == questions.c.id)
        .join(tasks, questions.c.task_id == tasks.c.id)
        .join(predictors, predictors.c.task_id == tasks.c.id)
        .join(items, tasks.c.item_id == items.c.id)
        .join(classes, questions.c.class_id == classes.c.id)
        .join(raters, answers.c.rater_id == raters.c.id)
        .where(raters.c.state != "excluded")
        .order_by(predictors.c.labels, predictors.c.model, tasks.c.id, raters.c.id)
    )
    with store.understood(), store.read() as connection:
        rows = [(*row[:-1], VERDICT[row[-1]]) for row in connection.execute(query)]
    return to_csv(("model", "labels", "item", "prediction", "rater", "answer"), rows)


def _column(connection: Connection, query: Select[Any], none: int) -> NDArray[np.int64]:
    values = connection.scalars(query)
    return np.array([none if value is None else value for value in values], np.int64)
