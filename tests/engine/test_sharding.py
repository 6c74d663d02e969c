"""A model that is shared out over processes learns what a whole one does, also when their number changes."""

from __future__ import annotations

import os
import pickle
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.distributed.checkpoint  # as in tests/helpers/nodes.py: once here, not in every fork
import torch.distributed.fsdp
import torch.distributed.tensor
from torch import nn

import nodes
import toys
from reteach import sealed
from reteach.engine import distributed, sharding, shared_snapshot, snapshot
from reteach.engine.evaluate import scores
from reteach.engine.learner import Learner
from reteach.engine.parts_files import _PartsReader
from reteach.engine.run import Run
from reteach.errors import UserError
from reteach.losses.standard import sigmoid_bce
from reteach.methods.supervised import Supervised

STEPS, STOP = 8, 3
LONG = bool(os.environ.get("RETEACH_NODES_LONG"))
CASES = ["averaged", "mile copy", "mile continuing"] if LONG else ["averaged", "mile copy"]


def algorithm(name: str):
    if name == "averaged":
        kind = toys.learner(average=0.9, clip=0.5)
        return Supervised(kind, sigmoid_bce, "sigmoid")
    return toys.ALGORITHMS[name]()


def trained(folder: Path, name: str, seconds: float = 1e9):
    made = algorithm(name)
    stream = toys.stream(rank=distributed.rank(), world=distributed.world())
    run = Run(folder, seed=3, quiet=True, snapshot_seconds=seconds)
    return run.train("train", made, stream, steps=STEPS)


def stopped(step):
    def of(self, batch):
        if batch.step == STOP:
            raise UserError("lost")
        return step(self, batch)

    return of


def begin(folder: str) -> str:
    """All the cases up to a step, shared out."""
    toys.Learner = partial(Learner, shared_out=True)  # type: ignore[misc, assignment]
    with distributed.group(torch.device("cpu")):
        for name in CASES:
            kind = type(algorithm(name))
            step, kind.step = kind.step, stopped(kind.step)  # type: ignore[method-assign]
            with pytest.raises(UserError, match="lost"):
                trained(Path(folder) / name, name, seconds=0)
            kind.step = step  # type: ignore[method-assign]
    return "begun"


def go_on(folder: str, out: str) -> str:
    """The cases to their end, from their snapshots."""
    toys.Learner = partial(Learner, shared_out=True)  # type: ignore[misc, assignment]
    with distributed.group(torch.device("cpu")):
        for name in CASES:
            place = Path(folder) / name
            assert distributed.of_first(lambda p=place: steps_kept(p)) == STOP
            found = trained(place, name)
            parts = snapshot.leaves(found)
            assert any(sharding.is_part(leaf) for leaf in parts.values())
            whole = {n: sharding.whole(leaf).detach().clone() for n, leaf in parts.items()}
            first = next(iter(found.predictors().values()))
            said = torch.from_numpy(scores(first, toys.scan())[1])
            if distributed.rank() == 0:
                torch.save({**whole, "scores": said}, Path(out) / f"{name}.pt")
    return "done"


def steps_kept(place: Path) -> int:
    return snapshot.steps_in(place / "stages/train/snapshot.pt")


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    found = {}
    for name in CASES:
        made = trained(tmp_path_factory.mktemp("alone"), name)
        said = scores(next(iter(made.predictors().values())), toys.scan())[1]
        found[name] = toys.weights(made) | {"scores": torch.from_numpy(said)}
    return found


@pytest.mark.parametrize(
    "common",
    [True, pytest.param(False, marks=pytest.mark.skipif(not LONG, reason="RETEACH_NODES_LONG=1"))],
    ids=["common disk", "own disks"],
)
def test_shared_out_over_four_then_two_is_as_one_process(tmp_path, alone, common):
    """4 processes are lost, 2 go on from their snapshot: parts where all see it, else the whole."""
    folder = str(tmp_path / "runs") if common else "runs"
    assert nodes.played(begin, tmp_path, 4, 2, folder) == ["begun"] * 4
    stage = (tmp_path if common else tmp_path / "node0") / "runs" / CASES[0] / "stages/train"
    parts = {f"snapshot-{STOP}", f"snapshot-{STOP - 1}", shared_snapshot.NAME}
    kept = parts if common else {"snapshot.pt", "snapshot.previous.pt"}
    assert {p.name for p in stage.iterdir()} == kept | {"record.json"}
    assert common or not (tmp_path / "node1/runs").exists()
    assert nodes.played(go_on, tmp_path, 2, 2, folder, str(tmp_path)) == ["done"] * 2
    for name in CASES:
        found = torch.load(tmp_path / f"{name}.pt", weights_only=True)
        assert toys.same(alone[name], found, tolerance=1e-5), name


def write(folder: Path) -> str:
    toys.Learner = partial(Learner, shared_out=True)  # type: ignore[misc, assignment]
    with distributed.group(torch.device("cpu")):
        made = algorithm("averaged")
        for step in (1, 2):
            snapshot.save_together(folder / "snapshot.pt", made, step, "stamp")
    return "written"


def read(folder: Path, stamp: str = "stamp") -> str:
    toys.Learner = partial(Learner, shared_out=True)  # type: ignore[misc, assignment]
    with distributed.group(torch.device("cpu")):
        return str(snapshot.load(folder / "snapshot.pt", algorithm("averaged"), stamp))


def test_a_damaged_part_gives_way_to_the_snapshot_before_it(tmp_path):
    folder = tmp_path / "stage"
    assert nodes.played(write, tmp_path, 2, 2, folder) == ["written"] * 2
    assert nodes.played(read, tmp_path, 2, 2, folder) == ["2", "2"]
    other = nodes.played(read, tmp_path, 2, 2, folder, "other")
    assert all("belongs to another configuration" in one for one in other)
    part = next((folder / "snapshot-2").glob("*.distcp"))
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(content)
    assert nodes.played(read, tmp_path, 2, 2, folder) == ["1", "1"]
    part.unlink()
    (folder / "snapshot-1/.metadata").unlink()
    both = nodes.played(read, tmp_path, 2, 2, folder)
    assert all("Damaged" in one and "delete" in one for one in both)


class Program:
    def __reduce__(self):
        return os.system, ("touch ran",)


@pytest.mark.parametrize("inside", [Program(), nn.Linear(1, 1), sealed.Damaged("x")])
def test_the_index_of_parts_runs_no_code(tmp_path, inside):
    (tmp_path / ".metadata").write_bytes(pickle.dumps({"state_dict_metadata": inside}))
    with pytest.raises(UserError, match="asks for"):
        _PartsReader(tmp_path).read_metadata()
    assert not (tmp_path / "ran").exists()


def test_a_part_that_is_no_tensor_is_not_read(tmp_path):
    """torch would load it with whatever its pickle asks for."""
    from torch.distributed.checkpoint.metadata import Metadata

    (tmp_path / ".metadata").write_bytes(pickle.dumps(Metadata({"algorithm.memory": None})))  # type: ignore[dict-item]
    with pytest.raises(UserError, match="other things than tensors"):
        _PartsReader(tmp_path).read_metadata()


def test_blocks_are_the_elements_of_lists_that_hold_much():
    block = [nn.Sequential(nn.Linear(8, 8)) for _ in range(2)]
    model = nn.ModuleDict({"stem": nn.Linear(8, 8), "blocks": nn.ModuleList([nn.Linear(8, 8)])})
    assert sharding.blocks(model) == [model["blocks"][0]]  # type: ignore[index]
    rows = nn.Sequential(*block, nn.Linear(8, 1))
    assert sharding.blocks(rows) == [block[0][0], block[1][0], rows[2]]
