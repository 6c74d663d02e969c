"""Rows ranked in memory are those that DuckDB ranks: ties, texts, doubles, repeated rows, other classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reteach.errors import UserError
from reteach.relabel.selection import ranked as module
from reteach.relabel.selection.score_shards import open_shards
from reteach.relabel.selection.topk import RankingRule, Selection, select
from reteach.relabel.selection.topk_duckdb import Ranking

pytest.importorskip("duckdb")
CLASSES = ["owl", "ant", "bee", "cat"]


def write(file: Path, rows: int, *, text: bool, named: bool, double: bool, seed: int) -> None:
    """Rows of few different items and scores, 0 and -0 too: most are tied, some repeated."""
    draw = np.random.default_rng(seed)
    item = draw.integers(0, rows // 3, rows)
    cls = draw.integers(0, 4, rows)
    score = draw.choice([-0.0, 0.0, 0.25, 0.5, 0.75], rows).astype("f8" if double else "f4")
    columns = {
        "item": [f"{'ä' if i % 2 else 'z'}{i}" for i in item] if text else item,
        "class": [CLASSES[c] for c in cls] if named else cls.astype(np.int32),
        "score": score,
        "logit": draw.integers(0, 3, rows).astype(score.dtype),
    }
    pq.write_table(pa.table(columns), file)


@pytest.mark.parametrize("by", ["score", "logit"])
@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize(("text", "named"), [(False, False), (True, True), (True, False)])
def test_same_table_and_the_same_said_of_it_as_from_duckdb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: bool, named: bool, double: bool, by: str
) -> None:
    in_memory = []
    whole = module.RankedRows.write
    monkeypatch.setattr(
        module.RankedRows, "write", lambda *given: (in_memory.append(1), whole(*given))[1]
    )
    for seed in range(1):
        file = tmp_path / f"{seed}.parquet"
        write(file, 300, text=text, named=named, double=double, seed=seed)
        found: list[Selection] = []
        for way in ("memory", "duckdb"):
            with monkeypatch.context() as patch:
                if way == "duckdb":
                    patch.setattr(Ranking, "_simple", lambda *_: False)
                rule = RankingRule(60, by=by)  # type: ignore[arg-type]
                out = tmp_path / f"{way}.parquet"
                found.append(select(open_shards(file), out, rule, classes=CLASSES, part=True))
        one, other = (pq.read_table(tmp_path / f"{way}.parquet") for way in ("memory", "duckdb"))
        assert one.to_pylist() == other.to_pylist()
        assert one.equals(other)
        assert one.schema.metadata == other.schema.metadata
        assert found[0].repeated == found[1].repeated
        assert found[0].repeated is not None
        assert found[0].counts.tolist() == found[1].counts.tolist() == [60] * 4
    assert len(in_memory) == 1


def test_few_items_repeated_rows_and_numbers_that_are_none() -> None:
    rows = {
        "item": pa.array([7, 7, 8, 9, 5]),
        "class": pa.array([1, 1, 0, 5, -1]),
        "score": pa.array([0.5, 0.25, 1.0, 1.0, 1.0], pa.float32()),
    }
    found = module.ranked(pa.table(rows), "score", ["score"], np.array([1, 9]))
    assert found.table.to_pydict() == {
        "item": [8, 7, 7],
        "class": [0, 1, 1],
        "score": [1.0, 0.5, 0.25],
        "rank": [1, 1, 2],
    }
    assert (found.counts().tolist(), found.count_items(), found.repeated()) == ([1, 2], 2, (7, 1))
    rows["score"] = pa.array([0.5, float("nan"), 1, 1, 1], pa.float32())
    with pytest.raises(UserError, match="column 'score' is not a finite number for item 7"):
        module.ranked(pa.table(rows), "score", ["score"], np.array([1, 9]))
