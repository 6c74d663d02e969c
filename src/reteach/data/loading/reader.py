"""From rows to pixels: decoding and augmentation, here or in worker processes, with the same result."""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from ...errors import UserError
from ...progress import note
from ..sources.base import ArraySource, Source, gathered
from .decode import ImageError
from .resident import ResidentSource

J = TypeVar("J")
T = TypeVar("T")


class Augment(Protocol):
    """uint8 pixels -> uint8 pixels of one size, a pure function of (image, seed)."""

    def __call__(self, image: Tensor, seed: int) -> Tensor:
        """(C, H, W) -> (C, S, S); of a video (C, T, H, W) -> (C, T', S, S)."""

    def batch(self, images: Tensor, seeds: NDArray[np.int64]) -> Tensor:
        """(B, C, H, W) -> (B, C, S, S), equal to the single calls image by image."""


Job = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Rows of the source (B,), and a seed for each (B,)."""

Pixels = tuple[Tensor, list[tuple[int, str]]]
"""uint8 (B, channels, S, S), and (position, reason) of each image that could not be read."""


def pixels(
    source: Source, augment: Augment, rows: NDArray[np.int64], seeds: NDArray[np.int64]
) -> Pixels:
    """The images in some rows of a source, augmented.

    Raises:
        UserError: they differ in size after augmentation.
    """
    if isinstance(source, ResidentSource):
        return augment.batch(source.batch(rows), seeds), []
    if isinstance(source, ArraySource):
        images = torch.from_numpy(source.batch(rows)).permute(0, 3, 1, 2)
        return augment.batch(images, seeds), []
    source = gathered(source, rows)
    found: list[Tensor | None] = []
    broken: list[tuple[int, str]] = []
    for position, (row, seed) in enumerate(zip(rows.tolist(), seeds.tolist(), strict=True)):
        try:
            image = torch.from_numpy(source.read(row)).movedim(-1, 0)
            found.append(augment(image, seed))
        except ImageError as error:
            found.append(None)
            broken.append((position, str(error)))
    blank = next((torch.zeros_like(p) for p in found if p is not None), torch.zeros(3, 1, 1))
    try:
        return torch.stack([blank if p is None else p for p in found]), broken
    except RuntimeError:
        sizes = sorted({tuple(p.shape[1:]) for p in found if p is not None})
        raise UserError(
            f"the images differ in size (e.g. {sizes[0]} and {sizes[-1]}): choose an --image-size"
        ) from None


def read(
    source: Source, augment: Augment, jobs: Iterable[Job], workers: int = 0, pin: bool = False
) -> Iterator[Pixels]:
    """The pixels of each job, in order. ``workers`` processes read ahead; 0 reads right here."""
    yield from mapped(_Read(source, augment), jobs, workers, pin)


def mapped(
    work: Callable[[J], T], jobs: Iterable[J], workers: int = 0, pin: bool = False
) -> Generator[T, None, None]:
    """``work(job)`` for each job, in order, each whole in one of ``workers`` processes.

    Where a process is killed, all are started anew and do again what had not come back.

    Raises:
        UserError: as ``work`` raised it, wherever that was; or a job killed its process twice.
    """
    if workers == 0:
        yield from map(work, jobs)
        return
    pending: deque[J] = deque()
    coming = iter(jobs)

    def open_jobs() -> Iterator[J]:
        yield from tuple(pending)
        for job in coming:
            pending.append(job)
            yield job

    lost = False
    while True:
        try:
            for found in _loaded(work, open_jobs(), workers, pin):
                pending.popleft()
                lost = False
                if isinstance(found, UserError):
                    raise found
                yield found
            return
        except _WorkerLost:
            if lost:
                raise UserError(
                    "a process that decodes images was killed twice at the same place (out of memory?): try "
                    "fewer --workers"
                ) from None
            lost = True
            note("a process that decodes images was killed; its work is done again")


class _WorkerLost(Exception):
    """A process of a DataLoader has ended by itself."""


def _loaded(work: Callable[[J], T], jobs: Iterable[J], workers: int, pin: bool) -> Iterator[T]:
    """The results of a DataLoader, whose errors about its workers come out here alone."""
    loader = DataLoader(
        _Mapped(work),
        batch_size=None,
        sampler=jobs,
        num_workers=workers,
        collate_fn=_identity,
        pin_memory=pin,
        generator=torch.Generator(),  # or the loader would draw from the global one
        worker_init_fn=_apart,
    )
    with _child_signals_kept():
        results = iter(loader)
    while True:
        try:
            found = next(results)
        except StopIteration:
            return
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise _WorkerLost from None
        yield found


@contextmanager
def _child_signals_kept() -> Iterator[None]:
    """Torch raises the death of a worker in whatever the parent is doing, a step of training perhaps; the
    queue of results notices it as well, where it can be mended."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGCHLD)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, before)


@final
@dataclass(frozen=True, eq=False)
class _Read:
    source: Source
    augment: Augment

    def __call__(self, job: Job) -> Pixels:
        return pixels(self.source, self.augment, *job)


@final
class _Mapped(TorchDataset[Any]):
    def __init__(self, work: Callable[[Any], Any]) -> None:
        self.work = work

    def __getitem__(self, job: Any) -> Any:
        try:
            return self.work(job)
        except UserError as error:
            return error  # raised here, it would arrive with this process's traceback for a message


def _apart(number: int) -> None:
    """Out of the group that a terminal or a scheduler signals: Ctrl-C and SIGTERM are for the parent,
    which finishes its step, writes a snapshot and then ends its workers."""
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)


def _identity(value: Any) -> Any:
    return value
