"""From logits of *being named* to logits of *being present*: a monotone map, or warnings about it.

See :mod:`.mixture` for the model. The map of a class rises strictly, so that images keep their
order; pooled, all classes share one map, so that the classes of an image keep theirs. Left of where the
posterior of *present* is lowest it is held there, and it never falls to the right: a broad component
otherwise wins back both tails.

When the data cannot tell present from absent, numbers would still come out. So a calibration states its
*warnings*: very different numbers of classes per image explain the scores about equally well; the scores of a
class hardly differ between images that are named after it and others; absent and seldom named lie on top of
each other, or what would be seldom named is all but never named (the absent classes of a weak model are no
single Gaussian, and a second one for them would count as present); an image holds less than the one class it
is named after, or holds them all; the images are few.

Who knows how many classes an image holds (``expected``) gives what such data lack. Then, where something
speaks against the mixture, presence is taken to be proportional to the rate of being named
(:mod:`.naming_rate`), as where a label is one of the present classes, drawn at random. With unsure scores
hardly any class is more likely present than not, and label sets cut there are nearly empty. So the half may
be put where as many classes pass it as are expected (``half="count"``), which multiplies the odds of presence
by one factor.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from math import erf, sqrt
from typing import Literal, final

import numpy as np
import torch

from ...errors import UserError
from ...models.presence import Link, Presence
from .logit_histogram import NAMED, UNNAMED, LogitHistogram
from .mixture import SELDOM, Mixture, Numbers, fit, own_names, per_class, plausible, rarity
from .naming_rate import NamingRate, naming_rate

Scope = Literal["pooled", "classes"]
Half = Literal["count", "presence"]
Posterior = Callable[[Numbers], Numbers]
"""Log-odds of being named (G,) -> probabilities of presence (G,), or (C, G) class by class."""
KNOTS = 257
CERTAIN = 8.0
"""Calibrated logits stay within ±8 (probability 0.9997), but for the slope that keeps order."""
SLOPE = 0.01
"""Least slope of the map."""
APART = 0.6
"""Least share of (absent, seldom named) pairs that lie in the right order."""
WIDE = 2.5
"""Largest ratio of the most to the fewest labels per image that explain the scores."""
KNOWS = 0.6
"""Least share of (named, other) pairs of images that the score of a class puts in the right order."""
AMISS = 0.05
"""Share by which the mixture's labels per image may miss a number that was given."""
COARSE = 0.05
"""Bins are merged up to this share of the deviation of all logits: narrower ones only take time."""
FEW = 100
"""Named images below which the network's own probabilities stand in for names."""
TRUSTED = 100
"""Images below which a fit is doubted: on 71 photos of COCO bad ones passed all other checks."""


@final
@dataclass(frozen=True, eq=False, repr=False)
class Calibration:
    """What was fitted, and what became of it.

    Args:
        presence: the map.
        pooled: the mixture of all classes together.
        each: a mixture for each class, where asked for.
        z, counts: (G,) the middles of the bins, and (3, C, G) what lies in them.
        rate: what was taken in place of the mixture, where that has something against it and the number of
            labels is known; None: the mixture.
        labels_per_image: the mean sum of an image's probabilities of presence.
        predicted: labels per image at a score of 0.5.
        half: the probability of presence that a score of 0.5 stands for.
        range: the fewest and the most labels per image that explain the scores about as well; with
            ``expected``, that.
        images, named: how many were looked at, and how many of them had a label.
        warnings: why it should not be used; empty if nothing speaks against it.
    """

    presence: Presence
    pooled: Mixture
    each: Mixture | None
    rate: NamingRate | None
    z: Numbers
    counts: Numbers
    labels_per_image: float
    predicted: float
    half: float
    range: tuple[float, float]
    images: int
    named: int
    warnings: tuple[str, ...]


def calibrate(
    histogram: LogitHistogram,
    link: Link,
    *,
    scope: Scope = "pooled",
    present: int | None = None,
    expected: float | None = None,
    prior_strength: float = 1000.0,
    half: Half = "presence",
) -> Calibration:
    """Fit the mixture and make the map.

    Args:
        histogram: log-odds of being named (see :func:`reteach.models.presence.odds`).
        link: how the networks' logits become probabilities; the map takes it along.
        present: present components, 1 or 2; None: by AIC.
        expected: classes per image, where that is known.
        prior_strength: logits' worth of pooled evidence in the mixture of each class.
        half: what a score of 0.5 is: as likely present as absent, or with ``expected`` where so many classes
            pass it.

    Raises:
        UserError: too few images or classes, or scores that are all the same.
    """
    z, counts = _evidence(histogram)
    _check(histogram, counts, expected)
    names = own_names(z, counts) if histogram.named < FEW else counts
    # a class that no label names has learned to be low: its scores are a heap of their own, which would be
    # taken for what is absent, and the other classes for present
    used = names[NAMED].sum(-1) > 0
    all_of, width = names[:, used].sum(1), int(used.sum())
    share = None if expected is None else min(expected / width, 1 - 1e-6)
    if present is None:
        present = _components(z, all_of, share)
    pooled = fit(z, all_of, present, share)[0]
    each = None
    if scope == "classes":
        each = per_class(z, names, pooled, prior_strength)
    chosen = pooled if each is None else each
    posterior = _posterior(chosen, pooled)
    total = counts.sum(0)
    per_image = len(histogram.classes) / total.sum()
    found = float((total * posterior(z)).sum() * per_image)
    low, high = plausible(z, all_of) if share is None else (share, share)
    likely = (low * width, high * width)
    knows = seldom = 1.0
    if histogram.named >= FEW:
        knows, seldom = known_order(counts), rarity(pooled)
    warnings = _doubts(pooled, likely, knows, seldom, found, histogram)
    rate = None
    amiss = expected is not None and abs(found - expected) > AMISS * expected
    if expected is not None and (warnings or amiss) and scope == "pooled":
        rate = naming_rate(z, names.sum(1), expected * histogram.images)
        posterior, found = rate, float((total * rate(z)).sum() * per_image)
        warnings = _doubts_of_rate(knows, found, expected, histogram)
    presence = _map(histogram.classes, link, z, posterior)
    cut, fine, every = 0.0, histogram.centres(), histogram.counts().sum(0)
    if expected is not None and half == "count":
        cut = _passed_by(presence, fine, every, expected * histogram.images)
        presence = replace(presence, table=presence.table - np.float32(cut))
    return Calibration(
        presence,
        pooled,
        each,
        rate,
        z,
        counts,
        found,
        float((every * (_at(presence, fine) > 0)).sum() * per_image),
        float(1 / (1 + np.exp(-cut))),
        likely,
        histogram.images,
        histogram.named,
        warnings,
    )


def _evidence(histogram: LogitHistogram) -> tuple[Numbers, Numbers]:
    """The middles of the bins that are in use, (G,), and the counts (3, C, G)."""
    fine = histogram.counts()
    total = fine.sum((0, 1))
    used = np.flatnonzero(total)
    if not len(used):
        raise UserError("no image to calibrate on")
    z = histogram.centres()
    width = z[1] - z[0]
    mean = np.average(z, weights=total)
    sd = np.sqrt(np.average((z - mean) ** 2, weights=total))
    merge = max(1, int(COARSE * sd / width))
    bins = -(-(int(used[-1]) + 1 - int(used[0])) // merge)
    span = np.arange(int(used[0]), int(used[0]) + bins * merge)
    inside = span < len(z)
    middles = z[span[0]] + width * ((np.arange(bins) + 0.5) * merge - 0.5)
    padded = np.zeros((*fine.shape[:-1], len(span)))
    padded[..., inside] = fine[..., span[inside]]
    return middles, padded.reshape(*fine.shape[:-1], bins, merge).sum(-1)


def _check(histogram: LogitHistogram, counts: Numbers, expected: float | None) -> None:
    classes = len(histogram.classes)
    if classes < 2:
        raise UserError("calibration is about which classes are present: it needs two or more")
    if expected is not None and not 1 <= expected < classes:
        raise UserError(f"--expected must lie in [1, {classes}), got {expected}")
    if histogram.images < 20:
        raise UserError(
            f"{histogram.images} images are too few to calibrate on: a mixture needs 20, better hundreds; "
            "name more with --images, or take the training images in turn with --folds 5"
        )
    if np.count_nonzero(counts.sum((0, 1))) < 8:
        raise UserError(
            "the scores are all but constant: the model has learned nothing that could be calibrated"
        )


def _components(z: Numbers, counts: Numbers, share: float | None) -> int:
    """One present component, or two if they gain more than their four parameters cost."""
    one, two = (fit(z, counts, present, share)[1] for present in (1, 2))
    return 2 if two - one > 4 else 1


def _posterior(mixture: Mixture, pooled: Mixture) -> Posterior:
    def present(z: Numbers) -> Numbers:
        return _rising(mixture.present(z), z, pooled)

    return present


def _rising(posterior: Numbers, z: Numbers, pooled: Mixture) -> Numbers:
    """The posterior (…, G) made to rise from its lowest point, which is not right of all present means."""
    end = max(1, int(np.searchsorted(z, pooled.mean[1:].max(), side="right")))
    lowest = posterior[..., :end].argmin(-1)
    floor = posterior[..., :end].min(-1)
    held = np.where(np.arange(len(z)) < lowest[..., None], floor[..., None], posterior)
    return np.asarray(np.maximum.accumulate(held, -1))


def _map(classes: tuple[str, ...], link: Link, z: Numbers, posterior: Posterior) -> Presence:
    # a step more on either side, so that the outer pieces have the least slope beyond the data
    step = max((z[-1] - z[0]) / (KNOTS - 3), 1e-6)
    knots = z[0] + step * (np.arange(KNOTS) - 1)
    p = np.clip(posterior(knots), 1e-9, 1 - 1e-9)
    logits = np.clip(np.log(p / (1 - p)), -CERTAIN, CERTAIN)
    # the half is where it was: the slope turns around the knot next to it
    middle = np.abs(logits).argmin(-1)
    table = logits + SLOPE * (knots - knots[middle][..., None])
    shape = np.atleast_2d(table).astype(np.float32)
    return Presence(classes, link, float(knots[0]), float(step), shape)


def _at(presence: Presence, z: Numbers) -> Numbers:
    """Calibrated logits (C, G) of all classes at z (G,)."""
    every = torch.from_numpy(np.repeat(z[:, None], len(presence.classes), 1))
    return np.asarray(presence.of_odds(every).numpy().T, np.float64)


def _passed_by(presence: Presence, z: Numbers, total: Numbers, labels: float) -> float:
    """The calibrated logit that so many of the scores (C, G) pass, a bin's spread over its width."""
    logits = _at(presence, z).ravel()
    order = np.argsort(-logits, kind="stable")
    each = total.ravel()[order]
    passed = np.cumsum(each) - each / 2
    return float(np.interp(labels, passed, logits[order]))


def _doubts(
    pooled: Mixture,
    likely: tuple[float, float],
    knows: float,
    seldom: float,
    labels: float,
    histogram: LogitHistogram,
) -> tuple[str, ...]:
    warnings, classes = [], len(histogram.classes)
    if histogram.images < TRUSTED:
        warnings.append(f"{histogram.images} images are too few to trust what was fitted to them")
    ordered = apart(pooled)
    if ordered < APART:
        warnings.append(
            f"absent and seldom named classes have the same scores (in order {ordered:.0%} of the time)"
        )
    if likely[1] > WIDE * likely[0]:
        warnings.append(
            f"anything from {likely[0]:.1f} to {likely[1]:.1f} labels per image explains the scores"
        )
    if knows < KNOWS:
        warnings.append(
            f"the model hardly knows which images are named after a class (in order {knows:.0%} of the time)"
        )
    if seldom < SELDOM:
        warnings.append(
            f"most of what would be present is all but never named ({seldom:.1%} of the usual rate)"
        )
    if labels < 0.9:
        warnings.append(
            f"{labels:.2f} labels per image are fewer than the one that each is named after"
        )
    if labels > 0.95 * classes:
        warnings.append(f"nearly every class would be present ({labels:.1f} of {classes})")
    return tuple(warnings)


def _doubts_of_rate(
    knows: float, labels: float, expected: float, histogram: LogitHistogram
) -> tuple[str, ...]:
    """What speaks against presence in proportion to the rate of being named."""
    warnings = [
        f"the scores alone do not tell present from absent: the {expected:.3g} labels per image that were "
        "given decide, and each class that is present is taken to be named equally often"
    ]
    if histogram.images < TRUSTED:
        warnings.append(f"{histogram.images} images are too few to trust what was fitted to them")
    if knows < KNOWS:
        warnings.append(
            f"the model hardly knows which images are named after a class (in order {knows:.0%} of the time)"
        )
    if labels < 0.9 * expected:
        warnings.append(f"only {labels:.1f} labels per image can be placed")
    return tuple(warnings)


def known_order(counts: Numbers) -> float:
    """The probability that an image named after a class scores higher in it than another image.

    The area under the ROC curve of each class, by counts (3, C, G), averaged over the named images.
    """
    named, other = counts[NAMED], counts[UNNAMED]
    below = np.cumsum(other, -1) - other / 2  # a tie counts half
    pairs = (named.sum(-1) * other.sum(-1)).clip(1e-9)
    area = (named * below).sum(-1) / pairs
    return float(np.average(area, weights=named.sum(-1)))


def apart(mixture: Mixture) -> float:
    """The probability that an absent logit lies below one of the seldom named component."""
    gap = mixture.mean[1] - mixture.mean[0]
    return 0.5 * (1 + erf(gap / sqrt(2 * (mixture.sd[0] ** 2 + mixture.sd[1] ** 2))))


def plain(calibration: Calibration) -> dict[str, object]:
    """A calibration as JSON allows: the map, and where it comes from."""
    mixture = calibration.pooled
    return calibration.presence.plain() | {
        "labels_per_image": calibration.labels_per_image,
        "predicted": calibration.predicted,
        "half": calibration.half,
        "range": calibration.range,
        "images": calibration.images,
        "named": calibration.named,
        "warnings": calibration.warnings,
        "rate": None if calibration.rate is None else asdict(calibration.rate),
        "mixture": {
            "weight": mixture.weight.tolist(),
            "mean": mixture.mean.tolist(),
            "sd": mixture.sd.tolist(),
            "named": mixture.named.tolist(),
        },
    }
