"""The table of a comparison, every seed as a dot, and the paired differences."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from functools import partial

from ... import formatting
from ...metrics.registry import Metric, metric
from ...records.comparisons import PairedDifference
from ..entries import Entry, leaders, most_seeds
from ..glossary import abbr
from ..kit.blocks import columns, group, head, more, named, panel, panels, row, table
from ..kit.dotplots import Row, dots, forest
from ..kit.html import Html, join, tag
from ..kit.line_styles import Looks
from ..kit.page import Section, panels_section

MOST = 14
"""Rows of a chart; more are left to the table."""


def results_table(found: Sequence[Entry], metrics: Sequence[str]) -> Section | None:
    """Mean ± deviation of every method; controls and trivial answers apart."""
    if not found:
        return None
    seeds = most_seeds(found)
    timed = any(e.seconds for e in found)
    heads = columns("Method", *map(abbr, metrics), *(["Training time"] if timed else []))
    main = [e for e in found if e.main]
    parts = [
        ("", main),
        (
            "Controls, with help that the others did not get",
            [e for e in found if e.control],
        ),
        ("Trivial answers: no model at all", [e for e in found if e.trivial]),
    ]
    bodies = []
    for title, mine in parts:
        lines = [_line(e, found, metrics, seeds, timed) for e in mine]
        if lines and title:
            lines.insert(0, group(title, len(heads)))
        bodies.append(lines)
    lead = "Fractions in percent" + (
        ", mean ± standard deviation over the seeds"
        if seeds > 1
        else ". One seed: without others there is no deviation, no interval and no difference to trust; "
        "--seeds 5 measures them"
    )
    return Section(
        "methods",
        "The methods",
        f"{lead}.",
        join(
            table(
                heads, bodies, "The methods and their numbers", sortable=True, class_="standings"
            ),
            _marks(found, metrics),
        ),
    )


def _line(
    entry: Entry, found: Sequence[Entry], metrics: Sequence[str], seeds: int, timed: bool
) -> Html:
    cells: list[Html | str] = [_cell(entry, found, metric(m), seeds) for m in metrics]
    if timed:
        cells.append(formatting.duration(statistics.fmean(entry.seconds)) if entry.seconds else "")
    said = entry.control
    if entry.collapsed:
        said = f"collapsed: {entry.collapsed} of {formatting.plural(seeds, 'seed')}"
    name = join(named(entry.title), tag("small", said, class_="name") if said else None)
    kind = "trivial" if entry.trivial else "control" if entry.control else None
    return row(name, *cells, class_=kind)


def _cell(entry: Entry, found: Sequence[Entry], words: Metric, seeds: int) -> Html:
    mean = entry.mean(words.name)
    if mean is None:
        return tag("td", formatting.DASH, class_="n")
    deviation = entry.deviation(words.name)
    spread = tag("small", f" ± {words.show_spread(deviation, mean)}") if deviation else None
    known = len(entry.values[words.name])
    few = tag("small", f" of {formatting.plural(known, 'seed')}") if 1 <= known < seeds else None
    few = None if entry.trivial else few
    number = words.show(mean)
    if entry.main and _best(found, words) == entry:
        first = [tag("b", number), tag("span", " (best)", class_="hidden")]
        return tag("td", first, spread, few, class_="n best")
    sign = None
    if entry.main and _idle(entry, found, words):
        sign = [tag("span", "▽", aria_hidden="true", class_="idle")]
        sign.append(tag("span", " (no better than a trivial answer)", class_="hidden"))
    return tag("td", number, spread, few, sign, class_="n")


def _best(found: Sequence[Entry], words: Metric) -> Entry | None:
    main = [e for e in found if e.main and e.mean(words.name) is not None]
    if not words.better or len(main) < 2:
        return None
    best = max(main, key=lambda e: words.better * (e.mean(words.name) or 0.0))
    return None if _idle(best, found, words) else best


def _idle(entry: Entry, found: Sequence[Entry], words: Metric) -> bool:
    """Whether a trivial answer is as good."""
    mean = entry.mean(words.name)
    trivial = [v for e in found if e.trivial and (v := e.mean(words.name)) is not None]
    if mean is None or not trivial or not words.better:
        return False
    return words.better * mean <= max(words.better * v for v in trivial)


def _marks(found: Sequence[Entry], metrics: Sequence[str]) -> Html:
    idle = any(_idle(e, found, metric(m)) for e in found if e.main for m in metrics)
    one = most_seeds(found) == 1
    texts = [
        "Bold: the best of the competing methods with this one seed."
        if one
        else "Bold: the best mean of the competing methods; see below whether the difference is clear."
    ]
    if idle:
        texts.append("▽: no better than a trivial answer, and never marked as best.")
    return tag("p", " ".join(texts), class_="note")


def seeds_apart(
    found: Sequence[Entry], metrics: Sequence[str], looks: Looks, true: float | None
) -> Section | None:
    """A chart per metric with every seed's value."""
    charts = []
    left_out = False
    for name in metrics:
        words = metric(name)
        main = leaders(found, name, words.better, MOST)
        left_out |= len(main) < sum(e.main and bool(e.values.get(name)) for e in found)
        lines = main + [e for e in found if e.control and e.values.get(name)][: MOST // 2]
        trivial = [v for e in found if e.trivial and (v := e.mean(name)) is not None]
        if not lines:
            continue
        rows = [
            Row(
                e.title, [words.scale * v for v in e.values[name]], looks(e.method), bool(e.control)
            )
            for e in lines
        ]
        rule = None
        if words.better and trivial:
            rule = (words.scale * max(trivial), "trivial answer")
        elif name == "labels_per_image" and true is not None:
            rule = (true, "true number")
        label = f"{words.title} of each seed. " + "; ".join(
            f"{e.title}: {words.show(e.mean(name))}" for e in lines
        )
        chart = dots(rows, label, show=partial(formatting.decimal, digits=words.digits), rule=rule)
        remark = words.unit_words
        if rule is not None:
            remark += f"; dashed: {rule[1]} {formatting.decimal(rule[0], words.digits)}"
        charts.append(panel(words.title, chart, remark))
    one = most_seeds(found) == 1
    lead = "One seed: its value." if one else "A dot is a seed, the bar their mean."
    lead += " Hollow dots are controls."
    if left_out:
        lead += f" Only the {MOST} best are drawn; the table has all."
    return panels_section("seeds", "One seed" if one else "Seed by seed", lead, charts)


def differences(
    paired: Sequence[PairedDifference], found: Sequence[Entry], metrics: Sequence[str]
) -> Section | None:
    """Paired differences with their intervals, drawn and as a table."""
    known = {e.name: e for e in found}
    pairs = [_Pair(p, known) for p in paired if None not in (p.mean, p.low, p.high)]
    if not pairs:
        return None
    charts = []
    for name in metrics:
        words = metric(name)
        drawn = _chosen([p for p in pairs if p.metric == name], found)
        if not drawn:
            continue
        rows = [
            (p.title, words.scale * p.mean, words.scale * p.low, words.scale * p.high)
            for p in drawn
        ]
        label = f"Differences in {words.title}. " + "; ".join(p.words() for p in drawn)
        chart = forest(rows, label, show=partial(formatting.signed, digits=words.digits))
        unit = "points" if words.unit == "percent" else words.unit_words
        charts.append(panel(words.title, chart, unit))
    lead = (
        "The difference of two methods seed by seed (same images, batches and augmentation), its mean and "
        "95% interval. Filled: the interval leaves zero out. With few seeds intervals are wide."
    )
    heads = columns("Metric", head("Difference", text=True), "Mean", "95% interval", "Seeds")
    listing = table(
        heads, [[p.line() for p in pairs]], "Paired differences", sortable=True, class_="words"
    )
    everything = more(f"All {len(pairs):,} differences in numbers", listing)
    return Section("differences", "Paired differences", lead, join(panels(charts), everything))


class _Pair:
    """a − b in one metric, a control always as b."""

    def __init__(self, found: PairedDifference, known: dict[str, Entry]) -> None:
        self.metric, self.n = found.metric, found.n
        a, b = found.a, found.b
        mean, low, high = (n or 0.0 for n in (found.mean, found.low, found.high))
        if a in known and b in known and known[a].control and not known[b].control:
            a, b, mean, low, high = b, a, -mean, -high, -low
        self.names, self.mean, self.low, self.high = {a, b}, mean, low, high
        self.title = " − ".join(known[n].title if n in known else n for n in (a, b))
        first, second = known.get(a), known.get(b)
        # a control says something about the methods that it is no version of
        self.telling = not (
            first
            and second
            and (first.control or (second.control and first.method == second.method))
        )

    def words(self) -> str:
        show = metric(self.metric).difference
        return f"{self.title}: {show(self.mean)}, {show(self.low)} to {show(self.high)}"

    def line(self) -> Html:
        show = metric(self.metric).difference
        name = tag("td", named(self.title))
        interval = f"{show(self.low)} to {show(self.high)}"
        return row(abbr(self.metric), name, show(self.mean), interval, formatting.count(self.n))


def _chosen(pairs: list[_Pair], found: Sequence[Entry]) -> list[_Pair]:
    """The pairs to draw: the telling ones; if they are many those with the first method, and of these
    the largest."""
    pairs = [p for p in pairs if p.telling]
    if len(pairs) > MOST and found:
        pairs = [p for p in pairs if found[0].name in p.names]
    if len(pairs) > MOST:
        pairs = sorted(pairs, key=lambda p: -abs(p.mean))[:MOST]
    return pairs
