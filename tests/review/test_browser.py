"""Reviewing in a real browser: by keyboard alone, by mouse in bulk; learning again; taking the labels out."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from postgres_kit import new_database
from rating_hands import chromium
from rating_kit import SOURCE, own_port, wait_for
from reteach.review.session import open_session
from reteach.review.values import Query
from reteach.review.web.reviewers import Reviewers
from reteach.review.web.site import ReviewSite
from reteach.tables import read_labels
from review_kit import SHAPES, link_of, reviewing, shape_review, truth_of

COUNT = 240
ANOTHER = "(row) => document.querySelector('#closer [data-one]').dataset.one !== row"
PROBE = (Path(__file__).parents[1] / "rating" / "probe.js").read_text()
LONG = "RETEACH_REVIEW_LONG" in os.environ
"""Set by ``.ci/run --long``: two hundred images by keyboard and by mouse, in both kinds of store."""
FEW = 200 if LONG else 36  # more than a page of 30


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


class Person:
    """Somebody at a keyboard and a mouse."""

    def __init__(
        self, browser: Any, site: Any, name: str = "ann", link: str | None = None, **look: Any
    ) -> None:
        self.site = site
        self.context = browser.new_context(**look)
        self.page = self.context.new_page()
        self.problems: list[str] = []
        self.page.on("console", lambda m: m.type == "error" and self.problems.append(m.text))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.goto(link or link_of(site, name))
        self.ready()

    def ready(self) -> None:
        """The names of the classes have come: number keys mean something."""
        self.page.wait_for_load_state("load")
        self.page.wait_for_function("() => names.length > 0")

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def saved(self) -> None:
        """Wait until nothing is on its way."""
        self.page.wait_for_function("() => unsaved === 0")

    @property
    def row(self) -> int:
        """The image with the frame."""
        return int(self.page.evaluate("() => rowOf(cardAt())"))

    @property
    def rows(self) -> list[int]:
        """The images on the page."""
        return [int(row) for row in self.page.evaluate("() => cards().map(rowOf)")]

    def plans(self) -> list[tuple[int, str, list[str]]]:
        """(image, its label, what the number keys say) of the cards from the one with the frame on."""
        found = self.page.evaluate(
            "() => cards().slice(cards().indexOf(cardAt())).map((card) => { stand(card);"
            " return [rowOf(card), names[card.dataset.now], offers().map((o) => names[o.column])]; })"
        )
        self.page.evaluate("(row) => stand(document.getElementById(`c${row}`))", found[0][0])
        return [(int(row), str(label), list(offers)) for row, label, offers in found]

    def close(self) -> None:
        assert not self.problems
        self.context.close()


def by_keyboard(person: Person, count: int) -> int:
    """Review images with keys alone; the keys that it took."""
    truth, keys, done = truth_of(person.site.session.count), 0, 0
    while True:
        for row, label, offers in person.plans()[: count - done]:
            name = SHAPES[truth[row]]
            used = ["r"] if label == name else [str(offers.index(name) + 1)]
            if done == 5:  # once by typing ahead
                used = ["i", *name[:4], "Enter"]
            person.press(*used)
            keys += len(used)
            done += 1
        person.saved()
        if done == count:
            return keys
        person.page.wait_for_function("() => document.activeElement.matches('[data-next].primary')")
        person.press("Enter")
        person.page.wait_for_function("() => document.querySelectorAll('.card.s-open').length > 0")
        person.ready()


def right(site: ReviewSite) -> int:
    """How many of the reviewed images have their right label now."""
    truth = truth_of(site.session.count)
    rows = site.session.rows(Query(status="reviewed"))
    return sum(item.current == (SHAPES[truth[item.row]],) for item in site.session.items(rows))


def learn_and_export(person: Person, key: bool) -> None:
    """Learn again, then take the labels out."""
    page = person.page
    page.keyboard.press("g") if key else page.click("[data-learn]")
    page.wait_for_selector("#news:not([hidden])", timeout=120_000)
    assert "Learned again" in page.inner_text("#news")
    page.goto(f"{person.site.public}/progress")
    if key:
        page.focus("[data-export]")
        page.keyboard.press("Enter")
    else:
        page.click("[data-export]")
    page.wait_for_selector("#next-train")
    assert "reteach train" in page.input_value("#next-train")


def exported(site: ReviewSite) -> dict[str, str]:
    """Item -> label in the table that came out."""
    (file,) = (site.session.prepared.folder / "export").glob("labels.*")
    table = read_labels(file)
    rows, columns, _ = table.labels.pairs()
    return {table.items[r]: table.labels.classes[c] for r, c in zip(rows, columns, strict=True)}


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str | None]:
    def found(kind: str) -> str | None:
        return new_database(request.getfixturevalue("postgres")) if kind == "postgresql" else None

    return found


@pytest.mark.parametrize(("kind", "count"), [("sqlite", FEW), ("postgresql", FEW)])
def test_review_by_keyboard_alone(
    browser: Any, tmp_path: Path, place: Callable[[str], str | None], kind: str, count: int
) -> None:
    prepared = shape_review(tmp_path, COUNT)
    with reviewing(prepared, place(kind)) as site:
        person = Person(browser, site)
        person.page.goto(f"{site.public}/?size=30")
        person.ready()
        keys = by_keyboard(person, count)
        assert keys < 2 * count
        assert site.session.progress().reviewed == count
        assert right(site) == count
        person.press(*"zzz")
        person.saved()
        assert site.session.progress().reviewed == count - 3
        person.press(*"yyy")
        person.saved()
        assert right(site) == count
        learn_and_export(person, key=True)
        person.close()
        table = exported(site)
        reviewed = {
            site.session.prepared.name(r) for r in site.session.rows(Query(status="reviewed"))
        }
        truth = {f"{i:04d}.png": SHAPES[c] for i, c in enumerate(truth_of(COUNT))}
        assert {name: table[name] for name in reviewed} == {name: truth[name] for name in reviewed}


@pytest.mark.parametrize(("kind", "count"), [("sqlite", FEW), ("postgresql", FEW)])
def test_review_by_mouse_in_bulk(
    browser: Any, tmp_path: Path, place: Callable[[str], str | None], kind: str, count: int
) -> None:
    prepared = shape_review(tmp_path, COUNT)
    truth = truth_of(COUNT)
    with reviewing(prepared, place(kind)) as site:
        person = Person(browser, site, viewport={"width": 1400, "height": 1000})
        page, clicks = person.page, 0
        page.goto(f"{site.public}/?size=30")
        person.ready()
        while site.session.progress().reviewed < count:
            rows = person.rows
            now = {row: person.site.session.items([row])[0].current for row in rows}
            for name in SHAPES:  # those that are this class and have another label, all at once
                some = [row for row in rows if SHAPES[truth[row]] == name and now[row] != (name,)]
                for row in some:
                    page.click(f"#c{row} .well", position={"x": 20, "y": 20})
                clicks += len(some)
                if some:
                    assert page.inner_text("[data-chosen]") == f"{len(some)} chosen"
                    button = page.locator(f"#bar [data-say=is][data-label={name}]")
                    if button.count():
                        button.click()
                    else:
                        page.click("#bar [data-ask=is]")
                        page.click(f"#ask-list li:has-text('{name}')")
                    person.saved()
                    clicks += 1
            page.click("[data-rest]")
            clicks += 1
            person.saved()
            page.wait_for_function("() => document.querySelectorAll('.card.s-open').length === 0")
            if site.session.progress().reviewed < count:
                page.click("[data-next]")
                page.wait_for_load_state()
                person.ready()
        reviewed = site.session.progress().reviewed
        assert right(site) == reviewed >= count
        assert clicks < (0.6 if LONG else 1.2) * reviewed
        learn_and_export(person, key=False)
        person.close()


AHEAD = """async () => {
  const key = (name) => document.activeElement.dispatchEvent(
    new KeyboardEvent("keydown", { key: name, bubbles: true, cancelable: true }));
  const rest = async () => { for (let i = 0; i < 50; i++) await null; };  // what waits, but no event
  key("i"); await rest();
  key("Enter"); await rest();
  key("x"); await rest();
}"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReviewSite]:
    with reviewing(shape_review(tmp_path_factory.mktemp("small"), 48, copies=8)) as site:
        yield site


def test_a_key_after_an_asked_class_is_about_the_next_image(browser: Any, site: ReviewSite) -> None:
    """Also where it is faster than the dialog's own event that it has closed."""
    person = Person(browser, site)
    first, second = person.rows[:2]
    person.page.evaluate("(row) => stand(document.getElementById(`c${row}`))", first)
    person.page.evaluate(AHEAD)
    person.saved()
    asked, keyed = site.session.items([first, second])
    assert len(asked.current) == 1
    assert asked.status != "open"
    assert keyed.status == "unusable"
    person.press("z", "z")
    person.saved()
    assert site.session.progress().reviewed == 0
    person.close()


def test_a_class_can_be_typed_before_the_names_are_there(browser: Any, site: ReviewSite) -> None:
    """The keys belong to the question, not to the images behind it."""
    person = Person(browser, site)
    page, late = person.page, []
    page.route("**/classes.json", lambda route: late.append(route))
    page.reload()
    first, second = person.rows[:2]
    page.evaluate("(row) => stand(document.getElementById(`c${row}`))", first)
    person.press("i")
    page.keyboard.type("ring")
    person.press("Enter")
    assert page.inner_text("#ask-list") == "Loading the names …"
    assert site.session.progress().reviewed == 0
    late.pop().continue_()
    page.wait_for_function("() => !document.querySelector('#ask').open")
    person.saved()
    asked, other = site.session.items([first, second])
    assert list(asked.current) == ["ring"]
    assert other.status == "open"
    person.press("z")
    person.saved()
    assert site.session.progress().reviewed == 0
    person.close()


def test_choosing_by_click_shift_drag_and_keys(browser: Any, site: ReviewSite) -> None:
    person = Person(browser, site, viewport={"width": 1300, "height": 1000})
    page = person.page

    def chosen() -> list[int]:
        return [int(i) for i in page.evaluate(
            "() => cards().map((card, i) => card.ariaSelected === 'true' ? i : -1).filter((i) => i >= 0)"
        )]  # fmt: skip

    card = page.locator(".card")
    card.nth(1).click()
    card.nth(4).click(modifiers=["Shift"])
    assert chosen() == [1, 2, 3, 4]
    card.nth(2).click()
    assert chosen() == [1, 3, 4]
    person.press("Escape")
    assert chosen() == []
    first, last = card.nth(0).bounding_box(), card.nth(2).bounding_box()
    page.mouse.move(first["x"] + 10, first["y"] + 10)
    page.mouse.down()
    page.mouse.move(last["x"] + 30, last["y"] + 60, steps=4)
    assert page.locator(".band").count() == 1
    page.mouse.up()
    assert chosen() == [0, 1, 2]
    assert page.locator(".band").count() == 0
    person.press("Escape")
    page.evaluate("() => stand(cards()[0])")
    person.press("Shift+ArrowRight", "Shift+ArrowRight")
    assert chosen() == [0, 1, 2]
    person.press("ArrowRight", "Space")
    assert chosen() == [0, 1, 2, 3]
    person.press("Control+a")
    assert len(chosen()) == len(person.rows)
    page.wait_for_function("() => document.getElementById('status').textContent.includes('chosen')")
    person.press("Escape")
    person.close()


def test_one_image_zooms_and_goes_on(browser: Any, site: ReviewSite) -> None:
    person = Person(browser, site)
    page = person.page
    first = person.row
    person.press("Enter")
    page.wait_for_selector("#closer[open] [data-one]")
    assert page.get_attribute("#closer [data-one]", "data-one") == str(first)
    person.press("+", "+", "ArrowLeft")
    assert page.inner_text("#closer [data-scale]") == "156%"
    person.press("0")
    assert page.inner_text("#closer [data-scale]") == "Fit"
    page.hover("#closer [data-stage]")
    page.mouse.wheel(0, -300)
    page.wait_for_function("() => view.scale > 1.5")
    person.press("0", "ArrowRight")
    page.wait_for_function(
        "(row) => document.querySelector('#closer [data-one]').dataset.one !== row", arg=str(first)
    )
    second = int(page.get_attribute("#closer [data-one]", "data-one"))
    assert second == person.rows[person.rows.index(first) + 1]
    person.press("r")
    page.wait_for_function(
        "(row) => document.querySelector('#closer [data-one]').dataset.one !== row", arg=str(second)
    )
    assert site.session.items([second])[0].status == "right"
    person.press("z")
    person.saved()
    assert site.session.items([second])[0].status == "open"
    person.press("Escape")
    assert page.locator("#closer[open]").count() == 0
    assert page.evaluate("() => document.activeElement.classList.contains('card')")
    person.close()


def test_a_failed_request_is_shown_and_sent_again_as_the_same(
    browser: Any, site: ReviewSite
) -> None:
    person = Person(browser, site)
    page, sent = person.page, []

    def fail_twice(route: Any) -> None:
        sent.append(json.loads(route.request.post_data)["request"])
        if len(sent) == 1:
            route.abort()
        elif len(sent) == 2:
            route.fulfill(status=502, body="bad gateway")
        else:
            route.continue_()

    page.route("**/do/decide", fail_twice)
    before = site.session.store.newest()
    row = person.row
    person.press("r")
    page.wait_for_selector("#problem:not([hidden])")
    assert "Not saved yet" in page.inner_text("#problem")
    assert page.get_attribute(f"#c{row}", "aria-busy") == "true"
    assert page.locator(f"#c{row} .badge").count() == 0  # not acknowledged, not shown
    page.wait_for_selector(f"#c{row}.s-right", timeout=20_000)
    assert page.locator("#problem").is_hidden()
    assert len(set(sent)) == 1
    assert site.session.store.newest() == before + 1
    person.press("z")
    person.saved()
    person.problems.clear()  # the browser reports the failed requests
    person.close()


def test_a_verdict_whose_answer_is_lost_counts_once(browser: Any, site: ReviewSite) -> None:
    person = Person(browser, site)
    lost = []

    def lose(route: Any) -> None:
        if not lost:
            lost.append(route.fetch())  # the server has it
            route.abort()
        else:
            route.continue_()

    person.page.route("**/do/decide", lose)
    before, row = site.session.store.newest(), person.row
    person.press("u")
    person.page.wait_for_selector(f"#c{row}.s-unclear", timeout=20_000)
    assert site.session.store.newest() == before + 1
    person.press("z")
    person.saved()
    person.problems.clear()
    person.close()


def test_a_group_of_copies_is_chosen_by_a_key(browser: Any, site: ReviewSite) -> None:
    person = Person(browser, site)
    person.page.goto(f"{site.public}/copies")
    person.ready()
    group = site.session.conflicts()[0].tolist()
    person.press("k")
    assert person.page.inner_text("[data-chosen]") == f"{len(group)} chosen"
    person.press("1")
    person.saved()
    (label,) = {item.current for item in site.session.items(group)}
    assert len(label) == 1
    person.press("z")
    person.saved()
    person.close()


def test_two_reviewers_see_each_other(browser: Any, site: ReviewSite) -> None:
    ann, ben = Person(browser, site), Person(browser, site, "ben")
    row = ann.row
    ann.press("x")
    ann.saved()
    ben.page.evaluate("() => look()")
    ben.page.wait_for_selector(f"#c{row}.s-unusable")
    assert "unusable, said ann" in ben.page.get_attribute(f"#c{row}", "aria-label")
    ann.press("z")
    ann.saved()
    ben.page.evaluate("() => look()")
    ben.page.wait_for_selector(f"#c{row}.s-open")
    ann.close()
    ben.close()


def test_the_map_by_lasso_and_by_keys(browser: Any, site: ReviewSite) -> None:
    person = Person(browser, site, viewport={"width": 1300, "height": 900})
    page = person.page
    page.goto(f"{site.public}/map?status=all")
    page.wait_for_function("() => points.count === 48")
    box = page.locator("canvas").bounding_box()
    x, y, w, h = (box[k] for k in ("x", "y", "width", "height"))
    page.mouse.move(x + 5, y + 5)
    page.mouse.down()
    for to in ((x + w - 5, y + 5), (x + w - 5, y + h - 5), (x + 5, y + h - 5)):
        page.mouse.move(*to, steps=3)
    page.mouse.up()
    assert page.inner_text("[data-count]") == "48 of the points drawn"
    page.click("[data-clear]")
    assert page.inner_text("[data-count]") == "No points yet."
    page.focus("canvas")
    person.press(*["+"] * 14, "Space")
    assert page.inner_text("[data-count]").endswith("of the points drawn")
    person.press("Enter")
    page.wait_for_url("**/?saved=Map+selection*")
    assert len(person.rows) > 10
    person.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    ("width", "height", "touch"), [(1280, 800, False), (390, 844, True)], ids=["desktop", "phone"]
)
def test_every_page_can_be_seen_and_reached(
    browser: Any, site: ReviewSite, scheme: str, width: int, height: int, touch: bool
) -> None:
    person = Person(
        browser,
        site,
        viewport={"width": width, "height": height},
        color_scheme=scheme,
        has_touch=touch,
        is_mobile=touch,
        reduced_motion="reduce",
    )
    page = person.page
    for path in (
        "/",
        "/item/3",
        "/confusion",
        "/copies",
        "/map",
        "/progress",
        "/?q=nothing",
        "/none",
    ):
        page.goto(site.public + path)
        page.wait_for_load_state("networkidle")
        page.evaluate(
            "() => document.querySelector('details.measures')?.querySelector('summary').click()"
        )
        wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0, f"{path} scrolls sideways by {wide}"
        page.evaluate(f"() => {{ {PROBE} Object.assign(window, {{ faint, nameless, small }}) }}")
        assert page.evaluate("faint()") == [], path
        assert page.evaluate("nameless()") == [], path
        assert page.evaluate("small()") == [], path
        assert page.evaluate("document.querySelectorAll('h1').length") == 1, path
    person.problems.clear()  # /none is not there
    person.close()


def test_by_finger(browser: Any, site: ReviewSite) -> None:
    person = Person(
        browser, site, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True
    )
    page = person.page
    rows = person.rows[:2]
    for row in rows:
        page.tap(f"#c{row} .labels")
    assert page.inner_text("[data-chosen]") == "2 chosen"
    page.tap("#bar [data-say=unclear]")
    person.saved()
    assert [item.status for item in site.session.items(rows)] == ["unclear"] * 2
    page.tap("[data-do=undo]")
    person.saved()
    assert [item.status for item in site.session.items(rows)] == ["open"] * 2
    page.tap(f"#c{rows[0]} .look")
    page.wait_for_selector("#closer[open]")
    person.close()


@pytest.mark.skipif(not LONG, reason="too long for every change")
def test_a_killed_server_comes_back_to_the_same_page(browser: Any, tmp_path: Path) -> None:
    """Killed ten times while somebody decides: the page waits, and nothing is lost or doubled."""
    prepared = shape_review(tmp_path, COUNT)
    token = Reviewers(prepared, ("ann",)).token("ann")
    with own_port() as port:
        server = start_review(prepared, port)
        site = SimpleNamespace(public=f"http://127.0.0.1:{port}", token=token)
        person = Person(browser, site, link=f"{site.public}/r/{token}")
        rows = person.rows
        for number, _ in enumerate(rows[:50]):
            person.press("r")
            if number % 5 == 0:
                server.kill()
                server.wait()
                server = start_review(prepared, port)
        person.page.wait_for_function("() => unsaved === 0", timeout=120_000)
        assert person.page.locator(".card.s-right").count() == 50
        server.kill()
        server.wait()
    session = open_session(prepared, learn_after=0)
    actions = session.store.since(0)
    assert sorted(int(row) for action in actions for row in action.rows) == sorted(rows[:50])
    session.close()


def start_review(prepared: Path, port: int) -> subprocess.Popen[bytes]:
    """``reteach review`` in a process of its own; returns when it answers."""
    words = ["review", str(prepared), "--port", str(port), "--no-browser", "--learn-after", "0"]
    code = "import sys; from reteach.cli import main; sys.exit(main(sys.argv[1:]))"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words],
        env=os.environ | {"PYTHONPATH": str(SOURCE)},
        stdout=subprocess.DEVNULL,
    )

    def answers() -> bool:
        assert process.poll() is None, "the server did not start"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    wait_for(answers)
    return process
