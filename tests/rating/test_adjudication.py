"""Rulings, remarks, skips, and classes that nobody was asked about."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import select

from rating_kit import Client, Clock, label_plan, links, new_store, photos, running
from reteach.commands.consensus import ConsensusResult
from reteach.commands.consensus import consensus as run_consensus
from reteach.errors import UserError
from reteach.options.rate import TasksOptions
from reteach.options.relabel import ConsensusOptions
from reteach.rating.adjudication import opened, rule
from reteach.rating.assignment import Flow, NotYours
from reteach.rating.beside import Beside, called, matching
from reteach.rating.build import TaskPlan
from reteach.rating.export import answers_csv, ratings_csv, ratings_of, rulings_csv
from reteach.rating.label_studio_export import label_studio_json
from reteach.rating.overview import progress, task_rows
from reteach.rating.raters import add_raters, set_state
from reteach.rating.read import read_ratings
from reteach.rating.schema import found, questions, tasks
from reteach.rating.store import Store, open_store
from reteach.rating.views import counts, task_view
from reteach.tables import read_labels


def rated(where: str | Path, answers: dict[str, list[int]], **options: object) -> Store:
    """Two images of three classes; each rater's answers to the first image, *no* to all of the second."""
    store = new_store(where, label_plan(2), wanted=len(answers), **options)
    add_raters(store, list(answers))
    flow = Flow(store, clock=Clock())
    for rater, (_, given) in enumerate(answers.items(), start=1):
        while held := flow.hand(rater):
            with store.read() as connection:
                view = task_view(connection, rater, held[0].task)
            assert view is not None
            words = given if view.id == 0 else [0, 0, 0]
            said = dict(zip((q.id for q in view.questions), words, strict=True))
            flow.submit(rater, view.id, said, 1)
    return store


THREE = {"ann": [2, 2, 0], "ben": [2, 0, 0], "cyd": [2, 0, 0]}


def decided(where: str | Path, out: Path, **options: object) -> ConsensusResult:
    found_ = run_consensus(ConsensusOptions(str(where), out=out, **options))  # type: ignore[arg-type]
    assert isinstance(found_, ConsensusResult)
    return found_


def test_a_ruling_is_in_the_store_the_gold_and_the_labels(where: str, tmp_path: Path) -> None:
    store = rated(where, THREE)
    out = tmp_path / "out.csv"
    before = decided(where, out, method="em")
    decided(where, out, method="majority")
    assert read_labels(out).labels.names()[0] == ["class 0"]
    rule(store, 0, {1: 2, 0: 0}, "Dr. Who", 1_700_000_000.0)
    ratings = ratings_of(store)
    np.testing.assert_array_equal(ratings.gold[:3], [0, 1, np.nan])
    assert ratings.ruled[1] == ("Dr. Who", "2023-11-14T22:13:20+00:00")
    np.testing.assert_array_equal(ratings.counts()[1], [2, 0, 1])  # what was said stays
    after = decided(where, out, method="em")
    decided(where, out, method="majority")
    assert read_labels(out).labels.names()[0] == ["class 1"]
    assert "owner's ruling on 2 pairs" in read_labels(out).source
    assert any("2 pairs are decided by the owner's rulings" in note for note in after.notes)
    # disputed pairs are harder than others: they judge nobody
    assert after.point is None
    assert decided(where, out).method == "em"
    np.testing.assert_array_equal(before.outcome.found.score, after.outcome.found.score)
    assert rulings_csv(store).splitlines()[1:] == [
        "000.png,class 0,no,Dr. Who,2023-11-14T22:13:20+00:00,3,0,0",
        "000.png,class 1,yes,Dr. Who,2023-11-14T22:13:20+00:00,1,0,2",
    ]
    rule(store, 0, {1: None, 0: 0}, "somebody else", 1_700_000_009.0)  # taken back
    assert list(ratings_of(store).ruled) == [0]
    assert ratings_of(store).ruled[0].by == "Dr. Who"  # the same word again is no new ruling


def test_rulings_survive_every_export(where: str, tmp_path: Path) -> None:
    store = rated(where, THREE)
    rule(store, 0, {1: 2, 0: 0}, "owner", 1_700_000_000.0)
    (tmp_path / "r.csv").write_text(ratings_csv(store))
    (tmp_path / "r.json").write_text(label_studio_json(store))
    wanted = ratings_of(store)
    for name in ("r.csv", "r.json"):
        ratings = read_ratings(tmp_path / name)
        np.testing.assert_array_equal(ratings.gold, wanted.gold)
        assert ratings.ruled == wanted.ruled
        decided(tmp_path / name, tmp_path / "out.csv", method="majority")
        assert read_labels(tmp_path / "out.csv").labels.names()[0] == ["class 1"]
    from reteach.commands.tasks import tasks as run_tasks

    again = tmp_path / "again.db"
    run_tasks(TasksOptions(label_studio=tmp_path / "r.json", out=str(again)))
    other = open_store(again)
    assert rulings_csv(other) == rulings_csv(store)
    assert not task_rows(other, "golden", 0)[0]  # a ruling makes no golden task
    assert "ruled_by" not in ratings_csv(rated(tmp_path / "plain.db", THREE))  # as it always was


def test_a_ruling_on_gold_mends_it_and_goes_on_judging(where: str) -> None:
    store = new_store(where, label_plan(2, golden=(0,)), gold_rate=0.5)
    rule(store, 0, {1: 2}, "owner", 0.0)
    ratings = ratings_of(store)
    np.testing.assert_array_equal(ratings.gold[:3], [1, 1, 0])
    assert not ratings.ruled


def test_what_is_no_ruling_is_refused(where: str) -> None:
    store = rated(where, THREE)
    for words in ({5: 2}, {0: 1}, {99: 0}):
        with pytest.raises(ValueError, match=r"questions|yes or no"):
            rule(store, 0, words, "owner", 0.0)
    with pytest.raises(UserError, match="who rules"):
        rule(store, 0, {0: 2}, "  ", 0.0)
    assert not ratings_of(store).ruled


def test_the_owner_opens_a_task_and_sees_every_answer(where: str) -> None:
    store = rated(where, THREE)
    set_state(store, 3, "excluded", 0.0)
    task = opened(store, 0)
    assert task is not None
    assert [q.tally for q in task.questions] == [(0, 0, 2), (1, 0, 1), (2, 0, 0)]
    said = [(each.rater, each.answer, each.counts) for each in task.questions[1].said]
    assert said == [("ann", 2, True), ("ben", 0, True), ("cyd", 0, False)]
    assert [each.rater for each in task.raters] == ["ann", "ben", "cyd"]
    assert (task.name, task.original) == ("000.png", "class 0")
    assert opened(store, 99) is None
    disputed = [row.id for row in task_rows(store, "disputed", 0)[0]]
    assert disputed == [0]
    assert progress(store).disputed == 1
    rule(store, 0, {1: 0}, "owner", 0.0)
    assert not task_rows(store, "disputed", 0)[0]
    assert [row.id for row in task_rows(store, "ruled", 0)[0]] == [0]


def begun(where: str | Path, *names: str, **options: object) -> tuple[Store, Flow, Clock]:
    store = new_store(where, label_plan(2), **{"wanted": 2, **options})
    add_raters(store, names)
    clock = Clock()
    return store, Flow(store, clock=clock), clock


def answer(flow: Flow, rater: int, word: int = 0, also: Beside | None = None) -> int:
    task = flow.hand(rater)[0].task
    with flow.store.read() as connection:
        view = task_view(connection, rater, task)
    assert view is not None
    assert flow.submit(rater, task, {q.id: word for q in view.questions}, 1, also) == "stored"
    return task


def asking(*asked: list[int]) -> TaskPlan:
    """A task per image, about some of three classes."""
    return label_plan(
        len(asked),
        item=np.arange(len(asked)),
        starts=np.cumsum([0, *map(len, asked)]),
        asked=np.concatenate(asked),
        gold=np.full(sum(map(len, asked)), np.nan),
    )


def test_something_else_is_here_becomes_a_question_for_the_others(where: str) -> None:
    """Only two of the three classes are asked about; the third is what all models missed."""
    plan = asking([0, 1], [0, 1])
    store = new_store(where, plan, wanted=2)
    add_raters(store, ["ann", "ben", "cyd"])
    flow = Flow(store, clock=Clock())
    task = answer(flow, 1, also=Beside(others=(2, 0)))  # class 0 is asked about already
    with store.read() as connection:
        made = connection.execute(
            select(tasks.c.id, tasks.c.item_id, tasks.c.lacking, questions.c.class_id)
            .join(found, found.c.task_id == tasks.c.id)
            .join(questions, questions.c.task_id == tasks.c.id)
        ).all()
        item = connection.scalar(select(tasks.c.item_id).where(tasks.c.id == task))
    assert [tuple(row)[1:] for row in made] == [(item, 1, 2)]  # the finder's yes counts
    ratings = ratings_of(store)
    assert ratings.counts()[made[0].id + 2].tolist() == [0, 0, 1]
    answer(flow, 2, also=Beside(others=(2,)) if flow.hand(2)[0].task == task else None)
    while flow.hand(2):
        answer(flow, 2, 2)
    assert ratings_of(store).counts()[-1].tolist() == [0, 0, 2]
    while flow.hand(1):
        answer(flow, 1)
    assert flow.hand(3) == []  # all is done
    with store.read() as connection:
        assert counts(connection, 1).left == 0
    assert [row.id for row in task_rows(store, "found", 0)[0]] == [made[0].id]
    opened_ = opened(store, made[0].id)
    assert opened_ is not None
    assert opened_.found_by == "ann"


def test_what_all_models_missed_enters_the_labels(where: str, tmp_path: Path) -> None:
    plan = asking([0])
    store = new_store(where, plan, wanted=2)
    add_raters(store, ["ann", "ben"])
    flow = Flow(store, clock=Clock())
    answer(flow, 1, 2, Beside(others=(2,)))
    answer(flow, 2, 2)
    answer(flow, 2, 2)
    decided(where, tmp_path / "out.csv", method="majority")
    assert read_labels(tmp_path / "out.csv").labels.names() == [["class 0", "class 2"]]


def test_a_skipped_task_goes_to_others_and_does_not_come_back(where: str) -> None:
    store, flow, _ = begun(where, "ann", "ben", "cyd")
    task = flow.hand(1)[0].task
    flow.skip(1, task, Beside(comment="too dark"))
    assert task not in {held.task for held in flow.hand(1)}
    with store.read() as connection:
        assert counts(connection, 1).left == 1
    for rater in (2, 3):
        while flow.hand(rater):
            answer(flow, rater)
    rows = {row.id: row for row in task_rows(store, "all", 0)[0]}
    assert rows[task].state == "done"
    assert rows[task].flagged
    with pytest.raises(NotYours):
        flow.skip(2, task, Beside())  # answered already
    with pytest.raises(NotYours):
        flow.skip(2, 999, Beside())


def test_active_time_and_remarks_are_exported_rater_by_rater(where: str) -> None:
    store, flow, clock = begun(where, "ann", "ben")
    flow.hand(1)
    clock.now += 20
    task = answer(flow, 1, 2, Beside(True, " =cmd ", (), 7.5))
    flow.hand(2)
    clock.now += 3
    answer(flow, 2, 0, Beside(active=99.0))
    flow.skip(2, flow.hand(2)[0].task, Beside())
    rows = list(csv.DictReader(io.StringIO(answers_csv(store, 1))))
    assert [(r["rater"], r["class"], r["answer"]) for r in rows] == [
        ("ann", f"class {c}", "yes") for c in range(3)
    ]
    assert {(r["seconds"], r["active_seconds"], r["flagged"]) for r in rows} == {
        ("20.0", "7.5", "yes")
    }
    assert rows[0]["comment"] == "'=cmd"  # no formula in a spreadsheet
    every = list(csv.DictReader(io.StringIO(answers_csv(store))))
    assert len(every) == 7  # three answers each, and the skipped task
    assert every[3]["active_seconds"] == "3.0"  # no more than there was
    assert [bool(r["skipped"]) for r in every] == [False] * 6 + [True]
    assert (
        flow.submit(
            1,
            task,
            dict.fromkeys((0, 1, 2), 0) if task == 0 else dict.fromkeys((3, 4, 5), 0),
            2,
            Beside(),
        )
        == "stored"
    )
    row = next(iter(csv.DictReader(io.StringIO(answers_csv(store, 1)))))
    assert (row["flagged"], row["comment"], row["active_seconds"]) == ("", "", "7.5")


def test_classes_are_found_by_how_they_begin_first(where: str) -> None:
    from reteach.rating.class_descriptions import ClassText

    names = ["n01", "n02", "n03"]
    titles = ["house cat, domestic cat", "cat bear, panda", "wildcat"]
    texts = {n: ClassText(t, "") for n, t in zip(names, titles, strict=True)}
    store = new_store(where, label_plan(classes=names, texts=texts))
    with store.read() as connection:
        assert [c for c, _, _ in matching(connection, "CAT")] == [1, 0, 2]
        assert matching(connection, " ") == []
        assert [c for c, _, _ in matching(connection, "cat", most=1)] == [1]
        assert called(connection, "Domestic Cat") == 0
        assert called(connection, "n03") == 2
        assert called(connection, "cat") is None


def test_the_pages_of_the_owner_and_the_rater_do_all_this(tmp_path: Path) -> None:
    plan = asking([0, 1], [0, 1])
    store = new_store(tmp_path / "r.db", plan, wanted=2)
    with running(store, photos(tmp_path / "p", list(plan.items))) as site:
        for name, word in (("ann", 2), ("ben", 0)):
            client = Client(links(site, name)[name])
            page = client.get("/rate")
            extra = {"comment": "<b>odd</b>", "flag": "on", "active": "1.5", "others": "2"}
            if name == "ben":
                extra = {"other": "Class 2"}  # typed, without a script
            fields = page.fields | {q: str(word) for q in page.radios} | extra
            assert client.post(f"/rate/{page.task}", fields).task is not None
            if name == "ann":
                page = client.get("/rate")
                bad = page.fields | dict.fromkeys(page.radios, "2")
                for wrong in ({"others": "99"}, {"others": "x"}, {"active": "soon"}):
                    client.post(f"/rate/{page.task}", bad | wrong)
                    assert client.status == 422, wrong
                client.post(f"/rate/{page.task}", bad | {"other": "zebra"})
                assert client.status == 422
                assert json.loads(client.get("/classes?q=class").text)[0]["id"] == 0
                client.post(f"/rate/{page.task}", page.fields | {"do": "skip"})
                assert client.status == 200
        owner = Client(f"{site.public}/o/{site.owner_token}")
        page = owner.get("/owner/tasks?show=disputed")
        assert "/owner/tasks/0?show=disputed" in page.links
        page = owner.get("/owner/tasks/0?show=disputed")
        assert "&lt;b&gt;odd&lt;/b&gt;" in page.text
        form = dict(page.forms[0][1])
        assert all(("", True) in values for values in page.radios.values())
        page = owner.post("/owner/tasks/0", form | {"q0": "2", "q1": "", "by": "Eve", "do": "stay"})
        assert "Ruled by Eve" in page.text
        assert ("2", True) in page.radios["q0"]
        owner.post("/owner/tasks/0", form | {"q0": "2", "by": ""})
        assert owner.status == 422
        owner.post("/owner/tasks/0", form | {"q9": "2", "by": "Eve"})
        assert owner.status == 422
        owner.post("/owner/tasks/0", {"q0": "2", "by": "Eve"})
        assert owner.status == 403  # no form of ours
        owner.get("/owner/tasks/99")
        assert owner.status == 404
        assert (
            owner.get("/owner/export/rulings.csv")
            .text.splitlines()[1]
            .startswith("000.png,class 0,yes,Eve,")
        )
        assert "ben" not in owner.get("/owner/export/answers.csv?rater=1").text
        assert "Found by raters" in owner.get("/owner/tasks?show=found").text
    assert ratings_of(store).counts()[4].tolist() == [0, 0, 2]
