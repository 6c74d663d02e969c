"""The rows of a comparison, from the outcomes of all seeds: values, means, paired differences."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from ..metrics.registry import metric, shown
from .variants import Variant

EARLY = "map"
"""The validation metric that the early-stopping control watches."""


def variant_row(variant: Variant, outcomes: list[dict[str, Any]]) -> dict[str, Any]:
    """One line of the table: the entrant's numbers, seed by seed."""
    return {
        "name": variant.name,
        "method": variant.config.method,
        "settings": variant.changed,
        "trivial": False,
        "values": {m: [o["values"][m] for o in outcomes] for m in outcomes[0]["values"]},
        "history": [outcome["history"] for outcome in outcomes],
        "seconds": [outcome["seconds"] for outcome in outcomes],
    }


def early_row(variant: Variant, outcomes: list[dict[str, Any]]) -> dict[str, Any]:
    """The entrant as it was at its best validation mAP: what simply stopping early would give."""
    clean = shown("compare/clean")
    values: dict[str, list[float]] = {m: [] for m in outcomes[0]["values"] if m not in clean}
    for outcome in outcomes:
        watched = [record.get(EARLY) or -math.inf for record in outcome["validation"]]
        at = outcome["history"][int(np.argmax(watched))]
        for name, column in values.items():
            column.append(at.get(name))
    return {
        "name": f"{variant.name}, stopped early",
        "method": variant.config.method,
        "settings": variant.changed,
        "trivial": False,
        "control": "stopped at its best validation mAP",
        "values": values,
        "history": [],
        "seconds": [],
    }


def trivial_row(outcomes: list[dict[str, Any]]) -> dict[str, Any]:
    """The answer that needs no model."""
    numbers = [outcome["trivial"] for outcome in outcomes]
    return {
        "name": "every class present",
        "method": "",
        "settings": {},
        "trivial": True,
        "values": {
            m: [entry[m] for entry in numbers] for m in outcomes[0]["values"] if m in numbers[0]
        },
        "history": [],
        "seconds": [],
    }


def summary(values: dict[str, list[float | None]]) -> dict[str, dict[str, float]]:
    """Mean, deviation and median over the seeds, fractions in percent."""
    out = {}
    for name, per_seed in values.items():
        known = np.array([value for value in per_seed if value is not None])
        if len(known):
            known = known * metric(name).scale
            std = float(known.std(ddof=1)) if len(known) > 1 else 0.0
            middle = float(np.median(known))
            out[name] = {
                "mean": float(known.mean()),
                "std": std,
                "median": middle,
                "n": len(known),
            }
    return out


def paired(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Differences seed by seed with their 95% interval (Student's t), each later row to each earlier."""
    from scipy.stats import t

    out = []
    for b, a in itertools.combinations([row for row in rows if not row["trivial"]], 2):
        for name in a["values"].keys() & b["values"].keys():
            pairs = zip(a["values"][name], b["values"][name], strict=True)
            known = np.array([x - y for x, y in pairs if x is not None and y is not None])
            if len(known) < 2:
                continue
            half = float(t.ppf(0.975, len(known) - 1) * known.std(ddof=1) / len(known) ** 0.5)
            mean = float(known.mean())
            entry = {"metric": name, "a": a["name"], "b": b["name"], "mean": mean}
            out.append(entry | {"low": mean - half, "high": mean + half, "n": len(known)})
    return out


def examples(first: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """The test pictures of one seed with what each entrant (at most four) says of them.

    Args:
        first: entrant -> its outcome with that seed.
    """
    each = {name: outcome["examples"] for name, outcome in list(first.items())[:4]}
    pictures = next(iter(each.values()))
    return [
        picture | {"predicted": {name: seen[i]["predicted"] for name, seen in each.items()}}
        for i, picture in enumerate(pictures)
    ]
