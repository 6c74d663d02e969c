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

from rating_kit import Client, Clock, label_plan, new_store, own_port, photos, start_process
from reteach.errors import UserError
from reteach.labels import Multi, Single
from reteach.options.rate import ExportOptions, RateOptions, TasksOptions
from reteach.options.relabel import ConsensusOptions
from reteach.rating.assignment import Flow
from reteach.rating.export import ratings_of, read_ratings
from reteach.rating.overview import progress
from reteach.rating.raters import add_raters
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
    TasksOptions(
        proposals=proposals,
        out=where,
        raters=2,
        limit=2,
        gold=tmp_path / "gold.parquet",
        gold_rate=0.5,
        names=tmp_path / "names.tsv",
        hierarchy=tmp_path / "tree.txt",
    ).run()
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
    ConsensusOptions(where, out=tmp_path / "real.parquet", method="majority").run()
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
    flow, seen = Flow(store, clock=Clock()), set()
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
    ConsensusOptions(where, out=out, method="majority", **more).run()
    table = read_labels(out)
    return dict(zip(table.items, table.labels.names(), strict=True))


def test_while_rating_goes_on_a_partly_rated_image_keeps_its_label(
    proposals: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two tasks per image, two raters each: an image is decided when all its classes are."""
    where = str(tmp_path / "r.db")
    TasksOptions(proposals=proposals, out=where, raters=2, limit=2).run()
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
    TasksOptions(proposals=proposals, out=where, raters=1).run()
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


def test_work_is_done_when_golden_tasks_are_too(proposals: Path, tmp_path: Path) -> None:
    where = str(tmp_path / "r.db")
    gold = LabelTable(("0.png", "1.png"), Single(np.array([0, 1]), CLASSES))
    write_labels(tmp_path / "gold.csv", gold)
    TasksOptions(
        proposals=proposals, out=where, raters=1, gold=tmp_path / "gold.csv", gold_rate=0.01
    ).run()
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
    TasksOptions(label_studio=tmp_path / "in.json", out=str(where), raters=2).run()
    assert "8 answers of 1 raters taken over" in capsys.readouterr().out
    rate_all(where, ["ann"], lambda i, c: c == "owl")
    ExportOptions(str(where), tmp_path / "out.json").run()
    assert "<Choices" in (tmp_path / "out.xml").read_text()
    back = read_ratings(tmp_path / "out.json")
    assert sorted(back.raters) == ["3", "ann"]
    assert len(back.answer) == 2 * 4 + 4 * 4
    ExportOptions(str(where), tmp_path / "out.csv", columns="crowd-kit").run()
    assert (tmp_path / "out.csv").read_text().startswith("task,worker,label")


def test_earlier_answers_from_csv(proposals: Path, tmp_path: Path) -> None:
    TasksOptions(proposals=proposals, out=str(tmp_path / "a.db"), raters=1).run()
    rate_all(tmp_path / "a.db", ["ann"], lambda i, c: c == CLASSES[i])
    ExportOptions(str(tmp_path / "a.db"), tmp_path / "a.csv").run()
    TasksOptions(
        proposals=proposals, out=str(tmp_path / "b.db"), raters=2, ratings=tmp_path / "a.csv"
    ).run()
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
    TasksOptions(
        predictions=(tmp_path / "resnet.csv",),
        labels=(tmp_path / "real.parquet",),
        out=str(tmp_path / "m.db"),
        raters=1,
    ).run()
    assert "2 tasks with 2 questions" in capsys.readouterr().out
    rate_all(tmp_path / "m.db", ["ann"], lambda i, c: True)
    ExportOptions(str(tmp_path / "m.db"), tmp_path / "verdicts.csv").run()
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
        ({"proposals": tmp_path / "none.parquet", "out": out}, "do not exist"),
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
            TasksOptions(**options).run()
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
            ({"host": "0.0.0.0"}, "name the address that raters use"),
            ({"public": "rate.example.org"}, "should be like https://rate.example.org"),
            ({"lease": 0.0}, "--lease must be positive"),
            ({"port": taken.getsockname()[1]}, "cannot listen on 127.0.0.1"),
            ({"raters": ("a", "a")}, "already"),
        ]
        for options, said in cases:
            with pytest.raises(UserError, match=said) as error:
                RateOptions(**{"ratings": where, "images": folder, "port": 0} | options).run()
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
