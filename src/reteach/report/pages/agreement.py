"""How far raters agree: α, κ, and each two of them."""

from __future__ import annotations

from math import isnan

from ...analysis.intervals import wilson
from ...formatting import count, decimal, percent
from ...relabel.raters.agreement import Agreement, Alpha, Together
from ..kit.blocks import big_numbers, columns, head, named, row, table
from ..kit.html import Child, Html, join, tag
from ..kit.page import Section

SHOWN = 200
"""Pairs of raters on the page; all are in the result as JSON."""


def agreement_section(found: Agreement, remark: str = "") -> Section | None:
    """None where no two raters share a question.

    Args:
        remark: what the reader should know of these answers.
    """
    if not found.both:
        return None
    lead = (
        "Agreement beyond chance: 1 is full agreement, 0 what chance alone gives. It tells how clear the "
        f"questions are, not who is right.{' ' if remark else ''}{remark}"
    )
    return Section(
        "agreement", "Agreement", lead, join(_numbers(found), _classes(found), _raters(found))
    )


def _numbers(found: Agreement) -> Html:
    alpha, kappa = found.alpha, found.kappa
    numbers: list[tuple[Child, str, str, Child]] = [
        ("Krippendorff's α", _value(alpha.value), "", _range(alpha)),
        (
            "Fleiss' κ",
            _value(kappa.value),
            "",
            f"{count(kappa.units)} questions with {kappa.answers} answers; "
            f"{count(kappa.left_out)} with another number are left out",
        ),
        (
            "Two raters agree",
            percent(found.observed),
            "%",
            f"of {count(found.both)} times that two answered one question",
        ),
    ]
    return big_numbers(numbers)


def _value(value: float) -> str:
    return "unknown" if isnan(value) else decimal(value, 3)


def _range(alpha: Alpha) -> str:
    if isnan(alpha.value):
        return "only one answer was ever given"
    if isnan(alpha.low):
        return "one item alone has no interval"
    return f"{decimal(alpha.low, 3)} to {decimal(alpha.high, 3)} (95%, by item)"


def _classes(found: Agreement) -> Html:
    order = sorted(found.classes.items(), key=lambda e: 2.0 if isnan(e[1].value) else e[1].value)
    heads = columns("class", "α", "questions")
    rows = [row(named(name), _alpha(alpha), count(alpha.units)) for name, alpha in order]
    title = "Krippendorff's α of each class, the least clear first"
    return table(heads, [rows], title, sortable=True, filter_="Find a class")


def _alpha(alpha: Alpha) -> Html:
    span = "" if isnan(alpha.low) else f" {decimal(alpha.low)} to {decimal(alpha.high)}"
    return tag("td", _value(alpha.value), tag("small", span), class_="n")


def _raters(found: Agreement) -> Html:
    heads = columns("rater", head("and", text=True), "agree, %", "questions")
    rows = [_pair(pair) for pair in found.raters[:SHOWN]]
    left = len(found.raters) - SHOWN
    return join(
        table(heads, [rows], "Raters two by two, the least alike first", sortable=True),
        tag("p", f"and {left:,} pairs of raters who agree more", class_="note")
        if left > 0
        else None,
    )


def _pair(pair: Together) -> Html:
    low, high = wilson(pair.same, pair.both)
    span = f" {percent(float(low), 0)}–{percent(float(high), 0)}"
    share = tag("td", percent(pair.same / pair.both), tag("small", span), class_="n")
    return row(named(pair.first), tag("td", named(pair.second)), share, count(pair.both))
