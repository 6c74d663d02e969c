"""Scoring on Ray: the same function in many processes, on this machine or on a cluster.

Every worker is an actor that loads the model once, with a GPU where there is one and all the cores that
go with it, which decode. It is given a few parts at a time, whose shards it writes itself: run folder,
images and output must be seen under the same paths everywhere (a shared file system), or be at an object
store: what is there travels by its address, and each machine has a scratch folder of its own. What comes
back to the driver is one report for each part, nothing for each batch. A worker that dies is replaced, and
what it had not finished is given out anew to whoever is there: where a machine is gone for good, nobody
waits for it. A shard that was finished is not made twice. A part that kills its worker again and again
is named, and the rest goes on.
"""

from __future__ import annotations

import logging
import os
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

from ..errors import UserError, missing_extra
from ..options.paths import with_addresses, with_copies
from ..scores.columns import one_line
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
        kind = ray.remote(max_restarts=0, **share)(_Worker)
        yield from _given_out(ray, lambda: kind.remote(of, told), count, deque(numbers))


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

    def ready(self) -> None:
        """Answers once the network is loaded."""

    def score(self, numbers: Sequence[int]) -> Iterator[ScoringReport]:
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


def _given_out(
    ray: Any, hire: Callable[[], Any], count: int, todo: deque[int]
) -> Iterator[Again | ScoringReport]:
    """Give out the parts, take what comes back, and give out again what was lost.

    Only a worker that has answered is given anything: the place of a lost one may never be filled again.
    """
    size = max(1, min(_MOST, len(todo) // (4 * count)))
    deaths: Counter[int] = Counter()
    coming: dict[Any, Any] = {}
    busy: dict[Any, tuple[Any, list[int]]] = {}
    idle: list[Any] = []

    def new() -> None:
        worker = hire()
        coming[worker.ready.remote()] = worker

    def give(worker: Any) -> None:
        # what a worker has died of goes out one by one, so that the guilty part is found
        given = [todo.popleft()]
        while todo and len(given) < size and not deaths[given[0]] and not deaths[todo[0]]:
            given.append(todo.popleft())
        busy[worker.score.options(num_returns="streaming").remote(given)] = (worker, given)

    for _ in range(count):
        new()
    lost = 0
    while todo or busy:
        while idle and todo:
            give(idle.pop())
        (answer,), _ = ray.wait([*busy, *coming], num_returns=1)
        if answer in coming:
            worker = coming.pop(answer)
            try:
                ray.get(answer)
            except ray.exceptions.RayActorError as error:
                lost += 1
                if lost > _TRIES * count:
                    raise UserError(f"--ray: workers do not start ({one_line(error)})") from None
                new()
            else:
                idle.append(worker)
            continue
        worker, left = busy[answer]
        try:
            event = ray.get(next(answer))
        except StopIteration:
            del busy[answer]
            idle.append(worker)
        except ray.exceptions.RayActorError as error:
            del busy[answer]
            ray.kill(worker)
            deaths.update(left)
            for number in left:
                if deaths[number] < _TRIES:
                    todo.append(number)
                    yield Again(number)
                else:
                    yield ScoringReport(number, failed=f"it kills its worker ({one_line(error)})")
            new()
        except ray.exceptions.RayTaskError as error:
            cause = error.cause
            raise cause if isinstance(cause, UserError) else error from None
        else:
            left.remove(event.part)
            yield event


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    """Ray, for as long as the context lasts.

    Raises:
        UserError: Ray is not installed, or there is no cluster at the address.
    """
    try:
        import ray
    except ImportError:
        raise missing_extra("--ray", "ray[data]", "ray") from None
    # workers find the package where this process does, and keep torch's threads as they are told
    paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    environment = {"env_vars": {"PYTHONPATH": os.pathsep.join(filter(None, paths))}}
    try:
        ray.init(
            address=None if address == "local" else address,
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
