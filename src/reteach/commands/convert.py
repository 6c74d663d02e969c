"""``reteach convert``: published annotation formats to label tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

from ..data.formats.annotations import Annotations
from ..data.formats.coco import read_coco
from ..data.formats.nuswide import read_nuswide
from ..data.formats.published import Published, read_published
from ..data.formats.voc import read_voc
from ..errors import UserError
from ..frames import TableFile
from ..inline import InNotebook
from ..options.convert import ConvertOptions
from ..scores.classes import read_classes
from ..tables import LabelTable, write_labels


@final
@dataclass(frozen=True)
class ConvertResult(InNotebook, TableFile):
    """The label table that was written.

    Args:
        out: the table.
        images: in it.
        classes: in its class list, in use or not.
        entries: classes that are present, over all images.
        label_sets: whether an image may have several classes.
        unknown: entries that are neither present nor absent; None: the format leaves none open.
    """

    out: Path
    images: int
    classes: int
    entries: int
    label_sets: bool
    unknown: int | None = None

    def lines(self) -> Iterator[str]:
        """How many images and classes, and how many entries are unknown."""
        mean = f", {self.entries / max(self.images, 1):.2f} per image" if self.label_sets else ""
        yield f"{self.images:,} images, {self.classes:,} classes{mean}: {self.out}"
        if self.unknown is not None:
            yield f"{self.unknown:,} entries are unknown, neither present nor absent"


def convert(options: ConvertOptions) -> ConvertResult:
    """Turn published annotations or label lists into a label table.

    Raises:
        UserError: a file that is missing or damaged, or a setting that the format has not.
    """
    if options.format != "coco" and options.format != "nuswide" and options.format != "voc":
        return _one_label(options, options.format)
    if options.first is not None:
        raise UserError(f"--first takes the first classes of webvision, not of {options.format}")
    found = _annotations(options)
    if options.classes is not None:
        found = found.reorder(read_classes(options.classes), str(options.source))
    if options.drop_empty:
        found = found.labelled()
    labels, name = found.labels, f"{options.format}: {options.source.name}"
    write_labels(options.out, LabelTable(found.items, labels, name))
    return ConvertResult(
        options.out,
        len(found.items),
        labels.num_classes,
        len(labels.columns),
        label_sets=True,
        unknown=None if labels.unknown is None else len(labels.unknown.columns),
    )


def _one_label(options: ConvertOptions, form: Published) -> ConvertResult:
    if options.drop_empty:
        raise UserError(f"every image of {form} has one label: leave out --drop-empty")
    table = read_published(form, options.source, options.split, options.first)
    if options.classes is not None:
        labels = table.labels.reorder(read_classes(options.classes), str(options.source))
        table = replace(table, labels=labels)
    write_labels(options.out, table)
    entries = len(table.labels.pairs()[0])
    return ConvertResult(
        options.out, len(table.items), table.labels.num_classes, entries, label_sets=False
    )


def _annotations(options: ConvertOptions) -> Annotations:
    split = options.split
    if options.format == "coco":
        if split is not None:
            raise UserError("--split: COCO has a file per split; name that file")
        return read_coco(options.source)
    if options.format == "voc":
        return read_voc(options.source, None if split is None else Path(split))
    match split or "train":
        case "train" | "test" | "all" as part:
            return read_nuswide(options.source, part)
        case other:
            raise UserError(f"--split must be train, test or all for nuswide, got {other!r}")
