"""A run: a folder and a seed. To resume is to run the same function again.

Finished stages load, the interrupted one restores its snapshot and goes on. Each stage keeps a record
of everything it was asked to do, chained with the records before it, and refuses to continue under
other settings: reuse is never silent.
"""

from __future__ import annotations

import json
import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from types import FrameType
from typing import Any, Self, TypeVar, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .. import rng, sealed
from ..data.loading.stream import Stream
from ..errors import Interrupted, Refused, UserError
from ..files import atomic_path, atomic_write, remove_parts
from ..progress import progress
from ..records.runs import Measurement
from ..structured import parse_json
from . import distributed, sharding, snapshot
from .algorithm import Algorithm
from .best_model import BestModel, Patience
from .collapse import CollapseRule, CollapseWatch
from .evaluate import Evaluator
from .fingerprint import CONTENTS, FORMAT, describe
from .learner import Predictor
from .log import Log, Sink

A = TypeVar("A", bound=Algorithm)
Arrays = dict[str, NDArray[Any]]


@final
@dataclass(eq=False)
class Run:
    """Where stages are kept, and what all randomness is derived from.

    Args:
        folder: the run folder; None keeps nothing (tests, notebooks): see :meth:`memory`.
        seed: of every random choice.
        log: where measurements go.
        snapshot_seconds: how much work a crash may cost.
        quiet: no progress on stderr.
        title: of the run, for what is said of it on stderr.
        spared: steps of the budget that were not made because a stage ended early.
        warnings: collects what the user should know of the stages, for the run folder.
        collapse: how the last stage was given up, if it was and its model is that of an earlier step.
    """

    folder: Path | None
    seed: int = 0
    log: Log = field(default_factory=Log)
    snapshot_seconds: float = 30.0
    quiet: bool = False
    title: str = ""
    spared: int = field(default=0, init=False)
    warnings: list[str] = field(default_factory=list, init=False)
    collapse: CollapseWatch | None = field(default=None, init=False)
    _chain: str = field(default="", init=False)
    _best: BestModel | None = field(default=None, init=False)

    @classmethod
    def memory(cls, seed: int = 0) -> Self:
        """A run that keeps nothing."""
        return cls(None, seed, quiet=True)

    def branch(self, name: str, *sinks: Sink) -> Run:
        """A run in the same folder whose stages do not hang on the earlier stages of this one.

        For stages that could as well run at the same time, in processes of their own: each branch has
        its own log, ``stages/<name>/metrics.jsonl``.

        Args:
            sinks: that the branch's records also go to.
        """
        log = Log(self._stage(name) / "metrics.jsonl" if self.folder else None, sinks)
        return Run(self.folder, self.seed, log, self.snapshot_seconds, self.quiet)

    def train(
        self,
        name: str,
        algorithm: A,
        stream: Stream,
        *,
        steps: int,
        judge: Evaluator | None = None,
        eval_every: int | None = None,
        parts: int = 1,
        patience: Patience | None = None,
        collapse: CollapseRule | None = None,
    ) -> A:
        """Train to ``steps`` steps, from wherever an earlier attempt got to, and return the algorithm.

        Args:
            name: of the stage; unique in the run.
            judge: of the predictors every ``eval_every`` steps and at the end; its numbers are logged.
            parts: gradient accumulation, each batch in so many equal parts.
            patience: when to stop early by what the judge finds; the weights of the best validation are
                kept (:meth:`best`).
            collapse: when a training of label sets has failed; it then ends, with the weights of its best
                validation before. None: it cannot.

        Raises:
            UserError: the loss or a weight stopped being finite (with step, rate and items); the
                stage was begun with other settings; the snapshot cannot be used.
            Collapsed: the stage collapsed, and no validation before was healthy.
            Interrupted: by Ctrl-C or SIGTERM, with the snapshot written.
        """
        if steps < 1:
            raise UserError(f"a training needs at least one step, got {steps}")
        if (stream.batch_size // stream.world) % parts:
            raise UserError(
                f"a batch of {stream.batch_size} does not split into {parts} equal parts"
            )
        asked = {**describe(algorithm, "algorithm"), **describe(stream, "stream")}
        asked |= {"steps": repr(steps), "parts": repr(parts), "seed": repr(self.seed)}
        watched = None
        if patience is not None and judge is not None:
            asked |= {"patience": repr(patience), "eval_every": repr(eval_every or steps)}
            file = self._stage(name) / "best.pt" if self.folder else None
            watched = self._best = BestModel(patience, file)
        guard = None
        if collapse is not None:
            asked |= {} if collapse.stop else {"on_collapse": "warn"}
            guard = CollapseWatch(collapse, name, steps, self._stage(name) if self.folder else None)
        stamp = self._claim(name, asked)
        file = self._stage(name) / "snapshot.pt" if self.folder else None
        start = 0
        if file and distributed.share(snapshot.kept(file)):
            start = snapshot.load(file, algorithm, stamp)
        self.log.rewind(name, start)
        if file is not None and distributed.rank() == 0:
            remove_parts(file.parent, file.name)  # what a kill left half-written
        if watched is not None:
            watched.replay(distributed.share(self.log.records), name)
        if guard is not None:
            guard.replay(distributed.share(self.log.records))
            self.warn(*guard.detector.warnings)
        enough = (watched and watched.enough) or (guard and guard.ended is not None)
        if start < steps and not enough:
            _Loop(self, name, algorithm, stream, steps, parts, file, stamp, watched, guard).run(
                start, judge, eval_every or steps
            )
        if guard is not None and guard.ended is not None:
            self.spared += steps - guard.ended
        elif watched is not None and watched.enough:
            self.spared += steps - watched.seen
        self._fall_back(guard, algorithm)
        return algorithm

    def _fall_back(self, guard: CollapseWatch | None, algorithm: Algorithm) -> None:
        """Go back to the weights of the best healthy validation, if the stage collapsed."""
        self.collapse = None
        if guard is not None and guard.ended is not None:
            guard.fall_back(algorithm)
            self.collapse = guard
            self.warn(guard.message())

    def warn(self, *warnings: str) -> None:
        """Say what the user should know, and keep it for the run folder; each once."""
        for text in warnings:
            if text in self.warnings:
                continue
            self.warnings.append(text)
            if distributed.rank() == 0:
                title = f"{self.title}: " if self.title else ""
                print(f"warning: {title}{text}", file=sys.stderr, flush=True)

    def best(self, algorithm: Algorithm) -> tuple[BestModel, Predictor] | None:
        """The model of the best validation of the last stage that was watched with patience, whose
        algorithm this is; None: none was, or no validation gave a number."""
        found = self._best
        predictor = None if found is None else found.predictor(algorithm)
        return None if found is None or predictor is None else (found, predictor)

    def trained(self, name: str) -> int:
        """How many steps of a stage are in its snapshot."""
        return 0 if self.folder is None else snapshot.steps_in(self._stage(name) / "snapshot.pt")

    def once(self, name: str, compute: Callable[[], Arrays], **arguments: Any) -> Arrays:
        """Arrays that are computed once and kept; ``arguments`` are what they depend on."""
        stamp = self._claim(name, describe(arguments or None, "arguments"))
        if self.folder is None:
            return compute()
        file = self._stage(name) / f"{stamp}.npz"
        # one looks for all: another could come when the file has just been written, or not see the folder
        if not distributed.share(file.exists()):
            try:
                value = compute()
            except UserError:
                self._disclaim(name)
                raise
            with distributed.together():
                if distributed.rank() == 0:
                    with atomic_path(file) as part:
                        with open(part, "wb") as out:
                            np.savez(out, **value)  # type: ignore[arg-type]
                        sealed.seal(part)
        return distributed.of_first(lambda: _arrays(file))

    def _disclaim(self, name: str) -> None:
        """Forget a stage of which nothing came because it was asked for something impossible."""
        stage = self._stage(name)
        if distributed.rank() == 0:
            (stage / "record.json").unlink(missing_ok=True)
            for folder in (stage, stage.parent):
                if folder.is_dir() and not any(folder.iterdir()):
                    folder.rmdir()

    def _stage(self, name: str) -> Path:
        assert self.folder is not None
        return self.folder / "stages" / name

    def _claim(self, name: str, asked: dict[str, str]) -> str:
        """Record what a stage is asked to do, or hold it against the record that is there."""
        asked = {**asked, "earlier stages": self._chain, "format": FORMAT}
        self._agree(name, asked)
        file = self._stage(name) / "record.json" if self.folder else None
        found = distributed.of_first(lambda: _record(file) if file and file.exists() else None)
        if found is not None and found.get("format") != FORMAT:
            when = "an earlier" if "format" not in found else "another"
            raise Refused(
                f"{self.folder} was begun by {when} version of reteach, which records stages in another "
                "way; finish it with that version, or use another --out"
            )
        stamp = f"{rng.fold(json.dumps(asked, sort_keys=True)):016x}"
        self._chain = stamp
        if found is not None:
            # what both know comes first: other settings differ in it, other versions only in the rest
            for argument in [
                *sorted(asked.keys() & found.keys()),
                *sorted(asked.keys() ^ found.keys()),
            ]:
                if argument not in found or argument not in asked:
                    what = argument.removeprefix("algorithm.")
                    raise Refused(
                        f"{self.folder} was begun by another version of reteach, which keeps other things "
                        f"of stage {name!r} ({what}); finish it with that version, or use another --out"
                    )
                if argument.endswith(f".{CONTENTS}") and asked[argument] != found[argument]:
                    raise Refused(
                        f"{self.folder} was begun with other images: their content has changed since "
                        f"stage {name!r} ({argument}); put the old files back, or use another --out"
                    )
                if asked.get(argument) != found.get(argument):
                    raise Refused(
                        f"{self.folder} was begun with another configuration: stage {name!r}, "
                        f"{argument.removeprefix('algorithm.')}: {found.get(argument)} there, "
                        f"{asked.get(argument)} now; use another --out"
                    )
        elif file is not None and distributed.rank() == 0:
            atomic_write(file, json.dumps(asked, indent=1, sort_keys=True))
        return stamp

    def _agree(self, name: str, asked: dict[str, str]) -> None:
        """Refuse to begin a stage that the processes were asked to do differently: each has its own command
        line and perhaps its own disk."""
        found = distributed.differing(asked)
        if found is not None:
            what = found.name.removeprefix("algorithm.")
            raise Refused(
                f"{found.where} was asked for another training than the first process: stage {name!r}, "
                f"{what}: {found.there} there, {found.first} in the first; give all of them the same "
                "command, images and labels"
            )


def _record(file: Path) -> dict[str, str]:
    """What a stage was asked to do."""
    try:
        return dict(parse_json(file.read_bytes()))
    except (OSError, ValueError, TypeError):
        raise UserError(f"{file} is damaged; delete the folder {file.parent}") from None


def _arrays(file: Path) -> Arrays:
    """Arrays that an earlier attempt kept."""
    then = "delete it, and it is computed again"
    sealed.check(file, then)
    try:
        with np.load(file, allow_pickle=False) as kept:
            return dict(kept)
    except Exception:  # sealed or with the right CRCs, and yet no arrays
        raise sealed.Damaged(f"{file} cannot be read: {then}") from None


@final
@dataclass(eq=False)
class _Loop:
    """One stage's loop over the batches."""

    owner: Run
    name: str
    algorithm: Algorithm
    stream: Stream
    steps: int
    parts: int
    file: Path | None
    stamp: str
    watched: BestModel | None = None
    guard: CollapseWatch | None = None

    def run(self, start: int, judge: Evaluator | None, eval_every: int) -> None:
        log_every = max(1, min(50, self.steps // 100))
        alone = distributed.world() == 1
        seeds = _ahead(self._seed_of, start, self.steps)
        sums = _Sums()
        last_save = time.monotonic()
        with ExitStack() as stack:
            interrupted = stack.enter_context(noting_signals())
            on_progress = stack.enter_context(
                progress(self.name, self.steps, self.owner.quiet or distributed.rank() > 0)
            )
            stack.enter_context(torch.random.fork_rng(devices=[]))
            words = ""
            for batch in self.stream.batches(start, self.steps):
                finite = True
                for part in batch.split(self.parts):
                    own, common = next(seeds)
                    _seed(own, part.x.device)
                    with distributed.seeded(common):
                        finite &= sums.add(self.algorithm.step(part))
                if alone and not finite:
                    self._diverged(batch.step)
                done = batch.step + 1
                due = done % log_every == 0 or done == self.steps
                stop = late = False
                if alone or due:  # several processes decide at these steps only, and as one
                    late = time.monotonic() - last_save > self.owner.snapshot_seconds
                    stop, late = distributed.agreed(
                        interrupted(), late and distributed.rank() == 0, device=batch.x.device
                    )
                if due or stop:
                    measured = distributed.average(sums.means())
                    if not np.isfinite(list(measured.values())).all():
                        self._diverged(batch.step)
                    sums = _Sums()
                    self._log(Measurement(self.name, done, "train", measured))
                    words = " ".join(f"{k} {v:.4g}" for k, v in list(measured.items())[:2])
                if judge and (done % eval_every == 0 or done == self.steps):
                    self._evaluate(done, judge)
                enough = self._enough(done)
                if done == self.steps or stop or enough or (late and due):
                    self._save(done)
                    last_save = time.monotonic()
                on_progress(done, words)
                if enough:
                    return
                if stop and done < self.steps:
                    raise Interrupted(f"stopped after step {done} of {self.steps} ({self.name})")

    def _log(self, measured: Measurement) -> None:
        """Keep a measurement, and look at it for signs of a collapse."""
        line = measured.line()
        self.owner.log.write(line)
        if self.guard is not None:
            self.owner.warn(*self.guard.see(line, self.algorithm))

    def _enough(self, done: int) -> bool:
        """Whether the stage ends here, before its budget is spent or because its model is worth nothing."""
        enough = self.watched is not None and self.watched.enough
        if self.guard is None:
            return enough
        if enough or done == self.steps:
            self.guard.last(done)
        if self.guard.ended is None:
            return enough
        self.owner.log.write(self.guard.line())
        return True

    def _seed_of(self, step: int) -> list[tuple[int, int]]:
        """What the parts of a step draw from: in this process, and in all of them together."""
        told, rank = (self.owner.seed, self.name, step), self.stream.rank
        common = [rng.fold(*told, part, 0) for part in range(self.parts)]
        own = [rng.fold(*told, part, rank) for part in range(self.parts)] if rank else common
        return list(zip(own, common, strict=True))

    def _evaluate(self, step: int, judge: Evaluator) -> None:
        for number, (name, predictor) in enumerate(self.algorithm.predictors().items()):
            for at, (data, summary) in enumerate(judge(predictor).items()):
                numbers = summary.compute()
                if self.watched is not None and number == at == 0:
                    self.watched.see(step, numbers.get(self.watched.patience.metric), predictor)
                self._log(Measurement(self.name, step, "eval", numbers, data=data, predictor=name))

    def _save(self, step: int) -> None:
        with distributed.together():
            path = snapshot.finite(self.algorithm)
            if path is not None:
                self._diverged(step - 1, f"{path} is not finite")
        if self.file is None:
            return
        with distributed.together():
            if distributed.rank() == 0:
                if self.guard is not None:
                    self.guard.keep()
                if not sharding.in_step():
                    snapshot.save(self.file, self.algorithm, step, self.stamp)
        if sharding.in_step():
            snapshot.save_together(self.file, self.algorithm, step, self.stamp)
        if self.guard is not None and distributed.rank() == 0:
            self.guard.tidy()

    def _diverged(self, step: int, what: str = "the loss is not finite") -> None:
        names = self.stream.dataset.items if len(self.stream.dataset) < 10**6 else []
        rows = self.stream.rows(step).tolist()
        items = ", ".join(names[row] if names else f"row {row}" for row in rows[:8])
        rates = [
            f"{part.param_groups[0]['lr']:.3g}"
            for _, part in snapshot.parts(self.algorithm, "")
            if isinstance(part, torch.optim.Optimizer)
        ]
        kept = "the last good snapshot is kept" if self.file else "nothing is kept of this run"
        raise UserError(
            f"{what} at step {step} of {self.name!r} (learning rate {' and '.join(rates)}); "
            f"{kept}. Items of the batch: {items}{' …' if len(rows) > 8 else ''}. "
            "Try a lower --lr, --clip, or --precision fp32"
        )


_AT_ONCE = 32
"""Steps whose seeds are made together: a fraction of the work of one after the other."""


def _ahead(
    of: Callable[[int], list[tuple[int, int]]], start: int, stop: int
) -> Iterator[tuple[int, int]]:
    """The seeds of the steps ``start`` to ``stop`` - 1, one after the other."""
    for first in range(start, stop, _AT_ONCE):
        steps = range(first, min(first + _AT_ONCE, stop))
        yield from [seed for step in steps for seed in of(step)]


@final
class _Sums:
    """Means of named scalars over some steps; those on a device are not waited for."""

    def __init__(self) -> None:
        self.values: dict[str, list[Tensor]] = {}

    def add(self, measured: dict[str, Tensor]) -> bool:
        """Keep the scalars of a step; False: one on the CPU is NaN or infinite."""
        finite = True
        for name, value in measured.items():
            self.values.setdefault(name, []).append(value)
            if value.device.type == "cpu":
                finite &= math.isfinite(value.item())
        return finite

    def means(self) -> dict[str, float]:
        """By name, over the steps that had it."""
        return {
            name: reduce(torch.add, found).item() / len(found)
            for name, found in self.values.items()
        }


def _seed(seed: int, device: torch.device) -> None:
    """Start the generators that a step draws from; ``torch.manual_seed`` would visit every backend."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


@contextmanager
def noting_signals() -> Iterator[Callable[[], bool]]:
    """Note Ctrl-C and SIGTERM instead of dying from them; a second Ctrl-C is not held back."""
    asked = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    old = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
