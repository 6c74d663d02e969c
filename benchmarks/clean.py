"""Finding wrong labels in held-out predictions, beside cleanlab: how long it takes, and how well it is done.

The time is of made-up scores. How well: real images that everybody with scikit-learn has, its 1,797
handwritten digits; a fifth of the labels is wrong, half of these by a confusion of pairs; the held-out scores
are of scikit-learn's logistic regression as it comes, on standardised pixels, in five folds. Each
round draws the wrong labels anew.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from benchmarks.house import Contender, Contest, timed
from reteach.relabel.noise import clean

ITEMS, CLASSES = 50_000, 10
WRONG = 0.2
OURS: clean.Rule = "posterior"
"""What ``reteach relabel clean`` does with features unless it is told otherwise."""
THEIRS = ("prune_by_noise_rate", "both", "confident_learning")

Scores, Given = NDArray[np.float32], NDArray[np.int64]


def generate(items: int, classes: int) -> tuple[Scores, Given]:
    """Scores, and labels of which a fifth is wrong."""
    draw = np.random.default_rng(0)
    true = draw.integers(0, classes, items)
    logits = draw.normal(size=(items, classes)).astype(np.float32)
    logits[np.arange(items), true] += 2.5
    scores = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    wrong = draw.random(items) < WRONG
    return scores, np.where(wrong, (true + draw.integers(1, classes, items)) % classes, true)


def contest(folder: Path) -> Contest:
    """A row: the time."""
    scores, given = generate(ITEMS, CLASSES)

    def theirs(how: str) -> Contender:
        from cleanlab.filter import find_label_issues

        return timed(lambda: find_label_issues(given, scores, filter_by=how, n_jobs=1))

    rules = {f"cleanlab {how}": partial(theirs, how) for how in THEIRS}
    own = {f"reteach's {rule}": partial(_own, rule, scores, given) for rule in get_args(clean.Rule)}
    own.pop(f"reteach's {OURS}")
    return Contest(
        f"wrong labels among {ITEMS:,} held-out predictions of {CLASSES} classes, by the rule "
        f"{OURS!r}; by reteach's other rules too",
        timed(lambda: clean.keep_rule(OURS, scores, given)),
        rules | own,
    )


def _own(rule: clean.Rule, scores: Scores, given: Given) -> Contender:
    return timed(lambda: clean.keep_rule(rule, scores, given))


@cache
def digits(seed: int) -> tuple[Scores, Given, NDArray[np.bool_]]:
    """(held-out scores, labels, which of them are wrong)."""
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    draw = np.random.default_rng(seed)
    pixels, true = load_digits(return_X_y=True)
    wrong = draw.random(len(true)) < WRONG
    pair = draw.random(len(true)) < 0.5
    other = np.where(pair, true + 1, true + draw.integers(1, 10, len(true))) % 10
    given = np.where(wrong, other, true)
    model = make_pipeline(StandardScaler(), LogisticRegression())
    scores = cross_val_predict(model, pixels, given, cv=5, method="predict_proba")
    return np.asarray(scores, np.float32), given, wrong


def found(folder: Path) -> Contest:
    """A row: F1 of the wrong labels found."""

    def cleanlab(how: str) -> Contender:
        from cleanlab.filter import find_label_issues

        def keep(scores: Scores, given: Given) -> Any:
            return ~find_label_issues(given, scores, filter_by=how, n_jobs=1)

        return _detection(keep)

    def rule(name: clean.Rule) -> Contender:
        return _detection(partial(clean.keep_rule, name))

    own = {
        f"reteach's {name}": partial(rule, name) for name in get_args(clean.Rule) if name != OURS
    }
    return Contest(
        f"F1 of finding {WRONG:.0%} wrong labels among scikit-learn's 1,797 digits, by held-out scores of a "
        f"logistic regression, by the rule {OURS!r}",
        _detection(partial(clean.keep_rule, OURS)),
        {f"cleanlab {how}": partial(cleanlab, how) for how in THEIRS} | own,
    )


def _detection(rule: Callable[[Scores, Given], Any]) -> Contender:
    def run(number: int) -> dict[str, float]:
        scores, given, wrong = digits(number)
        return {"F1": clean.detection(rule(scores, given), wrong).f1}

    return run
