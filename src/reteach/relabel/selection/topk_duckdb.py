"""The statements behind :mod:`.topk`, on a private DuckDB database that may spill."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, final

import numpy as np
from numpy.typing import NDArray

from ...errors import UserError
from ...files import atomic_path
from ...parquet import BadParquet
from ...scores.columns import one_line
from .database import Database, arrow, quoted
from .ranked import RankedRows, ranked
from .score_shards import ShardPiece, Shards, Skipped, pieces, shuffled
from .sieve import Sieve, WantedRows

if TYPE_CHECKING:
    from ...progress import Progress

FIRST, LARGEST = 2**20, 2**25
"""Rows in the first pieces, and in the largest ones."""
SIFTED, LARGEST_SIFTED = 2**17, 2**19
"""The same where Arrow reads them, the latter for each thread: what passes the bars waits in memory."""
LARGEST_GROUP = 2**24
"""Rows of a row group that Arrow may read."""
_STEPS = 8
"""Quantiles of a class among which a cut finds its bar."""
_AT_ONCE = 2**22
"""Rows whose quantiles are computed together."""


class DamagedShard(Exception):
    """A shard of which rows have been kept cannot be read to its end."""


@final
class Ranking:
    """The K best rows of each class of a table, gathered piece by piece.

    ``table`` loses the shards that cannot be read.

    ``quota`` has a row per class: its name (as in the shards), its index, K, and its K-th best row
    so far (``bar``, ``bar_item``), below which nothing matters any more. ``kept`` has the rows that were
    above it when they were read; where they all fit in memory they are ranked there instead. ``excluded``
    items and ``banned`` (item, class) pairs never count.
    """

    def __init__(
        self,
        db: Database,
        table: Shards,
        classes: Sequence[str],
        by: Literal["score", "logit", "random"],
        minimum: float | None,
        seed: int,
        sampled: str | None = None,
    ) -> None:
        layout = table.layout
        self.table = table
        self._db, self._layout, self._minimum, self._seed = db, layout, minimum, seed
        self._classes = tuple(classes)
        self._random, self._sampled = by == "random", sampled
        self._key = "logit" if by == "logit" else "score"
        self._numbers = ["score", "logit"] if by == "logit" else ["score"]
        kind = {"score": layout.score, "logit": layout.logit, "random": "double"}[by]
        self._excluded: Any = None  # an Arrow array
        self._ranked: RankedRows | None = None
        self._types = {
            "item": "VARCHAR" if layout.item == "text" else "BIGINT",
            "name": "INTEGER" if layout.classes_are == "indices" else "VARCHAR",
            "key": str(kind),
        }
        db.run(f"create table excluded (item {self._types['item']})")
        db.run(f"create table banned (item {self._types['item']}, class INTEGER)")

    def exclude(self, items: Iterable[str]) -> None:
        """Never pick these items."""
        names, whole = list(items), self._layout.item == "integer"
        try:
            array = arrow(np.array(list(map(int, names)), np.int64) if whole else names)
        except (ValueError, OverflowError):
            raise UserError("the exclude list has names, but items are integers here") from None
        self._excluded = array
        self._db.give("given", {"item": array})
        self._db.run("insert into excluded select distinct item from given")

    def excluded(self) -> set[str]:
        """The excluded items that are in the table."""
        if not self._db.count("excluded"):
            return set()
        rows = self._db.run(
            f"""select distinct item from ({self._items()})
            where item in (select item from excluded)""",
            [shard.file for shard in self.table.shards],
        )
        return {str(item) for (item,) in rows}

    def example(self) -> str | None:
        """Some item of the table."""
        rows = self._db.run(f"{self._items()} limit 1", [self.table.shards[0].file])
        return str(rows[0][0]) if rows else None

    def read(
        self, quotas: NDArray[np.int64], top: int | None, on_progress: Progress | None
    ) -> None:
        """Go through the table once, and keep the ``quotas`` (C,) best rows of each class.

        Args:
            top: drop rows that are not among the ``top`` best of their item within a piece.

        Raises:
            Damaged: a large shard turned out to be damaged half-way; begin again without it.
        """
        index = np.arange(len(quotas), dtype=np.int32)
        names = index if self._layout.classes_are == "indices" else arrow(list(self._classes))
        given = {"name": names, "class": index, "k": quotas}
        self._db.give("given", given)
        item, key = self._types["item"], self._types["key"]
        self._db.run(
            f"create or replace table quota as select *, null::{item} as bar_item, "
            f"(case when k = 0 then 'inf' else '-inf' end)::{key} as bar from given"
        )
        numbers = ", ".join(f"null::{key} as {name}" for name in self._numbers)
        self._db.run(
            f"create or replace table kept as select null::{item} as item, null::INTEGER as class, "
            f"{numbers}, null::BIGINT as rank where false"
        )
        self._ranked = None
        if self._simple(top):
            self._ranked = self._sift(quotas, on_progress)
        else:
            self._read(quotas, top, on_progress)
        if self._ranked is None:
            self._rank()

    def _read(
        self, quotas: NDArray[np.int64], top: int | None, on_progress: Progress | None
    ) -> None:
        """All rows go through DuckDB, which looks at other columns than the key, or at rows together."""
        room = 2 * int(quotas.sum()) + FIRST
        held = done = 0
        for piece in pieces(self.table.shards, FIRST, LARGEST):
            held = self._shrink(held + self._insert(piece, top), room)
            done += piece.rows
            if on_progress is not None:
                on_progress(done, f"{held:,} rows kept")

    def _simple(self, top: int | None) -> bool:
        """Whether a row counts by what stands in it, and Arrow can read it in bounded memory."""
        groups = (rows for shard in self.table.shards for rows in shard.groups)
        return (
            top is None
            and not self._random
            and self._sampled is None
            and self._layout.classes_are != "lists"
            and max(groups, default=0) <= LARGEST_GROUP
        )

    def _sift(self, quotas: NDArray[np.int64], on_progress: Progress | None) -> RankedRows | None:
        """Most rows are dropped as they are read; DuckDB gets the rest, unless it fits in memory.

        Where a bar ahead of its proof turns out to be too high, its class is read once more.

        Returns:
            the rows, where DuckDB does not have them.
        """
        sieve = self._sifted(quotas, self.table.rows, on_progress)
        if sieve.whole and sieve.rows and not sieve.missed(quotas).any():
            table = sieve.take()
            assert table is not None
            return ranked(table, self._key, self._numbers, quotas)
        self._hand_over(sieve)
        missed = self._missed(sieve)
        if missed.any():
            index = ", ".join(map(str, np.flatnonzero(missed).tolist()))
            self._db.run(f"delete from kept where class in ({index})")
            self._hand_over(self._sifted(np.where(missed, quotas, 0), 0, on_progress))
        return None

    def _sifted(self, quotas: NDArray[np.int64], total: int, on_progress: Progress | None) -> Sieve:
        """All pieces, through a sieve that looks ahead to ``total`` rows; it has what is not kept yet."""
        number: dict[str, type[np.floating[Any]]] = {"float": np.float32, "double": np.float64}
        layout = self._layout
        wanted = WantedRows(
            quotas,
            self._classes if self._layout.classes_are == "names" else None,
            tuple(self._numbers),
            self._key,
            number[str(getattr(layout, self._key))],
            None if self._minimum is None else number[str(layout.score)](self._minimum),
            self._excluded,
        )
        sieve = Sieve.empty(wanted, total)
        room = 2 * int(quotas.sum()) + FIRST
        held = 0
        with ThreadPoolExecutor(self._db.threads) as pool:
            size = LARGEST_SIFTED * self._db.threads
            for piece in shuffled(self.table.shards, SIFTED, size):
                self._absorb(sieve, piece, pool)
                if sieve.rows > wanted.room:  # they shall not wait in memory
                    sieve.whole = False
                    held = self._shrink(held + self._hand_over(sieve), room)
                    sieve.bars = np.maximum(sieve.bars, self._bars().astype(wanted.kind))
                if on_progress is not None:
                    on_progress(sieve.seen, f"{held + sieve.rows:,} rows kept")
        sieve.tighten()
        return sieve

    def _missed(self, sieve: Sieve) -> NDArray[np.bool_]:
        """(C,) the classes of which fewer than K rows reach the bar that others were dropped by."""
        high = np.isfinite(sieve.bars)
        self._db.give("bars", {"class": np.flatnonzero(high), "least": sieve.bars[high]})
        found = self._db.run(
            f"""select q.class from quota q join bars b on b.class = q.class
            left join kept s on s.class = q.class and s.{self._key} >= b.least
            group by q.class, q.k having count(s.class) < q.k"""
        )
        self._db.forget("bars")
        missed = np.zeros(len(sieve.bars), np.bool_)
        missed[[cls for (cls,) in found]] = True
        return missed

    def _absorb(self, sieve: Sieve, piece: dict[Path, list[int]], pool: ThreadPoolExecutor) -> None:
        """Read a piece; files that cannot be read are set aside.

        Raises:
            DamagedShard: other rows of it may have been read before, or come later.
        """
        waiting = [
            (file, pool.submit(sieve.another().read, file, groups))
            for file, groups in piece.items()
        ]
        whole = {shard.file: len(shard.groups) for shard in self.table.shards}
        for file, part in waiting:
            try:
                sieve.absorb(part.result())
            except BadParquet as error:
                self.table = self.table.without(Skipped(file, error.reason))
                if whole[file] > len(piece[file]):
                    raise DamagedShard from None

    def _hand_over(self, sieve: Sieve) -> int:
        """Insert what has been sifted; returns the number of rows."""
        table = sieve.take()
        if table is None:
            return 0
        self._db.give("sifted", {name: table[name] for name in table.column_names})
        numbers = "".join(f"s.{name}, " for name in self._numbers)
        ((count,),) = self._db.run(
            f"""insert into kept select s.item, q.class, {numbers}null
            from sifted s join quota q on s.class = q.class where {self._better}"""
        )
        self._db.forget("sifted")
        return int(count)

    def _bars(self) -> NDArray[Any]:
        """(C,) the bars."""
        return np.array([bar for (bar,) in self._db.run("select bar from quota order by class")])

    def _shrink(self, held: int, room: int) -> int:
        """Drop what lies below the bars where there are more rows than ``room``; returns the rows left."""
        if held > room:
            held = self._cut(held)
        if held > room:  # very many rows equal a class's K-th best, or follow in rising order
            held = self._rank()
        return held

    def ban_beyond(self, top: int) -> bool:
        """Ban the picks that are not among the ``top`` best classes of their item; were there any?"""
        if self._ranked is not None:
            self._insert_ranked(self._ranked)
        before = self._db.count("banned")
        ((least,),) = self._db.run("select min(score) from kept")
        if least is None:
            return False
        kind = self._layout.score
        self._db.run(
            f"""insert into banned select p.item, p.class
            from kept p join ({self._source(None)}) t on p.item = t.item
            join quota q on q.name = t.class
            where t.score >= '{least!r}'::{kind}
            and (t.score > p.score or (t.score = p.score and q.class < p.class))
            group by p.item, p.class having count(*) >= {top:d}""",
            [shard.file for shard in self.table.shards],
        )
        return self._db.count("banned") > before

    def _insert_ranked(self, rows: RankedRows) -> None:
        """Let DuckDB have the rows too."""
        self._db.give("given", {name: rows.table[name] for name in rows.table.column_names})
        numbers = "".join(f"{name}, " for name in self._numbers)
        self._db.run(f"insert into kept select item, class, {numbers}rank from given")
        self._db.forget("given")

    def counts(self) -> NDArray[np.int64]:
        """(C,) how many rows each class has."""
        if self._ranked is not None:
            return self._ranked.counts()
        found = np.zeros(len(self._classes), np.int64)
        for cls, count in self._db.run("select class, count(*) from kept group by class"):
            found[cls] = count
        return found

    def count_items(self) -> int:
        """How many different items stand in the rows."""
        if self._ranked is not None:
            return self._ranked.count_items()
        return int(self._db.run("select count(distinct item) from kept")[0][0])

    def repeated(self) -> tuple[str, str] | None:
        """Some item and class that stand in several of the rows."""
        if self._ranked is not None:
            found = self._ranked.repeated()
            return None if found is None else (str(found[0]), self._classes[found[1]])
        rows = self._db.run(
            "select item, class from kept group by item, class having count(*) > 1 "
            "order by class, item limit 1"
        )
        return (str(rows[0][0]), self._classes[rows[0][1]]) if rows else None

    def write(self, out: Path, metadata: Mapping[str, str]) -> None:
        """The rows by class and rank, as Parquet."""
        if self._ranked is not None:
            named = self._layout.classes_are == "names"
            self._ranked.write(out, self._classes if named else None, metadata)
            return
        numbers = "".join(f"k.{name}, " for name in self._numbers)
        meta = ", ".join(f"{quoted(key)}: {quoted(value)}" for key, value in metadata.items())
        self._db.run("set preserve_insertion_order = true")
        with atomic_path(out) as part:
            self._db.run(
                f"""copy (select k.item, q.name as class, {numbers}k.rank::INTEGER as rank
                from kept k join quota q on k.class = q.class order by k.class, k.rank)
                to {quoted(str(part))} (format parquet, kv_metadata {{{meta}}})"""
            )

    @property
    def _better(self) -> str:
        """The condition that a row ``s`` is not below the bar ``q`` of its class."""
        key = self._key
        return f"s.{key} >= q.bar and (s.{key} > q.bar or coalesce(s.item <= q.bar_item, true))"

    def _insert(self, piece: ShardPiece, top: int | None) -> int:
        ((least,),) = self._db.run("select min(bar) from quota")
        key = self._key
        numbers = "".join(f"s.{name}, " for name in self._numbers)
        sql = f"""insert into kept select s.item, q.class, {numbers}null
            from ({self._source(piece.within, top)}) s join quota q on s.class = q.name
            where s.{key} >= '{float(least)!r}'::{self._types["key"]} and {self._better}"""
        try:
            return int(self._db.run(sql, piece.files)[0][0])
        except self._db.error:
            broken = {file: why for file in piece.files if (why := self._damage(file))}
            if not broken:
                raise
        for file, why in broken.items():
            self.table = self.table.without(Skipped(file, why))
        if piece.within is not None:
            raise DamagedShard
        good = tuple(file for file in piece.files if file not in broken)
        return self._insert(replace(piece, files=good), top) if good else 0

    def _cut(self, held: int) -> int:
        """Raise the bars almost to the K-th best rows and drop what is below; returns the rows left.

        A quantile that has K rows above it is found without sorting, three times as fast; it lets at
        most an eighth of a class's rows too many stay. Classes take turns, because quantiles are
        computed in memory. Items are not compared here: few rows are equal.
        """
        self._check()
        steps = ", ".join(str(i / _STEPS) for i in range(1, _STEPS))
        turns = -(-held // _AT_ONCE)
        self._db.run(f"create or replace table reached (class INTEGER, bar {self._types['key']})")
        for turn in range(turns):
            self._db.run(
                f"""insert into reached select class, bars[least({_STEPS - 1}, step)] from (
                    select class, bars, (n - k) * {_STEPS} // n as step from (
                        select class, count(*) as n, quantile_disc({self._key}, [{steps}]) as bars
                        from kept where class % {turns} = {turn} group by class
                    ) join quota using (class)
                ) where step >= 1"""
            )
        columns = ", ".join(["item", "class", *self._numbers, "rank"])
        self._db.replace(
            "kept",
            f"""select {columns} from kept left join reached using (class)
            where bar is null or {self._key} >= bar""",
        )
        self._db.replace(
            "quota",
            """select q.name, q.class, q.k, coalesce(r.bar, q.bar) as bar,
            case when r.bar is null or r.bar = q.bar then q.bar_item end as bar_item
            from quota q left join reached r using (class)""",
        )
        return self._db.count("kept")

    def _rank(self) -> int:
        """Keep just the K best of each class, and rank them: by item where scores are equal."""
        self._check()
        columns = ", ".join(["item", "class", *self._numbers])
        self._db.replace(
            "kept",
            f"""select {columns}, place as rank from (
                select {columns}, row_number() over (
                    partition by class order by {self._key} desc, item, score desc) as place
                from kept) join quota using (class) where place <= k""",
        )
        self._db.replace(
            "quota",
            f"""select q.name, q.class, q.k, coalesce(b.{self._key}, q.bar) as bar,
            coalesce(b.item, q.bar_item) as bar_item
            from quota q left join kept b on b.class = q.class and b.rank = q.k""",
        )
        return self._db.count("kept")

    def _check(self) -> None:
        """Refuse numbers that cannot be ranked, and drop what must not be picked."""
        for name in self._numbers:
            odd = self._db.run(f"select item from kept where not isfinite({name}) limit 1")
            if odd:
                raise UserError(f"column {name!r} is not a finite number for item {odd[0][0]!r}")
        if self._db.count("excluded"):
            self._db.run("delete from kept where item in (select item from excluded)")
        if self._db.count("banned"):
            self._db.run("delete from kept where (item, class) in (from banned)")

    def _items(self) -> str:
        """All items of ``$files``."""
        rows = "read_parquet($files, hive_partitioning = false)"
        return f"select item::{self._types['item']} as item from {rows}"

    def _source(self, within: tuple[int, int] | None, top: int | None = None) -> str:
        """The rows of ``$files`` that count: item, class as in the shards, the numbers."""
        cls = "unnest(labels)" if self._layout.classes_are == "lists" else "class"
        where = []
        if within is not None:
            where.append(f"file_row_number >= {within[0]} and file_row_number < {within[1]}")
        if self._minimum is not None:
            where.append(f"score >= {self._minimum!r}::{self._layout.score}")
        if self._sampled is not None:
            where.append(self._sampled)
        number = "" if within is None else ", file_row_number = true"
        rows = f"read_parquet($files, hive_partitioning = false{number})"
        numbers = "" if self._random else "".join(f", {name}" for name in self._numbers)
        sql = f"select item::{self._types['item']} as item, {cls} as class{numbers} from {rows}"
        sql += " where " + " and ".join(where) if where else ""
        if self._random:
            # a function of seed, class and item alone: 53 bits of a hash that never changes
            text = f"concat_ws(chr(31), '{self._seed:d}', class, item)"
            bits = f"(md5_number_lower({text}) >> 11)::DOUBLE"
            sql = f"select item, class, {bits} / 9007199254740992 as score from ({sql})"
        if top is not None:
            sql = f"""select r.* from ({sql}) r join quota q on r.class = q.name qualify
                row_number() over (partition by r.item order by r.score desc, q.class) <= {top:d}"""
        return sql

    def _damage(self, file: Path) -> str | None:
        """Why a shard cannot be read to its end; None if it can."""
        columns = ["item", "labels" if self._layout.classes_are == "lists" else "class"]
        columns += [] if self._random else self._numbers
        sums = ", ".join(f"sum(hash({name}))" for name in columns)
        try:
            self._db.run(f"select {sums} from read_parquet($files)", [file])
        except self._db.error as error:
            return one_line(error)
        return None
