"""Absent, seldom named, often named: a mixture over the logits of models that learned from one label.

A network that has learned from images with one label each gives every class a logit of *being named*. Of
the classes that are present some are named often (the main object), the others seldom, and a class that is
absent is never named. So the logits z of all images and classes, and whether each was the label n, are
taken for a mixture

    p(z, n) = Σ_k w_k N(z | m_k, s_k) ν_k^n (1 - ν_k)^(1-n),     ν_0 = 0 < ν_1 ≤ ν_2

of Gaussians that differ in their rate of being named. **The component that is never named is the absent
one**: this is what makes the decision a rule. Without the labels a mixture of three may put a border
anywhere in the broad, skewed pile of absent classes; with them a component cannot be present and unnamed.
It also says how far the present ones reach down into the pile, where no histogram has a valley.

Images without a label say only p(z). Where no image has a label, the network's own probability stands in
for the frequency of names: right for a network that is calibrated *for its labels* (plentiful data), wrong
for one that has memorised them.

EM on a histogram; see :mod:`.logit_histogram`. One present component or two: whichever promises the
higher likelihood on other images (AIC: each of the four parameters that the second adds costs one). A class
can have a mixture of its own, shrunk towards that of all classes by
``prior_strength`` logits' worth of pooled evidence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from .logit_histogram import NAMED, UNKNOWN, UNNAMED

Numbers = NDArray[np.float64]
_NARROWEST = 0.03
"""No component is narrower than this share of the deviation of all logits: no spikes."""
_ROUNDS = 1000
_ROUNDS_EACH = 50
"""Rounds for the mixtures of single classes, which begin at the pooled one and are held to it."""
_STILL = 0.002
"""EM ends when no mean moves by this share of the narrowest component."""
SELDOM = 0.1
"""Least :func:`rarity` of what may count as present."""
LOST = 1.92
"""Log-likelihood that a plausible share may lose."""
STEP = 2**0.25
"""Between the shares that are tried for it."""
_STARTS = (0.15, 0.3, 0.5)
"""Quantiles of all logits where the absent component begins; the best fit counts."""


@final
@dataclass(frozen=True, eq=False)
class Mixture:
    """K components, the absent one first; each array is (..., K), with a leading axis of classes or none.

    Args:
        weight: shares of the logits, sum 1.
        mean, sd: of the Gaussians.
        named: ν, the rate of being named; 0 in the first component.
    """

    weight: Numbers
    mean: Numbers
    sd: Numbers
    named: Numbers

    def present(self, z: Numbers) -> Numbers:
        """The posterior of *present* at logits z (G,): (..., G)."""
        joint = self._joint(z)
        return np.asarray(joint[..., 1:].sum(-1) / np.maximum(joint.sum(-1), 1e-300))

    def log_likelihood(self, z: Numbers, counts: Numbers) -> float:
        """The log-likelihood of the counts (3, ..., G) by kind."""
        joint = self._joint(z)
        kinds = (joint * (1 - self.named[..., None, :]), joint * self.named[..., None, :], joint)
        return float(
            sum(
                (counts[kind] * np.log(np.maximum(density.sum(-1), 1e-300))).sum()
                for kind, density in zip((UNNAMED, NAMED, UNKNOWN), kinds, strict=True)
            )
        )

    def density(self, z: Numbers) -> Numbers:
        """The weighted densities of the components at z (G,): (..., G, K)."""
        return self._joint(z)

    def _joint(self, z: Numbers) -> Numbers:
        standard = (z[:, None] - self.mean[..., None, :]) / self.sd[..., None, :]
        scale = self.weight / (self.sd * np.sqrt(2 * np.pi))
        return np.asarray(scale[..., None, :] * np.exp(-0.5 * standard**2))


def own_names(z: Numbers, counts: Numbers) -> Numbers:
    """Counts (3, ..., G) in which the network's own probability σ(z) stands in for labels."""
    total = counts.sum(0)
    rate = 1 / (1 + np.exp(-z))
    out = np.zeros_like(counts)
    out[UNNAMED], out[NAMED] = total * (1 - rate), total * rate
    return out


def fit(
    z: Numbers, counts: Numbers, present: int = 2, expected: float | None = None
) -> tuple[Mixture, float]:
    """The mixture of counts (3, G) with ``present`` present components, and its log-likelihood.

    Args:
        expected: the weight of all present components together, where it is known.
    """
    found = [_em(z, counts, start, expected) for start in _starts(z, counts, present, expected)]
    scored = [(mixture.log_likelihood(z, counts), mixture) for mixture in found]
    best = max(scored, key=lambda pair: pair[0])
    return best[1], best[0]


def rarity(mixture: Mixture) -> float:
    """How often the seldom named are named, as a share of the rate of all present ones together."""
    weight, named = mixture.weight[1:], mixture.named[1:]
    return float(named[0] * weight.sum() / max(weight @ named, 1e-12))


def plausible(z: Numbers, counts: Numbers) -> tuple[float, float]:
    """The least and the largest share of present logits that the counts (3, G) do not speak against.

    The profile likelihood of two present components: shares that are held fixed, as far as the best fit of
    everything else loses less than half the 95% quantile of χ² with one degree of freedom. It ends at a
    third and at three times the best share, and where the seldom named would be all but never named. Each
    fit is a fresh one: from the neighbour's, EM crawls along the ridge and stops too soon.
    """
    best, most = fit(z, counts)
    top = float(best.weight[1:].sum())
    ends = []
    for factor in (1 / STEP, STEP):
        end, lost = top, 0.0
        while top / 3 < (further := end * factor) < min(1.0, top * 3):
            found, likelihood = fit(z, counts, 2, further)
            if rarity(found) < SELDOM:
                break  # absent ones counted as present: it fits as well, and explains nothing
            now = most - likelihood
            if now >= LOST:
                end *= factor ** ((LOST - lost) / (now - lost))
                break
            end, lost = further, max(now, 0.0)
        ends.append(end)
    return ends[0], ends[1]


def per_class(z: Numbers, counts: Numbers, pooled: Mixture, prior_strength: float) -> Mixture:
    """A mixture for each class of counts (3, C, G), shrunk towards the pooled one.

    The pooled mixture counts as ``prior_strength`` more logits of each class: none is a fit by itself,
    infinitely many is the pooled fit.
    """
    classes = counts.shape[1]
    if len(z) >= 4:  # half the bins: with shrinkage the finest ones add only time
        half = len(z) // 2
        z = z[: 2 * half].reshape(half, 2).mean(1)
        tail = counts[..., 2 * half :].sum(-1)
        counts = counts[..., : 2 * half].reshape(3, classes, half, 2).sum(-1)
        counts[..., -1] += tail
    start = Mixture(*(np.tile(a, (classes, 1)) for a in _arrays(pooled)))
    return _em(z, counts, start, None, (pooled, prior_strength))


def _arrays(mixture: Mixture) -> tuple[Numbers, Numbers, Numbers, Numbers]:
    return mixture.weight, mixture.mean, mixture.sd, mixture.named


def _starts(z: Numbers, counts: Numbers, present: int, expected: float | None) -> list[Mixture]:
    total = counts.sum(0)
    mean = np.average(z, weights=total)
    sd = float(np.sqrt(np.average((z - mean) ** 2, weights=total)))
    all_of, named = np.cumsum(total) / total.sum(), np.cumsum(counts[NAMED]) / counts[NAMED].sum()
    labelled = counts[NAMED].sum() + counts[UNNAMED].sum()
    share = 0.4 if expected is None else expected
    rate = min(0.9, counts[NAMED].sum() / labelled / share)
    high = np.interp((np.arange(present) + 0.5) / present, named, z)
    return [
        Mixture(
            np.array([1 - share, *[share / present] * present]),
            np.array([np.interp(low, all_of, z), *high]),
            np.array([sd / 3, *[sd / 2] * present]),
            np.array([0.0, *[rate] * present]),
        )
        for low in _STARTS
    ]


def _em(
    z: Numbers,
    counts: Numbers,
    start: Mixture,
    expected: float | None,
    prior: tuple[Mixture, float] | None = None,
) -> Mixture:
    """Expectation-maximisation from a start, all classes at once: counts (3, ..., G)."""
    total = counts.sum(0)
    all_of = total.reshape(-1, len(z)).sum(0)
    mean = np.average(z, weights=all_of)
    floor = _NARROWEST * float(np.sqrt(np.average((z - mean) ** 2, weights=all_of)))
    mixture, before = start, -np.inf
    for _ in range(_ROUNDS if prior is None else _ROUNDS_EACH):
        last = mixture
        mixture, likelihood = _round(z, counts, mixture, floor, expected, prior)
        still = np.abs(mixture.mean - last.mean).max() < _STILL * floor
        if still or abs(likelihood - before) < 1e-9 * max(1.0, abs(likelihood)):
            break
        before = likelihood
    order = np.concatenate(
        [[0], 1 + np.argsort(mixture.mean.reshape(-1, start.mean.shape[-1])[0, 1:])]
    )
    return Mixture(*(a[..., order] for a in _arrays(mixture)))


def _round(
    z: Numbers,
    counts: Numbers,
    mixture: Mixture,
    floor: float,
    expected: float | None,
    prior: tuple[Mixture, float] | None,
) -> tuple[Mixture, float]:
    """One round of EM, and the log-likelihood (with a prior: of the data alone) before it."""
    joint = mixture.density(z)
    rate = mixture.named[..., None, :]
    likelihood, shares = 0.0, []
    for kind, density in ((UNNAMED, joint * (1 - rate)), (NAMED, joint * rate), (UNKNOWN, joint)):
        whole = np.maximum(density.sum(-1), 1e-300)
        likelihood += float((counts[kind] * np.log(whole)).sum())
        shares.append(density * (counts[kind] / whole)[..., None])
    unnamed, named = shares[UNNAMED].sum(-2), shares[NAMED].sum(-2)
    each = shares[0] + shares[1] + shares[2]
    n = each.sum(-2) + 1e-9
    first = np.einsum("...gk,g->...k", each, z)
    second = np.einsum("...gk,g->...k", each, z * z)
    if prior is not None:
        pooled, prior_strength = prior
        extra = prior_strength * pooled.weight
        n, first = n + extra, first + extra * pooled.mean
        second = second + extra * (pooled.sd**2 + pooled.mean**2)
        named, unnamed = named + extra * pooled.named, unnamed + extra * (1 - pooled.named)
    mean = first / n
    sd = np.maximum(np.sqrt(np.maximum(second / n - mean**2, 0)), floor)
    weight = n / n.sum(-1, keepdims=True)
    if expected is not None:
        weight = np.concatenate(
            [[1 - expected], expected * weight[1:] / max(float(weight[1:].sum()), 1e-9)]
        )
    return Mixture(weight, mean, sd, named / np.maximum(named + unnamed, 1e-9)), likelihood
