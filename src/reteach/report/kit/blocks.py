"""The building blocks of the pages: facts, big numbers, charts under a title, tables, notices."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ...formatting import plural
from .html import Child, Html, join, tag


def facts(pairs: Iterable[tuple[str, Child]]) -> Html:
    """Short facts in a row: names over values."""
    return terms(pairs, class_="facts")


def terms(
    pairs: Iterable[tuple[Child, Child]], *, value: str | None = None, class_: str | None = None
) -> Html:
    """Names and what they stand for; ``value`` is the class of the latter."""
    return tag(
        "dl",
        [tag("div", tag("dt", k), tag("dd", v, class_=value)) for k, v in pairs],
        class_=class_,
    )


def named(text: Child) -> Html:
    """A name that somebody gave: of an item, a class, a model."""
    return tag("span", text, class_="name")


def described(text: Child) -> Html:
    """A paragraph under a page's title."""
    return tag("p", text, class_="description")


def card(picture: Child, item: str, terms_: Html, **style: str) -> Html:
    """A picture beside what is known of it."""
    title = tag("p", item, class_="item name", title=item)
    return tag("article", picture, tag("div", title, terms_), class_="card", **style)


def cards(made: Sequence[Html], at_once: int | None = None, more_words: str = "more") -> Html:
    """Cards side by side; those after the first ``at_once`` open on request."""
    first = tag("div", made[:at_once], class_="cards")
    if at_once is None or len(made) <= at_once:
        return first
    rest = tag("div", made[at_once:], class_="cards")
    return join(first, more(f"{len(made) - at_once} {more_words}", rest))


def photo(url: str, item: str) -> Html:
    """A picture of an item, by its data URL."""
    return tag("img", src=url, alt=f"image {item}", loading="lazy")


def big_numbers(numbers: Iterable[tuple[Child, str, str, Child]]) -> Html:
    """The numbers that matter: (name, value, unit, remark)."""
    return tag(
        "dl",
        [
            tag(
                "div",
                tag("dt", name),
                tag("dd", value, tag("small", unit) if unit else None, class_="big"),
                tag("dd", remark, class_="remark"),
            )
            for name, value, unit, remark in numbers
        ],
        class_="numbers",
    )


def panel(title: Child, chart: Html, unit: str = "") -> Html:
    """A chart under its title."""
    return tag(
        "figure",
        tag("figcaption", tag("b", title), tag("span", unit) if unit else None),
        tag("div", chart, class_="chart"),
    )


def panels(charts: Iterable[Html]) -> Html:
    """Charts side by side, as many as fit."""
    return tag("div", charts, class_="panels")


def scrolling(table: Html, label: str) -> Html:
    """A table that may be wider than the page: it scrolls by itself, also with the keyboard."""
    return tag("div", table, class_="scroll", role="region", aria_label=label, tabindex=0)


def more(summary: Child, *content: Child, print_: bool = False) -> Html:
    """Content that opens on request; ``print_`` opens it on paper."""
    return tag("details", tag("summary", summary), content, data_print=print_)


def notice(kind: str, text: Child) -> Html:
    """A warning or an error that must be seen; ``kind`` is said in words too."""
    return tag("p", tag("strong", f"{kind}."), " ", text, class_="notice", role="note")


def warnings(texts: Sequence[str]) -> Html | None:
    """Notices, the first few at once; None without any."""
    if not texts:
        return None
    shown = [notice("Warning", text) for text in texts]
    rest = more(f"{plural(len(shown) - 3, 'more warning')}", shown[3:], print_=True)
    return tag("div", shown[:3], rest if len(shown) > 3 else None, class_="warnings")


def head(title: Child, *, text: bool = False) -> Html:
    """A column's heading; ``text`` sorts as words and stands left."""
    return tag("th", title, scope="col", class_=None if text else "n", data_text=text)


def columns(first: Child, *others: Child) -> list[Html]:
    """Headings of a table: the first column is text, the others are numbers unless made by :func:`head`."""
    return [
        head(first, text=True),
        *(h if isinstance(h, Html) and h.startswith("<th") else head(h) for h in others),
    ]


def row(name: Child, *cells: Child, class_: str | None = None) -> Html:
    """A table's row; a cell that is no ``td`` yet becomes one, with its text at the right."""
    made = [
        c if isinstance(c, Html) and c.startswith("<td") else tag("td", c, class_="n")
        for c in cells
    ]
    return tag("tr", tag("th", name, scope="row"), made, class_=class_)


def group(title: Child, width: int) -> Html:
    """A row that names the rows below it."""
    return tag(
        "tr", tag("th", title, scope="rowgroup", colspan=width), class_="group", data_group=True
    )


def table(
    heads: Sequence[Html],
    bodies: Sequence[Sequence[Html]],
    caption: str,
    *,
    sortable: bool = False,
    filter_: str | None = None,
    class_: str = "",
) -> Html:
    """A table in a frame that scrolls. Each body is sorted by itself; ``filter_`` asks for one."""
    words = " ".join(filter(None, (class_, "sortable" if sortable else "")))
    content = tag(
        "table",
        tag("caption", caption, class_="hidden"),
        tag("thead", tag("tr", heads)),
        [tag("tbody", rows) for rows in bodies if rows],
        class_=words or None,
        data_filter=filter_,
    )
    return scrolling(content, caption)


def bar(value: float | None, text: str) -> Html:
    """A table cell with a bar of this share of its width behind the number."""
    if value is None:
        return tag("td", text, class_="n")
    return tag("td", text, class_="n bar", style=f"--v:{min(max(value, 0), 1):.3g}")
