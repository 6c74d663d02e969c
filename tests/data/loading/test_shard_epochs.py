"""Shards read in turn: a literal oracle, what a process reads, and what is refused."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from itertools import count, islice, pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reteach import rng
from reteach.cli import main
from reteach.data.dataset import Dataset
from reteach.data.loading.shard_epochs import ShardEpochs, shard_by_shard
from reteach.data.sources.arrays import ArraySource
from reteach.data.sources.base import SubsetSource
from reteach.data.sources.blocks import has_shards
from reteach.data.sources.concat import ConcatSource
from reteach.data.sources.shards import open_shards
from reteach.errors import UserError

SIZES = (5, 1, 7, 4, 4, 9, 2, 3, 6)
ROWS = 1000 + 2 * np.arange(sum(SIZES))
STARTS = np.cumsum([0, *SIZES])


def order(at_once: int) -> ShardEpochs:
    return ShardEpochs(ROWS, STARTS, at_once, seed=3)


def line(number: int) -> list[int]:
    """A pass: the shards in a random order, the rows of each in one too."""
    found = []
    shards = np.random.default_rng(rng.fold(3, "train", "shards", number)).permutation(len(SIZES))
    for shard in shards.tolist():
        own = ROWS[STARTS[shard] : STARTS[shard + 1]]
        key = rng.fold(3, "train", "shard", number, shard)
        found += np.random.default_rng(key).permutation(own).tolist()
    return found


def part(at_once: int, which: int) -> Iterator[int]:
    """What fills the places of one part, for ever."""
    first, stop = (len(ROWS) * i // at_once for i in (which, which + 1))
    for number in count():
        yield from line(number)[first:stop]


@pytest.mark.parametrize(("at_once", "batch"), [(1, 4), (2, 8), (3, 3), (4, 12), (41, 41)])
def test_batches_are_those_of_the_definition_wherever_one_begins(at_once: int, batch: int) -> None:
    steps = 3 * len(ROWS) // batch + 2
    share = batch // at_once
    every = [list(islice(part(at_once, i), steps * share)) for i in range(at_once)]
    wanted = [
        [row for own in every for row in own[step * share : (step + 1) * share]]
        for step in range(steps)
    ]
    one = order(at_once)
    assert [one.rows(step, batch).tolist() for step in range(steps)] == wanted
    for step in np.random.default_rng(0).permutation(steps).tolist():
        assert one.rows(step, batch).tolist() == wanted[step]
        assert order(at_once).rows(step, batch).tolist() == wanted[step]


def test_a_pass_has_each_row_once_and_passes_differ() -> None:
    for number in range(3):
        assert sorted(line(number)) == ROWS.tolist()
    assert line(0) != line(1)
    assert ShardEpochs(range(len(ROWS)), STARTS, 4, seed=3).rows(2, 8).tolist() == (
        ((order(4).rows(2, 8) - 1000) // 2).tolist()
    )


def test_a_batch_mixes_shards_and_a_process_reads_those_of_its_places_alone() -> None:
    sizes = np.full(64, 100)
    starts = np.append(0, np.cumsum(sizes))
    passes = ShardEpochs(range(6400), starts, 16, seed=0)
    shards = np.stack([passes.rows(t, 32) // 100 for t in range(200)])  # one pass
    assert min(len(set(batch)) for batch in shards.tolist()) > 12
    assert np.bincount(shards.ravel(), minlength=64).tolist() == [100] * 64
    # each place of a batch reads shard after shard, and none again
    for place in shards.T:
        assert sum(a != b for a, b in pairwise(place.tolist())) <= 64 / 16
    # of four processes each reads a quarter of the shards, and the few that are cut
    own = [set(shards[:, 8 * rank : 8 * rank + 8].ravel().tolist()) for rank in range(4)]
    assert all(len(one) <= 64 / 4 + 1 for one in own)
    assert sum(map(len, own)) <= 64 + 3


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UserError, match=r"--shuffle-shards 3 must divide --batch-size 8"):
        order(3).rows(0, 8)
    with pytest.raises(UserError, match="there are only 41 images"):
        order(42)


@pytest.fixture
def shards(tmp_path: Path) -> str:
    """Shards of 2, 3 and 4 small images of two classes."""
    draws = np.random.default_rng(0)
    for shard in range(3):
        with tarfile.open(tmp_path / f"{shard}.tar", "w") as tar:
            for number in range(shard + 2):
                out = io.BytesIO()
                Image.fromarray(draws.integers(0, 255, (8, 8, 3), np.uint8)).save(out, "PNG")
                for ending, data in ((".png", out.getvalue()), (".cls", b"ab"[number % 2 :][:1])):
                    info = tarfile.TarInfo(f"{number}{ending}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
    return f"{tmp_path}/{{0..2}}.tar"


def test_rows_are_grouped_by_the_shards_they_lie_in(shards: str) -> None:
    source = open_shards(shards)
    whole = Dataset.unlabeled(source, ("a", "b"))
    rows, starts = shard_by_shard(whole, range(9))
    assert rows == range(9)  # no array of their length
    assert starts.tolist() == [0, 2, 5, 9]
    mixed = whole.subset(np.array([8, 0, 3, 1, 7]))
    rows, starts = shard_by_shard(mixed, np.arange(5))
    assert np.asarray(rows).tolist() == [1, 3, 2, 0, 4]
    assert starts.tolist() == [0, 2, 3, 5]
    few = Dataset.unlabeled(SubsetSource(source, np.array([8, 1])), ("a",))
    assert np.asarray(shard_by_shard(few, np.arange(2))[0]).tolist() == [1, 0]
    arrays = ArraySource(np.zeros((2500, 2, 2, 3), np.uint8), [str(n) for n in range(2500)])
    assert not has_shards(arrays)
    both = Dataset.unlabeled(ConcatSource(arrays, source), ("a",))
    assert has_shards(both.source)
    rows, starts = shard_by_shard(both, range(2509))
    assert rows == range(2509)
    assert starts.tolist() == [0, 1000, 2000, 2500, 2502, 2505, 2509]


def test_a_training_reads_shards_in_turn_and_goes_on_where_it_was(
    shards: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        *("train", "softmax", "--images", shards, "--model", "reteach_tiny", "--image-size", "8"),
        *("--batch-size", "4", "--device", "cpu", "--val-fraction", "0"),
        *("--augment", "none", "--snapshot-seconds", "0"),
    ]

    def weights(name: str, *more: str) -> bytes:
        assert main([*words, *more, "--out", str(tmp_path / name)]) == 0
        return (tmp_path / name / "models" / "model" / "model.safetensors").read_bytes()

    turn = weights("turn", "--steps", "6", "--workers", "0", "--shuffle-shards", "2")
    assert turn == weights("again", "--steps", "6", "--workers", "1", "--shuffle-shards", "2")
    assert turn != weights("all", "--steps", "6", "--workers", "0")
    capsys.readouterr()
    for more, why in [
        (("--shuffle-shards", "3"), "must divide --batch-size 4"),
        (("--shuffle-shards", "2", "--cache"), "has no effect with --cache"),
        (("--shuffle-shards", "2", "--freeze", "--pretrained"), "has no effect with --freeze"),
        (("--shuffle-shards", "2", "--rebalance", "1"), "has no effect with --rebalance"),
    ]:
        assert main([*words, "--steps", "2", *more, "--out", str(tmp_path / "no")]) == 2
        assert why in capsys.readouterr().err
    photos = tmp_path / "photos.npz"
    np.savez(photos, images=np.zeros((4, 8, 8, 3), np.uint8), labels=np.arange(4) % 2)
    words[3] = str(photos)
    assert main([*words, "--shuffle-shards", "2", "--out", str(tmp_path / "no")]) == 2
    assert "not in tar shards" in capsys.readouterr().err


def test_cpsd_has_no_use_for_it(
    shards: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("item,labels\n0/0,a|b\n0/1,\n1/0,b\n1/1,a\n")
    words = [
        "train",
        "cpsd",
        "--images",
        shards,
        "--labels",
        str(labels),
        "--kind",
        "multi",
        "--subsets",
        "2",
    ]
    assert main([*words, "--shuffle-shards", "2", "--out", str(tmp_path / "run")]) == 2
    assert "--shuffle-shards has no effect with cpsd" in capsys.readouterr().err
