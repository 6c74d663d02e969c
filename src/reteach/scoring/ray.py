"""Scoring on Ray Data: the same function in many processes, on this machine or on a cluster.

What Ray Data carries are the numbers of parts, and reports. Its pool of actors makes the shards: each
loads the model once, with a GPU where there is one and all the cores that go with it, which decode. It is
given a few parts at a time, whose shards it writes itself; what comes back is one row for each part,
nothing for each batch, and no pixels pass through the object store. (A pipeline that decodes in tasks and
gathers what the network says cannot keep the bytes of a shard a function of its part: batches would hold
what happens to be there, and rows stand in the order in which they get ready.)

A worker that dies is started again by Ray, where there is room for it. What it had not finished is not
tried again by Ray, which would wait for the worker's return, but goes out anew, part by part, in a
dataset of its own once the others are done: where a machine is gone for good, nobody waits for it. A
shard that was finished is not made twice. A part that kills its worker again and again is named, and the
rest goes on.

Run folder, images and output must be seen under the same paths everywhere (a shared file system), or be at
an object store: what is there travels by its address, and each machine has a scratch folder of its own.
"""

from __future__ import annotations

import json
import logging
import os
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar, final

import numpy as np

from ..errors import UserError, missing_extra
from ..options.paths import with_addresses, with_copies
from ..scores.columns import one_line
from ..structured import parse_json
from .scorer import Again, Scorer, ScoringReport, ScoringTask, Step

_MOST = 8
"""Parts that a worker is given at once."""
_DECODERS = 16
"""The most processes that decode for one GPU where nobody says a number."""
_TRIES = 3
"""Times that a part may kill its worker."""


class ShardTask(Protocol):
    """What a worker is told; it travels to other processes."""

    @property
    def device(self) -> str:
        """Where networks are."""

    @property
    def workers(self) -> int | None:
        """Processes that decode, for each worker; None: as many as there are cores for."""


class ShardMaker(Protocol):
    """What a worker is."""

    def score(self, numbers: Sequence[int]) -> Iterator[Step | ScoringReport]:
        """Make the shards of some parts; each is on disk when its report comes."""


T = TypeVar("T", bound=ShardTask)


def scored(
    task: ScoringTask, numbers: Sequence[int], address: str, scorers: int | None
) -> Iterator[Again | ScoringReport]:
    """The reports of :meth:`.scorer.Scorer.score`, from several workers; see :func:`shared_out`."""
    return shared_out(Scorer, task, numbers, address, scorers)


def shared_out(
    of: Callable[[T], ShardMaker],
    task: T,
    numbers: Sequence[int],
    address: str,
    scorers: int | None,
) -> Iterator[Again | ScoringReport]:
    """The reports of :meth:`ShardMaker.score`, from several workers at once, and which parts begin again.

    Args:
        of: makes a worker of the task, once in each process.
        numbers: parts that have no shard yet.
        address: ``local`` starts Ray on this machine; ``auto`` finds the cluster this machine belongs
            to; or the address of one (``ray://…``).
        scorers: workers; None: one for each GPU, or as many as there are cores for.
    """
    with _connected(address) as ray:
        gpus = int(ray.cluster_resources().get("GPU", 0)) if task.device in ("auto", "cuda") else 0
        cores = int(ray.cluster_resources().get("CPU", 1))
        if gpus:
            count, each = min(scorers or gpus, gpus), _cores_of_a_gpu(ray.nodes())
        else:
            each = 1 + (1 if task.workers is None else task.workers)
            count = scorers or max(1, cores // each)
            each = min(each, max(1, cores // count))
        count = min(count, len(numbers))
        workers = decoders_beside(each, bool(gpus)) if task.workers is None else task.workers
        told = with_addresses(replace(task, workers=workers))  # type: ignore[type-var]
        share = {"num_cpus": each} | ({"num_gpus": 1} if gpus else {})
        yield from _rounds(_Pool(ray, of, told, count, share), numbers)


def _rounds(pool: Round, numbers: Sequence[int]) -> Iterator[Again | ScoringReport]:
    """What a pool makes of the parts, and again of those that were lost.

    What a worker has died of goes out one by one, so that the guilty part is found.
    """
    todo, size = list(numbers), max(1, min(_MOST, len(numbers) // (4 * pool.count)))
    deaths: Counter[int] = Counter()
    while todo:
        left = dict.fromkeys(todo)
        for report in pool.reports(todo, size):
            if report.part in left:
                del left[report.part]
                yield report
        todo, size = [], 1
        for number in left:
            deaths[number] += 1
            if deaths[number] < _TRIES:
                todo.append(number)
                yield Again(number)
            else:
                yield ScoringReport(
                    number, failed=f"it has killed its worker {_TRIES} times (out of memory?)"
                )


class Round(Protocol):
    """What makes shards, of which some may be lost."""

    @property
    def count(self) -> int:
        """How many workers there are at the most."""

    def reports(self, numbers: Sequence[int], size: int) -> Iterator[ScoringReport]:
        """Reports of these parts, given out by ``size``, but for those whose worker died."""


@final
@dataclass(frozen=True, eq=False)
class _Pool:
    """Ray Data's pool of actors.

    Args:
        ray: the module.
        of, task: what a worker is made of.
        share: the resources of a worker.
    """

    ray: Any
    of: Callable[[Any], ShardMaker]
    task: Any
    count: int
    share: Mapping[str, int]

    def reports(self, numbers: Sequence[int], size: int) -> Iterator[ScoringReport]:
        data, ray = self.ray.data, self.ray
        context = data.DataContext.get_current()
        # what a lost worker was at is left out of the rows, and nothing else, for a worker catches all errors
        context.max_errored_blocks = -1
        context.max_consecutive_actor_init_deaths = _TRIES * self.count
        context.target_max_block_size = 1  # each row is told at once
        context.enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)
        blocks = -(-len(numbers) // size)
        pool = data.ActorPoolStrategy(
            min_size=1,
            max_size=self.count,
            initial_size=min(self.count, blocks),
            max_tasks_in_flight_per_actor=2 if size > 1 else 1,
        )
        numbered = data.from_items(list(numbers), override_num_blocks=blocks)
        with warnings.catch_warnings():
            # Ray 2.64 will take no such parameter, and has none in its place: see pyproject.toml
            warnings.filterwarnings("ignore", message=".*ray_remote_args.* is deprecated")
            rows = numbered.map_batches(
                _Worker,
                fn_constructor_args=(self.of, self.task),
                batch_size=None,
                compute=pool,
                max_task_retries=0,
                **self.share,
            )
        try:
            for row in rows.iter_rows():
                yield _report(row)
        except ray.exceptions.RayActorError as error:
            raise UserError(f"--ray: workers do not start ({one_line(error)})") from None


def _report(row: Mapping[str, Any]) -> ScoringReport:
    """What a worker has said of a part.

    Raises:
        UserError: it was one there.
        RuntimeError: the worker met an error that is none of the user's.
    """
    said = parse_json(row["said"])
    if "refused" in said:
        raise UserError(said["refused"])
    if "error" in said:
        raise RuntimeError(f"a worker has failed:\n{said['error']}")
    unreadable = tuple((item, reason) for item, reason in said.pop("unreadable"))
    return ScoringReport(**said, unreadable=unreadable)


def _cores_of_a_gpu(nodes: Sequence[Mapping[str, Any]]) -> int:
    """How many cores go with each GPU, on the machine where they are fewest."""
    there = [node["Resources"] for node in nodes if node["Alive"]]
    return max(1, min(int(r.get("CPU", 1) // r["GPU"]) for r in there if r.get("GPU", 0) >= 1))


def decoders_beside(cores: int, gpu: bool) -> int:
    """Processes that decode for a worker that has so many cores: all but the one that feeds the GPU.

    A core decodes about 390 photos a second, and a GPU takes thousands.
    """
    return max(1, min(_DECODERS, cores - 1)) if gpu else 1


class _Worker:
    """An actor: a scorer that is made once."""

    def __init__(self, of: Callable[[Any], ShardMaker], task: Any) -> None:
        self.scorer: ShardMaker | UserError
        try:
            self.scorer = of(with_copies(task))
        except UserError as error:
            self.scorer = error  # told when there is somebody to tell it to

    def __call__(self, batch: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Make the shards of some parts; of each one row, and one of an error, which ends it."""
        try:
            for report in self.reports(batch["item"].tolist()):
                yield _row(report.__dict__)
        except UserError as error:
            yield _row({"refused": str(error)})
        except Exception:  # raised, it would count as a worker that was lost
            yield _row({"error": traceback.format_exc()})

    def reports(self, numbers: Sequence[int]) -> Iterator[ScoringReport]:
        """Make the shards of some parts; of each one report, which says how many images it has."""
        if isinstance(self.scorer, UserError):
            raise self.scorer
        images = 0
        for event in self.scorer.score(numbers):
            if isinstance(event, Step):
                images += event.images
            else:
                yield replace(event, images=0 if event.failed else images)
                images = 0


def _row(said: Mapping[str, Any]) -> dict[str, Any]:
    return {"said": np.array([json.dumps(said)])}


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    """Ray, for as long as the context lasts.

    Raises:
        UserError: Ray is not installed, or there is no cluster at the address.
    """
    try:
        import ray
        import ray.data
    except ImportError:
        raise missing_extra("--ray", "ray[data]", "ray") from None
    # workers find the package where this process does, and keep torch's threads as they are told
    paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    environment = {"env_vars": {"PYTHONPATH": os.pathsep.join(filter(None, paths))}}
    # of this process: it warns of what Ray Data does itself, and tells what we tell in words of our own
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        ray.init(
            address=address,  # None would join a cluster that happens to be there
            runtime_env=environment,
            log_to_driver=False,
            include_dashboard=False if address == "local" else None,
            logging_level=logging.ERROR,
        )
    except (ConnectionError, ValueError) as error:
        raise UserError(f"--ray {address}: no Ray cluster is there ({one_line(error)})") from None
    except Exception as error:  # Ray raises plain ones
        raise UserError(f"--ray {address}: Ray does not start ({one_line(error)})") from None
    try:
        yield ray
    finally:
        ray.shutdown()
