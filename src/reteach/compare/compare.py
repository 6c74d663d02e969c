"""Comparisons: several methods, one budget, the same seeds, batches and augmentation.

Every (method, settings, seed) is a run of its own in the comparison's folder. A run that has finished
is never trained again, one that was interrupted goes on; so a comparison resumes by being asked again.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

from ..errors import UserError
from ..files import local, write_json
from . import summary as rows
from .data import Arena
from .trials import Job, finished, job_folder, plain
from .variants import Entrant


@final
@dataclass(frozen=True)
class Plan:
    """A whole comparison.

    Args:
        title, description: for the report.
        folder: where everything goes.
        early: names of the entrants that also appear as they were at their best validation mAP.
    """

    title: str
    description: str
    folder: Path
    arena: Arena
    entrants: tuple[Entrant, ...]
    seeds: tuple[int, ...]
    sweep: dict[str, list[Any]]
    early: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    processes: int = 1


def compare(plan: Plan) -> dict[str, Any]:
    """Run what has not been run yet, then write ``results.json``, ``comparison.json`` and the report.

    Returns: the content of ``results.json``.

    Raises:
        UserError: no process to work in, no folder to write to; a training that cannot be.
    """
    from ..report import comparison_report

    _ready(plan)
    jobs = [
        Job(entrant, plan.arena, seed, job_folder(plan.folder, entrant, seed))
        for entrant in plan.entrants
        for seed in plan.seeds
    ]
    found = finished(jobs, plan.processes)
    outcomes: dict[str, list[dict[str, Any]]] = {entrant.name: [] for entrant in plan.entrants}
    for job, outcome in zip(jobs, found, strict=True):
        outcomes[job.entrant.name].append(outcome)
    table = [rows.entrant_row(entrant, outcomes[entrant.name]) for entrant in plan.entrants]
    table += [
        rows.early_row(entrant, outcomes[entrant.name])
        for entrant in plan.entrants
        if entrant.name in plan.early
    ]
    first = outcomes[plan.entrants[0].name]
    table.append(rows.trivial_row(first))
    warnings = [
        f"{job.entrant.name}, seed {job.seed}: {text}"
        for job, outcome in zip(jobs, found, strict=True)
        for text in outcome["warnings"]
    ]
    results = {row["name"]: rows.summary(row["values"]) for row in table}
    training = plan.entrants[0].config.training
    content = {
        "title": plan.title,
        "description": plan.description,
        "budget": {
            "steps": min(outcome["steps"] for outcome in found),
            "most_steps": max(outcome["steps"] for outcome in found),
            "batch_size": training.batch_size,
        },
        "seeds": plan.seeds,
        "metrics": list(first[0]["values"]),
        "rows": table,
        "paired": rows.paired(table),
        "sweep": plan.sweep,
        "examples": rows.examples({name: each[0] for name, each in outcomes.items()}),
        "warnings": warnings,
        "notes": plan.notes,
        "configuration": {e.name: plain(asdict(e.config)) for e in plan.entrants},
    }
    write_json(plan.folder / "comparison.json", content)
    write_json(plan.folder / "results.json", results)
    comparison_report(plan.folder)
    return results


def _ready(plan: Plan) -> None:
    """The folder is there, before anything is read or trained."""
    if plan.processes < 1:
        raise UserError(f"--processes must be at least 1, got {plan.processes}")
    local(plan.folder, "--out")
    try:
        plan.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {plan.folder}: {error.strerror}; name another folder") from None
