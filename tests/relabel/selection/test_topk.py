"""Selection against a full sort: ties, P, variants, shards, merges, damage, and memory."""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import score_shards as toy

pytest.importorskip("duckdb")

from reteach.errors import UserError
from reteach.item_index import ItemIndex
from reteach.labels import Multi
from reteach.relabel.selection import sieve
from reteach.relabel.selection import topk_duckdb as topk_sql
from reteach.relabel.selection.database import Limits
from reteach.relabel.selection.item_lists import Exclusions
from reteach.relabel.selection.quotas import paper_ratio, proportional
from reteach.relabel.selection.score_shards import Shard, open_shards, pieces, shuffled
from reteach.relabel.selection.topk import RankingRule, Selection, select
from reteach.scores.table import open_scores
from reteach.tables import LabelTable, write_labels

SEVEN = [f"c{i}" for i in range(7)]


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many pieces and many cuts, also on small tables."""
    monkeypatch.setattr(topk_sql, "FIRST", 50)
    monkeypatch.setattr(topk_sql, "LARGEST", 300)
    monkeypatch.setattr(topk_sql, "SIFTED", 50)
    monkeypatch.setattr(topk_sql, "LARGEST_SIFTED", 150)
    monkeypatch.setattr(sieve, "_BATCH", 16)
    monkeypatch.setattr(sieve, "_EARLY", 8)


def pick(table: Path, out: Path, per_class: int, **options: Any) -> Selection:
    names = ("top", "by", "minimum", "seed", "sample", "sample_seed")
    rule = {k: options.pop(k) for k in names if k in options}
    # a part: most tables here are so small that an image stands in most classes
    shards = open_shards(table, incomplete=options.pop("incomplete", False))
    return select(shards, out, RankingRule(per_class, **rule), **{"part": True, **options})


@given(
    seed=st.integers(0, 10**6),
    k=st.integers(1, 120),
    top=st.sampled_from([None, 1, 2, 3, 5]),
    minimum=st.sampled_from([None, 0.3, 0.85]),
    shards=st.integers(1, 6),
    shuffled=st.booleans(),
    names=st.booleans(),
    text=st.booleans(),
)
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@pytest.mark.usefixtures("small_pieces")
def test_equals_a_full_sort(
    tmp_path: Path,
    seed: int,
    k: int,
    top: int | None,
    minimum: float | None,
    shards: int,
    shuffled: bool,
    names: bool,
    text: bool,
) -> None:
    table = toy.rows(seed, names=names, text=text)
    if shuffled:  # rows of one item end up far apart, also in different shards
        table = [table[i] for i in np.random.default_rng(seed).permutation(len(table))]
    folder = tmp_path / "scores"
    shutil.rmtree(folder, ignore_errors=True)
    for n, part in enumerate(np.array_split(np.arange(len(table)), shards)):
        toy.write(folder / f"{n}.parquet", [table[i] for i in part], group=70, classes=SEVEN)
    excluded = frozenset(row[0] for row in table[:100:7])
    drop = Exclusions({"drop": [str(item) for item in sorted(excluded)]})
    found = pick(
        folder,
        tmp_path / "out.parquet",
        k,
        top=top,
        minimum=minimum,
        exclude=drop,
    )
    quota = {name if names else i: k for i, name in enumerate(SEVEN)}
    wanted = toy.oracle(table, quota, top, -np.inf if minimum is None else minimum, excluded)
    assert toy.read(tmp_path / "out.parquet") == wanted
    tally = Counter(SEVEN.index(c) if names else c for _, c, _, _ in wanted)
    assert found.counts.tolist() == [tally[i] for i in range(7)]
    assert found.empty == [SEVEN[i] for i in range(7) if not tally[i]]
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("seed", range(4))
def test_bars_too_high_ahead_of_their_proof_are_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Nothing is added for chance: half of the bars are too high, and their classes are read once more."""
    monkeypatch.setattr(sieve, "_CHANCE", 0.0)
    missed = []
    look = topk_sql.Ranking._missed

    def noted(self: topk_sql.Ranking, found: sieve.Sieve) -> Any:
        missed.append(look(self, found))
        return missed[-1]

    monkeypatch.setattr(topk_sql.Ranking, "_missed", noted)
    table = toy.rows(seed, items=700, levels=10**6)
    file = toy.write(tmp_path / "s.parquet", table, group=70, classes=SEVEN)
    pick(file, tmp_path / "p.parquet", 30)
    assert toy.read(tmp_path / "p.parquet") == toy.oracle(table, dict.fromkeys(range(7), 30))
    assert missed[0].any()


def test_row_groups_are_read_once_each_and_in_no_order() -> None:
    shards = [Shard(Path(f"{n}"), (5,) * n, None) for n in range(30)]
    read = [(f, g) for piece in shuffled(shards, 10, 20) for f, gs in piece.items() for g in gs]
    every = [(shard.file, g) for shard in shards for g in range(len(shard.groups))]
    assert sorted(read) == sorted(every)
    place = [every.index(each) for each in read]
    assert abs(np.corrcoef(place, np.arange(len(place)))[0, 1]) < 0.1
    sizes = [5 * sum(map(len, piece.values())) for piece in shuffled(shards, 10, 20)]
    assert sizes[:2] == [10, 10]
    assert max(sizes) == 20


def in_sample(item: Any, share: float, seed: int) -> bool:
    """53 bits of a hash of seed and item, in slow Python."""
    digest = hashlib.md5(f"{seed}\x1f\x1esample\x1f{item}".encode()).digest()
    return (int.from_bytes(digest[8:], "little") >> 11) / 2**53 < share


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("text", [True, False])
def test_a_sample_of_the_pile_is_picked_from_as_if_it_were_all(tmp_path: Path, text: bool) -> None:
    table = toy.rows(3, items=400, text=text)
    scores = toy.write(tmp_path / "s.parquet", table, group=70, classes=SEVEN)
    sizes = []
    for share in (0.25, 0.5):
        drawn = [row for row in table if in_sample(row[0], share, 9)]
        found = pick(scores, tmp_path / "p.parquet", 12, top=2, sample=share, sample_seed=9)
        assert toy.read(tmp_path / "p.parquet") == toy.oracle(drawn, dict.fromkeys(range(7), 12), 2)
        sizes.append(len({row[0] for row in drawn}))
        assert found.drawn == sizes[-1]
    assert 60 < sizes[0] < 140 < sizes[1] < 260
    half = {row[0] for row in table if in_sample(row[0], 0.5, 9)}
    assert {row[0] for row in table if in_sample(row[0], 0.25, 9)} < half


def test_parts_of_a_sampled_pile_merge_and_no_others(tmp_path: Path) -> None:
    table = toy.rows(3, items=400)
    one = toy.write(tmp_path / "one.parquet", table, classes=SEVEN)
    for n in range(2):
        part = toy.write(
            tmp_path / f"part{n}.parquet", table[n * 800 : (n + 1) * 800], classes=SEVEN
        )
        pick(part, tmp_path / "parts" / f"{n}.parquet", 20, sample=0.3)
    pick(one, tmp_path / "whole.parquet", 20, sample=0.3)
    pick(tmp_path / "parts", tmp_path / "merged.parquet", 20, sample=0.3)
    assert toy.read(tmp_path / "merged.parquet") == toy.read(tmp_path / "whole.parquet")
    for other in ({}, {"sample": 0.2}, {"sample": 0.3, "sample_seed": 1}):
        with pytest.raises(UserError, match="same options"):
            pick(tmp_path / "parts", tmp_path / "m.parquet", 20, **other)
    with pytest.raises(UserError, match="draws none of the images"):
        pick(one, tmp_path / "m.parquet", 20, sample=1e-9)


def test_k_of_a_sample_follows_from_the_drawn_images(tmp_path: Path) -> None:
    """Figure 3: 16,000, 8,000 and 4,000 for 100, 50 and 25 million images."""
    table = toy.rows(3, items=3000)
    one = toy.write(tmp_path / "one.parquet", table, classes=SEVEN, top=4)
    found = select(open_shards(one), tmp_path / "p.parquet", RankingRule(None, 4, sample=0.5))
    drawn = sum(in_sample(item, 0.5, 0) for item in {row[0] for row in table})
    assert found.drawn == drawn
    assert found.per_class == paper_ratio(drawn, 7)
    assert [paper_ratio(m * 10**6, 1000) for m in (100, 50, 25)] == [16_000, 8_000, 4_000]


@pytest.mark.usefixtures("small_pieces")
def test_one_shard_64_shards_threads_and_merged_parts_are_identical(tmp_path: Path) -> None:
    table = toy.rows(5, items=1000)
    one = toy.write(tmp_path / "one.parquet", table, group=90, classes=SEVEN)
    many, parts = tmp_path / "many", tmp_path / "parts"
    for n, part in enumerate(np.array_split(np.arange(1000), 64)):  # items stay whole
        chosen = [table[4 * i + j] for i in part for j in range(4)]
        toy.write(many / f"{n:02d}.parquet", chosen, classes=SEVEN)
    results = []
    for n, (source, threads) in enumerate([(one, 1), (one, 3), (many, 1), (many, 2)]):
        pick(source, tmp_path / f"{n}.parquet", 40, top=2, limits=Limits(threads=threads))
        results.append(pq.read_table(tmp_path / f"{n}.parquet"))
    for n in range(8):
        apart = tmp_path / f"worker{n}"
        apart.mkdir()
        for shard in sorted(many.iterdir())[n::8]:
            shutil.copy(shard, apart)
        pick(apart, parts / f"{n}.parquet", 40, top=2)
    pick(parts, tmp_path / "merged.parquet", 40, top=2)
    results.append(pq.read_table(tmp_path / "merged.parquet"))
    assert all(table.equals(results[0], check_metadata=True) for table in results)
    with pytest.raises(UserError, match=r"holds picks \(40 to 40 per class, top 2.*no more per"):
        pick(parts, tmp_path / "m.parquet", 41, top=2)
    with pytest.raises(UserError, match="same options"):
        pick(parts, tmp_path / "m.parquet", 40, top=1)
    toy.write(tmp_path / "damaged.parquet", table, select="{}")
    with pytest.raises(UserError, match="options in its metadata are damaged"):
        pick(tmp_path / "damaged.parquet", tmp_path / "m.parquet", 40)


@pytest.mark.parametrize("names", [False, True])
def test_parts_merge_without_a_class_list(tmp_path: Path, names: bool) -> None:
    """Parts that have met different classes are still parts of one table."""
    table = toy.rows(6, names=names)
    few = [row for row in table if row[1] not in (6, "c6")]
    for n, rows in enumerate((few[::2], table)):
        toy.write(tmp_path / "s" / f"{n}.parquet", rows)
        pick(tmp_path / "s" / f"{n}.parquet", tmp_path / "parts" / f"{n}.parquet", 8)
    pick(tmp_path / "s", tmp_path / "whole.parquet", 8)
    pick(tmp_path / "parts", tmp_path / "merged.parquet", 8)
    assert toy.read(tmp_path / "merged.parquet") == toy.read(tmp_path / "whole.parquet")


@given(
    st.lists(st.lists(st.integers(1, 30), max_size=6), max_size=8),
    st.integers(1, 40),
    st.integers(1, 100),
)
def test_pieces_cover_every_row_once(shards: list[list[int]], first: int, largest: int) -> None:
    made = [Shard(Path(str(n)), tuple(groups), None) for n, groups in enumerate(shards)]
    covered: list[tuple[str, int]] = []
    done = 0
    for piece in pieces(made, first, largest):
        rows = {str(n): sum(groups) for n, groups in enumerate(shards)}
        one = [(str(f), r) for f in piece.files for r in range(*piece.within or (0, rows[str(f)]))]
        assert len(one) == piece.rows
        parts = len(piece.files) if piece.within is None else 2
        assert piece.rows <= max(min(max(first, done), largest), 30) or parts == 1
        covered += one
        done += piece.rows
    assert covered == [(str(n), r) for n, g in enumerate(shards) for r in range(sum(g))]


def test_a_storm_of_ties_is_settled_by_the_item_id(tmp_path: Path) -> None:
    """Saturated softmax: every score is 1, so the first K ids win, in the order of their bytes."""
    names = ["b", "a", "B", "é", "aa", "10", "9", "Z", "~", "zz"]
    toy.write(tmp_path / "t.parquet", [(name, 0, 1.0) for name in names])
    pick(tmp_path / "t.parquet", tmp_path / "o.parquet", 6)
    assert [row[0] for row in toy.read(tmp_path / "o.parquet")] == ["10", "9", "B", "Z", "a", "aa"]
    toy.write(tmp_path / "t.parquet", [(name, 0, 1.0) for name in [-5, 10, 9, 2**62, 0]])
    pick(tmp_path / "t.parquet", tmp_path / "o.parquet", 4)
    assert [row[0] for row in toy.read(tmp_path / "o.parquet")] == [-5, 0, 9, 10]


def test_all_rows_with_one_class_each_are_argmax_labels(tmp_path: Path) -> None:
    """P = 1 and K >= N: every item once, under its best class."""
    table = toy.rows(2, levels=10**6)
    pick(toy.write(tmp_path / "t.parquet", table), tmp_path / "o.parquet", 10**9, top=1)
    best: dict[Any, tuple[float, Any]] = {}
    for item, cls, score in table:
        best[item] = max(best.get(item, (-1.0, None)), (score, cls))
    picked = toy.read(tmp_path / "o.parquet")
    assert {item: cls for item, cls, _, _ in picked} == {i: c for i, (_, c) in best.items()}
    assert len(picked) == len(best)


def test_unbalanced_ranked_follows_the_frequencies(tmp_path: Path) -> None:
    table = toy.rows(3, items=600)
    toy.write(tmp_path / "t.parquet", table, classes=SEVEN)
    zipf = {name: 1 / (i + 1) for i, name in enumerate(SEVEN[:6])}
    found = pick(tmp_path / "t.parquet", tmp_path / "o.parquet", 50, frequencies=zipf)
    assert found.quotas.sum() == 350
    assert found.quotas.tolist() == [143, 71, 48, 36, 28, 24, 0]  # 350 / 2.45 / rank, rounded
    assert found.counts.tolist() == found.quotas.tolist()
    assert found.empty == ["c6"]
    quota = dict(enumerate(found.quotas.tolist()))
    assert toy.read(tmp_path / "o.parquet") == toy.oracle(table, quota)
    with pytest.raises(UserError, match="class 'c66' is not in the class list; did you mean"):
        pick(tmp_path / "t.parquet", tmp_path / "o.parquet", 5, frequencies={"c66": 1})
    with pytest.raises(UserError, match="all class frequencies are zero"):
        pick(tmp_path / "t.parquet", tmp_path / "o.parquet", 5, frequencies={"c1": 0})


@given(st.integers(1, 50), st.lists(st.floats(0, 1e6), min_size=1, max_size=30).filter(any))
def test_proportional_quotas_add_up(k: int, frequencies: list[float]) -> None:
    exact = k * len(frequencies) * np.array(frequencies) / sum(frequencies)
    quotas = proportional(k, np.array(frequencies))
    assert quotas.sum() == k * len(frequencies)
    assert (np.abs(quotas - exact) < 1 + 1e-6).all()


def test_ranking_by_logit_keeps_both_numbers(tmp_path: Path) -> None:
    logits = [3.0, -1.0, 9.0, 9.0]
    scores = [0.9, 0.2, 0.5, 0.6]
    columns = {"item": list("abcd"), "class": pa.array([0] * 4, pa.int32())}
    columns |= {"score": pa.array(scores, pa.float32()), "logit": pa.array(logits, pa.float32())}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    pick(tmp_path / "t.parquet", tmp_path / "o.parquet", 3, by="logit")
    table = pq.read_table(tmp_path / "o.parquet")
    assert table["item"].to_pylist() == ["c", "d", "a"]
    assert table["logit"].to_pylist() == [9, 9, 3]
    assert table["score"].to_pylist() == pytest.approx([0.5, 0.6, 0.9])


def test_random_by_tag_is_uniform_repeatable_and_merges(tmp_path: Path) -> None:
    """4,000 tagged items, 400 of them drawn: a class's picks spread evenly, seeds differ."""
    items = tuple(f"{i:04d}" for i in range(4000))
    rows = np.arange(4000)
    tags = Multi.from_pairs(
        np.concatenate([rows, rows[::2]]), np.repeat([0, 1], [4000, 2000]), 4000, "xy"
    )
    write_labels(tmp_path / "all" / "t.parquet", LabelTable(items, tags))
    for half in (0, 1):
        part = rows[half * 2000 : half * 2000 + 2000]
        table = LabelTable(items[part[0] : part[-1] + 1], tags.take(part))
        write_labels(tmp_path / "tags" / f"{half}.parquet", table)
        pick(
            tmp_path / "tags" / f"{half}.parquet",
            tmp_path / "parts" / f"{half}.parquet",
            400,
            by="random",
            seed=3,
        )
    found = pick(tmp_path / "all", tmp_path / "a.parquet", 400, by="random", seed=3)
    assert found.classes == ("x", "y")
    picks = toy.read(tmp_path / "a.parquet")
    for source in ("tags", "parts"):
        pick(tmp_path / source, tmp_path / "b.parquet", 400, by="random", seed=3)
        assert toy.read(tmp_path / "b.parquet") == picks
    drawn = [np.array([int(i) for i, c, _, _ in picks if c == name]) for name in "xy"]
    assert [len(d) for d in drawn] == [400, 400]
    assert (drawn[1] % 2 == 0).all()
    # 40 of each tenth are expected, deviation 5.7; shared draws of x and y: 40
    assert (np.abs(np.bincount(drawn[0] // 400, minlength=10) - 40) < 30).all()
    assert len(np.intersect1d(*drawn)) < 70
    pick(tmp_path / "all", tmp_path / "c.parquet", 400, by="random", seed=4)
    other = {i for i, c, _, _ in toy.read(tmp_path / "c.parquet") if c == "x"}
    assert len(other & {i for i, c, _, _ in picks if c == "x"}) < 80
    with pytest.raises(UserError, match="seed 3"):
        pick(tmp_path / "parts", tmp_path / "c.parquet", 400, by="random", seed=4)


def test_picks_are_a_score_table(tmp_path: Path) -> None:
    table = toy.rows(4)
    toy.write(tmp_path / "t.parquet", table, classes=SEVEN, teacher="big net")
    pick(tmp_path / "t.parquet", tmp_path / "o.parquet", 9)
    picks = open_scores(tmp_path / "o.parquet")
    assert picks.classes == tuple(SEVEN)
    (batch,) = picks.batches(ItemIndex(), SEVEN)
    assert np.bincount(batch.cls).tolist() == [9] * 7
    meta = pq.read_schema(tmp_path / "o.parquet").metadata
    assert meta[b"reteach.teacher"] == b"big net"


@pytest.mark.parametrize("stored", [2, 3, None])
def test_the_stored_p_spares_the_check(tmp_path: Path, stored: int | None) -> None:
    """With ``reteach.top`` of at most P, the items are not looked at again; else they are."""
    table = [("a", 0, 0.9), ("a", 1, 0.8), ("a", 2, 0.7), ("b", 2, 0.1)]
    meta = {} if stored is None else {"top": str(stored)}
    toy.write(tmp_path / "t.parquet", table, **meta)
    pick(tmp_path / "t.parquet", tmp_path / "o.parquet", 1, top=2)
    trusted = stored is not None and stored <= 2  # the toy table lies: it has three classes of a
    assert toy.read(tmp_path / "o.parquet")[2][0] == ("a" if trusted else "b")


@pytest.mark.usefixtures("small_pieces")
def test_damaged_shards_are_refused_or_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    table = toy.rows(8, items=900)
    parts = [table[i * 1200 : (i + 1) * 1200] for i in range(3)]
    for n, part in enumerate(parts):
        toy.write(tmp_path / "s" / f"{n}.parquet", part, group=150, classes=SEVEN)
    (tmp_path / "s" / "3.parquet").write_bytes(b"PAR1 this is nothing PAR1")
    (tmp_path / "s" / "4.parquet").touch()
    # the middle shard is damaged in its last row groups only: what was read of it must not count
    file = tmp_path / "s" / "1.parquet"
    data = bytearray(file.read_bytes())
    last = pq.ParquetFile(file).metadata.row_group(7)
    for column in range(3):
        start = last.column(column).dictionary_page_offset or last.column(column).data_page_offset
        data[start : start + 40] = bytes([255]) * 40
    file.write_bytes(data)
    out = tmp_path / "o.parquet"
    with pytest.raises(
        UserError, match=r"3\.parquet cannot be read .*: delete it and make it again"
    ):
        pick(tmp_path / "s", out, 30, top=3)
    found = pick(tmp_path / "s", out, 30, top=3, incomplete=True)
    assert sorted(s.file.name for s in found.skipped) == ["1.parquet", "3.parquet", "4.parquet"]
    assert all(s.reason and "\n" not in s.reason for s in found.skipped)
    wanted = toy.oracle(parts[0] + parts[2], dict.fromkeys(range(7), 30), 3)
    assert toy.read(tmp_path / "o.parquet") == wanted
    assert found.rows == 2400
    for n in (3, 4):
        (tmp_path / "s" / f"{n}.parquet").unlink()
    with pytest.raises(UserError, match=r"1\.parquet cannot be read .*, or go without it"):
        pick(tmp_path / "s", tmp_path / "o2.parquet", 30, top=3)
    for n in (0, 2):
        (tmp_path / "s" / f"{n}.parquet").unlink()
    with pytest.raises(UserError, match="no shard can be read"):
        pick(tmp_path / "s", tmp_path / "o2.parquet", 30, incomplete=True)
    assert not (tmp_path / "o2.parquet").exists()


def test_repeated_rows_are_reported(tmp_path: Path) -> None:
    for name in "ab":
        toy.write(
            tmp_path / "s" / f"{name}.parquet", [("x", 0, 0.5), ("y", 1, 0.4)], classes=["p", "q"]
        )
    found = pick(tmp_path / "s", tmp_path / "o.parquet", 2)
    assert found.repeated == ("x", "p")
    assert found.counts.tolist() == [2, 2]


def test_bad_input_is_one_clear_line(tmp_path: Path) -> None:
    good = toy.write(tmp_path / "good.parquet", toy.rows(0), classes=SEVEN)

    def fails(words: str, table: Path = good, k: int = 5, **options: Any) -> None:
        with pytest.raises(UserError, match=words) as error:
            pick(table, tmp_path / "o.parquet", k, **options)
        assert "\n" not in str(error.value)
        assert not (tmp_path / "o.parquet").exists()

    fails("K, the picks per class, must be at least 1, got 0", k=0)
    fails("P, the classes per item, must be at least 1, got 0", top=0)
    fails("P, the classes per item, is 8, but there are only 7 classes", top=8)
    fails("no column 'logit'", by="logit")
    fails("leave top and minimum away", by="random", top=2)
    fails("does not exist", table=tmp_path / "none")
    fails("given class list is not the one", classes=["a"])
    (tmp_path / "empty").mkdir()
    fails("has no .parquet files", table=tmp_path / "empty")

    def with_columns(**columns: Any) -> Path:
        pq.write_table(pa.table(columns), tmp_path / "bad.parquet")
        return tmp_path / "bad.parquet"

    index = pa.array([0], pa.int32())
    score = pa.array([0.5], pa.float32())
    fails("no column 'class'", table=with_columns(item=["a"], score=score))
    fails("no column 'item'", table=with_columns(image=["a"], score=score))
    fails("no column 'score'", table=with_columns(**{"item": ["a"], "class": index}))
    fails("expected float32", table=with_columns(**{"item": ["a"], "class": index, "score": ["x"]}))
    fails("expected string or integer", table=with_columns(**{"item": [0.5], "class": index}))
    null = pa.array([None], pa.float32())
    fails("empty cells", table=with_columns(**{"item": ["a"], "class": index, "score": null}))
    unsaid = {"item": ["a"], "class": index, "score": null}
    pq.write_table(pa.table(unsaid), tmp_path / "unsaid.parquet", write_statistics=False)
    fails("column 'score' has 1 empty cells", table=tmp_path / "unsaid.parquet")
    nan = pa.array([np.nan], pa.float32())
    fails(
        "not a finite number", table=with_columns(**{"item": ["a"], "class": index, "score": nan})
    )
    fails("has no scores to rank by", table=with_columns(item=["a"], labels=[["x"]]))
    below = with_columns(**{"item": ["a"], "class": pa.array([-1], pa.int32()), "score": score})
    fails("class indices run from -1", table=below)
    beyond = toy.write(tmp_path / "beyond.parquet", [("a", 7, 0.5)], classes=SEVEN)
    fails("the class list has 7 names", table=beyond)
    named = toy.write(tmp_path / "named.parquet", [("a", "zebra", 0.5)], classes=SEVEN)
    fails("class 'zebra' is not in the class list", table=named)
    items = toy.write(tmp_path / "items.parquet", [(1, 1, 0.5)])
    fails(
        "the exclude list has names, but items are integers",
        table=items,
        exclude=Exclusions({"l": ["x"]}),
    )


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"teacher": "b"}, 'mixed teachers cannot be ranked together.*"a" and "b"|"b" and "a"'),
        ({}, "mixed teachers"),
        ({"teacher": "a", "classes": SEVEN[:6]}, "class list differs, 'c6' is in one of them only"),
        ({"teacher": "a", "classes": SEVEN[::-1]}, "class list differs, they differ in order"),
    ],
)
def test_shards_that_do_not_belong_together(
    tmp_path: Path, other: dict[str, Any], words: str
) -> None:
    toy.write(tmp_path / "s" / "0.parquet", toy.rows(0), classes=SEVEN, teacher="a")
    toy.write(tmp_path / "s" / "1.parquet", toy.rows(1), **({"classes": SEVEN} | other))
    with pytest.raises(UserError, match=words) as error:
        pick(tmp_path / "s", tmp_path / "o.parquet", 5)
    assert "1.parquet does not belong to 0.parquet" in str(error.value)


def test_paths_with_wildcards_and_quotes(tmp_path: Path) -> None:
    folder = tmp_path / "a[1]*'s class=7"
    toy.write(folder / "x?[2]'.parquet", toy.rows(1))
    pick(folder, folder / "o'ut.parquet", 5)
    assert toy.read(folder / "o'ut.parquet") == toy.oracle(toy.rows(1), dict.fromkeys(range(7), 5))


def _peak_mb() -> float:
    """The largest size of this process in memory so far."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def _select_big(folder: Path) -> float:
    import duckdb  # noqa: F401

    table = open_shards(folder / "t.parquet")
    before = _peak_mb()
    select(table, folder / "o.parquet", RankingRule(10_000), limits=Limits(128, 1))
    return _peak_mb() - before


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_memory_stays_bounded(tmp_path: Path) -> None:
    """Three million rows of 33 bytes and K · C = 1 million, in 128 MB: the rest goes to disk."""
    n = 3_000_000
    scores = np.sort(np.random.default_rng(0).random(n, np.float32))  # each row is a new best
    names = pa.array([f"a/rather/long/folder/{i:09d}.jpg" for i in range(n)])
    columns = {"item": names, "class": np.arange(n, dtype=np.int32) % 100, "score": scores}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet", row_group_size=2**17)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert pool.submit(_select_big, tmp_path).result() < 280
    ranks = pq.read_table(tmp_path / "o.parquet", columns=["item", "rank"])
    assert ranks["rank"].to_numpy().tolist() == list(range(1, 10_001)) * 100
    ids = [int(item[-13:-4]) for item in ranks["item"].to_pylist()]
    assert ids == [i for c in range(100) for i in range(n - 100 + c, n - 100 * 10_000 - 1, -100)]
