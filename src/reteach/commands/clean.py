"""``reteach relabel clean``: folds, held-out scores, a rule, and what comes of it on disk."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, final, get_args

import numpy as np

from ..compare.variants import variants
from ..data.dataset import Dataset
from ..data.loading.quarantine import write_csv
from ..duplicates.thumbnails import DEFINITION
from ..engine import distributed
from ..engine.run import Run
from ..errors import Interrupted, UserError
from ..files import write_json
from ..labels import Rows, Single, as_multi
from ..methods.clean import held_out_scores
from ..options import shared as options
from ..options.methods import METHODS
from ..relabel.noise import clean as rules
from ..report.pages.label_issues import Cleaning, RuleOutcome, Suspect, write_suspects
from ..runs import gallery
from ..runs.checkpoint import choose_device
from ..runs.config import Config
from ..runs.folder import open_run_folder
from ..runs.folds import split_of
from ..runs.inputs import Inputs, open_inputs
from ..runs.setup import load_recipe, make_setup
from ..scores.table import ScoreWriter
from ..tables import LabelTable, read_labels, write_labels

if TYPE_CHECKING:
    from ..options.clean import CleanOptions

_CHOICES = 3


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


def clean(command: CleanOptions) -> Iterator[str]:
    """Do it; yields the lines to print."""
    folder = command.folder or command.out.with_suffix("")
    config = _config(command, folder)
    device = choose_device(config.model.device)
    with distributed.group(device):
        config = open_run_folder(config, folder)
        inputs = open_inputs(config.data, config.training.seed)
        try:
            judged = _judge(command, config, folder, inputs, device)
        except Interrupted as error:
            raise Interrupted(f"{error}; to go on, give the same command again") from None
        if distributed.rank() > 0:
            return
        write_csv(folder / "quarantine.csv", sorted(inputs.quarantine.items()))
        yield from _results(command, folder, judged)


def _config(command: CleanOptions, folder: Path) -> Config:
    method = variants((command.method,), command.model, command.training, command.set)[0][0]
    data = options.Data(
        images=command.images,
        labels=command.labels,
        kind=command.kind,
        classes=command.classes,
        val_fraction=0.0,
        on_error=command.on_error,
        cache=command.cache,
        workers=command.workers,
    )
    return replace(method.config, data=data, output=options.Output(out=folder))


def _judge(
    command: CleanOptions, config: Config, folder: Path, inputs: Inputs, device: Any
) -> HeldOutScores:
    """Split, train, predict; what an earlier attempt has done is loaded."""
    data = inputs.train
    if not isinstance(data.labels, Single):
        raise UserError("cleaning needs one label per image, and these are label sets")
    setup = make_setup(config, inputs, device)
    run = Run(folder, config.training.seed, snapshot_seconds=config.output.snapshot_seconds)
    split = run.once(
        "split",
        lambda: split_of(data, command.folds, config),
        images=data,
        folds=command.folds,
        copies=DEFINITION,
    )
    recipe = load_recipe(METHODS[config.method].recipe)
    scores = held_out_scores(setup, recipe, config.settings, split["fold"], run)
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


def _results(command: CleanOptions, folder: Path, judged: HeldOutScores) -> Iterator[str]:
    """Apply the rule and write the table, the scores, the numbers and the page."""
    data, scores, given = judged.data, judged.scores, judged.given
    truth = None if command.truth is None else _truth(command.truth, data)
    keeps = {rule: rules.keep_rule(rule, scores, given) for rule in get_args(rules.Rule)}
    found = [
        RuleOutcome(
            rule,
            rule == command.rule,
            rules.balance(scores, given, keep),
            None if truth is None else _detected(keep, given, truth),
        )
        for rule, keep in keeps.items()
    ]
    keep = keeps[command.rule]
    if not keep.any():
        raise UserError(f"the rule {command.rule} drops every label: the model has learned nothing")
    balance = next(outcome.balance for outcome in found if outcome.chosen)
    yield (
        f"{len(given):,} labels in {command.folds} folds, {judged.copies:,} copies beside their "
        f"originals; {balance.confirmed:.1%} of the labels are the held-out model's first choice"
    )
    yield from _table(found)
    yield f"estimated to be wrong: {balance.noise:.1%}"
    note = f"clean: {command.rule}, {command.method}, {command.folds} folds"
    rows = np.flatnonzero(keep)
    kept = LabelTable(tuple(data.subset(rows).items), data.labels.take(rows), note)
    write_labels(command.out, kept, rules.self_confidence(scores, given)[rows])
    yield f"{command.out}: {len(rows):,} of {len(given):,} labels kept"
    write_scores(folder / "scores.parquet", data, scores, given, command.top)
    yield f"held-out scores: {folder / 'scores.parquet'}"
    page = command.report or folder / "suspects.html"
    write_suspects(page, _cleaning(command, judged, keep, found, truth))
    yield f"suspects: {page}"
    write_json(folder / "clean.json", _numbers(command, judged, found, balance))
    if balance.warning:
        print(f"warning: {balance.warning}", file=sys.stderr, flush=True)


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


def _numbers(
    command: CleanOptions, judged: HeldOutScores, found: list[RuleOutcome], balance: rules.Balance
) -> dict[str, Any]:
    return {
        "method": command.method,
        "folds": command.folds,
        "rule": command.rule,
        "labels": len(judged.given),
        "copies": judged.copies,
        "confirmed": balance.confirmed,
        "estimated_noise": balance.noise,
        "least_noise": balance.least,
        "warning": balance.warning,
        "rules": {
            outcome.rule: {"removed": outcome.balance.removed}
            | (
                {}
                if (d := outcome.detection) is None
                else {"precision": d.precision, "recall": d.recall, "f1": d.f1}
            )
            for outcome in found
        },
    }


def _cleaning(
    command: CleanOptions,
    judged: HeldOutScores,
    keep: rules.Keep,
    found: list[RuleOutcome],
    truth: Rows | None,
) -> Cleaning:
    data, scores, given = judged.data, judged.scores, judged.given
    width = scores.shape[1]
    pair = given[~keep] * width + scores[~keep].argmax(1)
    rows = rules.ranked(scores, given, keep)[: command.pictures]
    return Cleaning(
        n=len(given),
        rules=found,
        classes=data.classes,
        counts=np.bincount(given, minlength=width),
        dropped=np.bincount(pair, minlength=width * width).reshape(width, width),
        suspects=[_suspect(judged, row, truth) for row in rows.tolist()],
        about=[
            ("Method", command.method),
            ("Folds", str(command.folds)),
            ("Copies kept together", f"{judged.copies:,}"),
            ("Images", command.images),
        ],
    )


def _suspect(judged: HeldOutScores, row: int, truth: Rows | None) -> Suspect:
    data, scores = judged.data, judged.scores[row]
    given = int(judged.given[row])
    best = np.argsort(-scores, kind="stable")[:_CHOICES].tolist()
    true = -1 if truth is None else int(truth[row])
    return Suspect(
        data.source.items[int(data.rows[row])],
        gallery.data_url(data.source.read(int(data.rows[row]))),
        (data.classes[given], float(scores[given])),
        [(data.classes[c], float(scores[c])) for c in best],
        data.classes[true] if true >= 0 else None,
    )
