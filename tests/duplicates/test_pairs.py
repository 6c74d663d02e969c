"""Duplicates against brute force: equal files, nearest features, thumbnails, FAISS, planted pairs."""

from __future__ import annotations

import io
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from reteach.duplicates import neighbours
from reteach.duplicates.feature_files import read_features
from reteach.duplicates.neighbours import nearest, normalised
from reteach.duplicates.pairs import Pairs, joined, near_pairs, same_bytes
from reteach.duplicates.thumbnails import thumbnail
from reteach.errors import UserError

Floats = np.ndarray


class Memory:
    """Files in memory that count how often they are read."""

    def __init__(self, contents: list[bytes | None], sized: bool = True) -> None:
        self.contents, self.sized, self.reads = contents, sized, 0

    def __len__(self) -> int:
        return len(self.contents)

    def size(self, row: int) -> int:
        return len(self.contents[row] or b"gone") if self.sized else -1

    def content(self, row: int) -> bytes:
        self.reads += 1
        if self.contents[row] is None:
            raise OSError("gone")
        return self.contents[row]


def pairs_of(found: Pairs) -> list[tuple[int, int]]:
    return list(zip(found.row.tolist(), found.against.tolist(), strict=True))


files = st.lists(st.sampled_from([b"", b"a", b"b", b"ab", b"ba", b"abc"]), max_size=12)


@given(files, files, st.booleans())
def test_equal_files_across_two_sets(one: list[bytes], two: list[bytes], sized: bool) -> None:
    wanted = [(i, j) for (i, a), (j, b) in product(enumerate(one), enumerate(two)) if a == b]
    found = same_bytes(Memory(list(one), sized), Memory(list(two), sized))
    assert pairs_of(found) == wanted
    assert found.same_bytes.all()


@given(files)
def test_equal_files_within_one_set_point_to_the_first(one: list[bytes]) -> None:
    wanted = [(i, one.index(a)) for i, a in enumerate(one) if one.index(a) < i]
    assert pairs_of(same_bytes(Memory(list(one)))) == wanted


def test_only_files_of_equal_size_are_read() -> None:
    images, against = Memory([b"1", b"22", b"333", b"333"]), Memory([b"4444", b"22", b"4444"])
    assert pairs_of(same_bytes(images, against)) == [(1, 1)]
    assert (images.reads, against.reads) == (1, 1)


def test_unreadable_files_are_named_and_in_no_pair() -> None:
    named: list[tuple[int, bool]] = []
    images, against = Memory([None, b"gone", b"x"]), Memory([b"x", None])
    found = same_bytes(
        images, against, unreadable=lambda row, of_against, _: named.append((row, of_against))
    )
    assert pairs_of(found) == [(2, 0)]
    assert sorted(named) == [(0, False), (1, True)]


def points(seed: int, n: int, width: int = 24) -> Floats:
    """Unit vectors, some of them almost or exactly repeated."""
    generator = np.random.default_rng(seed)
    out = generator.normal(size=(n, width))
    out[1::7] = out[: len(out[1::7])] + 1e-4 * generator.normal(size=(len(out[1::7]), width))
    out[2::11] = out[: len(out[2::11])]
    return normalised(out)


def distances(queries: Floats, base: Floats) -> Floats:
    """(Q, N) in float64, one by one."""
    return np.array([[np.linalg.norm(np.float64(q) - b) for b in base] for q in queries])


@pytest.mark.parametrize(
    ("blocks", "k"), [((1024, 32768), 5), ((7, 13), 5), ((7, 13), 1), ((1000, 10), 40)]
)
def test_exact_neighbours(monkeypatch: pytest.MonkeyPatch, blocks: tuple[int, int], k: int) -> None:
    monkeypatch.setattr(neighbours, "_QUERIES", blocks[0])
    monkeypatch.setattr(neighbours, "_BLOCK", blocks[1])
    queries, base = points(0, 40), points(0, 150)[20:]
    found = nearest(queries, base, k)
    true = distances(queries, base)
    assert found.recall == 1
    assert found.distance == pytest.approx(np.sort(true, 1)[:, :k], abs=2e-7)
    assert np.take_along_axis(true, found.index, 1) == pytest.approx(found.distance, abs=2e-7)
    assert nearest(queries, base[:3], 9).index.shape == (40, 3)


@given(st.integers(0, 1000), st.integers(1, 60))
def test_pairs_within_one_set_are_each_once_and_sorted_globally(seed: int, most: int) -> None:
    base = points(seed, 25)
    true = distances(base, base)
    wanted = sorted((true[i, j], j, i) for i, j in combinations(range(25), 2))[:most]
    found = near_pairs(nearest(base, base, 25), single_set=True, most=most)
    assert found.distance == pytest.approx([d for d, _, _ in wanted], abs=2e-7)
    assert (found.row > found.against).all()
    assert len(set(pairs_of(found))) == min(most, 300)
    assert true[found.row, found.against] == pytest.approx(found.distance, abs=2e-7)


def test_pairs_across_sets_leave_out_known_ones_and_join() -> None:
    base, queries = points(1, 60)[3:60:7], points(2, 6)  # without the repeated ones
    queries[3] = base[7]
    known = same_bytes(Memory([b"x", b"y"]), Memory([b"z", b"y"]))  # (1, 1)
    queries[1] = base[1]
    found = near_pairs(nearest(queries, base, 3), single_set=False, most=100, skip=[known])
    assert (found.row[0], found.against[0]) == (7, 3)
    assert (1, 1) not in pairs_of(found)
    assert len(found) == 6 * 3 - 1
    both = joined(found, known)
    assert pairs_of(both)[:2] == [(1, 1), (7, 3)]  # equal files first, then distance 0
    assert both.same_bytes.tolist() == [True] + [False] * 17
    assert (np.diff(both.distance) >= 0).all()
    assert both.within(0).tolist() == [True, True] + [False] * 16
    assert both.within(-1).tolist() == [True] + [False] * 17


def test_three_equal_files_are_no_near_pair() -> None:
    """Of (1, 0) and (2, 0) the third pair, (2, 1), follows; a picture that is merely near does not."""
    base = points(3, 40)[3:40:7]
    base[1] = base[2] = base[0]
    known = same_bytes(Memory([b"a", b"a", b"a", b"d", b"e", b"f"]))
    assert pairs_of(known) == [(1, 0), (2, 0)]
    found = near_pairs(nearest(base, base, 6), single_set=True, most=100, skip=[known])
    assert not {(1, 0), (2, 0), (2, 1)} & set(pairs_of(found))
    assert len(found) == 15 - 3


def test_features_are_checked() -> None:
    assert normalised(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist() == [
        [0.6000000238418579, 0.800000011920929],
        [0, 0],
    ]
    with pytest.raises(UserError, match="row 1 are not finite"):
        normalised(np.array([[1.0], [np.inf]]))
    with pytest.raises(UserError, match=r"shape \(3,\)"):
        normalised(np.zeros(3))
    with pytest.raises(UserError, match="have 3 and 2 dimensions"):
        nearest(np.zeros((1, 3), np.float32), np.zeros((1, 2), np.float32), 1)


@pytest.mark.parametrize("codes", [False, True])
def test_faiss_finds_near_duplicates_and_reports_its_recall(
    codes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """4,000 clustered vectors, 200 of the queries being near copies of some of them."""
    faiss = pytest.importorskip("faiss")
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(50, 64))
    base = normalised(
        centres[generator.integers(0, 50, 4_000)] + generator.normal(size=(4_000, 64))
    )
    copied = generator.choice(4_000, 200, replace=False)
    near = base[copied] + 1e-3 * generator.normal(size=(200, 64))
    queries = normalised(np.concatenate([near, generator.normal(size=(100, 64))]))
    built: list[str] = []
    build = faiss.index_factory
    monkeypatch.setattr(faiss, "index_factory", lambda d, how: built.append(how) or build(d, how))
    found = nearest(queries, base, 5, search="faiss", recall=0.9, memory_mb=0 if codes else 1000)
    assert built == ["IVF100,PQ8np" if codes else "IVF100,Flat"]
    assert (found.index[:200, 0] == copied).mean() > 0.98
    true = nearest(queries, base, 5, search="exact")
    hit = np.mean(
        [len(np.intersect1d(a, b)) / 5 for a, b in zip(found.index, true.index, strict=True)]
    )
    assert found.recall == pytest.approx(hit, abs=0.05)
    assert hit > (0.75 if codes else 0.9)
    same = found.index[:, 0] == true.index[:, 0]  # true distances, also from codes
    assert found.distance[same, 0] == pytest.approx(true.distance[same, 0], abs=1e-6)


@pytest.mark.parametrize("n", [1, 3, 50, 300])
def test_faiss_on_few_vectors_is_exact(n: int) -> None:
    """With one list, or so few that all are looked at, it finds what comparing all finds."""
    pytest.importorskip("faiss")
    base, queries = points(3, n), points(4, 20)
    found = nearest(queries, base, 4, search="faiss", recall=1.0, memory_mb=0)
    true = nearest(queries, base, 4, search="exact")
    assert found.recall == 1
    assert found.distance == pytest.approx(true.distance, abs=1e-6)


def test_an_index_above_the_limit_is_used_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("faiss")
    base, queries = points(5, 400), points(6, 30)
    exact = nearest(queries, base, 3)
    monkeypatch.setattr(neighbours, "EXACT_BELOW", 100)
    asked: list[int] = []
    whole = neighbours._indexed
    monkeypatch.setattr(neighbours, "_indexed", lambda *a: asked.append(1) or whole(*a))
    found = nearest(queries, base, 3, recall=1.0)
    assert asked == [1]
    assert found.distance == pytest.approx(exact.distance, abs=1e-6)
    assert not nearest(queries, base[:100], 3).recall < 1
    assert asked == [1]


def test_without_faiss_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    monkeypatch.setattr(neighbours, "EXACT_BELOW", 10)
    vectors = points(0, 50)
    with pytest.raises(UserError, match=r"reteach\[faiss\]"):
        nearest(vectors, vectors, 2)
    assert nearest(vectors, vectors, 2, search="exact").index.shape == (50, 2)


def photo(seed: int, size: int = 96) -> Image.Image:
    """Smooth random colours."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return Image.fromarray(noise).resize((size, size), Image.Resampling.BICUBIC)


def test_thumbnails_see_through_size_compression_and_brightness() -> None:
    def seen(image: Image.Image) -> Floats:
        return thumbnail(np.asarray(image.convert("RGB")))

    out = io.BytesIO()
    photo(0).resize((61, 61), Image.Resampling.LANCZOS).save(out, "JPEG", quality=30)
    dimmed = Image.fromarray((np.asarray(photo(0)) * 0.5 + 40).astype(np.uint8))
    original = seen(photo(0))
    assert np.linalg.norm(original) == pytest.approx(1, abs=1e-6)
    assert original.mean() == pytest.approx(0, abs=1e-6)
    for copy in (Image.open(out), dimmed, photo(0).convert("L")):
        assert np.linalg.norm(seen(copy) - original) < 0.1
    others = [np.linalg.norm(seen(photo(i)) - original) for i in range(1, 20)]
    assert min(others) > 0.5
    assert not thumbnail(np.full((9, 5, 1), 77, np.uint8)).any()


def test_feature_files(tmp_path: Path) -> None:
    features = np.arange(12, dtype=np.float32).reshape(4, 3)
    items = ["a", "b", "é", "d"]
    np.savez(tmp_path / "f.npz", items=np.array(items), features=features)
    columns = {"item": items, "features": features.tolist()}
    pq.write_table(pa.table(columns), tmp_path / "f.parquet")
    for name in ("f.npz", "f.parquet"):
        assert read_features(tmp_path / name, ["é", "a"]).tolist() == [[6, 7, 8], [0, 1, 2]]
        with pytest.raises(UserError, match="1 of 2 images have no features, first: 'x'"):
            read_features(tmp_path / name, ["a", "x"])
    np.savez(tmp_path / "bad.npz", items=np.array(items), features=features[:2])
    with pytest.raises(UserError, match="do not correspond"):
        read_features(tmp_path / "bad.npz", items)
    np.savez(tmp_path / "bad.npz", item=np.array(items))
    with pytest.raises(UserError, match="needs the arrays 'items' and 'features'"):
        read_features(tmp_path / "bad.npz", items)
    np.savez(tmp_path / "bad.npz", items=np.array(items, object), features=features)
    with pytest.raises(UserError, match="not a readable"):  # never unpickled
        read_features(tmp_path / "bad.npz", items)
    pq.write_table(
        pa.table({"item": items, "features": [[1.0], [1.0, 2.0], [], []]}), tmp_path / "bad.parquet"
    )
    with pytest.raises(UserError, match="lists of equal length"):
        read_features(tmp_path / "bad.parquet", items)
