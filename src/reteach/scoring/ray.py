"""Scoring on Ray: the same function in many processes, on this machine or on a cluster.

Every worker loads the model once and is then given a few parts at a time, whose shards it writes itself:
run folder, images and output must be seen under the same paths everywhere (a shared file system). A worker
that dies is started again by Ray, and what it had not finished is given out anew; a shard that it had
finished is not made twice. A part that kills its worker again and again is named, and the rest goes on.
"""

from __future__ import annotations

import logging
import os
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from ..errors import UserError, missing_extra
from ..scores.columns import one_line
from .scorer import Again, Scorer, ScoringReport, ScoringTask, Step

_MOST = 8
"""Parts that a worker is given at once."""
_TRIES = 3
"""Times that a part may kill its worker."""


class ShardTask(Protocol):
    """What a worker is told; it travels to other processes."""

    @property
    def device(self) -> str:
        """Where networks are."""

    @property
    def workers(self) -> int:
        """Processes that decode, for each worker."""


class ShardMaker(Protocol):
    """What a worker is."""

    def score(self, numbers: Sequence[int]) -> Iterator[Step | ScoringReport]:
        """Make the shards of some parts; each is on disk when its report comes."""


T = TypeVar("T", bound=ShardTask)


def scored(
    task: ScoringTask, numbers: Sequence[int], address: str, scorers: int | None
) -> Iterator[Step | Again | ScoringReport]:
    """What :meth:`.scorer.Scorer.score` yields, from several workers; see :func:`shared_out`."""
    return shared_out(Scorer, task, numbers, address, scorers)


def shared_out(
    of: Callable[[T], ShardMaker],
    task: T,
    numbers: Sequence[int],
    address: str,
    scorers: int | None,
) -> Iterator[Step | Again | ScoringReport]:
    """What :meth:`ShardMaker.score` yields, from several workers at once, and which parts begin again.

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
        each = 1 + task.workers
        count = scorers or gpus or max(1, cores // each)
        count = min(count, len(numbers))
        share = {"num_gpus": 1} if gpus else {"num_cpus": min(each, max(1, cores // count))}
        kind = ray.remote(max_restarts=0, **share)(_Worker)
        yield from _given_out(ray, lambda: kind.remote(of, task), count, deque(numbers))


class _Worker:
    """An actor: a scorer that is made once."""

    def __init__(self, of: Callable[[Any], ShardMaker], task: Any) -> None:
        self.scorer: ShardMaker | UserError
        try:
            self.scorer = of(task)
        except UserError as error:
            self.scorer = error  # told when there is somebody to tell it to

    def score(self, numbers: Sequence[int]) -> Iterator[Step | ScoringReport]:
        """Make the shards of some parts."""
        if isinstance(self.scorer, UserError):
            raise self.scorer
        yield from self.scorer.score(numbers)


def _given_out(
    ray: Any, hire: Callable[[], Any], count: int, todo: deque[int]
) -> Iterator[Step | Again | ScoringReport]:
    """Give out the parts, take what comes back, and give out again what was lost."""
    size = max(1, min(_MOST, len(todo) // (4 * count)))
    deaths: Counter[int] = Counter()
    busy: dict[Any, tuple[Any, list[int]]] = {}

    def give(worker: Any) -> None:
        # what a worker has died of goes out one by one, so that the guilty part is found
        given = [todo.popleft()]
        while todo and len(given) < size and not deaths[given[0]] and not deaths[todo[0]]:
            given.append(todo.popleft())
        busy[worker.score.options(num_returns="streaming").remote(given)] = (worker, given)

    for _ in range(count):
        if todo:
            give(hire())
    while busy:
        (stream,), _ = ray.wait(list(busy), num_returns=1)
        worker, left = busy[stream]
        try:
            event = ray.get(next(stream))
        except StopIteration:
            del busy[stream]
            if todo:
                give(worker)
        except ray.exceptions.RayActorError as error:
            del busy[stream]
            ray.kill(worker)
            deaths.update(left)
            for number in left:
                if deaths[number] < _TRIES:
                    todo.append(number)
                    yield Again(number)
                else:
                    yield ScoringReport(number, failed=f"it kills its worker ({one_line(error)})")
            if todo:
                give(hire())
        except ray.exceptions.RayTaskError as error:
            cause = error.cause
            raise cause if isinstance(cause, UserError) else error from None
        else:
            if isinstance(event, ScoringReport):
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
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UserError(f"--ray {address}: no Ray cluster is there ({one_line(error)})") from None
    try:
        yield ray
    finally:
        ray.shutdown()
