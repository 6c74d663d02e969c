"""``reteach convert``: annotations of other programs to label tables, and back."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path
from typing import Any, final

import numpy as np

from ..data.formats.carry import as_kind, class_list_beside, refuse_unsaid
from ..errors import UserError, closest
from ..frames import TableFile
from ..inline import InNotebook
from ..labels import Multi
from ..options.conditions import changed, flag
from ..options.convert import ConvertOptions
from ..options.formats import FORMATS, WRITTEN
from ..scores.classes import read_classes
from ..tables import LabelTable


@final
@dataclass(frozen=True)
class ConvertResult(InNotebook, TableFile):
    """What was written.

    Args:
        out: the label table, or the file or folder of another format.
        images: in it.
        classes: in its class list, in use or not.
        entries: classes that are present, over all images.
        label_sets: whether an image may have several classes.
        unknown: entries that are neither present nor absent; None: none.
        remarks: what else there is to know of it.
    """

    out: Path
    images: int
    classes: int
    entries: int
    label_sets: bool
    unknown: int | None = None
    remarks: tuple[str, ...] = ()

    def lines(self) -> Iterator[str]:
        """How many images and classes, and how many entries are unknown."""
        mean = f", {self.entries / max(self.images, 1):.2f} per image" if self.label_sets else ""
        yield f"{self.images:,} images, {self.classes:,} classes{mean}: {self.out}"
        if self.unknown is not None:
            yield f"{self.unknown:,} entries are unknown, neither present nor absent"
        yield from self.remarks


def convert(options: ConvertOptions) -> ConvertResult:
    """Read labels in one format and write them in another.

    Raises:
        UserError: a file that is missing or damaged, a setting that the formats do not take, labels that
            the format to write cannot say.
    """
    _check(options)
    table = _read(options)
    refuse_unsaid(table, options.to)
    form = FORMATS[options.to]
    remarks = _function(form.writer)(table, options.out, options)
    if not form.lists_classes:
        remarks += class_list_beside(table, options.out)
    labels = table.labels
    if FORMATS[options.format].undecided:
        remarks += _undecided(int((~labels.any_present()).sum()))
    unknown = labels.unknown if isinstance(labels, Multi) else None
    return ConvertResult(
        options.out,
        len(table.items),
        labels.num_classes,
        len(labels.pairs()[0]),
        label_sets=labels.kind != "single",
        unknown=None if unknown is None else len(unknown.columns),
        remarks=remarks,
    )


def _undecided(images: int) -> tuple[str, ...]:
    """What there is to know of images with an empty set, of which nobody could tell."""
    if not images:
        return ()
    return (
        f"{images:,} images have an empty set, of which nobody could tell: give evaluate --empty unknown "
        "(its default beside --original), or leave them out here with --drop-empty",
    )


def _check(options: ConvertOptions) -> None:
    """Refuse formats that there are not, and settings that neither of the two takes."""
    for name, known in ((options.format, tuple(FORMATS)), (options.to, WRITTEN)):
        if name not in known:
            raise UserError(f"{name!r} is none of {', '.join(known)}{closest(name, list(known))}")
    always = {"format", "source", "out", "to", "kind", "classes"}
    taken = {*FORMATS[options.format].reads_with, *FORMATS[options.to].writes_with}
    for name in changed(options):
        if name not in always | taken:
            raise UserError(
                f"{flag(name)} has no effect on {options.format} to {options.to}; leave it out"
            )


def _read(options: ConvertOptions) -> LabelTable:
    table: LabelTable = _function(FORMATS[options.format].reader)(options.source, options)
    what = str(options.source)
    if options.kind is not None:
        table = as_kind(table, options.kind, what)
    if options.classes is not None:
        table = replace(table, labels=table.labels.reorder(read_classes(options.classes), what))
    if options.drop_empty:
        full = table.labels.any_present()
        rows, items = np.flatnonzero(full), tuple(compress(table.items, full.tolist()))
        table = LabelTable(items, table.labels.take(rows), table.source)
    if not table.items:
        raise UserError(f"{what}: no image is left")
    return table


def _function(where: str | None) -> Any:
    module, name = str(where).split(":")
    return getattr(importlib.import_module(f"reteach.data.formats.{module}"), name)
