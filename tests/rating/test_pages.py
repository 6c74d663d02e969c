"""The pages in a real browser: keys, trouble on the way, and whether everybody can use them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rating_hands import TASK, Hands, chromium
from rating_kit import label_plan, links, new_store, photos, running
from reteach.rating.app_state import Site
from reteach.rating.class_descriptions import ClassText
from reteach.rating.export import answers_csv, ratings_of

PROBE = Path(__file__).with_name("probe.js").read_text()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    plan = label_plan(
        12,
        8,
        classes=["a rather long name of a class that has to wrap somewhere", *"bcdefgh"],
        texts={
            "b": ClassText("b", "a description of some length, which does not fit into one line")
        },
        examples=[(c, 11 - c % 3) for c in range(4)],
    )
    store = new_store(tmp_path / "r.db", plan, wanted=1)
    with running(store, photos(tmp_path / "photos", list(plan.items))) as site:
        yield site


def test_keys(browser: Any, site: Site) -> None:
    hands = Hands(browser, links(site, "ann")["ann"])
    hands.turn("Enter")

    def chosen() -> str:
        return "".join(
            hands.page.evaluate(
                "[...document.querySelectorAll('[data-row]')]"
                ".map(r => r.querySelector('input:checked')?.dataset.key ?? '-')"
            )
        )

    def active() -> int:
        return int(
            hands.page.evaluate(
                "[...document.querySelectorAll('[data-row]')].findIndex(r => 'active' in r.dataset)"
            )
        )

    assert (chosen(), active()) == ("--------", 0)
    hands.press("y", "m")
    assert (chosen(), active()) == ("ym------", 2)
    hands.press("5", "N")
    assert (chosen(), active()) == ("ym--n---", 5)
    hands.press("1", "n")  # changes an answer, and goes to the next open one
    assert (chosen(), active()) == ("nm--n---", 2)
    hands.press("z", "9", "Control+m")
    assert (chosen(), active()) == ("nm--n---", 2)
    before = hands.page.url
    hands.press("Enter")  # not all is answered
    assert hands.page.inner_text("#problem") == "Please answer every label first."
    assert hands.page.url == before
    hands.press("e")
    assert hands.page.locator("details.more[open]").count() == 1
    hands.press("n", "n", "n", "n", "n")
    assert chosen() == "nmnnnnnn"
    assert hands.page.locator("#problem").is_hidden()
    hands.turn("Enter")
    assert "Saved. 1 done · 11 left" in hands.page.inner_text("#status")
    assert (chosen(), active()) == ("--------", 0)
    # shortcuts can be turned off, and stay off; arrows and Tab are the browser's own
    hands.page.evaluate("document.querySelector('.keys').open = true")
    hands.page.uncheck("[data-shortcuts]")
    hands.press("y")
    hands.page.reload()
    hands.press("y")
    assert chosen() == "--------"
    hands.page.focus("[data-row] input")
    hands.press("ArrowRight", "Tab")
    assert chosen() == "m-------"
    hands.close()


def test_the_server_is_away_for_a_moment(browser: Any, site: Site) -> None:
    hands = Hands(browser, links(site, "ann")["ann"])
    hands.turn("Enter")
    failed = []

    def fail_twice(route: Any) -> None:
        if len(failed) < 2:
            failed.append(route.request.post_data)
            route.abort() if len(failed) == 1 else route.fulfill(status=502, body="bad gateway")
        else:
            route.continue_()

    hands.page.route(
        "**/rate/*", lambda r: fail_twice(r) if r.request.method == "POST" else r.continue_()
    )
    before = hands.page.evaluate(TASK)
    hands.press(*"yyyynnnn", "Enter")
    hands.page.wait_for_selector("#problem:not([hidden])")
    assert "Not saved yet" in hands.page.inner_text("#problem")
    hands.press("n", "Enter")  # what is on its way cannot be changed
    hands.page.wait_for_function(f"before => ({TASK}) !== before", arg=before, timeout=15_000)
    assert len(set(failed)) == 1
    assert sorted(ratings_of(site.store).answer.tolist()) == [0] * 4 + [2] * 4
    hands.problems.clear()  # the browser reports the failed requests
    hands.close()


def test_an_image_that_vanishes_while_it_is_loaded(browser: Any, site: Site) -> None:
    hands = Hands(browser, links(site, "ann")["ann"])
    hands.page.route("**/image/*", lambda route: route.fulfill(status=404))
    hands.page.keyboard.press("Enter")
    hands.page.wait_for_selector("text=This image has vanished")
    hands.page.unroute("**/image/*")
    hands.turn("Enter")
    assert hands.heading == "Which of these are in the image?"
    hands.problems.clear()
    hands.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    ("width", "height", "touch"),
    [(1280, 800, False), (390, 844, True), (640, 400, False), (320, 568, True)],
    ids=["desktop", "phone", "zoom 200%", "small phone"],
)
def test_every_page_can_be_seen_and_reached(
    browser: Any, site: Site, scheme: str, width: int, height: int, touch: bool
) -> None:
    hands = Hands(
        browser,
        links(site, "ann")["ann"],
        viewport={"width": width, "height": height},
        color_scheme=scheme,
        has_touch=touch,
        is_mobile=touch,
        reduced_motion="reduce",
    )
    page = hands.page
    owner = f"{site.public}/o/{site.owner_token}"
    paths = ("/instructions", "/rate", "/paused", owner, "/owner/tasks", "/owner/tasks/0")
    for path in paths:
        page.goto(path if path == owner else site.public + path)
        if path == "/rate":
            for row, key in enumerate("ymn"):
                option = page.locator(f".row >> nth={row} >> [data-key={key}]")
                option.tap() if touch else option.check()
            assert page.locator(".option input:checked").count() == 3
            page.evaluate("document.querySelector('details.more').open = true")
            photo = page.locator("[data-photo]").bounding_box()
            assert photo["width"] * photo["height"] > 90 * 90
        wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0, f"{path} scrolls sideways by {wide}"
        page.evaluate(f"() => {{ {PROBE} Object.assign(window, {{ faint, nameless, small }}) }}")
        assert page.evaluate("faint()") == [], path
        assert page.evaluate("nameless()") == [], path
        assert page.evaluate("small()") == [], path
        assert page.evaluate("document.querySelectorAll('h1').length") == 1, path
    hands.close()


def test_without_scripts(browser: Any, site: Site) -> None:
    hands = Hands(browser, links(site, "ann")["ann"], java_script_enabled=False)
    hands.page.click("text=Start")
    for row in range(8):
        hands.page.check(f".row >> nth={row} >> [value='2']")
    hands.page.click("[data-save]")
    assert "1 done" in hands.page.inner_text("#top")
    assert ratings_of(site.store).answer.tolist() == [2] * 8
    hands.close()


def test_the_next_image_is_there_before_it_is_shown(browser: Any, site: Site) -> None:
    hands = Hands(browser, links(site, "ann")["ann"])
    asked: list[str] = []
    hands.page.on(
        "request", lambda r: "/image/" in r.url and "small" not in r.url and asked.append(r.url)
    )
    hands.turn("Enter")
    hands.page.wait_for_load_state("networkidle")
    assert len(asked) == 2
    hands.turn(*"nnnnnnnn", "Enter")
    hands.page.wait_for_load_state("networkidle")
    shown = hands.page.evaluate("document.querySelector('[data-photo]').src")
    assert asked.count(shown) <= 2  # at most looked up again in the browser's memory
    assert asked[1] == shown
    assert Image.open(io.BytesIO(hands.page.request.get(shown).body())).size == (8, 8)
    hands.close()


def test_the_owners_page_keeps_itself_up_to_date(browser: Any, site: Site) -> None:
    hands = Hands(browser, f"{site.public}/o/{site.owner_token}")
    assert "0% of the work" in hands.page.inner_text("main")
    link = links(site, "ann")["ann"]
    ann = Hands(browser, link)
    ann.turn("Enter")
    for _ in range(6):
        ann.turn(*"nnnnnnnn", "Enter")
    ann.close()
    hands.page.evaluate("refresh()")
    hands.page.wait_for_selector("text=50% of the work")
    assert "ann" in hands.page.inner_text("table")
    hands.close()


def shown(hands: Hands) -> str:
    """The answers on the page, a dash where there is none."""
    return "".join(
        hands.page.evaluate(
            "[...document.querySelectorAll('[data-row]')]"
            ".map(r => r.querySelector('input:checked')?.dataset.key ?? '-')"
        )
    )


def test_the_rest_are_no_by_one_key(browser: Any, site: Site) -> None:
    hands = Hands(browser, links(site, "ann")["ann"])
    hands.turn("Enter")
    hands.page.keyboard.press("y")
    hands.page.keyboard.press("m")
    hands.page.keyboard.press("r")
    assert shown(hands) == "ymnnnnnn"
    hands.turn("Enter")
    assert shown(hands) == "--------"
    hands.page.click("[data-rest]")
    assert shown(hands) == "nnnnnnnn"
    hands.close()


def test_zoom_by_key_pointer_and_wheel_keeps_within_the_image(browser: Any, site: Site) -> None:
    hands = Hands(browser, links(site, "ann")["ann"], viewport={"width": 1280, "height": 720})
    hands.turn("Enter")
    page = hands.page

    def scale() -> float:
        found = page.evaluate("getComputedStyle(document.querySelector('[data-photo]')).transform")
        return 1.0 if found == "none" else float(found.split("(")[1].split(",")[0])

    def middle() -> tuple[float, float]:
        box = page.locator("[data-photo]").bounding_box()
        return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    page.keyboard.press("z")
    assert scale() == 3
    start = middle()
    page.mouse.move(300, 400)
    page.mouse.down()
    page.mouse.move(330, 410, steps=4)
    page.mouse.up()
    assert scale() == 3  # a drag is no click
    assert middle()[0] == pytest.approx(start[0] + 30, abs=2)
    dragged = middle()
    page.keyboard.press("ArrowRight")
    assert middle()[0] < dragged[0]
    for _ in range(40):
        page.keyboard.press("ArrowLeft")
    box, frame = (page.locator(w).bounding_box() for w in ("[data-photo]", "[data-frame]"))
    assert box["x"] <= frame["x"] + frame["width"] / 2
    page.mouse.click(300, 400)
    assert scale() == 1
    page.mouse.wheel(0, -300)
    page.wait_for_function(
        "() => document.querySelector('[data-frame]').hasAttribute('data-zoomed')"
    )
    page.mouse.wheel(0, 900)
    page.wait_for_function(
        "() => !document.querySelector('[data-frame]').hasAttribute('data-zoomed')"
    )
    assert shown(hands) == "--------"
    hands.close()


def test_enter_means_what_is_typed_however_late_the_classes_come(
    browser: Any, tmp_path: Path
) -> None:
    plan = label_plan(1, 3, starts=np.array([0, 2]), asked=np.array([0, 1]))
    with running(
        new_store(tmp_path / "r.db", plan, wanted=1), photos(tmp_path / "photos", list(plan.items))
    ) as site:
        hands = Hands(browser, links(site, "ann")["ann"])
        hands.turn("Enter")
        page, late = hands.page, []

        def hold(route: Any) -> None:
            late.append(route) if route.request.url.endswith("2") else route.continue_()

        def let_go() -> None:
            while not late:
                page.wait_for_timeout(10)
            late.pop().continue_()

        def added() -> list[str]:
            return page.locator("[data-drop]").all_inner_texts()

        page.route("**/classes?*", hold)
        page.keyboard.press("a")
        page.keyboard.type("class")
        page.locator("[data-hit]").first.wait_for()  # class 0 is at the top
        page.keyboard.type(" 2")
        page.keyboard.press("Enter")
        assert added() == []
        let_go()
        page.locator("[data-drop]").wait_for()
        assert added() == ["class 2"]
        page.keyboard.type("class")
        page.locator("[data-hit]").first.wait_for()
        page.keyboard.type(" 2")
        page.keyboard.press("Enter")
        page.keyboard.press("Backspace")  # it was meant to go on
        page.keyboard.type("1")
        page.locator("[data-hit]", has_text="class 1").wait_for()
        let_go()
        page.wait_for_timeout(50)
        assert added() == ["class 2"]
        page.route("**/classes?*", lambda route: route.abort())
        page.keyboard.type("x")
        page.keyboard.press("Enter")
        page.wait_for_function(
            "() => document.querySelector('#status').textContent.includes('whole name')"
        )
        assert added() == ["class 2"]
        assert page.locator("[data-hit]").count() == 0
        hands.problems.clear()  # the browser's own line on the request that was cut
        hands.close()


def test_something_else_is_added_by_typing_part_of_its_name(browser: Any, tmp_path: Path) -> None:
    plan = label_plan(
        1, 3, starts=np.array([0, 2]), asked=np.array([0, 1]), gold=np.full(2, np.nan)
    )
    store = new_store(tmp_path / "r.db", plan, wanted=2)
    with running(store, photos(tmp_path / "photos", list(plan.items))) as site:
        hands = Hands(browser, links(site, "ann")["ann"])
        hands.turn("Enter")
        page = hands.page
        page.keyboard.press("a")
        page.keyboard.type("class 2 ")
        page.keyboard.press("Enter")
        assert page.locator("[data-drop]").inner_text() == "class 2"
        page.keyboard.press("Escape")
        page.keyboard.press("f")
        page.keyboard.type("y is no answer here")
        assert shown(hands) == "--"
        page.keyboard.press("Escape")
        page.keyboard.press("y")
        page.keyboard.press("r")
        hands.turn("Enter")
        hands.close()
        ratings = ratings_of(store)
        assert [ratings.classes[c] for c in ratings.pair_class] == [f"class {c}" for c in range(3)]
        assert ratings.counts().tolist() == [[0, 0, 1], [1, 0, 0], [0, 0, 1]]
        text = answers_csv(store, 1)
        assert "y is no answer here" in text
        active = float(text.splitlines()[1].split(",")[8])
        assert 0 < active < 60


def test_a_skip_needs_no_answers_and_a_wrong_name_loses_none(browser: Any, site: Site) -> None:
    hands = Hands(browser, links(site, "ann")["ann"])
    hands.turn("Enter")
    first = hands.page.evaluate(TASK)
    hands.turn("s")
    assert hands.page.evaluate(TASK) != first
    hands.page.keyboard.press("r")
    hands.page.click("[data-other] summary")
    hands.page.fill("[data-find]", "no such class")
    hands.page.keyboard.press("Escape")
    hands.page.click("[data-save]")
    hands.page.wait_for_function(
        "() => document.querySelector('#problem').textContent.includes('no such')"
    )
    assert shown(hands) == "nnnnnnnn"  # still there
    assert not len(ratings_of(site.store).answer)
    assert all("422" in text for text in hands.problems)
    hands.problems.clear()
    hands.close()


def test_eight_labels_with_descriptions_fit_on_one_laptop_screen(
    browser: Any, tmp_path: Path
) -> None:
    names = [f"class number {k}" for k in range(8)]
    about = "a description that says in some words what the label means to somebody who rates"
    plan = label_plan(
        3,
        8,
        classes=names,
        texts={name: ClassText(f"{name}, also so called", about) for name in names},
        examples=[(c, i) for c in range(8) for i in (1, 2)],
    )
    store = new_store(tmp_path / "r.db", plan)
    with running(store, photos(tmp_path / "photos", list(plan.items))) as site:
        hands = Hands(browser, links(site, "ann")["ann"], viewport={"width": 1280, "height": 720})
        hands.turn("Enter")
        page = hands.page
        assert page.locator("[data-row]").count() == 8
        end = page.locator(".beside").bounding_box()
        bar = page.locator(".actions").bounding_box()
        assert end["y"] + end["height"] <= bar["y"] + 1
        for box in (row.bounding_box() for row in page.locator("[data-row] .about").all()):
            assert box["height"] > 15
            assert box["width"] > 200
        assert page.evaluate("document.documentElement.scrollHeight") <= 721
        hands.close()
