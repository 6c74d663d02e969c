"""In which order items are offered: by what a look at them is worth.

An order is a function from :class:`Evidence` to (N,) numbers, the highest first; :func:`add_order` adds one
under a name of its own. After its name may stand how it is arranged: ``+balanced`` takes the classes in turn,
``+diverse`` leaves out of a batch what looks like something in it, and offers it later.

==================  ====================================================================================
self-confidence     the probability of the given label, lowest first: cleanlab's usual label quality score
margin              the given label's lead over the best other class: cleanlab's *normalized margin*
adjusted            self-confidence less the class's mean: cleanlab's with *adjusted* probabilities
disagreement        models that contradict the label, and each other, first; then their mean doubt
raters              images first on which raters disagree
active-lab          ActiveLab (Goh & Mueller 2023): model and verdicts weighed together, so that decided
                    items on which people and model disagree come up again (status *all* shows them)
random              no order at all
==================  ====================================================================================

Of label sets the doubt is that in the most doubtful entry, present or absent; *adjusted* and *active-lab* are
for single labels. Items without a label, which cannot be wrong, come last.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError, closest
from ..labels import Rows
from .estimate import worst_entry
from .prepared import Entries, Floats, Kind, Opinion

BATCH = 100
"""Items that *diverse* keeps apart from each other."""
_CELLS = 256


@final
@dataclass(frozen=True, eq=False)
class Evidence:
    """All that an order may look at.

    Args:
        classes: C.
        given: N given label sets.
        opinion: of heads, out of fold.
        second: of another model; None: there is none.
        dispute: (N,) of raters, 0 … 1; None: there were none.
        near: (N, P) features in few directions.
        said: (M, 2) item and class of every verdict that stands and leaves a single label.
    """

    kind: Kind
    classes: int
    given: Entries
    opinion: Opinion
    second: Opinion | None
    dispute: Floats | None
    near: Floats
    said: Rows
    seed: int = 0

    def labelled(self) -> NDArray[np.bool_]:
        """(N,) the items with a given label, or with a set."""
        return self.given.sizes > 0 if self.kind == "single" else np.ones(len(self.given), np.bool_)

    def own(self, opinion: Opinion) -> Floats:
        """(N,) the probability of what was given: of sets, of the most doubtful entry."""
        if self.kind == "multi":
            return np.asarray(1 - worst_entry("multi", self.given, opinion), np.float32)
        out = np.ones(len(self.given), np.float32)
        out[self.given.sizes > 0] = opinion.given
        return out


Worth = Callable[[Evidence], Floats]


def self_confidence(evidence: Evidence) -> Floats:
    """(N,) less the probability of what was given."""
    return -evidence.own(evidence.opinion)


def margin(evidence: Evidence) -> Floats:
    """(N,) how far the best other class is above the given one."""
    if evidence.kind == "multi":
        return self_confidence(evidence)
    opinion, first = evidence.opinion, evidence.given.first
    best, second = opinion.scores[:, 0], opinion.scores[:, min(1, opinion.scores.shape[1] - 1)]
    other = np.where(opinion.top[:, 0] == first, second, best)
    return np.asarray(other - evidence.own(opinion), np.float32)


def adjusted(evidence: Evidence) -> Floats:
    """(N,) the mean probability of the class over the items that were given it, less the item's own.

    Raises:
        UserError: label sets.
    """
    if evidence.kind == "multi":
        raise UserError("the order 'adjusted' is for single labels: take self-confidence")
    own, first = evidence.own(evidence.opinion), evidence.given.first
    some = first >= 0
    count = np.bincount(first[some], minlength=evidence.classes)
    total = np.bincount(first[some], own[some], evidence.classes)
    return np.asarray((total / np.maximum(count, 1))[np.maximum(first, 0)] - own, np.float32)


def disagreement(evidence: Evidence) -> Floats:
    """(N,) models that contradict the label, plus 1 if they contradict each other, plus their mean doubt.

    Raises:
        UserError: there is one model alone.
    """
    if evidence.second is None:
        raise UserError(
            "the order 'disagreement' needs a second model: review a folder of 'reteach relabel clean'"
        )
    models = (evidence.opinion, evidence.second)
    first = [model.top[:, 0] for model in models]
    given = evidence.given.first
    against = sum((best != given).astype(np.float32) for best in first)
    doubts = sum(1 - evidence.own(model) for model in models)
    return np.asarray(against + (first[0] != first[1]) + doubts / len(models), np.float32)


def raters(evidence: Evidence) -> Floats:
    """(N,) how far raters disagree.

    Raises:
        UserError: there were none.
    """
    if evidence.dispute is None:
        raise UserError("the order 'raters' needs raters: review a rating store")
    return evidence.dispute


def active_lab(evidence: Evidence) -> Floats:
    """(N,) less the quality of the consensus, as ActiveLab has it.

    Q = (w_model p + Σ w_j q_j + w / C) / (w_model + Σ w_j + w): p is what the model says of the consensus
    label, q_j 1 - ε where verdict j agrees with it and ε / (C - 1) where not. The given label is one verdict,
    each decision another; the weights are how far the model, and verdicts, beat always naming the most
    frequent class, measured on items with several verdicts.

    Raises:
        UserError: label sets.
    """
    if evidence.kind == "multi":
        raise UserError("the order 'active-lab' is for single labels: take self-confidence")
    given = evidence.given
    some = np.flatnonzero(given.sizes > 0)
    item = np.concatenate([some, evidence.said[:, 0]])
    label = np.concatenate([given.first[some], evidence.said[:, 1]]).astype(np.int64)
    count = np.bincount(item, minlength=len(given))
    consensus = np.array(given.first, np.int64)
    consensus[evidence.said[:, 0]] = evidence.said[:, 1]  # the newest verdict breaks the tie of two
    agrees = label == consensus[item]
    several = count[item] > 1
    chance = np.bincount(label, minlength=evidence.classes).max() / max(len(label), 1)
    right = float(agrees[several].mean()) if several.any() else 0.8
    model = float(np.mean(evidence.opinion.top[some, 0] == consensus[some]))
    weight = max(1 - (1 - right) / max(1 - chance, 1e-6), 1e-6)
    weight_model = (
        max(1 - (1 - model) / max(1 - chance, 1e-6), 1e-6) * float(count[some].mean()) ** 0.5
    )
    q = np.where(agrees, right, (1 - right) / max(evidence.classes - 1, 1))
    votes = np.bincount(item, weight * q, len(given))
    p = _probability(evidence.opinion, consensus, evidence.own(evidence.opinion), given.first)
    mean_weight = (weight + weight_model) / 2
    total = weight_model + weight * count + mean_weight
    quality = (weight_model * p + votes + mean_weight / evidence.classes) / total
    return np.asarray(-quality, np.float32)


def _probability(
    opinion: Opinion, label: Rows, own: Floats, given: NDArray[np.int32]
) -> NDArray[np.float64]:
    """(N,) the probability of a class; 0 where it is neither the given one nor among the best."""
    hit = np.where(opinion.top == label[:, None], opinion.scores, 0).max(1)
    return np.asarray(np.where(label == given, own, hit), np.float64)


def at_random(evidence: Evidence) -> Floats:
    """(N,) no order at all."""
    return np.random.default_rng(evidence.seed).random(len(evidence.given), np.float32)


ORDERS: dict[str, Worth] = {
    "self-confidence": self_confidence,
    "margin": margin,
    "adjusted": adjusted,
    "disagreement": disagreement,
    "raters": raters,
    "active-lab": active_lab,
    "random": at_random,
}
ARRANGEMENTS = ("balanced", "diverse")
DEFAULT = "self-confidence"


def add_order(name: str, worth: Worth) -> None:
    """Offer an order of your own under a name.

    Raises:
        UserError: the name is taken, or has a plus sign.
    """
    if name in ORDERS or "+" in name:
        raise UserError(f"the order {name!r} cannot be added: the name is taken or has a plus sign")
    ORDERS[name] = worth


def usable_orders(evidence: Evidence) -> tuple[str, ...]:
    """The orders that suit the evidence."""
    single = evidence.kind == "single"
    needs = {
        "disagreement": evidence.second is not None,
        "raters": evidence.dispute is not None,
        "adjusted": single,
        "active-lab": single,
    }
    return tuple(name for name in ORDERS if needs.get(name, True))


def order_rows(name: str, evidence: Evidence) -> Rows:
    """(N,) all rows in an order.

    Args:
        name: of an order, then perhaps arrangements, with plus signs between.

    Raises:
        UserError: there is no such order, or it does not suit the evidence.
    """
    base, *arranged = name.split("+")
    if base not in ORDERS:
        raise UserError(
            f"there is no order {base!r}{closest(base, list(ORDERS))}: take one of {', '.join(ORDERS)}"
        )
    if odd := [word for word in arranged if word not in ARRANGEMENTS]:
        raise UserError(f"an order is arranged {' or '.join(ARRANGEMENTS)}, not {odd[0]!r}")
    worth = np.where(evidence.labelled(), ORDERS[base](evidence), -np.inf)
    order: Rows = np.argsort(-worth, kind="stable")
    if "balanced" in arranged:
        order = balanced(order, evidence.given.first)
    if "diverse" in arranged:
        order = diverse(order, evidence.near)
    return order


def balanced(order: Rows, label: NDArray[np.int32]) -> Rows:
    """The rows, classes in turn: the first of each class, then the second of each, and so on."""
    own = label[order]
    turn = _within(own)
    return order[np.lexsort((np.arange(len(order)), turn))]


def diverse(order: Rows, near: Floats, batch: int = BATCH) -> Rows:
    """The rows; of a batch, no two lie in one of the cells that the features are divided into, as far as
    enough cells are there.

    Args:
        near: (N, P) features in few directions.
    """
    cell = _cells(near)
    out = np.empty(len(order), np.int64)
    # a window of the order is dealt out in turns over the cells, so that nothing moves far
    window = 4 * batch
    for start in range(0, len(order), window):
        some = order[start : start + window]
        out[start : start + window] = some[np.lexsort((np.arange(len(some)), _within(cell[some])))]
    return out


def _within(group: NDArray[np.int32]) -> Rows:
    """(N,) how many of the same group stand before."""
    order = np.argsort(group, kind="stable")
    sorted_ = group[order]
    first = np.flatnonzero(np.r_[True, sorted_[1:] != sorted_[:-1]])
    size = np.diff(np.r_[first, len(group)])
    out = np.empty(len(group), np.int64)
    out[order] = np.arange(len(group)) - np.repeat(first, size)
    return out


def _cells(near: Floats) -> NDArray[np.int32]:
    """(N,) a number that items of similar features share: which of some of the items is the nearest."""
    count = min(_CELLS, len(near))
    centres = np.array(near[np.linspace(0, len(near) - 1, count).astype(np.int64)])
    half = (centres**2).sum(1) / 2
    out = np.empty(len(near), np.int32)
    for start in range(0, len(near), 1 << 14):
        part = slice(start, start + (1 << 14))
        out[part] = (near[part] @ centres.T - half).argmax(1)
    return out
