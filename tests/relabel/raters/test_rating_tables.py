"""Ratings as CSV, there and back, and the consensus of raters who name classes."""

from __future__ import annotations

import csv
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from command import run
from rating_cases import random_ratings
from reteach.errors import UserError
from reteach.labels import Multi, Single
from reteach.options.relabel import ConsensusOptions
from reteach.relabel.raters.rating_tables import pairs_of, read_rating_table, write_ratings
from reteach.relabel.raters.ratings import Ratings
from reteach.tables import LabelTable, read_labels, write_labels


def answers_by_name(r: Ratings) -> list[tuple]:
    """What the ratings say, whatever the order of items, classes and raters."""
    return sorted(
        (
            r.items[r.pair_item[p]],
            r.classes[r.pair_class[p]],
            r.raters[w],
            int(a),
            "" if np.isnan(r.gold[p]) else round(float(r.gold[p]), 12),
            r.classes[r.original[r.pair_item[p]]],
        )
        for w, p, a in zip(r.rater, r.pair, r.answer, strict=True)
    )


@pytest.mark.parametrize("dialect", ["reteach", "crowd-kit"])
def test_there_and_back(tmp_path: Path, dialect: str) -> None:
    ratings = random_ratings()
    ratings = replace(
        ratings,
        items=["=cmd()#x", "'=quoted", '-3,"y"', *ratings.items[3:]],
        raters=["@rater", *ratings.raters[1:]],
    )
    write_ratings(tmp_path / "r.csv", ratings, dialect)  # type: ignore[arg-type]
    with open(tmp_path / "r.csv", newline="", encoding="utf-8") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert not [cell for cell in cells if cell[:1] in tuple("=+-@\t\r")[:4] and cell]
    found = pairs_of(read_rating_table(tmp_path / "r.csv"), ratings.classes)
    assert answers_by_name(found) == answers_by_name(ratings)
    assert found.classes == ratings.classes


def test_tasks_that_name_item_and_class(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("task,worker,label\na#1.jpg#dog,w,Yes\na#1.jpg#cat,w,no\n")
    found = pairs_of(read_rating_table(tmp_path / "r.csv"))
    assert found.items == ["a#1.jpg"]
    assert found.classes == ["cat", "dog"]
    assert [found.classes[c] for c in found.pair_class] == ["dog", "cat"]
    assert found.answer.tolist() == [2, 0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("task,rater\nx#a,r\n", "no column 'answer' or 'label'"),
        ("task,rater,answer\nx,r,yes\n", "does not say its item and class"),
        ("task,rater,answer\n", "no ratings"),
        ("task,rater,answer\nx#a,r\n", "line 2 has 2 of 3 columns"),
        ("task,rater,answer\nx#a,,yes\n", "line 2: the cell 'rater' is empty"),
        ("task,rater,answer\nx#a,r,\n", "line 2: the cell 'answer' is empty"),
        ("task,rater,answer,wanted\nx#a,r,yes,two\n", "one number of answers"),
        ("task,rater,answer,wanted\nx#a,r,yes,2\nx#b,r,yes,3\n", "in all rows, got 2, 3"),
        ("task,rater,answer,item,class\n,,,,\n", "line 2: the cell 'item' is empty"),
        ("task,rater,answer,gold\nx#a,r,yes,2\n", "between 0 and 1"),
        (
            "task,rater,answer,original\nx#a,r,yes,a\nx#b,r,no,b\n",
            "two original labels",
        ),
    ],
)
def test_faults_are_named(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "r.csv").write_text(text)
    with pytest.raises(UserError, match=words):
        pairs_of(read_rating_table(tmp_path / "r.csv"))
    with pytest.raises(UserError, match=words):
        run(ConsensusOptions(ratings=str(tmp_path / "r.csv"), out=tmp_path / "o.parquet"))


def test_consensus_of_a_csv(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ratings = random_ratings(images=40)
    write_ratings(tmp_path / "r.csv", ratings)
    write_labels(
        tmp_path / "labels.csv",
        LabelTable(tuple(ratings.items), Single(ratings.original, tuple(ratings.classes))),
    )
    for method, words in (("golden", "precision"), ("em", "log-likelihood"), ("majority", "0.5")):
        run(
            ConsensusOptions(
                ratings=str(tmp_path / "r.csv"),
                out=tmp_path / f"{method}.parquet",
                labels=tmp_path / "labels.csv",
                method=method,  # type: ignore[arg-type]
            )
        )
        assert words in capsys.readouterr().out
        found = read_labels(tmp_path / f"{method}.parquet")
        assert found.items == tuple(ratings.items)
        assert isinstance(found.labels, Multi)
        assert found.labels.names()[-1] == [ratings.classes[ratings.original[-1]]]
        empty = [i for i, n in zip(found.items, found.labels.names(), strict=True) if not n]
        assert list(read_labels(tmp_path / f"{method}.unlabeled.csv").items) == empty


def test_an_operating_point_may_be_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_ratings(tmp_path / "r.csv", random_ratings())
    base = ConsensusOptions(ratings=str(tmp_path / "r.csv"), out=tmp_path / "o.parquet")
    run(replace(base, recall=0.9))
    recall = float(capsys.readouterr().out.split("recall ")[1].split("%")[0])
    assert recall >= 90
    run(replace(base, precision=0.97))
    precision = float(capsys.readouterr().out.split("precision ")[1].split("%")[0])
    assert precision >= 97
    with pytest.raises(UserError, match="one of --threshold"):
        replace(base, precision=0.9, threshold=0.5)


def test_gold_that_no_pair_passes_or_nobody_answered_is_said_in_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ratings = random_ratings()
    write_ratings(tmp_path / "r.csv", ratings)
    base = ConsensusOptions(ratings=str(tmp_path / "r.csv"), out=tmp_path / "o.parquet")
    run(replace(base, threshold=1.0, report=tmp_path / "o.html"))
    said = capsys.readouterr().out
    assert "no golden pair passes probability ≥ 1, so recall is 0% and precision unknown" in said
    assert "nan" not in said
    assert "no golden pair passes" in (tmp_path / "o.html").read_text()
    assert ">nan" not in (tmp_path / "o.html").read_text().lower()

    keep = ~ratings.golden[ratings.pair]
    write_ratings(tmp_path / "r.csv", ratings.take(np.ones(len(ratings.gold), np.bool_), keep))
    run(replace(base, method="em"))
    n = int(ratings.golden.sum())
    assert f"none of the {n} golden pairs has been answered yet" in capsys.readouterr().out
    with pytest.raises(
        UserError, match=f"none of the {n} golden pairs has been answered yet, and --precision"
    ):
        run(replace(base, precision=0.9))
    write_ratings(
        tmp_path / "r.csv", replace(ratings, gold=np.full(n := len(ratings.gold), np.nan))
    )
    with pytest.raises(UserError, match="need golden pairs: name a --threshold"):
        run(replace(base, precision=0.9))


def test_raters_who_name_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 50)
    names = ("cat", "dog", "fox")
    with open(tmp_path / "votes.csv", "w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["task", "worker", "label"])
        for i, t in enumerate(truth):
            for w in range(5):
                right = rng.random() < (0.95 if w < 3 else 0.4)
                out.writerow([f"{i:02d}", f"w{w}", names[t if right else (t + 1) % 3]])
        out.writerow(["tie", "w0", "cat"])
        out.writerow(["tie", "w1", "dog"])
    for method in ("majority", "em"):
        run(
            ConsensusOptions(
                ratings=str(tmp_path / "votes.csv"),
                out=tmp_path / "o.parquet",
                scores=tmp_path / "s.parquet",
                method=method,  # type: ignore[arg-type]
            )
        )
        found = read_labels(tmp_path / "o.parquet")
        assert isinstance(found.labels, Single)
        right = (found.labels.index[:50] == truth).mean()
        assert right > (0.8 if method == "majority" else 0.95)
        if method == "majority":
            assert found.labels.index[50] == -1
            assert read_labels(tmp_path / "o.unlabeled.csv").items == ("tie",)
    assert "who name one of 3 classes" in capsys.readouterr().out
    with pytest.raises(UserError, match="--precision needs answers that are yes"):
        run(
            ConsensusOptions(
                ratings=str(tmp_path / "votes.csv"), out=tmp_path / "o.parquet", precision=0.9
            )
        )


def test_ratings_check_themselves() -> None:
    ratings = random_ratings()
    for name, bad in (
        ("rater", 99),
        ("pair", -1),
        ("answer", 3),
        ("original", -2),
        ("pair_class", 6),
    ):
        array = getattr(ratings, name).copy()
        array[0] = bad
        with pytest.raises(ValueError, match=name):
            replace(ratings, **{name: array})
    assert {f.name for f in fields(Ratings)} >= {"items", "classes", "gold", "original"}
