"""The report of a run: what was trained on what, how it went, how good it is, and what it sees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ... import formatting
from ...errors import UserError
from ...metrics.registry import metric, shown, view_of
from ...options.methods import method_title
from ...records.runs import EVALUATION, RUN, Measurement, RunRecord
from .. import reading
from ..glossary import abbr
from ..kit.blocks import (
    big_numbers,
    columns,
    facts,
    head,
    more,
    named,
    notice,
    row,
    table,
    warnings,
)
from ..kit.html import Child, Html, join, tag
from ..kit.line_styles import Looks
from ..kit.page import Section, document, footer
from . import evaluation_sections as sections_of
from .config import commands, nested
from .curves import evaluations, training
from .evaluation_sections import Evaluated

_STATES = {"finished": "✓", "running": "…", "interrupted": "‖", "collapsed": "✕", "failed": "✕"}
_NOTICES = {"interrupted": "Stopped", "collapsed": "Collapsed", "failed": "Failed"}
QUARANTINE = 300
"""Rows of the list of unusable images; the rest is in the file."""


def page(folder: Path) -> str:
    """The HTML of a run folder's report.

    Raises:
        UserError: no ``run.json`` there, or a damaged file.
    """
    run = RUN.read(folder)
    if run is None:
        raise UserError(f"{folder} is not a run folder: it has no run.json")
    config = reading.load_yaml(folder / "config.yaml")
    records = reading.load_measurements(folder / "metrics.jsonl")
    quarantine = reading.load_csv(folder / "quarantine.csv")
    judged = EVALUATION.read(folder) or {}
    data, found = next(iter(judged.items()), ("val", {}))
    looks = Looks(found)
    title = _title(run)
    sections = [
        sections_of.results(judged),
        _evaluations(records, looks, found),
        _training(records, looks, run.method),
        sections_of.coverage(found, looks),
        sections_of.calibration(found, looks),
        sections_of.examples(found, data),
        sections_of.confusion(found),
        sections_of.classes(found),
        _quarantine(quarantine),
        _configuration(config),
        _reproduce(folder, run, config),
        sections_of.words(judged),
    ]
    return document(
        f"{title} — reteach",
        _header(run, title, found, bool(quarantine)),
        sections,
        footer(run.reteach),
    )


def _title(run: RunRecord) -> str:
    classes, images = len(run.classes), run.n_train
    words = method_title(run.method or "run")
    words += f" on {formatting.plural(images, 'image')}" if images else ""
    return words + (f", {formatting.plural(classes, 'class', 'classes')}" if classes else "")


def _header(run: RunRecord, title: str, found: Evaluated, listed: bool) -> Html:
    state, message = run.status, run.message
    pill = tag("span", _STATES.get(state, "·"), " ", state, class_="state") if state else None
    created = run.created[:16].replace("T", " ")
    return join(
        tag("p", "reteach run ", pill, tag("span", created), class_="eyebrow"),
        tag("h1", named(title)),
        notice(_NOTICES[state], message) if message and state in _NOTICES else None,
        notice("Collapsed", run.collapse) if run.collapse else None,
        warnings(run.warnings),
        _headline(found),
        facts(_facts(run, listed)),
    )


def _headline(found: Evaluated) -> Html | None:
    """The main numbers of the first predictor; those of the others as remarks."""
    if not found:
        return None
    numbers = {n: e.metrics for n, e in found.items()}
    main, *others = numbers
    large: list[tuple[Child, str, str, Child]] = []
    for name in shown(view_of("headline", numbers.values())):
        value = numbers[main].get(name)
        if value is None or (name == "real_accuracy" and value == numbers[main].get("accuracy")):
            continue  # with single labels ReaL accuracy is accuracy
        words = metric(name)
        remarks = []
        true = numbers[main].get("true_labels_per_image")
        if name == "labels_per_image" and true is not None:
            remarks.append(f"truly {formatting.decimal(true)}")
        for other in others[:2]:
            second = numbers[other].get(name)
            if second is not None:
                remarks.append(f"{other} {words.show(second)}")
        unit = "%" if words.unit == "percent" else ""
        remark = named(", ".join(remarks))
        large.append((abbr(name), words.show(value), unit, remark))
    return big_numbers(large[:5]) if large else None


def _facts(run: RunRecord, listed: bool) -> list[tuple[str, Child]]:
    """What was trained on what; ``listed``: the unusable images are named further down."""
    pairs: list[tuple[str, Child]] = []
    for number, name in (
        (run.n_train, "training images"),
        (run.n_val, "validation images"),
        (run.n_unlabeled, "unlabelled images"),
        (run.steps, "steps"),
    ):
        if number:
            pairs.append((name, formatting.count(number)))
    if run.n_quarantined:
        words = formatting.count(run.n_quarantined)
        link = tag("a", words, href="#quarantine") if listed else words
        pairs.append(("unusable images", link))
    if run.seconds is not None:
        pairs.append(("training time", formatting.duration(run.seconds)))
    if run.images_per_second is not None:
        pairs.append(("images per second", formatting.count(run.images_per_second)))
    for cost, name in (
        (run.parameters, "parameters"),
        (run.multiply_adds, "multiply-adds per image or clip"),
    ):
        if cost is not None:
            pairs.append((name, formatting.count(cost)))
    if run.device:
        pairs.append(("device", run.device))
    pairs += [
        (f"{name.replace('_', ' ')} (chosen)", formatting.general(value))
        for name, value in (run.derived or {}).items()
    ]
    return pairs


def _evaluations(records: list[Measurement], looks: Looks, found: Evaluated) -> Section | None:
    true = next(iter(found.values())).metrics.get("true_labels_per_image") if found else None
    charts = evaluations(records, looks, true)
    if charts is None:
        return None
    lead = "How good each model was along the way; a step is one backward pass of any of them."
    return Section("evaluations", "Over the steps", lead, charts)


def _training(records: list[Measurement], looks: Looks, method: str) -> Section | None:
    charts = training(records, looks)
    if charts is None:
        return None
    lead = "What the training itself measured."
    if method == "mile":
        lead += (
            " Teacher and student learn in turns, so each of their losses pauses while the other "
            "one's runs."
        )
    return Section("training", "Training", lead, charts)


def _quarantine(rows: list[dict[str, str]]) -> Section | None:
    if not rows:
        return None
    body = [
        row(named(r.get("item", "")), tag("td", r.get("reason", ""))) for r in rows[:QUARANTINE]
    ]
    heads = columns("Image", head("Reason", text=True))
    listing = table(heads, [body], "Images that could not be used", class_="words")
    rest = len(rows) - QUARANTINE
    remark = tag("p", f"… and {rest:,} more in quarantine.csv.") if rest > 0 else None
    lead = (
        f"{formatting.plural(len(rows), 'image')} could not be used and took no part in anything."
    )
    if len(rows) > 12:
        return Section(
            "quarantine", "Unusable images", lead, more("The list", listing, remark, print_=True)
        )
    return Section("quarantine", "Unusable images", lead, listing)


def _configuration(config: dict[str, Any]) -> Section | None:
    if not config:
        return None
    body = more("Every setting", nested(config), print_=True)
    return Section("configuration", "Configuration", None, body)


def _reproduce(folder: Path, run: RunRecord, config: dict[str, Any]) -> Section:
    parts = [
        (tag("p", words), tag("pre", command, class_="command", tabindex=0))
        for words, command in commands(folder, run.status, config)
    ]
    lead = (
        "Batches, augmentation and every other random choice follow from the seed and the step: a run "
        "that was interrupted and resumed ends with the same weights."
    )
    return Section("reproduce", "How to reproduce", lead, parts)
