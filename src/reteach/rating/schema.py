"""The tables of a rating store, as they are in the newest format.

Two kinds of questions share them. *labels*: "is this class in this image?", up to eight classes to
a task. *mistakes*: "is this prediction a mistake?", one prediction to a task (ReaL, Section 5).

Numbers of items, classes, tasks and questions are given when the store is built, or when a rater names a
class that nobody was asked about, and never change; times are seconds since 1970.
"""

from __future__ import annotations

from typing import Literal

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    Table,
    Text,
    select,
)

Kind = Literal["labels", "mistakes"]
RaterState = Literal["active", "paused", "excluded"]

metadata = MetaData()


def _key(name: str, to: str = "") -> Column[int]:
    link = [ForeignKey(to)] if to else []
    return Column(name, Integer, *link, primary_key=True, autoincrement=False)


def _link(name: str, to: str, *, nullable: bool = False) -> Column[int]:
    return Column(name, Integer, ForeignKey(to), nullable=nullable)


store = Table(  # what holds for the whole store, among it the version of its format
    "store",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)
classes = Table(
    "classes",
    metadata,
    _key("id"),
    Column("name", Text, nullable=False, unique=True),
    Column("title", Text, nullable=False),  # what raters read
    Column("description", Text, nullable=False),
)
items = Table(
    "items",
    metadata,
    _key("id"),
    Column("name", Text, nullable=False, unique=True),
    _link("original", "classes.id", nullable=True),
    Column("missing", Text),  # why the image could not be shown
)
examples = Table(  # images that show a class
    "examples",
    metadata,
    _key("class_id", "classes.id"),
    _key("place"),
    _link("item_id", "items.id"),
)
tasks = Table(
    "tasks",
    metadata,
    _key("id"),
    _link("item_id", "items.id"),
    Column("golden", Boolean, nullable=False),
    Column("place", Integer, nullable=False),  # tasks are given out in this order
    Column("state", Text, nullable=False),  # open, done (enough answers), aside (no image)
    # answers that the question with the fewest still needs
    Column("lacking", Integer, nullable=False),
    Index("tasks_by_place", "golden", "state", "place"),
    Index("tasks_by_item", "item_id"),
)
questions = Table(
    "questions",
    metadata,
    _key("id"),
    _link("task_id", "tasks.id"),
    Column("place", SmallInteger, nullable=False),
    _link("class_id", "classes.id"),
    Column("gold", Double),  # share of experts who said yes; none where unknown
    Index("questions_by_task", "task_id", "place"),
)
gold_sets = Table(  # labels only: the owner's gold, image by image, whether asked about or not
    "gold_sets",
    metadata,
    _key("id"),
    _link("item_id", "items.id"),
    _link("class_id", "classes.id", nullable=True),  # none: the image has no label at all
)
given = Table(  # mistakes only: the labels by which the prediction is wrong
    "given",
    metadata,
    _key("task_id", "tasks.id"),
    _key("class_id", "classes.id"),
)
predictors = Table(  # mistakes only: whose prediction it is, and by which labels it is wrong
    "predictors",
    metadata,
    _key("task_id", "tasks.id"),
    Column("model", Text, primary_key=True),
    Column("labels", Text, primary_key=True),
)
raters = Table(
    "raters",
    metadata,
    _key("id"),
    Column("name", Text, nullable=False, unique=True),
    Column("token_hash", Text, unique=True),  # none: imported, has no link
    Column("state", Text, nullable=False),
)
assignments = Table(  # a task in the hands of a rater: leased, then submitted
    "assignments",
    metadata,
    _key("task_id", "tasks.id"),
    _key("rater_id", "raters.id"),
    Column("claimed_at", Double, nullable=False),
    Column("lease_until", Double, nullable=False),
    Column("shown_at", Double),
    Column("submitted_at", Double),
    Column("seconds", Double),  # from being shown to being submitted
    Column("version", Integer, nullable=False),  # 0 before the first answer, then counts changes
    Column("asked", Text),  # numbers of the questions that were still open, with commas; none: all
    Column("active", Double),  # seconds of ``seconds`` in which the page was seen and used
    Column("skipped_at", Double),
    Index("assignments_by_rater", "rater_id", "submitted_at"),
)
answers = Table(
    "answers",
    metadata,
    _key("question_id", "questions.id"),
    _key("rater_id", "raters.id"),
    Column("answer", SmallInteger, nullable=False),
)
rulings = Table(  # the owner's own word on a question, whatever the raters say
    "rulings",
    metadata,
    _key("question_id", "questions.id"),
    Column("answer", SmallInteger, nullable=False),
    Column("ruled_by", Text, nullable=False),
    Column("ruled_at", Double, nullable=False),
)
remarks = Table(  # what a rater says of a task beside the answers
    "remarks",
    metadata,
    _key("task_id", "tasks.id"),
    _key("rater_id", "raters.id"),
    Column("flagged", Boolean, nullable=False),
    Column("comment", Text, nullable=False),
    Column("made_at", Double, nullable=False),
)
found = Table(  # tasks about a class that no model proposed, but a rater
    "found",
    metadata,
    _key("task_id", "tasks.id"),
    _link("rater_id", "raters.id"),
    Column("found_at", Double, nullable=False),
)


def gold_sets_of(connection: Connection) -> dict[str, list[str]]:
    """Item -> its whole gold set, by name."""
    sets: dict[str, list[str]] = {}
    for item, name in connection.execute(
        select(items.c.name, classes.c.name)
        .select_from(gold_sets)
        .join(items, gold_sets.c.item_id == items.c.id)
        .join(classes, gold_sets.c.class_id == classes.c.id, isouter=True)
        .order_by(gold_sets.c.id)
    ):
        sets.setdefault(item, []).extend([] if name is None else [name])
    return sets
