"""Weak labels of very many images: block by block as in memory, and nothing as large as the data set held."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reteach import scratch
from reteach.data import dataset
from reteach.data.loading.samplers import WeightedSampler
from reteach.data.sources.arrays import ArraySource
from reteach.engine.fingerprint import describe
from reteach.errors import UserError
from reteach.labels import LabelSet, Multi, Single, Soft
from reteach.relabel.weak import stored, weak_labels
from reteach.relabel.weak.hashtags import Matcher, square_root
from reteach.relabel.weak.tag_tables import label_tags
from reteach.text_column import TextColumn

CLASSES = ("cat", "dog", "bee")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """What relabel hashtags writes of 300 images, of which two thirds have tags that name a class."""
    pytest.importorskip("duckdb")
    draw = np.random.default_rng(0)
    words = ["cat", "dog", "bee", "sky", "cats", "sea"]
    rows = [f"z/{i:05d},{' '.join(draw.choice(words, draw.integers(1, 5)))}" for i in range(300)]
    (tmp_path / "tags.csv").write_text("\n".join(["item,tags", *rows]) + "\n")
    label_tags(tmp_path / "tags.csv", tmp_path / "weak.parquet", Matcher(CLASSES))
    return tmp_path / "weak.parquet"


def both(
    file: Path, items: list[str], monkeypatch: pytest.MonkeyPatch
) -> list[weak_labels.WeakLabels]:
    """Read block by block, which is seen to happen, and in memory."""
    found = stored.stored_labels(file, TextColumn.of(items), CLASSES[::-1])
    assert found is not None
    with monkeypatch.context() as patched:
        patched.setattr(weak_labels, "stored_labels", lambda *_: None)
        whole = weak_labels.weak_labels(file, items, CLASSES[::-1])
    return [weak_labels.weak_labels(file, TextColumn.of(items), CLASSES[::-1]), whole]


def test_weak_labels_read_in_blocks_are_those_read_whole(
    table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored, "BLOCK", 37)
    monkeypatch.setattr(scratch, "LEAST", 64)  # all arrays lie in files
    items = [
        f"z/{i:05d}" for i in range(20, 320) if i % 7
    ]  # some have no tags, some tags are of others
    here, whole = both(table, items, monkeypatch)
    assert 100 < len(whole.rows) < 250
    np.testing.assert_array_equal(here.rows, whole.rows)
    assert here.labels.digest() == whole.labels.digest()
    assert here.shares().digest() == whole.shares().digest()
    for one, other in zip(here.labels.pairs(), whole.labels.pairs(), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(square_root(here.labels), square_root(whole.labels))
    draws = [
        WeightedSampler(square_root(one.labels), 3, "weak").rows(5, 64) for one in (here, whole)
    ]
    np.testing.assert_array_equal(*draws)
    at, cls, weight = whole.labels.pairs()
    slow = [[0.0] * 3 for _ in whole.rows]
    for row, c, w in zip(at.tolist(), cls.tolist(), weight.tolist(), strict=True):
        slow[row][c] = w / sum(weight[at == row].tolist())
    np.testing.assert_allclose(here.shares().array(), slow, rtol=1e-6)


def rewritten(table: Path, change: str) -> Path:
    """The same with one thing amiss in its tenth row, or in another order."""
    rows = pq.read_table(table).to_pylist()
    row = rows[10]
    if change == "order":
        rows = rows[::-1]
    elif change == "twice":
        rows[11]["item"] = row["item"]
    elif change == "weights":
        row["weight"] = [*row["weight"], 1.0]
    elif change == "negative":
        row["weight"][0] = -1.0
    elif change == "class":
        row["labels"][0] = "fox"
    elif change == "class twice":
        row["labels"], row["weight"] = ["cat", "cat"], [1.0, 1.0]
    elif change == "kind":
        row["kind"] = "multi"
    out = table.with_name("changed.parquet")
    pq.write_table(pa.Table.from_pylist(rows, schema=pq.read_schema(table)), out)
    return out


@pytest.mark.parametrize(
    "change", ["order", "twice", "weights", "negative", "class", "class twice", "kind"]
)
def test_a_table_that_is_amiss_is_told_as_ever(
    table: Path, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = [f"z/{i:05d}" for i in range(300)]
    file = rewritten(table, change)
    assert stored.stored_labels(file, TextColumn.of(items), CLASSES) is None
    if change == "order":
        assert len(weak_labels.weak_labels(file, TextColumn.of(items), CLASSES).rows) > 100
        return
    said = []
    for some in (items, TextColumn.of(items)):
        with pytest.raises(UserError) as error:
            weak_labels.weak_labels(file, some, CLASSES)
        said.append(str(error.value))
    assert said[0] == said[1]


def test_images_out_of_order_are_matched_all_the_same(table: Path) -> None:
    items = TextColumn.of([f"z/{i:05d}" for i in range(299, -1, -1)])
    assert stored.stored_labels(table, items, CLASSES) is None
    found = weak_labels.weak_labels(table, items, CLASSES)
    forth = weak_labels.weak_labels(table, items[::-1], CLASSES)
    np.testing.assert_array_equal(299 - found.rows, forth.rows)


def test_a_tag_of_weight_zero_is_none(tmp_path: Path) -> None:
    """Its share was 0 / 0, and so was the target that an image with nothing else had."""
    (tmp_path / "t.csv").write_text("item,labels,weight,kind\na,cat,0,soft\nb,cat|dog,0|2,soft\n")
    found = weak_labels.weak_labels(tmp_path / "t.csv", ["a", "b"], ("cat", "dog"))
    assert found.rows.tolist() == [1]
    np.testing.assert_array_equal(found.shares().array(), [[0, 1]])


@pytest.mark.parametrize("kind", ["single", "multi", "unknown", "soft"])
def test_the_digest_of_labels_is_that_of_their_arrays_at_once(kind: str) -> None:
    draw = np.random.default_rng(0)
    dense, n = draw.integers(0, 2, (70_000, 3)).astype(bool), 70_000
    labels: LabelSet = {
        "single": lambda: Single(draw.integers(-1, 3, n), CLASSES),
        "multi": lambda: Multi.from_dense(dense, CLASSES),
        "unknown": lambda: Multi.from_dense(dense, CLASSES, draw.integers(0, 2, (n, 3)) > 0),
        "soft": lambda: Soft.from_dense(dense * draw.random((n, 3)), CLASSES),
    }[kind]()
    h = hashlib.blake2b(repr((kind.capitalize().replace("Unknown", "Multi"), n, CLASSES)).encode())
    for part in (*labels.pairs(), labels.known(), *labels._more()):
        h.update(np.ascontiguousarray(part).tobytes())
    assert labels.digest() == h.hexdigest()[:16]


def test_some_rows_of_labels_cost_nothing_for_the_others() -> None:
    """A batch of ten million was a millisecond for each row of the whole."""
    n = 3_000_000
    labels = Soft(np.arange(n + 1), np.zeros(n, np.int64), CLASSES, np.ones(n, np.float32))
    import tracemalloc

    tracemalloc.start()
    taken = labels.take(np.array([5, -1, 7]))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000
    assert taken.pairs()[0].tolist() == [0, 1, 2]
    with pytest.raises(IndexError):
        labels.take(np.array([n]))


def test_texts_are_found_from_the_shorter_side() -> None:
    texts = TextColumn.of([f"{i:05d}" for i in range(40_000)])
    asked = ["30000", "x", "00007", "30000", "39999"]
    assert texts.rows_of(asked).tolist() == [30_000, -1, 7, 30_000, 39_999]
    assert TextColumn.of(["30000", "00007"]).rows_of(asked).tolist() == [0, -1, 1, 0, -1]
    assert texts.ascending()
    assert not TextColumn.of([f"{i:05d}" for i in [*range(20_000), 19_999]]).ascending()


def test_the_hash_of_items_is_that_of_their_names_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{i:04d}" for i in range(300)] + ["ü", "\udc80"]
    expected = hashlib.blake2b("\0".join(names).encode("utf-8", "surrogatepass"), digest_size=8)
    monkeypatch.setattr(dataset, "_BLOCK", 100)
    images = ArraySource(np.zeros((302, 2, 2, 3), np.uint8), names)
    data = dataset.Dataset.unlabeled(images, CLASSES)
    assert describe(data)[".items"] == expected.hexdigest()
    assert list(data.items) == names
    few = data.subset(np.array([3, 1]))
    assert describe(few)[".items"] == hashlib.blake2b(b"0003\x000001", digest_size=8).hexdigest()
