"""``reteach demo``: the main job on real digits or real photos, with nothing to prepare."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from .ranges import AtLeast, Checked, Within

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


@dataclass(frozen=True)
class PhotosOptions(Checked):
    """Photos of solar cells on which experts were unsure: wrong labels found, soft labels learned."""

    out: Path = Path("runs/demo-photos")
    """Where everything goes: photos, label tables, features, page and numbers."""
    seeds: Annotated[int, AtLeast(1)] = 3
    """Repetitions, each with other folds, other wrong labels and other weights."""
    folds: Annotated[int, AtLeast(2)] = 5
    """Parts of the photos; each is judged by models that learned from the others."""
    noise: Annotated[float, Within(0, 0.5, "()")] = 0.2
    """Share of each class's labels that are made wrong on purpose, to be found."""
