"""The rows of a comparison, from the outcomes of all seeds: values, means, paired differences."""

from __future__ import annotations

import itertools
import math

import numpy as np

from ..metrics.registry import metric, shown
from ..records.comparisons import ComparedExample, ComparisonRow, PairedDifference, TrialResult
from .variants import Variant

EARLY = "map"
"""The validation metric that the early-stopping control watches."""


def variant_row(variant: Variant, outcomes: list[TrialResult]) -> ComparisonRow:
    """One line of the table: the entrant's numbers, seed by seed."""
    return ComparisonRow(
        variant.name,
        variant.config.method,
        variant.changed,
        values={m: tuple(o.values[m] for o in outcomes) for m in outcomes[0].values},
        history=tuple(outcome.history for outcome in outcomes),
        seconds=tuple(outcome.seconds for outcome in outcomes),
        collapsed=sum(outcome.collapsed for outcome in outcomes),
        spared=sum(o.spared for o in outcomes) / max(1, sum(o.steps for o in outcomes)),
    )


def early_row(variant: Variant, outcomes: list[TrialResult]) -> ComparisonRow:
    """The entrant as it was at its best validation mAP: what simply stopping early would give."""
    clean = shown("compare/clean")
    best = []
    for outcome in outcomes:
        watched = [record.get(EARLY) or -math.inf for record in outcome.validation]
        best.append(outcome.history[int(np.argmax(watched))])
    return ComparisonRow(
        f"{variant.name}, stopped early",
        variant.config.method,
        variant.changed,
        control="stopped at its best validation mAP",
        values={m: tuple(at.get(m) for at in best) for m in outcomes[0].values if m not in clean},
    )


def trivial_row(outcomes: list[TrialResult]) -> ComparisonRow:
    """The answer that needs no model."""
    shared = [m for m in outcomes[0].values if m in outcomes[0].trivial]
    return ComparisonRow(
        "every class present",
        trivial=True,
        values={m: tuple(outcome.trivial[m] for outcome in outcomes) for m in shared},
    )


def summary(values: dict[str, tuple[float | None, ...]]) -> dict[str, dict[str, float]]:
    """Mean, deviation (of several seeds) and median, fractions in percent."""
    out = {}
    for name, per_seed in values.items():
        known = np.array([value for value in per_seed if value is not None])
        if len(known):
            known = known * metric(name).scale
            spread = {"std": float(known.std(ddof=1))} if len(known) > 1 else {}
            middle = float(np.median(known))
            out[name] = {"mean": float(known.mean()), **spread, "median": middle, "n": len(known)}
    return out


def paired(rows: list[ComparisonRow]) -> tuple[PairedDifference, ...]:
    """Differences seed by seed with their 95% interval (Student's t), each later row to each earlier."""
    from scipy.stats import t

    out = []
    for b, a in itertools.combinations([row for row in rows if not row.trivial], 2):
        for name in (name for name in a.values if name in b.values):
            pairs = zip(a.values[name], b.values[name], strict=True)
            known = np.array([x - y for x, y in pairs if x is not None and y is not None])
            if len(known) < 2:
                continue
            half = float(t.ppf(0.975, len(known) - 1) * known.std(ddof=1) / len(known) ** 0.5)
            mean = float(known.mean())
            out.append(
                PairedDifference(name, a.name, b.name, mean, mean - half, mean + half, len(known))
            )
    return tuple(out)


def examples(first: dict[str, TrialResult]) -> tuple[ComparedExample, ...]:
    """The test pictures of one seed with what each entrant (at most four) says of them.

    Args:
        first: entrant -> its outcome with that seed.
    """
    each = {name: outcome.examples for name, outcome in list(first.items())[:4]}
    return tuple(
        ComparedExample(
            e.item,
            e.image,
            e.given,
            {name: own[i].predicted for name, own in each.items()},
            e.truth,
        )
        for i, e in enumerate(next(iter(each.values())))
    )
