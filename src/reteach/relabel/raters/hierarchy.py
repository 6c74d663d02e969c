"""How alike classes are: from an is-a hierarchy, or from being proposed together.

A hierarchy file has one line per edge, ``parent child``, separated by a tab, else by a comma, else
by white space; lines beginning with ``#`` are comments. A node may have several parents (in WordNet
a dog is a canine and a domestic animal), so "the" lowest common ancestor is not unique: of all
common ancestors the most specific one counts, that is the one with the fewest classes below it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import UserError, closest

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Hierarchy:
    """A directed acyclic graph of names."""

    parents: dict[str, tuple[str, ...]]
    """Every node's parents; none for a root."""

    def ancestors(self, node: str) -> set[str]:
        """All nodes above ``node``, and itself."""
        found, todo = {node}, [node]
        while todo:
            for parent in self.parents.get(todo.pop(), ()):
                if parent not in found:
                    found.add(parent)
                    todo.append(parent)
        return found

    def below(self, node: str, classes: Sequence[str]) -> NDArray[np.bool_]:
        """(C,) which classes are ``node`` or lie below it."""
        if node not in self.parents:
            raise UserError(
                f"{node!r} is not a node of the hierarchy{closest(node, list(self.parents))}"
            )
        return np.array([node in self.ancestors(name) for name in classes], np.bool_)

    def similarity(self, classes: Sequence[str]) -> Floats:
        """(C, C) information content of the most specific common ancestor, in nats.

        The content of a node is −log of the share of the classes at or below it (Resnik, 1995):
        0 for one that is above all classes, and for classes with no common ancestor.

        Raises:
            UserError: a class is not a node of the hierarchy.
        """
        below: dict[str, list[int]] = {}
        for index, name in enumerate(classes):
            if name not in self.parents:
                raise UserError(
                    f"class {name!r} is not a node of the hierarchy"
                    f"{closest(name, list(self.parents))}"
                )
            for node in self.ancestors(name):
                below.setdefault(node, []).append(index)
        out = np.zeros((len(classes), len(classes)))
        for rows in sorted(below.values(), key=len, reverse=True):  # specific nodes overwrite
            out[np.ix_(rows, rows)] = -np.log(len(rows) / len(classes))
        return out


def read_hierarchy(path: Path) -> Hierarchy:
    """Read a list of ``parent child`` edges.

    Raises:
        UserError: no such file, a line that is not two names, or a cycle, which is spelled out.
    """
    if not path.is_file():
        raise UserError(f"hierarchy {path} does not exist")
    parents: dict[str, dict[str, None]] = {}
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a UTF-8 text file") from None
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        separator = next((mark for mark in "\t," if mark in line), None)
        names = [part.strip() for part in line.strip().split(separator)]
        if len(names) != 2 or not all(names):
            raise UserError(
                f"{path}: line {number} should be 'parent child': {line.strip()[:60]!r}"
            )
        parent, child = names
        parents.setdefault(parent, {})
        parents.setdefault(child, {})[parent] = None
    found = {node: tuple(above) for node, above in parents.items()}
    if not found:
        raise UserError(f"{path}: the hierarchy has no edges")
    cycle = _cycle(found)
    if cycle:
        shown = cycle if len(cycle) < 8 else [*cycle[:6], "…", cycle[-1]]
        raise UserError(f"{path}: the hierarchy has a cycle: {' is a '.join(shown)}")
    return Hierarchy(found)


def co_proposal(pair_item: NDArray[np.int64], pair_class: NDArray[np.int64], n: int) -> Floats:
    """(C, C) cosine between the sets of items for which two classes are proposed.

    Args:
        pair_item, pair_class: (P,) the proposals.
        n: C, the number of classes.
    """
    from scipy.sparse import csr_matrix

    rows = int(pair_item.max()) + 1 if len(pair_item) else 0
    present = csr_matrix((np.ones(len(pair_item)), (pair_item, pair_class)), shape=(rows, n))
    together = (present.T @ present).toarray()
    norm = np.sqrt(np.maximum(together.diagonal(), 1.0))
    return np.asarray(together / norm[:, None] / norm)


def _cycle(parents: dict[str, tuple[str, ...]]) -> list[str]:
    """The nodes of a cycle, from child to parent and back to the first; empty if there is none."""
    left = {node: len(above) for node, above in parents.items()}
    children: dict[str, list[str]] = {}
    for node, above in parents.items():
        for parent in above:
            children.setdefault(parent, []).append(node)
    ready = [node for node, count in left.items() if not count]
    while ready:
        node = ready.pop()
        del left[node]
        for child in children.get(node, ()):
            left[child] -= 1
            if not left[child]:
                ready.append(child)
    if not left:
        return []
    path = [next(iter(left))]  # each node left has a parent left: walking up must come round
    while True:
        parent = next(name for name in parents[path[-1]] if name in left)
        if parent in path:
            return [*path[path.index(parent) :], parent]
        path.append(parent)
