"""The tasks and answers of a store as Label Studio's JSON.

Each task asks about the classes in ``data.classes`` by three multiple choices named *yes*, *maybe* and
*no*: paste :data:`CONFIG` into the project's labelling interface. What experts said is an annotation
marked as ground truth. Label Studio knows annotators by its own accounts, so the rater's name stands in
the ``meta`` of each result.

``data.gold`` has the share of experts who said yes, and ``data.original`` the original label: what
Label Studio has no place for. The first task's ``data.reteach`` has what belongs to no task: all classes and
items in order (those that nobody is asked about too), whole gold sets, and how many answers a pair needs.
``data.rulings`` has the owner's word on classes of the task: whether they are there, who says so, and when.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, select

from ..errors import UserError
from ..relabel.raters.ratings import ANSWERS, NO, YES
from .export import iso
from .schema import (
    answers,
    assignments,
    classes,
    gold_sets_of,
    items,
    questions,
    raters,
    rulings,
    tasks,
)
from .store import Settings, Store

CONFIG = """<View>
  <Image name="image" value="$image"/>
  <Header value="Yes: surely in the image (95%)"/>
  <Choices name="yes" toName="image" choice="multiple" value="$classes"/>
  <Header value="Maybe"/>
  <Choices name="maybe" toName="image" choice="multiple" value="$classes"/>
  <Header value="No: surely not in the image (95%)"/>
  <Choices name="no" toName="image" choice="multiple" value="$classes"/>
</View>
"""
EXPERT = "experts"


def label_studio_json(store: Store) -> str:
    """All tasks with the answers that count, as Label Studio imports them.

    Raises:
        UserError: the raters judged mistakes.
    """
    if store.settings.kind != "labels":
        raise UserError("only label tasks can be written for Label Studio; write a .csv instead")
    return json.dumps(list(_exported(store)), ensure_ascii=False, indent=1)


def _exported(store: Store) -> Iterator[dict[str, Any]]:
    with store.read() as connection:
        asked: dict[int, list[Any]] = {}
        for row in connection.execute(
            select(questions.c.task_id, questions.c.id, questions.c.gold, classes.c.name)
            .join(classes, questions.c.class_id == classes.c.id)
            .order_by(questions.c.id)
        ):
            asked.setdefault(row.task_id, []).append(row)
        said: dict[int, dict[str, dict[int, int]]] = {}
        for row in connection.execute(
            select(questions.c.task_id, raters.c.name, answers.c.question_id, answers.c.answer)
            .join(questions, answers.c.question_id == questions.c.id)
            .join(raters, answers.c.rater_id == raters.c.id)
            .where(raters.c.state != "excluded")
            .order_by(raters.c.id)
        ):
            by_rater = said.setdefault(row.task_id, {}).setdefault(row.name, {})
            by_rater[row.question_id] = row.answer
        times = {
            (row.task_id, row.name): row
            for row in connection.execute(
                select(
                    assignments.c.task_id,
                    raters.c.name,
                    assignments.c.seconds,
                    assignments.c.submitted_at,
                )
                .join(raters, assignments.c.rater_id == raters.c.id)
                .where(assignments.c.submitted_at.is_not(None))
            )
        }
        images = connection.execute(
            select(tasks.c.id, items.c.name, classes.c.name)
            .join(items, tasks.c.item_id == items.c.id)
            .join(classes, items.c.original == classes.c.id, isouter=True)
            .order_by(tasks.c.id)
        ).all()
        beside = _beside_tasks(connection, store.settings)
        rows = connection.execute(select(rulings)).all()
    decided = {
        row.question_id: [row.answer == YES, row.ruled_by, iso(row.ruled_at)] for row in rows
    }
    for task, image, label in images:
        offered = asked[task]
        annotations = []
        if any(q.gold is not None for q in offered):
            known = {q.name: YES if q.gold > 0.5 else NO for q in offered if q.gold is not None}
            annotations.append(_annotation(EXPERT, known) | {"ground_truth": True})
        for rater, given in said.get(task, {}).items():
            at = times[task, rater]
            annotations.append(
                _annotation(rater, {q.name: given[q.id] for q in offered if q.id in given})
                | {
                    "ground_truth": False,
                    "lead_time": at.seconds,
                    "created_at": datetime.fromtimestamp(at.submitted_at, UTC).isoformat(),
                }
            )
        data: dict[str, Any] = {"image": image, "classes": [{"value": q.name} for q in offered]}
        if label is not None:
            data["original"] = label
        if any(q.gold is not None for q in offered):
            data["gold"] = {q.name: q.gold for q in offered if q.gold is not None}
        if any(q.id in decided for q in offered):
            data["rulings"] = {q.name: decided[q.id] for q in offered if q.id in decided}
        if task == images[0][0]:
            data["reteach"] = beside
        yield {
            "id": task + 1,
            "data": data,
            "annotations": annotations,
        }


def _annotation(rater: str, given: dict[str, int]) -> dict[str, Any]:
    groups = {word: [name for name, a in given.items() if ANSWERS[a] == word] for word in ANSWERS}
    return {
        "was_cancelled": False,
        "result": [
            {
                "id": word,
                "from_name": word,
                "to_name": "image",
                "type": "choices",
                "value": {"choices": names},
                "meta": {"text": [rater]},
            }
            for word, names in groups.items()
            if names
        ],
    }


def _beside_tasks(connection: Connection, settings: Settings) -> dict[str, Any]:
    """The ``data.reteach`` of :class:`_Whole`."""
    label = select(items.c.name, classes.c.name)
    label = label.join(classes, items.c.original == classes.c.id, isouter=True)
    return {
        "wanted": settings.wanted,
        **({} if settings.agree is None else {"agree": settings.agree}),
        "classes": list(connection.scalars(select(classes.c.name).order_by(classes.c.id))),
        "items": [list(row) for row in connection.execute(label.order_by(items.c.id))],
        "gold": [[item, own] for item, own in gold_sets_of(connection).items()],
    }
