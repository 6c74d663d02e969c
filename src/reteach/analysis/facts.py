"""What was measured of a labelled data set: wrong labels, classes per image, memorisation, copies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from ..labels import Rows
from ..relabel.noise import clean
from .lapse import lapse

MOST = 0.5
"""Contradicted labels where the model is surest, above which it is the model that is doubted."""
SEVERAL = 1.5
"""Labels per image from which an image is said to hold several classes."""
BEYOND, UNSURE = 2.4, 0.95
"""Weights of the estimate on features, see :func:`lapse_range`."""
HALF_WIDTH, FEW = 0.075, 1000
"""Half the width of its range; with fewer images than the second it grows with the root of their number."""
SURE, SURE_HIGH = 0.07, 0.15
"""Contradicted labels where the model does not err, below which none may be wrong; then at most
the second."""
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
    frequent on easy images as on hard ones. What is contradicted beyond it, r, is the model's own errors
    and the labels' further errors on hard images; the part u that the confident joint does not count,
    where no class is confidently another one, speaks for the model. The estimate is
    lapse + 2.4 r² - 0.95 u, at least 0: the lapse alone for a model that never errs. Both weights are least
    squares over draws of 1,000 to 4,000 images, of CIFAR-10 with raters' labels and with planted errors,
    Tiny ImageNet and solar cells; so is the width of the range.

    None: even where it does not err the model contradicts most labels, so it is the model that is doubted.
    """
    sure = lapse(scores, given)
    if sure.value > MOST:
        return None
    contradicted = 1 - float(clean.agreeing(scores, given).mean())
    confident = float(max(0.0, 1 - np.trace(clean.joint(scores, given))))
    beyond, unsure = contradicted - sure.value, contradicted - confident
    value = sure.value + BEYOND * beyond**2 - UNSURE * unsure
    half = HALF_WIDTH * max(1.0, FEW / len(given)) ** 0.5
    low, high = max(0.0, value - half), min(1.0, max(value, 0.0) + half)
    if len(given) < FEW and sure.high <= SURE:
        low, high = 0.0, min(high, SURE_HIGH)
    return ShareRange(min(max(value, low), high), low, high)


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
