"""The records of a comparison: ``comparison.json``, and the ``outcome.json`` of each trial."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, final

from .record import OPTIONAL, RecordFile
from .runs import Example, Number, Prediction

Numbers = dict[str, Number]
"""Metric -> value; a history has one per evaluation, with its ``step``."""


@final
@dataclass(frozen=True)
class TrialResult:
    """One variant trained with one seed.

    Args:
        steps: backward passes of its budget.
        spared: those of them that were not made, because it collapsed.
        collapsed: whether it did; ``values`` are of the model that was kept, or else of the last.
        values: what the comparison is about, on the test images.
        history, validation: each evaluation on test and validation images.
        trivial: the numbers of the answer that needs no model.
    """

    seconds: float
    steps: int
    values: Numbers
    history: tuple[Numbers, ...]
    validation: tuple[Numbers, ...]
    warnings: tuple[str, ...]
    trivial: Numbers
    examples: tuple[Example, ...]
    spared: int = 0
    collapsed: bool = False


@final
@dataclass(frozen=True)
class ComparisonRow:
    """A variant, a control or a trivial answer; its numbers seed by seed.

    Args:
        settings: those that a sweep gave it.
        control: what helped it that the others did not get.
        collapsed: how many of its trainings drifted to every class present.
        spared: the share of its steps that were not made for that.
    """

    name: str = ""
    method: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    trivial: bool = False
    control: str | None = field(default=None, metadata=OPTIONAL)
    values: dict[str, tuple[Number, ...]] = field(default_factory=dict)
    history: tuple[tuple[Numbers, ...], ...] = ()
    seconds: tuple[Number, ...] = ()
    collapsed: int = 0
    spared: float = 0.0


@final
@dataclass(frozen=True)
class PairedDifference:
    """a − b in one metric over n seeds: the mean and its 95% interval."""

    metric: str = ""
    a: str = ""
    b: str = ""
    mean: Number = None
    low: Number = None
    high: Number = None
    n: Number = None


@final
@dataclass(frozen=True)
class Budget:
    """Backward passes of the shortest and of the longest training, and images per batch."""

    steps: Number = None
    most_steps: Number = None
    batch_size: Number = None


@final
@dataclass(frozen=True)
class ComparedExample:
    """A picture with what each variant says of it; see :class:`~reteach.records.runs.Example`."""

    item: str = ""
    image: str = ""
    given: tuple[str, ...] = ()
    predicted: dict[str, tuple[Prediction, ...]] = field(default_factory=dict)
    truth: tuple[str, ...] | None = None


@final
@dataclass(frozen=True)
class ComparisonRecord:
    """A comparison, as its report shows it."""

    title: str = ""
    description: str = ""
    budget: Budget = Budget()
    seeds: tuple[int, ...] = ()
    metrics: tuple[str, ...] = ()
    rows: tuple[ComparisonRow, ...] = ()
    paired: tuple[PairedDifference, ...] = ()
    sweep: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    examples: tuple[ComparedExample, ...] = ()
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    configuration: dict[str, dict[str, Any]] = field(default_factory=dict)


COMPARISON = RecordFile("comparison.json", ComparisonRecord)
TRIAL = RecordFile("outcome.json", TrialResult)
