"""What the sieve lets through holds every row that could be picked, and little else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import score_shards as toy
from reteach.parquet import open_parquet
from reteach.relabel.selection import sieve, topk_duckdb
from reteach.relabel.selection.score_shards import open_shards
from reteach.relabel.selection.sieve import Sieve, WantedRows, reached
from reteach.relabel.selection.topk import RankingRule, select

pytest.importorskip("duckdb")

KINDS = st.sampled_from([np.float32, np.float64])
NUMBERS = st.floats(-1e30, 1e30) | st.sampled_from([0.0, -0.0, 1.0, 1 - 1e-9, -np.inf, np.inf])


@given(st.lists(st.tuples(st.integers(0, 3), NUMBERS), min_size=1), st.integers(0, 5), KINDS)
def test_k_rows_reach_the_bar_and_it_is_no_higher_than_the_kth_best(
    rows: list[tuple[int, float]], k: int, kind: type[np.floating]
) -> None:
    cls = np.array([c for c, _ in rows])
    key = np.array([x for _, x in rows], kind)
    quotas = np.array([k, k + 1, 0, 1])
    for c, bar in enumerate(reached(cls, key, quotas)):
        best = np.sort(key[cls == c])[::-1]
        if quotas[c] == 0:
            assert bar == np.inf
        elif len(best) < quotas[c]:
            assert bar == -np.inf
        else:
            assert bar <= best[quotas[c] - 1]


def test_the_bar_is_close_to_the_kth_best() -> None:
    draw = np.random.default_rng(0)
    for key in (draw.random(200_000), draw.normal(0, 9, 200_000), 1 - draw.random(200_000) / 1e4):
        cls = draw.integers(0, 100, len(key))
        passed = 0
        bars = np.full(100, -np.inf)
        for _ in range(3):  # as the range narrows, the steps do
            good = key >= bars[cls]
            cls, key = cls[good], key[good]
            bars = reached(cls, key, np.full(100, 50))
            passed = int((key >= bars[cls]).sum())
        assert 5000 <= passed < 6000


def wanted(k: int, classes: int = 7) -> WantedRows:
    none = pa.array([], pa.string())
    return WantedRows(np.full(classes, k), None, ("score",), "score", np.float32, None, none)


def test_most_rows_are_dropped_as_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sieve, "_BATCH", 64)
    table = toy.rows(1, items=3000, levels=10**6)
    file = toy.write(tmp_path / "t.parquet", table)
    found = Sieve.empty(wanted(5)).read(file)
    assert found.rows < 300
    rows = found.take()
    assert rows is not None
    left = {(r["item"], r["class"]) for r in rows.to_pylist()}
    assert {(i, c) for i, c, _, _ in toy.oracle(table, dict.fromkeys(range(7), 5))} <= left
    assert found.rows == 0
    assert (found.bars > 0.9).all()


def test_fewer_rows_pass_where_bars_run_ahead_and_none_that_counts_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sieve, "_BATCH", 64)
    monkeypatch.setattr(sieve, "_EARLY", 64)
    table = toy.rows(1, items=6000, levels=10**6)
    file = toy.write(tmp_path / "t.parquet", table)
    passed = []
    for total in (0, len(table)):
        found, met = Sieve.empty(wanted(40), total), 0
        with open_parquet(file) as reader:
            for batch in reader.iter_batches(64, columns=["item", "class", "score"]):
                before = found.bars
                met += int((batch["score"].to_numpy() >= before[batch["class"].to_numpy()]).sum())
                found._add(batch)
        passed.append(met)
        found.tighten()
        rows = found.take()
        assert rows is not None
        left = {(r["item"], r["class"]) for r in rows.to_pylist()}
        assert {(i, c) for i, c, _, _ in toy.oracle(table, dict.fromkeys(range(7), 40))} <= left
    assert passed[1] < passed[0] * 0.6


@pytest.mark.parametrize("levels", [1, 10**6])
@pytest.mark.parametrize("largest", [0, 10**6])
def test_rows_that_shall_not_wait_in_memory_go_to_the_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, levels: int, largest: int
) -> None:
    """Where K is large, and where nearly all rows are equal."""
    for module, name, value in (
        (sieve, "_BATCH", 16),
        (sieve, "_LARGEST_OF_TEXTS", largest),
        (topk_duckdb, "FIRST", 50),
        (topk_duckdb, "SIFTED", 50),
        (topk_duckdb, "LARGEST_SIFTED", 100),
    ):
        monkeypatch.setattr(module, name, value)
    table = toy.rows(2, items=500, levels=levels)
    file = toy.write(tmp_path / "t.parquet", table, group=70)
    handed = []
    hand_over = topk_duckdb.Ranking._hand_over

    def counted(self: topk_duckdb.Ranking, rows: Sieve) -> int:
        handed.append(hand_over(self, rows))
        return handed[-1]

    monkeypatch.setattr(topk_duckdb.Ranking, "_hand_over", counted)
    select(open_shards(file), tmp_path / "o.parquet", RankingRule(9), part=True)
    assert toy.read(tmp_path / "o.parquet") == toy.oracle(table, dict.fromkeys(range(7), 9))
    assert (len(handed) > 1) == (levels == 1 or largest == 0)


def test_classes_and_items_as_dictionaries(tmp_path: Path) -> None:
    table = toy.rows(3, names=True)
    columns = {name: [row[n] for row in table] for n, name in enumerate(("item", "class", "score"))}
    made = pa.table({name: pa.array(column) for name, column in columns.items()})
    for name in ("item", "class"):
        place = made.schema.get_field_index(name)
        made = made.set_column(place, name, made[name].dictionary_encode())
    pq.write_table(made, tmp_path / "t.parquet", row_group_size=100)
    select(open_shards(tmp_path / "t.parquet"), tmp_path / "o.parquet", RankingRule(9), part=True)
    found = toy.read(tmp_path / "o.parquet")
    assert found == toy.oracle(table, {f"c{n}": 9 for n in range(7)})
