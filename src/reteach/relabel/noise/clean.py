"""Which labels to doubt, from scores of models that have not seen them.

All functions take ``scores`` (N, C), probabilities of held-out models, and ``given`` (N,), the labels in
[0, C); ``keep`` (N,) is True where a label is to stay.

Five rules:

* *agreement*, the paper's (ReaL, Section 6): keep a label when it is the model's first choice. It also
  drops what the model is merely bad at: with 9% of the labels wrong and a model that is right in half of
  the cases it drops half of the data. Good where labels are worse than the model.
* *per-class* thresholds, as in confident learning (Northcutt, Jiang, Chuang; 2021, Eq. 1-2): drop a label
  when another class scores at least what that class usually scores on its own items. A class that the
  model is unsure of is then not thinned out.
* *confidence*: drop the share of the labels with the lowest score, as many as the noise estimate says.
* *ratio*: drop the labels that another class beats by the largest factor, as many as :func:`doubtful_share`
  says. Between the others.
* *posterior*: drop the labels that are more likely wrong than right, given what they are
  (:func:`likely_wrong`). On features of a pretrained network it finds wrong labels best (``docs/photos.md``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
from numpy.typing import NDArray

from ...labels import Rows

Rule = Literal["agreement", "per-class", "confidence", "ratio", "posterior"]
Scores = NDArray[np.float32]
Keep = NDArray[np.bool_]
WEAK = 0.2
"""The share of the labels it does not confirm of which a model may be wrong even where it is surest.

Set on one draw of 4,000 CIFAR-10 images without wrong labels, where anchors alone say 12%."""
SURE, BLUR = 0.05, 0.4
"""For the lower bound of the noise: the share of each predicted class that anchors are; and of what a model
does not confirm, the share of which it may be wrong at them, beside their own share. Set by simulation, see
``tests/relabel/noise/test_balance.py``."""
ROUNDS = 5
"""Of expectation maximisation in :func:`likely_wrong`: more of them change nothing that could be seen."""
_BLOCK = 1 << 22  # scores looked at together, so that no second N × C array is made


def keep_rule(rule: Rule, scores: Scores, given: Rows) -> Keep:
    """Where the labels stay under a rule."""
    if rule == "agreement":
        return agreeing(scores, given)
    if rule == "per-class":
        return unchallenged(scores, given)
    if rule == "ratio":
        return least_outdone(scores, given, 1 - doubtful_share(scores, given))
    if rule == "posterior":
        return least_wrong(scores, given)
    return most_confident(scores, given, 1 - estimated_noise(scores, given))


def agreeing(scores: Scores, given: Rows) -> Keep:
    """The paper's rule: the label is the first choice of the model."""
    return np.asarray(scores.argmax(1) == given)


def unchallenged(scores: Scores, given: Rows) -> Keep:
    """No other class is confidently the true one; see :func:`confident_class`."""
    found = confident_class(scores, class_thresholds(scores, given))
    return np.asarray((found < 0) | (found == given))


def most_confident(scores: Scores, given: Rows, share: float) -> Keep:
    """The ``share`` of the items whose labels have the highest scores; earlier items win ties."""
    order = np.argsort(-self_confidence(scores, given), kind="stable")
    keep = np.zeros(len(given), np.bool_)
    keep[order[: round(share * len(given))]] = True
    return keep


def least_outdone(scores: Scores, given: Rows, share: float) -> Keep:
    """The ``share`` of the items whose labels are beaten by the smallest factor; earlier items win ties."""
    keep = np.zeros(len(given), np.bool_)
    keep[np.argsort(outdone(scores, given), kind="stable")[: round(share * len(given))]] = True
    return keep


def outdone(scores: Scores, given: Rows) -> Scores:
    """(N,) the log ratio of the highest score of another class to that of the given one."""
    mine, others = _both(scores, given)
    return np.asarray(np.log(np.maximum(others, 1e-9)) - np.log(np.maximum(mine, 1e-9)))


def least_wrong(scores: Scores, given: Rows) -> Keep:
    """Without the labels that are more likely wrong than right, or without J · (J / D)³ if that is more.

    The posterior alone stops short where much is wrong, the share of :func:`doubtful_share`, here with a
    third power, where little is. Earlier items win ties.
    """
    wrong = likely_wrong(scores, given)
    many = round(doubtful_share(scores, given, 3) * len(given))
    drop = np.argsort(-wrong, kind="stable")[: max(many, int((wrong > 0.5).sum()))]
    keep = np.ones(len(given), np.bool_)
    keep[drop] = False
    return keep


def likely_wrong(scores: Scores, given: Rows) -> NDArray[np.float64]:
    """(N,) the probability that the true class is another one, given the image and its label.

    Bayes: P(true j | x, label i) ∝ p_j(x) T_ij, where T_ij is how often class j is called i. T is what these
    posteriors say themselves, by expectation maximisation from the scores as they are. So a class that is
    often mistaken for the label speaks more against it than one that never is.
    """
    from scipy.sparse import csr_array  # a quarter of a second, before others say a word

    width = scores.shape[1]
    called = np.ones((width, width))
    for _ in range(ROUNDS):
        counts = np.zeros((width, width))
        for part in _blocks(scores):
            here = given[part]
            which = csr_array(
                (np.ones(len(here)), here, np.arange(len(here) + 1)), (len(here), width)
            )
            counts += which.T @ _posterior(scores[part], called[here])
        called = counts / np.maximum(counts.sum(0), 1e-12)
    out = np.empty(len(given))
    for part in _blocks(scores):
        likely = _posterior(scores[part], called[given[part]])
        out[part] = 1 - likely[np.arange(len(likely)), given[part]]
    return out


def _posterior(scores: Scores, called: NDArray[np.float64]) -> NDArray[np.float64]:
    """(B, C) of the true class, from the scores and how often each class is called the item's label."""
    both = scores * called
    return np.asarray(both / np.maximum(both.sum(1, keepdims=True), 1e-300))


def doubtful_share(scores: Scores, given: Rows, power: int = 2) -> float:
    """How many labels the rule *ratio* drops: more than are wrong at the anchors, fewer than the joint says.

    J²/D or so: of the share J that the confident joint takes for wrong, as much as J is of all D that the
    model contradicts, squared. Where a model contradicts with confidence, J is nearly D and nearly all of it
    counts; where many contradictions are doubtful ones, J holds many right labels too. Found on one draw of
    5,000 CIFAR-10N images, never judged by it.
    """
    confident = confident_noise(scores, given)
    contradicted = 1 - float(agreeing(scores, given).mean())
    return confident * min(1.0, confident / contradicted) ** power if contradicted else 0.0


def self_confidence(scores: Scores, given: Rows) -> Scores:
    """(N,) the score of the given label."""
    return scores[np.arange(len(given)), given]


def class_thresholds(scores: Scores, given: Rows) -> NDArray[np.float64]:
    """(C,) the mean score of each class over the items that have its label; infinite without any."""
    width = scores.shape[1]
    count = np.bincount(given, minlength=width)
    total = np.bincount(given, self_confidence(scores, given).astype(np.float64), width)
    return np.where(count > 0, total / np.maximum(count, 1), np.inf)


def confident_class(scores: Scores, thresholds: NDArray[np.float64]) -> Rows:
    """(N,) the highest-scoring class among those at their threshold or above; -1 where none is."""
    found = np.empty(len(scores), np.int64)
    # float32, less the rounding of a mean, so that a class whose scores are all equal reaches it
    least = (thresholds - 1e-6).astype(np.float32)
    for part in _blocks(scores):
        reached = np.where(scores[part] >= least, scores[part], -np.inf)
        best = reached.argmax(1)
        found[part] = np.where(np.isfinite(reached[np.arange(len(best)), best]), best, -1)
    return found


def joint(scores: Scores, given: Rows) -> NDArray[np.float64]:
    """(C, C) estimated share of the items with label i (row) whose true class is j (column).

    The calibrated confident joint: items whose true class is confidently known are counted, and each
    row is scaled to the share of its label. A label without any such item is taken to be right.
    """
    width = scores.shape[1]
    found = confident_class(scores, class_thresholds(scores, given))
    sure = found >= 0
    counted = np.bincount(given[sure] * width + found[sure], minlength=width * width)
    counts = counted.reshape(width, width).astype(np.float64)
    empty = counts.sum(1) == 0
    counts[empty, empty] = 1
    share = np.bincount(given, minlength=width) / len(given)
    return np.asarray(counts / counts.sum(1, keepdims=True) * share[:, None])


@final
@dataclass(frozen=True, eq=False)
class Anchors:
    """The items that the model puts into their class by the widest margins; arrays are (K,) classes in use.

    Args:
        wrong: of them, how many labels are another class.
        taken: how many there are.
        weight: share of all items that the model puts into the class.
    """

    wrong: Rows
    taken: Rows
    weight: NDArray[np.float64]

    @property
    def rate(self) -> float:
        """The share of contradicting labels, each class with its weight."""
        return float(self.weight @ (self.wrong / self.taken))

    def error(self, prior: int = 0) -> float:
        """The standard error of the rate; with ``prior`` right and as many wrong labels more in each class it
        does not vanish where none, or all, are contradicted."""
        share = (self.wrong + prior) / (self.taken + 2 * prior)
        return float(np.sum(self.weight**2 * share * (1 - share) / self.taken) ** 0.5)


def anchors(scores: Scores, given: Rows, share: float, least: int) -> Anchors:
    """``share`` of the items that the model puts into a class, at least ``least``: the surest ones."""
    best = scores.argmax(1)
    order = np.lexsort((-_margin(scores), best))
    sizes = np.bincount(best, minlength=scores.shape[1])
    taken = np.minimum(sizes, np.maximum(least, np.round(share * sizes).astype(np.int64)))
    rank = np.arange(len(best)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    rows = order[rank < taken[best[order]]]
    wrong = np.bincount(best[rows], given[rows] != best[rows], scores.shape[1]).astype(np.int64)
    used = sizes > 0
    return Anchors(wrong[used], taken[used], sizes[used] / len(best))


def anchored_noise(
    scores: Scores, given: Rows, share: float = 0.02, least: int = 10
) -> tuple[float, float]:
    """How often labels contradict the model where it is surest, with the standard error.

    If the model is right at its anchors, and labels are no more often wrong there than elsewhere, the
    contradictions are the noise (the idea of Patrini et al. 2017, Eq. 12-13, with labels counted where they
    read off a score). A weak model is wrong even where it is surest: the number is then too large, but much
    less so than an estimate from all items.
    """
    found = anchors(scores, given, share, least)
    return found.rate, found.error()


def least_noise(scores: Scores, given: Rows) -> float:
    """A lower bound of the share of wrong labels.

    What the anchors say, less chance (one-sided 95%), less what the model may be wrong about there: of all
    that it does not confirm, :data:`BLUR`, and as much more as the anchors are of all items, for of few items
    even the surest are not very sure. It holds where a model is more often right where it is surer; one that
    errs as often there as elsewhere cannot be told from noise by scores.
    """
    found = anchors(scores, given, SURE, 10)
    confirmed = float(agreeing(scores, given).mean())
    taken = float(found.taken.sum() / len(given))
    blur = min(1.0, BLUR + taken) * (1 - confirmed)
    return max(0.0, found.rate - 1.645 * found.error(prior=1) - blur)


def confident_noise(scores: Scores, given: Rows) -> float:
    """The share of wrong labels by the confident joint, which counts what a model is bad at as noise."""
    return float(max(0.0, 1 - np.trace(joint(scores, given))))


def estimated_noise(scores: Scores, given: Rows) -> float:
    """The estimated share of wrong labels.

    The confident joint's, which counts what the model is bad at as noise, unless anchors show by more
    than two standard errors that it is less.
    """
    confident = confident_noise(scores, given)
    anchored, error = anchored_noise(scores, given)
    return anchored if anchored + 2 * error < confident else confident


@final
@dataclass(frozen=True)
class Detection:
    """Dropped labels against those that are really wrong."""

    precision: float
    """The share of the dropped labels that is wrong; 1 where none is dropped."""
    recall: float
    """The share of the wrong labels that is dropped; 1 where none is wrong."""

    @property
    def f1(self) -> float:
        """The harmonic mean."""
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0


def detection(keep: Keep, wrong: Keep) -> Detection:
    """Judge a rule against known truth: ``wrong`` (N,) is True where the given label is."""
    hits = int((~keep & wrong).sum())
    dropped, faults = int((~keep).sum()), int(wrong.sum())
    return Detection(hits / dropped if dropped else 1.0, hits / faults if faults else 1.0)


def suspicion(scores: Scores, given: Rows) -> Scores:
    """(N,) in [-1, 1]: the highest score of another class less the score of the given one.

    The normalised margin of confident learning with the sign turned: the most doubtful label has the
    largest value, and it is positive just where the paper's rule drops the label (but for ties).
    """
    mine, others = _both(scores, given)
    return others - mine


def _both(scores: Scores, given: Rows) -> tuple[Scores, Scores]:
    """(N,) the score of the given class, and the highest of another one."""
    others = np.empty(len(scores), np.float32)
    for part in _blocks(scores):
        rest = scores[part].copy()
        rest[np.arange(len(rest)), given[part]] = -np.inf
        others[part] = rest.max(1)
    return self_confidence(scores, given), others


def ranked(scores: Scores, given: Rows, keep: Keep) -> Rows:
    """The rows of the dropped labels, the most doubtful first."""
    rows = np.flatnonzero(~keep)
    return rows[np.argsort(-suspicion(scores[rows], given[rows]), kind="stable")]


def _margin(scores: Scores) -> Scores:
    """(N,) the log ratio of the highest score to the second."""
    out = np.empty(len(scores), np.float32)
    for part in _blocks(scores):
        top = np.partition(scores[part], -2, axis=1)[:, -2:]
        out[part] = np.log(np.maximum(top[:, 1], 1e-30)) - np.log(np.maximum(top[:, 0], 1e-30))
    return out


def _blocks(scores: Scores) -> Iterator[slice]:
    size = max(1, _BLOCK // max(scores.shape[1], 1))
    return (slice(start, start + size) for start in range(0, len(scores), size))
