"""Comparisons: several methods, one budget, the same seeds, batches and augmentation.

Every (method, settings, seed) is a run of its own in the comparison's folder. A run that has finished
is never trained again, one that was interrupted goes on; so a comparison resumes by being asked again.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

from ..files import local, write_json
from ..locks import only_writer
from ..records.comparisons import COMPARISON, Budget, ComparisonRecord, TrialResult
from . import summary as rows
from .data import ComparisonSpec
from .trials import Trial, finished, plain, trial_folder
from .variants import Variant


@final
@dataclass(frozen=True)
class ComparisonPlan:
    """A whole comparison.

    Args:
        title, description: for the report.
        folder: where everything goes.
        early: names of the entrants that also appear as they were at their best validation mAP.
    """

    title: str
    description: str
    folder: Path
    arena: ComparisonSpec
    variants: tuple[Variant, ...]
    seeds: tuple[int, ...]
    sweep: dict[str, list[Any]]
    early: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    processes: int = 1


def compare(plan: ComparisonPlan) -> dict[str, Any]:
    """Run what has not been run yet, then write ``results.json``, ``comparison.json`` and the report.

    Returns: the content of ``results.json``.

    Raises:
        UserError: no process to work in, no folder to write to, or another process writes there; a
            training that cannot be.
    """
    local(plan.folder, "--out")
    with only_writer(plan.folder, worth="runs/*/stages"):
        return _compare(plan)


def _compare(plan: ComparisonPlan) -> dict[str, Any]:
    from ..report import comparison_report

    trials = [
        Trial(variant, plan.arena, seed, trial_folder(plan.folder, variant, seed))
        for variant in plan.variants
        for seed in plan.seeds
    ]
    found = finished(trials, plan.processes)
    outcomes: dict[str, list[TrialResult]] = {variant.name: [] for variant in plan.variants}
    for trial, outcome in zip(trials, found, strict=True):
        outcomes[trial.variant.name].append(outcome)
    table = [rows.variant_row(variant, outcomes[variant.name]) for variant in plan.variants]
    table += [
        rows.early_row(variant, outcomes[variant.name])
        for variant in plan.variants
        if variant.name in plan.early
    ]
    first = outcomes[plan.variants[0].name]
    table.append(rows.trivial_row(first))
    warnings = [
        f"{trial.variant.name}, seed {trial.seed}: {text}"
        for trial, outcome in zip(trials, found, strict=True)
        for text in outcome.warnings
    ]
    results = {row.name: rows.summary(row.values) for row in table}
    training = plan.variants[0].config.training
    steps = [outcome.steps for outcome in found]
    record = ComparisonRecord(
        title=plan.title,
        description=plan.description,
        budget=Budget(min(steps), max(steps), training.batch_size),
        seeds=plan.seeds,
        metrics=tuple(first[0].values),
        rows=tuple(table),
        paired=rows.paired(table),
        sweep={name: tuple(values) for name, values in plan.sweep.items()},
        examples=rows.examples({name: each[0] for name, each in outcomes.items()}),
        warnings=tuple(warnings),
        notes=plan.notes,
        configuration={e.name: plain(asdict(e.config)) for e in plan.variants},
    )
    COMPARISON.write(plan.folder, record)
    write_json(plan.folder / "results.json", results)
    comparison_report(plan.folder)
    return results
