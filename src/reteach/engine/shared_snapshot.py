"""Snapshots of what is shared out over processes: each writes its part, and any number of them reads it.

The parts are written by ``torch.distributed.checkpoint`` into a folder of their own, ``snapshot-STEP``, which
counts once ``snapshot.json`` names it, with the SHA-256 of every file; the one before it is kept.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

from torch import Tensor

from .. import sealed
from ..errors import UserError
from . import distributed

NAME = "snapshot.json"
_TOLD = "snapshot-told"


def seen_by_all(folder: Path) -> bool:
    """Whether all processes see the folder of the first one: whether it is on a common disk."""
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
    with distributed.together():
        if distributed.rank() == 0:
            shutil.rmtree(place, ignore_errors=True)  # of a crash in the middle
    from . import parts_files  # it brings some 700 modules with it

    parts_files.write(place, state)
    files = sorted(file.name for file in place.iterdir())
    own = {name: sealed.digest(place / name) for name in _own(files)}
    digests = {
        name: found for part in distributed.gather_objects(own) for name, found in part.items()
    }
    with distributed.together():
        if distributed.rank() == 0:
            _point(folder, {"step": step, "stamp": stamp, "files": digests})


def _point(folder: Path, new: dict[str, Any]) -> None:
    """Let the new snapshot count, and forget all but the one before it."""
    try:
        before = [one for one in _told(folder) if one["step"] != new["step"]][:1]
    except FileNotFoundError:
        before = []
    sealed.write_json(folder / NAME, {"snapshots": [new, *before]})
    wanted = {f"snapshot-{one['step']}" for one in (new, *before)}
    for other in folder.glob("snapshot-*"):
        if other.is_dir() and other.name not in wanted:
            shutil.rmtree(other, ignore_errors=True)


def load(folder: Path, wanted: Any, stamp: str) -> tuple[int, dict[str, Tensor]]:
    """The step and the state of the last snapshot; where it is damaged, of the one before it.

    Args:
        wanted: name, type and shape of each tensor that was kept -> tensors to put the state into, placed as
            it is to be.

    Raises:
        UserError: neither can be read, or it is of another configuration.
    """
    from . import parts_files

    told = distributed.of_first(lambda: _told(folder))
    for number, one in enumerate(told):
        place = folder / f"snapshot-{one['step']}"
        if one["stamp"] != stamp:
            raise UserError(f"snapshot {place} belongs to another configuration; use another --out")
        damaged = next(filter(None, distributed.gather_objects(_damage(place, one["files"]))), "")
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


def _own(files: list[str]) -> list[str]:
    """The files that this process looks at."""
    return files[distributed.rank() :: distributed.world()]


def _damage(place: Path, files: dict[str, str]) -> str:
    """The file among this process's that is not what was written; empty: none."""
    for name in _own(sorted(files)):
        file = place / name
        if not file.is_file() or sealed.digest(file) != files[name]:
            return f"{file} is damaged (it is not what was written)"
    return ""
