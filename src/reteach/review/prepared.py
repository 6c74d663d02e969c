"""The prepared folder of a review: arrays that are mapped into memory, and a record that says what they are.

==========================  ==========================================================================
file                        content
==========================  ==========================================================================
``review.json``             :class:`ReviewRecord`
``items.parquet``           column ``item``: N names
``given-starts.npy``        (N + 1,) int64; the given labels of item i are
``given-columns.npy``       columns[starts[i]:starts[i + 1]], (E,) int32 class numbers
``unknown-*.npy``           the same of entries that are neither present nor absent; label sets only
``features.npy``            (N, D) float16
``moments.npy``             (D + 2, D) float32: mean, spread and second moments of the features
``near.npy``                (N, P) float32: features in the directions in which they differ most
``map.npy``                 (N, 2) float32: a picture of the features
``copies.npy``              (N,) int32: images with one number are copies of each other
``dispute.npy``             optional, (N,) float32: how far raters disagree, 0 … 1
``opinion-*.npy``           optional: ``top-classes``, ``top-scores`` and ``given-scores`` of another model
``learned/K/``              what heads said after the K-th time of learning: :class:`Learned`
==========================  ==========================================================================
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..files import atomic_path
from ..labels import Multi, Rows
from ..parquet import read_columns
from ..records.record import RecordFile

Kind = Literal["single", "multi"]
Floats = NDArray[np.float32]
Half = NDArray[np.float16]
TOP = 10
"""Classes per item whose scores are kept."""
LEARNED, GUESS = "learned", "guess.npy"


@final
@dataclass(frozen=True)
class ReviewRecord:
    """What a prepared folder is about.

    Args:
        kind: single or multi.
        count: N.
        identity: a digest of items, classes and given labels: decisions are on these.
        images: where the pictures are, as ``--images`` names it; empty: there are none.
        labels: the table that the given labels are from; empty: they are from elsewhere.
        features: what the features are, in words.
        settings: of the features, as the feature table says them.
        source: images, clean, run or ratings.
        train: arguments of the next ``reteach train``, without images, labels and out.
        folds: of the heads.
        seed: of every random choice.
    """

    kind: Kind
    count: int
    classes: tuple[str, ...]
    identity: str
    images: str
    labels: str
    features: str
    settings: dict[str, Any]
    source: str = "images"
    train: tuple[str, ...] = ()
    folds: int = 5
    seed: int = 0


@final
@dataclass(frozen=True)
class LearnedRecord:
    """When heads learned.

    Args:
        action: number of the newest decision that they know.
        seconds: that it took.
        reviewed: items that were decided by then.
    """

    action: int
    seconds: float
    reviewed: int


REVIEW = RecordFile("review.json", ReviewRecord)
LEARNED_FILE = RecordFile("learned.json", LearnedRecord)


@final
@dataclass(frozen=True, eq=False)
class Opinion:
    """What a model says of each item that it has not learned from.

    Args:
        top: (N, K) class numbers, most likely first; -1: fewer are known.
        scores: (N, K) their probabilities.
        given: (E,) probabilities of the given labels, in the order of their entries.
    """

    top: NDArray[np.int32]
    scores: Floats
    given: Floats

    def save(self, folder: Path, prefix: str = "") -> None:
        """As three arrays."""
        np.save(folder / f"{prefix}top-classes.npy", self.top.astype(np.int32))
        np.save(folder / f"{prefix}top-scores.npy", self.scores.astype(np.float32))
        np.save(folder / f"{prefix}given-scores.npy", self.given.astype(np.float32))

    @staticmethod
    def load(folder: Path, prefix: str = "") -> Opinion:
        """Mapped into memory."""
        return Opinion(
            mapped(folder / f"{prefix}top-classes.npy"),
            mapped(folder / f"{prefix}top-scores.npy"),
            mapped(folder / f"{prefix}given-scores.npy"),
        )


@final
@dataclass(frozen=True, eq=False)
class Learned:
    """An opinion out of fold, and when it was formed.

    Args:
        number: of the learning; 0: before any decision.
        guess: (N,) that the given labels are wrong, see :func:`.estimate.guess`.
    """

    number: int
    record: LearnedRecord
    opinion: Opinion
    guess: Floats


@final
class Prepared:
    """A prepared folder, its arrays mapped into memory."""

    def __init__(self, folder: Path) -> None:
        record = REVIEW.read(folder)
        if record is None:
            raise UserError(
                f"{folder} is no prepared review: make one with 'reteach review --images … --labels …'"
            )
        self.folder = folder
        self.record = record
        starts = mapped(folder / "given-starts.npy")
        if len(starts) != record.count + 1:
            raise UserError(f"{folder} is damaged: {len(starts) - 1:,} of {record.count:,} labels")
        self.given = Entries(starts, mapped(folder / "given-columns.npy"))
        unknown = folder / "unknown-starts.npy"
        self.unknown = (
            Entries(mapped(unknown), mapped(folder / "unknown-columns.npy"))
            if unknown.is_file()
            else None
        )

    @cached_property
    def names(self) -> Any:
        """The N item names, as an Arrow array of text."""
        table = read_columns(self.folder / "items.parquet", ["item"])
        if len(table) != self.record.count:
            raise UserError(f"{self.folder} is damaged: {len(table):,} items in items.parquet")
        return table["item"].combine_chunks()

    @cached_property
    def lower_names(self) -> Any:
        """The names in small letters, to look for text in."""
        import pyarrow.compute as pc

        return pc.utf8_lower(self.names)

    def name(self, row: int) -> str:
        """The name of one item."""
        return str(self.names[row].as_py())

    @cached_property
    def features(self) -> Half:
        """(N, D)."""
        return mapped(self.folder / "features.npy")

    @cached_property
    def near(self) -> Floats:
        """(N, P) the features in few directions."""
        return mapped(self.folder / "near.npy")

    @cached_property
    def positions(self) -> Floats:
        """(N, 2) of the map."""
        return mapped(self.folder / "map.npy")

    @cached_property
    def copies(self) -> NDArray[np.int32]:
        """(N,) the group of copies of each item."""
        return mapped(self.folder / "copies.npy")

    @cached_property
    def dispute(self) -> Floats | None:
        """(N,) how far raters disagree; None: there were no raters."""
        file = self.folder / "dispute.npy"
        return mapped(file) if file.is_file() else None

    @cached_property
    def second_opinion(self) -> Opinion | None:
        """Of another model than the heads; None: there is none."""
        there = (self.folder / "opinion-top-classes.npy").is_file()
        return Opinion.load(self.folder, "opinion-") if there else None

    def learned(self, number: int | None = None) -> Learned:
        """What heads said after the ``number``-th time of learning; None: the last."""
        if number is None:
            number = self.newest()
        folder = self.folder / LEARNED / str(number)
        record = LEARNED_FILE.read(folder)
        if record is None:
            raise UserError(f"{folder} is damaged: learned.json is missing")
        return Learned(number, record, Opinion.load(folder), mapped(folder / GUESS))

    def newest(self) -> int:
        """How often heads have learned since the folder was made."""
        return max(self._numbers())

    def _numbers(self) -> list[int]:
        found = [int(p.name) for p in (self.folder / LEARNED).glob("*") if p.name.isdigit()]
        if not found:
            raise UserError(f"{self.folder} is damaged: {LEARNED} is empty")
        return found

    def add_learned(self, record: LearnedRecord, opinion: Opinion, guess: Floats) -> Learned:
        """Keep what heads say now, whole or not at all; of earlier times the first stays."""
        with tempfile.TemporaryDirectory(dir=self.folder, prefix="learning-") as scratch:
            part = Path(scratch) / "new"
            part.mkdir()
            save_learned(part, record, opinion, guess)
            number = _moved(part, self.folder / LEARNED, max(self._numbers()) + 1)
        for old in self._numbers():
            if 0 < old < number - 1:  # another process may still be at the last but one
                shutil.rmtree(self.folder / LEARNED / str(old), ignore_errors=True)
        return self.learned(number)


def save_learned(folder: Path, record: LearnedRecord, opinion: Opinion, guess: Floats) -> None:
    """What :meth:`Prepared.learned` reads; the record last."""
    opinion.save(folder)
    np.save(folder / GUESS, guess.astype(np.float32))
    LEARNED_FILE.write(folder, record)


def _moved(part: Path, to: Path, number: int) -> int:
    """Move a folder to the first free number."""
    while True:
        try:
            os.rename(part, to / str(number))
            return number
        except OSError:
            if not (to / str(number)).exists():
                raise
            number += 1


@final
@dataclass(frozen=True, eq=False)
class Entries:
    """The classes of N items, one after the other.

    Args:
        starts: (N + 1,) the classes of item i are ``columns[starts[i]:starts[i + 1]]``.
        columns: (E,) class numbers, ascending within an item.
    """

    starts: NDArray[np.int64]
    columns: NDArray[np.int32]

    @staticmethod
    def of(labels: Multi) -> Entries:
        """The sets."""
        return Entries(labels.starts, labels.columns.astype(np.int32))

    def __len__(self) -> int:
        return len(self.starts) - 1

    def set_of(self, row: int) -> tuple[int, ...]:
        """The classes of one item."""
        return tuple(self.columns[self.starts[row] : self.starts[row + 1]].tolist())

    @cached_property
    def sizes(self) -> Rows:
        """(N,) how many classes each item has."""
        return np.diff(self.starts)

    @cached_property
    def rows(self) -> NDArray[np.int32]:
        """(E,) the item of each entry."""
        return np.repeat(np.arange(len(self), dtype=np.int32), self.sizes)

    def having(self, column: int) -> NDArray[np.bool_]:
        """(N,) the items that have a class."""
        if len(self.columns) == len(self) and (self.sizes == 1).all():
            return np.asarray(self.columns == column)
        found = np.zeros(len(self), np.bool_)
        found[self.rows[self.columns == column]] = True
        return found

    @cached_property
    def first(self) -> NDArray[np.int32]:
        """(N,) the first class of each item, -1 for none: of single labels, the label."""
        out = np.full(len(self), -1, np.int32)
        some = self.sizes > 0
        out[some] = self.columns[self.starts[:-1][some]]
        return out

    def save(self, folder: Path, name: str) -> None:
        """As two arrays."""
        np.save(folder / f"{name}-starts.npy", self.starts.astype(np.int64))
        np.save(folder / f"{name}-columns.npy", self.columns.astype(np.int32))


def mapped(file: Path) -> NDArray[Any]:
    """An array that is read where it is looked at.

    Raises:
        UserError: missing or damaged.
    """
    try:
        found: NDArray[Any] = np.load(file, mmap_mode="r")
        return found
    except (OSError, ValueError) as error:
        raise UserError(
            f"{file} is damaged or missing: {' '.join(str(error).split())[:100]}"
        ) from None


def write_items(folder: Path, items: Iterable[str]) -> None:
    """The names, as ``items.parquet``."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    column = items if isinstance(items, pa.Array) else pa.array(items, pa.string())
    with atomic_path(folder / "items.parquet") as part:
        pq.write_table(pa.table({"item": column}), part, compression="zstd")


def identity_of(items: Any, classes: Sequence[str], given: Entries) -> str:
    """A digest of what decisions are on.

    Args:
        items: N names, as an Arrow array.
    """
    found = hashlib.blake2b(repr((len(given), tuple(classes))).encode(), digest_size=16)
    for start in range(0, len(items), 1 << 16):
        found.update("\n".join(items[start : start + (1 << 16)].to_pylist()).encode())
    found.update(np.ascontiguousarray(given.starts, np.int64).tobytes())
    found.update(np.ascontiguousarray(given.columns, np.int32).tobytes())
    return found.hexdigest()
