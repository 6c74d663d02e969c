"""Files that are read back: any flipped bit and any lost end is noticed, and the run ends as it should."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import toys
from reteach import files, sealed
from reteach.engine import distributed, snapshot
from reteach.engine.run import Run
from reteach.errors import UserError
from reteach.methods.supervised import Supervised
from reteach.models import export, weights, zoo

FLIPS = int(os.environ.get("RETEACH_FLIPS", "40"))
"""Of each kind of damage, on each kind of file; 500 take a minute."""


def damages(data: bytes, kinds: int = FLIPS) -> Iterator[bytes]:
    """The same bytes with one bit flipped, or cut short."""
    chance = random.Random(1)
    for _ in range(kinds):
        at = chance.randrange(8 * len(data))
        yield data[: at // 8] + bytes([data[at // 8] ^ 1 << at % 8]) + data[at // 8 + 1 :]
        yield data[: chance.randrange(len(data))]
    yield from (data[:-cut] for cut in (1, 80, 82, 103))
    for back in range(80):  # the checksum itself
        yield data[: -1 - back] + bytes([data[-1 - back] ^ 1]) + data[len(data) - back :]


def silent(file: Path, read: Callable[[], Any]) -> int:
    """How many kinds of damage are read without a word."""
    data, count = file.read_bytes(), 0
    for broken in damages(data):
        file.write_bytes(broken)
        try:
            read()
            count += 1
        except UserError as error:
            count += "\n" in str(error) or str(file.parent) not in str(error)
    file.write_bytes(data)
    read()
    return count


def small() -> Supervised:
    return toys.ALGORITHMS["sigmoid"]()


def test_no_damage_of_a_snapshot_is_silent(tmp_path):
    file = tmp_path / "snapshot.pt"
    snapshot.save(file, small(), 3, "stamp")
    assert silent(file, lambda: snapshot.load(file, small(), "stamp")) == 0


def test_no_damage_of_kept_arrays_is_silent(tmp_path):
    def arrays() -> dict[str, Any]:
        made = {"a": np.arange(40), "b": np.ones((3, 2))}
        return Run(tmp_path, quiet=True).once("arrays", lambda: made, of="something")

    arrays()
    (file,) = tmp_path.rglob("*.npz")
    assert silent(file, arrays) == 0


def saved_network(folder: Path) -> Path:
    export.save(
        zoo.create("reteach_tiny", 3, in_chans=1, seed=1),
        folder,
        architecture="reteach_tiny",
        num_classes=3,
        in_chans=1,
        mean=(0.5,),
        std=(0.25,),
        classes=("a", "b", "c"),
        image_size=None,
        model_args={},
        extra={},
    )
    return folder


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_no_damage_of_a_saved_network_is_silent(tmp_path, name):
    folder = saved_network(tmp_path / "model")
    assert silent(folder / name, lambda: export.load(folder)) == 0


def test_damaged_weights_start_no_training(tmp_path):
    file = saved_network(tmp_path / "model") / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-5] ^= 1
    file.write_bytes(data)
    with pytest.raises(UserError, match="damaged"):
        weights.load(nn.Linear(1, 1), file)


def test_no_damage_of_an_index_is_silent(tmp_path):
    file = tmp_path / "index.json"
    sealed.write_json(file, {"classes": ["a", "ü"], "threshold": float("nan"), "n": 3})
    assert sealed.read_json(file, "") == {"classes": ["a", "ü"], "threshold": None, "n": 3}
    assert silent(file, lambda: sealed.read_json(file, "make it again")) == 0


def part_of_a_run(folder: Path, stop_after: int | None = None) -> dict[str, torch.Tensor]:
    """Sixteen steps with a snapshot at each; killed after so many snapshots."""
    save, count = snapshot.save, 0

    def counting(*given: Any) -> None:
        nonlocal count
        save(*given)
        count += 1
        if count == stop_after:
            os.kill(os.getpid(), signal.SIGKILL)

    torch.set_num_threads(1)
    run = Run(folder, seed=3, quiet=True, snapshot_seconds=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(snapshot, "save", counting)
        return toys.weights(run.train("train", small(), toys.stream(), steps=16))


def killed(folder: Path, stop_after: int) -> Path:
    context = multiprocessing.get_context("fork")
    process = context.Process(target=part_of_a_run, args=(folder, stop_after))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    return folder / "stages" / "train" / "snapshot.pt"


def test_a_damaged_snapshot_gives_way_to_the_one_before_it(tmp_path, capsys):
    whole = part_of_a_run(tmp_path / "whole")
    file = killed(tmp_path / "run", 8)
    chance = random.Random(2)
    for number in range(3):
        folder = tmp_path / f"run{number}"
        shutil.copytree(tmp_path / "run", folder)
        file = folder / "stages" / "train" / "snapshot.pt"
        data = bytearray(file.read_bytes())
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        file.write_bytes(data)
        assert toys.same(part_of_a_run(folder), whole)
        told = capsys.readouterr().err
        assert "snapshot.pt is damaged" in told
        assert "going on from the snapshot before it, step 7" in told


def test_a_damaged_snapshot_never_takes_the_place_of_the_one_before_it(tmp_path):
    file = killed(tmp_path / "run", 8)
    file.write_bytes(b"PK nonsense")
    assert killed(tmp_path / "run", 1) == file
    for one, step in ((file, 8), (snapshot.previous(file), 7)):
        sealed.check(one, "")
        assert snapshot.steps_in(one) == step


def test_the_last_snapshot_has_its_name_until_the_new_one_takes_it(tmp_path, monkeypatch):
    file = tmp_path / "snapshot.pt"
    snapshot.save(file, small(), 1, "stamp")
    steps = []
    monkeypatch.setattr(files.os, "fsync", lambda number: steps.append(snapshot.steps_in(file)))
    for step in (2, 3):
        snapshot.save(file, small(), step, "stamp")
        assert file.exists()
    assert steps == [1, 2]
    assert [one.name for one in sorted(tmp_path.iterdir())] == ["snapshot.previous.pt", file.name]


def test_without_hard_links_the_one_before_is_kept_too(tmp_path, monkeypatch):
    def none(*given: Any) -> None:
        raise OSError(95, "not supported")

    monkeypatch.setattr(snapshot.os, "link", none)
    file = tmp_path / "snapshot.pt"
    for step in (1, 2):
        snapshot.save(file, small(), step, "stamp")
    assert (snapshot.steps_in(file), snapshot.steps_in(snapshot.previous(file))) == (2, 1)


def test_a_kill_between_the_two_renames_costs_one_snapshot(tmp_path):
    whole = part_of_a_run(tmp_path / "whole")
    file = killed(tmp_path / "run", 8)
    os.replace(file, snapshot.previous(file))
    assert snapshot.steps_in(file) == 8
    assert toys.same(part_of_a_run(tmp_path / "run"), whole)


def test_when_both_snapshots_are_damaged_one_line_says_what_to_do(tmp_path):
    file = killed(tmp_path / "run", 8)
    for one in (file, snapshot.previous(file)):
        one.write_bytes(one.read_bytes()[:-200])
    with pytest.raises(
        UserError, match=f"delete {re.escape(str(file.parent))} to start this stage"
    ):
        part_of_a_run(tmp_path / "run")
    shutil.rmtree(file.parent)
    assert toys.same(part_of_a_run(tmp_path / "run"), part_of_a_run(tmp_path / "whole"))


def one_of_two(rank: int, port: int, folder: Path) -> None:
    """A process of two that train together, with a snapshot at each step."""
    os.environ.update(
        RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    torch.set_num_threads(1)
    with distributed.group(torch.device("cpu")):
        run = Run(folder, seed=3, quiet=True, snapshot_seconds=0)
        stream = toys.stream(rank=distributed.rank(), world=distributed.world())
        run.train("train", small(), stream, steps=6)


def test_two_processes_go_on_from_the_snapshot_before_a_damaged_one(tmp_path):
    def together() -> None:
        context = multiprocessing.get_context("fork")
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = int(s.getsockname()[1])
        both = [context.Process(target=one_of_two, args=(r, port, tmp_path)) for r in range(2)]
        for process in both:
            process.start()
        for process in both:
            process.join()
            assert process.exitcode == 0

    together()
    file = tmp_path / "stages" / "train" / "snapshot.pt"
    whole = torch.load(file, weights_only=True)
    assert (whole["step"], snapshot.steps_in(snapshot.previous(file))) == (6, 5)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 16
    file.write_bytes(data)
    together()
    again = torch.load(file, weights_only=True)
    assert again["step"] == 6
    for name, tensor in whole["state"].items():
        torch.testing.assert_close(again["state"][name], tensor)


def test_files_of_earlier_versions_are_read_and_named(tmp_path, capsys):
    file = tmp_path / "snapshot.pt"
    snapshot.save(file, small(), 3, "stamp")
    file.write_bytes(file.read_bytes()[:-81])
    assert snapshot.load(file, small(), "stamp") == 3
    assert "has no checksum" in capsys.readouterr().err
    data = bytearray(file.read_bytes())
    tensor = toys.weights(small())["algorithm.learner.model.0.weight"].numpy().tobytes()
    data[data.index(tensor) + 5] ^= 1  # the archive's own CRCs see at least its contents
    file.write_bytes(data)
    with pytest.raises(UserError, match="damaged"):
        snapshot.load(file, small(), "stamp")


def test_a_saved_network_of_an_earlier_version_is_read_and_named(tmp_path, capsys):
    folder = saved_network(tmp_path / "model")
    config = sealed.read_json(folder / "config.json", "")
    del config["reteach"]["weights_sha256"]
    (folder / "config.json").write_text(json.dumps(config))
    export.load(folder)
    assert "has no checksum" in capsys.readouterr().err
