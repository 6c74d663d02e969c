"""What selecting the K best of every class costs: beside reading the columns, beside Polars, and per row.

    python -m benchmarks selection
    python -m benchmarks.selection --rows 20 200 1000 --folder /big/disk

Score rows (10 different classes of each item, softmax-like scores, 1,000 classes) are generated shard by
shard into a temporary folder, about 7 bytes each, and deleted at the end. Every measurement runs in a
process of its own: its CPU seconds (all threads) and its peak memory. Needs duckdb; polars for the
comparison. On a shared machine compare ratios, not seconds.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.fresh import contender, fresh, here, import_first
from benchmarks.house import Contender, Contest

SHARD, PER_ITEM, CLASSES = 20_000_000, 10, 1000
MILLIONS = 10
"""Of rows in the table of ratios."""
NEEDS = ("duckdb", "pyarrow.parquet", "pyarrow.compute", "reteach.relabel.selection.topk")


def generate(folder: Path, number: int, text: bool, rows: int = SHARD) -> None:
    """One shard: items ``number`` · 2M to …, their classes all different, scores that sum to 1."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    generator = np.random.default_rng(number)
    kinds = (pa.string() if text else pa.int64(), pa.int32(), pa.float32())
    schema = pa.schema(list(zip(("item", "class", "score"), kinds, strict=True)))
    items, group = rows // PER_ITEM, 100_000
    with pq.ParquetWriter(folder / f"{number:03d}.parquet", schema) as out:
        for first in range(number * items, (number + 1) * items, group):
            ids = np.arange(first, first + group)
            step = generator.choice([7, 11, 13, 17, 19, 23, 29, 31, 37], (group, 1))
            start = generator.integers(0, CLASSES, (group, 1))
            classes = (start + step * np.arange(PER_ITEM)) % CLASSES
            score = generator.random((group, PER_ITEM), np.float32) ** 4
            score = -np.sort(-score / score.sum(1, keepdims=True), 1)
            names = pa.array([f"{i // 10000:06d}/{i:010d}.jpg" for i in ids] if text else ids)
            columns = [
                names.take(pa.array(np.repeat(np.arange(group), PER_ITEM))),
                pa.array(classes.ravel().astype(np.int32)),
                pa.array(score.ravel()),
            ]
            out.write_table(pa.table(columns, schema=schema))


def read_arrow(files: list[Path]) -> None:
    """Decode the three columns and throw them away."""
    import pyarrow.parquet as pq

    for file in files:
        reader = pq.ParquetFile(file)
        for group in range(reader.num_row_groups):
            reader.read_row_group(group, columns=["item", "class", "score"], use_threads=False)


def read_duckdb(files: list[Path]) -> None:
    """The same in DuckDB, whose cheapest use of every value is a maximum of something."""
    import duckdb

    names = [str(file) for file in files]
    query = "select max(hash(item)), sum(class), sum(score) from read_parquet($files)"
    connection = duckdb.connect()
    connection.execute("set enable_progress_bar = false")  # it would go to standard output
    connection.execute(query, {"files": names}).fetchall()


def select(files: list[Path], out: Path, k: int, top: int | None) -> None:
    """Ours."""
    from reteach.relabel.selection.score_shards import open_shards
    from reteach.relabel.selection.topk import RankingRule, select

    select(open_shards(files[0].parent), out, RankingRule(k, top))


def merge(files: list[Path], out: Path, k: int, whole: Path) -> None:
    """The same from one table of picks per shard, as machines that share the work would make them."""
    import pyarrow.parquet as pq

    for file in files:
        (out.parent / file.stem).mkdir(parents=True)
        os.link(file, out.parent / file.stem / file.name)
        select([out.parent / file.stem / file.name], out.parent / "parts" / file.name, k, None)
    select([out.parent / "parts" / files[0].name], out, k, None)
    assert pq.read_table(out).equals(pq.read_table(whole))


def polars(files: list[Path], out: Path, k: int, form: str) -> None:
    """Polars' streaming engine, in its two fastest forms, with ties left to chance."""
    import polars as pl

    best = {
        "top_k_by": pl.struct("item", "score").top_k_by("score", k),
        "sort, head": pl.struct("item", "score").sort_by("score", descending=True).head(k),
    }[form]
    found = pl.scan_parquet(files).group_by("class").agg(best.alias("best"))
    found.explode("best").unnest("best").sink_parquet(out, engine="streaming")


def equals_full_sort(files: list[Path], out: Path, k: int) -> None:
    """Sort all rows of every class with NumPy, take the first K, compare row by row."""
    import numpy as np
    import pyarrow.parquet as pq

    parts: list[list[tuple[object, object]]] = [[] for _ in range(CLASSES)]
    for file in files:
        reader = pq.ParquetFile(file)
        for group in range(reader.num_row_groups):
            table = reader.read_row_group(group)
            item, cls, score = (table[c].to_numpy() for c in ("item", "class", "score"))
            order = np.argsort(cls.astype(np.int16), kind="stable")
            ends = np.searchsorted(cls[order], np.arange(CLASSES + 1))
            for c in range(CLASSES):
                chosen = order[ends[c] : ends[c + 1]]
                parts[c].append((item[chosen], score[chosen]))
    picks = pq.read_table(out)
    start = 0
    for c in range(CLASSES):
        item = np.concatenate([i for i, _ in parts[c]])
        score = np.concatenate([s for _, s in parts[c]])
        parts[c] = []
        order = np.lexsort((item, -score))[:k]
        mine = picks.slice(start, len(order))
        start += len(order)
        assert (mine["class"].to_numpy() == c).all()
        assert (mine["item"].to_numpy() == item[order]).all()
        assert (mine["score"].to_numpy() == score[order]).all()
        assert (mine["rank"].to_numpy() == np.arange(1, len(order) + 1)).all()
    assert start == len(picks)


def nothing_better(files: list[Path], out: Path, k: int) -> None:
    """The same check in little memory: gather all rows that reach their class's last pick, sort those.

    A row that was wrongly left out is among them, so the picks are right if they are the first K.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    picks = pq.read_table(out)
    bar = np.full(CLASSES, -np.inf, np.float32)
    last = picks["rank"].to_numpy() == k
    bar[picks["class"].to_numpy()[last]] = picks["score"].to_numpy()[last]
    found = []
    for file in files:
        reader = pq.ParquetFile(file)
        for group in range(reader.num_row_groups):
            table = reader.read_row_group(group, use_threads=False)
            good = table["score"].to_numpy() >= bar[table["class"].to_numpy()]
            found.append(table.take(pa.array(np.flatnonzero(good))))
    rows = pa.concat_tables(found)
    item, cls, score = (rows[c].to_numpy() for c in ("item", "class", "score"))
    order = np.lexsort((item, -score, cls))
    cls = cls[order]
    place = np.arange(len(cls)) - np.searchsorted(cls, cls)
    order, cls, place = order[place < k], cls[place < k], place[place < k]
    assert (picks["class"].to_numpy() == cls).all()
    assert (picks["item"].to_numpy() == item[order]).all()
    assert (picks["score"].to_numpy() == score[order]).all()
    assert (picks["rank"].to_numpy() == place + 1).all()


def duckdb_query(files: list[Path], out: Path, k: int, form: str) -> None:
    """DuckDB's own ways, straight to a file."""
    import duckdb

    rows = "read_parquet($files)"
    sql = {
        "max_by": f"""select class, unnest(best, max_depth := 2) from (
            select class, max_by({{item: item, score: score}}, score, {k:d}) as best
            from {rows} group by class)""",
        "row_number": f"""select item, class, score from {rows} qualify
            row_number() over (partition by class order by score desc, item) <= {k:d}""",
    }[form]
    connection = duckdb.connect()
    connection.execute("set enable_progress_bar = false")
    connection.execute("set threads = 1")
    copy = f"copy ({sql}) to '{out}' (format parquet)"
    connection.execute(copy, {"files": [str(file) for file in files]})


def measured(call: str, *arguments: object) -> dict[str, float]:
    """CPU seconds, wall seconds and peak MB of one function in a fresh process."""
    return fresh(here(__file__), call, *arguments, needs=NEEDS, threads=True)


def contest(folder: Path) -> Contest:
    """A row: one shard of ten million rows."""
    generate(folder, 0, False, MILLIONS * 1_000_000)
    files, out, k = [folder / "000.parquet"], folder / "picks" / "picks.parquet", 50
    out.parent.mkdir()

    def peer(call: str, *more: object, need: str = "pyarrow.parquet") -> Callable[[], Contender]:
        def make() -> Contender:
            import_first(need)
            return contender(here(__file__), call, files, *more, needs=(need,))

        return make

    peers = {
        "reading the columns, pyarrow": peer("read_arrow"),
        "reading the columns, DuckDB": peer("read_duckdb", need="duckdb"),
    }
    for form in ("max_by", "row_number"):
        peers[f"DuckDB {form}"] = peer("duckdb_query", out, k, form, need="duckdb")
    for form in ("top_k_by", "sort, head"):
        peers[f"Polars {form}"] = peer("polars", out, k, form, need="polars")
    return Contest(
        f"the {k:,} best of each of {CLASSES:,} classes among {MILLIONS}M score rows (as 1,000 of "
        "200M), ties by item, to Parquet; DuckDB's max_by and Polars leave ties to chance",
        contender(here(__file__), "select", files, out, k, None, needs=NEEDS),
        peers,
        {("reading the columns, pyarrow", "s"): 0.5},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[20, 200], help="millions")
    parser.add_argument("--per-class", type=int, default=1000)
    parser.add_argument("--compare-at", type=int, default=200, help="millions of rows for Polars")
    parser.add_argument("--text", action="store_true", help="item names in place of numbers")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder, everything = Path(name), []
        for millions in sorted(options.rows):
            part = folder / f"{millions}M"
            part.mkdir()
            shards = max(1, millions * 1_000_000 // SHARD)
            for number in range(len(everything), shards):
                (folder / "shards").mkdir(exist_ok=True)
                report(
                    "generate", SHARD, measured("generate", folder / "shards", number, options.text)
                )
                everything.append(folder / "shards" / f"{number:03d}.parquet")
            files = [part / file.name for file in everything[:shards]]
            for link, file in zip(files, everything, strict=False):
                os.link(file, link)
            size, k, out = shards * SHARD, options.per_class, part / "out" / "picks.parquet"
            least = report("read, pyarrow", size, measured("read_arrow", files))
            report("read, DuckDB", size, measured("read_duckdb", files), least)
            report(f"select {k}", size, measured("select", files, out, k, None), least)
            checked = measured("select", files, out, k, PER_ITEM)
            report(f"select {k}, P checked", size, checked, least)
            report("nothing better, equal", size, measured("nothing_better", files, out, k), least)
            if shards > 1:
                merged = measured("merge", files, part / "merged" / "picks.parquet", k, out)
                report(f"select {k}, parts merged", size, merged, least)
            if millions <= options.compare_at:
                sorted_ = measured("equals_full_sort", files, out, k)
                report("full sort, equal", size, sorted_, least)
                for form in ("top_k_by", "sort, head"):
                    found = measured("polars", files, part / "polars.parquet", k, form)
                    report(f"Polars {form}", size, found, least)
            shutil.rmtree(part)


def report(
    name: str, rows: int, found: dict[str, float], least: dict[str, float] | None = None
) -> dict[str, float]:
    """One line: seconds, nanoseconds per row, memory, and the ratio to reading."""
    ratio = f"{found['s'] / least['s']:6.2f} × reading" if least else ""
    print(
        f"{rows / 1e6:6.0f}M rows  {name:26}  {found['s']:8.2f} s CPU  {found['wall']:8.1f} s  "
        f"{1e9 * found['s'] / rows:7.1f} ns/row  {found['MB']:7.0f} MB  {ratio}",
        flush=True,
    )
    return found


if __name__ == "__main__":
    main()
