"""Answers that were given elsewhere, into a new store: they count as if given here."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter

from sqlalchemy import insert, select, true

from ..relabel.raters.ratings import Ratings
from .build import CHUNK
from .raters import settling
from .schema import answers, assignments, classes, items, questions, raters, tasks
from .store import Store


def bring_in(store: Store, ratings: Ratings, now: float) -> tuple[int, int]:
    """Add raters without links and their answers to the tasks that they answered whole.

    Returns:
        How many answers were taken, and how many were not: their question is not in the store, or
        the rater did not answer the other questions of its task.
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
        whole = [
            (w, task, given)
            for w, task, given in _by_task(ratings, question)
            if len(given) == size[task]
        ]
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
            }
            for w, task, _ in whole
        ]
        said = [
            {"question_id": q, "rater_id": w + 1, "answer": answer}
            for w, _, given in whole
            for q, answer in given.items()
        ]
        for table, rows in ((assignments, held), (answers, said)):
            for start in range(0, len(rows), CHUNK):
                connection.execute(insert(table), rows[start : start + CHUNK])
        connection.execute(settling(true()), {"wanted": store.settings.wanted})
    return len(said), len(ratings.answer) - len(said)


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
