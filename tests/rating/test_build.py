"""Tasks from proposals and from mistakes, and answers that come from elsewhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rating_kit import label_plan, new_store
from reteach.errors import UserError
from reteach.labels import Multi
from reteach.rating.assignment import Flow
from reteach.rating.build import build, from_mistakes, from_proposals, spread
from reteach.rating.class_descriptions import ClassText, read_names
from reteach.rating.export import ratings_of, verdicts_csv
from reteach.rating.importer import bring_in
from reteach.rating.overview import progress, rater_rows, task_rows
from reteach.rating.raters import add_raters
from reteach.relabel.raters.hierarchy import co_proposal
from reteach.relabel.raters.proposals import Proposals
from reteach.relabel.raters.ratings import MAYBE, NO, YES
from reteach.relabel.raters.tasks import split


def some_proposals() -> Proposals:
    """Two models; both agree with the label of item 0, item 2 has ten proposals."""
    pairs = [(0, 0), (1, 0), (1, 1), *((2, c) for c in range(10))]
    return Proposals(
        ["a", "b", "c"],
        [f"k{c}" for c in range(10)],
        ["m", "n"],
        np.array([i for i, _ in pairs]),
        np.array([c for _, c in pairs]),
        np.ones(len(pairs), np.int64),
        np.array([2, 1, 1, 1, 1, *[0] * 8]),
        np.array([True, True, False, True, *[False] * 9]),
    )


def test_tasks_of_proposals_come_out_as_pairs(where: str) -> None:
    proposals = some_proposals()
    tasks = split(proposals, co_proposal(proposals.pair_item, proposals.pair_class, 10), 8)
    plan = from_proposals(proposals, tasks, {(1, 0): 1.0, (1, 1): 0.0})
    store = build(where, plan, wanted=3)
    ratings = ratings_of(store)
    assert ratings.items == ["a", "b", "c"]
    assert ratings.original.tolist() == [0, 0, 0]
    asked = {*zip(ratings.pair_item.tolist(), ratings.pair_class.tolist(), strict=True)}
    assert asked == {(1, 0), (1, 1), *((2, c) for c in range(10))}  # nobody is asked about a
    golden = ratings.golden
    assert set(ratings.pair_item[golden].tolist()) == {1}
    assert dict(zip(ratings.pair_class[golden].tolist(), ratings.gold[golden], strict=True)) == {
        0: 1.0,
        1: 0.0,
    }
    rows, pages = task_rows(store, "all", 0)
    assert pages == 1
    assert [(row.name, row.golden) for row in sorted(rows, key=lambda row: row.id)] == [
        ("b", True),
        ("c", False),
        ("c", False),
    ]
    assert all(len(row.classes) <= 8 for row in rows)
    assert progress(store).wanted == 3 * 3  # the golden task is work too


def test_every_wrong_prediction_is_a_mistake_once(where: str) -> None:
    classes = ("cat", "dog", "owl")
    original = Multi.from_pairs(np.array([0, 1, 2]), np.array([0, 1, 2]), 4, classes)
    better = Multi.from_pairs(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 2]), 4, classes)
    plan = from_mistakes(
        ["a", "b", "c", "d"],
        classes,
        {"m": np.array([1, 2, 2, 0]), "n": np.array([1, 1, -1, 0])},
        {"original": original, "real": better},
    )
    found = {
        (labels, model, plan.items[plan.item[t]], classes[plan.asked[t]])
        for t, model, labels in plan.predictors
    }
    assert found == {
        ("original", "m", "a", "dog"),
        ("original", "m", "b", "owl"),
        ("original", "n", "a", "dog"),
        ("real", "m", "b", "owl"),
    }
    assert len(plan) == 2  # both models make the first one, both labels know the second
    store = build(where, plan, wanted=1)
    add_raters(store, ["ann"])
    flow = Flow(store)
    while held := flow.hand(1):
        flow.submit(1, held[0].task, {held[0].task: 1}, 1)
    lines = verdicts_csv(store).splitlines()
    assert lines[0] == "model,labels,item,prediction,rater,answer"
    assert sorted(lines[1:]) == [
        "m,original,a,dog,ann,undecidable",
        "m,original,b,owl,ann,undecidable",
        "m,real,b,owl,ann,undecidable",
        "n,original,a,dog,ann,undecidable",
    ]
    with pytest.raises(UserError, match="judgements of mistakes"):
        ratings_of(store)


def test_a_sample_of_the_mistakes() -> None:
    labels = Multi.from_pairs(np.arange(100), np.zeros(100, np.int64), 100, ("a", "b"))
    wrong = {"m": np.ones(100, np.int64)}
    names = [str(i) for i in range(100)]
    plan = from_mistakes(names, ("a", "b"), wrong, {"l": labels}, most=10)
    assert len(plan) == 10
    again = from_mistakes(names, ("a", "b"), wrong, {"l": labels}, most=10)
    np.testing.assert_array_equal(plan.item, again.item)


def test_examples_are_spread_over_the_classes() -> None:
    pairs = [(0, i) for i in range(100)] + [(1, 5)]
    found = spread(pairs, 4)
    assert [c for c, _ in found] == [0, 0, 0, 0, 1]
    assert len({item for _, item in found[:4]}) == 4
    assert found == spread(reversed(pairs), 4)


def test_tasks_are_given_out_in_random_order(tmp_path: Path) -> None:
    orders = []
    for seed in (0, 0, 1):
        store = new_store(tmp_path / f"{len(orders)}.db", label_plan(20), seed=seed)
        orders.append([row.id for row in task_rows(store, "all", 0)[0]])
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == list(range(20))


def test_answers_from_elsewhere_count(where: str, tmp_path: Path) -> None:
    first = new_store(tmp_path / "first.db", label_plan(3), wanted=2)
    add_raters(first, ["ann", "ben"])
    flow = Flow(first)
    for rater, answers in ((1, (NO, MAYBE, YES)), (2, (YES, YES))):
        for answer in answers:
            task = flow.hand(rater)[0].task
            flow.submit(rater, task, {3 * task + k: answer for k in range(3)}, 1)
    given = ratings_of(first)
    second = new_store(where, label_plan(3), wanted=2)
    assert bring_in(second, given, 0.0) == (15, 0)
    copied = ratings_of(second)
    assert copied.raters == given.raters
    for name in ("pair", "rater", "answer"):
        np.testing.assert_array_equal(getattr(copied, name), getattr(given, name))
    assert progress(second).done == 2
    assert [row.linked for row in rater_rows(second)] == [False, False]
    # a new rater gets the one task that lacks an answer
    (token,) = add_raters(second, ["cy"])
    assert token == "cy"
    assert len(Flow(second).hand(3)) == 1


def test_half_answered_tasks_count_for_what_was_answered(tmp_path: Path) -> None:
    """Whoever answers one question of three was not asked the others: they still need two raters."""
    store = new_store(tmp_path / "a.db", label_plan(2))
    given = ratings_of(store).with_rater(
        "ann", np.array([0, 1, 2, 3]), np.array([0, 1, 2, 0], np.int8)
    )
    assert bring_in(store, given, 0.0) == (4, 0)
    assert ratings_of(store).counts().sum(1).tolist() == [1, 1, 1, 1, 0, 0]
    rows, _ = task_rows(store, "all", 0)
    assert {row.id: row.lacking for row in rows} == {0: 1, 1: 2}


def test_bad_numbers(tmp_path: Path) -> None:
    for options, said in (
        ({"wanted": 0}, "at least 1 rater"),
        ({"gold_rate": 1.5}, "between 0 and 1"),
    ):
        with pytest.raises(UserError, match=said):
            new_store(tmp_path / "r.db", **options)
    with pytest.raises(UserError, match="nothing to rate"):
        new_store(tmp_path / "r.db", label_plan(0))


def test_class_names(tmp_path: Path) -> None:
    tables = {
        "a.tsv": "index\twnid\tlemmas\tdefinition\n0\tn01\ttench, Tinca\ta fish\n",
        "b.tsv": "n01\ttench, Tinca\ta fish\n",
        "c.csv": 'class,title,description\nn01,"tench, Tinca",a fish\n',
    }
    for name, content in tables.items():
        (tmp_path / name).write_text(content)
        assert read_names(tmp_path / name) == {"n01": ClassText("tench, Tinca", "a fish")}
    (tmp_path / "d.tsv").write_text("n01\ttench\n")
    assert read_names(tmp_path / "d.tsv") == {"n01": ClassText("tench", "")}
    (tmp_path / "e.tsv").write_text("n01\n")
    with pytest.raises(UserError, match="a class and a title"):
        read_names(tmp_path / "e.tsv")
    with pytest.raises(UserError, match="do not exist"):
        read_names(tmp_path / "none.tsv")


@pytest.mark.parametrize("header", ["", "class,title,description\n"])
def test_an_unquoted_comma_does_not_cut_a_class_description(tmp_path: Path, header: str) -> None:
    (tmp_path / "a.csv").write_text(f"{header}n01,tench,a fish, of ponds\n")
    with pytest.raises(UserError, match="4 cells for 3 columns"):
        read_names(tmp_path / "a.csv")
