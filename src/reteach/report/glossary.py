"""What each metric is called, what it says in one sentence, and how its number is written."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, final

from .kit import formats
from .kit.html import Html, tag

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


IMAGES = {
    "n_accuracy": "Images, of accuracy",
    "n_real_accuracy": "Images, of ReaL accuracy",
    "n_sets": "Images, of everything else",
}
"""How many images a number is over, where that is not all of them."""


@final
@dataclass(frozen=True)
class Metric:
    """A metric's words. ``better`` is the sign of an improvement; 0 where more is not better."""

    name: str
    title: str
    text: str
    group: str = OTHER
    unit: Unit = "percent"
    better: Literal[-1, 0, 1] = 1

    @property
    def scale(self) -> float:
        """What a value is multiplied by before it is written."""
        return 100.0 if self.unit == "percent" else 1.0

    @property
    def unit_words(self) -> str:
        """The unit for a caption."""
        return {"percent": "percent", "count": "labels", "plain": ""}[self.unit]

    def show(self, value: float | None) -> str:
        """The number as it stands in a table, without its unit."""
        if self.unit == "percent":
            return formats.percent(value)
        return formats.decimal(value) if self.unit == "count" else formats.general(value)

    def difference(self, value: float | None) -> str:
        """A difference of two values, in points of percent or in labels, with its sign."""
        scaled = None if value is None else self.scale * value
        return formats.signed(scaled, 1 if self.unit == "percent" else 2)

    def sentence(self) -> str:
        """Title and meaning, for a tooltip."""
        return f"{self.title}: {self.text}" if self.text else self.title


_KNOWN = {
    m.name: m
    for m in (
        Metric("accuracy", "Accuracy", "How often the first choice is the given label.", FIRST),
        Metric(
            "real_accuracy",
            "ReaL accuracy",
            "How often the first choice is among the image's true labels (reassessed labels; images "
            "without any are left out).",
            FIRST,
        ),
        Metric(
            "top5",
            "Top-5 accuracy",
            "How often the given label is among the five classes with the highest scores.",
            FIRST,
        ),
        Metric(
            "f1@tuned",
            "F1, tuned",
            "F1 of each image's label set, averaged over the images, at the threshold that was best on "
            "validation data; it does not reward a lucky choice of the threshold.",
            SETS,
        ),
        Metric(
            "threshold",
            "Tuned threshold",
            "The score above which a class counts as predicted in the tuned F1.",
            SETS,
            "plain",
            0,
        ),
        Metric(
            "map",
            "mAP",
            "Mean over the classes of the average precision: how well images with a class are ranked "
            "above images without it, whatever the threshold.",
            RANKING,
        ),
        Metric(
            "f1@top1",
            "F1, first choice",
            "F1 of the first choice alone as the image's label set, averaged over the images: what a "
            "single-label answer is worth (the softmax row of MILe's tables).",
            SETS,
        ),
        Metric(
            "labels_per_image@top1",
            "Labels per image, first choice",
            "One, where the first choice alone is the image's label set.",
            COUNTS,
            "count",
            0,
        ),
        Metric(
            "labels_per_image",
            "Labels per image",
            "How many classes are predicted per image; as many as there truly are would be ideal.",
            COUNTS,
            "count",
            0,
        ),
        Metric(
            "true_labels_per_image",
            "True labels per image",
            "How many classes an image truly has, on average.",
            COUNTS,
            "count",
            0,
        ),
        Metric(
            "pseudo_labels",
            "Pseudo-labels per image",
            "How many labels the student is taught per image.",
            COUNTS,
            "count",
            0,
        ),
        Metric(
            "calibrated",
            "Calibrated pseudo-labels",
            "In which share of the student's steps they came from a calibrated teacher (--rho mixture), "
            "and not from a fixed threshold.",
            CALIBRATION,
            "plain",
            0,
        ),
        Metric(
            "ece",
            "Calibration error",
            "How far the first choice's score is from its chance of being right, on average (expected "
            "calibration error, 15 bins); less is better.",
            CALIBRATION,
            better=-1,
        ),
        Metric(
            "ece_labels",
            "Calibration error, all labels",
            "The same over the scores of all classes; less is better.",
            CALIBRATION,
            better=-1,
        ),
        Metric("ap", "AP", "Average precision: the area under precision against recall.", RANKING),
        Metric("precision", "Precision", "Share of right ones among predictions at 0.5.", OVER),
        Metric("recall", "Recall", "Share of the true ones that are predicted at 0.5.", OVER),
        Metric("f1", "F1", "Harmonic mean of precision and recall at 0.5.", OVER),
        Metric("support", "Images", "Images that truly have the class.", OTHER, "plain", 0),
        Metric("best", "Best epoch", "The highest test accuracy after any epoch.", FIRST),
        Metric("last", "Last epoch", "Test accuracy after the last epoch.", FIRST),
        Metric("mean10", "Last ten epochs", "Mean test accuracy of the last ten epochs.", FIRST),
        Metric(
            "right_accuracy",
            "Fit of right labels",
            "How often the first choice on a training image is the given label, where that is right.",
            FIRST,
        ),
        Metric(
            "wrong_accuracy",
            "Fit of wrong labels",
            "How often the first choice on a training image is the given label, where that is wrong: "
            "what has been memorised; less is better.",
            FIRST,
            better=-1,
        ),
        Metric(
            "right_loss",
            "Loss on right labels",
            "Mean cross-entropy of the training images whose given label is right.",
            OTHER,
            "plain",
            0,
        ),
        Metric(
            "wrong_loss",
            "Loss on wrong labels",
            "Mean cross-entropy of the training images whose given label is wrong; low when they have "
            "been memorised.",
            OTHER,
            "plain",
            0,
        ),
        Metric("alpha", "Weight of the peer (α)", "", OTHER, "plain", 0),
        Metric("target_variability", "Share of labels changed (r)", "", OTHER, "plain", 0),
        Metric("agreement", "Agreement of the peers", "", OTHER, "plain", 0),
        Metric("rate", "Learning rate", "", OTHER, "plain", 0),
        Metric("n", "Images", "Images that were judged.", OTHER, "plain", 0),
        *(
            Metric(name, title, "Images that these numbers are over.", OTHER, "plain", 0)
            for name, title in IMAGES.items()
        ),
    )
}
_OVER = {
    "cp": "Precision of labels scored above {at}, computed per class, then averaged.",
    "cr": "Recall of labels scored above {at}, computed per class, then averaged.",
    "cf1": "Harmonic mean of CP and CR, of labels scored above {at}.",
    "op": "Precision of labels scored above {at}, over all labels of all images together.",
    "or": "Recall of labels scored above {at}, over all labels of all images together.",
    "of1": "Harmonic mean of OP and OR, of labels scored above {at}.",
}
_AT = re.compile(rf"(f1|precision|labels_per_image|{'|'.join(_OVER)})@([0-9.eE+-]+)")


def metric(name: str) -> Metric:
    """The words for a metric; an unknown one goes by its own name."""
    if name in _KNOWN:
        return _KNOWN[name]
    # Earlier versions wrote CP … OF1 without their threshold, which was 0.5.
    match = _AT.fullmatch(f"{name}@0.5" if name in _OVER else name)
    if match is None:
        return Metric(name, name.replace("_", " "), "", OTHER, "plain", 0)
    kind, threshold = match.groups()
    if kind in _OVER:
        return Metric(
            name, f"{kind.upper()} at {threshold}", _OVER[kind].format(at=threshold), OVER
        )
    if kind == "f1":
        text = (
            "F1 of each image's label set (classes scored above "
            f"{threshold}), averaged over the images."
        )
        return Metric(name, f"F1 at {threshold}", text, SETS)
    if kind == "precision":
        text = f"Share of right ones among an image's labels scored above {threshold}."
        return Metric(name, f"Precision at {threshold}", text, SETS)
    text = f"How many classes are scored above {threshold} per image."
    return Metric(name, f"Labels per image at {threshold}", text, COUNTS, "count", 0)


def by_sets(numbers: Iterable[Mapping[str, Any]]) -> bool:
    """Whether these metrics are of label sets: several or no true labels per image, and no single label
    beside them (which makes accuracy and ReaL accuracy the point)."""
    each = list(numbers)
    true = [formats.finite(found.get("true_labels_per_image")) for found in each]
    several = any(value is not None and abs(value - 1) > 1e-9 for value in true)
    return several and not any("real_accuracy" in found for found in each)


def counted(found: Mapping[str, Any]) -> str:
    """Over how many images the numbers of an evaluation are, in words; "" where that is not known."""
    n = formats.finite(found.get("n"))
    if not n:
        return ""
    over = {name: formats.finite(found.get(name)) for name in IMAGES}
    parts = {name: int(value) for name, value in over.items() if value not in (None, n)}
    if not parts:
        return f"over {formats.plural(int(n), 'image')}"
    words = {"n_accuracy": "accuracy", "n_real_accuracy": "ReaL accuracy", "n_sets": "all else"}
    told = [f"{words[k]} over {int(v):,}" for k, v in over.items() if v is not None]
    return f"of {formats.plural(int(n), 'image')}: {', '.join(told)}"


def abbr(name: str) -> Html:
    """A metric's title with its meaning as a tooltip."""
    words = metric(name)
    return tag("abbr", words.title, title=words.text) if words.text else tag("span", words.title)


def glossary(names: Iterable[str]) -> Html | None:
    """A list of the metrics' meanings in the order of :data:`GROUPS`; None if none is known."""
    found = {metric(name).title: metric(name) for name in names}
    known = [words for words in found.values() if words.text]
    known.sort(key=lambda words: (GROUPS.index(words.group), words.title))
    if not known:
        return None
    return tag(
        "dl",
        [tag("div", tag("dt", words.title), tag("dd", words.text)) for words in known],
        class_="glossary",
    )
