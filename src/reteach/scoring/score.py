"""``reteach score``: the P best classes of each of very many images, as Parquet shards.

One shard is written for each part of the images (a tar file, or a block of other images), whole or not at
all. A job that was stopped goes on with the parts that have no shard, so that none is there twice and none
is missing; and several processes may share the parts (:mod:`.score_ray`), because the bytes of a shard are
a function of its part alone.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..data.loading.clips import at_once
from ..data.loading.quarantine import write_csv
from ..data.sources.base import is_video
from ..data.sources.parts import Failed, Parts, Read, open_parts, read_parts
from ..engine.evaluate import top_classes
from ..engine.learner import Precision
from ..errors import UserError
from ..files import remove_parts
from ..progress import Progress, progress
from ..relabel.selection.score_shards import TEACHER, TOP
from ..runs.checkpoint import fingerprint, load_models
from ..scores.columns import one_line
from ..scores.table import ScoreWriter

PART, UNREADABLE = "reteach.part", "reteach.unreadable"
"""Metadata of a shard: what it was made from; [item, reason] of the images that are not in it."""


@final
@dataclass(frozen=True)
class Task:
    """What is to be scored and how; it travels to other processes and machines.

    Args:
        run: the run folder.
        images: what :func:`~reteach.data.sources.base.open_source` opens.
        out: folder of the shards.
        top: P, classes per image.
        predictor: which of the run's models; None: the first.
        block: images per shard where images are not in tar files.
        batch_size: images at a time; another size rounds differently.
        workers: processes that decode, for each process that scores.
        threads: of the forward pass; None: as many as torch takes.
    """

    run: Path
    images: str
    out: Path
    top: int
    predictor: str | None = None
    block: int = 2**14
    batch_size: int = 256
    workers: int = 0
    precision: Precision = "fp32"
    device: str = "auto"
    threads: int | None = None


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


@final
@dataclass(eq=False)
class Total:
    """What a job came to."""

    parts: int
    earlier: int = 0
    """Shards that were there before."""
    images: int = 0
    """Scored now."""
    seconds: float = 0.0
    failed: list[tuple[str, str]] = field(default_factory=list)
    """(shard, reason) of the parts that could not be read."""
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    """(item, reason) of the images that could not be read, now or before."""


class Scorer:
    """A loaded model that scores parts of a task's images and writes their shards."""

    def __init__(self, task: Task) -> None:
        if task.threads is not None:
            torch.set_num_threads(task.threads)
        self.task = task
        self.parts = open_parts(task.images, task.block)
        self.saved = load_models(task.run, task.device)
        name, predictor = self.saved.named(task.predictor)
        self.predictor = replace(predictor, precision=task.precision)
        self.teacher = f"{name} {fingerprint(self.saved, self.predictor)}"
        if task.top > len(self.saved.classes):
            raise UserError(
                f"P, the classes per item, is {task.top}, but there are only "
                f"{len(self.saved.classes)} classes"
            )

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
                self._write(read.part, items, np.concatenate(tables), unreadable)
                yield ScoringReport(read.part, unreadable=tuple(unreadable))
                items, tables, unreadable = [], [], []

    def decoded(self, numbers: Sequence[int]) -> Iterator[Read | Failed]:
        """The pixels of some parts, batch by batch."""
        seen, shared = self.saved.seen, self.parts.shared
        return read_parts(
            self.parts,
            numbers,
            seen.view(shared is not None and is_video(shared)),
            at_once(self.task.batch_size, seen.frames),
            workers=self.task.workers,
            pin=seen.prepare.device != "cpu",
            at_least=seen.at_least,
        )

    def metadata(self, number: int) -> dict[str, str]:
        """What the shard of a part says of itself, but for what could not be read."""
        return {
            TEACHER: self.teacher,
            TOP: str(self.task.top),
            PART: self.parts.identity(number),
        }

    def _launched(
        self, numbers: Sequence[int]
    ) -> Iterator[tuple[Read | Failed, list[int], _Later]]:
        """Each batch with the positions that could be read, its scores perhaps still being computed."""
        of = top_classes(self.predictor, self.task.top)
        for read in self.decoded(numbers):
            if isinstance(read, Failed):
                yield read, [], _Later(None)
                continue
            pixels, broken = read.pixels
            kept = sorted(set(range(len(read.items))) - {at for at, _ in broken})
            images = pixels if not broken else pixels[torch.tensor(kept, dtype=torch.long)]
            out = of(self.saved.prepare(images)) if kept else torch.zeros(0, self.task.top, 3)
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
        row = np.repeat(np.arange(len(items)), self.task.top)
        cls, score, logit = (table[..., column].ravel() for column in range(3))
        meta = self.metadata(number) | {UNREADABLE: json.dumps(unreadable)}
        file = self.task.out / f"{self.parts.names[number]}.parquet"
        with ScoreWriter(file, self.saved.classes, logits=True, metadata=meta) as out:
            out.write(items, row, cls.astype(np.int32), score, logit)


def score(task: Task, ray: str | None = None, scorers: int | None = None) -> Total:
    """Score what has no shard yet.

    Args:
        ray: where to find other workers, see :func:`.score_ray.scored`; None: in this process.
        scorers: processes that score, with Ray; None: as many as there is room for.

    Raises:
        UserError: the folder holds shards of something else, or nothing could be read at all.
    """
    scorer = Scorer(task)
    total = Total(len(scorer.parts.names))
    todo = _todo(scorer, total)
    start = time.monotonic()
    work = round(sum(scorer.parts.sizes[number] for number in todo))
    unit = "" if scorer.parts.unit == "images" else f" ({scorer.parts.unit})"
    with progress(f"scoring{unit}", work) as show:
        if ray is None:
            _follow(scorer.score(todo), scorer.parts, total, show)
        elif todo:
            from .ray import scored

            _follow(scored(task, todo, ray, scorers), scorer.parts, total, show)
    total.seconds = time.monotonic() - start
    if len(total.failed) == total.parts:
        name, reason = total.failed[0]
        raise UserError(f"none of the {total.parts} shards can be read, first: {name}: {reason}")
    write_csv(task.out / "unreadable.csv", [*total.failed, *total.unreadable])
    return total


def _follow(
    happens: Iterable[Step | Again | ScoringReport], parts: Parts, total: Total, show: Progress
) -> None:
    """Count what is done, and show how fast it goes.

    Each image counts once: what a worker had done of a part when it died is taken back.
    """
    start, work = time.monotonic(), 0.0
    begun: dict[int, tuple[int, float]] = {}
    for event in happens:
        if isinstance(event, Step):
            images, share = begun.get(event.part, (0, 0.0))
            begun[event.part] = images + event.images, share + event.work
            total.images += event.images
            work += event.work
            rate = total.images / max(time.monotonic() - start, 1e-9)
            show(round(work), f"{rate:,.0f} images/s")
            continue
        images, share = begun.pop(event.part, (0, 0.0))
        if isinstance(event, Again) or event.failed:
            total.images -= images
            work -= share
        if isinstance(event, Again):
            show(round(work))
        elif event.failed:
            name = parts.names[event.part]
            total.failed.append((name, event.failed))
            work += parts.sizes[event.part]
            print(f"warning: {name} cannot be read: {event.failed}", file=sys.stderr, flush=True)
        else:
            total.unreadable += event.unreadable


def _todo(scorer: Scorer, total: Total) -> list[int]:
    """The parts that have no shard yet; all files in the folder must be shards of this task."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    out = scorer.task.out
    number = {name: at for at, name in enumerate(scorer.parts.names)}
    done: set[int] = set()
    remove_parts(out)  # what a kill left half-written
    for file in sorted(out.glob("*.parquet")):
        at = number.get(file.stem)
        if at is None:
            raise UserError(f"{file} is of no part of {scorer.task.images}; use another --out")
        try:
            schema = pq.read_schema(file)
        except (pa.ArrowException, OSError) as error:
            print(f"warning: {file} is damaged and made anew ({one_line(error)})", file=sys.stderr)
            continue
        found = {k.decode(): v.decode() for k, v in (schema.metadata or {}).items()}
        _same(file, found, scorer.metadata(at))
        done.add(at)
        total.earlier += 1
        total.unreadable += [(item, reason) for item, reason in json.loads(found[UNREADABLE])]
    return [at for at in range(len(number)) if at not in done]


_WORDS = {
    TEACHER: "by another model",
    TOP: "with another --top",
    PART: "from other images",
}


def _same(file: Path, found: dict[str, str], asked: dict[str, str]) -> None:
    for key, words in _WORDS.items():
        if found.get(key) != asked[key]:
            raise UserError(
                f"{file} was made {words}: {found.get(key, 'nothing is said')} there, "
                f"{asked[key]} now; use another --out"
            )
    if UNREADABLE not in found:
        raise UserError(f"{file} was not made by reteach score; use another --out")


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
