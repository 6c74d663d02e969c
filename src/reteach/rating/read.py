"""Ratings from wherever they are kept: a store, a CSV file, or an export of Label Studio."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from sqlalchemy import func, select

from ..relabel.raters.rating_tables import pairs_of, read_rating_table
from ..relabel.raters.ratings import Ratings
from .export import ratings_of
from .label_studio_import import read_label_studio
from .schema import gold_sets, questions, tasks
from .store import open_store


def read_ratings(where: str | Path) -> Ratings:
    """The ratings in a store (a file or ``postgresql://…``), a ``.csv``, or a Label Studio ``.json``.

    Raises:
        UserError: it cannot be read, or its raters judged mistakes.
    """
    return read_wanted(where)[0]


class Wanted(NamedTuple):
    """How many answers each pair needs; None where a file does not say."""

    answers: int | None
    agree: int | None
    """Those that settle a pair on which raters agree."""


def read_wanted(where: str | Path) -> tuple[Ratings, Wanted]:
    """As :func:`read_ratings`, and how many answers each pair needs."""
    if str(where).lower().endswith(".csv"):
        table = read_rating_table(Path(where))
        return pairs_of(table), Wanted(table.answers_wanted(), table.answers_that_agree())
    if str(where).lower().endswith(".json"):
        found = read_label_studio(Path(where))
        return found.ratings(), Wanted(found.wanted, found.agree)
    store = open_store(where)
    try:
        return ratings_of(store), Wanted(store.settings.wanted, store.settings.agree)
    finally:
        store.close()


def golden_by_pairs(where: str | Path) -> int:
    """Items of a store whose gold is known for asked classes alone: the store was made before whole gold
    sets were kept, or the gold is experts' answers. 0 for files.
    """
    if str(where).lower().endswith((".csv", ".json")):
        return 0
    store = open_store(where)
    whole = select(gold_sets.c.item_id)
    query = (
        select(func.count(tasks.c.item_id.distinct()))
        .join(questions, questions.c.task_id == tasks.c.id)
        .where(questions.c.gold.is_not(None), tasks.c.item_id.not_in(whole))
    )
    try:
        with store.understood(), store.read() as connection:
            return int(connection.scalar(query) or 0)
    finally:
        store.close()
