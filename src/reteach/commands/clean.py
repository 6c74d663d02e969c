"""``reteach relabel clean``: folds, held-out scores, a rule, and what comes of it on disk."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, final, get_args

import numpy as np

from ..compare.variants import variants
from ..data.dataset import Dataset
from ..data.sources.base import Source, features_of
from ..duplicates.looks import definition
from ..engine import distributed
from ..engine.run import Run
from ..errors import Interrupted, UserError
from ..files import write_json
from ..frames import TableFile
from ..inline import InNotebook
from ..labels import Rows, Single, as_multi
from ..methods.clean import held_out_scores
from ..methods.clean_judges import JUDGES, Judge, early_learning_of
from ..options.methods import METHODS
from ..options.relabel import CleanOptions
from ..options.shared import Data, Output
from ..relabel.noise import clean as rules
from ..relabel.noise.balance import balance
from ..report.pages.label_issues import Cleaning, RuleOutcome, Suspect, write_suspects
from ..runs.checkpoint import choose_device
from ..runs.config import Config, with_network
from ..runs.folder import open_run_folder, writing_run
from ..runs.folds import split_of
from ..runs.gallery import data_url
from ..runs.inputs import Inputs, open_inputs
from ..runs.setup import load_recipe, make_setup
from ..scores.table import ScoreWriter
from ..tables import LabelTable, read_labels, write_labels
from ..unreadable import Unreadable

_CHOICES = 3


@final
@dataclass(frozen=True)
class CleanResult(InNotebook, TableFile):
    """What was kept, and what each rule would have dropped.

    Args:
        out: label table of what is kept.
        scores: score table of the held-out scores.
        report: the page of the most doubtful labels.
        numbers: the JSON file.
        labels: images with a label that could be read.
        kept: those that keep it.
        folds: K.
        copies: images that were kept in the fold of another one.
        rules: every rule; one of them is chosen.
        unreadable: what could not be read.
        held_out: the scores of all classes.
    """

    out: Path
    scores: Path
    report: Path
    numbers: Path
    labels: int
    kept: int
    folds: int
    copies: int
    rules: list[RuleOutcome]
    unreadable: Unreadable
    held_out: HeldOutScores = field(repr=False, metadata={"json": False})

    @property
    def chosen(self) -> RuleOutcome:
        """The rule that decided."""
        return next(outcome for outcome in self.rules if outcome.chosen)

    def lines(self) -> Iterator[str]:
        """What held-out models confirm, the rules side by side, the noise, and the files."""
        judged = self.chosen.balance
        yield (
            f"{self.labels:,} labels in {self.folds} folds, {self.copies:,} copies beside their "
            f"originals; {judged.confirmed:.1%} of the labels are the held-out model's first choice"
        )
        yield from _table(self.rules)
        yield (
            f"estimated to be wrong: {judged.noise:.1%}, at least {judged.least:.1%}; labels that are open "
            "to doubt count among them (reteach advise gives a range)"
        )
        yield f"{self.out}: {self.kept:,} of {self.labels:,} labels kept"
        yield f"held-out scores: {self.scores}"
        yield f"suspects: {self.report}"


@final
@dataclass(frozen=True, eq=False)
class HeldOutScores:
    """N labelled images that could be read, with the scores of models that have not seen them.

    Args:
        scores: (N, C) probabilities.
        given: (N,) labels.
        copies: images that were kept in the fold of another one.
    """

    data: Dataset
    scores: rules.Scores
    given: Rows
    copies: int


def clean(options: CleanOptions) -> CleanResult:
    """Train the folds, and drop the labels that held-out models do not confirm.

    Raises:
        UserError: label sets, images that cannot be used, or a model that confirms no label.
        Interrupted: asked to stop; the same command goes on.
    """
    folder = options.folder or options.out.with_suffix("")
    config = _config(options, folder)
    device = choose_device(config.model.device)
    with distributed.group(device), writing_run(config):
        config = open_run_folder(config, folder)
        inputs = open_inputs(config.data, config.training.seed)
        try:
            held_out = _held_out(options, config, folder, inputs, device)
        except Interrupted as error:
            raise Interrupted(f"{error}; to go on, give the same command again") from None
        truth = None if options.truth is None else _truth(options.truth, held_out.data)
        chosen = _rule(options, held_out.data.source)
        keeps = {
            rule: rules.keep_rule(rule, held_out.scores, held_out.given)
            for rule in get_args(rules.Rule)
        }
        keep = keeps[chosen]
        result = CleanResult(
            options.out,
            folder / "scores.parquet",
            options.report or folder / "suspects.html",
            folder / "clean.json",
            len(held_out.given),
            int(np.count_nonzero(keep)),
            options.folds,
            held_out.copies,
            [
                RuleOutcome(
                    rule,
                    rule == chosen,
                    balance(held_out.scores, held_out.given, kept),
                    None if truth is None else _detected(kept, held_out.given, truth),
                )
                for rule, kept in keeps.items()
            ],
            Unreadable.of(folder / "quarantine.csv", inputs.quarantine),
            held_out,
        )
        if distributed.rank() == 0:
            result.unreadable.listed(folder / "quarantine.csv")
            _write(options, result, held_out, keep, truth)
    return result


def _config(options: CleanOptions, folder: Path) -> Config:
    model = with_network(options.model, options.images)
    method = variants((options.method,), model, options.training, options.set)[0][0]
    data = Data(
        images=options.images,
        labels=options.labels,
        kind=options.kind,
        classes=options.classes,
        val_fraction=0.0,
        on_error=options.on_error,
        cache=options.cache,
        workers=options.workers,
    )
    return replace(method.config, data=data, output=Output(out=folder))


def _held_out(
    options: CleanOptions, config: Config, folder: Path, inputs: Inputs, device: Any
) -> HeldOutScores:
    """Split, train, predict; what an earlier attempt has done is loaded."""
    data = inputs.train
    if not isinstance(data.labels, Single):
        raise UserError("cleaning needs one label per image, and these are label sets")
    judges = _judges(options, data.source)
    setup = make_setup(config, inputs, device, choose=False)
    run = Run(folder, config.training.seed, snapshot_seconds=config.output.snapshot_seconds)
    split = run.once(
        "split",
        lambda: split_of(data, options.folds, config),
        images=data,
        folds=options.folds,
        copies=definition(data.source),
    )
    recipe = load_recipe(METHODS[config.method].recipe)
    scores = held_out_scores(setup, recipe, config.settings, split["fold"], run, judges)
    for part in distributed.gather_objects(setup.broken):
        inputs.quarantine.update(part)
    readable = np.isfinite(scores[:, 0])
    sizes = np.bincount(split["group"])
    return HeldOutScores(
        data.subset(np.flatnonzero(readable)),
        scores[readable],
        data.labels.index[readable],
        int((sizes - 1)[sizes > 0].sum()),
    )


def _rule(options: CleanOptions, source: Source) -> rules.Rule:
    if options.rule != "auto":
        return options.rule
    return "posterior" if _learns_features(options, source) else "agreement"


def _judges(options: CleanOptions, source: Source) -> tuple[Judge, ...]:
    """Those beside the method's model."""
    features = _learns_features(options, source)
    if options.judge == "all" and not features:
        raise UserError(
            "--judge all is for features: add --pretrained --freeze, or embed the images first "
            "(reteach embed)"
        )
    if not features or options.judge == "model":
        return ()
    return (*JUDGES, early_learning_of(load_recipe(METHODS["elr"].recipe)))


def _learns_features(options: CleanOptions, source: Source) -> bool:
    """Whether features are judged: those of a table, or those that --freeze makes of photos."""
    return options.model.freeze or features_of(source) is not None


def _write(
    options: CleanOptions,
    result: CleanResult,
    held_out: HeldOutScores,
    keep: rules.Keep,
    truth: Rows | None,
) -> None:
    """The table, the scores, the page and the numbers."""
    data, scores, given = held_out.data, held_out.scores, held_out.given
    rule = result.chosen.rule
    if not keep.any():
        raise UserError(f"the rule {rule} drops every label: the model has learned nothing")
    note = f"clean: {rule}, {options.method}, {options.folds} folds"
    rows = np.flatnonzero(keep)
    kept = LabelTable(tuple(data.subset(rows).items), data.labels.take(rows), note)
    write_labels(options.out, kept, rules.self_confidence(scores, given)[rows])
    write_scores(result.scores, data, scores, given, options.top)
    write_suspects(result.report, _cleaning(options, held_out, keep, result.rules, truth))
    write_json(result.numbers, _numbers(options, result))
    if warning := result.chosen.balance.warning:
        print(f"warning: {warning}", file=sys.stderr, flush=True)


def write_scores(
    path: Path, data: Dataset, scores: rules.Scores, given: Rows, top: int, size: int = 8192
) -> None:
    """A score table of the ``top`` classes of each image and its given label."""
    names, width = data.items, scores.shape[1]
    with ScoreWriter(path, data.classes) as out:
        for start in range(0, len(names), size):
            part = scores[start : start + size]
            rank = np.argsort(-part, axis=1, kind="stable")
            wanted = np.zeros(part.shape, np.bool_)
            np.put_along_axis(wanted, rank[:, : min(top, width)], True, axis=1)
            wanted[np.arange(len(part)), given[start : start + size]] = True
            at, column = np.nonzero(wanted)
            out.write(names[start : start + size], at, column, part[at, column])


def _truth(path: Path, data: Dataset) -> Rows:
    """(N,) the true label of each image, -1 where the table does not say."""
    table = read_labels(path, kind="single", classes=data.classes)
    known = dict(zip(table.items, as_multi(table.labels).as_single().index.tolist(), strict=True))
    found = np.array([known.get(item, -1) for item in data.items], np.int64)
    if (found < 0).all():
        raise UserError(f"{path}: none of the images has a true label there")
    return found


def _detected(keep: rules.Keep, given: Rows, truth: Rows) -> rules.Detection:
    known = truth >= 0
    return rules.detection(keep[known], (given != truth)[known])


def _table(found: list[RuleOutcome]) -> Iterator[str]:
    known = any(outcome.detection for outcome in found)
    yield f"  {'rule':12} {'dropped':>8}" + ("  precision  recall     F1" if known else "")
    for outcome in found:
        line = f"{'*' if outcome.chosen else ' '} {outcome.rule:12} {outcome.balance.removed:8.1%}"
        if outcome.detection is not None:
            d = outcome.detection
            line += f"  {d.precision:9.1%}  {d.recall:6.1%}  {d.f1:5.3f}"
        yield line


def _numbers(options: CleanOptions, result: CleanResult) -> dict[str, Any]:
    judged = result.chosen.balance
    return {
        "method": options.method,
        "folds": result.folds,
        "rule": result.chosen.rule,
        "labels": result.labels,
        "copies": result.copies,
        "confirmed": judged.confirmed,
        "estimated_noise": judged.noise,
        "least_noise": judged.least,
        "warning": judged.warning,
        "rules": {
            outcome.rule: {"removed": outcome.balance.removed}
            | ({} if outcome.detection is None else _shares(outcome.detection))
            for outcome in result.rules
        },
    }


def _shares(detection: rules.Detection) -> dict[str, float]:
    return {"precision": detection.precision, "recall": detection.recall, "f1": detection.f1}


def _cleaning(
    options: CleanOptions,
    held_out: HeldOutScores,
    keep: rules.Keep,
    found: list[RuleOutcome],
    truth: Rows | None,
) -> Cleaning:
    data, scores, given = held_out.data, held_out.scores, held_out.given
    width = scores.shape[1]
    pair = given[~keep] * width + scores[~keep].argmax(1)
    rows = rules.ranked(scores, given, keep)[: options.pictures]
    return Cleaning(
        n=len(given),
        rules=found,
        classes=data.classes,
        counts=np.bincount(given, minlength=width),
        dropped=np.bincount(pair, minlength=width * width).reshape(width, width),
        suspects=[_suspect(held_out, row, truth) for row in rows.tolist()],
        about=[
            ("Judged by", _judged_by(options, data)),
            ("Folds", str(options.folds)),
            ("Copies kept together", f"{held_out.copies:,}"),
            ("Copies are", definition(data.source)),
            ("Images", options.images),
        ],
    )


def _judged_by(options: CleanOptions, data: Dataset) -> str:
    others = [judge.__name__.replace("_", " ") for judge in _judges(options, data.source)]
    return (
        options.method
        if not others
        else f"the geometric mean of {options.method}, {', '.join(others[:-1])} and {others[-1]}"
    )


def _suspect(held_out: HeldOutScores, row: int, truth: Rows | None) -> Suspect:
    data, scores = held_out.data, held_out.scores[row]
    given = int(held_out.given[row])
    best = np.argsort(-scores, kind="stable")[:_CHOICES].tolist()
    true = -1 if truth is None else int(truth[row])
    return Suspect(
        data.source.items[int(data.rows[row])],
        data_url(data.source.read(int(data.rows[row]))) or None,
        (data.classes[given], float(scores[given])),
        [(data.classes[c], float(scores[c])) for c in best],
        data.classes[true] if true >= 0 else None,
    )
