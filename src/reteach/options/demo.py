"""``reteach demo``: the main job on real digits, in two minutes, with nothing to prepare."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from .ranges import AtLeast, Checked

TEACHER = 100
"""Steps of MILe's teacher before each turn of its student; the student has the rest of a cycle."""
LEAST = TEACHER * 3 // 2
"""Steps of the shortest training in which the student has a third, as in the long one."""


@dataclass(frozen=True)
class DemoOptions(Checked):
    """Softmax, sigmoid and MILe on pictures of four real digits that carry one label each."""

    out: Path = Path("runs/demo")
    """Where everything goes."""
    seeds: Annotated[int, AtLeast(1)] = 3
    """Repetitions, each with other pictures and other weights."""
    steps: Annotated[int, AtLeast(LEAST)] = 1500
    """Backward passes of each method; the least are one turn each of MILe's teacher and student."""
    processes: Annotated[int | None, AtLeast(1)] = None
    """Trainings at a time; by default one per core."""
