"""Many models judged by original and by reassessed labels: the numbers of ReaL's Sections 4."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..item_index import ItemIndex
from ..labels import Multi, Single
from ..scores.table import ScoreTable
from .disagreement import Disagreement, who_is_right
from .ensembles import summed_logits
from .intervals import wilson
from .oracle import CoOccurrence, ambiguous, class_accuracy, co_occurring, oracle_accuracy
from .predictions import NOTHING, contained, top_classes
from .progress import Transfer, progress
from .quality import Share

Floats = NDArray[np.float64]
Watch = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]


@dataclass(frozen=True, eq=False)
class ModelResult:
    """One model, or an ensemble of several."""

    name: str
    original: Share
    """Share of first predictions that are the original label."""
    reassessed: Share
    """Share of first predictions that are among the reassessed labels (ReaL accuracy)."""
    kth: Floats
    """(k,) the same for the first, second, … prediction, over all images with a label; NaN where the
    table has fewer classes of some image."""
    kth_possible: Floats
    """(k,) the same over the images that have at least so many labels."""
    disagreement: Disagreement
    classes: Floats
    """(C,) original accuracy by class, on images whose original label is a reassessed one."""


@dataclass(frozen=True, eq=False)
class AmbiguousClass:
    """A class where a model without bias towards one of several right labels cannot be good."""

    index: int
    images: int
    oracle: float
    others: list[CoOccurrence]


@dataclass(frozen=True, eq=False)
class Reassessment:
    """What the report shows."""

    classes: tuple[str, ...]
    images: int
    unlabeled: int
    """Images whose reassessed set is empty; they count for original accuracy only."""
    labels_accuracy: Share
    """Share of the original labels that are among the reassessed ones."""
    models: list[ModelResult]
    """By original accuracy, the lowest first; ensembles last."""
    oracle: Floats
    """(C,) accuracy of the unbiased oracle."""
    ambiguous: list[AmbiguousClass]
    """By the oracle's accuracy, the lowest first."""
    lacking: str | None
    """The model for whose sake there is no ensemble: its table lacks classes of some images."""
    progress: Transfer | None
    """None with fewer than six models, or where the models of a half are all equally accurate."""


def reassess(
    tables: dict[str, ScoreTable],
    items: Sequence[str],
    labels: Multi,
    original: Single,
    *,
    k: int = 3,
    ensemble: int = 3,
    exclude: NDArray[np.bool_] | None = None,
    watch: Watch = lambda name, rows: nullcontext(lambda done: None),
) -> Reassessment:
    """Read every table once (those of the ensemble twice), one at a time.

    Args:
        tables: score tables by model name.
        items: the N items of both label sets, which have the same class list.
        k: predictions per image.
        ensemble: the best so many models' logits are added up; below 2, or where one of their tables
            lacks classes of an item: no ensemble.
        exclude: (C,) classes never called ambiguous, such as fine-grained animals.
        watch: given a model's name and its number of rows, a context with what to call with the
            number of rows read, such as :func:`reteach.progress.progress`.
    """
    if not 1 <= k <= labels.num_classes:
        raise UserError(f"k must lie in [1, {labels.num_classes}], got {k}")
    index = ItemIndex(items, closed=True)
    judge = _Judge(labels, original)
    found = []
    for name, table in tables.items():
        with watch(name, table.rows) as on_progress:
            found.append(judge(name, top_classes(table, index, labels.classes, k, on_progress)))
    found.sort(key=lambda model: model.original.value)
    together = []
    best = [model.name for model in found[-ensemble:]][::-1] if 2 <= ensemble <= len(found) else []
    whole = len(items) * labels.num_classes
    lacking = next((name for name in best if tables[name].rows != whole), None)
    if best and lacking is None:
        name = " + ".join(best)
        members = [tables[n] for n in best]
        with watch(name, sum(table.rows for table in members)) as on_progress:
            total = summed_logits(members, index, labels.classes, on_progress)
        top = np.argsort(-total, axis=1, kind="stable")[:, :k]
        together = [judge(name, top)]
    oracle = oracle_accuracy(original.index, labels)
    return Reassessment(
        labels.classes,
        len(labels),
        int((np.diff(labels.starts) == 0).sum()),
        judge.share(contained(labels, original.index[:, None])[:, 0], judge.both),
        found + together,
        oracle,
        _ambiguous(oracle, original, labels, exclude),
        lacking,
        _progress(found),
    )


class _Judge:
    """Turns a model's k best classes per item, (N, k), into its results."""

    def __init__(self, labels: Multi, original: Single) -> None:
        self.labels, self.original = labels, original.index
        self.count = np.diff(labels.starts)
        self.labelled = self.count > 0
        self.known = original.known()
        self.both = self.labelled & self.known

    def __call__(self, name: str, top: NDArray[np.int64]) -> ModelResult:
        hits = contained(self.labels, top)
        first = top[:, 0]
        places = np.arange(top.shape[1])
        possible = self.count[:, None] > places
        known = np.where((top[self.labelled] == NOTHING).any(0), np.nan, 1.0)
        return ModelResult(
            name,
            self.share(first == self.original, self.known),
            self.share(hits[:, 0], self.labelled),
            known * hits.sum(0) / max(int(self.labelled.sum()), 1),
            known * (hits & possible).sum(0) / np.maximum(possible.sum(0), 1),
            who_is_right(first, self.original, self.labels),
            class_accuracy(first, self.original, self.labels),
        )

    @staticmethod
    def share(hit: NDArray[np.bool_], among: NDArray[np.bool_]) -> Share:
        hits, n = int((hit & among).sum()), int(among.sum())
        low, high = wilson(hits, n)
        return Share(hits / n if n else float("nan"), float(low), float(high))


def _ambiguous(
    oracle: Floats, original: Single, labels: Multi, exclude: NDArray[np.bool_] | None
) -> list[AmbiguousClass]:
    rows = contained(labels, original.index[:, None])[:, 0]
    images = np.bincount(original.index[rows], minlength=labels.num_classes)
    return sorted(
        (
            AmbiguousClass(
                int(c),
                int(images[c]),
                float(oracle[c]),
                co_occurring(int(c), original.index, labels),
            )
            for c in ambiguous(oracle, exclude)
        ),
        key=lambda found: found.oracle,
    )


def _progress(models: list[ModelResult]) -> Transfer | None:
    original = np.array([model.original.value for model in models])
    try:
        return progress(original, np.array([model.reassessed.value for model in models]))
    except UserError:
        return None
