"""``reteach dedup`` in parts: by shards of the pile and by queries, merged to the pairs of the whole."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from command import run
from reteach import scratch
from reteach.commands.dedup import DedupResult
from reteach.data.sources.feature_table import FeatureShard, write_shard
from reteach.duplicates import neighbours
from reteach.duplicates.feature_files import read_features
from reteach.errors import UserError
from reteach.options.dedup import DedupOptions
from reteach.sealed import write_json

SHARDS, EACH, VAL = 3, 20, 15


@pytest.fixture(scope="module")
def pile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three tars of 20 files and 15 others, with features: no file is an image, for none is decoded."""
    root = tmp_path_factory.mktemp("pile")
    draw = np.random.default_rng(0)
    features, items = draw.normal(size=(SHARDS * EACH + VAL, 6)).astype(np.float32), []
    features[10] = features[45] = features[50] = features[62]  # equal features, and ties
    features[3] = 0  # nothing to compare
    for shard in range(SHARDS):
        with tarfile.open(root / f"z-{shard:03}.tar", "w") as out:
            for number in range(EACH):
                info = tarfile.TarInfo(f"{number:06}.jpg")
                row = EACH * shard + number
                content = f"file {62 if row in (10, 50) else row}".encode()
                info.size = len(content)
                out.addfile(info, io.BytesIO(content))
                items.append(f"z-{shard:03}/{number:06}")
    (root / "val").mkdir()
    for row in range(SHARDS * EACH, len(features)):
        (root / "val" / f"{row}.jpg").write_bytes(f"file {row}".encode())
        items.append(f"{row}.jpg")
    np.savez(root / "f.npz", items=np.array(items), features=features)
    return root


def dedup(pile: Path, out: Path, images: str, **more: object) -> DedupResult:
    usual = {"neighbours": 3, "pairs": 25, "search": "exact"}
    if "merge" not in more:
        usual["features"] = pile / "f.npz"
    else:
        del usual["search"]
    found = run(DedupOptions(images=f"{pile}/{images}", out=out, **{**usual, **more}))
    assert isinstance(found, DedupResult)
    return found


ALL = "z-{000..002}.tar"


@pytest.mark.parametrize("queries", [1, 4])
@pytest.mark.parametrize("order", [1, -1])
def test_parts_of_the_pile_merge_to_the_pairs_of_the_whole(
    pile: Path, tmp_path: Path, queries: int, order: int
) -> None:
    against = f"{pile}/val"
    whole = dedup(pile, tmp_path / "whole.parquet", ALL, against=against)
    assert whole.equal_files == 2
    assert whole.neighbours == 25, "more were there"
    parts = []
    for shard in range(SHARDS):
        for part in range(1, queries + 1):
            parts.append(tmp_path / f"{shard}-{part}.parquet")
            more = {} if queries == 1 else {"part": f"{part}/{queries}"}
            dedup(pile, parts[-1], f"z-{shard:03}.tar", against=against, **more)
    out, drop = tmp_path / "merged.parquet", tmp_path / "drop.txt"
    merged = dedup(
        pile, out, ALL, against=against, merge=tuple(parts[::order]), exclude=drop, within=0.0
    )
    assert pq.read_table(out).equals(pq.read_table(tmp_path / "whole.parquet"))
    assert (merged.equal_files, merged.neighbours, merged.recall) == (2, 25, 1.0)
    assert merged.distances == whole.distances
    assert drop.read_text().split() == ["z-000/000010", "z-002/000005", "z-002/000010"]


def test_parts_of_the_queries_merge_to_the_pairs_within_the_pile(
    pile: Path, tmp_path: Path
) -> None:
    dedup(pile, tmp_path / "whole.parquet", ALL)
    parts = [tmp_path / f"{part}.parquet" for part in (1, 2, 3, 4, 5, 6, 7)]
    for part, file in enumerate(parts, 1):
        dedup(pile, file, ALL, part=f"{part}/7")
    dedup(pile, tmp_path / "merged.parquet", ALL, merge=tuple(parts))
    merged = pq.read_table(tmp_path / "merged.parquet")
    assert merged.equals(pq.read_table(tmp_path / "whole.parquet"))
    again = tmp_path / "again.parquet"
    dedup(pile, again, ALL, merge=(tmp_path / "merged.parquet",))
    assert pq.read_table(again).equals(merged), "what was merged may be merged"


def test_tables_that_are_not_the_parts_of_one_search_are_refused(
    pile: Path, tmp_path: Path
) -> None:
    against = f"{pile}/val"
    parts = [tmp_path / f"{shard}.parquet" for shard in range(SHARDS)]
    for shard, file in enumerate(parts):
        dedup(pile, file, f"z-{shard:03}.tar", against=against)
    odd = tmp_path / "odd.parquet"

    def refused(*files: Path, images: str = ALL, **more: object) -> str:
        with pytest.raises(UserError) as error:
            dedup(pile, tmp_path / "x.parquet", images, against=against, merge=files, **more)
        return str(error.value)

    assert "the 2 tables cover 66.7% of the 60 images" in refused(*parts[:2])
    assert "0.parquet is of the same part as " in refused(parts[0], parts[0], parts[1])
    assert "made with --pairs 25: --pairs 26 needs more" in refused(*parts, pairs=26)
    dedup(pile, odd, "z-002.tar", against=against, neighbours=2)
    assert "another search than" in refused(*parts[:2], odd)
    dedup(pile, odd, "z-002.tar", against=f"{pile}/z-000.tar")
    assert "is of 20 images against 20, and these are 60 against 15" in refused(*parts[:2], odd)
    pq.write_table(pq.read_table(parts[2]).replace_schema_metadata(None), odd)
    assert "does not say what it is of" in refused(*parts[:2], odd)
    with pytest.raises(UserError, match="with --merge nothing is compared: leave --features out"):
        dedup(pile, odd, ALL, merge=tuple(parts), features=pile / "f.npz")
    for words in ("0/3", "4/3", "2", "1/x"):
        with pytest.raises(UserError, match=f"--part {words}: which of how many"):
            dedup(pile, odd, ALL, part=words)


def test_features_come_from_a_table_of_embed_shard_by_shard(
    pile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Computed once, for all searches; of very many they lie in a file."""
    monkeypatch.setattr(scratch, "LEAST", 64)
    with np.load(pile / "f.npz") as content:
        items, features = content["items"].tolist(), content["features"].astype(np.float16)
    table = tmp_path / "t.features"
    table.mkdir()
    shards = {}
    for name, rows in (("b", slice(40, None)), ("a", slice(0, 40))):
        shard = FeatureShard({"backbone": "x"}, name, items[rows], features[rows, None])
        shards[name] = write_shard(table / f"{name}.parquet", shard)
    index = {"format": 1, "settings": {"backbone": "x"}, "complete": True, "shards": shards}
    write_json(table / "_features.json", index)
    np.savez(tmp_path / "half.npz", items=np.array(items), features=features.astype(np.float32))
    some = [items[at] for at in (50, 3, 7)]
    np.testing.assert_array_equal(read_features(table, some), features[[50, 3, 7]])
    with pytest.raises(UserError, match="1 of 2 images have no features, first: 'x'"):
        read_features(table, ["x", items[0]])
    against = f"{pile}/val"
    dedup(pile, tmp_path / "a.parquet", ALL, against=against, features=tmp_path / "half.npz")
    dedup(pile, tmp_path / "b.parquet", ALL, against=against, features=table)
    one, other = (pq.read_table(tmp_path / name) for name in ("a.parquet", "b.parquet"))
    assert one.equals(other)
    said = [json.loads(t.schema.metadata[b"reteach.dedup"])["what"] for t in (one, other)]
    assert said[0] == "features of elsewhere"
    assert said[1] != said[0]


def test_an_index_goes_to_the_gpus_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """And stays where it is when they do not take it, which is said."""
    faiss = pytest.importorskip("faiss")
    draw = np.random.default_rng(0)
    base = neighbours.normalised(draw.normal(size=(3000, 16)).astype(np.float32))
    plain = neighbours.nearest(base[:50], base, 5, search="faiss")
    asked = []

    class Options:
        shard = False

    def cloned(index: object, co: Options) -> object:
        asked.append(co.shard)
        if len(asked) == 2:
            raise RuntimeError("no such index on a GPU")
        return index

    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 2, raising=False)
    monkeypatch.setattr(faiss, "GpuMultipleClonerOptions", Options, raising=False)
    monkeypatch.setattr(faiss, "GpuParameterSpace", faiss.ParameterSpace, raising=False)
    monkeypatch.setattr(faiss, "index_cpu_to_all_gpus", cloned, raising=False)
    for _ in range(2):
        found = neighbours.nearest(base[:50], base, 5, search="faiss")
        np.testing.assert_array_equal(found.index, plain.index)
    assert asked == [True, True]
