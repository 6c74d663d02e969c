"""Score tables: what models say about items, one row per (item, class), read as a stream.

==========  ======================================================================================
column      content
==========  ======================================================================================
``item``    string, as in the label tables
``class``   int32 index, or string name
``score``   float32 or float64; a probability unless said otherwise
``logit``   optional, same type
==========  ======================================================================================

A table is one Parquet file or a folder of Parquet shards, read in the order of their names. The
class list travels in the schema metadata under ``reteach.classes`` as a JSON list. A table need not
have all classes of an item. Readers never hold more than a batch of rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..files import atomic_path
from ..item_index import ItemIndex, first_repeated, rows_among
from ..parquet import CHECKED, open_parquet
from .columns import class_list, column_kinds, dictionary, full, numbers, refuse_unfinished

if TYPE_CHECKING:
    import pyarrow as pa

Indices = NDArray[np.int64]
Column = Literal["score", "logit"]
BATCH = 2**18  # rows that a reader holds
GROUP = 2**18  # rows that a writer gathers before it writes them


@dataclass(frozen=True)
class ScoreRows:
    """A batch of B rows; all arrays are (B,)."""

    item: Indices
    """Index into the reader's :class:`ItemIndex`."""
    cls: Indices
    """Index into the class list."""
    score: NDArray[np.float32]
    logit: NDArray[np.float32] | None


@dataclass(frozen=True)
class ScoreTable:
    """A score table on disk: its files, and what their schemas say."""

    path: Path
    files: tuple[Path, ...]
    rows: int
    classes: tuple[str, ...] | None
    """The class list in the metadata, if there is one."""
    named: bool
    """Whether the column ``class`` holds names."""
    has_logit: bool

    def batches(
        self, items: ItemIndex, classes: Sequence[str], size: int = BATCH
    ) -> Iterator[ScoreRows]:
        """All rows in file order, ``size`` at a time.

        Args:
            items: numbers the items; grows unless closed.
            classes: the class list that ``cls`` is to index; the table's own may be in another
                order.

        Raises:
            UserError: an unknown item or class, a number that is not finite, a damaged file.
        """

        columns = ["item", "class", "score", *(["logit"] if self.has_logit else [])]
        table = rows_among(classes if self.classes is None else self.classes, classes)
        for file in self.files:
            with open_parquet(
                file,
                "not a readable score table",
                read_dictionary=["item", "class"],
                pre_buffer=False,  # it would keep every row group read so far
                buffer_size=2**20,
            ) as reader:
                for batch in reader.iter_batches(size, columns=columns, use_threads=False):
                    batch.validate(full=True)
                    yield ScoreRows(
                        _items(file, batch["item"], items),
                        self._class_index(file, batch["class"], classes, table),
                        numbers(file, batch["score"], "score"),
                        numbers(file, batch["logit"], "logit") if self.has_logit else None,
                    )

    def highest_class(self) -> int | None:
        """The largest class index, from the files' statistics; None where they do not say."""

        highest = -1
        for file in self.files:
            with open_parquet(file) as reader:
                columns = range(reader.metadata.num_columns)
                at = next(c for c in columns if reader.schema.column(c).path == "class")
                for group in range(reader.metadata.num_row_groups):
                    found = reader.metadata.row_group(group).column(at).statistics
                    if found is None or not found.has_min_max:
                        return None
                    highest = max(highest, int(found.max))
        return highest

    def _class_index(
        self, file: Path, column: pa.Array, classes: Sequence[str], table: Indices
    ) -> Indices:
        if self.named:
            distinct, index = dictionary(file, column, "class")
            names = distinct.to_pylist()
            found = rows_among(names, classes)
            if len(found) and found.min() < 0 and (found[index] < 0).any():
                name = names[int(index[found[index] < 0][0])]
                raise UserError(f"{file}: class {name!r} is not in the class list")
            return found[index]
        index = np.asarray(full(file, column, "class").to_numpy(zero_copy_only=False), np.int64)
        if len(index) and not 0 <= index.min() <= index.max() < len(table):
            raise UserError(
                f"{file}: class indices run from {index.min()} to {index.max()}, "
                f"the class list has {len(table)} names"
            )
        found = table[index]
        if len(found) and found.min() < 0:
            own = self.classes or ()
            raise UserError(
                f"{file}: class {own[int(index[found < 0][0])]!r} is not in the class list"
            )
        return found


def open_scores(path: str | Path) -> ScoreTable:
    """Read the schemas of a score table, and no rows yet.

    Raises:
        UserError: no such file, no Parquet file, a missing column, shards that differ.
    """

    path = Path(path)
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not files or not path.exists():
        raise UserError(
            f"score table {path} does not exist"
            if not path.exists()
            else f"the folder {path} has no .parquet files"
        )
    refuse_unfinished(path)
    found: ScoreTable | None = None
    rows = 0
    for file in files:
        with open_parquet(file) as reader:
            schema, count = reader.schema_arrow, reader.metadata.num_rows
        rows += count
        one = ScoreTable(
            path, tuple(files), 0, class_list(file, schema), *column_kinds(file, schema)
        )
        if found is not None and one != found:
            raise UserError(f"{file}: columns or class list differ from those of {files[0]}")
        found = one
    assert found is not None
    return ScoreTable(path, tuple(files), rows, found.classes, found.named, found.has_logit)


def open_tables(paths: Sequence[Path]) -> dict[str, ScoreTable]:
    """Score tables by model name: the file's stem, or the path where stems are not unique."""
    if not paths:
        raise UserError("name at least one score table (--scores)")
    stems = [path.stem for path in paths]
    names = stems if len(set(stems)) == len(stems) else [str(path) for path in paths]
    if (twice := first_repeated(names)) is not None:
        raise UserError(f"the score table {twice} is named twice")
    return {name: open_scores(path) for name, path in zip(names, paths, strict=True)}


def dense_scores(
    path: str | Path, items: Sequence[str], classes: Sequence[str]
) -> NDArray[np.float64]:
    """(N, C) scores of the items; NaN where the table has none.

    Raises:
        UserError: what :func:`open_scores` refuses, or no item has scores of all classes.
    """
    scores = np.full((len(items), len(classes)), np.nan)
    for rows in open_scores(path).batches(ItemIndex(items, closed=True), classes):
        scores[rows.item, rows.cls] = rows.score
    if np.isnan(scores).any(1).all():
        raise UserError(f"{path}: no item has scores of all {len(classes)} classes")
    return scores


@dataclass
class ScoreWriter:
    """Write a score table batch by batch; the file appears, whole, when the context ends well.

    ::

        with ScoreWriter(path, classes, logits=True) as out:
            for names, logits in predictions:
                out.write_dense(names, softmax(logits), logits)
    """

    path: Path
    classes: Sequence[str]
    logits: bool = False
    double: bool = False
    """Store float64 in place of float32."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """More of what the file says of itself."""
    _stack: ExitStack = field(default_factory=ExitStack, repr=False)
    _writer: Any = field(default=None, repr=False)
    _waiting: list[pa.Table] = field(default_factory=list, repr=False)

    def __enter__(self) -> Self:
        import pyarrow as pa
        import pyarrow.parquet as pq

        number = pa.float64() if self.double else pa.float32()
        columns = [("item", pa.string()), ("class", pa.int32()), ("score", number)]
        columns += [("logit", number)] if self.logits else []
        meta = {"reteach.classes": json.dumps(list(self.classes)), **self.metadata}
        schema = pa.schema(columns, meta)
        part = self._stack.enter_context(atomic_path(Path(self.path)))
        self._writer = self._stack.enter_context(pq.ParquetWriter(part, schema, **CHECKED))
        self._stack.push(self._finish)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def write(
        self,
        names: Sequence[str],
        item: NDArray[Any],
        cls: NDArray[Any],
        score: NDArray[Any],
        logit: NDArray[Any] | None = None,
    ) -> None:
        """Rows (B,): ``item`` indexes ``names``, ``cls`` indexes the class list."""
        import pyarrow as pa

        schema = self._writer.schema
        columns = [
            pa.array(names, pa.string()).take(pa.array(item)),
            pa.array(np.asarray(cls, np.int32)),
            pa.array(np.asarray(score), schema.field("score").type),
        ]
        if self.logits:
            if logit is None:
                raise ValueError("this score table has logits: pass them")
            columns.append(pa.array(np.asarray(logit), schema.field("logit").type))
        self._waiting.append(pa.Table.from_arrays(columns, schema=schema))
        if sum(map(len, self._waiting)) >= GROUP:
            self._flush()

    def write_dense(
        self, names: Sequence[str], score: NDArray[Any], logit: NDArray[Any] | None = None
    ) -> None:
        """All classes of B items: ``score`` and ``logit`` are (B, C)."""
        rows, columns = np.indices(score.shape)
        flat = None if logit is None else logit.ravel()
        self.write(names, rows.ravel(), columns.ravel(), score.ravel(), flat)

    def _finish(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        if self._waiting:
            self._writer.write_table(pa.concat_tables(self._waiting))
            self._waiting.clear()


def _items(file: Path, column: pa.Array, items: ItemIndex) -> Indices:
    names, index = dictionary(file, column, "item")
    rows = np.full(len(names), -1, np.int64)
    rows[index] = 0  # the dictionary may hold names of other batches
    used = np.flatnonzero(rows == 0)
    rows[used] = items.rows(names.take(used).to_pylist(), str(file))
    return rows[index]
