"""How often a store is asked: each request costs money and a round trip."""

from __future__ import annotations

import io
import tarfile
import time
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

import store_world as world
from reteach.cli import main
from reteach.data.dataset import Dataset
from reteach.data.loading.at_hand import FETCHERS
from reteach.data.loading.augment import Eval
from reteach.data.loading.batch import Normalize
from reteach.data.loading.reader import pixels
from reteach.data.loading.samplers import AlternatingSampler
from reteach.data.loading.shard_epochs import ShardEpochs, shard_by_shard
from reteach.data.loading.stream import Stream
from reteach.data.sources.base import SubsetSource, shrunk
from reteach.data.sources.parts import TarParts
from reteach.data.sources.shards import open_shards
from reteach.errors import UserError
from reteach.schedules import Cycles
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


def _stream(where: str, shuffle: int, rank: int = 0, world: int = 1) -> Stream:
    dataset = Dataset.unlabeled(open_shards(where), ("a",))
    rows, starts = shard_by_shard(dataset, range(len(dataset)))
    passes = ShardEpochs(rows, starts, shuffle, seed=0)
    prepare = Normalize((0.5,) * 3, (0.5,) * 3, 3, "cpu")
    return Stream(dataset, passes, 8, Eval(16, 16), prepare, seed=0, rank=rank, world=world)


def test_a_pass_over_shards_in_turn_fetches_each_once_though_few_have_room(
    store, pile, tmp_path, monkeypatch
):
    """One over all images at random would ask for nearly each image."""
    local = tmp_path / "pile"
    local.mkdir()
    for n in range(SHARDS):
        (local / f"{n:03}.tar").write_bytes(store.content("bucket", f"pile/{n:03}.tar"))
    # at first none of four has been read to its end, and the next four are as young as they
    monkeypatch.setenv(at_store.ROOM, str((2 * 4 + 2 * FETCHERS + 0.5) * pile / 1e9))
    stream = _stream("s3://bucket/pile/*.tar", 4)
    for copy in (at_store.view.scratch() / "shards").iterdir():
        copy.unlink()
    steps = 2 * SHARDS * IMAGES // 8
    store.asked(begin=True)
    found = [batch.x for batch in stream.batches(0, steps)]
    asked = _of_shards(store)
    wanted = [batch.x for batch in _stream(f"{local}/*.tar", 4).batches(0, steps)]
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))
    assert len(asked) == SHARDS
    assert max(asked.values()) == 2  # no part begins within a shard here
    assert sum(asked.values()) > SHARDS + 10  # they do not all have room
    monkeypatch.setenv(at_store.ROOM, str((3 + 2 * FETCHERS) * pile / 1e9))
    with pytest.raises(
        UserError, match=r"--shuffle-shards: 4 shards at a time and the next \d take"
    ):
        next(iter(stream.batches(0, 1)))


def test_each_process_fetches_the_shards_of_its_own_places(store, pile):
    steps = SHARDS * IMAGES // 8
    every = []
    for rank in range(2):
        stream = _stream("s3://bucket/pile/*.tar", 4, rank, 2)
        for copy in (at_store.view.scratch() / "shards").iterdir():
            copy.unlink()
        store.asked(begin=True)
        for _ in stream.batches(0, steps):
            pass
        every.append(set(_of_shards(store)))
    assert len(every[0] | every[1]) == SHARDS
    assert len(every[0] & every[1]) <= 1  # the one that is cut


def test_shards_are_fetched_where_two_orders_take_turns(store, pile):
    """MILe's teacher and student, each with passes of its own."""
    stream = _stream("s3://bucket/pile/*.tar", 4)
    orders = AlternatingSampler(stream.order, stream.order, Cycles(4, 2, 2))
    for copy in (folder := at_store.view.scratch() / "shards").iterdir():
        copy.unlink()
    for _ in replace(stream, order=orders).batches(0, 4):
        pass
    assert len(list(folder.glob("*.tar"))) >= 4  # byte ranges would leave none


def test_a_shard_that_vanishes_while_it_is_waited_for_loses_its_images_alone(store, pile):
    stream = _stream("s3://bucket/pile/*.tar", 4)
    for copy in (at_store.view.scratch() / "shards").iterdir():
        copy.unlink()
    store.client().delete_object(Bucket="bucket", Key="pile/017.tar")
    for _ in stream.batches(0, SHARDS * IMAGES // 8):
        pass
    assert stream.broken == {
        f"017/{n:04}": "shard s3://bucket/pile/017.tar has vanished" for n in range(IMAGES)
    }


def test_who_shuffles_all_images_of_far_shards_is_told_what_it_costs(
    store, pile, tmp_path, monkeypatch, capsys
):
    world.make(tmp_path / "world")
    words = world.steps(str(tmp_path / "world"), str(tmp_path), steps=2)["teacher"]
    words = [*words, "--unlabeled", "s3://bucket/pile/*.tar"]
    words[1] = "mile"
    monkeypatch.setenv(at_store.ROOM, str(20 * pile / 1e9))
    assert main(words) == 0
    assert "--shuffle-shards fetches a shard once a pass" in capsys.readouterr().err
    assert main([*words[:-4], *words[-2:], "--shuffle-shards", "2", "--out", f"{tmp_path}/b"]) == 0
    assert "--shuffle-shards" not in capsys.readouterr().err
