"""Every metric by name: its words, its unit, its group, and where it is shown.

The summary, the command line's tables, the run report and the comparison read this one table. A new metric
is a file in this folder and a row here: ``meter`` names the class that measures it. Light to import.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self, final

from .. import formatting

Unit = Literal["percent", "count", "plain"]

FIRST, SETS, COUNTS, RANKING, OVER, CALIBRATION, OTHER = (
    "First choice",
    "Label sets",
    "Labels per image",
    "Ranking",
    "Sets, by class and overall",
    "Calibration",
    "Other",
)
GROUPS = (FIRST, SETS, COUNTS, RANKING, OVER, CALIBRATION, OTHER)
GROUPS_OF_SETS = (RANKING, OVER, SETS, COUNTS, FIRST, CALIBRATION, OTHER)
"""The same where images were judged by label sets: the multi-label literature's numbers first."""
GROUPS_OF_SINGLE = (FIRST, RANKING, CALIBRATION, OTHER)
"""Those that say something where each image has one label."""
IMAGES = "Images"
"""The group of what the other numbers are over; captions say these, no table and no curve."""

View = Literal[
    "table", "table/sets", "table/single", "table/clean",
    "headline", "headline/sets", "headline/single",
    "curves", "curves/sets", "curves/single",
    "compare", "compare/sets", "compare/mixed", "compare/clean",
]  # fmt: skip
"""Where metrics are shown: the command line's table, the large numbers of a run's report, its curves, and
a comparison. ``/sets``: where images are judged by label sets; ``/single``: by one label each, as in
``compare``; ``compare/mixed``: by label sets where the training images have one label each; ``/clean``: where
it is known which training labels are right."""


@final
@dataclass(frozen=True)
class Metric:
    """A metric. In a family, ``{at}`` stands for the threshold.

    Args:
        name: its key in every file.
        title: what people read.
        text: what it says, in one sentence.
        group: the part of a results table that it stands in.
        better: the sign of an improvement; 0 where more is not better.
        column: a shorter title for the command line; by default the title.
        shown: view -> place in it; the lower, the earlier.
        meter: ``file:Class`` in this folder, for the summary: ``update(scores, truth, known)`` takes a
            batch, ``compute()`` gives the number. None where the summary or the training measures it itself.
        trivial: the meter's number also says something of the answer *every class present*.
    """

    name: str
    title: str
    text: str = ""
    group: str = OTHER
    unit: Unit = "percent"
    better: Literal[-1, 0, 1] = 1
    column: str = ""
    shown: Mapping[View, int] = field(default_factory=dict)
    meter: str | None = None
    trivial: bool = False

    def at(self, threshold: str, shown: Mapping[View, int] | None = None) -> Self:
        """A member of the family."""
        words = {k: getattr(self, k).format(at=threshold) for k in _WORDS}
        return replace(self, **words, shown=shown or {})

    @property
    def scale(self) -> float:
        """What a value is multiplied by before it is written."""
        return 100.0 if self.unit == "percent" else 1.0

    @property
    def digits(self) -> int:
        """Decimals of a scaled value."""
        return 1 if self.unit == "percent" else 2

    @property
    def unit_words(self) -> str:
        """The unit for a caption."""
        return {"percent": "percent", "count": "labels", "plain": ""}[self.unit]

    def show(self, value: float | None) -> str:
        """The number as it stands in a table, without its unit."""
        if self.unit == "percent":
            return formatting.percent(value)
        return formatting.decimal(value) if self.unit == "count" else formatting.general(value)

    def show_spread(self, deviation: float, mean: float) -> str:
        """A deviation with the decimals of the mean that it stands beside."""
        if self.unit != "plain" or not mean:
            return self.show(deviation)
        return formatting.decimal(deviation, max(0, 3 - math.floor(math.log10(abs(mean)))))

    def difference(self, value: float | None) -> str:
        """A difference of two values, in points of percent or in labels, with its sign."""
        scaled = None if value is None else self.scale * value
        return formatting.signed(scaled, self.digits)


_WORDS = ("name", "title", "text", "column")


def _above(name: str, text: str) -> Metric:
    """The family of a number over all labels that score above a threshold, as CF1."""
    upper = name.upper()
    return Metric(f"{name}@{{at}}", f"{upper} at {{at}}", text, OVER, column=f"{upper}@{{at}}")


def _count(name: str, title: str, text: str, **more: Any) -> Metric:
    """A number of labels per image, of which more is not better."""
    return Metric(name, title, text, COUNTS, "count", 0, **more)


def _plain(name: str, title: str, text: str = "", group: str = OTHER, **more: Any) -> Metric:
    """A number as it is, of which more is not better."""
    return Metric(name, title, text, group, "plain", 0, **more)


def _images(name: str, title: str, column: str) -> Metric:
    """How many images other numbers are over; ``column`` says which numbers."""
    return _plain(name, title, "Images that these numbers are over.", IMAGES, column=column)


FAMILIES = {
    m.name: m
    for m in (
        Metric(
            "f1@{at}",
            "F1 at {at}",
            "F1 of each image's label set (classes scored above {at}), averaged over the images.",
            SETS,
            column="F1@{at}",
        ),
        Metric(
            "precision@{at}",
            "Precision at {at}",
            "Share of right ones among an image's labels scored above {at}.",
            SETS,
        ),
        _count(
            "labels_per_image@{at}",
            "Labels per image at {at}",
            "How many classes are scored above {at} per image.",
        ),
        _above("cp", "Precision of labels scored above {at}, computed per class, then averaged."),
        _above("cr", "Recall of labels scored above {at}, computed per class, then averaged."),
        _above("cf1", "Harmonic mean of CP and CR, of labels scored above {at}."),
        _above(
            "op",
            "Precision of labels scored above {at}, over all labels of all images together.",
        ),
        _above("or", "Recall of labels scored above {at}, over all labels of all images together."),
        _above("of1", "Harmonic mean of OP and OR, of labels scored above {at}."),
    )
}
"""Metrics that exist at every threshold."""
_F1, _CF1, _OF1 = (FAMILIES[f"{name}@{{at}}"] for name in ("f1", "cf1", "of1"))
_MEMBER = re.compile(r"(.+)@([0-9.eE+-]+)")

REGISTRY = {
    m.name: m
    for m in (
        Metric(
            "accuracy",
            "Accuracy",
            "How often the first choice is the given label.",
            FIRST,
            column="accuracy",
            shown={
                "table": 1, "table/single": 1, "headline": 2, "headline/sets": 4, "headline/single": 1,
                "curves": 1, "curves/sets": 10, "curves/single": 1, "compare": 1, "compare/mixed": 5,
            },
        ),
        Metric(
            "real_accuracy",
            "ReaL accuracy",
            "How often the first choice is among the image's true labels (reassessed labels; images "
            "without any are left out).",
            FIRST,
            shown={"table": 2, "headline": 1, "curves": 2},
        ),
        Metric(
            "top5",
            "Top-5 accuracy",
            "How often the given label is among the five classes with the highest scores.",
            FIRST,
            shown={"table/single": 2, "headline/single": 3, "curves/single": 3},
        ),
        _F1.at(
            "0.25",
            {
                "table": 3, "headline": 4, "headline/sets": 2, "curves": 3, "curves/sets": 6,
                "compare/mixed": 1,
            },
        ),
        _F1.at(
            "0.5",
            {
                "table": 4, "table/sets": 6, "curves": 4, "curves/sets": 7,
                "compare/sets": 7, "compare/mixed": 2,
            },
        ),
        Metric(
            "f1@tuned",
            "F1, tuned",
            "F1 of each image's label set, averaged over the images, at the threshold that was best on "
            "validation data; it does not reward a lucky choice of the threshold.",
            SETS,
            column="F1 tuned",
            shown={
                "table": 5, "table/sets": 7, "curves": 5, "curves/sets": 8,
                "compare/sets": 6, "compare/mixed": 3,
            },
        ),
        Metric(
            "jaccard",
            "Jaccard, precision-weighted",
            "Jaccard similarity of an image's true labels and those scored above 0.5, times the precision of "
            "the latter, averaged over the images (the metric of IIRC).",
            SETS,
            meter="jaccard:PrecisionWeightedJaccard",
            trivial=True,
        ),
        _plain(
            "threshold",
            "Tuned threshold",
            "The score above which a class counts as predicted in the tuned F1.",
            SETS,
        ),
        Metric(
            "map",
            "mAP",
            "Mean over the classes of the average precision: how well images with a class are ranked "
            "above images without it, whatever the threshold.",
            RANKING,
            shown={
                "table": 7, "table/sets": 1, "table/clean": 6, "headline": 3, "headline/sets": 1,
                "curves": 6, "curves/sets": 1, "compare": 2, "compare/sets": 1, "compare/mixed": 4,
                "table/single": 3, "headline/single": 2, "curves/single": 2,
            },
        ),
        Metric(
            "f1@top1",
            "F1, first choice",
            "F1 of the first choice alone as the image's label set, averaged over the images: what a "
            "single-label answer is worth (the softmax row of MILe's tables).",
            SETS,
            column="F1 top-1",
            shown={"table": 6, "compare/mixed": 7},
        ),
        _count(
            "labels_per_image@top1",
            "Labels per image, first choice",
            "One, where the first choice alone is the image's label set.",
        ),
        _count(
            "labels_per_image",
            "Labels per image",
            "How many classes are predicted per image; as many as there truly are would be ideal.",
            column="labels/image",
            shown={
                "table": 8, "table/sets": 8, "headline": 5, "headline/sets": 3, "curves": 7,
                "curves/sets": 9, "compare/sets": 8, "compare/mixed": 6,
            },
        ),
        _count(
            "true_labels_per_image",
            "True labels per image",
            "How many classes an image truly has, on average.",
        ),
        _CF1.at("0.5", {"table/sets": 2, "curves/sets": 2, "compare/sets": 2}),
        _OF1.at("0.5", {"table/sets": 3, "curves/sets": 3, "compare/sets": 3}),
        _CF1.at("0.8", {"table/sets": 4, "curves/sets": 4, "compare/sets": 4}),
        _OF1.at("0.8", {"table/sets": 5, "curves/sets": 5, "compare/sets": 5}),
        _count(
            "pseudo_labels",
            "Pseudo-labels per image",
            "How many labels the student is taught per image.",
        ),
        _plain(
            "calibrated",
            "Calibrated pseudo-labels",
            "In which share of the student's steps they came from a calibrated teacher (--rho mixture), "
            "and not from a fixed threshold.",
            CALIBRATION,
        ),
        Metric(
            "ece",
            "Calibration error",
            "How far the first choice's score is from its chance of being right, on average (expected "
            "calibration error, 15 bins); less is better.",
            CALIBRATION,
            better=-1,
            shown={
                "curves": 8, "curves/sets": 11, "table/single": 4, "headline/single": 4, "curves/single": 4,
                "compare": 3,
            },
        ),
        Metric(
            "ece_labels",
            "Calibration error, all labels",
            "The same over the scores of all classes; less is better.",
            CALIBRATION,
            better=-1,
            meter="calibration:LabelCalibration",
        ),
        Metric("ap", "AP", "Average precision: the area under precision against recall.", RANKING),
        Metric("precision", "Precision", "Share of right ones among predictions at 0.5.", OVER),
        Metric("recall", "Recall", "Share of the true ones that are predicted at 0.5.", OVER),
        Metric("f1", "F1", "Harmonic mean of precision and recall at 0.5.", OVER),
        _plain("support", "Images", "Images that truly have the class."),
        Metric(
            "best",
            "Best epoch",
            "The highest test accuracy after any epoch.",
            FIRST,
            column="best",
            shown={"table/clean": 1, "compare/clean": 1},
        ),
        Metric(
            "last",
            "Last epoch",
            "Test accuracy after the last epoch.",
            FIRST,
            column="last",
            shown={"table/clean": 2, "compare/clean": 2},
        ),
        Metric(
            "mean10",
            "Last ten epochs",
            "Mean test accuracy of the last ten epochs.",
            FIRST,
            column="last ten",
            shown={"table/clean": 3, "compare/clean": 3},
        ),
        Metric(
            "right_accuracy",
            "Fit of right labels",
            "How often the first choice on a training image is the given label, where that is right.",
            FIRST,
            column="right labels fitted",
            shown={"table/clean": 4, "compare/clean": 4},
        ),
        Metric(
            "wrong_accuracy",
            "Fit of wrong labels",
            "How often the first choice on a training image is the given label, where that is wrong: "
            "what has been memorised; less is better.",
            FIRST,
            better=-1,
            column="wrong labels fitted",
            shown={"table/clean": 5, "compare/clean": 5},
        ),
        _plain(
            "right_loss",
            "Loss on right labels",
            "Mean cross-entropy of the training images whose given label is right.",
            shown={"compare/clean": 6},
        ),
        _plain(
            "wrong_loss",
            "Loss on wrong labels",
            "Mean cross-entropy of the training images whose given label is wrong; low when they have "
            "been memorised.",
            shown={"compare/clean": 7},
        ),
        _plain("alpha", "Weight of the peer (α)"),
        _plain("target_variability", "Share of labels changed (r)"),
        _plain("agreement", "Agreement of the peers"),
        _plain("rate", "Learning rate"),
        _plain("n", "Images", "Images that were judged.", IMAGES),
        _images("n_accuracy", "Images, of accuracy", "accuracy"),
        _images("n_real_accuracy", "Images, of ReaL accuracy", "ReaL accuracy"),
        _images("n_sets", "Images, of everything else", "all else"),
    )
}  # fmt: skip


def metric(name: str) -> Metric:
    """A metric by name; an unknown one goes by its own name."""
    if name in REGISTRY:
        return REGISTRY[name]
    family = _MEMBER.fullmatch(name)
    if family is not None and f"{family[1]}@{{at}}" in FAMILIES:
        return FAMILIES[f"{family[1]}@{{at}}"].at(family[2])
    over = FAMILIES.get(f"{name}@{{at}}")
    if over is not None and over.group == OVER:
        # Earlier versions wrote CP … OF1 without their threshold, which was 0.5.
        return replace(over.at("0.5"), name=name)
    return Metric(name, name.replace("_", " "), "", OTHER, "plain", 0)


def shown(view: View) -> tuple[str, ...]:
    """The names of the metrics in a view, in order."""
    mine = [m for m in REGISTRY.values() if view in m.shown]
    return tuple(m.name for m in sorted(mine, key=lambda m: m.shown[view]))


def columns(*views: View) -> dict[str, str]:
    """Name -> title of a column of the command line's tables, for the metrics in any of the views."""
    return {name: metric(name).column or metric(name).title for v in views for name in shown(v)}


def by_sets(numbers: Iterable[Mapping[str, Any]]) -> bool:
    """Whether these metrics are of label sets: several or no true labels per image, and no single label
    beside them (which makes accuracy and ReaL accuracy the point)."""
    each = list(numbers)
    true = [formatting.finite(found.get("true_labels_per_image")) for found in each]
    several = any(value is not None and abs(value - 1) > 1e-9 for value in true)
    return several and not any("real_accuracy" in found for found in each)


def by_single(numbers: Iterable[Mapping[str, Any]]) -> bool:
    """Whether these metrics are of one label per image: what is said of label sets has no place there."""
    each = list(numbers)
    one = [formatting.finite(found.get("true_labels_per_image")) == 1 for found in each]
    same = (found.get("real_accuracy") in (None, found.get("accuracy")) for found in each)
    return bool(each) and all(one) and all(same)


def view_of(
    base: Literal["table", "headline", "curves"], numbers: Iterable[Mapping[str, Any]]
) -> View:
    """The view that suits what images were judged by: label sets, single labels, or both."""
    each = list(numbers)
    if by_sets(each):
        return _SETS[base]
    return _SINGLE[base] if by_single(each) else base


_SETS: dict[str, View] = {
    "table": "table/sets", "headline": "headline/sets", "curves": "curves/sets"
}  # fmt: skip
_SINGLE: dict[str, View] = {
    "table": "table/single", "headline": "headline/single", "curves": "curves/single"
}  # fmt: skip


def counted(found: Mapping[str, Any]) -> str:
    """Over how many images the numbers of an evaluation are, in words; "" where that is not known."""
    n = formatting.finite(found.get("n"))
    if not n:
        return ""
    over = [m for m in REGISTRY.values() if m.group == IMAGES and m.column]
    known = {m.column: v for m in over if (v := formatting.finite(found.get(m.name))) is not None}
    if all(value == n for value in known.values()):
        return f"over {formatting.plural(int(n), 'image')}"
    told = [f"{words} over {int(value):,}" for words, value in known.items()]
    return f"of {formatting.plural(int(n), 'image')}: {', '.join(told)}"
