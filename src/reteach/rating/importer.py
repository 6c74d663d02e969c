"""Answers that were given elsewhere, into a new store: they count as if given here."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import groupby
from operator import itemgetter

from sqlalchemy import insert, select, true

from ..relabel.raters.consensus import EXPERTS
from ..relabel.raters.ratings import NO, YES, Ratings
from .build import CHUNK
from .schema import answers, assignments, classes, items, questions, raters, rulings, tasks
from .settle import settle
from .store import Store


def bring_in(store: Store, ratings: Ratings, now: float) -> tuple[int, int]:
    """Add raters without links and their answers.

    A rater who answered some questions of a task was not asked the others: they need other raters.

    Returns:
        How many answers were taken, and how many were not: their question is not in the store.
    """
    with store.write() as connection:
        question: dict[tuple[str, str], tuple[int, int]] = {}
        size: dict[int, int] = {}
        for task, q, item, name in connection.execute(
            select(questions.c.task_id, questions.c.id, items.c.name, classes.c.name)
            .join(tasks, questions.c.task_id == tasks.c.id)
            .join(items, tasks.c.item_id == items.c.id)
            .join(classes, questions.c.class_id == classes.c.id)
        ):
            question[item, name] = (task, q)
            size[task] = size.get(task, 0) + 1
        whole = list(_by_task(ratings, question))
        connection.execute(
            insert(raters),
            [
                {"id": w + 1, "name": name, "token_hash": None, "state": "active"}
                for w, name in enumerate(ratings.raters)
            ],
        )
        held = [
            {
                "task_id": task,
                "rater_id": w + 1,
                "claimed_at": now,
                "lease_until": now,
                "submitted_at": now,
                "version": 1,
                "asked": None if len(given) == size[task] else ",".join(map(str, sorted(given))),
            }
            for w, task, given in whole
        ]
        said = [
            {"question_id": q, "rater_id": w + 1, "answer": answer}
            for w, _, given in whole
            for q, answer in given.items()
        ]
        word = [
            {
                "question_id": q,
                "answer": YES if ratings.gold[pair] > EXPERTS else NO,
                "ruled_by": by.by,
                "ruled_at": _seconds(by.at, now),
            }
            for pair, by in ratings.ruled.items()
            if (q := _question_of(ratings, pair, question)) is not None
        ]
        for table, rows in ((assignments, held), (answers, said), (rulings, word)):
            for start in range(0, len(rows), CHUNK):
                connection.execute(insert(table), rows[start : start + CHUNK])
        settle(connection, store.settings, true())
    return len(said), len(ratings.answer) - len(said)


def _question_of(
    ratings: Ratings, pair: int, question: dict[tuple[str, str], tuple[int, int]]
) -> int | None:
    key = (ratings.items[ratings.pair_item[pair]], ratings.classes[ratings.pair_class[pair]])
    return question[key][1] if key in question else None


def _seconds(at: str, now: float) -> float:
    """Seconds since 1970; ``now`` where the file does not tell the time."""
    try:
        return datetime.fromisoformat(at).timestamp()
    except ValueError:
        return now


def _by_task(
    ratings: Ratings, question: dict[tuple[str, str], tuple[int, int]]
) -> Iterator[tuple[int, int, dict[int, int]]]:
    """(rater, task, question -> answer)."""
    rows = []
    for w, p, answer in zip(
        ratings.rater.tolist(), ratings.pair.tolist(), ratings.answer.tolist(), strict=True
    ):
        key = (ratings.items[ratings.pair_item[p]], ratings.classes[ratings.pair_class[p]])
        if key in question:
            rows.append((w, *question[key], answer))
    for (w, task), group in groupby(sorted(rows, key=itemgetter(0, 1)), key=itemgetter(0, 1)):
        yield w, task, {q: answer for _, _, q, answer in group}
