"""``reteach relabel propose``: score tables in, proposals out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..frames import TableFile
from ..inline import InNotebook
from ..item_index import ItemIndex, rows_among
from ..labels import Single
from ..options.relabel import ProposeOptions
from ..progress import progress
from ..relabel.raters import model_subsets as subsets
from ..relabel.raters.propose import Nominations, nominate, support
from ..relabel.raters.propose import propose as pool
from ..scores.classes import common_classes, read_classes
from ..scores.table import open_tables
from ..tables import LabelTable, read_labels


@final
@dataclass(frozen=True)
class ModelSubset:
    """Models on gold items.

    Args:
        models: their names.
        recall: share of the gold labels that they propose.
        precision: share of their proposals that are gold labels.
    """

    models: list[str]
    recall: float
    precision: float


@final
@dataclass(frozen=True)
class ProposeResult(InNotebook, TableFile):
    """The proposals that were written.

    Args:
        out: their table.
        report: the page of the subsets of the models, where it was asked for.
        proposals: pairs of item and class.
        items: with a label of their own.
        agreed: those on which all models agree with it.
        gold_items: items by which subsets were judged.
        all_models: on the gold items; None without gold.
        subset: the models that were taken, on the gold items.
    """

    out: Path
    report: Path | None
    proposals: int
    items: int
    agreed: int
    gold_items: int = 0
    all_models: ModelSubset | None = None
    subset: ModelSubset | None = None

    def lines(self) -> Iterator[str]:
        """The models that were taken, how many proposals they make, and the files."""
        if (whole := self.all_models) is not None and (taken := self.subset) is not None:
            yield (
                f"{len(whole.models)} models: recall {whole.recall:.1%}, "
                f"precision {whole.precision:.1%} on {self.gold_items} gold items"
            )
            yield (
                f"{len(taken.models)} of them: recall {taken.recall:.1%}, "
                f"precision {taken.precision:.1%}: {', '.join(taken.models)}"
            )
        if self.report is not None:
            yield f"report: {self.report}"
        yield (
            f"{self.proposals:,} proposals for {self.items:,} items; on {self.agreed:,} all models "
            f"agree with the label, {self.items - self.agreed:,} to rate"
        )
        yield f"proposals: {self.out}"


def propose(options: ProposeOptions) -> ProposeResult:
    """Collect the classes that raters are to be asked about.

    Raises:
        UserError: score tables that do not fit the labels, or a setting out of range.
    """
    if options.report is not None and options.gold is None:
        raise UserError("--report shows the subsets of the models: it needs --gold")
    tables = open_tables(options.scores)
    table = read_labels(options.labels, kind="single")
    given = None if options.classes is None else read_classes(options.classes)
    classes = common_classes(list(tables.values()), table.used_classes(), given)
    labels = table.labels.reorder(classes, what=str(options.labels))
    assert isinstance(labels, Single)
    gold = None if options.gold is None else _gold(options.gold, table, classes)

    index = ItemIndex(table.items, closed=True)
    models: dict[str, Nominations] = {}
    for name, scores in tables.items():
        with progress(name, scores.rows) as on_progress:
            models[name] = nominate(scores, index, classes, options.per_item, on_progress)
    whole = subset = None
    if gold is not None:
        found, best = _best_subset(models, gold, table.items, labels.index, options.recall)
        names = list(models)
        whole, subset = _subset(found, len(found.recall) - 1, names), _subset(found, best, names)
        if options.report is not None:
            from ..report.pages.model_subsets import write_subsets

            write_subsets(options.report, found, names, best, options.recall)
        models = {name: models[name] for name in subset.models}
    proposals = pool(models, list(table.items), list(classes), labels.index)
    proposals.write(options.out)
    return ProposeResult(
        options.out,
        options.report,
        len(proposals.pair_item),
        len(table.items),
        int(proposals.agreed().sum()),
        0 if gold is None else len(gold.items),
        whole,
        subset,
    )


def _subset(found: subsets.Subsets, number: int, names: list[str]) -> ModelSubset:
    members = [names[m] for m in subsets.members(number)]
    return ModelSubset(members, float(found.recall[number]), float(found.precision[number]))


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
    items: Sequence[str],
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
