"""Labels that a format gives image by image as names, as a label table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...errors import UserError
from ...item_index import first_repeated
from ...labels import LabelSet, Multi, Single
from ...tables import LabelTable


def labels_of(
    items: Sequence[str],
    said: Sequence[Sequence[str] | None],
    classes: Sequence[str] | None,
    several: bool | None,
    source: str,
    where: str,
) -> LabelTable:
    """A label table.

    Args:
        said: the classes of each image; None: nobody labelled it.
        classes: the class list; None: the names that occur, sorted.
        several: whether an image may have several classes: then one that nobody labelled has every class
            unknown; None: whether any has none or several.
        source: of the labels.
        where: the file, for errors.

    Raises:
        UserError: an image twice, a class that is not listed, several labels where one may be.
    """
    if not items:
        raise UserError(f"{where}: no image is listed")
    if (twice := first_repeated(items)) is not None:
        raise UserError(f"{where}: image {twice!r} is listed twice")
    used = {name for names in said for name in names or ()}
    listed = tuple(sorted(used) if classes is None else classes)
    column = {name: i for i, name in enumerate(listed)}
    if odd := sorted(used - column.keys()):
        raise UserError(f"{where}: class {odd[0]!r} is not in its class list")
    if several is None:
        several = any(names is not None and len(names) != 1 for names in said)
    entries = [[column[name] for name in names or ()] for names in said]
    labels: LabelSet = (_sets if several else _one)(items, said, entries, listed, where)
    return LabelTable(tuple(items), labels, source)


def _sets(
    items: Sequence[str],
    said: Sequence[Sequence[str] | None],
    entries: list[list[int]],
    classes: tuple[str, ...],
    where: str,
) -> LabelSet:
    lengths = [len(each) for each in entries]
    rows = np.repeat(np.arange(len(items)), lengths)
    columns = np.array([c for each in entries for c in each], np.int64)
    found = Multi.from_pairs(rows, columns, len(items), classes)
    nobody = np.flatnonzero([names is None for names in said])
    every = np.tile(np.arange(len(classes)), len(nobody))
    open_ = Multi.from_pairs(np.repeat(nobody, len(classes)), every, len(items), classes)
    return found.with_unknown(open_ if len(nobody) else None)


def _one(
    items: Sequence[str],
    said: Sequence[Sequence[str] | None],
    entries: list[list[int]],
    classes: tuple[str, ...],
    where: str,
) -> LabelSet:
    odd = next((i for i, each in enumerate(entries) if len(each) > 1), None)
    if odd is not None:
        raise UserError(f"{where}: {items[odd]!r} has several labels where one is expected")
    return Single(np.array([each[0] if each else -1 for each in entries], np.int64), classes)
