"""Snapshots of what is shared out over processes: each writes its part, and any number of them reads it.

The parts are written by ``torch.distributed.checkpoint`` into a folder of their own, ``snapshot-STEP``, which
counts once ``snapshot.json`` names it, with the SHA-256 of every file; the one before it is kept. At an
object store each machine writes the files of its processes into its own copy of the folder, and puts them.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

from torch import Tensor

from .. import sealed
from ..errors import UserError
from ..storage import view
from . import distributed

NAME = "snapshot.json"
_TOLD = "snapshot-told"


def seen_by_all(folder: Path) -> bool:
    """Whether all processes see the folder of the first one: whether a disk or a store has it for all."""
    if view.address_of(folder) is not None:
        return True
    mark = folder / f".{_TOLD}"
    with distributed.together():
        if distributed.rank() == 0:
            folder.mkdir(parents=True, exist_ok=True)
            mark.touch()
    seen = all(distributed.gather_objects(mark.exists()))
    with distributed.together():
        if distributed.rank() == 0:
            mark.unlink()
    return seen


def kept(folder: Path) -> bool:
    """Whether there is such a snapshot."""
    return (folder / NAME).exists()


def steps_in(folder: Path) -> int:
    """The step of the last snapshot; 0 where there is none to be read."""
    try:
        return int(_told(folder)[0]["step"])
    except (OSError, UserError, LookupError, TypeError, ValueError):
        return 0


def save(folder: Path, state: dict[str, Tensor], step: int, stamp: str) -> None:
    """Write the state after ``step`` steps; all processes call this, and see the folder."""
    place = folder / f"snapshot-{step}"
    team = _team(folder)
    with distributed.together():
        if team.rank == 0:
            shutil.rmtree(place, ignore_errors=True)  # of a crash in the middle
    from . import parts_files  # it brings some 700 modules with it

    parts_files.write(place, state)
    with distributed.together():
        files = sorted(file.name for file in place.iterdir())
        own = {name: sealed.digest(place / name) for name in _share(team, files)}
        for name in own:
            view.publish(place / name)
    digests = {
        name: found for part in distributed.gather_objects(own) for name, found in part.items()
    }
    wanted: set[str] = set()
    with distributed.together():
        if distributed.rank() == 0:
            wanted = _point(folder, {"step": step, "stamp": stamp, "files": digests})
            view.remove_others(folder, "snapshot-", wanted)
    wanted = distributed.share(wanted)
    if team.rank == 0:
        for other in folder.glob("snapshot-*"):
            if other.is_dir() and other.name not in wanted:
                shutil.rmtree(other, ignore_errors=True)


def _point(folder: Path, new: dict[str, Any]) -> set[str]:
    """Let the new snapshot count, and the one before it; the names of their folders."""
    try:
        before = [one for one in _told(folder) if one["step"] != new["step"]][:1]
    except FileNotFoundError:
        before = []
    sealed.write_json(folder / NAME, {"snapshots": [new, *before]})
    return {f"snapshot-{one['step']}" for one in (new, *before)}


def _team(folder: Path) -> distributed.Ranks:
    """The processes that see the same files as this one: all, or at a store those of its machine."""
    everybody = distributed.Ranks()
    return everybody if view.address_of(folder) is None else everybody.of_machine()


def load(folder: Path, wanted: Any, stamp: str) -> tuple[int, dict[str, Tensor]]:
    """The step and the state of the last snapshot; where it is damaged, of the one before it.

    Args:
        wanted: name, type and shape of each tensor that was kept -> tensors to put the state into, placed as
            it is to be.

    Raises:
        UserError: neither can be read, or it is of another configuration.
    """
    from . import parts_files

    told, team = distributed.of_first(lambda: _told(folder)), _team(folder)
    for number, one in enumerate(told):
        place = folder / f"snapshot-{one['step']}"
        if one["stamp"] != stamp:
            raise UserError(f"snapshot {place} belongs to another configuration; use another --out")
        with distributed.together():
            if team.rank == 0 and view.address_of(place) is not None:
                view.fetch_folder(place)
        found = distributed.gather_objects(_damage(place, one["files"], team))
        damaged = next(filter(None, found), "")
        if not damaged:
            return int(one["step"]), parts_files.read(place, wanted)
        if number == len(told) - 1:
            raise sealed.Damaged(f"{damaged}: delete {folder} to start this stage again")
        if distributed.rank() == 0:
            before = told[number + 1]["step"]
            print(
                f"warning: {damaged}: going on from the snapshot before it, step {before}",
                file=sys.stderr,
            )
    raise sealed.Damaged(f"{folder / NAME} is damaged: delete {folder} to start this stage again")


def _told(folder: Path) -> list[dict[str, Any]]:
    then = f"delete {folder} to start this stage again"
    found = sealed.read_json(folder / NAME, then, old=False)["snapshots"]
    return list(found)


def _share(team: distributed.Ranks, files: list[str]) -> list[str]:
    """The files that this process looks at."""
    return files[team.rank :: team.world]


def _damage(place: Path, files: dict[str, str], team: distributed.Ranks) -> str:
    """The file among this process's that is not what was written; empty: none."""
    for name in _share(team, sorted(files)):
        file = place / name
        if not file.is_file() or sealed.digest(file) != files[name]:
            return f"{file} is damaged (it is not what was written)"
    return ""
