"""The pages over HTTP, as a browser without scripts sees them, and what strangers get."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

from rating_kit import Client, Page, label_plan, links, new_store, photos, running
from reteach.rating.app_state import Site
from reteach.rating.build import TaskPlan
from reteach.rating.class_descriptions import ClassText
from reteach.rating.export import ratings_of

NASTY = '<img src=x onerror="alert(1)">&\u202egpj'


@contextmanager
def site_over(tmp_path: Path, plan: TaskPlan | None = None, **options: Any) -> Iterator[Site]:
    plan = label_plan() if plan is None else plan
    store = new_store(tmp_path / "r.db", plan, **options)
    with running(store, photos(tmp_path / "photos", list(plan.items))) as site:
        yield site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with site_over(tmp_path) as site:
        yield site


def rater_of(site: Site, name: str = "ann") -> Client:
    return Client(links(site, name)[name])


def owner_of(site: Site) -> Client:
    return Client(f"{site.public}/o/{site.owner_token}")


def test_from_the_link_to_the_thanks(site: Site) -> None:
    client = Client()
    page = client.get(links(site, "ann")["ann"])
    assert "95% sure" in page.text  # the first visit begins with the instructions
    page = client.get("/rate")
    for done in range(4):
        assert f"<b>{done}</b> done" in page.text
        assert f"{4 - done} left" in page.text
        assert len(page.radios) == 3
        assert client.get(page.images[0]).text  # the image
        assert client.headers["content-type"] == "image/png"
        page = client.answer(page, lambda name: 2)
        assert client.status == 200
    assert "All done. Thank you!" in page.text
    assert ratings_of(site.store).answer.tolist() == [2] * 12
    # coming back by the link goes on without the instructions
    assert "All done" in client.get(f"{site.public}/").text


def test_the_next_image_is_on_the_page(site: Site) -> None:
    client = rater_of(site)
    page = client.get("/rate")
    upcoming = page.images[-1]
    assert upcoming != page.images[0]
    page = client.answer(page, lambda name: 0)
    assert page.images[0] == upcoming


def test_an_answer_can_be_changed_afterwards(site: Site) -> None:
    client = rater_of(site)
    first = client.get("/rate")
    second = client.answer(first, lambda name: 0)
    (back,) = {link for link in second.links if re.fullmatch(r"/rate/\d+", link)}
    again = client.get(back)
    assert again.task == first.task
    assert all(dict(options)["0"] for options in again.radios.values())
    assert "You can change your answers" in again.text
    page = client.answer(again, lambda name: 1)
    assert page.task == second.task
    assert ratings_of(site.store).answer.tolist() == [1, 1, 1]


def test_the_same_form_sent_again_is_one_answer(site: Site) -> None:
    client = rater_of(site)
    page = client.get("/rate")
    assert client.answer(page, lambda name: 0).task != page.task
    assert client.answer(page, lambda name: 0).task != page.task
    assert client.status == 200
    # with other answers, it may be a mistake: the stored ones are shown, and nothing is lost
    shown = client.answer(page, lambda name: 2)
    assert client.status == 409
    assert shown.task == page.task
    assert "You have answered this already," in shown.text
    assert ratings_of(site.store).answer.tolist() == [0, 0, 0]
    client.answer(shown, lambda name: 2)
    assert client.status == 200
    assert ratings_of(site.store).answer.tolist() == [2, 2, 2]


def test_forms_that_are_not_right(site: Site) -> None:
    client = rater_of(site)
    page = client.get("/rate")
    good = page.fields | dict.fromkeys(page.radios, "1")
    one = next(iter(page.radios))
    for fields, status in (
        (page.fields, 422),
        ({k: v for k, v in good.items() if k != one}, 422),
        (good | {one: "3"}, 422),
        (good | {one: "yes"}, 422),
        (good | {"q99": "1"}, 422),
        (good | {"version": "7"}, 422),
        (good | {"version": "x"}, 422),
        (good | {"form": "0" * 64}, 403),
        ({k: v for k, v in good.items() if k != "form"}, 403),
    ):
        client.post(f"/rate/{page.task}", fields)
        assert client.status == status, fields
    for path in ("/rate/99", "/rate/99999999999999999999", "/rate/-1", "/rate/x"):
        client.post(path, good)
        assert client.status in (403, 404), path
    assert len(ratings_of(site.store).answer) == 0


def test_a_task_is_for_the_rater_who_holds_it(tmp_path: Path) -> None:
    with site_over(tmp_path, wanted=1) as site:
        ann, ben = rater_of(site), rater_of(site, "ben")
        page, other = ann.get("/rate"), ben.get("/rate")
        assert page.task != other.task
        assert ben.get(f"/rate/{page.task}").task is None
        assert ben.status == 403
        ben.post(f"/rate/{page.task}", other.fields | dict.fromkeys(page.radios, "1"))
        assert ben.status == 403


def test_a_page_of_another_rater_saves_nothing(site: Site) -> None:
    """Two links opened in one browser: the older tab must not answer for the other rater."""
    client = rater_of(site)
    page = client.get("/rate")
    for name, value in rater_of(site, "ben").cookies.items():
        client.cookies[name] = value
    text = client.answer(page, lambda name: 1).text
    assert client.status == 403
    assert "opened with another link" in text
    assert len(ratings_of(site.store).answer) == 0


def test_strangers_get_nothing(site: Site) -> None:
    client = Client(f"{site.public}/rate")
    for path in ("/rate", "/rate/0", "/instructions", "/paused", "/image/0", "/owner"):
        assert "personal link" in client.get(path).text or "owner" in client.get(path).text
        assert client.status == 403, path
    for path in ("/owner/tasks", "/owner/export/ratings.csv"):
        client.get(path)
        assert client.status == 403, path
    for path in ("/rate/0", "/pause", "/owner/raters", "/owner/raters/1", "/owner/items/0"):
        client.post(path, {"form": "x", "name": "x", "action": "exclude"})
        assert client.status == 403, path
    client.get("/r/" + "A" * 43)
    assert client.status == 403
    client.get("/o/" + "A" * 43)
    assert client.status == 403
    assert client.cookies == {}


def test_raters_are_not_owners(site: Site) -> None:
    client = rater_of(site)
    for path in ("/owner", "/owner/tasks", "/owner/export/ratings.csv"):
        client.get(path)
        assert client.status == 403, path
    owner = owner_of(site)
    owner.get("/rate")
    assert owner.status == 403


def test_guessing_is_slowed_down(site: Site) -> None:
    client = Client(f"{site.public}/rate")
    statuses = []
    for n in range(15):
        client.get(f"/r/{n:043}")
        statuses.append(client.status)
    assert statuses[:10] == [403] * 10
    assert statuses[10:] == [429] * 5
    assert rater_of(site).get("/rate").task is not None  # those who have a link do not notice


def test_too_many_calls_are_slowed_down(site: Site) -> None:
    client, other = rater_of(site), rater_of(site, "ben")
    site.door.calls.burst, site.door.calls.per_second = 5, 0.001
    site.door.calls._left.clear()
    statuses = [(client.get("/instructions"), client.status)[1] for _ in range(7)]
    assert statuses == [200] * 5 + [429] * 2
    other.get("/instructions")
    assert other.status == 200


def test_every_answer_has_strict_headers(site: Site) -> None:
    client = rater_of(site)
    for path in ("/rate", "/image/0", "/none", "/static/style.css", "/owner"):
        client.get(path)
        policy = client.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert client.headers["x-content-type-options"] == "nosniff"
        assert client.headers["referrer-policy"] == "same-origin"
        assert client.headers["x-frame-options"] == "DENY"
        assert "server" not in client.headers
    client.get("/rate")
    assert client.headers["cache-control"] == "no-store"


def test_pages_obey_the_policy(site: Site) -> None:
    """No scripts or styles within the pages, and nothing from elsewhere."""
    pages = [owner_of(site).get("/owner"), owner_of(site).get("/owner/tasks")]
    client = rater_of(site)
    pages += [client.get(path) for path in ("/rate", "/instructions", "/paused", "/none")]
    for page in pages:
        assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|<script(?! src=)", page.text)
        assert not re.search(r'(src|href|action)="(?!/|#)', page.text)


def test_the_cookie_is_kept_from_scripts_and_other_sites(site: Site) -> None:
    parts = urlsplit(links(site, "ann")["ann"])
    connection = http.client.HTTPConnection(parts.netloc)
    connection.request("GET", parts.path)
    reply = connection.getresponse()
    cookie = str(reply.headers["set-cookie"])
    assert reply.status == 303
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Secure" not in cookie  # plain http on this machine
    connection.close()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "[::1"}, 421),
        ({"Host": ""}, 421),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Sec_Fetch_Site": "same-site"}, 403),
    ],
)
def test_other_sites_cannot_send_forms(site: Site, headers: dict[str, str], status: int) -> None:
    client = rater_of(site)
    page = client.get("/rate")
    client.post(f"/rate/{page.task}", page.fields | dict.fromkeys(page.radios, "1"), **headers)
    assert client.status == status
    assert len(ratings_of(site.store).answer) == 0


def test_large_forms_are_not_read(site: Site) -> None:
    client = rater_of(site)
    page = client.get("/rate")
    client.post(f"/rate/{page.task}", page.fields | {"q1": "1" * 100_000})
    assert client.status == 413
    connection = http.client.HTTPConnection(urlsplit(site.public).netloc, timeout=10)
    jar = "; ".join(f"{k}={v}" for k, v in client.cookies.items())
    connection.request(
        "POST", f"/rate/{page.task}", iter([b"a=" + b"1" * 60_000] * 4), {"Cookie": jar},
        encode_chunked=True,
    )  # fmt: skip
    assert connection.getresponse().status == 413
    client.post(f"/rate/{page.task}", {f"x{i}": "1" for i in range(100)})
    assert client.status == 400


def test_only_images_of_the_tasks_are_served(tmp_path: Path) -> None:
    plan = label_plan(5, item=np.array([0, 1, 1, 2, 2]), examples=[(0, 3)])
    with site_over(tmp_path, plan) as site:
        client = rater_of(site)
        statuses = {}
        for item in range(6):
            client.get(f"/image/{item}")
            statuses[item] = client.status
        assert statuses == {0: 200, 1: 200, 2: 200, 3: 200, 4: 404, 5: 404}
        for path in (
            "/image/000.png",
            "/image/..%2f000.png",
            "/static/..%2fsite.py",
            "/static/pages.py",
        ):
            client.get(path)
            assert client.status == 404, path
        client.get("/image/0?small=1")
        assert client.headers["content-type"] == "image/jpeg"


def test_a_name_that_leaves_the_folder_is_not_an_image(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(b"secret")
    plan = label_plan(2, items=["../secret.png", "a.png"])
    store = new_store(tmp_path / "r.db", plan)
    with running(store, photos(tmp_path / "photos", ["a.png"])) as site:
        client = rater_of(site)
        assert client.get("/rate").images[0] == "/image/1"  # the other task is set aside
        client.get("/image/0")
        assert client.status == 404
        assert "leads out of the image folder" in owner_of(site).get("/owner").text


def test_names_are_escaped_everywhere(tmp_path: Path) -> None:
    plan = label_plan(
        2,
        classes=[NASTY, "b", "c"],
        texts={
            NASTY: ClassText(f"title {NASTY}", f"about {NASTY} and so on, and on and on, at length")
        },
        items=["a.png", "b<i>.png"],
        examples=[(0, 0), (0, 1)],
    )
    with site_over(tmp_path, plan) as site:
        client, owner = rater_of(site, "<b>ann</b>"), owner_of(site)
        pages = [client.get("/instructions"), client.get("/rate")]
        pages += [owner.get("/owner"), owner.get("/owner/tasks")]
        (tmp_path / "photos" / "b<i>.png").unlink()
        site.gallery._kept.clear()
        rater_of(site, "ben").get("/rate")
        pages.append(owner.get("/owner"))
        shown = "".join(page.text for page in pages)
        assert "title &lt;img src=x" in shown
        assert "&lt;b&gt;ann" in shown
        assert "b&lt;i&gt;.png" in shown
        for raw in ("<img src=x", "<b>ann", "b<i>", "\u202e"):
            assert raw not in shown
        assert not any("onerror" in link for page in pages for link in page.images + page.links)


def test_a_vanished_image_is_reported_and_can_be_put_back(tmp_path: Path) -> None:
    with site_over(tmp_path, wanted=1) as site:
        client, owner = rater_of(site), owner_of(site)
        page = client.get("/rate")
        item = int(page.images[0].rpartition("/")[2])
        path = tmp_path / "photos" / f"{item:03d}.png"
        content = path.read_bytes()
        path.unlink()
        site.gallery._kept.clear()
        client.get(page.images[0])
        assert client.status == 404
        assert client.get("/rate").task not in (None, page.task)
        report = owner.get("/owner").text
        assert f"<code>{item:03d}.png</code> no such file" in report
        assert "set aside" in owner.get("/owner/tasks?show=aside").text
        path.write_bytes(content)
        form = owner.get("/owner").forms[0][1]
        assert "could not be shown" not in owner.post(f"/owner/items/{item}", form).text
        page = client.get("/rate")
        seen = {page.task}
        while page.task is not None:
            page = client.answer(page, lambda name: 1)
            seen.add(page.task)
        assert len(ratings_of(site.store).answer) == 4 * 3


def test_a_pause(site: Site) -> None:
    client = rater_of(site)
    page = client.get("/rate")
    rest = client.post("/pause", {"form": page.fields["form"]})
    assert "Take your time" in rest.text
    client.post("/pause", {})
    assert client.status == 403


def test_the_owner_manages_raters(site: Site) -> None:
    client, owner = rater_of(site), owner_of(site)
    client.answer(client.get("/rate"), lambda name: 2)
    page = owner.get("/owner")
    form = page.forms[0][1]["form"]

    def act(action: str) -> Page:
        return owner.post("/owner/raters/1", {"form": form, "action": action})

    assert '<span class="tag">paused</span>' in act("pause").text
    assert "paused for you" in client.get("/rate").text
    assert '<span class="tag">excluded</span>' in act("exclude").text
    client.get("/rate")
    assert client.status == 403
    assert len(ratings_of(site.store).answer) == 0
    act("admit")
    assert client.get("/rate").task is not None
    shown = act("link").text
    (fresh,) = re.findall(r'value="(http[^"]+/r/[^"]+)"', shown)
    client.get("/rate")
    assert client.status == 403  # the old link ended
    assert Client(fresh).get("/rate").task is not None
    assert fresh not in owner.get("/owner").text
    act("promote")
    assert owner.status == 404
    owner.post("/owner/raters/9", {"form": form, "action": "pause"})
    assert owner.status == 404
    owner.post("/owner/raters/1", {"form": "x", "action": "pause"})
    assert owner.status == 403

    added = owner.post("/owner/raters", {"form": form, "name": "ben"}).text
    (link,) = re.findall(r'value="(http[^"]+/r/[^"]+)"', added)
    assert Client(link).get("/rate").task is not None
    assert "there is a rater" in owner.post("/owner/raters", {"form": form, "name": "ben"}).text
    assert owner.status == 422


def test_the_owner_sees_numbers(tmp_path: Path) -> None:
    plan = label_plan(4, golden=(0, 1))
    with site_over(tmp_path, plan, gold_rate=0.5) as site:
        client, owner = rater_of(site), owner_of(site)
        site.flow.chance = lambda: 0.0
        page = client.get("/rate")
        for _ in range(2):  # golden: item i has class i
            assert page.task in (0, 1)
            right = f"q{3 * page.task + page.task}"
            page = client.answer(page, lambda name, right=right: 2 if name == right else 0)
        page = client.answer(page, lambda name: 1)
        text = re.sub(r"<[^>]+>|\s+", " ", owner.get("/owner").text)
        text = re.sub(r"\s+", " ", text)
        assert "38% of the work is done" in text  # 3 of 4 tasks by 1 of 2 raters
        assert "ann 3 " in text
        assert "33% 100%" in text  # a third maybe; agrees with gold wherever it took a side
        assert "61% to 100% · 6 questions" in text
        tasks = owner.get("/owner/tasks?show=golden").text
        assert tasks.count('gold">golden') == 2
        owner.get("/owner/tasks?show=nothing")
        assert owner.status == 404


def test_live_exports(site: Site) -> None:
    client, owner = rater_of(site), owner_of(site)
    client.answer(client.get("/rate"), lambda name: 2)
    assert owner.get("/owner/export/ratings.csv").text.startswith("task,rater,answer")
    assert owner.headers["content-disposition"] == 'attachment; filename="ratings.csv"'
    assert owner.get("/owner/export/crowd-kit.csv").text.startswith("task,worker,label")
    entries = json.loads(owner.get("/owner/export/label-studio.json").text)
    assert sum(len(entry["annotations"]) for entry in entries) == 1
    owner.get("/owner/export/other.csv")
    assert owner.status == 404


def test_judging_mistakes(tmp_path: Path) -> None:
    plan = label_plan(
        2,
        1,
        kind="mistakes",
        classes=["cat", "dog", "owl"],
        given=[(0, 1), (0, 2), (1, 1)],
        predictors=[(0, "m", "real"), (1, "m", "real")],
        examples=[(0, 1), (1, 0), (1, 1)],
    )
    with site_over(tmp_path, plan, wanted=1) as site:
        client, owner = rater_of(site), owner_of(site)
        assert "Clear mistake" in client.get("/instructions").text
        page = client.get("/rate")
        assert "Is the prediction a mistake?" in page.text
        for verdict in ("0", "2"):
            fields = page.fields | {next(iter(page.radios)): verdict}
            page = client.post(f"/rate/{page.task}", fields)
        lines = owner.get("/owner/export/verdicts.csv").text.splitlines()
        assert sorted(line.rpartition(",")[2] for line in lines[1:]) == [
            "clear mistake",
            "not a mistake",
        ]
        owner.get("/owner/export/ratings.csv")
        assert owner.status == 404
