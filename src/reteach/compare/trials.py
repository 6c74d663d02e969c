"""One entrant with one seed: trained, judged, and its outcome kept.

An outcome that is there is never computed again, and a training that was interrupted goes on.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np

from .. import own, storage
from ..errors import UserError
from ..files import make_folder, write_json
from ..labels import LabelSet, Multi, Single
from ..metrics.registry import View, shown
from ..options.methods import METHODS
from ..options.shared import Data, Model, Training
from ..processes import WorkerFailure, WorkerPool
from ..progress import about, progress
from ..recorded import NAMES
from ..records.comparisons import TRIAL, TrialResult
from ..sealed import Damaged, digest
from ..structured import parse_json
from .data import ComparisonSpec, relabelled
from .variants import Variant

if TYPE_CHECKING:
    from ..engine.collapse import CollapseWatch


@final
@dataclass(frozen=True)
class Trial:
    """One entrant with one seed."""

    variant: Variant
    arena: ComparisonSpec
    seed: int
    folder: Path


def finished(trials: list[Trial], processes: int) -> list[TrialResult]:
    """The outcomes, in order, from as many processes as the plan allows."""
    done: dict[int, TrialResult] = {}
    open_jobs = []
    contents: dict[ComparisonSpec, str] = {}
    for number, trial in enumerate(trials):
        if trial.arena not in contents:
            contents[trial.arena] = trial.arena.content()
        outcome = _kept(trial, contents[trial.arena])
        if outcome is None:
            open_jobs.append(number)
        else:
            done[number] = outcome
    with progress("training", len(trials)) as on_progress:
        on_progress(len(done))
        if processes <= 1 or len(open_jobs) <= 1:
            for number in open_jobs:
                done[number] = run_trial(trials[number])
                on_progress(len(done), trials[number].variant.name)
        else:
            for number, found in _in_processes(trials, open_jobs, processes):
                done[number] = found
                on_progress(len(done), trials[number].variant.name)
    return [done[number] for number in range(len(trials))]


def _in_processes(
    trials: Sequence[Trial], numbers: Sequence[int], processes: int
) -> Iterator[tuple[int, TrialResult]]:
    """The outcomes of some trials, in the order in which they get ready."""
    # one thread each: small networks lose more to a second thread than they gain
    os.environ["OMP_NUM_THREADS"] = "1"
    with WorkerPool(
        _Trials(tuple(trials), dict(own.current())), numbers, processes, trainings=True
    ) as pool:
        while pool.workers:
            for number, outcome in pool.results():
                if isinstance(outcome, WorkerFailure):
                    trial = trials[number]
                    raise UserError(
                        f"the process of {trial.variant.name}, seed {trial.seed}, ended by itself "
                        f"({outcome.how}; out of memory?): try fewer --processes; what is finished is kept"
                    )
                yield number, outcome


@final
@dataclass(frozen=True)
class _Trials:
    """number -> the outcome of that trial; travels to worker processes."""

    trials: tuple[Trial, ...]
    objects: dict[str, own.Own]

    def __call__(self, number: int) -> TrialResult:
        with own.given(self.objects):
            return run_trial(self.trials[number])


def run_trial(trial: Trial) -> TrialResult:
    """Train and judge one entrant with one seed; keeps and returns the outcome."""
    from ..analysis.memorisation import Memorisation
    from ..data.loading.stream import Scan
    from ..engine.collapse import Collapsed
    from ..engine.evaluate import Evaluation, Evaluator, scores
    from ..engine.log import Log
    from ..engine.run import Run
    from ..runs import gallery
    from ..runs.checkpoint import choose_device
    from ..runs.evaluate import THRESHOLD
    from ..runs.setup import load_recipe, make_setup, usual_resize

    start = time.monotonic()
    config = trial.variant.config
    contest = trial.arena.open(trial.seed)
    # all see the test images alike, also those who learn from label sets in place of single labels
    resize = usual_resize(contest.inputs.train)
    if trial.variant.labels is not None:
        contest = relabelled(contest, trial.variant.labels)
    training = replace(config.training, seed=trial.seed)
    config = replace(config, training=training, data=contest.data)
    inputs, test = contest.inputs, contest.test
    assert inputs.val is not None
    title = f"{trial.variant.name}, seed {trial.seed}"
    device = choose_device(config.model.device)
    with about(title):
        setup = make_setup(config, inputs, device, resize=resize, folder=trial.folder)

    def scan(data: Any) -> Scan:
        return setup.scan(data)

    tested = Evaluation("test", scan(test), contest.given)
    judge = Evaluator((Evaluation("val", scan(inputs.val)), tested))
    every = -(-setup.total // 10)
    if contest.clean is not None:
        images = setup.scan(inputs.train)
        judge = replace(judge, monitors=(Memorisation.of(images, contest.clean),))
        every = max(1, setup.per_epoch // config.training.batch_size)
    setup = replace(setup, judge=judge, eval_every=config.output.eval_every or every)
    log = Log(trial.folder / "metrics.jsonl")
    run = Run(trial.folder, trial.seed, log, quiet=True, title=title)
    collapsed = False
    try:
        algorithm = load_recipe(METHODS[config.method].recipe)(setup, config.settings, run)
    except Collapsed as error:  # is shown as such beside the others, with what it ended in
        run.warn(str(error))
        algorithm, collapsed = error.algorithm, True
    name, predictor = next(iter(algorithm.predictors().items()))
    few = test.subset(gallery.sample_rows(len(test), 12))
    _, few_scores = scores(predictor, setup.scan(few))
    history = _history(log.records, name, "test")
    view = _view(inputs.train.labels, test.labels)
    kept = _kept_record(history, run.collapse)
    values = {metric: kept.get(metric) for metric in (*shown(view), *contest.also)}
    if contest.clean is not None:
        for kind in ("right", "wrong"):
            seen = _history(log.records, name, f"train {kind}")
            for record, more in zip(history, seen, strict=True):
                record[f"{kind}_accuracy"] = more.get("accuracy")
                record[f"{kind}_loss"] = more.get("cross_entropy")
        values = _over_epochs(history) | values  # what such a comparison is about comes first
    outcome = TrialResult(
        seconds=time.monotonic() - start,
        steps=setup.total,
        values=values,
        history=tuple(history),
        validation=tuple(_history(log.records, name, "val")),
        warnings=(*run.warnings, *setup.warnings),
        trivial=dict(_trivial(test.labels.take(tested.judged()))),
        examples=gallery.examples(
            few,
            np.arange(len(few)),
            gallery.predicted_sets(
                few_scores, test.classes, THRESHOLD, predictor.link == "softmax"
            ),
            contest.given.take(gallery.sample_rows(len(test), 12)) if contest.given else None,
        ),
        spared=run.spared,
        collapsed=collapsed or run.collapse is not None,
    )
    TRIAL.write(trial.folder, outcome)
    for file in trial.folder.glob("stages/*/*.pt"):
        file.unlink()  # the outcome is what a comparison keeps; hundreds of models would fill the disk
    return outcome


def _view(taught: LabelSet, judged: LabelSet) -> View:
    """What a comparison is about: single labels, label sets, or the latter learned from the former."""
    if isinstance(judged, Single) and not isinstance(taught, Multi):
        return "compare"
    return "compare/mixed" if isinstance(taught, Single) else "compare/sets"


def _trivial(labels: LabelSet) -> dict[str, float]:
    """The numbers of the answer that needs no model, on the images whose set is known."""
    from ..metrics.summary import trivial_every_class

    return trivial_every_class(labels.present(), known=labels.known_entries())


def _kept(trial: Trial, content: str) -> TrialResult | None:
    """What an earlier attempt left, if it was the same job; an error if it was another.

    Args:
        content: of the arena.
    """
    make_folder(trial.folder)
    record = trial.folder / "job.json"
    asked = {
        **plain(asdict(trial.variant.config)),
        "arena": _arena(trial.arena),
        "seed": trial.seed,
    }
    if trial.variant.labels is not None:
        asked["labels"] = str(trial.variant.labels)
        content += digest(trial.variant.labels) if trial.variant.labels.is_file() else ""
    asked["content"] = content
    if not record.exists():
        write_json(record, asked)
    try:
        found = parse_json(record.read_bytes())
        outcome = TRIAL.read(trial.folder)
    except (ValueError, Damaged):
        raise UserError(f"{trial.folder} is damaged; delete it to run this part again") from None
    if "content" not in found:
        print(
            f"warning: an earlier version made {trial.folder} and kept nothing of its inputs: what has "
            "changed in them since cannot be noticed",
            file=sys.stderr,
        )
        del asked["content"]
    elif found["content"] != content:
        raise UserError(
            f"images or labels are not what they were when {trial.folder} was made: put the old files "
            "back, or use another --out"
        )
    if isinstance(found.get("arena"), str):  # earlier versions wrote how Python prints it
        asked["arena"] = repr(trial.arena)
    else:
        _fill(found.get("arena", {}))
    _fill(found)
    if found != plain(asked):
        raise UserError(f"{trial.folder} is of a comparison with other settings; use another --out")
    return outcome


def _arena(arena: Any) -> dict[str, Any]:
    """The settings of a :class:`ComparisonSpec`, all of which are dataclasses."""
    compared = {f.name for f in fields(arena) if f.compare}
    settings = {k: v for k, v in asdict(arena).items() if k in compared}
    return {"kind": type(arena).__name__, **plain(settings)}


def _fill(found: dict[str, Any]) -> None:
    """Settings that earlier versions did not have stand for what they did."""
    for part, kind in (("data", Data), ("model", Model), ("training", Training)):
        if isinstance(found.get(part), dict):
            found[part] = {**NAMES[kind].since, **found[part]}


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


def _kept_record(history: list[dict[str, Any]], collapse: CollapseWatch | None) -> dict[str, Any]:
    """The evaluation of the model that was kept: the last, or an earlier one of a stage that collapsed."""
    if collapse is None:
        return history[-1]
    step = history[-1]["step"] - (collapse.seen - collapse.step)
    return next(record for record in history if record["step"] == step)


def _over_epochs(history: list[dict[str, Any]]) -> dict[str, float | None]:
    """What a comparison with true labels at hand also says of a whole training: the best, the last and the
    mean of the last ten test accuracies (one per epoch), and how well training images are fitted whose label
    is right, or wrong. *Best* is chosen on the test images themselves, as papers report it: a bound on what
    stopping in time could give, not a result."""
    seen = [record["accuracy"] for record in history]
    last = seen[-10:]
    over = {"best": max(seen), "last": seen[-1], "mean10": math.fsum(last) / len(last)}
    return {metric: over.get(metric, history[-1].get(metric)) for metric in shown("compare/clean")}


def trial_folder(folder: Path, variant: Variant, seed: int) -> Path:
    safe = "".join(ch if ch.isalnum() or ch in "=.-_" else "-" for ch in variant.name)
    return folder / "runs" / f"{safe}-seed{seed}"


def plain(values: dict[str, Any]) -> dict[str, Any]:
    return parse_json(storage.shown(json.dumps(values, default=str)))  # type: ignore[no-any-return]
