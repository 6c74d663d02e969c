"""How often a store is asked: each request costs money and a round trip."""

from __future__ import annotations

import io
import tarfile
import time
from collections import Counter

import numpy as np
import pytest

import store_world as world
from reteach.cli import main
from reteach.data.loading.augment import Eval
from reteach.data.loading.reader import pixels
from reteach.data.sources.base import SubsetSource, shrunk
from reteach.data.sources.parts import TarParts
from reteach.data.sources.shards import open_shards
from reteach.storage import shards as at_store

SHARDS, IMAGES = 36, 4


@pytest.fixture
def pile(store, tmp_path):
    """Shards at the store."""
    draws = np.random.default_rng(0)
    for shard in range(SHARDS):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as tar:
            for number in range(IMAGES):
                data = world._png(draws)
                info = tarfile.TarInfo(f"{number:04}.png")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        store.put("bucket", f"pile/{shard:03}.tar", out.getvalue())
        size = len(out.getvalue())
    return size


def _of_shards(store) -> Counter[str]:
    return Counter(
        line.split()[1] for line in store.asked() if line.startswith("GET") and ".tar" in line
    )


@pytest.mark.parametrize("workers", [0, 1])
def test_scoring_reads_each_shard_once_whole_though_few_have_room(
    store, pile, tmp_path, monkeypatch, workers
):
    world.make(tmp_path / "world")
    assert main(world.steps(str(tmp_path / "world"), str(tmp_path))["teacher"]) == 0
    monkeypatch.setenv(at_store.ROOM, str(4.5 * pile / 1e9))
    store.asked(begin=True)
    words = (
        f"score {tmp_path}/teacher --images s3://bucket/pile/*.tar --out {tmp_path}/scores --top 2"
    )
    assert (
        main([*words.split(), "--workers", str(workers), "--device", "cpu", "--batch-size", "4"])
        == 0
    )
    assert _of_shards(store) == {f"/bucket/pile/{n:03}.tar": 1 for n in range(SHARDS)}
    assert len(list((tmp_path / "scores").glob("*.parquet"))) == SHARDS


def test_shards_are_fetched_one_ahead_of_need(store, pile):
    """More would push out copies that are still to be read."""
    parts = TarParts("s3://bucket/pile/*.tar")
    store.asked(begin=True)
    opened = parts.open(range(SHARDS))
    for pulled in range(1, 4):
        next(opened)
        before = -1
        while (now := sum(_of_shards(store).values())) != before:
            before = now
            time.sleep(1.0)
        assert now <= pulled + 1
    opened.close()


@pytest.mark.parametrize("wrapped", [False, True])
def test_neighbours_without_a_copy_are_one_request_and_strangers_one_each(
    store, pile, monkeypatch, wrapped
):
    source = open_shards("s3://bucket/pile/00[01].tar")
    rows = np.arange(len(source))
    wanted = [source.read(row) for row in rows]
    seen = SubsetSource(source, rows[::-1].copy()) if wrapped else source
    for copy in (tmp := at_store.view.scratch() / "shards").iterdir():
        copy.unlink()
    assert not list(tmp.iterdir())
    store.asked(begin=True)
    found, broken = pixels(shrunk(seen, 8), Eval(16, 16), rows, np.zeros(len(rows), np.int64))
    assert not broken
    order = rows[::-1] if wrapped else rows
    np.testing.assert_array_equal(
        found.permute(0, 2, 3, 1).numpy(), np.stack([wanted[row] for row in order])
    )
    assert sum(_of_shards(store).values()) == 2
    monkeypatch.setattr(at_store, "_GAP", 0)
    store.asked(begin=True)
    pixels(seen, Eval(16, 16), rows[[0, 2]], np.zeros(2, np.int64))
    assert sum(_of_shards(store).values()) == 2
    monkeypatch.setattr(at_store, "_GAP", 1 << 16)
    monkeypatch.setattr(at_store, "_HELD", int(source.sizes[:2].sum()))
    store.asked(begin=True)
    pixels(source, Eval(16, 16), rows[:IMAGES], np.zeros(IMAGES, np.int64))
    assert sum(_of_shards(store).values()) == 1 + IMAGES - 2
    store.client().delete_object(Bucket="bucket", Key="pile/000.tar")
    _, broken = pixels(source, Eval(16, 16), rows, np.zeros(len(rows), np.int64))
    assert broken == [(n, "shard s3://bucket/pile/000.tar has vanished") for n in range(IMAGES)]
