"""The pages in a real browser: keys, trouble on the way, and whether everybody can use them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from rating_hands import TASK, Hands, chromium
from rating_kit import label_plan, links, new_store, photos, running
from reteach.rating.app_state import Site
from reteach.rating.class_descriptions import ClassText
from reteach.rating.export import ratings_of

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
    for path in ("/instructions", "/rate", "/paused", owner, "/owner/tasks"):
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
