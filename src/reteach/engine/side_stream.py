"""Work of two networks at the same time, where the device can do that."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch

from . import distributed


@contextmanager
def side_stream(device: torch.device) -> Iterator[None]:
    """On a CUDA device, run the block on a side stream, beside what follows it.

    The block may read all that was computed before it. What it computes may be read only after
    :func:`wait_side_stream`.
    Elsewhere, and where several processes train together, the block simply runs, with the same numbers.
    """
    if not _able(device):
        yield
        return
    lane = _lane(device)
    lane.wait_stream(torch.cuda.current_stream(device))  # also keeps memory from being reused early
    with torch.cuda.stream(lane):
        yield


def wait_side_stream(device: torch.device) -> None:
    """Let what follows wait for the side stream."""
    if _able(device):
        torch.cuda.current_stream(device).wait_stream(_lane(device))


def _able(device: torch.device) -> bool:
    return device.type == "cuda" and distributed.world() == 1


@cache
def _lane(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
