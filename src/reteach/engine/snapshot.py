"""Snapshots: the tensors of an algorithm by path, found by walking its fields.

``algorithm.teacher.model.conv1.weight``, ``….optimizer.3.momentum_buffer``, ``algorithm.memory``:
modules, optimisers, gradient scalers and tensors are state; everything else is configuration, or a
function of the step. :class:`Predictor` fields are frozen teachers, whose weights an earlier stage
keeps; fields with a leading underscore can be computed again. Files carry a checksum, are written beside
and renamed, and loaded with ``weights_only``. The last snapshot but one is kept, for when the last one is
damaged.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import is_dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from .. import sealed
from ..errors import UserError
from ..files import atomic_path
from ..recorded import recorded_fields
from ..storage import view
from . import distributed, shared_snapshot
from .learner import Predictor
from .sharding import own_part, placed_like, whole


def parts(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Each module, optimiser, scaler and tensor inside ``value``, with its path."""
    if isinstance(value, Predictor):
        return
    if isinstance(value, nn.Module | Optimizer | Tensor | torch.amp.GradScaler):
        yield path, value
    elif is_dataclass(value):
        for name, element in recorded_fields(value, free=True):
            yield from parts(element, f"{path}.{name}")
    elif isinstance(value, list | tuple):
        for number, element in enumerate(value):
            yield from parts(element, f"{path}.{number}")
    elif isinstance(value, dict):
        for name, element in value.items():
            yield from parts(element, f"{path}.{name}")


def leaves(algorithm: Any) -> dict[str, Tensor]:
    """All state as tensors by path; they share memory with the algorithm."""
    out: dict[str, Tensor] = {}
    for path, part in parts(algorithm, "algorithm"):
        if isinstance(part, nn.Module):
            out |= {f"{path}.{name}": tensor for name, tensor in part.state_dict().items()}
        elif isinstance(part, Optimizer):
            for index, state in part.state_dict()["state"].items():
                for name, element in state.items():
                    if element is not None:
                        out[f"{path}.{index}.{name}"] = torch.as_tensor(element)
        elif isinstance(part, torch.amp.GradScaler):
            for name, element in part.state_dict().items():
                out[f"{path}.{name}"] = torch.tensor(element)
        else:
            out[path] = part
    return out


def restore(algorithm: Any, saved: dict[str, Tensor]) -> None:
    """Put saved state back, in place.

    Raises:
        UserError: a leaf is missing, left over, or of another shape; the message names its path.
    """
    found = list(parts(algorithm, "algorithm"))
    optimizers = {path: part for path, part in found if isinstance(part, Optimizer)}
    fixed = {
        path: leaf
        for path, leaf in leaves(algorithm).items()
        if not any(path.startswith(f"{prefix}.") for prefix in optimizers)
    }
    for path, leaf in fixed.items():
        if path not in saved:
            raise UserError(f"the snapshot is of another configuration: it has no {path}")
        if saved[path].shape != leaf.shape:
            raise UserError(
                f"the snapshot is of another configuration: {path} is "
                f"{tuple(saved[path].shape)} there, {tuple(leaf.shape)} here"
            )
    states: dict[str, dict[int, dict[str, Tensor]]] = {path: {} for path in optimizers}
    for path, tensor in saved.items():
        if path in fixed:
            continue
        prefix = next((p for p in optimizers if path.startswith(f"{p}.")), None)
        if prefix is None:
            raise UserError(f"the snapshot is of another configuration: {path} is left over")
        index, name = path[len(prefix) + 1 :].split(".", 1)
        states[prefix].setdefault(int(index), {})[name] = tensor
    with torch.no_grad():
        for path, part in found:
            if isinstance(part, Tensor):
                part.copy_(saved[path])
            elif isinstance(part, nn.Module):
                for name, tensor in part.state_dict().items():
                    tensor.copy_(placed_like(tensor, saved[f"{path}.{name}"]))
            elif isinstance(part, Optimizer):
                _restore_optimizer(part, states[path], path)
            else:
                part.load_state_dict(
                    {name: saved[f"{path}.{name}"].item() for name in part.state_dict()}
                )


def _restore_optimizer(
    optimizer: Optimizer, states: dict[int, dict[str, Tensor]], path: str
) -> None:
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for index, state in states.items():
        if index >= len(parameters):
            raise UserError(
                f"the snapshot is of another configuration: {path}.{index} is left over"
            )
        for name, tensor in state.items():
            if tensor.dim() and tensor.shape != parameters[index].shape:
                raise UserError(
                    f"the snapshot is of another configuration: {path}.{index}.{name} is "
                    f"{tuple(tensor.shape)} there, {tuple(parameters[index].shape)} here"
                )
    content = optimizer.state_dict()
    content["state"] = {
        i: {
            n: placed_like(parameters[i], t).clone() if t.dim() else t.clone()
            for n, t in state.items()
        }
        for i, state in states.items()
    }
    optimizer.load_state_dict(content)


def finite(algorithm: Any) -> str | None:
    """The path of a leaf with a NaN or an infinity, or None."""
    for path, leaf in leaves(algorithm).items():
        if leaf.is_floating_point() and not torch.isfinite(own_part(leaf)).all():
            return path
    return None


def previous(path: Path) -> Path:
    """Where the snapshot before the one at ``path`` is."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def kept(path: Path) -> bool:
    """Whether there is a snapshot: the last one, or the one before, after a crash where a file system has
    no hard links; or one of parts."""
    return path.exists() or previous(path).exists() or shared_snapshot.kept(path.parent)


def save(path: Path, algorithm: Any, step: int, stamp: str) -> None:
    """Write the state after ``step`` steps; a crash at any moment leaves the earlier snapshot."""
    write(
        path,
        {name: tensor.detach().cpu() for name, tensor in leaves(algorithm).items()},
        step,
        stamp,
    )


def write(path: Path, state: dict[str, Tensor], step: int, stamp: str) -> None:
    """:func:`save` of state that was taken before."""
    with atomic_path(path) as part:
        with open(part, "wb") as out:  # to a path, torch hides why it could not write
            torch.save({"step": step, "stamp": stamp, "state": state}, out)
        sealed.seal(part)
        if path.exists():
            _keep_as_previous(path)


def _keep_as_previous(path: Path) -> None:
    """Give the last snapshot its second name; it loses the first only when the new one takes it."""
    link = path.with_name(f".{previous(path).name}")
    try:
        link.unlink(missing_ok=True)
        os.link(path, link)
        os.replace(link, previous(path))
        view.second_name(path, previous(path))
    except (
        OSError
    ):  # no hard links in this file system: for a moment there is only the previous one
        os.replace(path, previous(path))


def steps_in(path: Path) -> int:
    """The step of a snapshot without its state; 0 where there is none to be read."""
    if shared_snapshot.kept(path.parent):
        return shared_snapshot.steps_in(path.parent)
    path = path if path.exists() else previous(path)
    try:
        return int(torch.load(path, map_location="cpu", weights_only=True, mmap=True)["step"])
    except Exception:  # torch raises many kinds for a damaged file; whoever loads it will say so
        return 0


def load(path: Path, algorithm: Any, stamp: str) -> int:
    """Restore a snapshot into ``algorithm`` and return its step. Where it is damaged, the one before it
    counts, which is said aloud: the run ends with the same weights. Of several processes the first one reads
    it and the others are told.

    Raises:
        UserError: neither can be read, or the snapshot is of another run or configuration.
    """
    if distributed.of_first(lambda: shared_snapshot.kept(path.parent)):
        step, parts_of = shared_snapshot.load(path.parent, partial(_places, algorithm), stamp)
        with distributed.together():
            restore(algorithm, parts_of)
        return step
    step = 0
    state: dict[str, Tensor] | None = None
    with distributed.together():
        if distributed.rank() == 0:  # the folder may be on its disk alone
            step, state = _last(path, stamp)
    step, state = distributed.share(step), distributed.share_tensors(state)
    with distributed.together():
        restore(algorithm, state)
    return step


def save_together(path: Path, algorithm: Any, step: int, stamp: str) -> None:
    """:func:`save` of what is shared out, by all processes at the same time: each its own parts, where all of
    them see the folder; else the first one the whole."""
    state = leaves(algorithm)
    if shared_snapshot.seen_by_all(path.parent):
        shared_snapshot.save(path.parent, state, step, stamp)
        return
    whole_state = {name: whole(tensor.detach()).cpu() for name, tensor in state.items()}
    with distributed.together():
        if distributed.rank() == 0:
            write(path, whole_state, step, stamp)


def _places(algorithm: Any, told: dict[str, tuple[torch.dtype, torch.Size]]) -> dict[str, Tensor]:
    """Where the parts of a snapshot go: tensors like those of the algorithm, shared out as they are."""
    fixed = leaves(algorithm)
    parameters = {
        f"{path}.{number}": p
        for path, part in parts(algorithm, "algorithm")
        if isinstance(part, Optimizer)
        for number, p in enumerate(p for group in part.param_groups for p in group["params"])
    }
    found = {}
    for name, (kind, size) in told.items():
        like = fixed.get(name, parameters.get(name.rpartition(".")[0]))
        if like is not None and like.shape == size:
            found[name] = torch.empty_like(like, dtype=kind)
        else:
            found[name] = torch.empty(size, dtype=kind)
    return found


def _last(path: Path, stamp: str) -> tuple[int, dict[str, Tensor]]:
    older = previous(path)
    try:
        return _read(older if not path.exists() and older.exists() else path, stamp)
    except sealed.Damaged as error:
        if not path.exists() or not older.exists():
            raise
        step, state = _read(older, stamp)
        print(
            f"warning: {str(error).partition(':')[0]}: going on from the snapshot before it, step {step}",
            file=sys.stderr,
        )
        # out of the way, or the next one saved would push it into the place of the good one
        os.replace(path, path.with_name(f"{path.stem}.damaged{path.suffix}"))
        return step, state


def _read(path: Path, stamp: str) -> tuple[int, dict[str, Tensor]]:
    then = f"delete {path.parent} to start this stage again"
    try:
        sealed.check(path, then)
        content = torch.load(path, map_location="cpu", weights_only=True)
        step, found, state = int(content["step"]), content["stamp"], content["state"]
        # loading without pickle lets plain objects through, some exceptions among them
        if not all(isinstance(leaf, Tensor) for leaf in state.values()):
            raise TypeError("its state is not all tensors")
    except FileNotFoundError:
        raise UserError(f"snapshot {path} does not exist") from None
    except sealed.Damaged:
        raise
    except Exception as error:  # torch raises many kinds for a damaged file
        reason = str(error).splitlines()[0][:100] if str(error) else type(error).__name__
        raise sealed.Damaged(f"snapshot {path} cannot be read ({reason}): {then}") from None
    if found != stamp:
        raise UserError(f"snapshot {path} belongs to another configuration; use another --out")
    return step, state
