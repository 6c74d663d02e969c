"""The server among strangers: half-sent requests, many connections, invented cookies, and a full disk."""

from __future__ import annotations

import http.client
import logging
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from sqlalchemy import event

from rating_kit import Client, Page, label_plan, links, new_store, photos, running, wait_for
from reteach.rating.app_state import Site
from reteach.rating.export import ratings_of
from reteach.web import patience, serving


def half_sent(site: Site) -> socket.socket:
    """A connection on which half a request has come."""
    parts = urlsplit(site.public)
    stranger = socket.create_connection((parts.hostname, parts.port), 10)
    stranger.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
    return stranger


def not_reading(site: Site, asks: int) -> socket.socket:
    """A connection on which so many requests have come, and from which no answer is taken."""
    parts = urlsplit(site.public)
    stranger = socket.socket()
    stranger.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    stranger.connect((parts.hostname, parts.port))
    head = f"GET /static/rate.js HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n"
    stranger.sendall(head.encode() * asks)
    return stranger


@contextmanager
def small_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float) -> Iterator[Site]:
    """A server for eight connections, on which the system holds little of an answer that nobody takes."""
    protocol, listen = patience.patient_protocol, serving.listen

    def narrow(host: str, port: int) -> socket.socket:
        listener = listen(host, port)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2048)
        return listener

    monkeypatch.setattr(serving, "patient_protocol", lambda most: protocol(8, seconds))
    monkeypatch.setattr(serving, "listen", narrow)
    plan = label_plan(8)
    store = new_store(tmp_path / "r.db", plan)
    with running(store, photos(tmp_path / "photos", list(plan.items))) as site:
        yield site


def reset(stranger: socket.socket) -> bool:
    """Whether the server has ended a connection that still has answers."""
    try:
        stranger.sendall(b"x")
        return False
    except TimeoutError:
        return False
    except ConnectionError:
        return True


def closed(stranger: socket.socket) -> bool:
    stranger.setblocking(False)
    try:
        return stranger.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A server for eight connections, whose requests are whole within a second."""
    protocol = patience.patient_protocol
    monkeypatch.setattr(serving, "patient_protocol", lambda most: protocol(8, 1.0))
    plan = label_plan(8)
    store = new_store(tmp_path / "r.db", plan)
    with running(store, photos(tmp_path / "photos", list(plan.items))) as site:
        yield site


def test_half_sent_request_is_ended_in_time_and_a_slow_whole_one_is_answered(site: Site) -> None:
    stranger, slow = half_sent(site), half_sent(site)
    time.sleep(0.2)
    host = urlsplit(site.public).netloc.encode()
    slow.sendall(b"1\r\n\r\n")
    assert slow.recv(100).startswith(b"HTTP/1.1 421"), host
    wait_for(lambda: closed(stranger), 10)


def test_strangers_who_wait_make_room_for_a_rater(site: Site) -> None:
    strangers = [half_sent(site) for _ in range(30)]
    client = Client(links(site, "ann")["ann"])
    page = client.get("/rate")
    for _ in range(3):
        strangers += [half_sent(site) for _ in range(10)]
        page = client.answer(page, lambda name: 2)
        assert client.status == 200
    assert sum(map(closed, strangers)) >= 50
    assert len(ratings_of(site.store).answer) == 9
    for stranger in strangers:
        stranger.close()


def test_strangers_who_take_no_answer_make_room_for_a_rater(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with small_site(tmp_path, monkeypatch, 600.0) as site:
        strangers = [not_reading(site, 9) for _ in range(8)]
        time.sleep(1)
        client = Client(links(site, "ann")["ann"])
        page = client.answer(client.get("/rate"), lambda name: 2)
        assert client.status == 200
        assert page.task is not None
        assert any(map(reset, strangers))
        for stranger in strangers:
            stranger.close()


def insisting(send: Callable[[], Page]) -> Page:
    """What the server says in the end: as a browser and the page do, sent again where the connection is gone.

    Strangers whose requests are still coming in may be younger than a rater who rests.
    """
    for _ in range(50):
        with suppress(ConnectionError, http.client.HTTPException):
            return send()
        time.sleep(0.1)
    return send()


def test_strangers_who_ask_without_rest_make_room_for_a_rater(site: Site) -> None:
    strangers = [not_reading(site, 300) for _ in range(8)]
    client, link = Client(), links(site, "ann")["ann"]
    insisting(partial(client.get, link))
    page = insisting(partial(client.get, "/rate"))
    for _ in range(2):
        strangers += [not_reading(site, 100) for _ in range(4)]
        asked = page
        page = insisting(partial(client.answer, asked, lambda name: 2))
        assert client.status == 200
        assert page.task != asked.task
    assert len(ratings_of(site.store).answer) == 6  # each once, however often it was sent
    for stranger in strangers:
        stranger.close()


@pytest.mark.parametrize("asks", [1, 9])
def test_strangers_who_take_no_answer_are_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asks: int
) -> None:
    with small_site(tmp_path, monkeypatch, 0.5) as site:
        strangers = [not_reading(site, asks) for _ in range(4)]
        wait_for(lambda: all(map(reset, strangers)), 20)
        for stranger in strangers:
            stranger.close()


def test_an_answer_that_is_taken_slowly_comes_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "TAKEN", 1000)
    with small_site(tmp_path, monkeypatch, 0.5) as site:
        reader = not_reading(site, 3)
        reader.settimeout(10)
        data = reader.recv(2048)
        head = data.index(b"\r\n\r\n") + 4
        (length,) = re.findall(rb"content-length: (\d+)", data[:head])
        while len(data) < 3 * (head + int(length)):
            time.sleep(
                0.1
            )  # two seconds in all, in each half of which more than a thousand bytes are taken
            part = reader.recv(2048)
            assert part, f"it ended after {len(data)} bytes"
            data += part
        assert data.count(b"HTTP/1.1 200") == 3
        reader.close()


def test_a_form_that_never_comes_whole_is_ended_too(site: Site) -> None:
    parts = urlsplit(site.public)
    stranger = socket.create_connection((parts.hostname, parts.port), 10)
    head = f"POST /rate/0 HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: 99\r\n\r\nform="
    stranger.sendall(head.encode())
    wait_for(lambda: closed(stranger), 10)


def test_invented_cookies_share_the_limit_of_their_address(site: Site) -> None:
    rater = Client(links(site, "ann")["ann"])
    site.door.calls.burst, site.door.calls.per_second = 5, 0.001
    site.door.calls._left.clear()
    statuses = []
    for n in range(8):
        stranger = Client()
        stranger.host = urlsplit(site.public).netloc
        stranger.cookies = {site.door.cookie("rater"): f"{n:043}"}
        stranger.get("/rate")
        statuses.append(stranger.status)
        stranger.close()
    assert statuses == [403] * 5 + [429] * 3
    rater.get("/rate")
    assert rater.status == 200  # who is known has calls of their own


def test_full_disk_while_answering_is_507_and_nothing_is_lost(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    client = Client(links(site, "ann")["ann"])
    page = client.get("/rate")

    def limited(connection, cursor, statement, *_):  # type: ignore[no-untyped-def]
        if statement.startswith("INSERT INTO answers"):
            cursor.execute("PRAGMA max_page_count = 300")

    event.listen(site.store.engine, "before_cursor_execute", limited)
    with site.store.write() as connection:  # every answer takes all that is left, and more
        connection.exec_driver_sql("CREATE TABLE filler (x BLOB)")
        connection.exec_driver_sql(
            "CREATE TRIGGER full BEFORE INSERT ON answers BEGIN "
            "INSERT INTO filler VALUES (zeroblob(10000000)); END"
        )
    text = client.answer(page, lambda name: 2).text
    assert client.status == 507
    assert "The disk of the server is full" in text
    assert "Traceback" not in caplog.text
    assert "database or disk is full: free some space" in caplog.text
    assert not len(ratings_of(site.store).answer)
    with site.store.write() as connection:
        connection.exec_driver_sql("DROP TRIGGER full")
    client.answer(page, lambda name: 2)  # the same form again
    assert client.status == 200
    assert len(ratings_of(site.store).answer) == 3


def test_log_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("test of few lines")
    few = patience.FewLines(3, per=0.2)
    logger.addFilter(few)
    with caplog.at_level(logging.WARNING):
        for _ in range(1000):
            logger.warning("again")
        time.sleep(0.25)
        logger.warning("again")
    assert [r.getMessage() for r in caplog.records] == [
        *["again"] * 3,
        "(997 more lines like these) again",
    ]
