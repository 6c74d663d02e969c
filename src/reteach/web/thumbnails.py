"""Small pictures of very many images: each made once, kept in one file of bounded size.

The file is a cache and nothing more: it may be deleted at any time, and one that is damaged or that
belongs to other images is begun again. A picture whose file has changed since is made again.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import final

from ..data.loading.decode import ImageError
from .images import ServedImages, jpeg

SIDE = 256
"""Pixels of the longer side."""
MOST_BYTES = 4 << 30
QUALITY = 80
FORMAT = "1"
CHUNK = 64
QUIET = 0.3
"""Seconds without a visitor's request after which the maker goes on."""


@final
@dataclass(frozen=True)
class Making:
    """How far the pictures are.

    Args:
        made: pictures in the file, with those that could not be made.
        failed: images that cannot be shown.
        bytes: of all pictures.
        full: the file has reached its bound; the rest are made when somebody looks.
        running: the maker is at work.
    """

    made: int
    failed: int
    bytes: int
    full: bool
    running: bool


@final
class Thumbnails:
    """Thumbnails by row; safe between threads, and between the servers of one folder.

    Args:
        file: where they are kept.
        identity: of the images; pictures of another are thrown away.
        images: where they are read from.
        name_of: the name of a row's image.
        most: bytes of pictures in the file; the oldest go first.
    """

    def __init__(
        self,
        file: Path,
        identity: str,
        images: ServedImages,
        name_of: Callable[[int], str],
        most: int = MOST_BYTES,
    ) -> None:
        self.file, self.images, self.name_of, self.most = file, images, name_of, most
        self._lock = threading.Lock()
        self._asked = 0.0
        self._end = threading.Event()
        self._maker: threading.Thread | None = None
        self._full = False
        try:
            self._cache = _opened(file, identity)
        except sqlite3.DatabaseError:  # no database, or a damaged one
            for part in (file, *(file.with_name(f"{file.name}-{end}") for end in ("wal", "shm"))):
                part.unlink(missing_ok=True)
            self._cache = _opened(file, identity)

    def get(self, row: int) -> bytes:
        """A row's picture, as JPEG.

        Raises:
            ImageError: it cannot be shown.
        """
        self.wait()
        name = self.name_of(row)
        stamp = self.images.stamp(name)
        with self._lock:
            found = self._cache.execute(
                "SELECT stamp, data, why FROM picture WHERE row = ?", (row,)
            ).fetchone()
        if found is None or found[0] != stamp:
            found = self._make(name, stamp)
            self._keep([(row, *found)])
        _, data, why = found
        if data is None:
            raise ImageError(str(why))
        return bytes(data)

    def wait(self) -> None:
        """Somebody is served: the maker waits a moment."""
        self._asked = time.monotonic()

    def fill(self, rows: Callable[[], Iterable[int]]) -> None:
        """Make the pictures of rows in the background, in their order, while nobody asks for others."""
        self._maker = threading.Thread(target=self._fill, args=(rows,), daemon=True)
        self._maker.start()

    def state(self) -> Making:
        """How far they are."""
        running = self._maker is not None and self._maker.is_alive()
        made = self._one("SELECT count(*) FROM picture")
        failed = self._one("SELECT count(*) FROM picture WHERE data IS NULL")
        return Making(made, failed, self._size(), self._full, running)

    def close(self) -> None:
        """Stop the maker, and close the file."""
        self._end.set()
        if self._maker is not None:
            self._maker.join(10)
        with self._lock:
            self._cache.close()

    def _one(self, query: str) -> int:
        with self._lock:
            return int(self._cache.execute(query).fetchone()[0])

    def _size(self) -> int:
        return self._one("SELECT bytes FROM about")

    def _make(self, name: str, stamp: str) -> tuple[str, bytes | None, str | None]:
        try:
            with self.images.reading:
                pixels = self.images.pixels(name, SIDE)
            return stamp, jpeg(pixels, SIDE, QUALITY), None
        except ImageError as error:
            return stamp, None, str(error)

    def _keep(self, pictures: Sequence[tuple[int, str, bytes | None, str | None]]) -> None:
        with self._lock:
            self._cache.execute("BEGIN IMMEDIATE")
            self._forget([row for row, *_ in pictures])
            self._cache.executemany(
                "INSERT INTO picture (row, stamp, data, why) VALUES (?, ?, ?, ?)", pictures
            )
            more = sum(len(data or b"") for _, _, data, _ in pictures)
            self._cache.execute("UPDATE about SET bytes = bytes + ?", (more,))
            while self._cache.execute("SELECT bytes FROM about").fetchone()[0] > self.most:
                oldest = "SELECT row FROM picture WHERE data IS NOT NULL ORDER BY made LIMIT 64"
                self._forget([row for (row,) in self._cache.execute(oldest)])
            self._cache.execute("COMMIT")

    def _forget(self, rows: Sequence[int]) -> None:
        these = f"FROM picture WHERE row IN ({','.join('?' * len(rows))})"
        (less,) = self._cache.execute(f"SELECT total(length(data)) {these}", rows).fetchone()
        self._cache.execute(f"DELETE {these}", rows)
        self._cache.execute("UPDATE about SET bytes = bytes - ?", (int(less),))

    def _fill(self, rows: Callable[[], Iterable[int]]) -> None:
        with suppress(OSError, AttributeError):  # Linux: of this thread alone
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 15)
        batch: list[int] = []
        with suppress(sqlite3.ProgrammingError):  # closed meanwhile
            for row in rows():
                batch.append(row)
                if len(batch) == CHUNK and not self._fill_some(batch):
                    return
                batch = [] if len(batch) == CHUNK else batch
            self._fill_some(batch)

    def _fill_some(self, rows: Sequence[int]) -> bool:
        """Make what is missing of some rows; False: it is enough."""
        with self._lock:
            marks = ",".join("?" * len(rows))
            query = f"SELECT row FROM picture WHERE row IN ({marks})"
            there = {row for (row,) in self._cache.execute(query, list(rows))}
        new = []
        for row in rows:
            while time.monotonic() - self._asked < QUIET and not self._end.wait(QUIET / 2):
                pass
            if self._end.is_set():
                return False
            if row not in there:
                name = self.name_of(row)
                new.append((row, *self._make(name, self.images.stamp(name))))
        self._full = self._size() + sum(len(n[2] or b"") for n in new) > 0.9 * self.most
        if new and not self._full:
            self._keep(new)
        return not self._full


def _opened(file: Path, identity: str) -> sqlite3.Connection:
    """The file, empty or with pictures of the same images."""
    found = sqlite3.connect(file, timeout=30, isolation_level=None, check_same_thread=False)
    try:
        found.execute("PRAGMA journal_mode = WAL")
        found.execute("PRAGMA synchronous = NORMAL")
        found.execute("CREATE TABLE IF NOT EXISTS about (of TEXT, bytes INTEGER)")
        of = f"{FORMAT} {SIDE} {identity}"
        if found.execute("SELECT of FROM about").fetchall() != [(of,)]:
            found.execute("DROP TABLE IF EXISTS picture")
            found.execute("DELETE FROM about")
            found.execute("INSERT INTO about VALUES (?, 0)", (of,))
        found.execute(
            "CREATE TABLE IF NOT EXISTS picture (made INTEGER PRIMARY KEY AUTOINCREMENT, "
            "row INTEGER UNIQUE, stamp TEXT, data BLOB, why TEXT)"
        )
        found.execute("CREATE INDEX IF NOT EXISTS failed ON picture (row) WHERE data IS NULL")
        found.execute("SELECT row FROM picture LIMIT 1").fetchone()
    except sqlite3.DatabaseError:
        found.close()
        raise
    return found
