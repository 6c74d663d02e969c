"""All metrics of an evaluation in one pass: the columns of every table and report."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any, Protocol, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import UserError
from . import class_curves
from .accuracy import Accuracy
from .batch import Mask, Scores, check, check_known, ratio
from .calibration import TopCalibration
from .confusion import ConfusionMatrix
from .counts import CountsAt
from .f1 import ExampleF1, F1Curve, TopF1
from .ranking import MeanAveragePrecision
from .registry import REGISTRY, Metric
from .score_buffer import LIMIT, ScoreBuffer, pack

_TOP = 5
AT = (0.5, 0.8)
"""Thresholds of CP … OF1; the rows of single classes are at the first."""


class Meter(Protocol):
    """What measures a metric of the registry."""

    def update(
        self, scores: ArrayLike, truth: ArrayLike, known: ArrayLike | None = None, /
    ) -> None:
        """Add a batch (B, C); entries not ``known`` do not count."""

    def compute(self) -> float:
        """The number; NaN where nothing was there to count."""


@final
class Summary:
    """The metrics of a stream of batches over named classes.

    ``thresholds``: where F1 is taken; label counts and example precision are taken at the first.
    ``tuned``: a threshold chosen on *other* data, usually the validation summary's
    :meth:`tuned_threshold`. ``limit``: scores kept for the exact F1 curve and mAP; see these.
    """

    def __init__(
        self,
        classes: Sequence[str],
        thresholds: Sequence[float] = (0.25, 0.5),
        tuned: float | None = None,
        limit: int = LIMIT,
    ) -> None:
        if not thresholds:
            raise ValueError("a summary needs at least one threshold")
        self.classes = tuple(classes)
        self.tuned = tuned
        self.n = 0
        self._kept = ScoreBuffer(limit)
        self.curve = F1Curve(self._kept)
        self.ranking = MeanAveragePrecision(self._kept)
        self.top_calibration = TopCalibration()
        self._f1 = [ExampleF1(t) for t in thresholds]
        self._tuned = [ExampleF1(tuned)] if tuned is not None else []
        self._first = TopF1()
        self._counts = [CountsAt(t) for t in AT]
        self._confusion = ConfusionMatrix()
        self._accuracy = Accuracy()
        self._top = Accuracy(_TOP)
        self._real = Accuracy()
        self._meters = {m.name: _meter(m) for m in REGISTRY.values() if m.meter}
        self._given: bool | None = None

    def update(
        self,
        scores: ArrayLike,
        truth: ArrayLike,
        given: ArrayLike | None = None,
        known: ArrayLike | None = None,
        judged: ArrayLike | None = None,
    ) -> None:
        """Add a batch of probabilities and label sets (B, C).

        ``given`` (B,): the index of the single label that the data set came with, -1 for none;
        in every batch or in none. ``known`` (B, C): entries without it are neither labels nor
        predictions; top classes are looked for among the known ones. ``judged`` (B,): the images
        whose set is known at all, by default every one; the others count only for what is
        measured against given labels. An empty set of a judged image says that it has none of
        the classes.

        Raises:
            UserError: wrong shapes, scores that are not finite or not in [0, 1], a given label
                that is no class.
            ValueError: ``given`` in some batches only; ``judged`` is not boolean (B,).
        """
        values, present = check(scores, truth, self.classes)
        mask = check_known(known, present)
        asked = values
        if mask is not None:
            present, asked = present & mask, np.where(mask, values, values.dtype.type(0))
        label = present if given is None else _one_hot(given, present.shape)
        if self._given not in (None, given is not None):
            raise ValueError("given labels must come with every batch or with none")
        self._given = given is not None
        self.n += len(values)
        if given is not None:  # all classes are asked; against the set, those that are known
            self._against(values, label)
        if judged is not None:
            use = _rows(judged, len(values))
            values, present, asked = values[use], present[use], asked[use]
            mask = None if mask is None else mask[use]
        self._by_sets(values, present, asked, mask, given is not None)

    def _against(self, scores: Scores, label: Mask) -> None:
        """Count for the accuracies."""
        self._accuracy.update(scores, label)
        if len(self.classes) > _TOP:
            self._top.update(scores, label)

    def _by_sets(
        self, values: Scores, present: Mask, asked: Scores, mask: Mask | None, given: bool
    ) -> None:
        """Count images whose set is known."""
        if given:
            self._real.update(asked, present)
        else:
            self._against(asked, present)
        for metric in (*self._f1, *self._tuned, self._first, *self._meters.values()):
            metric.update(values, present, mask)
        for counts in self._counts:
            counts.update(values, present, mask)
        self.top_calibration.update(asked, present)
        self._confusion.update(values, present, mask)
        self._kept.add(pack(values, present, mask))

    def tuned_threshold(self) -> float:
        """The threshold of the highest example-averaged F1 on these very images."""
        return self.curve.best()[0]

    def compute(self) -> dict[str, float]:
        """Metrics by name; fractions in [0, 1]; NaN where nothing was there to count.

        =========================  ==============================================================
        ``n``                      images
        ``n_accuracy``,            of them: those that ``accuracy`` (and ``top5``) and
        ``n_real_accuracy``,       ``real_accuracy`` are over, and those that everything else is
        ``n_sets``                 over, whose set is known
        ``accuracy``, ``top5``     against the given label if there is one, else the set; top-5
                                   only with more than five classes
        ``real_accuracy``          top-1 against the set; only with given labels
        ``f1@T``                   example-averaged F1 at each threshold T
        ``f1@tuned``,              F1 at the tuned threshold, and that threshold; only if there
        ``threshold``              is one
        ``map``                    mean average precision
        ``labels_per_image@T``     predicted labels per image at the first threshold;
                                   ``labels_per_image`` is the same number
        ``f1@top1``,               F1 and predicted labels per image of the first choice alone,
        ``labels_per_image@top1``  as the softmax row of MILe's tables has them
        ``true_labels_per_image``  true labels per image
        ``precision@T``            mean share of right ones among an image's predicted labels at
                                   the first threshold; 0 where none is predicted
        ``cp@T cr@T cf1@T``,       by class and over all labels, at 0.5 and at 0.8, the threshold of CPSD's
        ``op@T or@T of1@T``        code
        ``ece``                    calibration error of the top score
        =========================  ==============================================================

        Then the metrics that have a meter of their own in the registry, such as ``ece_labels``.
        """
        first = self._f1[0]
        out = {"n": float(self.n), "n_accuracy": float(self._accuracy.n)}
        out |= {"n_real_accuracy": float(self._real.n)} if self._given else {}
        out |= {"n_sets": float(first.n), "accuracy": self._accuracy.compute()}
        if len(self.classes) > _TOP:
            out["top5"] = self._top.compute()
        if self._given:
            out["real_accuracy"] = self._real.compute()
        out |= {f"f1@{metric.threshold:g}": metric.compute() for metric in self._f1}
        for metric in self._tuned:
            out |= {"f1@tuned": metric.compute(), "threshold": metric.threshold}
        out["f1@top1"] = self._first.compute()
        out["labels_per_image@top1"] = self._first.labels_per_image()
        out["map"] = self.ranking.compute()
        out[f"labels_per_image@{first.threshold:g}"] = first.labels_per_image()
        out["labels_per_image"] = first.labels_per_image()
        out["true_labels_per_image"] = first.true_labels_per_image()
        out[f"precision@{first.threshold:g}"] = first.precision()
        for counts in self._counts:
            named = counts.compute().items()
            out |= {f"{name}@{counts.threshold:g}": value for name, value in named}
        out["ece"] = self.top_calibration.compute()
        return out | {name: meter.compute() for name, meter in self._meters.items()}

    def labels_histogram(self) -> dict[str, list[int]]:
        """How many images have 0, 1, 2 … labels: ``predicted`` at the first threshold, ``true``."""
        predicted, true = self._f1[0].histograms()
        return {"predicted": predicted.tolist(), "true": true.tolist()}

    def reliability(self) -> dict[str, list[float]]:
        """The reliability diagram of the top score: ``confidence, accuracy, count`` per bin in use."""
        bins = self.top_calibration.reliability()
        used = bins.count > 0
        return {
            "confidence": bins.confidence[used].tolist(),
            "accuracy": bins.frequency[used].tolist(),
            "count": bins.count[used].tolist(),
        }

    def confusion(self) -> list[tuple[int, int, int]]:
        """(class, first choice, images) by index, where each image has one label; else empty."""
        return self._confusion.cells()

    def class_curves(self) -> list[dict[str, Any]]:
        """Points of precision and recall of the classes of lowest AP, where each image has one label;
        else empty."""
        if not self._confusion.cells():
            return []
        found = class_curves.lowest(self._kept, self.ranking.per_class())
        return [
            {
                "class": self.classes[one.place],
                "recall": one.recall,
                "precision": one.precision,
                "threshold": one.threshold,
            }
            for one in found
        ]

    def per_class(self) -> list[dict[str, Any]]:
        """A row per class: ``class``, ``support``, ``ap``, and at 0.5 ``precision, recall, f1``."""
        if not self.n:
            return []
        each = self._counts[0].per_class()
        columns = (each.support, self.ranking.per_class(), each.precision, each.recall, each.f1)
        names = ("class", "support", "ap", "precision", "recall", "f1")
        rows = zip(self.classes, *(column.tolist() for column in columns), strict=True)
        return [dict(zip(names, row, strict=True)) for row in rows]


def trivial_every_class(
    truth: NDArray[np.bool_],
    thresholds: Sequence[float] = (0.25, 0.5),
    known: NDArray[np.bool_] | None = None,
) -> dict[str, float]:
    """The metrics of predicting *every class present* in each image of ``truth`` (N, C).

    Entries that are not ``known`` (N, C) are neither labels nor predictions.

    A method whose F1 is no better than this has collapsed or has nothing to say at that threshold.
    The scores being equal, AP is the class's frequency. What needs an order among the classes or a
    confidence (accuracy, calibration) is left out.
    """
    n = len(truth)
    if not n:
        raise UserError("the trivial prediction needs at least one image")
    asked = np.ones_like(truth) if known is None else known
    truth = truth & asked
    true, predicted = truth.sum(axis=1), asked.sum(axis=1)
    f1 = float(np.mean(2 * true / np.maximum(predicted + true, 1)))
    frequency = truth.sum(axis=0) / np.maximum(asked.sum(axis=0), 1)
    share = ratio(float(true.sum()), float(predicted.sum()))
    cp = float(frequency[frequency > 0].mean()) if share else float("nan")
    recall = 1.0 if share else float("nan")
    first = f"{thresholds[0]:g}"
    counted = {
        "cp": cp,
        "cr": recall,
        "cf1": 2 * cp / (cp + 1),
        "op": share if share else float("nan"),
        "or": recall,
        "of1": 2 * share / (share + 1) if share else float("nan"),
    }
    meters = {m.name: _meter(m) for m in REGISTRY.values() if m.meter and m.trivial}
    for meter in meters.values():
        meter.update(np.ones(truth.shape, np.float32), truth, known)
    return {
        "n": float(n),
        **{f"f1@{t:g}": f1 for t in thresholds},
        "f1@tuned": f1,
        "map": cp,
        f"labels_per_image@{first}": float(predicted.mean()),
        "labels_per_image": float(predicted.mean()),
        "true_labels_per_image": float(true.mean()),
        f"precision@{first}": float(np.mean(true / np.maximum(predicted, 1))),
        **{f"{name}@{t:g}": value for t in AT for name, value in counted.items()},
        **{name: meter.compute() for name, meter in meters.items()},
    }


def _meter(metric: Metric) -> Meter:
    file, _, name = (metric.meter or "").partition(":")
    meter: Meter = getattr(import_module(f".{file}", __package__), name)()
    return meter


def _rows(judged: ArrayLike, n: int) -> Mask:
    """(B,) which rows are judged."""
    use = np.asarray(judged)
    if use.dtype != np.bool_ or use.shape != (n,):
        raise ValueError(f"judged must be boolean ({n},), got {use.dtype} of shape {use.shape}")
    return use


def _one_hot(given: ArrayLike, shape: tuple[int, ...]) -> Mask:
    """(B, C) from (B,) class indices; -1 gives an empty row."""
    index = np.asarray(given)
    rows, columns = shape
    if index.shape != (rows,) or index.dtype.kind not in "iu":
        raise UserError(
            f"given labels must be {rows} class indices, got {index.dtype} {index.shape}"
        )
    if index.size and not -1 <= index.min() <= index.max() < columns:
        raise UserError(
            f"given labels must lie in [-1, {columns}), got {index.min()} to {index.max()}"
        )
    out = np.zeros(shape, np.bool_)
    named = np.flatnonzero(index >= 0)
    out[named, index[named]] = True
    return out
