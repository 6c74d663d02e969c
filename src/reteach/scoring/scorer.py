"""What scores a part of the images and writes its shard: a model that was loaded once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..data.loading.clips import at_once
from ..data.sources.base import is_video
from ..data.sources.parts import Failed, Read, open_parts, read_parts
from ..engine.evaluate import top_classes
from ..engine.learner import Precision
from ..errors import UserError
from ..options.paths import ImagesExist
from ..options.shared import Tta
from ..parquet import one_line
from ..relabel.selection.score_shards import TEACHER, TOP
from ..runs.checkpoint import fingerprint, load_models
from ..scores.table import ScoreWriter

BLOCK = 2**14
"""Images per shard where they are not in tar files."""
TOP_CLASSES = 10
"""P where nobody says it."""
PART, UNREADABLE = "reteach.part", "reteach.unreadable"
"""Metadata of a shard: what it was made from; [item, reason] of the images that are not in it."""


@final
@dataclass(frozen=True)
class ScoringTask:
    """What is to be scored and how; it travels to other processes and machines.

    Args:
        run: the run folder.
        images: what :func:`~reteach.data.sources.base.open_source` opens.
        out: folder of the shards.
        top: P, classes per image; None: TOP_CLASSES, or all if there are fewer.
        predictor: which of the run's models; None: the first.
        block: images per shard where images are not in tar files.
        batch_size: images at a time; another size rounds differently.
        workers: processes that decode, for each process that scores; None: as many as there are cores for
            beside it, which :mod:`.ray` settles.
        threads: of the forward pass; None: as many as torch takes.
        tta: test-time augmentation.
        channels_last: the order of images and weights in memory.
        compiled: use ``torch.compile``.
    """

    run: Path
    images: Annotated[str, ImagesExist()]
    out: Path
    top: int | None
    predictor: str | None = None
    block: int = BLOCK
    batch_size: int = 256
    workers: int | None = 0
    precision: Precision = "fp32"
    device: str = "auto"
    threads: int | None = None
    tta: Tta | None = None
    channels_last: bool = False
    compiled: bool = False


@final
@dataclass(frozen=True)
class Step:
    """Some images of a part are done: how many, and how much of the work, in the unit of the parts."""

    part: int
    images: int
    work: float


@final
@dataclass(frozen=True)
class Again:
    """A part is begun again: what was done of it is lost."""

    part: int


@final
@dataclass(frozen=True)
class ScoringReport:
    """A part is done, or cannot be."""

    part: int
    failed: str = ""
    """Why there is no shard ("": it is written)."""
    unreadable: tuple[tuple[str, str], ...] = ()
    """(item, reason) of the images that are not in it."""
    images: int = 0
    """In it, where no :class:`Step` has told of them."""


class Scorer:
    """A loaded model that scores parts of a task's images and writes their shards."""

    def __init__(self, task: ScoringTask) -> None:
        if task.threads is not None:
            torch.set_num_threads(task.threads)
        self.task = task
        self.saved = load_models(task.run, task.device).with_tta(task.tta)
        self.videos = self.saved.seen.frames is not None
        self.parts = open_parts(task.images, task.block, videos=self.videos)
        self.saved.seen.check(self.parts.shared)
        name, predictor = self.saved.named(task.predictor)
        self.predictor = replace(predictor, precision=task.precision)
        self.teacher = f"{name} {fingerprint(self.saved, self.predictor)}"
        if task.channels_last:
            self._channels_last()
        if task.compiled:
            self.teacher += " compiled"
            made: list[Any] = [torch.compile(model.eval()) for model in self.predictor.models]
            self.predictor = replace(self.predictor, models=tuple(made))
        known = len(self.saved.classes)
        self.top = min(TOP_CLASSES, known) if task.top is None else task.top
        if self.top > known:
            raise UserError(f"--top {self.top}: the model has only {known} classes")

    def _channels_last(self) -> None:
        """Bring images and weights into this order.

        Raises:
            UserError: the model takes features.
        """
        saved = self.saved
        if saved.features is not None:
            raise UserError("--channels-last has no effect on features; leave it out")
        self.teacher += " channels-last"
        layout = torch.channels_last if saved.frames is None else torch.channels_last_3d
        for model in self.predictor.models:
            model.to(memory_format=layout)
        self.saved = replace(saved, prepare=replace(saved.prepare, channels_last=True))

    def _scores(self, of: Callable[[Tensor], Tensor], pixels: Tensor) -> Tensor:
        """(B, P, 3) of the images of a batch."""
        x = self.saved.prepare(pixels)
        if not self.task.compiled:
            return of(x)
        try:
            return of(x)
        except Exception as error:  # of a compiler, which may raise anything
            said = f"{type(error).__name__}: {one_line(error)}"
            raise UserError(f"--compile does not work for this network here ({said})") from None

    def score(self, numbers: Sequence[int]) -> Iterator[Step | ScoringReport]:
        """Score these parts one after the other; each is on disk when its report comes."""
        items: list[str] = []
        tables: list[NDArray[np.float32]] = []
        unreadable: list[tuple[str, str]] = []
        for read, kept, table in _one_behind(self._launched(numbers)):
            if isinstance(read, Failed):
                yield ScoringReport(read.part, failed=read.reason)
                continue
            unreadable += [(read.items[at], reason) for at, reason in read.pixels[1]]
            items += [read.items[at] for at in kept]
            tables.append(table())
            work = self.parts.sizes[read.part] * len(read.items) / read.of
            yield Step(read.part, len(kept), work)
            if read.last:
                if read.lost:
                    unreadable.append((self.parts.names[read.part], read.lost))
                unreadable += read.others
                self._write(read.part, items, np.concatenate(tables), unreadable)
                yield ScoringReport(read.part, unreadable=tuple(unreadable))
                items, tables, unreadable = [], [], []

    def decoded(self, numbers: Sequence[int]) -> Iterator[Read | Failed]:
        """The pixels of some parts, batch by batch."""
        seen, shared = self.saved.seen, self.parts.shared
        return read_parts(
            self.parts,
            numbers,
            seen.view(self.videos if shared is None else is_video(shared)),
            at_once(self.task.batch_size, seen.frames),
            workers=self.task.workers or 0,
            pin=seen.prepare.device != "cpu",
            at_least=seen.at_least,
        )

    def metadata(self, number: int) -> dict[str, str]:
        """What the shard of a part says of itself, but for what could not be read."""
        return {
            TEACHER: self.teacher,
            TOP: str(self.top),
            PART: self.parts.identity(number),
        }

    def _launched(
        self, numbers: Sequence[int]
    ) -> Iterator[tuple[Read | Failed, list[int], _Later]]:
        """Each batch with the positions that could be read, its scores perhaps still being computed."""
        of = top_classes(self.predictor, self.top)
        for read in self.decoded(numbers):
            if isinstance(read, Failed):
                yield read, [], _Later(None)
                continue
            pixels, broken = read.pixels
            kept = sorted(set(range(len(read.items))) - {at for at, _ in broken})
            images = pixels if not broken else pixels[torch.tensor(kept, dtype=torch.long)]
            out = self._scores(of, images) if kept else torch.zeros(0, self.top, 3)
            # the pixels themselves are not needed any more
            yield replace(read, pixels=(pixels[:0], broken)), kept, _Later(out)

    def _write(
        self,
        number: int,
        items: Sequence[str],
        table: NDArray[np.float32],
        unreadable: Sequence[tuple[str, str]],
    ) -> None:
        """The shard of a part: for each item in order its P best classes."""
        if not np.isfinite(table).all():
            at = int(np.flatnonzero(~np.isfinite(table).all((1, 2)))[0])
            raise UserError(f"the model gives scores that are not finite numbers for {items[at]!r}")
        row = np.repeat(np.arange(len(items)), self.top)
        cls, score, logit = (table[..., column].ravel() for column in range(3))
        meta = self.metadata(number) | {UNREADABLE: json.dumps(unreadable)}
        file = self.task.out / f"{self.parts.names[number]}.parquet"
        with ScoreWriter(file, self.saved.classes, logits=True, metadata=meta) as out:
            out.write(items, row, cls.astype(np.int32), score, logit)


@final
class _Later:
    """(B, P, 3) scores on their way to the CPU: call it to wait for them."""

    def __init__(self, out: Tensor | None) -> None:
        self._host = None if out is None else out.to("cpu", non_blocking=True)
        self._event = None
        if out is not None and out.device.type == "cuda":
            self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._event.record()

    def __call__(self) -> NDArray[np.float32]:
        if self._event is not None:
            self._event.synchronize()
        assert self._host is not None
        return self._host.numpy()


def _one_behind(
    batches: Iterator[tuple[Read | Failed, list[int], _Later]],
) -> Iterator[tuple[Read | Failed, list[int], _Later]]:
    """The same, each after the next one was launched: a GPU is never waited for."""
    before = next(batches, None)
    for batch in batches:
        assert before is not None
        yield before
        before = batch
    if before is not None:
        yield before
