"""``reteach score``: the P best classes of each of very many images, as Parquet shards.

One shard is written for each part of the images (a tar file, or a block of other images), whole or not at
all. A job that was stopped goes on with the parts that have no shard, so that none is there twice and none
is missing; and several processes may share the parts (:mod:`.ray`), because the bytes of a shard are
a function of its part alone. Until all parts are done, or known to be unreadable, the folder says so.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

from ..data.sources.parts import Parts
from ..errors import UserError
from ..files import atomic_write, remove_parts
from ..locks import only_writer
from ..parquet import read_schema
from ..progress import Progress, progress
from ..relabel.selection.score_shards import TEACHER, TOP
from ..scores.columns import UNFINISHED
from ..structured import parse_json
from ..unreadable import Unreadable, left_out, unreadable
from .scorer import PART, UNREADABLE, Again, Scorer, ScoringReport, ScoringTask, Step


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
    """(item, reason) of what could not be read, now or before."""
    listed: Unreadable = field(default_factory=Unreadable)
    """Those and the shards that failed."""


def score(task: ScoringTask, ray: str | None = None, scorers: int | None = None) -> Total:
    """Score what has no shard yet.

    Args:
        ray: where to find other workers, see :func:`.ray.scored`; None: in this process.
        scorers: processes that score, with Ray; None: as many as there is room for.

    Raises:
        UserError: the folder holds shards of something else, another process writes there, or nothing could
            be read at all.
    """
    with only_writer(task.out, worth="*.parquet"):
        return _score(task, ray, scorers)


def _score(task: ScoringTask, ray: str | None, scorers: int | None) -> Total:
    scorer = Scorer(task)
    total = Total(len(scorer.parts.names), unreadable=list(left_out(scorer.parts.shared)))
    todo = _todo(scorer, total)
    unfinished = task.out / UNFINISHED
    if todo:
        atomic_write(unfinished, "")
    start = time.monotonic()
    work = round(sum(scorer.parts.sizes[number] for number in todo))
    unit = "" if scorer.parts.unit == "images" else f" ({scorer.parts.unit})"
    with progress(f"scoring{unit}", work) as on_progress:
        if ray is None:
            _follow(scorer.score(todo), scorer.parts, total, on_progress)
        elif todo:
            from .ray import scored

            _follow(scored(task, todo, ray, scorers), scorer.parts, total, on_progress)
    total.seconds = time.monotonic() - start
    if len(total.failed) == total.parts:
        name, reason = total.failed[0]
        raise UserError(f"none of the {total.parts} shards can be read, first: {name}: {reason}")
    unfinished.unlink(missing_ok=True)
    (task.out / "unreadable.csv").unlink(missing_ok=True)  # where it was in earlier versions
    total.listed = unreadable(task.out, total.failed, total.unreadable)
    return total


def _follow(
    happens: Iterable[Step | Again | ScoringReport],
    parts: Parts,
    total: Total,
    on_progress: Progress,
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
            on_progress(round(work), f"{rate:,.0f} images/s")
            continue
        told = event.part in begun
        images, share = begun.pop(event.part, (0, 0.0))
        if isinstance(event, Again) or event.failed:
            total.images -= images
            work -= share
        if isinstance(event, Again):
            on_progress(round(work))
        elif event.failed:
            name = parts.names[event.part]
            total.failed.append((name, event.failed))
            work += parts.sizes[event.part]
            print(f"warning: {name} cannot be read: {event.failed}", file=sys.stderr, flush=True)
        else:
            total.unreadable += event.unreadable
            if not told:
                total.images += event.images
                work += parts.sizes[event.part]
                rate = total.images / max(time.monotonic() - start, 1e-9)
                on_progress(round(work), f"{rate:,.0f} images/s")


def _todo(scorer: Scorer, total: Total) -> list[int]:
    """The parts that have no shard yet; all files in the folder must be shards of this task."""
    out = scorer.task.out
    number = {name: at for at, name in enumerate(scorer.parts.names)}
    done: set[int] = set()
    remove_parts(out)  # what a kill left half-written
    for file in sorted(out.glob("*.parquet")):
        at = number.get(file.stem)
        if at is None:
            raise UserError(f"{file} is of no part of {scorer.task.images}; use another --out")
        try:
            schema = read_schema(file)
        except UserError as error:
            print(f"warning: {error}; made anew", file=sys.stderr)
            continue
        found = {k.decode(): v.decode() for k, v in (schema.metadata or {}).items()}
        _same(file, found, scorer.metadata(at))
        if image := scorer.parts.newer(at, file):
            print(f"{image} was written after {file}, which is made anew", file=sys.stderr)
            continue
        done.add(at)
        total.earlier += 1
        total.unreadable += [(item, reason) for item, reason in parse_json(found[UNREADABLE])]
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
