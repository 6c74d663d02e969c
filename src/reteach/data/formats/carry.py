"""What a label table says, held against what a format can say: nothing is dropped without a word."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ...errors import UserError
from ...files import atomic_write
from ...labels import LabelSet, Multi, Single, Soft
from ...options.formats import FORMATS, Fact
from ...tables import LabelTable

_WORDS: dict[Fact, str] = {
    "sets": "more or fewer than one label of an image",
    "weights": "weights of labels",
    "unlabelled": "that nobody labelled an image",
    "unknown": "that it is unknown whether an image has a class",
}
_MEND: dict[Fact, str] = {
    "sets": "choose a format of label sets",
    "weights": "keep the label table, or make one label of each (relabel consensus)",
    "unlabelled": "leave such images out with --drop-empty",
    "unknown": "choose a format that can (voc, labels)",
}


def refuse_unsaid(table: LabelTable, to: str) -> None:
    """Refuse a table that says what the format cannot.

    Raises:
        UserError: names what it is, the first image and the mend.
    """
    for fact, rows in _facts(table.labels):
        if fact not in FORMATS[to].says:
            first = table.items[int(np.flatnonzero(rows)[0])]
            raise UserError(
                f"{to} cannot say {_WORDS[fact]}: {int(rows.sum()):,} of {len(table.items):,} images need "
                f"it, first: {first!r}; {_MEND[fact]}"
            )


def _facts(labels: LabelSet) -> Iterator[tuple[Fact, NDArray[np.bool_]]]:
    """Each fact that the labels need, with (N,) the images that need it."""
    rows, _, weights = labels.pairs()
    open_ = unlabelled(labels)
    found: dict[Fact, NDArray[np.bool_]] = {"unlabelled": open_}
    if isinstance(labels, Soft):
        found["weights"] = np.ones(len(labels), np.bool_)
    elif isinstance(labels, Multi):
        found["sets"] = (np.bincount(rows[weights > 0], minlength=len(labels)) != 1) & ~open_
        if labels.unknown is not None:
            found["unknown"] = (np.diff(labels.unknown.starts) > 0) & ~open_
    yield from ((fact, which) for fact, which in found.items() if which.any())


def unlabelled(labels: LabelSet) -> NDArray[np.bool_]:
    """(N,) images that nobody labelled: without one label, or with every class unknown."""
    return ~labels.known() if not isinstance(labels, Soft) else np.zeros(len(labels), np.bool_)


def as_kind(table: LabelTable, kind: Literal["single", "multi"], what: str) -> LabelTable:
    """The same labels as another kind.

    Raises:
        UserError: an image has several labels or unknown ones where one is wanted; weights.
    """
    labels = table.labels
    if labels.kind == kind:
        return table
    if isinstance(labels, Soft):
        raise UserError(f"{what}: labels have weights; leave out --kind")
    if isinstance(labels, Single):
        return replace(table, labels=sets_of(labels))
    assert isinstance(labels, Multi)
    if ((np.diff(labels.starts) > 0) | ~unlabelled(labels))[_has_unknown(labels)].any():
        raise UserError(f"{what}: some classes are unknown, which one label per image cannot say")
    try:
        return replace(
            table, labels=Multi(labels.starts, labels.columns, labels.classes).as_single()
        )
    except UserError as error:
        raise UserError(f"{what}: {error}") from None


def _has_unknown(labels: Multi) -> NDArray[np.bool_]:
    unknown = labels.unknown
    return np.zeros(len(labels), np.bool_) if unknown is None else np.diff(unknown.starts) > 0


def sets_of(labels: Single) -> Multi:
    """One label each as sets; of an image without one every class is unknown."""
    present = labels.array() > 0
    return Multi.from_dense(
        present, labels.classes, np.repeat(~unlabelled(labels)[:, None], present.shape[1], 1)
    )


def class_list_beside(table: LabelTable, out: Path) -> tuple[str, ...]:
    """Write the class list beside a format that holds none, where reading would give another.

    Reading gives the names in use, sorted.
    """
    if list(table.labels.classes) == sorted(table.used_classes()):
        return ()
    file = out.with_name(f"{out.name}.classes.txt")
    atomic_write(file, "".join(f"{name}\n" for name in table.labels.classes))
    return (f"the format holds no class list: it is in {file}, read back with --classes",)
