"""What was measured of a labelled data set: wrong labels, classes per image, memorisation, copies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from ..labels import Rows
from ..relabel.noise import clean
from .intervals import wilson
from .lapse import lapse

MOST = 0.5
"""Contradicted labels where the model is surest, above which it is the model that is doubted."""
SEVERAL = 1.5
"""Labels per image from which an image is said to hold several classes."""
BEYOND, UNSURE = 4.5, 0.25
"""Weights of the estimate on features, see :func:`lapse_range`."""
HUMAN = 0.25
"""How far above chance a contradicted label must be the second choice to count as a mistake of people."""
HALF_WIDTH = 0.075
"""Half the width of its range."""
FEW, PER_CLASS = 1000, 100
"""Images, and images for each class, below which that estimate is not made: it was fitted to no fewer."""
MEMORISED = 0.15
"""Accuracy on images learned from, less that on held-out ones, from which labels are being memorised."""


@final
@dataclass(frozen=True)
class ShareRange:
    """An estimate and the bounds it is believed to lie in."""

    value: float
    low: float
    high: float


@final
@dataclass(frozen=True)
class Confusion:
    """Two classes that held-out models confuse.

    Args:
        one, other: their names.
        forth: share of the labels ``one`` that are confidently ``other``; back: the other way round.
        share: of the labels of both.
    """

    one: str
    other: str
    forth: float
    back: float
    share: float


@final
@dataclass(frozen=True)
class Facts:
    """What was measured; None is what could not be.

    Args:
        sets: label sets, not one label per image.
        unknown: of some classes it is unknown whether an image has them.
        smallest, largest: images of the rarest class that has any, and of the commonest.
        effective: as many equally frequent classes would be as uncertain (exp of the entropy).
        repeated: pairs of equal files; None: not looked for in features; conflicting: those of them with two
            labels; across: training images that are validation images too.
        alike, alike_conflicting, alike_across: the same of pictures that look alike and are not equal
            files; None: not looked for.
        accuracy: held-out models' first choice is the given label; fitted: the same where it was learned.
        noise: share of wrong labels.
        per_image: classes per image; None: the scores cannot tell.
        confused: the classes that held-out models confuse most, the worst first; none where the models are
            doubted.
        told: whether images hold several classes, if the user says so.
        expected: labels per image, if the user says so.
        leaked: unlabelled images that are validation images, or look like them; None: not looked for.
        mirror: a mirrored image keeps its class.
        weights: of ``model``, the network that is to be trained.
        judge: what judged the labels, in words.
        judged: images that it judged.
        features: a head on features is to be trained.
        augmented: plain training augments by default.
    """

    images: int
    classes: int
    sets: bool
    unknown: bool
    smallest: int
    largest: int
    effective: float
    repeated: int | None
    conflicting: int
    across: int
    alike: int | None
    alike_conflicting: int
    alike_across: int
    unlabelled: int
    accuracy: ShareRange | None
    fitted: float | None
    noise: ShareRange | None
    per_image: ShareRange | None
    confused: tuple[Confusion, ...]
    told: bool | None
    mirror: bool
    model: str
    weights: int
    judge: str = ""
    judged: int = 0
    features: bool = False
    augmented: bool = False
    expected: float | None = None
    leaked: int | None = None

    @property
    def several(self) -> bool:
        """Images hold several classes and carry one label."""
        seen = self.per_image is not None and self.per_image.low > SEVERAL
        return not self.sets and (seen if self.told is None else self.told)

    @property
    def perhaps_several(self) -> bool:
        """So, or it looks like it: a head on features contradicts most labels even where it is surest."""
        unclear = self.told is None and self.noise is None and self.per_image is None
        return self.several or (self.features and unclear and not self.sets)

    @property
    def memorises(self) -> bool:
        """A small network fits labels that held-out models do not confirm."""
        known = self.fitted is not None and self.accuracy is not None
        return known and self.fitted - self.accuracy.value > MEMORISED  # type: ignore[operator,union-attr]

    @property
    def imbalance(self) -> float:
        """The commonest class beside the rarest."""
        return self.largest / max(self.smallest, 1)

    def noisy(self, least: float) -> bool:
        """Surely more than this share of the labels is wrong, as far as one label per image is right."""
        return not self.several and self.noise is not None and self.noise.low > least


def noise_range(scores: clean.Scores, given: Rows, *, strong: bool = False) -> ShareRange | None:
    """The share of wrong labels, from held-out scores (N, C) and labels (N,).

    Of a strong model, a head on features: :func:`lapse_range`. Of a small network the value is
    :func:`reteach.relabel.noise.clean.estimated_noise`. The upper bound is the anchors' with two
    standard errors; the lower one also allows for a model that is wrong where it is surest
    (:data:`~reteach.relabel.noise.clean.WEAK` of what it does not confirm). None: even where it is surest it
    contradicts most labels, as a model does that has hardly learned: 68% on Tiny ImageNet, whose labels
    are right.
    """
    if strong:
        return lapse_range(scores, given)
    anchored, error = clean.anchored_noise(scores, given)
    if anchored - 2 * error > MOST:
        return None
    confirmed = float(clean.agreeing(scores, given).mean())
    low = max(0.0, anchored - 2 * error - clean.WEAK * (1 - confirmed))
    high = min(1.0, anchored + 2 * error + 0.01)
    value = min(max(clean.estimated_noise(scores, given), low), high)
    return ShareRange(value, low, high)


def lapse_range(scores: clean.Scores, given: Rows) -> ShareRange | None:
    """The share of wrong labels, from held-out scores of a head on features (N, C) and labels (N,).

    It begins with the lapse (:mod:`.lapse`), what even the surest model contradicts: errors that are as
    frequent on easy images as on hard ones. People err more often on hard images, and then mostly towards
    the class that the model, too, finds second likeliest (:func:`human`, h from 0 to 1); labels that were
    changed at random are no more often so than chance. Beyond the lapse the confident joint counts j as wrong
    and leaves u of the contradictions open, which speaks for the model's own errors. The estimate is
    lapse + 4.5 h j² - 0.25 u, at least 0: the lapse alone for a model that never errs. The weights were
    fitted over draws of 1,000 to 4,000 images, of CIFAR-10 with raters' labels and with planted errors, and
    solar cells.

    With fewer than 1,000 images, or than 100 for each class, heads err so often that this overshoots without
    limit (20% planted among 240 images of ten classes: 67 to 98%). The range then goes from the lower
    bound of the lapse to the upper one of the confident joint.

    None: even where it does not err the model contradicts most labels, so it is the model that is doubted.
    """
    sure = lapse(scores, given)
    if sure.value > MOST:
        return None
    contradicted = 1 - float(clean.agreeing(scores, given).mean())
    confident = float(max(0.0, 1 - np.trace(clean.joint(scores, given))))
    beyond, unsure = max(0.0, confident - sure.value), contradicted - confident
    if len(given) < max(FEW, PER_CLASS * scores.shape[1]):
        most = float(wilson(confident * len(given), len(given))[1])
        return ShareRange(sure.value, sure.low, max(most, sure.high))
    value = sure.value + BEYOND * human(scores, given) * beyond**2 - UNSURE * unsure
    low, high = max(0.0, value - HALF_WIDTH), min(1.0, max(value, 0.0) + HALF_WIDTH)
    return ShareRange(min(max(value, low), high), low, high)


def human(scores: clean.Scores, given: Rows) -> float:
    """How much labels that are contradicted look like mistakes of people: 0 as at random, to 1.

    Among the surer half of the images: how often such a label is the second choice, above chance. Two classes
    have one second choice only, and tell nothing: 0.
    """
    width = scores.shape[1]
    if width < 3:
        return 0.0
    order = np.argsort(-scores, axis=1, kind="stable")[:, :2]
    first, second = order.T
    at = np.arange(len(given))
    top, next_ = (np.maximum(scores[at, c].astype(np.float64), 1e-30) for c in (first, second))
    margin = np.log(top) - np.log(next_)
    wrong = (margin >= np.median(margin)) & (first != given)
    if not wrong.any():
        return 0.0
    chance = 1 / (width - 1)
    above = (float((second == given)[wrong].mean()) - chance) / (1 - chance)
    return float(min(max(above / HUMAN, 0.0), 1.0))


def confused(
    scores: clean.Scores, given: Rows, classes: Sequence[str], most: int = 3, least: float = 5
) -> tuple[Confusion, ...]:
    """The pairs of classes with the largest share of labels that are confidently the other one.

    Args:
        scores: (N, C) of held-out models.
        given: (N,) labels.
        most: at most so many pairs.
        least: labels that must be affected in a pair, so that a rare class is not named for one image.
    """
    found = clean.joint(scores, given)
    counts = found.sum(1)
    both = np.triu(found + found.T, 1)
    share = both / np.maximum(counts[:, None] + counts[None, :], 1e-12)
    share[both * len(given) < least] = 0
    order = np.argsort(-share, axis=None, kind="stable")[:most]
    pairs = [divmod(int(at), len(classes)) for at in order if share.ravel()[at] > 0]
    return tuple(
        Confusion(
            classes[i],
            classes[j],
            float(found[i, j] / counts[i]) if counts[i] else 0.0,
            float(found[j, i] / counts[j]) if counts[j] else 0.0,
            float(share[i, j]),
        )
        for i, j in pairs
    )


def effective_classes(counts: np.ndarray) -> float:
    """exp of the entropy of class counts (C,)."""
    share = counts[counts > 0] / counts.sum()
    return float(np.exp(-(share * np.log(share)).sum()))
