"""Selection in memory against the SQL selection, against a full sort, and its limits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import score_shards as toy
from reteach.errors import UserError
from reteach.labels import Multi
from reteach.relabel.selection.item_lists import Exclusions
from reteach.relabel.selection.quotas import balanced, proportional
from reteach.relabel.selection.score_shards import open_shards
from reteach.relabel.selection.topk import RankingRule, select
from reteach.relabel.selection.topk_numpy import Candidates, best, draw, read_picks, write_picks
from reteach.scores.table import ScoreWriter
from reteach.tables import LabelTable, write_labels

CLASSES = tuple(f"c{i}" for i in range(7))
ITEMS = [f"{'éz'[i % 2]}{i * 7919 % 400:03d}.jpg" for i in range(300)]


def candidates(seed: int, top: int) -> Candidates:
    """Scores and logits full of ties, ``top`` of seven classes for each item."""
    generator = np.random.default_rng(seed)
    score = (generator.integers(0, 9, (300, 7)) / 8).astype(np.float32)
    logit = generator.integers(-3, 4, (300, 7)).astype(np.float32)
    cls = np.argsort(-score, axis=1, kind="stable")[:, :top]
    row = np.repeat(np.arange(300), top)
    at = cls.ravel()
    return Candidates(row, at, score[row, at], logit[row, at])


def table(path: Path, found: Candidates) -> Path:
    with ScoreWriter(path, CLASSES, logits=True) as out:
        out.write(ITEMS, found.row, found.cls, found.score, found.logit)
    return path


@pytest.mark.parametrize("by", ["score", "logit"])
@pytest.mark.parametrize(("top", "minimum", "seed"), [(1, None, 0), (3, 0.7, 1), (7, None, 2)])
def test_memory_and_sql_pick_the_same(tmp_path, by, top, minimum, seed):
    pytest.importorskip("duckdb")
    found = candidates(seed, top)
    rule = RankingRule(25, top, by, minimum, sample=0.6 if seed == 1 else None)
    never = ITEMS[::9]
    frequencies = dict(zip(CLASSES, [9, 5, 3, 2, 2, 1, 0], strict=True))
    for quotas, given in (
        (balanced(25, 7), None),
        (proportional(25, np.array(list(frequencies.values()), np.float64)), frequencies),
    ):
        select(
            open_shards(table(tmp_path / "scores.parquet", found)),
            tmp_path / "sql.parquet",
            rule,
            frequencies=given,
            exclude=Exclusions({"never": never}),
        )
        picks = best(found, ITEMS, quotas, rule, never)
        write_picks(tmp_path / "memory.parquet", picks, ITEMS, CLASSES, quotas, rule)
        a, b = (pq.read_table(tmp_path / f"{name}.parquet") for name in ("sql", "memory"))
        assert a.select(b.column_names).equals(b.cast(a.select(b.column_names).schema))
        assert a.schema.metadata == b.schema.metadata
        assert toy.read(tmp_path / "memory.parquet") == toy.read(tmp_path / "sql.parquet")


def test_drawing_from_tags_is_the_same_too(tmp_path):
    pytest.importorskip("duckdb")
    dense = np.random.default_rng(3).random((300, 7)) < 0.3
    tags = Multi.from_dense(dense, CLASSES)
    write_labels(tmp_path / "tags.parquet", LabelTable(tuple(ITEMS), tags, "tags"))
    rule = RankingRule(20, by="random", seed=5, sample=0.8)
    select(open_shards(tmp_path / "tags.parquet"), tmp_path / "sql.parquet", rule)
    quotas = balanced(20, 7)
    picks = draw(tags, np.arange(300), ITEMS, quotas, rule)
    write_picks(tmp_path / "memory.parquet", picks, ITEMS, CLASSES, quotas, rule)
    named = [(i, CLASSES[c], s, r) for i, c, s, r in toy.read(tmp_path / "memory.parquet")]
    assert named == toy.read(tmp_path / "sql.parquet")


def test_against_a_full_sort():
    found = candidates(4, 3)
    picks = best(found, ITEMS, balanced(25, 7), RankingRule(25, 3))
    rows = [
        (ITEMS[r], c, float(s))
        for r, c, s in zip(
            found.row.tolist(), found.cls.tolist(), found.score.tolist(), strict=True
        )
    ]
    wanted = toy.oracle(rows, dict.fromkeys(range(7), 25))
    columns = (picks.row, picks.cls, picks.score, picks.rank)
    got = [(ITEMS[r], c, s, k) for r, c, s, k in zip(*(c.tolist() for c in columns), strict=True)]
    assert got == wanted


def test_one_class_per_image_and_no_limit_is_the_argmax():
    found = candidates(6, 1)
    picks = best(found, ITEMS, balanced(1000, 7), RankingRule(1000, 1))
    order = np.argsort(picks.row)
    np.testing.assert_array_equal(picks.row[order], np.arange(300))
    np.testing.assert_array_equal(picks.cls[order], found.cls)


def test_picks_are_read_back(tmp_path):
    found = candidates(4, 3)
    quotas = balanced(5, 7)
    picks = best(found, ITEMS, quotas, RankingRule(5, 3))
    file = tmp_path / "picks.parquet"
    write_picks(file, picks, ITEMS, CLASSES, quotas, RankingRule(5, 3))
    for classes in (CLASSES, CLASSES[::-1]):  # the order of the class list may differ
        again, others = read_picks(file, ITEMS, classes)
        pairs = {(ITEMS[r], CLASSES[c]) for r, c in zip(picks.row, picks.cls, strict=True)}
        assert {(ITEMS[r], classes[c]) for r, c in zip(again.row, again.cls, strict=True)} == pairs
        assert others == 0
    some, others = read_picks(file, ITEMS[:150], CLASSES)
    assert len(some) + others == len(picks)
    assert others > 0
    with pytest.raises(UserError, match="none of its 35 picks is among the images, first: "):
        read_picks(file, ["x"], CLASSES)
    with pytest.raises(UserError, match="another class list: 'c6' is in one of them only"):
        read_picks(file, ITEMS, CLASSES[:6])
    pq.write_table(pa.table({"item": ["x"]}), file)
    with pytest.raises(UserError, match="no column 'class'"):
        read_picks(file, ITEMS, CLASSES)
