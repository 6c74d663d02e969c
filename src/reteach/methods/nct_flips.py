"""Target variability, Algorithm 2: some labels are changed; see :mod:`reteach.methods.nct`."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from .. import rng
from ..engine import distributed

Flip = Literal["other", "any"]
"""Whether a changed label must be another one."""


def changed(y: Tensor, rate: float, flip: Flip, generator: torch.Generator) -> Tensor:
    """Algorithm 2: targets (B, C), of which a share ``rate`` of the rows has moved to random classes.

    A row is moved by a random number of classes, so a one-hot row lands on each other class equally
    often; a row of zeros (no label) stays one.
    """
    rows, classes = y.shape
    if classes < 2:
        return y
    least = 1 if flip == "other" else 0
    mask = torch.rand(rows, generator=generator) < rate
    shift = torch.randint(least, classes, (rows,), generator=generator) * mask
    source = (torch.arange(classes) - shift[:, None]) % classes
    return y.gather(-1, source.to(y.device, non_blocking=True))


def flips(name: str) -> torch.Generator:
    """Random numbers for one network at this step; the engine has seeded the step itself."""
    return torch.Generator().manual_seed(rng.fold(distributed.common_seed(), "flips", name))
