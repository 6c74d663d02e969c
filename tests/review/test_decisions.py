"""What decisions come to: labels now, undo, several reviewers; and that the store keeps them."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest

from reteach.errors import UserError
from reteach.labels import Multi
from reteach.review import session as sessions
from reteach.review.decisions import ReviewVerdict
from reteach.review.prepare import ReviewItems, write_prepared
from reteach.review.session import ReviewSession, open_session
from reteach.review.values import Query

CLASSES = ("cat", "dog", "owl")
RIGHT = ReviewVerdict("right")


def prepared(folder: Path, kind: str = "single", n: int = 60, seed: int = 0) -> Path:
    """A folder of items whose features tell their classes; every fifth given label is wrong."""
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % 3
    given = np.where(np.arange(n) % 5 == 0, (truth + 1) % 3, truth)
    features = 3 * np.eye(3)[truth] + rng.normal(size=(n, 3))
    sets = Multi(np.arange(n + 1), given, CLASSES)
    names = [f"set-{i % 7}/Photo {i:03d}.png" for i in range(n)]
    out = folder / f"{kind}.review"
    write_prepared(
        out,
        ReviewItems(kind, names, sets, features.astype(np.float16), images="photos"),  # type: ignore[arg-type]
        folds=3,
    )
    return out


@pytest.fixture
def session(tmp_path: Path, where: str):
    found = open_session(prepared(tmp_path), where, learn_after=0)
    yield found
    found.close()


@pytest.fixture
def local(tmp_path: Path):
    """With the store in the folder."""
    found = open_session(prepared(tmp_path), learn_after=0)
    yield found
    found.close()


@pytest.fixture
def sets(tmp_path: Path):
    found = open_session(prepared(tmp_path, "multi"), learn_after=0)
    yield found
    found.close()


def current(session: ReviewSession, row: int) -> tuple[str, ...]:
    return session.items([row])[0].current


def test_a_decision_is_there_when_the_store_is_opened_again(
    tmp_path: Path, session: ReviewSession, where: str
):
    session.decide("ann", [4, 2], ReviewVerdict("is", "owl"), "1")
    again = open_session(tmp_path / "single.review", where, learn_after=0)
    item = again.items([2])[0]
    assert item.current == ("owl",)
    assert item.given == ("owl",) or item.status == "changed"
    assert item.decision is not None
    assert (item.decision.reviewer, item.decision.verdict.label) == ("ann", "owl")
    assert len(again.rows(Query(status="reviewed"))) == 2
    again.close()


def test_what_one_session_decides_another_one_sees(
    tmp_path: Path, session: ReviewSession, where: str, monkeypatch
):
    monkeypatch.setattr(sessions, "SINCE_SECONDS", -1)
    other = open_session(tmp_path / "single.review", where, learn_after=0)
    for number in range(3):
        session.decide("ann", [number], ReviewVerdict("is", "dog"), f"{number}")
        other.decide("ben", [number + 10], ReviewVerdict("is", "cat"), f"{number}")
    for one in (session, other):
        assert one.progress().reviewed == 6
        assert current(one, 1) == ("dog",)
        assert current(one, 12) == ("cat",)
    assert [a.id for a in session.store.since(0)] == list(range(1, 7))
    other.close()


def test_a_request_that_is_sent_again_changes_nothing(session: ReviewSession):
    first = session.decide("ann", [1, 2], ReviewVerdict("is", "owl"), "same")
    again = session.decide("ann", [1, 2], ReviewVerdict("is", "owl"), "same")
    assert (again.action, again.rows, again.repeated) == (first.action, first.rows, True)
    undone = session.undo("ann", "back")
    assert undone is not None
    assert session.undo("ann", "back").action == undone.action  # type: ignore[union-attr]
    assert session.progress().reviewed == 0
    assert len(session.store.since(0)) == 2


def test_undo_without_limit_and_redo_until_something_new_is_said(session: ReviewSession):
    given = [current(session, row) for row in range(4)]
    for row in range(4):
        session.decide("ann", [row], ReviewVerdict("is", "owl"), f"{row}")
    for row in reversed(range(4)):
        receipt = session.undo("ann")
        assert receipt is not None
        assert receipt.rows == (row,)
    assert [current(session, row) for row in range(4)] == given
    assert session.undo("ann") is None
    assert session.redo("ann").rows == (0,)  # type: ignore[union-attr]
    session.decide("ann", [9], RIGHT, "new")
    assert session.redo("ann") is None
    assert session.progress().reviewed == 2


def test_undo_is_of_ones_own_decisions(session: ReviewSession):
    session.decide("ann", [1], ReviewVerdict("is", "owl"), "1")
    session.decide("ben", [1], ReviewVerdict("is", "dog"), "1")
    assert session.progress().disputed == 1
    assert len(session.rows(Query(status="disputed"))) == 1
    session.undo("ann")
    assert current(session, 1) == ("dog",)
    assert session.progress().disputed == 0
    session.undo("ben")
    assert session.items([1])[0].decision is None


def test_sets_add_up_over_reviewers(sets: ReviewSession):
    sets.decide("ann", [3], ReviewVerdict("also", "owl"), "1")
    sets.decide("ben", [3], ReviewVerdict("also", "dog"), "1")
    assert current(sets, 3) == ("cat", "dog", "owl")
    sets.decide("ben", [3], ReviewVerdict("not", "cat"), "2")
    assert current(sets, 3) == ("dog", "owl")
    sets.undo("ann")
    assert current(sets, 3) == ("dog",)
    sets.decide("ben", [3], ReviewVerdict("is", "owl"), "3")
    assert current(sets, 3) == ("owl",)


def test_replay_agrees_with_a_slow_one(sets: ReviewSession):
    """Random verdicts, undos and redos of two reviewers, against lists that are folded anew each time."""
    rng = np.random.default_rng(0)
    log: list[tuple[str, list[int], ReviewVerdict]] = []
    stands: list[int] = []
    done: dict[str, list[int]] = {"ann": [], "ben": []}
    undone: dict[str, list[int]] = {"ann": [], "ben": []}
    kinds = ("right", "is", "also", "not", "unclear", "unusable")
    for turn in range(200):
        who = str(rng.choice(["ann", "ben"]))
        act = rng.random()
        if act < 0.25:
            if (sets.undo(who) is None) != (not done[who]):
                pytest.fail("undo")
            if done[who]:
                undone[who].append(done[who].pop())
                stands.remove(undone[who][-1])
        elif act < 0.4:
            sets.redo(who)
            if undone[who]:
                done[who].append(undone[who].pop())
                stands.append(done[who][-1])
        else:
            kind = str(rng.choice(kinds))
            label = str(rng.choice(CLASSES)) if kind in ("is", "also", "not") else None
            rows = rng.choice(8, int(rng.integers(1, 4)), replace=False).tolist()
            verdict = ReviewVerdict(kind, label)  # type: ignore[arg-type]
            sets.decide(who, rows, verdict, f"{turn}")
            log.append((who, rows, verdict))
            done[who].append(len(log) - 1)
            undone[who].clear()
            stands.append(len(log) - 1)
    for item in sets.items(range(8)):
        now, status = set(item.given), "open"
        for index in stands:
            _, rows, verdict = log[index]
            if item.row not in rows:
                continue
            if verdict.kind == "is":
                now = {str(verdict.label)}
            elif verdict.kind == "also":
                now.add(str(verdict.label))
            elif verdict.kind == "not":
                now.discard(str(verdict.label))
            changed = "right" if now == set(item.given) else "changed"
            status = verdict.kind if verdict.kind in ("unclear", "unusable") else changed
        assert (set(item.current), item.status) == (now, status)


def test_views_combine(local: ReviewSession):
    rows = local.rows(Query(status="all"))
    assert sorted(rows.tolist()) == list(range(60))
    of_class = local.rows(Query(label="cat", status="all"))
    assert {item.current for item in local.items(of_class)} == {("cat",)}
    pair = local.rows(Query(given="dog", predicted="cat"))
    assert len(pair) == local.confusion()[1, 0] > 0
    assert len(local.rows(Query(text="PHOTO 00"))) == 10
    local.tag("ann", pair[:2], "odd", True)
    assert local.rows(Query(tag="odd")).tolist() == pair[:2].tolist()
    local.save_view("mine", Query(given="dog", status="all"))
    assert set(pair.tolist()) < set(local.rows(Query(saved="mine")).tolist())
    local.save_view("lasso", [5, 3])
    assert sorted(local.rows(Query(saved="lasso")).tolist()) == [3, 5]
    local.decide("ann", pair[:1], ReviewVerdict("is", "cat"), "1")
    assert pair[0] in local.rows(Query(label="cat", status="all"))
    assert pair[0] not in local.rows(Query(label="cat"))
    near = local.rows(Query(like=int(pair[0]), status="all"))
    assert near[0] == pair[0]
    features = np.asarray(local.prepared.features, np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    cosine = features @ features[pair[0]]
    assert (np.diff(cosine[near]) <= 1e-6).all()


def test_counts_and_measures_agree_with_the_items(local: ReviewSession):
    local.decide("ann", range(10), ReviewVerdict("is", "owl"), "1")
    items = local.items(range(60))
    for count in local.counts():
        own = [item for item in items if item.current == (count.name,)]
        left = [item for item in own if item.status == "open"]
        assert (count.items, count.open) == (len(own), len(left))
        assert count.wrong == pytest.approx(sum(item.doubt for item in left), rel=1e-4)
    measures = local.measures(range(60))
    assert measures["changed"] == pytest.approx(np.mean([i.status == "changed" for i in items]))
    assert measures["reviewed"] == pytest.approx(10 / 60)
    agrees = np.mean([item.current[0] == item.suggestions[0][0] for item in items])
    assert measures["current_agrees"] == pytest.approx(agrees)


@pytest.mark.parametrize(
    ("verdict", "says"),
    [
        (ReviewVerdict("is", "cet"), "class 'cet' is not in the class list; did you mean cat"),
        (ReviewVerdict("is"), "names a class"),
        (ReviewVerdict("right", "cat"), "names no class"),
        (ReviewVerdict("also", "cat"), "each item here has one label"),
        (ReviewVerdict("maybe"), "is none of right, is"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_said_is_refused_in_a_line(local: ReviewSession, verdict, says):
    with pytest.raises(UserError, match=says) as error:
        local.decide("ann", [1], verdict, "1")
    assert "\n" not in str(error.value)
    assert not local.store.since(0)


def test_items_that_are_not_there_are_refused(local: ReviewSession):
    for ask in (
        lambda: local.decide("ann", [60], RIGHT, "1"),
        lambda: local.items([-1]),
        lambda: local.decide("ann", [], RIGHT, "1"),
        lambda: local.rows(Query(label="cet")),
        lambda: local.rows(Query(order="worth")),
        lambda: local.rows(Query(saved="none")),
    ):
        with pytest.raises(UserError):
            ask()


def test_a_store_of_another_review_is_refused(tmp_path: Path, session: ReviewSession, where: str):
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(UserError, match="decisions of another review"):
        open_session(prepared(other, n=63), where)


def test_a_store_of_a_later_version_is_refused(tmp_path: Path):
    folder = prepared(tmp_path)
    open_session(folder).close()
    with sqlite3.connect(folder / "decisions.sqlite") as file:
        file.execute("UPDATE review SET value = '99' WHERE name = 'version'")
    with pytest.raises(UserError, match="version 99, this reteach knows versions up to 1"):
        open_session(folder)


def test_a_rating_store_or_another_file_is_no_review_store(tmp_path: Path):
    folder = prepared(tmp_path)
    with sqlite3.connect(tmp_path / "other.sqlite") as file:
        file.execute("CREATE TABLE answers (id INTEGER)")
    with pytest.raises(UserError, match="is no review store: it holds the table 'answers'"):
        open_session(folder, str(tmp_path / "other.sqlite"))
    (tmp_path / "text.sqlite").write_text("hello " * 1000)
    with pytest.raises(UserError, match="file is not a database"):
        open_session(folder, str(tmp_path / "text.sqlite"))
    with pytest.raises(UserError, match="not mysql"):
        open_session(folder, "mysql://host/name")


def test_a_prepared_folder_that_is_damaged_is_refused(tmp_path: Path):
    folder = prepared(tmp_path)
    (folder / "given-columns.npy").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"given-columns\.npy is damaged"):
        open_session(folder)
    with pytest.raises(UserError, match="is no prepared review"):
        open_session(tmp_path)
