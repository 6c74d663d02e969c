"""The three commands, and the one line that each mistake gets."""

from __future__ import annotations

import json
import re
import signal
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from command import run
from rating_kit import Client, Clock, label_plan, new_store, own_port, photos, start_process
from reteach.errors import UserError
from reteach.labels import Multi, Single
from reteach.options.rate import ExportOptions, RateOptions, TasksOptions
from reteach.options.relabel import ConsensusOptions
from reteach.rating.assignment import Flow
from reteach.rating.export import ratings_of
from reteach.rating.overview import progress
from reteach.rating.raters import add_raters
from reteach.rating.read import read_ratings
from reteach.rating.store import open_store
from reteach.rating.views import task_view
from reteach.relabel.raters.proposals import Proposals
from reteach.tables import LabelTable, read_labels, write_labels

CLASSES = ("cat", "dog", "owl", "fox")


@pytest.fixture
def proposals(tmp_path: Path) -> Path:
    """Items 0 to 5 with labels i modulo 4; all models agree on 4 and 5; all classes proposed else."""
    pairs = [(i, c) for i in range(4) for c in range(4)] + [(4, 0), (5, 1)]
    original = np.array([c == i % 4 for i, c in pairs])
    Proposals(
        [f"{i}.png" for i in range(6)],
        list(CLASSES),
        ["m", "n"],
        np.array([i for i, _ in pairs]),
        np.array([c for _, c in pairs]),
        np.ones(len(pairs), np.int64),
        np.where(original, [1] * 16 + [2] * 2, 0),
        original,
    ).write(tmp_path / "proposals.parquet")
    return tmp_path / "proposals.parquet"


def rate_all(where: str | Path, names: list[str], truth: Any) -> None:
    """Let raters answer everything: yes if ``truth(item, class)``."""
    store = open_store(where)
    with store.read() as connection:
        first = len(connection.exec_driver_sql("SELECT id FROM raters").all()) + 1
    add_raters(store, names)
    flow = Flow(store, clock=Clock())
    for rater in range(first, first + len(names)):
        while held := flow.hand(rater):
            with store.read() as connection:
                view = task_view(connection, rater, held[0].task)
            assert view is not None
            given = {q.id: 2 * truth(view.item, q.about.title) for q in view.questions}
            flow.submit(rater, view.id, given, 1)
    store.close()


def test_from_proposals_to_labels(
    proposals: Path, where: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gold = LabelTable(("0.png",), Multi.from_dense(np.array([[1, 0, 1, 0]]), CLASSES))
    write_labels(tmp_path / "gold.parquet", gold)
    (tmp_path / "names.tsv").write_text("class\ttitle\tdescription\ncat\tCat!\tpurrs\n")
    (tmp_path / "tree.txt").write_text(
        "pet cat\npet dog\nwild owl\nwild fox\nroot pet\nroot wild\n"
    )
    run(
        TasksOptions(
            proposals=proposals,
            out=where,
            raters=2,
            limit=2,
            gold=tmp_path / "gold.parquet",
            gold_rate=0.5,
            names=tmp_path / "names.tsv",
            hierarchy=tmp_path / "tree.txt",
        )
    )
    said = capsys.readouterr().out
    assert "8 tasks with 16 questions about 4 images, 2 raters each; 2 of them golden" in said
    assert "2 images need no rating" in said

    store = open_store(where)
    with store.read() as connection:
        rows = connection.exec_driver_sql(
            "SELECT task_id, name, title FROM questions JOIN classes ON class_id = classes.id"
        ).all()
        together: dict[int, set[str]] = {}
        for task, name, _ in rows:
            together.setdefault(task, set()).add(name)
        assert set(map(frozenset, together.values())) == {
            frozenset({"cat", "dog"}),
            frozenset({"owl", "fox"}),
        }
        assert ("cat", "Cat!") in {(name, title) for _, name, title in rows}
        shown = connection.exec_driver_sql("SELECT class_id, item_id FROM examples").all()
        assert {tuple(row) for row in shown} == {(0, 4), (1, 5)}  # what all models agree on
    store.close()

    rate_all(where, ["ann", "ben"], lambda i, title: title == ("Cat!", *CLASSES[1:])[i])
    run(ConsensusOptions(where, out=tmp_path / "real.parquet", method="majority"))
    table = read_labels(tmp_path / "real.parquet")
    rows_, columns, _ = table.labels.pairs()
    assert table.items == tuple(f"{i}.png" for i in range(6))
    assert [(int(i), CLASSES[c]) for i, c in zip(rows_, columns, strict=True)] == [
        (0, "cat"),
        (0, "owl"),  # the raters said no: gold is the owner's word
        (1, "dog"),
        (2, "owl"),
        (3, "fox"),
        (4, "cat"),  # nobody was asked: they keep their label
        (5, "dog"),
    ]
    ratings = read_ratings(where)
    assert set(ratings.pair_item[ratings.golden].tolist()) == {0}


def rate_some(where: str, rater: int, tasks: int, yes: str) -> set[str]:
    """A rater answers a few tasks, with yes to one class alone; returns the images."""
    store = open_store(where)
    flow, seen = Flow(store, clock=Clock(), chance=np.random.default_rng(rater).random), set()
    for _ in range(tasks):
        task = flow.hand(rater)[0].task
        with store.read() as connection:
            view = task_view(connection, rater, task)
        assert view is not None
        flow.submit(rater, task, {q.id: 2 * (q.about.title == yes) for q in view.questions}, 1)
        seen.add(f"{view.item}.png")
    store.close()
    return seen


def consensus(where: str, out: Path, **more: Any) -> dict[str, list[str]]:
    run(ConsensusOptions(where, out=out, method="majority", **more))
    table = read_labels(out)
    return dict(zip(table.items, table.labels.names(), strict=True))


def test_while_rating_goes_on_a_partly_rated_image_keeps_its_label(
    proposals: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two tasks per image, two raters each: an image is decided when all its classes are."""
    where = str(tmp_path / "r.db")
    run(TasksOptions(proposals=proposals, out=where, raters=2, limit=2))
    store = open_store(where)
    add_raters(store, ["ann", "ben"])
    store.close()
    kept = {f"{i}.png": [CLASSES[i % 4]] for i in range(6)}
    rate_some(where, 1, 8, "owl")
    assert consensus(where, tmp_path / "one.parquet") == kept  # one answer of two
    assert "4 items lack answers (fewer than 2 to some class): 4 keep" in capsys.readouterr().out
    assert len((tmp_path / "one.pending.txt").read_text().split()) == 4
    rate_some(where, 2, 3, "owl")  # one image of four is surely half done
    found = consensus(where, tmp_path / "two.parquet", scores=tmp_path / "s.parquet")
    pending = set((tmp_path / "two.pending.txt").read_text().split())
    assert 3 <= len(pending) <= 4
    assert found == {
        i: names if i in pending or i > "3.png" else ["owl"] for i, names in kept.items()
    }
    assert len(pq.read_table(tmp_path / "s.parquet")) == 16
    dropped = consensus(where, tmp_path / "three.parquet", pending="drop")
    assert dropped == {i: names for i, names in found.items() if i not in pending}
    assert consensus(where, tmp_path / "four.parquet", wanted=1) == {
        i: ["owl"] if i <= "3.png" else names for i, names in kept.items()
    }
    rate_some(where, 2, 5, "owl")
    all_rated = consensus(where, tmp_path / "five.parquet")
    assert all_rated == {i: ["owl"] if i <= "3.png" else names for i, names in kept.items()}


def test_gold_is_in_the_labels_whatever_raters_say(proposals: Path, tmp_path: Path) -> None:
    """Its task unanswered, its class never asked about, its set empty: the owner's word stands."""
    where = str(tmp_path / "r.db")
    run(TasksOptions(proposals=proposals, out=where, raters=1))
    store = open_store(where)
    add_raters(store, ["ann"])
    store.close()
    seen = rate_some(where, 1, 2, "owl")
    waiting = min({f"{i}.png" for i in range(4)} - seen)
    gold = LabelTable(
        (waiting, min(seen), "4.png", "5.png", "new.png"),
        Multi.from_pairs(
            np.array([0, 0, 1, 2, 4]), np.array([1, 4, 3, 0, 2]), 5, (*CLASSES, "hen")
        ),
    )
    write_labels(tmp_path / "gold.parquet", gold)
    found = consensus(where, tmp_path / "real.parquet", gold=tmp_path / "gold.parquet")
    assert [found[item] for item in gold.items] == [["dog", "hen"], ["fox"], ["cat"], [], ["owl"]]
    assert found[max(seen)] == ["owl"]
    assert "gold on 5 items" in read_labels(tmp_path / "real.parquet").source


GOLD = LabelTable(  # proposed classes left out, a class no model knows, images without a task, empty sets
    ("0.png", "1.png", "4.png", "5.png"),
    Multi.from_pairs(np.array([0, 0, 2, 2]), np.array([1, 4, 3, 4]), 4, (*CLASSES, "hen")),
)


def gold_store(proposals: Path, where: Path, *, gold: bool = True, **options: Any) -> Path:
    """A store, with the gold or without, of which one of two raters answered a part."""
    write_labels(where.parent / "gold.parquet", GOLD)
    given = {"gold": where.parent / "gold.parquet"} if gold else {}
    run(TasksOptions(proposals=proposals, out=str(where), raters=2, limit=2, **given, **options))
    store = open_store(where)
    add_raters(store, ["zoe", "ann"])
    store.close()
    return where


def test_gold_given_to_tasks_alone_is_in_the_labels_as_gold_given_to_consensus(
    proposals: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with_, without = tmp_path / "with.db", tmp_path / "without.db"
    gold_store(proposals, with_)
    said = capsys.readouterr().out
    assert "1 classes are in gold labels but never asked about, first: 'hen'" in said
    gold_store(proposals, without, gold=False)
    for where in (with_, without):
        rate_all(where, ["ben", "cid"], lambda i, c: c == "owl")
    found = consensus(str(with_), tmp_path / "a.parquet")
    assert "asked about alone" not in capsys.readouterr().out
    sets = [found[item] for item in GOLD.items]
    assert sets == GOLD.labels.names() == [["dog", "hen"], [], ["fox", "hen"], []]
    capsys.readouterr()
    again = {"gold": tmp_path / "gold.parquet"}
    assert consensus(str(without), tmp_path / "b.parquet", **again) == found
    assert consensus(str(with_), tmp_path / "c.parquet", **again) == found
    assert "--gold decides" not in capsys.readouterr().out
    a, b, c = (read_labels(tmp_path / f"{name}.parquet") for name in "abc")
    assert a.source == b.source == c.source
    assert "gold on 4 items" in a.source


def test_gold_of_consensus_replaces_that_of_the_store_and_says_so(
    proposals: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = gold_store(proposals, tmp_path / "r.db")
    rate_all(where, ["ben"], lambda i, c: c == "owl")
    other = LabelTable(
        ("4.png", "5.png"), Multi.from_dense(np.eye(4, dtype=np.int64)[[2, 3]], CLASSES)
    )
    write_labels(tmp_path / "other.parquet", other)
    capsys.readouterr()
    found = consensus(str(where), tmp_path / "a.parquet", gold=tmp_path / "other.parquet")
    assert (
        "--gold decides for 2 items where the ratings' own gold says otherwise, first: '4.png'"
        in (capsys.readouterr().out)
    )
    assert [found[i] for i in ("0.png", "1.png", "4.png", "5.png")] == [
        ["dog", "hen"],
        [],
        ["owl"],
        ["fox"],
    ]


LATER = ("asked", "active", "skipped_at")
"""Columns of assignments that version 1 did not have."""


def test_a_store_of_version_1_is_read_without_whole_gold_sets_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = new_store(tmp_path / "r.db", label_plan(golden=(1,)))
    with store.write() as connection:
        for table in ("gold_sets", "rulings", "remarks", "found"):
            connection.exec_driver_sql(f"DROP TABLE {table}")
        for column in ("tasks.lacking", *(f"assignments.{c}" for c in LATER)):
            table, _, name = column.partition(".")
            connection.exec_driver_sql(f"ALTER TABLE {table} DROP COLUMN {name}")
        connection.exec_driver_sql("UPDATE store SET value = '1' WHERE name = 'version'")
    store.close()
    ratings = read_ratings(tmp_path / "r.db")
    assert len(ratings.pair_item) == 12
    assert set(ratings.pair_item[ratings.golden].tolist()) == {1}
    rate_all(tmp_path / "r.db", ["ann", "ben"], lambda i, c: c == f"class {i % 3}")
    consensus(str(tmp_path / "r.db"), tmp_path / "o.parquet")
    line = "1 items have gold for the classes that were asked about alone: if they show other"
    assert line in capsys.readouterr().out
    gold = LabelTable(
        ("001.png",), Multi.from_dense(np.array([[0, 1, 1]]), ("a", "class 1", "hen"))
    )
    write_labels(tmp_path / "gold.parquet", gold)
    found = consensus(
        str(tmp_path / "r.db"), tmp_path / "o.parquet", gold=tmp_path / "gold.parquet"
    )
    assert found["001.png"] == ["class 1", "hen"]
    assert line not in capsys.readouterr().out


def parts(path: Path) -> list[bytes]:
    """The files that a consensus wrote."""
    beside = ("{}.csv", "{}.unlabeled.csv", "{}.pending.txt")
    return [
        found.read_bytes() if (found := path.with_name(name.format(path.stem))).exists() else b""
        for name in beside
    ]


@pytest.mark.parametrize("method", ["golden", "em", "majority"])
def test_store_json_and_csv_have_the_same_consensus_while_rating_goes_on(
    proposals: Path, tmp_path: Path, method: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Partly rated images, gold that nobody answered, images that need no rating: bit for bit."""
    where = gold_store(proposals, tmp_path / "r.db", gold_rate=0.5)
    for rater, tasks in ((1, 6), (2, 4)):
        rate_some(str(where), rater, tasks, "owl")
    names = [where, tmp_path / "r.json", tmp_path / "r.csv"]
    for name in names[1:]:
        run(ExportOptions(str(where), name))
    write_labels(
        tmp_path / "labels.csv",
        LabelTable(
            tuple(f"{i}.png" for i in (7, *range(6))),
            Single(np.array([2, 0, 1, 2, 3, 0, 1]), CLASSES),
        ),
    )
    capsys.readouterr()
    for case, options in enumerate(
        (
            {},
            {"labels": tmp_path / "labels.csv"},
            {"wanted": 1},
            {"labels": tmp_path / "labels.csv", "wanted": 2},
            {"pending": "drop"},
            {} if method == "golden" else {"recall": 0.3},  # its folds have one image of gold each
        )
    ):
        found, said = [], []
        for name in names:
            out = tmp_path / f"{case}{name.suffix}" / "out.csv"
            run(ConsensusOptions(str(name), out=out, method=method, **options))  # type: ignore[arg-type]
            found.append(parts(out))
            said.append(capsys.readouterr().out.replace(str(out.parent), ""))
        assert found[1] == found[0], (case, "json")
        assert found[2] == found[0], (case, "csv")
        assert said[0] == said[1] == said[2]
        assert b"4.png,fox|hen" in found[0][0]
        assert found[0][2] or options.get("wanted") == 1  # some are pending
    ratings = read_ratings(where)
    assert (ratings.counts().sum(1) == 0).sum() > 6  # or nothing was tested
    assert {"0.png", "4.png", "5.png"} <= {ratings.items[i] for i in ratings.pair_item}


def test_a_store_goes_through_label_studio_with_gold_and_unasked_images(
    proposals: Path, tmp_path: Path
) -> None:
    where = gold_store(proposals, tmp_path / "a.db")
    rate_all(where, ["ben", "cid"], lambda i, c: c == "owl")
    run(ExportOptions(str(where), tmp_path / "a.json"))
    run(TasksOptions(label_studio=tmp_path / "a.json", out=str(tmp_path / "b.db"), raters=2))
    found = consensus(str(tmp_path / "b.db"), tmp_path / "b.parquet")
    assert found == consensus(str(where), tmp_path / "a.parquet")
    assert found["4.png"] == ["fox", "hen"]
    entries = json.loads((tmp_path / "a.json").read_text())
    entries[1]["data"]["image"] = "elsewhere.png"
    (tmp_path / "a.json").write_text(json.dumps(entries))
    with pytest.raises(UserError, match=r"task 2: image 'elsewhere.png' is not among those"):
        read_ratings(tmp_path / "a.json")


def test_files_that_do_not_say_what_was_asked_say_so(
    proposals: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = gold_store(proposals, tmp_path / "r.db")
    rate_all(where, ["ben"], lambda i, c: c == "owl")
    run(ExportOptions(str(where), tmp_path / "crowd.csv", columns="crowd-kit"))
    assert "list answers only: pairs nobody answered" in capsys.readouterr().out
    rows = (tmp_path / "crowd.csv").read_text().splitlines()
    assert all(all(row.split(",")[:3]) for row in rows)
    (tmp_path / "plain.csv").write_text("task,rater,answer\na#cat,r,yes\na#dog,r,no\n")
    for name in ("crowd.csv", "plain.csv"):
        consensus(str(tmp_path / name), tmp_path / "o.parquet")
        assert f"{name} lists answers only: pairs nobody answered are unknown" in (
            capsys.readouterr().out
        )
    (tmp_path / "asked.csv").write_text("task,rater,answer\na#cat,r,yes\na#dog,,\n")
    assert consensus(str(tmp_path / "asked.csv"), tmp_path / "o.parquet") == {}
    assert "1 items lack answers" in capsys.readouterr().out
    choice = {"type": "choices", "from_name": "yes", "value": {"choices": ["cat"]}}
    entry = {"data": {"image": "a", "classes": ["cat"]}, "annotations": [{"result": [choice]}]}
    (tmp_path / "ls.json").write_text(json.dumps([entry]))
    consensus(str(tmp_path / "ls.json"), tmp_path / "o.parquet")
    assert "does not say how many answers a class needs (taken: 1; --wanted" in (
        capsys.readouterr().out
    )


def test_work_is_done_when_golden_tasks_are_too(proposals: Path, tmp_path: Path) -> None:
    where = str(tmp_path / "r.db")
    gold = LabelTable(("0.png", "1.png"), Single(np.array([0, 1]), CLASSES))
    write_labels(tmp_path / "gold.csv", gold)
    run(
        TasksOptions(
            proposals=proposals, out=where, raters=1, gold=tmp_path / "gold.csv", gold_rate=0.01
        )
    )
    store = open_store(where)
    add_raters(store, ["ann"])
    store.close()
    rate_some(where, 1, 2, "owl")
    store = open_store(where)
    half = progress(store)
    assert (half.counted, half.wanted) == (2, 4)
    store.close()
    assert rate_some(where, 1, 2, "owl") & {"0.png", "1.png"}  # nothing else is left
    store = open_store(where)
    assert progress(store).counted == 4
    assert not Flow(store, clock=Clock()).hand(1)
    store.close()


def test_from_label_studio_and_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entries = [
        {
            "data": {"image": f"{i}.png", "classes": [{"value": c} for c in CLASSES]},
            "annotations": [
                {
                    "completed_by": 3,
                    "result": [
                        {"type": "choices", "from_name": "c", "value": {"choices": ["owl"]}}
                    ],
                }
            ]
            * (i < 2),
        }
        for i in range(4)
    ]
    (tmp_path / "in.json").write_text(json.dumps(entries))
    where = tmp_path / "r.db"
    run(TasksOptions(label_studio=tmp_path / "in.json", out=str(where), raters=2))
    assert "8 answers of 1 raters taken over" in capsys.readouterr().out
    rate_all(where, ["ann"], lambda i, c: c == "owl")
    run(ExportOptions(str(where), tmp_path / "out.json"))
    assert "<Choices" in (tmp_path / "out.xml").read_text()
    back = read_ratings(tmp_path / "out.json")
    assert sorted(back.raters) == ["3", "ann"]
    assert len(back.answer) == 2 * 4 + 4 * 4
    run(ExportOptions(str(where), tmp_path / "out.csv", columns="crowd-kit"))
    assert (tmp_path / "out.csv").read_text().startswith("task,worker,label")


def test_earlier_answers_from_csv(proposals: Path, tmp_path: Path) -> None:
    run(TasksOptions(proposals=proposals, out=str(tmp_path / "a.db"), raters=1))
    rate_all(tmp_path / "a.db", ["ann"], lambda i, c: c == CLASSES[i])
    run(ExportOptions(str(tmp_path / "a.db"), tmp_path / "a.csv"))
    run(
        TasksOptions(
            proposals=proposals, out=str(tmp_path / "b.db"), raters=2, ratings=tmp_path / "a.csv"
        )
    )
    store = open_store(tmp_path / "b.db")
    assert progress(store).counted == 4
    assert len(ratings_of(store).answer) == 16


def test_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    items = tuple(f"{i}.png" for i in range(5))
    write_labels(
        tmp_path / "real.parquet",
        LabelTable(items, Multi.from_dense(np.eye(5, 4)[[0, 1, 2, 3, 4]], CLASSES)),
    )
    write_labels(
        tmp_path / "resnet.csv", LabelTable(items, Single(np.array([0, 0, 0, 3, 1]), CLASSES))
    )
    run(
        TasksOptions(
            predictions=(tmp_path / "resnet.csv",),
            labels=(tmp_path / "real.parquet",),
            out=str(tmp_path / "m.db"),
            raters=1,
        )
    )
    assert "2 tasks with 2 questions" in capsys.readouterr().out
    rate_all(tmp_path / "m.db", ["ann"], lambda i, c: True)
    run(ExportOptions(str(tmp_path / "m.db"), tmp_path / "verdicts.csv"))
    from reteach.analysis.mistakes import read_verdicts, summarize

    (summary,) = summarize(read_verdicts(tmp_path / "verdicts.csv"))
    assert (summary.model, summary.labels, summary.images) == ("resnet", "real", 2)
    assert summary.shares["not a mistake"].value == 1


def test_bad_tasks(proposals: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "r.db")
    labels = tmp_path / "labels.csv"
    write_labels(labels, LabelTable(("0.png", "9.png"), Single(np.array([0, 1]), CLASSES)))
    (tmp_path / "cycle.txt").write_text("cat dog\ndog cat\nx owl\nx fox\n")
    (tmp_path / "few.txt").write_text("pet cat\npet dog\n")
    cases: list[tuple[dict[str, Any], str]] = [
        ({"out": out}, "name one of --proposals, --predictions and --label-studio"),
        ({"proposals": proposals}, "name the rating store once"),
        ({"proposals": proposals, "out": out, "store": out}, "name the rating store once"),
        ({"proposals": tmp_path / "none.parquet", "out": out}, "does not exist"),
        ({"proposals": proposals, "out": out, "gold": labels}, "'9.png' is not among the images"),
        ({"proposals": proposals, "out": out, "examples": labels}, "'9.png' is not among"),
        ({"proposals": proposals, "out": out, "hierarchy": tmp_path / "cycle.txt"}, "has a cycle"),
        ({"proposals": proposals, "out": out, "hierarchy": tmp_path / "few.txt"}, "'owl' is not"),
        ({"predictions": (labels,), "out": out}, "needs --labels"),
        (
            {"predictions": (labels,), "labels": (labels,), "out": out, "gold": labels},
            "--gold belongs",
        ),
        ({"predictions": (labels,), "labels": (labels,), "out": out}, "nothing to rate"),
    ]
    for options, said in cases:
        with pytest.raises(UserError, match=said) as error:
            run(TasksOptions(**options))
        assert "\n" not in str(error.value)
        assert not Path(out).exists(), options


def test_bad_servers(tmp_path: Path) -> None:
    where = str(tmp_path / "r.db")
    folder = str(photos(tmp_path / "photos", ["000.png"]))
    new_store(where).close()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        cases: list[tuple[dict[str, Any], str]] = [
            ({"ratings": None}, "name the rating store once"),
            ({"ratings": str(tmp_path / "none.db")}, "does not exist: make one"),
            ({"images": str(tmp_path / "none")}, "does not exist"),
            ({"images": str(tmp_path)}, "none of the first 4 images .*no such file.* elsewhere"),
            ({"host": "0.0.0.0"}, "name the address that visitors use"),
            ({"public": "rate.example.org"}, "should be like https://rate.example.org"),
            ({"lease": 0.0}, "--lease must be positive"),
            ({"port": taken.getsockname()[1]}, "cannot listen on 127.0.0.1"),
            ({"raters": ("a", "a")}, "already"),
        ]
        for options, said in cases:
            with pytest.raises(UserError, match=said) as error:
                run(RateOptions(**{"ratings": where, "images": folder, "port": 0} | options))
            assert "\n" not in str(error.value)


def test_the_server_as_a_program(tmp_path: Path) -> None:
    """Links are printed once; raters keep theirs over a restart."""
    where = str(tmp_path / "r.db")
    new_store(where, label_plan(2), wanted=2).close()
    folder = photos(tmp_path / "photos", ["000.png", "001.png"])
    with own_port() as port:
        log = tmp_path / "log"
        process = start_process(where, folder, port, log)
        found = re.findall(r"^  (rater \d)  (\S+)$", log.read_text(), re.MULTILINE)
        assert [name for name, _ in found] == ["rater 1", "rater 2"]
        (owner,) = re.findall(r"owner: (\S+)", log.read_text())
        link = found[0][1]
        assert Client(link).status == 200
        assert "0% of the work" in Client(owner).get("/owner").text
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        assert "Stopped. All answers are in" in log.read_text()
        assert link.rpartition("/")[2] not in log.read_text().replace(link, "")

        again = start_process(where, folder, port)
        try:
            assert Client(link).get("/rate").task is not None
            Client(owner)
            client = Client()
            client.get(owner)
            assert client.status == 403  # the owner's link is new at each start
        finally:
            again.kill()
            again.wait()


def _label_studio_with_answers(tmp_path: Path, proposals: Path) -> Path:
    """An export of a store that wants 2 answers, with those of ann."""
    run(TasksOptions(proposals=proposals, out=str(tmp_path / "a.db"), raters=2))
    rate_all(tmp_path / "a.db", ["ann"], lambda i, c: c == CLASSES[i])
    run(ExportOptions(str(tmp_path / "a.db"), tmp_path / "b.json"))
    return tmp_path / "b.json"


def test_answers_of_label_studio_and_of_a_csv_are_both_kept(
    proposals: Path, tmp_path: Path
) -> None:
    file = _label_studio_with_answers(tmp_path, proposals)
    ours = read_ratings(file)
    rows = [
        f"{ours.items[i]}#{ours.classes[c]},zoe,no"
        for i, c in zip(ours.pair_item.tolist(), ours.pair_class.tolist(), strict=True)
    ]
    same = (
        f"{ours.items[ours.pair_item[ours.pair[0]]]}#{ours.classes[ours.pair_class[ours.pair[0]]]}"
    )
    repeated = f"{same},ann,{('no', 'maybe', 'yes')[ours.answer[0]]}"
    (tmp_path / "zoe.csv").write_text("\n".join(["task,rater,answer", *rows, repeated]) + "\n")
    out = str(tmp_path / "c.db")
    found = run(TasksOptions(label_studio=file, ratings=tmp_path / "zoe.csv", out=out))
    after = read_ratings(out)
    assert sorted(after.raters) == ["ann", "zoe"]
    assert len(after.answer) == found.answers == len(ours.answer) + len(rows)
    assert found.left_out == 0

    other = f"{same},ann,{('yes', 'yes', 'no')[ours.answer[0]]}"
    (tmp_path / "odd.csv").write_text(f"task,rater,answer\n{other}\n")
    with pytest.raises(UserError, match=r"'ann' answers '.*keep one of the two"):
        run(
            TasksOptions(
                label_studio=file, ratings=tmp_path / "odd.csv", out=str(tmp_path / "d.db")
            )
        )
    assert not (tmp_path / "d.db").exists()


def test_gold_of_an_answer_file_makes_tasks_golden(proposals: Path, tmp_path: Path) -> None:
    file = _label_studio_with_answers(tmp_path, proposals)
    ours = read_ratings(file)
    pairs = list(zip(ours.pair_item.tolist(), ours.pair_class.tolist(), strict=True))
    names = [(ours.items[i], ours.classes[c]) for i, c in pairs]
    rows = [f"{i}#{c},zoe,no,{i},{c},{n % 2}" for n, (i, c) in enumerate(names)]
    header = "task,rater,answer,item,class,gold"
    (tmp_path / "zoe.csv").write_text("\n".join([header, *rows]) + "\n")
    out = str(tmp_path / "g.db")
    assert run(TasksOptions(label_studio=file, ratings=tmp_path / "zoe.csv", out=out)).golden
    after = read_ratings(out)
    found = {
        (after.items[i], after.classes[c]): share
        for i, c, share in zip(
            after.pair_item.tolist(), after.pair_class.tolist(), after.gold.tolist(), strict=True
        )
    }
    assert found == {name: n % 2 for n, name in enumerate(names)}


def test_choices_that_were_not_on_offer_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = {"type": "choices", "from_name": "yes", "value": {"choices": ["cat", "zebra"]}}
    data = {"image": "a.jpg", "classes": ["cat", "dog"]}
    entry = {"data": data, "annotations": [{"completed_by": 1, "result": [chosen]}]}
    (tmp_path / "ls.json").write_text(json.dumps([entry]))
    assert len(read_ratings(tmp_path / "ls.json").answer) == 1
    assert "1 choices of classes that were not on offer" in capsys.readouterr().err


def test_a_file_that_says_how_many_answers_it_wants_is_heeded(
    proposals: Path, tmp_path: Path
) -> None:
    file = _label_studio_with_answers(tmp_path, proposals)
    run(ExportOptions(str(tmp_path / "a.db"), tmp_path / "a.csv"))

    def wanted(name: str, **options: Any) -> int:
        found = run(TasksOptions(out=str(tmp_path / name), **options))
        store = open_store(tmp_path / name)
        store.close()
        assert store.settings.wanted == found.raters
        return store.settings.wanted

    assert wanted("e.db", label_studio=file) == 2
    assert wanted("f.db", label_studio=file, raters=3) == 3
    assert wanted("g.db", proposals=proposals) == 5
    assert wanted("h.db", proposals=proposals, ratings=tmp_path / "a.csv") == 2
    text = (tmp_path / "a.csv").read_text()
    (tmp_path / "four.csv").write_text(text.replace(",2\n", ",4\n"))
    with pytest.raises(UserError, match=r"b.json: 2, .*four.csv: 4.*give --raters"):
        wanted("i.db", label_studio=file, ratings=tmp_path / "four.csv")


def test_gold_that_judges_nobody_gives_way_to_em_and_gold_without_classes_is_called_so(
    proposals: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One golden image with no class at all: all golden pairs are false."""
    empty = Multi.from_pairs([], [], 1, CLASSES)
    write_labels(tmp_path / "gold.csv", LabelTable(("0.png",), empty))
    where = tmp_path / "a.db"
    run(TasksOptions(proposals=proposals, out=str(where), raters=2, gold=tmp_path / "gold.csv"))
    rate_all(where, ["ann", "ben"], lambda i, c: c == CLASSES[i])
    page = tmp_path / "page.html"
    options = {"out": tmp_path / "labels.parquet", "wanted": 1}
    found = run(ConsensusOptions(str(where), report=page, **options))
    assert found.method == "em"
    assert "all true or all false" in capsys.readouterr().out
    assert (found.outcome.unlabeled, found.emptied_by_gold) == ([], 1)
    assert "known to hold none of the classes" in page.read_text()
    assert "None of the asked classes reached" not in page.read_text()
    with pytest.raises(UserError, match="--method em"):
        run(ConsensusOptions(str(where), method="golden", **options))
    with pytest.raises(UserError, match=r"--threshold must lie in \[0, 1\], got 1.5"):
        ConsensusOptions(str(where), threshold=1.5)


def test_a_hundred_percent_is_all_of_it_and_none_is_none() -> None:
    from reteach.formatting import whole_percent

    shown = [whole_percent(x) for x in (0.0, 1e-9, 0.004, 0.5, 0.996, 1 - 1e-9, 1.0)]
    assert shown == ["0%", "1%", "1%", "50%", "99%", "99%", "100%"]


def test_rate_as_json_prints_the_object_alone_and_the_links_on_stderr(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from reteach.cli import main
    from reteach.rating import serve

    class Stopped:
        def run(self, sockets: list[socket.socket]) -> None:
            sockets[0].close()

    monkeypatch.setattr(serve, "web_server", lambda site: Stopped())
    store = tmp_path / "store.db"
    plan = label_plan()
    new_store(store, plan).close()
    folder = photos(tmp_path / "images", list(plan.items))
    assert main(["rate", str(store), "--images", str(folder), "--port", "0", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out) == {"store": str(store)}
    assert "owner: http://" in said.err
