"""The work of ``reteach relabel propose``: score tables in, proposals out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..item_index import ItemIndex, rows_among
from ..labels import Single
from ..progress import progress
from ..relabel.raters import model_subsets as subsets
from ..relabel.raters.propose import Nominations, nominate, support
from ..relabel.raters.propose import propose as pool
from ..scores.classes import common_classes, read_classes
from ..scores.table import open_tables
from ..tables import LabelTable, read_labels

if TYPE_CHECKING:
    from ..options.relabel import ProposeOptions


def propose(command: ProposeOptions) -> Iterator[str]:
    """Do it; yields the lines to print."""
    if command.report is not None and command.gold is None:
        raise UserError("--report shows the subsets of the models: it needs --gold")
    tables = open_tables(command.scores)
    table = read_labels(command.labels, kind="single")
    given = None if command.classes is None else read_classes(command.classes)
    classes = common_classes(list(tables.values()), table.used_classes(), given)
    labels = table.labels.reorder(classes, what=str(command.labels))
    assert isinstance(labels, Single)
    gold = None if command.gold is None else _gold(command.gold, table, classes)

    index = ItemIndex(table.items, closed=True)
    models: dict[str, Nominations] = {}
    for name, scores in tables.items():
        with progress(name, scores.rows) as tell:
            models[name] = nominate(scores, index, classes, command.per_item, tell)
    if gold is not None:
        found, best = _best_subset(models, gold, table.items, labels.index, command.recall)
        names = list(models)
        chosen = [names[m] for m in subsets.members(best)]
        everyone = len(found.recall) - 1
        yield (
            f"{len(names)} models: recall {found.recall[everyone]:.1%}, "
            f"precision {found.precision[everyone]:.1%} on {len(gold.items)} gold items"
        )
        yield (
            f"{len(chosen)} of them: recall {found.recall[best]:.1%}, "
            f"precision {found.precision[best]:.1%}: {', '.join(chosen)}"
        )
        if command.report is not None:
            from ..report.pages.model_subsets import write_subsets

            write_subsets(command.report, found, names, best, command.recall)
            yield f"report: {command.report}"
        models = {name: models[name] for name in chosen}
    proposals = pool(models, list(table.items), list(classes), labels.index)
    proposals.write(command.out)
    agreed = int(proposals.agreed().sum())
    yield (
        f"{len(proposals.pair_item):,} proposals for {len(table.items):,} items; "
        f"on {agreed:,} all models agree with the label, {len(table.items) - agreed:,} to rate"
    )
    yield f"proposals: {command.out}"


def _gold(path: Path, table: LabelTable, classes: tuple[str, ...]) -> LabelTable:
    gold = read_labels(path, kind="multi", classes=classes)
    known = set(table.items)
    foreign = next((item for item in gold.items if item not in known), None)
    if foreign is not None:
        raise UserError(f"{path}: gold item {foreign!r} is not among the original labels")
    return gold


def _best_subset(
    models: dict[str, Nominations],
    gold: LabelTable,
    items: tuple[str, ...],
    original: NDArray[np.int64],
    recall: float,
) -> tuple[subsets.Subsets, int]:
    """Every subset's precision and recall on all pairs of the gold items, and the best one."""
    width = gold.labels.num_classes
    rows = rows_among(gold.items, items)
    within = np.zeros(len(items), np.bool_)
    within[rows] = True

    at, columns, _ = gold.labels.pairs()
    true = rows[at] * width + columns
    given = (rows * width + original[rows])[original[rows] >= 0]
    keys = [true, given]
    for model in models.values():
        keys += [listed[within[listed // width]] for listed in (model.by_score, model.by_logit)]
        keys.append(rows * width + model.first[rows])
    pairs = np.unique(np.concatenate(keys))
    found = subsets.search(
        support(list(models.values()), pairs, width), np.isin(pairs, given), np.isin(pairs, true)
    )
    return found, found.best(recall)
