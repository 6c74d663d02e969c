"""Strangers at the socket: how many connections, for how long without a whole request, and how much log.

Whoever sends half a request holds a connection, and so does who asks and does not read the answer; whoever
opens many takes all that the system gives out. So a request must be whole in time, an answer must be taken,
and where all places are taken the longest wait makes room, or else the longest service: a visitor who does
both, one request after the other, is not turned away.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
import struct
import time
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

SECONDS = 10.0
"""That a request may take to be whole, and in which some of an answer must be taken."""
TAKEN = 10_000
"""Bytes of an answer that must be taken in this time; or the rest of it."""
MOST = 1024
"""Connections at a time, where the system gives so many descriptors."""
SPARE = 128
"""Descriptors that are left for files, images and the store."""
LINES, PER = 30, 60.0
"""So many lines of log in so many seconds."""


def most_connections() -> int:
    """Connections that there are descriptors for; asks the system for as many as it may give."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST + SPARE
    ceiling = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
    if soft != resource.RLIM_INFINITY and soft < ceiling:
        resource.setrlimit(resource.RLIMIT_NOFILE, (ceiling, hard))
        soft = ceiling
    return MOST if soft == resource.RLIM_INFINITY else max(8, min(MOST, soft - SPARE))


def patient_protocol(most: int, seconds: float = SECONDS) -> type[asyncio.Protocol]:
    """The protocol of a server for so many connections, whose requests are whole within some seconds."""
    waiting: dict[Any, None] = {}
    """Connections that have not sent a whole request or not taken an answer, the longest wait first."""
    there: dict[Any, None] = {}
    """All, the one first whose last request from rest is longest ago (many at once are no rest)."""

    class Patient(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
        """A connection."""

        late: asyncio.TimerHandle | None = None
        """Of a request that is not whole."""
        slow: asyncio.TimerHandle | None = None
        """Of an answer that is not taken."""

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            transport.set_write_buffer_limits(0)  # what is left of an answer is told at once
            there[self] = None
            self._wait()
            if len(there) > most:
                next(other for other in (*waiting, *there) if other is not self).give_up()

        def data_received(self, data: bytes) -> None:
            if self.late is None:  # another request on an old connection
                self._wait()
            if self.cycle is None or self.cycle.response_complete:
                there.pop(self, None)
                there[self] = None
            super().data_received(data)
            cycle = self.cycle
            if cycle is not None and not cycle.more_body:
                self._stop_waiting()

        def connection_lost(self, exc: Exception | None) -> None:
            self._forget()
            super().connection_lost(exc)

        def pause_writing(self) -> None:
            super().pause_writing()
            if self.slow is None:
                self._watch()

        def resume_writing(self) -> None:
            super().resume_writing()
            self._stop_watching()

        def give_up(self) -> None:
            """End the connection, and count it no more; what it did not take is thrown away."""
            self._forget()
            if (end := self.transport.get_extra_info("socket")) is not None:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()

        def _forget(self) -> None:
            there.pop(self, None)
            self._stop_waiting()
            self._stop_watching()

        def _wait(self) -> None:
            waiting[self] = None
            self.late = self.loop.call_later(seconds, self.give_up)

        def _stop_waiting(self) -> None:
            if self.late is not None:
                self.late.cancel()
                self.late = None
            if self.slow is None:
                waiting.pop(self, None)

        def _watch(self) -> None:
            waiting[self] = None
            left = self.transport.get_write_buffer_size()
            self.slow = self.loop.call_later(seconds, self._look, left - TAKEN)

        def _look(self, most: int) -> None:
            """Whether so few bytes are left now."""
            if self.transport.get_write_buffer_size() > max(most, 0):
                self.give_up()
                return
            waiting.pop(self, None)  # who takes something is behind those who take nothing
            self._watch()

        def _stop_watching(self) -> None:
            if self.slow is not None:
                self.slow.cancel()
                self.slow = None
            if self.late is None:
                waiting.pop(self, None)

    return Patient


class FewLines(logging.Filter):
    """Lets so many lines through in so many seconds, and says how many it kept back.

    What a stranger can make a server write must not fill a disk.
    """

    def __init__(self, lines: int = LINES, per: float = PER) -> None:
        super().__init__()
        self.lines, self.per = lines, per
        self._since, self._count = -per, 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is written."""
        now = time.monotonic()
        if now - self._since >= self.per:
            if (kept := self._count - self.lines) > 0:
                record.msg = f"({kept:,} more lines like these) {record.msg}"
            self._since, self._count = now, 0
        self._count += 1
        return self._count <= self.lines


def few_lines() -> None:
    """Bound what the server and its loop write."""
    for name in ("uvicorn.error", "asyncio"):
        logger = logging.getLogger(name)
        if not any(isinstance(each, FewLines) for each in logger.filters):
            logger.addFilter(FewLines())
