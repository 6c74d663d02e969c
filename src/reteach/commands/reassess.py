"""Models judged by original and reassessed labels, from score tables alone: numbers and a page.

``reteach evaluate scores/*.parquet --labels real.parquet --original labels.csv --report page.html``
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..analysis.mistakes import read_verdicts, summarize
from ..analysis.progress import Transfer, progress
from ..analysis.reassess import ModelResult, Reassessment
from ..analysis.reassess import reassess as judge
from ..errors import UserError
from ..labels import Multi, Single
from ..progress import progress as show
from ..scores.classes import common_classes, read_classes
from ..spreadsheet import from_csv
from ..tables import LabelTable, read_labels
from .propose import open_tables, used_classes

Points = NDArray[np.float64]


def reassess(
    scores: Sequence[Path],
    labels: Path,
    original: Path,
    *,
    report: Path | None = None,
    classes: Path | None = None,
    exclude: Path | None = None,
    results: tuple[Path, Path] | None = None,
    verdicts: Path | None = None,
    k: int = 3,
    ensemble: int = 3,
) -> Iterator[str]:
    """Judge models and write the page; yields the lines to print.

    Args:
        scores: score tables, one per model.
        labels: the reassessed label sets; an empty set counts for original accuracy only.
        original: single labels, for at least the same items.
        report: where the HTML page goes; default: none.
        classes: class list, where the score tables hold none.
        exclude: class names that are never called ambiguous, e.g. fine-grained animals.
        results: two CSVs with columns ``model, top1``, by original and by reassessed labels, of
            further models for the regression of progress.
        verdicts: a CSV of the study of remaining mistakes, see
            :func:`reteach.analysis.mistakes.read_verdicts`.
        k: predictions per image to judge.
        ensemble: add up the logits of the best so many models.

    Raises:
        UserError: scores of unequal classes, unknown items, and other faults of the files.
    """
    tables = open_tables(tuple(scores))
    sets, singles = read_labels(labels, kind="multi"), read_labels(original, kind="single")
    given = None if classes is None else read_classes(classes)
    names = list(dict.fromkeys([*used_classes(sets), *used_classes(singles)]))
    common = common_classes(list(tables.values()), names, given)
    true = sets.labels.reorder(common, what=str(labels))
    given_labels = _originals(singles, sets.items, original).reorder(common, what=str(original))
    assert isinstance(true, Multi)
    skipped = None if exclude is None else _mask(exclude, common)
    published = None if results is None else _results(*results)
    mistakes = [] if verdicts is None else summarize(read_verdicts(verdicts))

    found = judge(
        tables,
        sets.items,
        true,
        given_labels,
        k=k,
        ensemble=ensemble,
        exclude=skipped,
        watch=show,
    )
    yield from _lines(found)
    further = None
    if published is not None:
        further = progress(published[0], published[1])
        yield f"progress over {len(published[0])} published models: {slopes(further)}"
    if report is not None:
        from ..report.pages.reassess import write_reassessment

        write_reassessment(report, found, published, further, mistakes)
        yield f"report: {report}"


def slopes(found: Transfer) -> str:
    """The two slopes and their test in words."""
    p = "p < 0.001" if found.p < 0.001 else f"p = {found.p:.3f}"
    return (
        f"slope {found.earlier.slope:.2f} ± {found.earlier.error:.2f} in the earlier half, "
        f"{found.later.slope:.2f} ± {found.later.error:.2f} in the later; Z = {found.z:.1f}, {p}"
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
        yield f"progress over {n} models: {slopes(found.progress)}"


def _line(model: ModelResult, width: int) -> str:
    apart = model.disagreement
    share = f"{apart.share:.1%} of {apart.model + apart.label:,}"
    return (
        f"{model.name:{width}}  {model.original.value:>8.2%}  {model.reassessed.value:>10.2%}  "
        f"{share if apart.model + apart.label else '-'}"
    )


def _originals(table: LabelTable, items: tuple[str, ...], path: Path) -> Single:
    """The original labels of the items, in their order; the table may have further items."""
    assert isinstance(table.labels, Single)
    position = {item: row for row, item in enumerate(table.items)}
    missing = [item for item in items if item not in position]
    if missing:
        raise UserError(
            f"{path}: {len(missing)} of {len(items)} items have no original label, "
            f"first: {missing[0]!r}"
        )
    return table.labels.take(np.array([position[item] for item in items], np.int64))


def _mask(path: Path, classes: tuple[str, ...]) -> NDArray[np.bool_]:
    names = read_classes(path)
    unknown = next((name for name in names if name not in set(classes)), None)
    if unknown is not None:
        raise UserError(f"{path}: no class is called {unknown!r}")
    return np.isin(np.array(classes), np.array(names))


def _results(original: Path, reassessed: Path) -> tuple[Points, Points, list[str]]:
    """Accuracies in percent of the models that both tables have, and their names."""
    one, two = _top1(original), _top1(reassessed)
    names = [name for name in one if name in two]
    if not names:
        raise UserError(f"{original} and {reassessed} have no model in common")
    return np.array([one[n] for n in names]), np.array([two[n] for n in names]), names


def _top1(path: Path) -> dict[str, float]:
    header, rows = from_csv(path, "table of results")
    if not {"model", "top1"} <= set(header):
        raise UserError(f"{path}: needs the columns 'model' and 'top1'")
    try:
        return {row["model"]: float(row["top1"]) for _, row in rows}
    except ValueError:
        raise UserError(f"{path}: a 'top1' is not a number") from None
