"""The pages of a review over HTTP: every route, what it answers, and what strangers and odd requests get."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import event
from starlette.testclient import TestClient

from reteach.errors import UserError
from reteach.review.values import Query
from reteach.review.web import serve_review
from reteach.review.web.reviewers import FILE, Reviewers
from reteach.review.web.serving import close, new_site, review_app
from reteach.review.web.site import ReviewSite
from reteach.tables import read_labels
from review_kit import SHAPES, review_site, shape_review, truth_of, wrong_of

COUNT = 40
NASTY = '<img src=x onerror="alert(1)">&\u202egpj'
PAGES = (
    "/",
    "/item/3",
    "/item/3?part=true",
    "/confusion",
    "/copies",
    "/map",
    "/progress",
    "/measures",
)


class Reviewer:
    """A browser with a reviewer's cookie, and the value that its requests carry."""

    def __init__(self, site: ReviewSite, name: str = "ann") -> None:
        self.http = TestClient(review_app(site), base_url="http://localhost")
        self.http.get(f"/r/{site.reviewers.token(name)}")
        found = re.search(r'name="form" content="(\w+)"', self.http.get("/").text)
        self.form = found[1] if found else ""
        self.number = 0

    def get(self, path: str) -> Any:
        return self.http.get(path)

    def do(self, path: str, headers: dict[str, str] | None = None, **fields: Any) -> Any:
        self.number += 1
        known = {"X-Form": self.form, "Accept": "application/json"}
        body = {"request": f"request-{id(self)}-{self.number}", **fields}
        return self.http.post(f"/do/{path}", json=body, headers=known | (headers or {}))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[ReviewSite]:
    found = review_site(shape_review(tmp_path, COUNT, copies=6))
    yield found
    close(found)


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReviewSite]:
    """For requests that change nothing."""
    found = review_site(shape_review(tmp_path_factory.mktemp("untouched"), COUNT, copies=6))
    yield found
    assert found.session.store.newest() == 0
    close(found)


@pytest.fixture(scope="module")
def guest(untouched: ReviewSite) -> Reviewer:
    return Reviewer(untouched)


@pytest.fixture
def ann(site: ReviewSite) -> Reviewer:
    return Reviewer(site)


def rows_of(text: str) -> list[int]:
    """The images on a page."""
    return [int(row) for row in re.findall(r'data-row="(\d+)"', text)]


def test_the_grid_shows_the_most_doubtful_first(site: ReviewSite, ann: Reviewer) -> None:
    text = ann.get("/?size=30").text
    assert rows_of(text) == site.session.rows(Query())[:30].tolist()
    assert "1 to 30 of 40" in text
    assert rows_of(ann.get("/?size=30&start=30").text) == site.session.rows(Query())[30:].tolist()
    assert (
        rows_of(ann.get("/?size=30&start=900000").text) == site.session.rows(Query())[30:].tolist()
    )
    one = rows_of(ann.get("/?label=square").text)
    assert one == site.session.rows(Query(label="square")).tolist()
    assert 'role="listbox"' in text
    assert 'aria-multiselectable="true"' in text


def test_filters_stand_in_the_address_and_combine(site: ReviewSite, ann: Reviewer) -> None:
    session = site.session
    for address, query in (
        ("given=circle&predicted=square", Query(given="circle", predicted="square")),
        ("q=001", Query(text="001")),
        ("status=all&order=random", Query(status="all", order="random")),
        ("order=margin%2Bbalanced", Query(order="margin+balanced")),
        ("like=5&status=all", Query(like=5, status="all")),
        ("label=circle&q=00", Query(label="circle", text="00")),
    ):
        assert rows_of(ann.get(f"/?{address}").text) == session.rows(query)[:60].tolist(), address
    page = ann.get("/?given=circle&predicted=square&label=circle").text
    assert "labelled circle" in page
    assert 'href="/?label=circle&amp;predicted=square"' in page  # a chip takes its filter away


def test_a_verdict_is_in_the_store_before_its_answer(site: ReviewSite, ann: Reviewer) -> None:
    row = int(site.session.rows(Query())[0])
    name = SHAPES[truth_of(COUNT)[row]]
    reply = ann.do("decide", rows=[row], kind="is", label=name, shown=[row, 39])
    assert reply.status_code == 200
    answer = reply.json()
    assert list(answer["cards"]) == [str(row)]
    assert "s-changed" in answer["cards"][str(row)] or "s-right" in answer["cards"][str(row)]
    assert "1 of" in re.sub(r"<[^>]+>", "", answer["head"])
    (item,) = site.session.items([row])
    assert item.current == (name,)
    assert item.decision is not None
    assert item.decision.reviewer == "ann"
    assert row not in rows_of(ann.get("/").text)
    assert rows_of(ann.get("/?status=reviewed").text) == [row]


def test_the_same_request_again_is_one_verdict(site: ReviewSite, ann: Reviewer) -> None:
    for _ in range(3):
        assert ann.do("decide", rows=[1], kind="right", request="abcdefgh-1").status_code == 200
    assert len(site.session.store.since(0)) == 1
    assert ann.do("undo", request="abcdefgh-2").json()["rows"] == 1
    assert ann.do("undo", request="abcdefgh-2").status_code == 200
    assert len(site.session.store.since(0)) == 2


def test_undo_and_redo_without_limit(site: ReviewSite, ann: Reviewer) -> None:
    for row in range(12):
        ann.do("decide", rows=[row], kind="right")
    said = [ann.do("undo").json()["said"] for _ in range(13)]
    assert said[:12] == ["Undone: 1 image"] * 12
    assert said[12] == "There is nothing to undo"
    assert site.session.progress().reviewed == 0
    for _ in range(12):
        ann.do("redo")
    assert ann.do("redo").json()["said"] == "There is nothing to do again"
    assert site.session.progress().reviewed == 12


def test_reviewers_see_each_other_and_undo_their_own(site: ReviewSite, ann: Reviewer) -> None:
    ben = Reviewer(site, "ben")
    page = ben.get("/?status=all").text
    stamps = dict(re.findall(r'data-row="(\d+)" data-stamp="(\w+)"', page))
    assert len(stamps) == COUNT
    seen = ",".join(f"{row}:{stamp}" for row, stamp in stamps.items())
    assert ben.get(f"/live?seen={seen}").json()["cards"] == {}
    ann.do("decide", rows=[7, 9], kind="unclear")
    changed = ben.get(f"/live?seen={seen}").json()["cards"]
    assert sorted(changed, key=int) == ["7", "9"]
    assert "unclear, said ann" in changed["7"]
    assert ben.do("undo").json()["rows"] == 0
    assert ann.do("undo").json()["rows"] == 2


def test_label_sets_offer_also_and_not(tmp_path: Path) -> None:
    site = review_site(shape_review(tmp_path, COUNT, sets=True))
    ann = Reviewer(site)
    page = ann.get("/").text
    assert "Also …" in page
    assert "Not …" in page
    (before,) = site.session.items([0])
    new = next(name for name in SHAPES if name not in before.current)
    ann.do("decide", rows=[0], kind="also", label=new)
    ann.do("decide", rows=[0], kind="not", label=before.current[0])
    assert site.session.items([0])[0].current == (new,)
    close(site)


def test_single_labels_do_not(site: ReviewSite, ann: Reviewer) -> None:
    assert "Also …" not in ann.get("/").text
    reply = ann.do("decide", rows=[0], kind="also", label="circle")
    assert reply.status_code == 422
    assert "label sets" in reply.json()["text"]


def test_one_image_with_what_looks_like_it(site: ReviewSite, ann: Reviewer) -> None:
    text = ann.get("/item/3").text
    assert 'src="/image/3"' in text
    assert "0003.png" in text
    near = site.session.rows(Query(status="all", like=3)).tolist()
    assert near[0] == 3
    assert all(f"/item/{row}" in text for row in near[1:9])
    part = ann.get("/item/3?part=true").text
    assert "<html" not in part
    assert 'data-one="3"' in part
    order = site.session.rows(Query()).tolist()
    middle = ann.get(f"/item/{order[5]}").text
    assert f'href="/item/{order[4]}"' in middle
    assert f'href="/item/{order[6]}"' in middle


def test_pictures(site: ReviewSite, ann: Reviewer) -> None:
    small, large = ann.get("/thumb/4"), ann.get("/image/4")
    assert small.headers["content-type"] == "image/jpeg"
    assert large.headers["content-type"] == "image/png"
    assert "private" in small.headers["cache-control"]
    (site.session.prepared.folder.parent / "photos" / "0004.png").unlink()
    assert ann.get("/thumb/4").status_code == 404
    assert ann.get("/").status_code == 200


def test_confusion_leads_to_its_images(site: ReviewSite, ann: Reviewer) -> None:
    text = ann.get("/confusion").text
    counts = site.session.confusion()
    off = counts - np.diag(np.diag(counts))
    i, j = np.unravel_index(off.argmax(), off.shape)
    link = f"/?given={SHAPES[i]}&amp;predicted={SHAPES[j]}"
    assert link in text
    assert f"{off[i, j]} · " in text
    assert len(rows_of(ann.get(f"{link.replace('&amp;', '&')}&status=all").text)) == off[i, j]


def test_copies_stand_side_by_side(site: ReviewSite, ann: Reviewer) -> None:
    groups = site.session.conflicts()
    assert len(groups) > 2
    text = ann.get("/copies").text
    assert rows_of(text) == [row for group in groups for row in group.tolist()]
    assert text.count('role="group" aria-label="Group') == len(groups)
    for group in groups:
        ann.do("decide", rows=group.tolist(), kind="is", label="ring")
    assert "No copies with different labels" in ann.get("/copies").text
    assert ann.get("/copies?page=99").status_code == 200


def test_the_map_and_a_lasso_around_some_of_it(site: ReviewSite, ann: Reviewer) -> None:
    data = ann.get("/map/points?status=all").content
    kind = [
        ("row", "<u4"),
        ("x", "<u2"),
        ("y", "<u2"),
        ("label", "<u2"),
        ("doubt", "u1"),
        ("status", "u1"),
    ]
    points = np.frombuffer(data, kind)
    assert sorted(points["row"]) == list(range(COUNT))
    assert (points["x"].min(), points["x"].max()) == (0, 65535)
    middle = float(np.median(points["x"])) / 65535
    # a shape with a bay: what lies in the bay does not count
    shape = [[-1, -1], [middle, -1], [middle, 2], [-1, 2]]
    reply = ann.do("lasso", name="left", shapes=[shape], view="status=all")
    inside = sorted(points["row"][points["x"] / 65535 < middle].tolist())
    assert abs(reply.json()["count"] - len(inside)) <= 1
    shown = sorted(rows_of(ann.get("/?saved=left&status=all").text))
    assert len(set(shown) ^ set(inside)) <= 1
    assert ann.do("lasso", name="x", shapes=[[[5, 5], [6, 5], [6, 6]]], view="").status_code == 422


def test_the_lasso_counts_crossings_as_a_slow_oracle_does() -> None:
    from reteach.review.web.actions import _within

    rng = np.random.default_rng(0)
    place, shape = rng.random((300, 2)), rng.random((9, 2))

    def inside(x: float, y: float) -> bool:
        odd = False
        for k in range(9):
            (ax, ay), (bx, by) = shape[k], shape[(k + 1) % 9]
            if (ay > y) != (by > y) and x < ax + (y - ay) * (bx - ax) / (by - ay):
                odd = not odd
        return odd

    assert _within(place, [shape]).tolist() == [inside(x, y) for x, y in place]


def test_tags_and_saved_views(site: ReviewSite, ann: Reviewer) -> None:
    ann.do("tag", rows=[1, 2, 3], name="blurry")
    ann.do("tag", rows=[2], name="blurry", on=False)
    assert sorted(rows_of(ann.get("/?tag=blurry&status=all").text)) == [1, 3]
    assert ann.do("save", name="mine", rows=[5, 6]).json()["name"] == "mine"
    assert sorted(rows_of(ann.get("/?saved=mine").text)) == [5, 6]
    ann.do("save", name="squares", rows=[], view="label=square&status=all")
    assert rows_of(ann.get("/?saved=squares&status=all").text) == (
        site.session.rows(Query(label="square", status="all")).tolist()
    )
    ann.do("save", name="alike", rows=[], view="like=3&status=all")
    assert len(rows_of(ann.get("/?saved=alike&status=all").text)) == COUNT
    text = ann.get("/").text
    assert all(name in text for name in ("blurry", "mine", "squares", "alike"))
    assert "2" in ann.get("/measures?saved=mine&status=all").text


def test_learning_again_is_asked_for_and_told(site: ReviewSite, ann: Reviewer) -> None:
    truth = truth_of(COUNT)
    for row in site.session.rows(Query())[:12].tolist():
        ann.do("decide", rows=[row], kind="is", label=SHAPES[truth[row]])
    assert 'data-since="12"' in ann.get("/live").json()["head"]
    assert "Learning" in ann.do("learn").json()["said"]
    site.session.wait(60)
    head = ann.get("/live").json()["head"]
    assert 'data-learned="1"' in head
    assert 'data-running="0"' in head
    assert "Wrong labels" in head


def test_the_next_hundred_are_those_of_the_order_on_the_page(
    site: ReviewSite, ann: Reviewer
) -> None:
    page = ann.get("/?order=random").text
    assert 'data-order="random"' in page
    for head in (
        ann.get("/live?order=random").json()["head"],
        ann.do("decide", rows=[1], kind="right", order="random").json()["head"],
        ann.do("undo", order="random").json()["head"],
    ):
        assert 'data-order="random"' in head
    assert 'data-order="self-confidence"' in ann.get("/live?order=best").json()["head"]
    site.session.progress("random")
    assert str(round(site.session.progress("random").next_100.value)) in page


def test_progress_names_every_class_and_the_worth_of_going_on(
    site: ReviewSite, ann: Reviewer
) -> None:
    text = ann.get("/progress").text
    assert all(f">{name}</a>" in text for name in SHAPES)
    assert "Wrong in the next 100" in text
    assert "ann, ben" in text
    assert json.loads(ann.get("/classes.json").text) == list(SHAPES)


def test_all_images_of_a_view_can_be_chosen(site: ReviewSite, ann: Reviewer) -> None:
    found = ann.get("/rows?label=circle").json()["rows"]
    assert found == site.session.rows(Query(label="circle")).tolist()
    assert ann.do("decide", rows=found, kind="right").json()["rows"] == len(found)
    assert ann.get("/rows?label=circle").json()["rows"] == []


@pytest.mark.parametrize(
    "fields",
    [
        {"rows": []},
        {"rows": [COUNT]},
        {"rows": [-1]},
        {"rows": ["1"]},
        {"rows": [True]},
        {"rows": [1.5]},
        {"rows": "1"},
        {"rows": [1 << 80]},
        {"kind": "good"},
        {"kind": None},
        {"kind": "is"},
        {"kind": "is", "label": "pentagon"},
        {"kind": "right", "label": "circle"},
        {"kind": "is", "label": 3},
        {"request": "short"},
        {"request": "with space"},
        {"request": None},
        {"shown": [None]},
        {"shown": 3},
    ],
)
def test_verdicts_that_cannot_be(guest: Reviewer, fields: dict[str, Any]) -> None:
    good: dict[str, Any] = {"rows": [1], "kind": "right", "request": "abcdefgh-1", "shown": [1]}
    reply = guest.do("decide", **(good | fields))
    assert reply.status_code == 422, reply.text
    assert set(reply.json()) == {"title", "text"}


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("tag", {"rows": [1], "name": ""}),
        ("tag", {"rows": [1], "name": "a\nb"}),
        ("tag", {"rows": [1], "name": "x" * 90}),
        ("tag", {"rows": [99], "name": "x"}),
        ("save", {"name": "x", "rows": [99]}),
        ("save", {"name": "x", "rows": [], "view": "label=pentagon"}),
        ("save", {"name": "x", "rows": []}),
        ("save", {"name": "\u202e", "rows": [1]}),
        ("lasso", {"name": "x", "shapes": [], "view": ""}),
        ("lasso", {"name": "x", "shapes": [[1, 2]], "view": ""}),
        ("lasso", {"name": "x", "shapes": [[["a", "b"]] * 3], "view": ""}),
        ("lasso", {"name": "x", "shapes": [[[0, None]] * 3], "view": ""}),
        ("lasso", {"name": "x", "shapes": [[[0, 1]] * 30_000], "view": ""}),
        ("lasso", {"name": "x", "shapes": {"a": 1}, "view": ""}),
    ],
)
def test_other_requests_that_cannot_be(guest: Reviewer, path: str, fields: dict[str, Any]) -> None:
    assert guest.do(path, **fields).status_code == 422


@pytest.mark.parametrize(
    "address",
    [
        "/?label=pentagon",
        "/?given=pentagon",
        "/?order=best",
        "/?order=random%2Bbest",
        "/?order=random%2Bdiverse%2Bdiverse",
        "/?status=done",
        "/?tag=none",
        "/?saved=none",
        f"/?like={COUNT}",
        "/?like=-1",
        "/?like=x",
        "/?start=-5",
        "/?start=1e3",
        "/?start=99999999999999999999",
        f"/?q={'x' * 400}",
        f"/item/{COUNT}",
        "/item/-1",
        "/item/x",
        "/item/99999999999999999999",
        f"/thumb/{COUNT}",
        f"/image/{COUNT}",
        "/image/..%2f0001.png",
        "/export/..%2freview.json",
        "/export/labels.csv",
        "/static/..%2fsite.py",
        "/static/site.py",
        "/nothing",
    ],
)
def test_addresses_that_lead_nowhere(guest: Reviewer, address: str) -> None:
    assert guest.get(address).status_code == 404


def test_live_takes_nothing_odd(guest: Reviewer) -> None:
    for seen in ("x", "99:a", "-1:a", "1e2:a", "²:a"):
        assert guest.get(f"/live?seen={seen}").status_code == 422
    assert guest.get("/live?seen=").json()["cards"] == {}


def test_strangers_get_nothing(site: ReviewSite) -> None:
    stranger = TestClient(review_app(site), base_url="http://localhost")
    paths = (
        *PAGES,
        "/thumb/1",
        "/image/1",
        "/map/points",
        "/classes.json",
        "/rows",
        "/live",
        "/export/x",
    )
    for path in paths:
        assert stranger.get(path).status_code == 403, path
    for path in ("decide", "undo", "redo", "tag", "save", "lasso", "learn", "export"):
        reply = stranger.post(
            f"/do/{path}", json={"rows": [1], "kind": "right", "request": "abcdefgh"}
        )
        assert reply.status_code == 403, path
    assert stranger.get(f"/r/{'A' * 43}").status_code == 403
    assert not stranger.cookies
    assert site.session.store.newest() == 0


def test_guessing_and_flooding_are_slowed_down(site: ReviewSite, ann: Reviewer) -> None:
    statuses = [ann.get(f"/r/{n:043}").status_code for n in range(12)]
    assert statuses == [403] * 10 + [429] * 2
    site.door.calls.burst, site.door.calls.per_second = 3, 0.001
    site.door.calls._left.clear()
    assert [ann.get("/live").status_code for _ in range(5)] == [200] * 3 + [429] * 2


def test_full_disk_while_deciding_is_507_and_the_same_request_is_taken_later(
    site: ReviewSite, ann: Reviewer, caplog: pytest.LogCaptureFixture
) -> None:
    engine = site.session.store.engine
    with engine.begin() as connection:  # every decision takes all that is left, and more
        connection.exec_driver_sql("CREATE TABLE filler (x BLOB)")
        connection.exec_driver_sql(
            "CREATE TRIGGER full BEFORE INSERT ON review_actions BEGIN "
            "INSERT INTO filler VALUES (zeroblob(10000000)); END"
        )

    def limited(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("INSERT INTO review_actions"):
            cursor.execute("PRAGMA max_page_count = 300")

    event.listen(engine, "before_cursor_execute", limited)
    asked = {"rows": [1], "kind": "right", "request": "the-same-request"}
    for _ in range(2):
        reply = ann.do("decide", **asked)
        assert reply.status_code == 507, reply.text
        assert "disk of the server is full" in reply.json()["title"]
    assert "Traceback" not in caplog.text
    assert "database or disk is full: free some space" in caplog.text
    assert site.session.store.newest() == 0
    assert ann.get("/").status_code == 200  # what is there can be looked at
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TRIGGER full")
    assert ann.do("decide", **asked).status_code == 200
    assert [action.request for action in site.session.store.since(0)] == ["the-same-request"]


def test_full_disk_while_exporting_is_507(
    site: ReviewSite, ann: Reviewer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    reply = ann.do("export")
    assert reply.status_code == 507, reply.text
    monkeypatch.undo()
    assert ann.do("export").status_code == 200


def test_requests_come_from_pages_of_their_reviewer(site: ReviewSite, ann: Reviewer) -> None:
    ben = Reviewer(site, "ben")
    cases = (
        ({"X-Form": ben.form}, 403),
        ({"X-Form": ""}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Host": "evil.example"}, 421),
        ({"Content-Type": "text/plain"}, 400),
    )
    for headers, status in cases:
        assert ann.do("decide", headers, rows=[1], kind="right").status_code == status, headers
    form = {"X-Form": ann.form, "Content-Type": "application/json"}
    for body in (b"", b"{", b"[1]", b"\xff", b"[" * 100_000, b'"text"'):
        assert ann.http.post("/do/decide", content=body, headers=form).status_code == 400, body[:9]
    large = b'{"rows": [' + b"1," * 2_000_000 + b"1]}"
    assert ann.http.post("/do/decide", content=large, headers=form).status_code == 413
    assert site.session.store.newest() == 0


def test_every_answer_has_strict_headers(guest: Reviewer) -> None:
    for path in (*PAGES, "/thumb/1", "/static/style.css", "/nothing", "/live"):
        headers = guest.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"], path
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"


def test_pages_obey_the_policy(guest: Reviewer) -> None:
    for path in PAGES:
        text = guest.get(path).text
        assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|<script(?! src=)", text), path
        assert not re.search(r'(src|action)="(?!/)', text), path
        assert not re.search(r'href="(?!/|#|")', text), path


def test_names_are_escaped_everywhere(tmp_path: Path) -> None:
    names = [f"{i:04d}.png" for i in range(COUNT - 1)] + ["b<i>.png"]
    classes = (NASTY, "square", "triangle", "ring")
    site = review_site(shape_review(tmp_path, COUNT, copies=4, names=names, classes=classes))
    ann = Reviewer(site)
    ann.do("tag", rows=[COUNT - 1], name="<b>tag")
    ann.do("save", rows=[COUNT - 1, 0], name="<b>view")
    ann.do("decide", rows=[COUNT - 1], kind="is", label=NASTY)
    paths = (
        *PAGES,
        f"/item/{COUNT - 1}",
        "/?status=all",
        "/?saved=%3Cb%3Eview&status=all",
        "/?q=%3Ci",
    )
    shown = "".join(ann.get(path).text for path in paths)
    shown += ann.get(f"/live?seen={COUNT - 1}:x").json()["cards"][str(COUNT - 1)]
    assert "b&lt;i&gt;.png" in shown
    assert "&lt;b&gt;tag" in shown
    assert "&lt;b&gt;view" in shown
    for raw in ("<img src=x", "<b>tag", "<b>view", "b<i>", "\u202e"):
        assert raw not in shown
    close(site)


def test_links_stay_from_start_to_start_and_are_for_the_owner_alone(tmp_path: Path) -> None:
    one = Reviewers(tmp_path, ("ann",))
    token = one.token("ann")
    two = Reviewers(tmp_path, ("ben",))
    assert two.names == ["ann", "ben"]
    assert two.by_token(token) == "ann"
    assert two.by_token(two.token("eve")) is None
    assert (tmp_path / FILE).stat().st_mode & 0o077 == 0
    assert token not in (tmp_path / FILE).read_text()
    (tmp_path / FILE).unlink()
    assert Reviewers(tmp_path).by_token(token) is None
    for name in ("", " ", "x" * 81, "a\nb"):
        with pytest.raises(UserError, match="printable"):
            Reviewers(tmp_path, (name,))
    (tmp_path / FILE).write_text("{}")
    with pytest.raises(UserError, match="damaged"):
        Reviewers(tmp_path)


def test_images_of_something_else_are_refused(tmp_path: Path) -> None:
    from reteach.review.session import open_session

    prepared = shape_review(tmp_path, COUNT)
    (tmp_path / "other").mkdir()
    with pytest.raises(UserError, match="are they elsewhere"):
        serve_review(open_session(prepared), images=str(tmp_path / "other"), port=0)


def test_without_images_there_are_names(tmp_path: Path) -> None:
    from reteach.review.session import open_session

    prepared = shape_review(tmp_path, COUNT)
    site = new_site(open_session(prepared), None, Reviewers(prepared, ("ann",)), "http://localhost")
    ann = Reviewer(site)
    text = ann.get("/").text
    assert '<span class="nameonly">0003.png</span>' in text
    assert "/thumb/" not in text
    assert ann.get("/thumb/3").status_code == 404
    assert ann.get("/item/3").status_code == 200
    close(site)


def test_the_way_out(site: ReviewSite, ann: Reviewer) -> None:
    wrong = np.flatnonzero(wrong_of(COUNT) != truth_of(COUNT)).tolist()
    for row in wrong:
        ann.do("decide", rows=[row], kind="is", label=SHAPES[truth_of(COUNT)[row]])
    answer = ann.do("export").json()
    assert f"{len(wrong)} changed" in answer["html"]
    assert "reteach train" in answer["html"]
    files = re.findall(r'href="(/export/[^"]+)"', answer["html"])
    assert len(files) == 2
    for file in files:
        assert len(ann.get(file).content) > 100
    table = read_labels(site.session.prepared.folder / "export" / files[0].rpartition("/")[2])
    rows, columns, _ = table.labels.pairs()
    found = dict(zip((table.items[r] for r in rows), columns.tolist(), strict=True))
    assert found == {f"{i:04d}.png": c for i, c in enumerate(truth_of(COUNT).tolist())}
