"""Models judged by original and reassessed labels, from score tables alone: numbers and a page.

``reteach evaluate scores/*.parquet --labels real.parquet --original labels.csv --report page.html``
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

import numpy as np
from numpy.typing import NDArray

from ..analysis.mistakes import read_verdicts, summarize
from ..analysis.progress import Transfer, progress, read_results
from ..analysis.reassess import ModelResult, Reassessment, reassess
from ..errors import UserError
from ..item_index import rows_among
from ..labels import Multi, Single
from ..options.runs import EvaluateOptions
from ..progress import progress as progress_bar
from ..report.pages.reassess import write_reassessment
from ..scores.classes import common_classes, read_classes
from ..scores.table import open_tables
from ..tables import LabelTable, read_labels


@final
@dataclass(frozen=True)
class ScoreEvaluation:
    """Models by both labels.

    Args:
        original: model -> share of first predictions that are the original label.
        reassessed: model -> share of first predictions that are among the reassessed labels.
        report: the page, where one was asked for.
        found: all numbers.
        published: how many further models the regression of progress is over.
        further: that regression.
    """

    original: dict[str, float]
    reassessed: dict[str, float]
    report: Path | None
    found: Reassessment = field(metadata={"json": False})
    published: int = 0
    further: Transfer | None = None

    def lines(self) -> Iterator[str]:
        """A line for each model, and how progress on the one kind of labels carries over."""
        yield from _lines(self.found)
        if self.further is not None:
            yield f"progress over {self.published} published models: {_slopes(self.further)}"
        if self.report is not None:
            yield f"report: {self.report}"


def evaluate_scores(options: EvaluateOptions) -> ScoreEvaluation:
    """Judge models and write the page. An empty set counts for original accuracy only.

    Raises:
        UserError: scores of unequal classes, unknown items, and other faults of the files.
    """
    if options.labels is None or options.original is None:
        raise UserError("score tables need --labels (reassessed) and --original (single labels)")
    how = options.score_options
    tables = open_tables(options.of)
    sets = read_labels(options.labels, kind="multi")
    singles = read_labels(options.original, kind="single")
    listed = None if how.classes is None else read_classes(how.classes)
    names = list(dict.fromkeys([*sets.used_classes(), *singles.used_classes()]))
    classes = common_classes(list(tables.values()), names, listed)
    true = sets.labels.reorder(classes, what=str(options.labels))
    original = _originals(singles, sets.items, options.original)
    assert isinstance(true, Multi)
    exclude = None if how.exclude is None else _mask(how.exclude, classes)
    published = None if how.results is None else read_results(*how.results)
    mistakes = [] if how.verdicts is None else summarize(read_verdicts(how.verdicts))
    found = reassess(
        tables,
        sets.items,
        true,
        original.reorder(classes, what=str(options.original)),
        k=how.k,
        ensemble=how.ensemble,
        exclude=exclude,
        watch=progress_bar,
    )
    further = None if published is None else progress(published[0], published[1])
    if how.report is not None:
        write_reassessment(how.report, found, published, further, mistakes)
    return ScoreEvaluation(
        {model.name: model.original.value for model in found.models},
        {model.name: model.reassessed.value for model in found.models},
        how.report,
        found,
        0 if published is None else len(published[0]),
        further,
    )


def _slopes(transfer: Transfer) -> str:
    """The two slopes and their test in words."""
    p = "p < 0.001" if transfer.p < 0.001 else f"p = {transfer.p:.3f}"
    return (
        f"slope {transfer.earlier.slope:.2f} ± {transfer.earlier.error:.2f} in the earlier half, "
        f"{transfer.later.slope:.2f} ± {transfer.later.error:.2f} in the later; Z = {transfer.z:.1f}, {p}"
    )


def _lines(found: Reassessment) -> Iterator[str]:
    width = max(len("original labels"), *(len(model.name) for model in found.models))
    yield f"{found.images:,} images, {found.unlabeled:,} of them without reassessed labels"
    yield f"{'':{width}}  original  reassessed  right against the label"
    for model in found.models:
        yield _line(model, width)
    if found.lacking is not None:
        yield (
            f"no ensemble: it needs all {len(found.classes)} classes of each image, which the table of "
            f"{found.lacking} does not have (reteach predict --top {len(found.classes)})"
        )
    yield f"{'original labels':{width}}  {'':>8}  {found.labels_accuracy.value:>10.2%}"
    if found.ambiguous:
        yield f"{len(found.ambiguous)} classes where the unbiased oracle stays below 90%"
    if found.progress is not None:
        n = found.progress.earlier.n + found.progress.later.n
        yield f"progress over {n} models: {_slopes(found.progress)}"


def _line(model: ModelResult, width: int) -> str:
    apart = model.disagreement
    share = f"{apart.share:.1%} of {apart.model + apart.label:,}"
    return (
        f"{model.name:{width}}  {model.original.value:>8.2%}  {model.reassessed.value:>10.2%}  "
        f"{share if apart.model + apart.label else '-'}"
    )


def _originals(table: LabelTable, items: Sequence[str], path: Path) -> Single:
    """The original labels of the items, in their order; the table may have further items."""
    assert isinstance(table.labels, Single)
    rows = rows_among(items, table.items)
    if missing := [items[i] for i in np.flatnonzero(rows < 0).tolist()]:
        raise UserError(
            f"{path}: {len(missing)} of {len(items)} items have no original label, "
            f"first: {missing[0]!r}"
        )
    return table.labels.take(rows)


def _mask(path: Path, classes: tuple[str, ...]) -> NDArray[np.bool_]:
    names = read_classes(path)
    unknown = next((name for name in names if name not in set(classes)), None)
    if unknown is not None:
        raise UserError(f"{path}: no class is called {unknown!r}")
    return np.isin(np.array(classes), np.array(names))
