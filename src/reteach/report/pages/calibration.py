"""The page of ``reteach calibrate``: where the scores lie, what they become, and whether to believe it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...formatting import count, decimal, percent, plural
from ...relabel.calibration.logit_histogram import NAMED, UNKNOWN, UNNAMED
from ...relabel.calibration.mixture import Numbers
from ...relabel.calibration.presence import Calibration, apart
from ..kit.blocks import big_numbers, columns, facts, named, notice, panel, panels, row, table
from ..kit.charts import Line, legend, lines
from ..kit.html import join
from ..kit.page import Section, top, write_page

BARS = 60
"""Bins of the observed scores on the page."""
NAMES = ("absent: never named", "present, seldom named", "present, often named")


def write_calibration(path: Path, found: Calibration, title: str) -> None:
    """Write the page of a calibration; ``title`` says of what."""
    header = top("calibration", named(title),
        [notice(_doubted(found), doubt) for doubt in found.warnings] or None,
        big_numbers(
            [
                ("Labels per image", decimal(found.labels_per_image), "",
                 "mean sum of an image's probabilities of presence"),
                ("Above 0.5", decimal(found.predicted), "",
                 "labels per image that would be predicted"),
                ("Probability at 0.5", decimal(found.half), "",
                 "of presence, where a score is 0.5"),
                ("In order", percent(apart(found.pooled)), "%",
                 "an absent class scores below a seldom named one"),
            ]
        ),
        facts(
            [
                ("images", count(found.images)),
                ("of them named", count(found.named)),
                ("classes", count(len(found.presence.classes))),
                ("labels per image as likely", " to ".join(map(decimal, found.range))),
            ]
        ),
    )  # fmt: skip
    sections = [_scores(found), _named(found), _map(found), _components(found), _classes(found)]
    write_page(path, f"Calibration of {title} — reteach", header, sections)


def _doubted(found: Calibration) -> str:
    if found.rate is not None:
        return "The number of labels that was given decides"
    return "It cannot tell present from absent"


def _scores(found: Calibration) -> Section:
    z, total = _coarse(found.z, found.counts.sum((0, 1)))
    share = 100 * total / max(total.sum(), 1)
    parts = found.pooled.density(z) * (z[1] - z[0]) * 100
    names = _names(parts.shape[-1])
    curves = [Line("all scores", z.tolist(), share.tolist(), 0)]
    curves += [Line(n, z.tolist(), parts[:, k].tolist(), k + 1) for k, n in enumerate(names)]
    cut = _cut(found)
    chart = lines(
        curves,
        f"Shares of the scores by log-odds, with {plural(len(names), 'component')} fitted",
        marks=[] if cut is None else [(cut, "score 0.5")],
        x_label="log-odds of being named",
        show=lambda _: "",
    )
    keys = legend([(curve.name, curve.look) for curve in curves])
    body = join(keys, panels([panel("Scores", chart, "percent per bin")]))
    return Section(
        "scores",
        "The scores",
        "Every class of every image, by the model's log-odds that it is the label. The component that is "
        "never named is the absent one.",
        body,
    )


def _named(found: Calibration) -> Section | None:
    """How often a score's class was the label, observed and fitted."""
    if not found.counts[NAMED].any():
        return None
    rate = found.rate
    z, named = _coarse(found.z, found.counts[NAMED].sum(0))
    _, other = _coarse(found.z, found.counts[UNNAMED].sum(0))
    seen = named + other
    parts = found.pooled.density(z)
    fitted = (parts * found.pooled.named).sum(-1) / np.maximum(parts.sum(-1), 1e-300)
    if rate is not None:
        fitted = rate.named(z)
    enough = seen >= 20
    observed = np.where(enough, named / np.maximum(seen, 1), np.nan)
    curves = [
        Line("observed", z.tolist(), (100 * observed).tolist(), 0),
        Line("fitted", z.tolist(), np.where(enough, 100 * fitted, np.nan).tolist(), 1),
    ]
    chart = lines(
        curves,
        "How often a class with this score is the image's label, observed and as fitted",
        x_label="log-odds of being named",
        show=lambda _: "",
    )
    keys = legend([(curve.name, curve.look) for curve in curves])
    body = join(keys, panels([panel("Named", chart, "percent of the scores")]))
    lead = "How often a class with this score is the label of its image, and what was fitted to it."
    return Section("named", "The names", lead, body)


def _map(found: Calibration) -> Section:
    presence = found.presence
    knots = presence.low + presence.step * np.arange(presence.table.shape[1])
    own = 100 / (1 + np.exp(-knots))
    rows = presence.table.astype(np.float64)
    middle = np.median(rows, 0)
    band = (rows.min(0), rows.max(0)) if len(rows) > 1 else None

    def p(logits: Numbers) -> list[float]:
        return [float(v) for v in 100 / (1 + np.exp(-logits))]

    curves = [
        Line("score", knots.tolist(), p(middle), 0, *map(p, band or ())),
        Line("named, by the model", knots.tolist(), own.tolist(), 1),
    ]
    chart = lines(
        curves,
        "The score that a prediction has, and the model's own probability, by log-odds",
        x_label="log-odds of being named",
        show=lambda _: "",
    )
    lead = "What the model's score becomes. The order of the images by a class stays as it was."
    if found.half != 0.5:
        lead += (
            " It is no probability: the odds of presence are multiplied by "
            f"{(1 - found.half) / found.half:.2f}, so that as many classes pass 0.5 as were expected "
            "(--half presence: probabilities)."
        )
    if band is not None:
        lead += " The line is the median class, the band reaches over all classes."
    body = join(
        legend([(c.name, c.look) for c in curves]), panels([panel("The map", chart, "percent")])
    )
    return Section("map", "The map", lead, body)


def _components(found: Calibration) -> Section:
    mixture = found.pooled
    heads = columns("component", "share, %", "mean", "deviation", "named, %")
    rows = [
        row(
            name,
            percent(float(mixture.weight[k])),
            decimal(float(mixture.mean[k])),
            decimal(float(mixture.sd[k])),
            percent(float(mixture.named[k])),
        )
        for k, name in enumerate(_names(len(mixture.weight)))
    ]  # fmt: skip
    lead = (
        "Shares of all scores; mean and deviation in log-odds; how often a class of the component is the "
        "label of its image."
    )
    if found.rate is not None:
        lead += (
            " Not used: presence is proportional to the rate of being named, a logistic function of the "
            f"score, times {found.rate.factor:.2f}."
        )
    if found.counts[UNKNOWN].any() and not found.counts[NAMED].any():
        lead += " No image had a label: the model's own probabilities stood in for the names."
    return Section("components", "The components", lead, table(heads, [rows], "Components"))


def _classes(found: Calibration) -> Section | None:
    """Class by class: how often it is found, and from which score on."""
    if found.each is None:
        return None
    per_class = found.counts.sum(0)
    images = np.maximum(per_class.sum(-1), 1)
    share = (per_class * found.each.present(found.z)).sum(-1) / images
    often = found.counts[NAMED].sum(-1) / images
    order = np.argsort(-share, kind="stable")[:300].tolist()
    heads = columns("class", "present, %", "named, %", "apart")
    gap = found.each.mean[:, 1] - found.each.mean[:, 0]
    rows = [
        row(
            named(found.presence.classes[c]),
            percent(float(share[c])),
            percent(float(often[c])),
            decimal(float(gap[c])),
        )
        for c in order
    ]
    lead = (
        "The most frequent first. Apart: between the means of absent and seldom named, in log-odds."
    )
    return Section("classes", "Per class", lead, table(heads, [rows], "Classes", sortable=True))


def _names(components: int) -> Sequence[str]:
    return NAMES if components == 3 else (NAMES[0], "present")


def _cut(found: Calibration) -> float | None:
    """The log-odds that become one half, where there is one cut for all classes."""
    table = found.presence.table
    if len(table) > 1 or not table[0, 0] < 0 < table[0, -1]:
        return None
    right = int(np.searchsorted(table[0], 0))
    a, b = float(table[0, right - 1]), float(table[0, right])
    return found.presence.low + found.presence.step * (right - 1 - a / (b - a))


def _coarse(z: Numbers, counts: Numbers) -> tuple[Numbers, Numbers]:
    """Fewer bins: middles and counts."""
    merge = -(-len(z) // BARS)
    bins = max(2, -(-len(z) // merge))
    padded = np.zeros(bins * merge)
    padded[: len(counts)] = counts
    width = z[1] - z[0]
    middles = z[0] + width * ((np.arange(bins) + 0.5) * merge - 0.5)
    return middles, padded.reshape(bins, merge).sum(-1)
