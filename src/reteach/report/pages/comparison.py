"""The report of a comparison: several methods under one budget, the same seeds and batches."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ... import formatting
from ...errors import UserError
from ...metrics.registry import metric
from ...records.comparisons import COMPARISON, ComparedExample, ComparisonRecord
from ..entries import Entry, entries, leaders, most_seeds
from ..glossary import glossary
from ..kit.blocks import (
    columns,
    described,
    facts,
    more,
    named,
    panel,
    panels,
    row,
    table,
    warnings,
)
from ..kit.charts import Line, legend, lines
from ..kit.html import Child, Html, join, tag
from ..kit.line_styles import Looks
from ..kit.page import Section, document, footer, top
from .config import flat, nested, text
from .examples import gallery
from .results_table import differences, results_table, seeds_apart
from .sweeps import sweep

CURVES = 7
"""Methods in a chart over the steps."""


def page(folder: Path) -> str:
    """The HTML of a comparison's report.

    Raises:
        UserError: no ``comparison.json`` there, or a damaged one.
    """
    record = COMPARISON.read(folder)
    if record is None:
        raise UserError(f"{folder} is not the folder of a comparison: it has no comparison.json")
    found = entries(record)
    metrics = [m for m in record.metrics if any(e.values.get(m) for e in found)]
    looks = Looks(e.method for e in found if not e.trivial)
    true = _true_labels(found)
    title = record.title or "Comparison"
    sections = [
        results_table(found, metrics),
        _notes(record.notes),
        sweep(record.sweep, found, metrics, looks),
        seeds_apart(found, metrics, looks, true),
        differences(record.paired, found, metrics),
        _curves(found, metrics, true),
        _examples(record.examples, found),
        _configuration(record.configuration, found),
        glossary(metrics),
    ]
    return document(
        f"{title} — reteach",
        _header(record, title, found),
        sections,
        footer(""),
    )


def _header(record: ComparisonRecord, title: str, found: Sequence[Entry]) -> Html:
    budget = record.budget
    steps, most, batch = budget.steps, budget.most_steps, budget.batch_size
    seeds = [str(seed) for seed in record.seeds]
    main = [e for e in found if e.main]
    methods = list(dict.fromkeys(e.method or e.title for e in main))
    pairs: list[tuple[str, Child]] = [("methods", str(len(methods)))]
    if len(main) > len(methods):
        pairs.append(("settings", str(len(main))))
    same = most is None or most == steps
    if steps is not None:
        words = (
            formatting.count(steps)
            if same
            else f"{formatting.count(steps)} to {formatting.count(most)}"
        )
        pairs.append(("backward passes each", words))
    if batch is not None:
        pairs.append(("images per batch", formatting.count(batch)))
    if seeds:
        pairs.append(("seeds", ", ".join(seeds) if len(seeds) <= 5 else str(len(seeds))))
    seconds = sum(sum(e.seconds) for e in found)
    if seconds:
        pairs.append(("training time in all", formatting.duration(seconds)))
    return top(
        "comparison",
        named(title),
        described(record.description) if record.description else None,
        warnings(record.warnings),
        facts(pairs),
        tag(
            "p",
            "Every method had the same budget of backward passes, the same seeds, batches and augmentation."
            if same
            else "Every method had the same seeds and augmentation. Budgets of backward passes differ: "
            "compare where the settings say that they should be alike.",
            class_="note",
        ),
    )


def _notes(texts: Sequence[str]) -> Section | None:
    if not texts:
        return None
    return Section(
        "notes", "How to read this", None, tag("div", [tag("p", t) for t in texts], class_="prose")
    )


def _true_labels(found: Sequence[Entry]) -> float | None:
    """The true number of labels per image, from whoever measured it, averaged over the seeds."""
    for entry in found:
        known = [
            value
            for records in entry.history
            if records and (value := records[-1].get("true_labels_per_image")) is not None
        ]
        if known:
            return statistics.fmean(known)
    return None


def _curves(found: Sequence[Entry], metrics: Sequence[str], true: float | None) -> Section | None:
    """A chart per metric over the steps: the mean of the seeds in the band of all of them."""
    if not metrics:
        return None
    lead_metric = "map" if "map" in metrics else metrics[0]
    able = [e for e in found if e.main and any(e.history)]
    drawn = leaders(able, lead_metric, metric(lead_metric).better, CURVES)
    looks = Looks(e.name for e in drawn)
    charts = []
    for name in metrics:
        curves = [c for c in (_curve(e, name, looks(e.name)) for e in drawn) if c is not None]
        if not curves:
            continue
        words = metric(name)
        rule = None
        if name == "labels_per_image" and true is not None:
            rule = (true, f"true number {formatting.decimal(true)}")
        label = f"{words.title} over the steps. " + "; ".join(
            f"{c.name}: {formatting.decimal(c.y[-1], words.digits)} at last" for c in curves
        )
        chart = lines(
            curves,
            label,
            show=partial(formatting.decimal, digits=words.digits),
            rule=rule,
            shares=words.unit == "percent",
        )
        charts.append(panel(words.title, chart, words.unit_words))
    if not charts:
        return None
    lead = (
        "The mean of the seeds; the band reaches from the lowest to the highest of them."
        if most_seeds(found) > 1
        else "One seed."
    )
    if len(drawn) < len(able):
        lead += f" The {len(drawn)} best by {metric(lead_metric).title} are drawn."
    keys = legend([(e.title, looks(e.name)) for e in drawn])
    return Section("curves", "Over the steps", lead, join(keys, panels(charts)))


def _curve(entry: Entry, name: str, look: int) -> Line | None:
    scale = metric(name).scale
    at: dict[float, list[float]] = {}
    for records in entry.history:
        for record in records:
            step, value = formatting.finite(record.get("step")), formatting.finite(record.get(name))
            if step is not None and value is not None:
                at.setdefault(step, []).append(scale * value)
    if not at:
        return None
    steps = sorted(at)
    rows = [at[step] for step in steps]
    means = [math.fsum(r) / len(r) for r in rows]
    if max(map(len, rows)) == 1:
        return Line(entry.title, steps, means, look)
    return Line(entry.title, steps, means, look, [min(r) for r in rows], [max(r) for r in rows])


def _examples(examples: Sequence[ComparedExample], found: Sequence[Entry]) -> Section | None:
    titles = {e.name: e.title for e in found}
    cards = gallery(
        [
            replace(e, predicted={titles.get(name, name): p for name, p in e.predicted.items()})
            for e in examples
        ]
    )
    if cards is None:
        return None
    lead = (
        "Test images with the label they carry, what each method sees (first seed), and the truth."
    )
    return Section("examples", "Examples", lead, cards)


def _configuration(
    configuration: dict[str, dict[str, Any]], found: Sequence[Entry]
) -> Section | None:
    """The settings that all share as lists, those that differ as a table."""
    configs = {name: dict(flat(config)) for name, config in configuration.items()}
    if not configs:
        return None
    keys = list(dict.fromkeys(key for config in configs.values() for key in config))
    shared = [
        key for key in keys if len({text(config.get(key, ...)) for config in configs.values()}) == 1
    ]
    own = [key for key in keys if key not in shared]
    titles = {e.name: e.title for e in found}
    groups: dict[str, Any] = {}
    first = next(iter(configs.values()))
    for key in shared:
        name, dot, setting = key.partition(".")
        if dot:
            groups.setdefault(name, {})[setting] = first[key]
        else:
            groups[key] = first[key]
    parts: list[Child] = []
    if own and len(configs) > 1:
        heads = columns("Method", *(key.removeprefix("settings.") for key in own))
        body = [
            row(
                named(titles.get(name, name)),
                *(text(config[key]) if key in config else "" for key in own),
            )
            for name, config in configs.items()
        ]
        parts.append(
            more("What differs", table(heads, [body], "Settings that differ"), print_=True)
        )
    parts.append(more("What all share", nested(groups), print_=True))
    return Section("configuration", "Configuration", None, parts)
