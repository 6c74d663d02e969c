"""Comparisons: several methods, one budget, the same seeds, batches and augmentation.

Every (method, settings, seed) is a run of its own in the comparison's folder. A run that has finished
is never trained again, one that was interrupted goes on; so a comparison resumes by being asked again.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, fields, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, final, get_type_hints

import numpy as np

from .. import options
from ..catalog import METHODS
from ..errors import UserError, closest
from ..files import write_json
from ..progress import progress
from .arena import Arena
from .config import Config, parse

METRICS = ("f1@0.25", "f1@0.5", "f1@tuned", "map", "accuracy", "labels_per_image")
"""What a comparison is about; the test's own numbers, the threshold tuned on validation images."""

CLEAN = {
    "best": "accuracy",
    "last": "accuracy",
    "mean10": "accuracy",
    "right_accuracy": "accuracy",
    "wrong_accuracy": "accuracy",
    "right_loss": "cross_entropy",
    "wrong_loss": "cross_entropy",
}
"""With true labels at hand also these: best, last and mean of the last ten test accuracies (one per
epoch), and how well the training images whose label is right, or wrong, are fitted."""

PLAIN = {"labels_per_image", "right_loss", "wrong_loss"}
"""Metrics that are no fractions."""

EARLY = "map"
"""The validation metric that the early-stopping control watches."""


@final
@dataclass(frozen=True)
class Entrant:
    """A method under certain settings; ``changed`` are those that a sweep gave it."""

    name: str
    config: Config
    changed: dict[str, Any]


@final
@dataclass(frozen=True)
class Job:
    """One entrant with one seed."""

    entrant: Entrant
    arena: Arena
    seed: int
    folder: Path


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


def entrants(
    methods: Sequence[str],
    model: options.Model,
    training: options.Training,
    settings: Sequence[str] = (),
    sweep: Sequence[str] = (),
) -> tuple[tuple[Entrant, ...], dict[str, list[Any]]]:
    """The entrants of a comparison, and the swept values by setting.

    Args:
        settings: "name=value" or "method.name=value", for the methods that have such a setting.
        sweep: "name=value,value,…"; several of them make a grid.

    Raises:
        UserError: an unknown method, a setting that no method has, a value of the wrong type.
    """
    bases = []
    for method in methods:
        if method not in METHODS:
            raise UserError(
                f"unknown method {method!r}{closest(method, list(METHODS))} "
                f"(known: {', '.join(METHODS)})"
            )
        kind = METHODS[method].settings
        bases.append(Config(method, kind(), model=model, training=training))
    for text in settings:
        name, values = _assignment(text, "--set")
        bases = _apply(bases, name, values, "--set")
    grid: dict[str, list[str]] = {}
    for text in sweep:
        name, values = _assignment(text, "--sweep")
        grid[name.split(".")[-1]] = values.split(",")
        _apply(bases, name, values.split(",")[0], "--sweep")  # complains where nobody has it
    found: list[Entrant] = []
    swept: dict[str, list[Any]] = {name: [] for name in grid}
    for base in bases:
        mine = [name for name in grid if _has(base, name)]
        for chosen in itertools.product(*(grid[name] for name in mine)):
            config, changed = base, {}
            for name, value in zip(mine, chosen, strict=True):
                config, changed[name] = _with(config, name, value, "--sweep")
                if changed[name] not in swept[name]:
                    swept[name].append(changed[name])
            words = [base.method, *(f"{name}={value}" for name, value in changed.items())]
            found.append(Entrant(" ".join(words), config, changed))
    if len({entrant.name for entrant in found}) < len(found):
        raise UserError("a method is named twice")
    return tuple(found), swept


def compare(plan: Plan) -> dict[str, Any]:
    """Run what has not been run yet, then write ``results.json``, ``comparison.json`` and the report.

    Returns: the content of ``results.json``.
    """
    from ..report import comparison_report

    plan.folder.mkdir(parents=True, exist_ok=True)
    jobs = [
        Job(entrant, plan.arena, seed, _job_folder(plan.folder, entrant, seed))
        for entrant in plan.entrants
        for seed in plan.seeds
    ]
    outcomes = dict(zip(((j.entrant.name, j.seed) for j in jobs), _all(jobs, plan), strict=True))
    rows = [
        _row(entrant, [outcomes[entrant.name, s] for s in plan.seeds]) for entrant in plan.entrants
    ]
    rows += [
        _early_row(entrant, [outcomes[entrant.name, s] for s in plan.seeds])
        for entrant in plan.entrants
        if entrant.name in plan.early
    ]
    first = [outcomes[plan.entrants[0].name, seed] for seed in plan.seeds]
    rows.append(_trivial_row([outcome["trivial"] for outcome in first]))
    warnings = [
        f"{name}, seed {seed}: {text}"
        for (name, seed), outcome in outcomes.items()
        for text in outcome["warnings"]
    ]
    results = {row["name"]: _statistics(row["values"]) for row in rows}
    training = plan.entrants[0].config.training
    content = {
        "title": plan.title,
        "description": plan.description,
        "budget": {"steps": first[0]["steps"], "batch_size": training.batch_size},
        "seeds": plan.seeds,
        "metrics": list(first[0]["values"]),
        "rows": rows,
        "paired": _paired(rows),
        "sweep": plan.sweep,
        "examples": _examples(plan, outcomes),
        "warnings": warnings,
        "notes": plan.notes,
        "configuration": {e.name: _plain(asdict(e.config)) for e in plan.entrants},
    }
    write_json(plan.folder / "comparison.json", content)
    write_json(plan.folder / "results.json", results)
    comparison_report(plan.folder)
    return results


def _all(jobs: list[Job], plan: Plan) -> list[dict[str, Any]]:
    """The outcomes, in order, from as many processes as the plan allows."""
    done: dict[int, dict[str, Any]] = {}
    open_jobs = []
    for number, job in enumerate(jobs):
        outcome = _outcome(job)
        if outcome is None:
            open_jobs.append(number)
        else:
            done[number] = outcome
    with progress("training", len(jobs)) as show:
        show(len(done))
        if plan.processes <= 1 or len(open_jobs) <= 1:
            for number in open_jobs:
                done[number] = run_job(jobs[number])
                show(len(done), jobs[number].entrant.name)
        else:
            # one thread each: small networks lose more to a second thread than they gain
            os.environ["OMP_NUM_THREADS"] = "1"
            workers = min(plan.processes, len(open_jobs))
            with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
                futures = {pool.submit(run_job, jobs[number]): number for number in open_jobs}
                try:
                    for future in as_completed(futures):
                        done[futures[future]] = future.result()
                        show(len(done), jobs[futures[future]].entrant.name)
                except BaseException:
                    pool.shutdown(cancel_futures=True)
                    raise
    return [done[number] for number in range(len(jobs))]


def run_job(job: Job) -> dict[str, Any]:
    """Train and judge one entrant with one seed; keeps and returns the outcome."""
    from ..analysis.memorisation import Memorisation
    from ..data.stream import Scan
    from ..engine.evaluate import Evaluation, Judge, scores
    from ..engine.log import Log
    from ..engine.run import Run
    from ..metrics.summary import trivial_every_class
    from . import gallery
    from .finish import THRESHOLD
    from .saved import choose_device
    from .train import load_recipe, make_setup
    from .watch import CollapseWatch

    start = time.monotonic()
    config = job.entrant.config
    config = replace(config, training=replace(config.training, seed=job.seed))
    contest = job.arena.open(job.seed)
    inputs, test = contest.inputs, contest.test
    assert inputs.val is not None
    setup = make_setup(config, inputs, choose_device(config.model.device))

    def scan(data: Any) -> Scan:
        return setup.scan(data)

    judge = Judge(
        (Evaluation("val", scan(inputs.val)), Evaluation("test", scan(test), contest.given))
    )
    every = -(-setup.total // 10)
    if contest.clean is not None:
        images = setup.scan(inputs.train)
        judge = replace(judge, monitors=(Memorisation.of(images, contest.clean),))
        every = max(1, len(inputs.train) // config.training.batch_size)
    setup = replace(setup, judge=judge, eval_every=config.output.eval_every or every)
    watch = CollapseWatch(len(inputs.train.classes), name=f"{job.entrant.name}, seed {job.seed}")
    log = Log(job.folder / "metrics.jsonl", (watch,))
    for record in log.records:  # what a run that goes on had already seen
        watch(record)
    run = Run(job.folder, job.seed, log, quiet=True)
    algorithm = load_recipe(METHODS[config.method].recipe)(setup, config.settings, run)
    name, predictor = next(iter(algorithm.predictors().items()))
    few = test.subset(gallery.chosen(len(test), 12))
    _, shown = scores(predictor, setup.scan(few))
    history = _history(log.records, name, "test")
    values = {metric: history[-1].get(metric) for metric in METRICS}
    if contest.clean is not None:
        for kind in ("right", "wrong"):
            seen = _history(log.records, name, f"train {kind}")
            for record, more in zip(history, seen, strict=True):
                for metric in (f"{kind}_accuracy", f"{kind}_loss"):
                    record[metric] = more.get(CLEAN[metric])
        values |= _over_epochs(history)
    outcome = {
        "seconds": time.monotonic() - start,
        "steps": setup.total,
        "values": values,
        "history": history,
        "validation": _history(log.records, name, "val"),
        "warnings": watch.warnings,
        "trivial": trivial_every_class(test.labels.present()),
        "examples": gallery.examples(
            few,
            np.arange(len(few)),
            gallery.sets(shown, test.classes, THRESHOLD, predictor.link == "softmax"),
            contest.given.take(gallery.chosen(len(test), 12)) if contest.given else None,
        ),
    }
    write_json(job.folder / "outcome.json", outcome)
    for file in job.folder.glob("stages/*/snapshot.pt"):
        file.unlink()  # the outcome is what a comparison keeps; hundreds of models would fill the disk
    return outcome


def _outcome(job: Job) -> dict[str, Any] | None:
    """What an earlier attempt left, if it was the same job; an error if it was another."""
    job.folder.mkdir(parents=True, exist_ok=True)
    file, record = job.folder / "outcome.json", job.folder / "job.json"
    asked = {**_plain(asdict(job.entrant.config)), "arena": repr(job.arena), "seed": job.seed}
    if not record.exists():
        write_json(record, asked)
    try:
        found = json.loads(record.read_text())
        outcome: dict[str, Any] | None = json.loads(file.read_text()) if file.exists() else None
    except ValueError:
        raise UserError(f"{job.folder} is damaged; delete it to run this part again") from None
    if found != json.loads(json.dumps(asked)):
        raise UserError(f"{job.folder} is of a comparison with other settings; use another --out")
    return outcome


def _history(records: list[dict[str, Any]], predictor: str, data: str) -> list[dict[str, Any]]:
    """The evaluations of one predictor on one data set, steps counted over all stages.

    A stage whose predictors have other names (a teacher trained first) counts with its own first one.
    """
    ends: dict[str, int] = {}
    for record in records:
        ends[record["stage"]] = max(ends.get(record["stage"], 0), record["step"])
    starts = dict(zip(ends, itertools.accumulate([0, *ends.values()]), strict=False))
    firsts: dict[str, str] = {}
    out = []
    for record in records:
        if record["kind"] != "eval" or record["data"] != data:
            continue
        wanted = firsts.setdefault(record["stage"], record["predictor"])
        if record["predictor"] == (predictor if len(ends) == 1 else wanted):
            keep = {k: v for k, v in record.items() if isinstance(v, int | float)}
            out.append(keep | {"step": record["step"] + starts[record["stage"]]})
    return out


def _over_epochs(history: list[dict[str, Any]]) -> dict[str, float | None]:
    """The metrics of :data:`CLEAN` for a whole training. *Best* is chosen on the test images themselves,
    as papers report it: a bound on what stopping in time could give, not a result."""
    seen = [record["accuracy"] for record in history]
    last = seen[-10:]
    over = {"best": max(seen), "last": seen[-1], "mean10": math.fsum(last) / len(last)}
    return {metric: over.get(metric, history[-1].get(metric)) for metric in CLEAN}


def _row(entrant: Entrant, outcomes: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "name": entrant.name,
        "method": entrant.config.method,
        "settings": entrant.changed,
        "trivial": False,
        "values": {m: [o["values"][m] for o in outcomes] for m in outcomes[0]["values"]},
        "history": [outcome["history"] for outcome in outcomes],
        "seconds": [outcome["seconds"] for outcome in outcomes],
    }


def _early_row(entrant: Entrant, outcomes: list[dict[str, Any]]) -> dict[str, Any]:
    """The entrant as it was at its best validation mAP: what simply stopping early would give."""
    values: dict[str, list[float]] = {metric: [] for metric in METRICS}
    for outcome in outcomes:
        watched = [record.get(EARLY) or -math.inf for record in outcome["validation"]]
        at = outcome["history"][int(np.argmax(watched))]
        for metric in METRICS:
            values[metric].append(at.get(metric))
    return {
        "name": f"{entrant.name}, stopped early",
        "method": entrant.config.method,
        "settings": entrant.changed,
        "trivial": False,
        "control": "stopped at its best validation mAP",
        "values": values,
        "history": [],
        "seconds": [],
    }


def _trivial_row(numbers: list[dict[str, float]]) -> dict[str, Any]:
    return {
        "name": "every class present",
        "method": "",
        "settings": {},
        "trivial": True,
        "values": {m: [entry[m] for entry in numbers] for m in METRICS if m in numbers[0]},
        "history": [],
        "seconds": [],
    }


def _statistics(values: dict[str, list[float | None]]) -> dict[str, dict[str, float]]:
    """Mean and deviation over the seeds, fractions in percent."""
    out = {}
    for metric, per_seed in values.items():
        known = np.array([value for value in per_seed if value is not None])
        if len(known):
            known = known * (1 if metric in PLAIN else 100)
            std = float(known.std(ddof=1)) if len(known) > 1 else 0.0
            out[metric] = {"mean": float(known.mean()), "std": std, "n": len(known)}
    return out


def _paired(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Differences seed by seed with their 95% interval (Student's t), each later row to each earlier."""
    from scipy.stats import t

    out = []
    for b, a in itertools.combinations([row for row in rows if not row["trivial"]], 2):
        for metric in a["values"].keys() & b["values"].keys():
            pairs = zip(a["values"][metric], b["values"][metric], strict=True)
            known = np.array([x - y for x, y in pairs if x is not None and y is not None])
            if len(known) < 2:
                continue
            half = float(t.ppf(0.975, len(known) - 1) * known.std(ddof=1) / len(known) ** 0.5)
            mean = float(known.mean())
            entry = {"metric": metric, "a": a["name"], "b": b["name"], "mean": mean}
            out.append(entry | {"low": mean - half, "high": mean + half, "n": len(known)})
    return out


def _examples(plan: Plan, outcomes: dict[tuple[str, int], dict[str, Any]]) -> list[dict[str, Any]]:
    """The test pictures of the first seed with what each entrant (at most four) says of them."""
    shown = [entrant.name for entrant in plan.entrants[:4]]
    each = {name: outcomes[name, plan.seeds[0]]["examples"] for name in shown}
    return [
        picture | {"predicted": {name: each[name][i]["predicted"] for name in shown}}
        for i, picture in enumerate(each[shown[0]])
    ]


def _assignment(text: str, flag: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not value:
        raise UserError(f"{flag} wants name=value, got {text!r}")
    return name.strip().replace("-", "_"), value


def _has(config: Config, name: str) -> bool:
    groups = (config.settings, config.training, config.model)
    return any(name in {f.name for f in fields(group)} for group in groups)


def _with(config: Config, name: str, value: str, flag: str) -> tuple[Config, Any]:
    """The configuration with one setting changed, and the parsed value."""
    for group in ("settings", "training", "model"):
        old = getattr(config, group)
        if name in {f.name for f in fields(old)}:
            parsed = parse(value, get_type_hints(type(old))[name], f"{flag} {name}")
            return replace(config, **{group: replace(old, **{name: parsed})}), parsed
    raise KeyError(name)


def _apply(configs: list[Config], name: str, value: str, flag: str) -> list[Config]:
    method, _, setting = name.rpartition(".")
    chosen = [not method or c.method.replace("-", "_") == method for c in configs]
    hit = [use and _has(c, setting) for c, use in zip(configs, chosen, strict=True)]
    if not any(hit):
        known = sorted(
            {f.name for c in configs for g in (c.settings, c.training) for f in fields(g)}
        )
        raise UserError(f"{flag}: no method here has a setting {name!r}{closest(setting, known)}")
    return [
        _with(c, setting, value, flag)[0] if use else c for c, use in zip(configs, hit, strict=True)
    ]


def _job_folder(folder: Path, entrant: Entrant, seed: int) -> Path:
    safe = "".join(ch if ch.isalnum() or ch in "=.-_" else "-" for ch in entrant.name)
    return folder / "runs" / f"{safe}-seed{seed}"


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(values, default=str))  # type: ignore[no-any-return]
