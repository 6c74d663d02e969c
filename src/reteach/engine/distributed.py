"""Several processes that train as one: the same batches, and the same weights to float tolerance.

Started by ``torchrun``; every function here also works, trivially, in a single process.
"""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeVar, final

import torch
import torch.distributed as dist
from torch import Tensor

from ..errors import UserError
from .meeting import Meeting, meet

T = TypeVar("T")
_alone = ContextVar("_alone", default=False)
_common: ContextVar[int | None] = ContextVar("_common", default=None)


def rank() -> int:
    """The number of this process, 0 in a single one."""
    return dist.get_rank() if dist.is_initialized() and not _alone.get() else 0


def world() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() and not _alone.get() else 1


@contextmanager
def alone() -> Iterator[None]:
    """A block in which this process is a single one: it trains something by itself."""
    token = _alone.set(True)
    try:
        yield
    finally:
        _alone.reset(token)


@contextmanager
def group(device: torch.device, far: Callable[[], int] = int) -> Iterator[None]:
    """Join the processes that ``torchrun`` started, for as long as the context lasts.

    Args:
        far: see :func:`meet`.
    """
    if dist.is_initialized() or (met := meet(far)) is None:
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)  # where NCCL sends from
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=met.store, rank=met.rank, world_size=met.world)
    try:
        yield
        dist.barrier()  # nobody hangs up while another still talks
    except UserError as error:
        met.say(str(error))
        raise
    except RuntimeError as error:
        if not _is_of_another(error):
            raise
        if found := met.said():
            met.say(found)
        raise UserError(
            found
            or "another process of this training has ended, what it said tells why: start all of them again"
        ) from None
    finally:
        dist.destroy_process_group()
        Meeting.now = None


def _is_of_another(error: RuntimeError) -> bool:
    """Whether the process at the other end of a message is behind an error: gloo has no kind of its own."""
    return isinstance(error, dist.DistError) or "gloo" in str(error).lower()


def barrier() -> None:
    """Wait until every process is here."""
    if world() > 1:
        dist.barrier()


def agreed(*flags: bool, device: torch.device) -> list[bool]:
    """Each flag as it holds for all: true when it is true in one process. One message for all flags.

    What a process sees by itself (its clock, a signal, its files) may decide nothing that the others
    have to do too: they would wait for each other for ever.
    """
    if world() == 1:
        return list(flags)
    told = torch.tensor(flags, dtype=torch.int32, device=device)
    dist.all_reduce(told, dist.ReduceOp.MAX)
    return [bool(flag) for flag in told.tolist()]


@contextmanager
def together() -> Iterator[None]:
    """A block, without exchange inside, that all processes leave at the same time and in the same way:
    a user's error in one is raised in all. It is also a barrier."""
    if world() == 1:
        yield
        return
    error = ""
    try:
        yield
    except UserError as caught:
        error = str(caught)
    errors = gather_objects(error)
    if first := next(filter(None, errors), ""):
        raise UserError(first)


def of_first(compute: Callable[[], T]) -> T:
    """What the first process computes, or reads of its disk, in every process; a user's error too.

    The others wait as long as it takes: a message that nobody answers for half an hour would end them.
    """
    if world() == 1:
        return compute()
    value: T | None = None
    with together():
        if rank() == 0:
            try:
                value = compute()
            finally:
                _done()
        else:
            _wait()
    return share(value)  # type: ignore[return-value]


def _done() -> None:
    if Meeting.now is not None:
        Meeting.now.pass_on()


def _wait() -> None:
    if Meeting.now is not None:
        Meeting.now.wait()


def differing(told: Mapping[str, str]) -> Difference | None:
    """The first thing by which a process is not like the first one; the same in every process."""
    if world() == 1:
        return None
    first, *others = gather_objects((dict(told), socket.gethostname()))
    for number, (there, host) in enumerate(others, 1):
        for name in sorted(first[0].keys() | there.keys()):
            if first[0].get(name) != there.get(name):
                return Difference(
                    name, f"process {number} on {host}", first[0].get(name), there.get(name)
                )
    return None


@final
@dataclass(frozen=True)
class Difference:
    """What is not the same in two processes.

    Args:
        name: of the thing.
        where: the process in which it is another than in the first.
        first, there: what it is in the first one, and there; None: it is not there at all.
    """

    name: str
    where: str
    first: str | None
    there: str | None


def gather(part: Tensor) -> Tensor:
    """The parts of all processes along the first axis, in rank order; the parts have one shape."""
    if world() == 1:
        return part
    parts = [torch.empty_like(part) for _ in range(world())]
    dist.all_gather(parts, part.contiguous())
    return torch.cat(parts)


_TYPES = (
    torch.bool,
    torch.uint8,
    torch.int32,
    torch.int64,
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
)
_HEADER = 32
"""Numbers that say how many tensors a process sends, and of which type and shape each is."""


class _Gathered(torch.autograd.Function):
    """The parts of all processes; as each of them computes the same of these and gradients are averaged, the
    gradient of its own part counts once for each process."""

    @staticmethod
    def forward(ctx: Any, part: Tensor) -> Tensor:
        return gather(part)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return own_slice(gradients[0]) * world()


def whole_batch(part: Tensor) -> Tensor:
    """``gather`` with its gradient: for a loss that is no mean over images, and that each computes whole."""
    return _Gathered.apply(part) if world() > 1 else part


def own_slice(whole: Tensor) -> Tensor:
    """This process's part of what is made of the whole batch."""
    size = len(whole) // world()
    return whole[rank() * size : (rank() + 1) * size]


def reverse(part: Tensor) -> Tensor:
    """This process's part of the whole batch in reverse, of its own part of the batch."""
    other = world() - 1 - rank()
    if other == rank():
        return part.flip(0)
    sent = part.contiguous()
    flat = sent.flatten().view(torch.uint8)
    got = torch.empty_like(flat)
    told = [dist.P2POp(dist.isend, flat, other), dist.P2POp(dist.irecv, got, other)]
    for work in dist.batch_isend_irecv(told):
        work.wait()
    return got.view(part.dtype).view(part.shape).flip(0)


def common_seed() -> int:
    """What all processes draw from at this step, for numbers that are drawn for the whole batch: that of the
    first one, which is that of a single process."""
    found = _common.get()
    return torch.initial_seed() if found is None or world() == 1 else found


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """A step in which all processes draw from ``seed`` what they draw together."""
    token = _common.set(seed)
    try:
        yield
    finally:
        _common.reset(token)


def gather_tensors(own: Sequence[Tensor]) -> list[list[Tensor]]:
    """The tensors of all processes, in rank order, on the CPU: of any number, type and shape in each.

    They travel as they are, bit for bit and without pickle, in one message behind one that says their shapes.
    """
    if world() == 1:
        return [[tensor.cpu() for tensor in own]]
    place = _wire()
    said = [len(own)]
    for tensor in own:
        said += [_TYPES.index(tensor.dtype), tensor.dim(), *tensor.shape]
    header = torch.zeros(_HEADER, dtype=torch.int64, device=place)
    header[: len(said)] = torch.tensor(said)
    headers = [torch.empty_like(header) for _ in range(world())]
    dist.all_gather(headers, header)
    told = [_shapes(each.tolist()) for each in headers]
    longest = max(sum(map(_bytes, each)) for each in told)
    if not longest:
        return [[torch.empty(shape, dtype=kind) for kind, shape in each] for each in told]
    sent = torch.zeros(longest, dtype=torch.uint8, device=place)
    start = 0
    for tensor in own:
        flat = tensor.detach().contiguous().flatten().view(torch.uint8)
        sent[start : start + len(flat)] = flat
        start += len(flat)
    parts = [torch.empty_like(sent) for _ in range(world())]
    dist.all_gather(parts, sent)
    return [_unpacked(part.cpu(), each) for part, each in zip(parts, told, strict=True)]


_Shape = tuple[torch.dtype, list[int]]


def _shapes(header: list[int]) -> list[_Shape]:
    """Type and shape of each tensor that a header tells of."""
    found, at = [], 1
    for _ in range(header[0]):
        kind, dim = header[at : at + 2]
        found.append((_TYPES[kind], header[at + 2 : at + 2 + dim]))
        at += 2 + dim
    return found


def _bytes(told: _Shape) -> int:
    return told[0].itemsize * math.prod(told[1])


def _unpacked(sent: Tensor, told: list[_Shape]) -> list[Tensor]:
    found, start = [], 0
    for kind, shape in told:
        part = sent[start : start + _bytes((kind, shape))].clone()
        found.append(part.view(kind).view(shape))
        start += len(part)
    return found


def _wire() -> torch.device:
    """Where a tensor has to be to travel: NCCL knows graphics cards alone."""
    on_gpu = dist.get_backend() == "nccl"
    return torch.device("cuda", torch.cuda.current_device()) if on_gpu else torch.device("cpu")


def gather_objects(value: T) -> list[T]:
    """The values of all processes, in rank order."""
    if world() == 1:
        return [value]
    box: list[Any] = [None] * world()
    dist.all_gather_object(box, value)
    return box


@final
@dataclass(frozen=True)
class Ranks:
    """The processes that train together, for work that they share before.

    Args:
        rank, world: of this process among those that share the work.
        members: the ranks of these; None: all.
    """

    rank: int = field(default_factory=rank)
    world: int = field(default_factory=world)
    members: tuple[int, ...] | None = None

    def gather(self, value: T) -> list[T]:
        """The values of the processes that share the work, in rank order, in each of them."""
        every = gather_objects(value)
        return every if self.members is None else [every[rank] for rank in self.members]

    def of_machine(self) -> Ranks:
        """Those on this machine alone, as torchrun numbers machines."""
        mine = os.environ.get("GROUP_RANK") or socket.gethostname()
        members = tuple(at for at, other in enumerate(self.gather(mine)) if other == mine)
        return Ranks(members.index(self.rank), len(members), members)

    def of_first(self, compute: Callable[[], T]) -> T:
        """What the first process computes, in each of them."""
        return of_first(compute)

    def agree(self, told: Mapping[str, str], mend: str) -> None:
        """Refuse what is not the same in all processes.

        Args:
            told: things by their names.
            mend: what to do about it.

        Raises:
            UserError: something is not the same.
        """
        if (found := differing(told)) is not None:
            raise UserError(
                f"{found.name} of {found.where} is not that of the first process: {mend}"
            )


def share(value: T, source: int = 0) -> T:
    """The value of process ``source``, in every process."""
    if world() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=source)
    return box[0]


def share_tensors(state: dict[str, Tensor] | None) -> dict[str, Tensor]:
    """The tensors of the first process by name, on the CPU of every one; one travels after the other."""
    if world() == 1:
        assert state is not None
        return state
    told = share(
        None if state is None else [(n, t.dtype, tuple(t.shape)) for n, t in state.items()]
    )
    assert told is not None
    found, place = {}, _wire()
    for name, kind, shape in told:
        tensor = torch.empty(shape, dtype=kind) if state is None else state[name].detach().cpu()
        sent = tensor.contiguous().flatten().view(torch.uint8).to(place)
        dist.broadcast(sent, 0)
        found[name] = sent.cpu().view(kind).view(shape)
    return found


def average(measurements: dict[str, float]) -> dict[str, float]:
    """The mean over the processes of each number; all of them have the same names."""
    if world() == 1 or not measurements:
        return measurements
    names = sorted(measurements)
    values = torch.tensor([measurements[name] for name in names], dtype=torch.float64).to(_wire())
    dist.all_reduce(values)
    return dict(zip(names, (values / world()).tolist(), strict=True))
