"""The page of ``reteach demo photos``: wrong labels found, soft against hard labels, the experts' doubt."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import final

import numpy as np

from ...analysis.expert_doubt import RuleFound, Spread
from ...formatting import count, decimal, percent, plural
from ...metrics.calibration import Reliability
from ..kit.blocks import (
    big_numbers,
    card,
    cards,
    columns,
    described,
    facts,
    named,
    panel,
    panels,
    photo,
    row,
    table,
    terms,
)
from ..kit.charts import Line, legend, lines, reliability
from ..kit.dotplots import Row, dots
from ..kit.html import Child, Html, join, tag
from ..kit.page import Section, top, write_page
from .label_issues import chips

SHOWN = 12
"""Pictures of a section at once; the others open on request."""
NUMBERS: dict[str, tuple[str, float, int]] = {
    "accuracy": ("accuracy, %", 100, 1),
    "auc": ("AUC, %", 100, 1),
    "brier": ("Brier score", 1, 3),
    "log_loss": ("log loss", 1, 3),
    "calibration_error": ("ECE, %", 100, 1),
}
"""Number -> its title, scale and digits."""


@final
@dataclass(frozen=True)
class DoubtedPhoto:
    """A photo whose label is doubted.

    Args:
        image: a data URL.
        given: the label that was judged.
        score: of the second class, by models that have not seen the photo.
        experts: their probability of the second class.
        put_in: whether the label was made wrong on purpose.
    """

    item: str
    image: str
    given: str
    score: float
    experts: float
    put_in: bool


@final
@dataclass(frozen=True, eq=False)
class ExpertPage:
    """Everything on the page.

    Args:
        credit: whose photos these are, and under which licence.
        classes: the two.
        levels: each of the experts' probabilities of the second class, and its number of photos.
        noise: share of the labels that were made wrong.
        rule: whose suspects are shown.
        rules: what each rule found, over the seeds.
        suspects: the most doubtful labels with wrong ones put in, of the first seed.
        doubted: the same as the experts gave them.
        unsure: share of photos on which experts were unsure among the first of these.
        looked_at: how many first ones.
        unsure_share: the same share among all photos.
        taught: labels -> number -> its values over the seeds.
        mean_scores: labels -> the mean score at each of the experts' probabilities.
        reliability: labels -> the experts' mean probability in bins of the scores, first seed.
        about: short facts: network, folds, …
    """

    credit: str
    classes: tuple[str, str]
    levels: Sequence[tuple[float, int]]
    noise: float
    rule: str
    rules: Mapping[str, RuleFound]
    suspects: Sequence[DoubtedPhoto]
    doubted: Sequence[DoubtedPhoto]
    unsure: Spread
    looked_at: int
    unsure_share: float
    taught: Mapping[str, Mapping[str, Spread]]
    mean_scores: Mapping[str, Sequence[Spread]]
    reliability: Mapping[str, Reliability]
    about: Sequence[tuple[str, str]]

    @property
    def photos(self) -> int:
        """N."""
        return sum(size for _, size in self.levels)


def write_expert_page(path: Path, page: ExpertPage) -> None:
    """Write the page."""
    sections = [_found(page), _doubted(page), _taught(page), _calibrated(page)]
    write_page(path, "Photos that experts were unsure of — reteach", _header(page), sections)


def share(value: float) -> str:
    """1/3 for 0.333…; decimals where no small fraction is meant."""
    near = Fraction(value).limit_denominator(12)
    return str(near) if abs(near - value) < 1e-6 else decimal(value)


def spread(found: Spread, scale: float = 1, digits: int = 1) -> str:
    """85.0 ± 0.2; without the deviation where there is one value."""
    mean = decimal(scale * found.mean, digits)
    return f"{mean} ± {decimal(scale * found.deviation, digits)}" if len(found.values) > 1 else mean


def _header(page: ExpertPage) -> Html:
    best = page.rules[page.rule]
    hard, soft = list(page.taught)[:2]
    numbers: list[tuple[Child, str, str, Child]] = [
        (
            "Wrong labels found",
            percent(best.recall.mean),
            "%",
            f"of those put in; {percent(best.precision.mean)}% of the suspects are wrong",
        ),
        (
            "Experts unsure, most doubted",
            percent(page.unsure.mean),
            "%",
            f"of the {count(page.looked_at)} most doubtful labels; {percent(page.unsure_share)}% of all",
        ),
        *(
            (
                title,
                decimal(scale * page.taught[soft][key].mean, digits),
                unit,
                f"{soft}; {decimal(scale * page.taught[hard][key].mean, digits)} with {hard}",
            )
            for key, title, unit in (("auc", "AUC", "%"), ("brier", "Brier score", ""))
            for _, scale, digits in [NUMBERS[key]]
        ),
    ]
    said = " · ".join(f"{share(level)}: {count(size)}" for level, size in page.levels)
    return top(
        "demo photos",
        "Photos that experts were unsure of",
        described(
            f"Experts said of {plural(page.photos, 'photo')} with which probability each shows a "
            f"{page.classes[1]}. All numbers here are of models that have not seen the photo they judge."
        ),
        big_numbers(numbers),
        facts([("experts’ probability: photos", said), *page.about]),
        tag("p", page.credit, class_="note"),
    )


def _found(page: ExpertPage) -> Section:
    heads = columns("rule", "dropped, %", "precision, %", "recall, %", "F1, %")
    rows = [
        row(
            f"{rule}, the default" if rule == page.rule else rule,
            *(
                spread(value, 100)
                for value in (found.dropped, found.precision, found.recall, found.f1)
            ),
            class_="best" if rule == page.rule else None,
        )
        for rule, found in page.rules.items()
    ]
    lead = (
        f"{percent(page.noise, 0)}% of each class's labels were made wrong, and models taught with them say "
        "which labels they doubt, as reteach relabel clean --judge model does. Precision: of "
        "the labels that a rule drops, how many are wrong; recall: of the wrong ones, how many it drops. A "
        "label that was not made wrong may be wrong all the same: the experts' probability stands beside."
    )
    body = join(table(heads, [rows], "What each rule finds"), _below(_cards(page, page.suspects)))
    return Section("wrong", "Wrong labels found", lead, body)


def _doubted(page: ExpertPage) -> Section:
    lead = (
        f"Nothing put in: the likelier class as the label. Of the {count(page.looked_at)} labels that models "
        f"doubt most, {spread(page.unsure, 100)}% are photos on which the experts were unsure themselves; of "
        f"all photos, {percent(page.unsure_share)}%. These are worth a second look."
    )
    return Section("doubtful", "The most doubtful photos", lead, _cards(page, page.doubted))


def _cards(page: ExpertPage, found: Sequence[DoubtedPhoto]) -> Html:
    return cards([_card(page, one) for one in found], SHOWN, "more photos")


def _below(body: Html) -> Html:
    """Content with some air under the table that it follows."""
    return tag("div", body, style="margin-top: 2rem")


def _card(page: ExpertPage, one: DoubtedPhoto) -> Html:
    second = page.classes[1]
    given = one.given + (" (made wrong)" if one.put_in else "")
    known = [
        ("label", chips([(given, float("nan"))])),
        ("model", chips([(second, one.score)])),
        (
            "experts",
            tag("ul", tag("li", named(second), tag("small", share(one.experts))), class_="chips"),
        ),
    ]
    return card(photo(one.image, one.item), one.item, terms(known))


def _taught(page: ExpertPage) -> Section:
    heads = columns("taught", *(title for title, _, _ in NUMBERS.values()))
    rows = [
        row(
            name,
            *(spread(numbers[key], scale, digits) for key, (_, scale, digits) in NUMBERS.items()),
        )
        for name, numbers in page.taught.items()
    ]
    lead = (
        "Hard labels are the likelier class, soft labels the experts' probability itself, noisy labels the "
        f"hard ones of which {percent(page.noise, 0)}% were made wrong. Accuracy and AUC are over the photos "
        "of which the experts were sure; Brier score, log loss and calibration error (ECE) hold each score "
        "against the experts' probability, over all photos: lower is better."
    )
    charts = [_seeds(page, key) for key in ("auc", "brier", "log_loss")]
    body = join(table(heads, [rows], "What the labels teach"), _below(panels(charts)))
    return Section("soft", "Soft against hard labels", lead, body)


def _seeds(page: ExpertPage, key: str) -> Html:
    title, scale, digits = NUMBERS[key]
    show: Callable[[float], str] = lambda value: decimal(value, digits)  # noqa: E731
    found = [
        Row(name, [scale * v for v in numbers[key].values], look)
        for look, (name, numbers) in enumerate(page.taught.items())
    ]
    words = "; ".join(f"{r.name}: {show(sum(r.values) / len(r.values))}" for r in found)
    return panel(title, dots(found, f"{title} by seed. {words}", show=show), "a dot per seed")


def _calibrated(page: ExpertPage) -> Section:
    lead = (
        "How the scores follow the experts. On the left the mean score at each of their probabilities (the "
        "band is one deviation over the seeds); then, for each teaching, what the experts said on average "
        "where the model says so much. On the dashed line the model doubts as much as they do."
    )
    charts = [panel("Mean score", _rise(page), f"of {page.classes[1]}")]
    charts += [
        panel(name[:1].upper() + name[1:], _diagram(page, name, look), "experts’ mean probability")
        for look, name in enumerate(page.reliability)
    ]
    keys = legend([(name, look) for look, name in enumerate(page.mean_scores)] + [("experts", 3)])
    return Section("doubt", "As unsure as the experts", lead, join(keys, panels(charts)))


def _rise(page: ExpertPage) -> Html:
    x = list(range(len(page.levels)))
    curves = [
        _curve(name, found, look) for look, (name, found) in enumerate(page.mean_scores.items())
    ]
    experts = Line("experts", x, [level for level, _ in page.levels], 3)
    ticks = [share(level) for level, _ in page.levels]
    words = "; ".join(f"{c.name}: {', '.join(map(decimal, c.y))}" for c in curves)
    label = f"The mean score at the experts' probabilities {', '.join(ticks)}. {words}"
    return lines(
        [*curves, experts], label, show=decimal, x_label="experts’ probability", ticks=ticks
    )


def _curve(name: str, found: Sequence[Spread], look: int) -> Line:
    y = [each.mean for each in found]
    low = [each.mean - each.deviation for each in found]
    high = [each.mean + each.deviation for each in found]
    return Line(name, list(range(len(y))), y, look, low, high)


def _diagram(page: ExpertPage, name: str, look: int) -> Html:
    found = page.reliability[name]
    some = np.flatnonzero(found.count)
    said = found.confidence[some].tolist()
    experts = found.frequency[some].tolist()
    words = "; ".join(f"{decimal(s)}: {decimal(e)}" for s, e in zip(said, experts, strict=True))
    label = f"{name}: the experts' mean probability at the mean scores. {words}"
    sizes = (found.count[some] / found.count.sum()).tolist()
    return reliability(said, experts, sizes, label, look, x_label=f"score of {page.classes[1]}")
