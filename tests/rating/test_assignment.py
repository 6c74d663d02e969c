"""Giving out tasks and taking in answers."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import bindparam, event, select

from rating_kit import Clock, label_plan, new_store
from reteach.rating.assignment import MANY, Flow, NoImages, NotYours
from reteach.rating.beside import Beside
from reteach.rating.export import ratings_of
from reteach.rating.overview import missing_items, progress, rater_rows
from reteach.rating.raters import add_raters, set_state
from reteach.rating.schema import assignments, tasks
from reteach.rating.settle import tally
from reteach.rating.store import Store
from reteach.rating.views import TaskView, counts, earlier, task_view


def flow_on(store: Store, *names: str, **options: object) -> tuple[Flow, Clock, list[int]]:
    """The rules, a clock, and the numbers of new raters."""
    add_raters(store, names)
    clock = Clock()
    flow = Flow(store, clock=clock, **options)  # type: ignore[arg-type]
    return flow, clock, list(range(1, len(names) + 1))


def view_of(store: Store, rater: int, task: int) -> TaskView:
    with store.read() as connection:
        view = task_view(connection, rater, task)
    assert view is not None
    return view


def do(flow: Flow, rater: int, answer: int = 2) -> int | None:
    """Answer the task on the screen; which one it was."""
    held = flow.hand(rater)
    if not held:
        return None
    view = view_of(flow.store, rater, held[0].task)
    given = {question.id: answer for question in view.questions}
    assert flow.submit(rater, view.id, given, view.version + 1) == "stored"
    return view.id


def test_everybody_answers_until_every_task_has_enough(where: str) -> None:
    store = new_store(where, label_plan(5), wanted=2)
    flow, _, people = flow_on(store, "a", "b", "c")
    done: list[tuple[int, int]] = []
    while True:
        round_ = [(rater, do(flow, rater)) for rater in people]
        done += [(rater, task) for rater, task in round_ if task is not None]
        if all(task is None for _, task in round_):
            break
    assert Counter(task for _, task in done) == dict.fromkeys(range(5), 2)
    assert len(set(done)) == len(done)  # nobody twice on a task
    assert len(ratings_of(store).answer) == 5 * 2 * 3
    assert [flow.hand(rater) for rater in people] == [[], [], []]


def test_an_answer_sent_twice_is_one_answer(where: str) -> None:
    store = new_store(where)
    flow, clock, (rater,) = flow_on(store, "a")
    task = flow.hand(rater)[0].task
    view = view_of(store, rater, task)
    given = {question.id: 1 for question in view.questions}
    clock.now += 7
    assert flow.submit(rater, task, given, 1) == "stored"
    clock.now += 5
    assert flow.submit(rater, task, given, 1) == "repeated"
    other = given | {view.questions[0].id: 2}
    assert flow.submit(rater, task, other, 1) == "conflict"
    np.testing.assert_array_equal(ratings_of(store).answer, [1, 1, 1])
    # a change says that it is one, and an old copy of the first answer does not undo it
    assert flow.submit(rater, task, other, 2) == "stored"
    assert flow.submit(rater, task, given, 1) == "conflict"
    np.testing.assert_array_equal(np.sort(ratings_of(store).answer), [1, 1, 2])
    with store.read() as connection:
        assert counts(connection, rater).answered == 1


def test_an_answer_that_is_not_whole_is_refused(where: str) -> None:
    store = new_store(where)
    flow, _, (a, b) = flow_on(store, "a", "b")
    task = flow.hand(a)[0].task
    view = view_of(store, a, task)
    given = {question.id: 1 for question in view.questions}
    first = next(iter(given))
    for wrong in ({first: 1}, given | {999: 1}, given | {first: 3}, given | {first: -1}, {}):
        with pytest.raises(ValueError, match="answer"):
            flow.submit(a, task, wrong, 1)
    flow.pause(b)
    with pytest.raises(NotYours):
        flow.submit(b, task, given, 1)  # b was never given anything
    assert len(ratings_of(store).answer) == 0


def test_an_abandoned_task_goes_to_someone_else(where: str) -> None:
    store = new_store(where, label_plan(1), wanted=1)
    flow, clock, (a, b) = flow_on(store, "a", "b", lease=60.0)
    (held,) = flow.hand(a)
    assert flow.hand(b) == []
    clock.now += 59
    assert flow.hand(b) == []
    clock.now += 2
    assert [each.task for each in flow.hand(b)] == [held.task]
    assert flow.hand(a) == []  # b has it now
    # the late answer is not thrown away
    view = view_of(store, a, held.task)
    assert flow.submit(a, held.task, {q.id: 0 for q in view.questions}, 1) == "stored"
    assert len(ratings_of(store).answer) == 3


def test_a_lease_is_renewed_while_the_rater_is_there(where: str) -> None:
    store = new_store(where, label_plan(1), wanted=1)
    flow, clock, (a, b) = flow_on(store, "a", "b", lease=60.0)
    for _ in range(5):
        clock.now += 40
        assert len(flow.hand(a)) == 1
        assert flow.hand(b) == []


def test_a_pause_gives_the_tasks_back_and_stops_the_clock(where: str) -> None:
    store = new_store(where, label_plan(2), wanted=1)
    flow, clock, (a, b) = flow_on(store, "a", "b")
    mine = [each.task for each in flow.hand(a)]
    assert len(mine) == 2
    assert flow.hand(b) == []
    flow.pause(a)
    assert sorted(each.task for each in flow.hand(b)) == sorted(mine)
    flow.pause(b)
    clock.now += 3600
    flow.hand(a)
    clock.now += 4
    do(flow, a)
    assert rater_rows(store)[0].median == 4


def test_golden_tasks_are_for_everybody(where: str) -> None:
    store = new_store(where, label_plan(6, golden=(0, 3)), wanted=1, gold_rate=0.5)
    draws = iter([0.9, 0.1] * 50)
    flow, _, people = flow_on(store, "a", "b", chance=lambda: next(draws))
    done = [
        (rater, task) for _ in range(8) for rater in people if (task := do(flow, rater)) is not None
    ]
    assert Counter(task for _, task in done) == {0: 2, 3: 2, 1: 1, 2: 1, 4: 1, 5: 1}
    ratings = ratings_of(store)
    assert set(ratings.pair_item[ratings.golden].tolist()) == {0, 3}


def test_golden_tasks_come_at_their_rate(tmp_path: Path) -> None:
    plan = label_plan(1000, 1, golden=tuple(range(0, 1000, 2)))
    store = new_store(tmp_path / "r.db", plan, wanted=1, gold_rate=0.25)
    rng = np.random.default_rng(0)
    flow, _, (rater,) = flow_on(store, "a", chance=rng.random)
    golden = [task % 2 == 0 for task in (do(flow, rater) for _ in range(200)) if task is not None]
    assert 0.15 < np.mean(golden) < 0.35


def test_only_golden_tasks_are_all_given_out(where: str) -> None:
    store = new_store(where, label_plan(3, golden=(0, 1, 2)), gold_rate=0.1)
    flow, _, (a, b) = flow_on(store, "a", "b")
    assert sorted(str(do(flow, rater)) for _ in range(3) for rater in (a, b)) == sorted("001122")
    assert flow.hand(a) == []


def test_excluding_a_rater_gives_their_tasks_out_again(where: str) -> None:
    store = new_store(where, label_plan(2), wanted=1)
    flow, clock, (a, b) = flow_on(store, "a", "b")
    assert {do(flow, a), do(flow, a)} == {0, 1}
    assert flow.hand(b) == []
    set_state(store, a, "excluded", clock())
    assert len(ratings_of(store).answer) == 0
    assert flow.hand(a) == []
    do(flow, b)
    set_state(store, a, "active", clock())
    assert flow.hand(b) == []  # a's answers count again
    assert len(ratings_of(store).answer) == 3 * 3


def test_a_paused_rater_gets_nothing_but_can_finish(where: str) -> None:
    store = new_store(where)
    flow, clock, (rater,) = flow_on(store, "a")
    task = flow.hand(rater)[0].task
    set_state(store, rater, "paused", clock())
    assert flow.hand(rater) == []
    view = view_of(store, rater, task)
    assert flow.submit(rater, task, {q.id: 0 for q in view.questions}, 1) == "stored"
    assert flow.hand(rater) == []


def test_the_way_back_leads_through_all_answers(where: str) -> None:
    store = new_store(where, label_plan(4), wanted=1)
    flow, clock, (rater,) = flow_on(store, "a")
    done = []
    for _ in range(3):
        clock.now += 1
        done.append(do(flow, rater))
    with store.read() as connection:
        back = [earlier(connection, rater, None)]
        while back[-1] is not None:
            back.append(earlier(connection, rater, back[-1]))
        assert counts(connection, rater).left == 1
    assert back == [*reversed(done), None]


def test_how_far_a_rater_is_counts_regular_open_tasks(where: str) -> None:
    store = new_store(where, label_plan(12, golden=(2, 7)), wanted=1, gold_rate=0.3)
    rng = np.random.default_rng(0)
    chance = rng.random
    flow, _, people = flow_on(store, "a", "b", chance=lambda: float(chance()))
    for _ in range(14):
        rater = people[int(rng.integers(2))]
        if (held := flow.hand(rater)) and rng.random() < 0.3:
            flow.skip(rater, held[0].task, Beside())
        else:
            do(flow, rater)
        if rng.random() < 0.15:
            flow.set_aside(int(rng.integers(12)), "gone")
        for person in people:
            with store.read() as connection:
                found = counts(connection, person)
                every = connection.execute(select(tasks)).all()
                own = connection.execute(
                    select(assignments).where(assignments.c.rater_id == person)
                ).all()
            through = {a.task_id for a in own if a.submitted_at or a.skipped_at}
            left = {t.id for t in every if t.state == "open" and not t.golden} - through
            assert (found.answered, found.left) == (
                sum(a.submitted_at is not None for a in own),
                len(left),
            )


def test_how_far_a_rater_is_looks_at_open_tasks_once(tmp_path: Path) -> None:
    """Not for each of them whether the rater had it: that was a quarter of a server's work."""
    store = new_store(tmp_path / "ratings.db")
    said: list[tuple[str, tuple[object, ...]]] = []
    event.listen(store.engine, "before_cursor_execute", lambda *a: said.append((a[2], a[3])))
    with store.read() as connection:
        counts(connection, 1)
        query, values = said[-1]
        plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}", values)]
    assert sum("tasks_by_place" in step for step in plan) == 1, plan
    assert not any(step.startswith("SCAN tasks") for step in plan), plan


def test_a_vanished_image_sets_its_tasks_aside(where: str) -> None:
    plan = label_plan(3, item=np.array([0, 0, 1]))
    store = new_store(where, plan, wanted=1)
    missing = {"000.png"}
    flow, _, (rater,) = flow_on(
        store, "a", check=lambda name: "no such file" if name in missing else None
    )
    assert [each.item for each in flow.hand(rater)] == [1]
    assert missing_items(store) == [(0, "000.png", "no such file")]
    assert progress(store).aside == 2
    missing.clear()
    flow.put_back(0)
    assert len(flow.hand(rater)) == 2
    assert progress(store).aside == 0
    assert missing_items(store) == []


def test_all_images_vanish_at_once(where: str) -> None:
    store = new_store(where, label_plan(100), wanted=1)
    away = True
    flow, _, (rater,) = flow_on(store, "a", check=lambda name: "no such file" if away else None)
    with pytest.raises(NoImages):
        flow.hand(rater)
    assert 0 < len(missing_items(store)) <= 2 * MANY
    away = False
    flow.put_back()
    assert missing_items(store) == []
    assert progress(store).aside == 0
    assert len(flow.hand(rater)) == 2


def test_many_raters_at_once_never_overfill_a_task(where: str) -> None:
    store = new_store(where, label_plan(12), wanted=2)
    flow, _, people = flow_on(store, *"abcdef")
    done: list[tuple[int, int]] = []

    def work(rater: int) -> None:
        while (task := do(flow, rater)) is not None:
            done.append((rater, task))

    threads = [threading.Thread(target=work, args=(rater,)) for rater in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert Counter(task for _, task in done) == dict.fromkeys(range(12), 2)
    assert len(ratings_of(store).answer) == 12 * 2 * 3


def test_only_disputed_questions_are_asked_on(where: str) -> None:
    """Three answers that agree settle a question; the others get five. Nobody sees a settled one again."""
    store = new_store(where, label_plan(6), wanted=5, agree=3)
    names = [f"r{k}" for k in range(7)]
    flow, _, people = flow_on(store, *names)
    asked: Counter[int] = Counter()

    def say(rater: int, question: int) -> int:
        return (rater + question) % 2 * 2 if question % 3 == 0 else 2 * (question % 2)

    for _ in range(60):
        for rater in people:
            held = flow.hand(rater)
            if held:
                view = view_of(store, rater, held[0].task)
                given = {q.id: say(rater, q.id) for q in view.questions}
                asked.update(list(given))
                assert flow.submit(rater, view.id, given, 1) == "stored"
    counts = ratings_of(store).counts()
    for question, row in enumerate(counts.tolist()):
        agreed = 0 in (row[0], row[2])
        assert sum(row) == asked[question]
        assert (3 <= sum(row) <= 4) if agreed else sum(row) == 5, (question, row)
    assert {sum(row) for row in counts.tolist()} >= {3, 5}
    done = progress(store)
    assert (done.done, done.counted) == (6, done.wanted)


def test_an_answer_that_changes_opens_a_question_again(where: str) -> None:
    store = new_store(where, label_plan(1, width=1), wanted=4, agree=2)
    flow, _, people = flow_on(store, "a", "b", "c", "d")
    assert [do(flow, rater, 2) for rater in people] == [0, 0, None, None]
    assert flow.submit(people[0], 0, {0: 0}, 2) == "stored"
    assert [do(flow, rater, 2) for rater in people[2:]] == [0, 0]
    assert ratings_of(store).counts().tolist() == [[1, 0, 3]]
    set_state(store, people[0], "excluded", 0.0)
    with store.read() as connection:
        assert counts(connection, people[1]).left == 0


def test_what_was_asked_is_what_is_taken(where: str) -> None:
    store = new_store(where, label_plan(1, width=2), wanted=3, agree=2)
    flow, _, (a, b, c) = flow_on(store, "a", "b", "c")
    for rater, given in ((a, {0: 2, 1: 2}), (b, {0: 2, 1: 0})):
        flow.hand(rater)
        assert flow.submit(rater, 0, given, 1) == "stored"
    assert [held.task for held in flow.hand(c)] == [0]
    assert [q.id for q in view_of(store, c, 0).questions] == [1]
    with pytest.raises(ValueError, match="asked"):
        flow.submit(c, 0, {0: 2, 1: 2}, 1)
    assert flow.submit(c, 0, {1: 2}, 1) == "stored"
    assert ratings_of(store).counts().tolist() == [[0, 0, 2], [1, 0, 2]]
    assert flow.submit(c, 0, {1: 0}, 2) == "stored"  # and can change it


def test_golden_tasks_are_asked_whole_whatever_raters_agree_on(where: str) -> None:
    store = new_store(where, label_plan(1, golden=(0,)), wanted=3, agree=2)
    flow, _, people = flow_on(store, "a", "b", "c", "d", chance=lambda: 0.0)
    assert [do(flow, rater, 0) for rater in people] == [0, 0, 0, 0]
    assert ratings_of(store).counts().sum(1).tolist() == [4, 4, 4]


def test_taking_an_answer_looks_at_the_answers_of_its_task_alone(tmp_path: Path) -> None:
    """However many there are in the store: SQLite tells how it would go about it."""
    store = new_store(tmp_path / "r.db")
    query = tally(tasks.c.id == bindparam("this_task", 1))
    text = str(query.compile(dialect=store.engine.dialect, compile_kwargs={"literal_binds": True}))
    with store.read() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}")
        steps = [str(row[-1]) for row in plan]
    assert any("answers" in step for step in steps)
    assert not any("SCAN" in step or "MATERIALIZE" in step for step in steps), steps
