"""Feature tables that are kept between runs, by what is in the images and how they are made.

A table stands in a folder of its own, called after a digest of the images' contents, of the network's
weights and of the preprocessing: names and order do not count, and images that are there twice are computed
once. Tables that have not been used for longest go when all together take more than the cache may.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from ..data.sources.base import Source, SourceWrapper, shrunk
from ..data.sources.feature_table import Half, is_table, read_index, read_table
from ..data.sources.parts import RowParts
from ..errors import UserError
from ..models.forward import Backend
from ..progress import about_what, note
from ..sealed import Damaged
from .embed import embed_parts, making
from .extractor import Extractor

PLACE, SIZE = "RETEACH_FEATURES", "RETEACH_FEATURES_GB"
"""Environment variables: the folder of the cache, and how many gigabytes it may take."""
USUAL_SIZE = 10.0
BLOCK = 1024
"""Images per shard: what a crash may cost."""
PINNED = ("backend", "batch_size")
"""What decides on the last bits of features; a run that goes on keeps to it."""


def usual_place() -> Path:
    """Where features are kept unless told otherwise."""
    if given := os.environ.get(PLACE):
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "reteach" / "features"


def usual_size() -> float:
    """How many gigabytes the cache may take.

    Raises:
        UserError: the environment variable is no number.
    """
    given = os.environ.get(SIZE, "")
    try:
        size = float(given or USUAL_SIZE)
    except ValueError:
        size = -1.0
    if not size > 0:
        raise UserError(f"{SIZE} must be a number of gigabytes above 0, got {given!r}")
    return size


@final
@dataclass(frozen=True, eq=False)
class Embedded:
    """Features of images by what is in them.

    Args:
        settings: how they were made.
        row_of: digest of an image's content -> its row.
        features: (N, D).
    """

    settings: Mapping[str, Any]
    row_of: Mapping[bytes, int]
    features: Half


def embedded(
    extractor: Extractor,
    source: Source,
    digests: NDArray[np.uint8],
    *,
    place: Path | None = None,
    pinned: Mapping[str, Any] | None = None,
    workers: int = 0,
) -> Embedded:
    """The features of images, from the cache or computed now and kept there.

    Args:
        source: N images.
        digests: (N, 16) of each one's content; 0: it is not wanted.
        place: folder of the cache.
        pinned: ``backend`` and ``batch_size`` that the features must have been computed with.
        workers: processes that decode.

    Raises:
        UserError: an image cannot be read, or the cache cannot be written.
    """
    place = usual_place() if place is None else place
    content = _Contents.of(source, digests)
    made = making(extractor)
    key = hashlib.sha256(json.dumps([made, content.items], sort_keys=True).encode()).hexdigest()[
        :32
    ]
    given = {name: (pinned or {}).get(name) for name in PINNED}
    with _locked(place, key):
        folder = _folder(place, key, given)
        found = _kept(folder)
        if found is None:
            found = _computed(extractor, content, folder, given, workers)
        elif not about_what():  # a comparison has them for each of its trainings
            note(f"features of {len(content.items):,} images: from {folder}")
        with suppress(OSError):
            os.utime(folder)
    _evict(place, folder, usual_size())
    return found


def _computed(
    extractor: Extractor, content: _Contents, folder: Path, given: dict[str, Any], workers: int
) -> Embedded:
    note(f"computing {extractor.words} for {len(content.items):,} images, kept in {folder}")
    backend: Backend | None = given["backend"]
    total = embed_parts(
        extractor,
        RowParts(content, BLOCK),
        folder,
        block=BLOCK,
        batch_size=given["batch_size"],
        backend=backend,
        workers=workers,
    )
    if total.unreadable:
        item, reason = total.unreadable[0]
        shutil.rmtree(folder, ignore_errors=True)
        raise UserError(
            f"image {content.name(item)!r} cannot be read any more ({reason}), and its features are not "
            "in the cache: put it back"
        )
    found = _kept(folder)
    assert found is not None
    return found


def _kept(folder: Path) -> Embedded | None:
    """What an earlier use has left; None: nothing whole."""
    if not is_table(folder):
        return None
    try:
        if not read_index(folder)["complete"]:
            return None
        table = read_table(folder)
    except Damaged:
        note(f"{folder} is damaged, and mended")
        return None
    rows = {bytes.fromhex(item): row for row, item in enumerate(table.items)}
    return Embedded(table.settings, rows, table.features[:, 0])


def _folder(place: Path, key: str, pinned: Mapping[str, Any]) -> Path:
    """Where the table is: that which is there if it was computed as it must be, else one beside it."""
    folder = place / key
    if is_table(folder):
        try:
            settings = read_index(folder)["settings"]
        except UserError:
            shutil.rmtree(folder)
            return folder
        if any(value is not None and settings[name] != value for name, value in pinned.items()):
            return place / f"{key}-{pinned['backend']}-{pinned['batch_size']}"
    return folder


@contextmanager
def _locked(place: Path, key: str) -> Iterator[None]:
    """Alone with a table: another process that wants it waits, and then finds it."""
    try:
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{key}.lock").touch()
    except OSError as error:
        raise UserError(
            f"cannot write {place}: {error.strerror}; name another folder with --features-cache"
        ) from None
    with open(place / f"{key}.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _evict(place: Path, keep: Path, gigabytes: float) -> None:
    """Delete the tables that have not been used for longest, until the rest takes no more than it may."""
    tables = [(folder.stat().st_mtime, folder) for folder in place.iterdir() if is_table(folder)]
    sizes = {folder: _bytes(folder) for _, folder in tables}
    left = sum(sizes.values())
    for _, folder in sorted(tables):
        if left > gigabytes * 1e9 and folder != keep and _free(place, folder.name.split("-")[0]):
            shutil.rmtree(folder, ignore_errors=True)
            left -= sizes[folder]
    if left > gigabytes * 1e9:
        note(
            f"{place} takes {left / 1e9:.1f} GB, more than {SIZE} allows ({gigabytes:g}): what it holds is "
            "in use"
        )


def _free(place: Path, key: str) -> bool:
    """Whether nobody is at work on a table."""
    try:
        with open(place / f"{key}.lock", "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError:
        return False


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


@final
@dataclass(frozen=True, eq=False, repr=False)
class _Contents(SourceWrapper):
    """Each different image of a source once, called after its content, in the order of these names."""

    source: Source
    rows: NDArray[np.int64]
    digests: tuple[str, ...]

    @staticmethod
    def of(source: Source, digests: NDArray[np.uint8]) -> _Contents:
        wanted = np.flatnonzero(digests.any(1))
        unique, first = np.unique(digests[wanted], axis=0, return_index=True)
        return _Contents(source, wanted[first], tuple(row.tobytes().hex() for row in unique))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def items(self) -> Sequence[str]:
        """Digests in hexadecimal digits."""
        return self.digests

    @property
    def class_of(self) -> None:
        """None: the features of an image do not depend on its class."""
        return None

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return dict(zip(self.digests, self.rows.tolist(), strict=True))

    def name(self, item: str) -> str:
        """What the user calls an image."""
        return self.source.items[self._row_of[item]]

    def read(self, row: int) -> NDArray[np.uint8]:
        """(H, W, 3) uint8; raises ImageError."""
        return self.source.read(int(self.rows[row]))

    def shrunk(self, at_least: int) -> _Contents:
        """The same images, perhaps smaller."""
        return _Contents(shrunk(self.source, at_least), self.rows, self.digests)
