"""Reads pages back with the standard library's HTML parser, which knows nothing of the writer."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"br", "col", "hr", "img", "input", "meta"}


@dataclass
class Element:
    """An element with its attributes and all the text inside it."""

    name: str
    attributes: dict[str, str | None]
    text: str = ""
    children: list[Element] = field(default_factory=list)

    def all(self, name: str, class_: str = "") -> list[Element]:
        """Descendants by name and class."""
        found = []
        for child in self.children:
            classes = (child.attributes.get("class") or "").split()
            if child.name == name and (not class_ or class_ in classes):
                found.append(child)
            found += child.all(name, class_)
        return found


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("#", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(attrs) == len(dict(attrs)), f"an attribute twice in <{tag}>"
        element = Element(tag, dict(attrs))
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].name == tag, f"</{tag}> closes <{self.open[-1].name}>"
        self.open.pop()

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        raise AssertionError(f"<{tag}/> means nothing in HTML")

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element.text += data


def read(page: str) -> Element:
    """The tree of a page; fails where tags do not match."""
    reader = _Reader()
    reader.feed(page)
    reader.close()
    assert [element.name for element in reader.open] == ["#"], "unclosed elements"
    return reader.root


def section(tree: Element, anchor: str) -> Element:
    """The section whose heading has this anchor."""
    for found in tree.all("section"):
        if found.all("h2")[0].attributes.get("id") == anchor:
            return found
    raise AssertionError(f"no section {anchor!r}")


def anchors(tree: Element) -> list[str | None]:
    """The anchors of the sections, in order."""
    return [found.all("h2")[0].attributes.get("id") for found in tree.all("section")]


def rows(element: Element) -> dict[str, list[str]]:
    """The rows of the tables in an element: first cell -> the other cells' texts."""
    found = {}
    for line in element.all("tr"):
        cells = [" ".join(cell.text.split()) for cell in line.children]
        found[cells[0]] = cells[1:]
    return found
