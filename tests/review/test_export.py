"""What comes out of a review, and what goes into one."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reteach.cli import main
from reteach.data.sources.feature_table import INDEX, FeatureShard, write_shard
from reteach.errors import UserError
from reteach.labels import Multi, Single
from reteach.review.decisions import ReviewVerdict
from reteach.review.prepare import ReviewItems, write_prepared
from reteach.review.prepared import Prepared
from reteach.review.session import open_session
from reteach.review.sources import rated_items
from reteach.review.values import Query
from reteach.scores.table import ScoreWriter
from reteach.sealed import write_json
from reteach.tables import read_labels

from .test_decisions import CLASSES, prepared


@pytest.mark.parametrize("name", ["out", "out.csv", "out.parquet"])
def test_the_label_table_says_who_when_and_why_and_keeps_the_original(tmp_path: Path, name: str):
    session = open_session(prepared(tmp_path), learn_after=0)
    given = [item.given[0] for item in session.items(range(60))]
    session.decide("ann, the owner", [3], ReviewVerdict("is", "owl"), "1")
    session.decide("ben", [3, 4], ReviewVerdict("is", "dog"), "1")
    session.decide("ben", [5], ReviewVerdict("unclear"), "2")
    session.decide("ben", [6], ReviewVerdict("unusable"), "3")
    session.decide("ben", [7], ReviewVerdict("right"), "4")
    found = session.export(tmp_path / name)
    table = read_labels(found.labels)
    assert isinstance(table.labels, Single)
    assert (table.labels.classes, len(table.items)) == (CLASSES, 59)
    by_item = dict(zip(table.items, table.labels.names(), strict=True))
    for row, item in enumerate(session.items(range(60))):
        if row != 6:
            expected = [] if row == 5 else ["dog"] if row in (3, 4) else [given[row]]
            assert by_item[item.name] == expected
    rows = _rows(found.labels)
    third = next(r for r in rows if r["item"] == session.items([3])[0].name)
    assert third["original"] in (given[3], [given[3]])
    assert "ann, the owner 20" in third["source"]
    assert third["source"].endswith("Z is dog")
    assert sum(r["source"] == "given" for r in rows) == 55
    with found.changes.open() as file:
        changes = list(csv.DictReader(file))
    assert [c["verdict"] for c in changes] == ["is", "is", "unclear", "unusable", "right"]
    assert changes[0]["others"] == "ann, the owner"
    assert (found.unclear, found.left_out) == (1, 1)
    assert found.train == f"reteach train softmax --images photos --labels {found.labels}"
    session.close()


def _rows(path: Path) -> list[dict]:
    if path.suffix == ".csv":
        with path.open() as file:
            return list(csv.DictReader(file))
    import pyarrow.parquet as pq

    return pq.read_table(path).to_pylist()


def test_label_sets_keep_what_nobody_knows(tmp_path: Path):
    rng = np.random.default_rng(0)
    n = 40
    sets = Multi.from_dense(np.tile([1, 0, 0], (n, 1)), CLASSES)
    sets = sets.with_unknown(Multi.from_dense(np.tile([0, 1, 0], (n, 1)), CLASSES))
    out = tmp_path / "sets.review"
    names = [f"{i:02d}" for i in range(n)]
    features = rng.normal(size=(n, 5)).astype(np.float16)
    write_prepared(out, ReviewItems("multi", names, sets, features), folds=2)
    session = open_session(out, learn_after=0)
    session.decide("a", [1], ReviewVerdict("also", "dog"), "1")
    session.decide("a", [2], ReviewVerdict("right"), "2")
    session.decide("a", [3], ReviewVerdict("unclear"), "3")
    session.decide("a", [4], ReviewVerdict("not", "cat"), "4")
    for name in ("x.parquet", "x.csv"):
        labels = read_labels(session.export(tmp_path / name).labels).labels
        assert isinstance(labels, Multi)
        assert labels.unknown is not None
        assert labels.names()[:5] == [["cat"], ["cat", "dog"], ["cat"], [], []]
        assert labels.unknown.names()[:5] == [["dog"], [], [], list(CLASSES), ["dog"]]
        assert not labels.known()[3]
    session.close()


def photos(folder: Path, n: int = 24) -> list[str]:
    """Pictures in colours that tell their classes, a third in each."""
    (folder / "photos").mkdir(parents=True)
    rng = np.random.default_rng(0)
    names = []
    for i in range(n):
        pixels = rng.integers(0, 80, (16, 16, 3))
        pixels[..., i % 3] += 150
        names.append(f"{i:02d}.png")
        Image.fromarray(pixels.astype(np.uint8)).save(folder / "photos" / names[-1])
    return names


def table(path: Path, names: list[str], n: int | None = None) -> Path:
    """A label table of them."""
    rows = [f"{name},{CLASSES[i % 3]}" for i, name in enumerate(names[:n])]
    path.write_text("\n".join(["item,labels", *rows, ""]))
    return path


def features(folder: Path, names: list[str]) -> Path:
    """A feature table of them."""
    folder.mkdir()
    rng = np.random.default_rng(1)
    x = np.eye(3, 6)[np.arange(len(names)) % 3] * 4 + rng.normal(size=(len(names), 6))
    shard = FeatureShard({"backbone": "toy"}, "all", names, x[:, None].astype(np.float16))
    digest = write_shard(folder / "part-000000.parquet", shard)
    index = {"format": 1, "settings": {"backbone": "toy"}, "complete": True}
    write_json(folder / INDEX, index | {"shards": {"part-000000": digest}})
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = photos(tmp_path)
    table(tmp_path / "labels.csv", names)
    features(tmp_path / "toy.features", names)
    return names


BASE = ["review", "--images", "photos", "--labels", "labels.csv", "--features", "toy.features"]
BASE += ["--folds", "3", "--workers", "0"]


def test_prepared_once_and_exported_later(here, capsys):
    assert main([*BASE, "--prepare"]) == 0
    assert "24 items, 0 reviewed" in capsys.readouterr().out
    session = open_session(Path("labels.review"), learn_after=0)
    row = int(session.rows(Query())[0])
    session.decide("ann", [row], ReviewVerdict("is", "owl"), "1")
    session.close()
    assert main([*BASE, "--export", "done", "--json"]) == 0  # the same words find the same review
    said = json.loads(capsys.readouterr().out)
    assert said["reviewed"] == 1
    assert read_labels("done/labels.parquet").labels.names()[row] == ["owl"]
    assert main(["review", "labels.review", "--export", "done.csv"]) == 0
    assert "train on them: reteach train softmax --images photos" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("labels of other items", "1 of 25 items are not among the images, first: 'other.png'"),
        (
            "features of other images",
            "is of other images: it has no row for 4 of 24, first '20.png'",
        ),
        ("no feature table", "--features photos is no feature table"),
        ("soft labels", "these are weights"),
        ("another review", "labels.review is the review of other images or labels"),
        ("nothing", "what is to be reviewed?"),
        ("a class that is unknown", "not in the class list, first: 'owl'"),
        ("no folder", "nowhere does not exist"),
        ("a folder of something else", "is no prepared review, no run"),
    ],
)
def test_bad_input_is_refused_in_one_line(here, capsys, change: str, says: str):
    words, names = list(BASE), here
    if change == "labels of other items":
        table(Path("labels.csv"), [*names, "other.png"])
    elif change == "features of other images":
        words[6] = str(features(Path("few.features"), names[:20]))
    elif change == "no feature table":
        words[6] = "photos"
    elif change == "soft labels":
        rows = [f"{name},cat|dog,0.5|0.5" for name in names]
        Path("labels.csv").write_text("\n".join(["item,labels,weight", *rows, ""]))
    elif change == "another review":
        assert main([*BASE, "--prepare"]) == 0
        table(Path("labels.csv"), names[::-1])
    elif change == "nothing":
        words = ["review"]
    elif change == "a class that is unknown":
        Path("classes.txt").write_text("cat\ndog\n")
        words += ["--classes", "classes.txt"]
    elif change == "no folder":
        words = ["review", "nowhere"]
    elif change == "a folder of something else":
        words = ["review", "photos"]
    capsys.readouterr()
    assert main([*words, "--prepare"]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("reteach: ")
    assert says in error


def test_a_prepared_review_takes_no_other_inputs(here, capsys):
    assert main([*BASE, "--prepare"]) == 0
    assert main(["review", "labels.review", "--features", "toy.features"]) == 2
    assert "--features has no effect: labels.review is prepared already" in capsys.readouterr().err


def test_from_a_folder_of_clean_its_scores_are_the_first_opinion(here):
    folder = Path("clean")
    folder.mkdir()
    (folder / "clean.json").write_text("{}")
    words = "method: softmax\nsettings: {}\nmodel: {}\ntraining: {}\noutput: {}\n"
    (folder / "config.yaml").write_text(words + "data: {images: photos, labels: labels.csv}\n")
    scores = np.full((24, 3), 0.1)
    scores[np.arange(24), np.arange(24) % 3] = 0.8
    scores[5] = [0.98, 0.01, 0.01]  # given owl
    with ScoreWriter(folder / "scores.parquet", CLASSES) as out:
        at, column = np.divmod(np.arange(72), 3)
        out.write(here, at, column, scores.ravel())
    words = ["review", "clean", "--features", "toy.features", "--folds", "3", "--workers", "0"]
    assert main([*words, "--prepare"]) == 0
    session = open_session(folder / "review", learn_after=0)
    assert session.rows(Query())[0] == 5
    item = session.items([5])[0]
    assert item.likely == pytest.approx((0.01,))
    assert item.suggestions[0][0] == "cat"
    assert "disagreement" in session.orders()
    assert session.prepared.record.source == "clean"
    session.close()


def test_from_raters_their_vote_is_given_and_their_dispute_is_an_order(here):
    from reteach.review.sources import ReviewInputs

    path = _ratings_csv(here)
    found = rated_items(str(path), ReviewInputs("photos", features=Path("toy.features"), workers=0))
    assert found.kind == "multi"
    assert found.dispute is not None
    assert found.items[int(np.argmax(found.dispute))] == here[7]
    assert found.given.names()[0] == ["cat"]
    assert found.given.names()[7] == []  # half of them is no majority
    write_prepared(Path("r.review"), found, folds=3)
    session = open_session(Path("r.review"), learn_after=0)
    assert session.rows(Query(order="raters"))[0] == 7
    session.close()


def _ratings_csv(names: list[str]) -> Path:
    from reteach.relabel.raters.rating_tables import write_ratings
    from reteach.relabel.raters.ratings import NO, YES, Ratings

    n = len(names)
    answer = np.full((n, 4), YES)
    answer[7, :2] = NO
    ratings = Ratings(
        names,
        list(CLASSES),
        np.arange(n),
        np.arange(n) % 3,
        [f"r{k}" for k in range(4)],
        np.tile(np.arange(4), n),
        np.repeat(np.arange(n), 4),
        answer.ravel().astype(np.int8),
        np.full(n, np.nan),
        np.full(n, -1),
    )
    path = Path("ratings.csv")
    write_ratings(path, ratings)
    return path


def test_a_folder_of_a_later_version_is_refused(here):
    assert main([*BASE, "--prepare"]) == 0
    file = Path("labels.review/review.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format": 9}))
    with pytest.raises(UserError, match="later version of reteach"):
        Prepared(Path("labels.review"))
