"""Which labels to doubt, from scores of models that have not seen them.

All functions take ``scores`` (N, C), probabilities of held-out models, and ``given`` (N,), the labels in
[0, C); ``keep`` (N,) is True where a label is to stay.

Three rules:

* *agreement*, the paper's (ReaL, Section 6): keep a label when it is the model's first choice. It also
  drops what the model is merely bad at: with 9% of the labels wrong and a model that is right in half of
  the cases it drops half of the data. Good where labels are worse than the model.
* *per-class* thresholds, as in confident learning (Northcutt, Jiang, Chuang; 2021, Eq. 1-2): drop a label
  when another class scores at least what that class usually scores on its own items. A class that the
  model is unsure of is then not thinned out.
* *confidence*: drop the share of the labels with the lowest score, as many as the noise estimate says.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
from numpy.typing import NDArray

from ...labels import Rows

Rule = Literal["agreement", "per-class", "confidence"]
Scores = NDArray[np.float32]
Keep = NDArray[np.bool_]
WEAK = 0.2
"""Of the labels that a model does not confirm, the share of which it may be wrong even where it is surest.

Set on one draw of 4,000 CIFAR-10 images without wrong labels, where anchors alone say 12%."""
HALF, FAR = 0.5, 0.15
"""Share of the labels above which dropping them is always said aloud; distance from the lower bound of the
noise that is far."""
_BLOCK = 1 << 22  # scores looked at together, so that no second N × C array is made


def keep_rule(rule: Rule, scores: Scores, given: Rows) -> Keep:
    """Where the labels stay under a rule."""
    if rule == "agreement":
        return agreeing(scores, given)
    if rule == "per-class":
        return unchallenged(scores, given)
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


def anchored_noise(
    scores: Scores, given: Rows, share: float = 0.02, least: int = 10
) -> tuple[float, float]:
    """How often labels contradict the model where it is surest, with the standard error.

    The anchors of a class are the items that the model puts into it by the widest margins: ``share``
    of them, at least ``least``. If the model is right there, and labels are no more often wrong there
    than elsewhere, the contradictions are the noise (the idea of Patrini et al. 2017, Eq. 12-13, with
    labels counted where they read off a score). A weak model is wrong even where it is surest: the
    number is then too large, but much less so than an estimate from all items.
    """
    best = scores.argmax(1)
    order = np.lexsort((-_margin(scores), best))
    sizes = np.bincount(best, minlength=scores.shape[1])
    taken = np.minimum(sizes, np.maximum(least, np.round(share * sizes).astype(np.int64)))
    rank = np.arange(len(best)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    anchors = order[rank < taken[best[order]]]
    wrong = np.bincount(best[anchors], given[anchors] != best[anchors], scores.shape[1])
    used = sizes > 0
    rate, weight = wrong[used] / taken[used], sizes[used] / len(best)
    error = np.sum(weight**2 * rate * (1 - rate) / taken[used]) ** 0.5
    return float(weight @ rate), float(error)


def estimated_noise(scores: Scores, given: Rows) -> float:
    """The estimated share of wrong labels.

    The confident joint's, which counts what the model is bad at as noise, unless anchors show by more
    than two standard errors that it is less.
    """
    confident = float(max(0.0, 1 - np.trace(joint(scores, given))))
    anchored, error = anchored_noise(scores, given)
    return anchored if anchored + 2 * error < confident else confident


@final
@dataclass(frozen=True)
class Balance:
    """How much a rule removes beside how much is estimated to be wrong.

    Args:
        removed: share of the labels that the rule drops.
        noise: :func:`estimated_noise`.
        confirmed: share of the labels that are the model's first choice.
        chance: the share that would be, if the model always named the most frequent label.
        least: a lower bound of the noise: what :func:`anchored_noise` says, less what a model may be wrong
            about where it is surest (:data:`WEAK`).
        error: the standard error of ``least``.
    """

    removed: float
    noise: float
    confirmed: float
    chance: float
    least: float
    error: float

    @property
    def warning(self) -> str | None:
        """What to say when nothing was learned, when much is dropped, or when the two are far apart.

        Far apart: by 5 points, and so that most of what is dropped must be right (twice as much is
        dropped as is wrong), or a third of what is wrong must be left. The estimate grows with the
        weakness of the model, which it can hardly be told apart from. So two rules do without it: more
        than half is dropped; or far more than the lower bound, by :data:`FAR`, two standard errors and a
        factor of two.

        The rule *confidence* drops what the estimate says, so that the two cannot be far apart. There a
        model is told that contradicts most labels, and far more than it estimates to be wrong.
        """
        if self.confirmed < self.chance + 0.05:
            return (
                f"the held-out models confirm {self.confirmed:.0%} of the labels, hardly more than "
                f"one that always names the most frequent ({self.chance:.0%}): what they drop means "
                "nothing. Train longer or use a better model"
            )
        far = abs(self.removed - self.noise) > 0.05
        if far and self.removed > 2 * self.noise:
            return (
                f"{self.removed:.0%} of the labels are dropped but only about {self.noise:.0%} are "
                "estimated to be wrong: the rule also drops what the model is bad at, and training "
                "on the rest may be worse than on all. Use a gentler rule or a better model"
            )
        if self.removed > HALF:
            return (
                f"{self.removed:.0%} of the labels are dropped, more than half: a model this weak also drops "
                "what it is bad at. Look at the suspects, or judge by --truth, before you train on the "
                "rest; use a gentler rule or a better model"
            )
        beyond = self.removed - self.least
        if beyond > max(FAR, 2 * self.error) and self.removed > 2 * self.least:
            return (
                f"{self.removed:.0%} of the labels are dropped, but where the models are surest they "
                f"vouch for {self.least:.0%} wrong ones only: perhaps most of what is dropped is right. "
                "Look at the suspects, use a gentler rule or a better model"
            )
        if self.confirmed < HALF and 1 - self.confirmed > 1.5 * self.noise:
            return (
                f"the held-out models confirm {self.confirmed:.0%} of the labels only, though about "
                f"{1 - self.noise:.0%} are estimated to be right: they err more often than the labels, and "
                "much of what they drop may be right. Train longer or use a better model"
            )
        if far and self.noise > 1.5 * self.removed:
            return (
                f"only {self.removed:.0%} of the labels are dropped but about {self.noise:.0%} are "
                "estimated to be wrong: a stricter rule may clean better"
            )
        return None


def balance(scores: Scores, given: Rows, keep: Keep) -> Balance:
    """The removed share beside the estimate of the noise."""
    confirmed = float(agreeing(scores, given).mean())
    anchored, error = anchored_noise(scores, given)
    return Balance(
        float(1 - keep.mean()),
        estimated_noise(scores, given),
        confirmed,
        float(np.bincount(given).max() / len(given)),
        max(0.0, anchored - WEAK * (1 - confirmed)),
        error,
    )


@final
@dataclass(frozen=True)
class Detection:
    """Dropped labels against those that are really wrong."""

    precision: float
    """Of the dropped labels, the share that is wrong; 1 where none is dropped."""
    recall: float
    """Of the wrong labels, the share that is dropped; 1 where none is wrong."""

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
    out = np.empty(len(scores), np.float32)
    for part in _blocks(scores):
        others = scores[part].copy()
        at = np.arange(len(others))
        mine = others[at, given[part]]
        others[at, given[part]] = -np.inf
        out[part] = others.max(1) - mine
    return out


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
