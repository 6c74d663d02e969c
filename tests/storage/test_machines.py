"""The pipeline on machines that have a store in common and no disk, also while processes are killed.

Training: torchrun with two processes on each of two machines. Scoring: two workers of Ray. Beside it the same
pipeline in one process on a local disk.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, final

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.torch import load

import store_machines
import store_world as world
from loopback_s3 import Store
from reteach.cli import main
from store_machines import Machine, kill, torchrun

pytestmark = pytest.mark.skipif(
    not os.environ.get("RETEACH_STORES_LONG"),
    reason="RETEACH_STORES_LONG=1: minutes, and many kills",
)
STEPS, SHARDS = 12, 8
CLOSE = 1e-5
"""How far the losses, weights and scores of four processes may be from those of one."""


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The world, and in ``out`` what one process makes of it on a local disk."""
    folder = tmp_path_factory.mktemp("local")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        world.make(folder / "world", SHARDS)
        for words in world.steps(f"{folder}/world", f"{folder}/out", STEPS, SHARDS).values():
            assert main([*words, "--quiet"]) == 0
    return folder


@final
@dataclass
class Loss:
    """Processes that are killed once so many objects of a kind have been written since the last loss.

    Args:
        kind: of the objects: what their names hold.
        victims: the processes; one of them, or all.
        after: objects.
        resumed: the command that goes on, on machines of their own; None: it goes on by itself.
    """

    kind: str
    victims: Callable[[list[Machine]], list[int]]
    after: int = 3
    resumed: list[str] | None = None


def one_rank(number: int, local_rank: int, every: list[Machine]) -> list[int]:
    return list(every[number].processes(f"LOCAL_RANK={local_rank}".encode()))[:1]


def one_worker(every: list[Machine]) -> list[int]:
    return list(every[0].processes(b"ray::MapWorker"))[:1]


def the_driver(every: list[Machine]) -> list[int]:
    return list(every[0].processes(b"reteach\0score"))[:1]


def all_of_them(every: list[Machine]) -> list[int]:
    return [process for machine in every for process in machine.processes()]


def losses_of(name: str, words: list[str]) -> list[Loss]:
    """What is lost while a command of the pipeline runs."""
    out = words[words.index("--out") + 1] if "--out" in words else ""
    if name == "teacher":
        return [
            Loss("out/teacher/metrics/", partial(one_rank, 1, 1)),
            Loss("out/teacher/metrics/", partial(one_rank, 0, 0)),
        ]
    if name == "student":
        return [
            Loss("out/student/metrics/", partial(one_rank, 0, 1)),
            Loss("out/student/metrics/", all_of_them, resumed=["resume", out]),
        ]
    if name == "score":
        return [Loss("out/scores/", one_worker, 1), Loss("out/scores/", the_driver, 1, words)]
    return []


class Watch:
    """Kills when the time has come."""

    def __init__(self, store: Store, every: list[Machine], losses: Sequence[Loss]) -> None:
        self.store, self.every, self.losses = store, every, list(losses)
        self.since: int | None = None
        self.gone: Loss | None = None

    def __call__(self) -> None:
        if self.gone is not None or not self.losses:
            return
        loss = self.losses[0]
        there = len([n for n in self.store.names("bucket", loss.kind) if not n.endswith(".lock")])
        if self.since is None:
            self.since = there
        if there - self.since < loss.after or not (victims := loss.victims(self.every)):
            return
        if sum(map(kill, victims)):
            self.losses.pop(0)
            self.since = None
            self.gone = loss if loss.resumed is not None else None


def begin(every: list[Machine], words: list[str]) -> list[subprocess.Popen[bytes]]:
    if words[0] in ("train", "resume"):
        return torchrun(every, words)
    if words[0] == "score":
        words = [*words, "--ray", "local", "--scorers", "2"]
    return [every[0].start(words)]


def play(store: Store, folder: Path, killing: bool) -> None:
    """The pipeline."""
    number = 0
    for name, words in world.steps("s3://bucket/world", "s3://bucket/out", STEPS, SHARDS).items():
        losses = losses_of(name, words) if killing else []
        for _ in range(4):
            number += 1
            with store_machines.machines(folder / f"{number}-{name}", store) as every:
                watch = Watch(store, every, losses)
                codes = store_machines.ended(begin(every, words), watch)
                said = "\n".join(machine.said() for machine in every)
            losses = watch.losses
            if watch.gone is not None:
                assert watch.gone.resumed is not None
                words = watch.gone.resumed
            elif "Ray does not start" not in said:  # within the 30 seconds that it gives itself
                break
        assert not any(codes), said
        assert not losses, f"{name} was over too soon"


def tables(store: Store, local: Path, name: str) -> tuple[pa.Table, pa.Table]:
    there = pq.read_table(pa.BufferReader(store.content("bucket", f"out/{name}")))
    return there, pq.read_table(local / "out" / name)


def apart(store: Store, local: Path) -> dict[str, float]:
    """How far weights, losses and scores are from those of one process on a local disk."""
    found: dict[str, float] = {}
    weights = [name for name in world.COMPARED if name.endswith(".safetensors")]
    for name in weights:
        one = load(store.content("bucket", f"out/{name}"))
        other = load((local / "out" / name).read_bytes())
        assert one.keys() == other.keys()
        found[name] = max(
            float((one[n].double() - other[n].double()).abs().max()) for n in one if one[n].numel()
        )
    for run in ("teacher", "student"):
        here = (local / f"out/{run}/metrics.jsonl").read_text()
        there = store.content("bucket", f"out/{run}/metrics.jsonl").decode()
        one, other = (list(map(json.loads, text.splitlines())) for text in (there, here))
        assert len(one) == len(other)
        found[run] = max(distance(x, y) for x, y in zip(one, other, strict=True))
    one, other = tables(store, local, "picks.parquet")
    assert one.drop_columns(["score"]).equals(other.drop_columns(["score"]))
    scores = zip(one["score"].to_pylist(), other["score"].to_pylist(), strict=True)
    found["picks.parquet"] = max(abs(a - b) for a, b in scores)
    return found


def said_of_items(labels: str) -> list[list[str]]:
    """Items and labels of a table, in which also stands which weights say so."""
    return [[row["item"], row["labels"]] for row in csv.DictReader(labels.splitlines())]


def distance(one: dict[str, Any], other: dict[str, Any]) -> float:
    assert one.keys() == other.keys()
    numbers = [(one[n], other[n]) for n in one if isinstance(one[n], float)]
    assert all(one[n] == other[n] for n in one if not isinstance(one[n], float))
    return max((abs(a - b) for a, b in numbers), default=0.0)


LASTING = (*world.COMPARED, "teacher/metrics.jsonl", "student/metrics.jsonl", "found.json")
"""What holds no time and no place, and hangs on every number on the way."""


def lasting(store: Store) -> dict[str, bytes]:
    """The content of these objects."""
    return {name: store.content("bucket", f"out/{name}") for name in LASTING}


def test_two_machines_without_a_common_disk_make_what_one_process_makes_killed_or_not(
    store, local, tmp_path
):
    """Killed or not: to the last bit. Beside one process, which adds in another order: closely."""
    made = []
    for killing in (False, True):
        for name in store.names("bucket"):
            store.client().delete_object(Bucket="bucket", Key=name)
        store.upload(local / "world", "bucket", "world")
        store.fail(0.05 if killing else 0.0)
        play(store, tmp_path / f"{killing}", killing)
        store.fail(0)
        made.append(lasting(store))
        found = apart(store, local)
        print(killing, {name: f"{value:.1e}" for name, value in found.items()})
        assert max(found.values()) <= CLOSE
        labels = store.content("bucket", "out/labels.csv").decode()
        assert said_of_items(labels) == said_of_items((local / "out/labels.csv").read_text())
        for name in store.names("bucket"):
            content = store.content("bucket", name)
            assert str(tmp_path).encode() not in content, name
            assert not name.endswith((".part", ".lock")), name
    undisturbed, killed = made
    assert [name for name in LASTING if killed[name] != undisturbed[name]] == []


def test_parts_of_a_shared_out_model_outlive_both_machines(store, local, tmp_path):
    """Four processes write parts of snapshots; their machines are lost; two processes of another go on."""
    store.upload(local / "world", "bucket", "world")
    words = world.steps("s3://bucket/world", "s3://bucket/out", STEPS, SHARDS)["teacher"]
    kind = "out/teacher/stages/train/snapshot-"
    with store_machines.machines(tmp_path / "first", store) as every:
        watch = Watch(store, every, [Loss(kind, all_of_them, 10, ["resume"])])
        store_machines.ended(torchrun(every, [*words, "--shard-model"]), watch)
        assert watch.gone is not None, every[0].said() + every[1].said()
    named = json.loads(store.content("bucket", "out/teacher/stages/train/snapshot.json"))
    assert {len(each["files"]) for each in named["snapshots"]} == {5}, "four parts and their index"
    with store_machines.machines(tmp_path / "second", store, 1) as every:
        begun = torchrun(every, ["resume", "s3://bucket/out/teacher"])
        assert store_machines.ended(begun) == [0], every[0].said()
    one = load(store.content("bucket", f"out/teacher/{world.WEIGHTS}"))
    other = load((local / "out/teacher" / world.WEIGHTS).read_bytes())
    assert max(float((one[n].double() - other[n].double()).abs().max()) for n in one) <= CLOSE
    steps = {n.split("/")[4] for n in store.names("bucket", kind)}
    assert len(steps) == 2, "the last one, and the one before"
