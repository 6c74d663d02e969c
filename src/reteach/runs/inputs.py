"""From the options of a command to data sets: images found, labels matched, broken images set aside."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import final

import numpy as np

from ..data.dataset import Dataset
from ..data.loading.quarantine import examine
from ..data.sources.base import PREFIX, ArraySource, Source
from ..engine import distributed
from ..errors import UserError
from ..item_index import rows_among
from ..labels import LabelSet, Rows, Single, stratified
from ..options.shared import Data, named_images, refuse_unused
from ..parquet import read_columns
from ..processes import decoders
from ..progress import note, progress
from ..recorded import recorded
from ..relabel.weak.weak_labels import weak_labels
from ..scores.classes import read_classes
from ..table_files import Kind
from ..tables import read_labels
from .originals import Originals


@final
@recorded("inputs", since={"also": {}})
@dataclass(frozen=True, eq=False)
class Inputs:
    """What a training is made of.

    Args:
        train: labelled images.
        val: images to validate on, or None.
        unlabeled: images without a label, or None.
        quarantine: item -> reason of each image that cannot be used.
        also: name -> further images to validate on.
    """

    train: Dataset
    val: Dataset | None
    unlabeled: Dataset | None
    quarantine: dict[str, str] = field(default_factory=dict)
    also: dict[str, Dataset] = field(default_factory=dict)

    def parts(self) -> dict[str, Dataset | None]:
        """Option -> its images."""
        more: dict[str, Dataset | None] = {f"--also-val {n}": one for n, one in self.also.items()}
        own = {"--images": self.train, "--val-images": self.val, "--unlabeled": self.unlabeled}
        return own | more


def open_inputs(
    data: Data,
    seed: int,
    originals: Originals | None = None,
    picks: Path | None = None,
    tags: Path | None = None,
) -> Inputs:
    """Open everything that the options name.

    Args:
        originals: what a run that goes on was begun with.
        picks: a table of the only unlabelled items that are needed; no other is opened.
        tags: a label table of the only unlabelled items that are needed: those of which it names a class.

    Raises:
        UserError: an input is missing, empty, damaged or does not fit the others; or has changed.
    """
    if data.images is None:
        raise UserError("--images is missing: a folder, an .npz file, tar shards or hf:NAME")
    if data.val_images is not None or data.val_labels is not None:
        refuse_unused(data, "beside --val-images or --val-labels", "val_fraction")
    quarantine: dict[str, str] = {}
    if data.labels is None and data.kind is not None:
        raise UserError("--kind says what --labels holds: name a label table")
    if data.val_labels is None and data.val_kind is not None:
        raise UserError("--val-kind says what --val-labels holds: name a label table")
    originals = originals or Originals()
    source = originals.open("--images", data.images, cache_folder())
    listed = None if data.classes is None else read_classes(data.classes)
    everything = labelled_dataset(source, data.labels, data.images, listed, kind=data.kind)
    listed_val = _listed_validation(everything, data, originals)
    everything = set_aside(
        everything,
        quarantine,
        data,
        originals,
        "--images",
        data.images,
        data.labels,
        also=None if listed_val is None else listed_val.rows,
    )
    _enough_classes(everything.labels, data)
    if listed_val is None:
        train, val = _validation(everything, data, seed, quarantine, originals)
    else:
        val = _usable(listed_val, everything, quarantine, data)
        train = everything.subset(~np.isin(everything.rows, val.rows))
    also = _also(everything, data, quarantine, originals)
    if also and (val is None or not len(val)):
        raise UserError("--also-val judges beside validation images: --val-… or --val-fraction")
    val, *more = without_empty(data, val, *also.values())
    also = {name: one for name, one in zip(also, more, strict=True) if one is not None}
    train = labelled(train, "training")
    if not len(train):
        raise UserError("no labelled image is left to train on")
    if data.fraction < 1:
        train = train.subset(stratified(train.labels, data.fraction, seed))
    unlabeled = _unlabeled(everything, data, quarantine, originals, picks, tags)
    return Inputs(train, val, unlabeled, quarantine, also)


def labelled(dataset: Dataset, what: str) -> Dataset:
    """The images that have a label; how many have none is said.

    Args:
        what: the others are left out of.
    """
    known = dataset.labelled()
    if left_out := len(dataset) - len(known):
        note(f"{left_out:,} of {len(dataset):,} images have no label and are left out of {what}")
    return known


def labelled_dataset(
    source: Source,
    labels: Path | None,
    where: str,
    classes: tuple[str, ...] | None = None,
    *,
    kind: Kind | None = None,
) -> Dataset:
    """The images of a source with the labels of a table, or with those that the source carries."""
    if labels is not None:
        table = read_labels(labels, kind=kind, classes=classes)
        if isinstance(table.labels, Single):
            return Dataset.of(source, table.aligned(source.items, str(labels)))
        rows = rows_among(table.items, source.items)
        if (rows < 0).any():
            table.aligned(source.items, str(labels))  # raises, and names the item
        return Dataset(source, table.labels, rows)
    if source.class_of is None:
        has = "gives no labels" if where.startswith(PREFIX) else "has no class folders"
        raise UserError(
            f"{where} {has}, so --labels is needed: a table with the columns item, labels"
        )
    names = classes or tuple(sorted(set(source.class_of)))
    if unknown := sorted(set(source.class_of) - set(names)):
        raise UserError(f"{where}: class {unknown[0]!r} is not in the class list")
    return Dataset.of(source, Single(rows_among(source.class_of, names), names))


def without_empty(data: Data, *judged: Dataset | None) -> list[Dataset | None]:
    """What is judged by, without images of an empty set where ``--val-empty`` says unknown.

    Raises:
        UserError: it says so of no label sets, or no image of a data set is left.
    """
    if data.val_empty == "none":
        return list(judged)
    sets = [one is not None and not isinstance(one.labels, Single) for one in judged]
    if not any(sets):
        raise UserError(
            "--val-empty unknown is about label sets, and no images to validate on have any; in a table "
            "of single labels an empty cell says unknown already"
        )
    return [
        _labelled_only(one) if is_set else one for one, is_set in zip(judged, sets, strict=True)
    ]


def _labelled_only(judged: Dataset | None) -> Dataset:
    assert judged is not None
    rows = np.flatnonzero(judged.labels.any_present())
    if not len(rows):
        raise UserError("--val-empty unknown: no image to validate or test on has a label")
    return judged.subset(rows)


def set_aside(
    dataset: Dataset,
    quarantine: dict[str, str],
    data: Data,
    originals: Originals | None = None,
    option: str = "",
    where: str = "",
    table: Path | None = None,
    also: Rows | None = None,
) -> Dataset:
    """The readable images; the others go to ``quarantine``, or stop the run with ``on_error=fail``.

    Args:
        originals: what a run that goes on was begun with, of which these are the images of ``option``,
            found at ``where``, with the labels of ``table``.
        also: further rows of the source to look at, which are used elsewhere.
    """
    wanted = np.unique(dataset.rows if also is None else np.append(dataset.rows, also))
    quiet = isinstance(dataset.source, ArraySource)
    with progress("checking images", len(wanted), quiet=quiet) as on_progress:
        found = examine(
            dataset.source,
            rows=wanted,
            workers=decoders(data.workers),
            on_progress=on_progress,
            cache=cache_folder(),
            team=distributed.Ranks(),
        )
    dataset, reasons = (originals or Originals()).hold(option, where, table, dataset, found, wanted)
    broken = [entry for entry in found.broken if entry.item in reasons]
    if broken and data.on_error == "fail":
        raise UserError(
            f"{len(broken)} of {len(wanted)} images cannot be used, first: {broken[0].item!r} "
            f"({broken[0].reason}); --on-error report leaves them out"
        )
    quarantine.update(reasons)
    names = dataset.source.items
    left_out = [row for row in wanted.tolist() if names[row] in reasons] if reasons else []
    bad = np.isin(dataset.rows, left_out)
    if bad.all():
        why = next(iter(reasons.values()))
        raise UserError(f"none of the {len(dataset)} images can be used, first: {why}")
    return dataset.subset(np.flatnonzero(~bad)) if bad.any() else dataset


def cache_folder() -> Path:
    """Where what is slow to find out twice is remembered, such as which images are whole."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "reteach"


def _enough_classes(labels: LabelSet, data: Data) -> None:
    used = [labels.classes[c] for c in np.flatnonzero(labels.counts())]
    where = data.labels or data.images
    if not used:
        raise UserError(f"{where}: no image has a label")
    if len(used) == 1:
        raise UserError(f"{where}: there is only one class ({used[0]!r}); a classifier needs two")


def _validation(
    everything: Dataset,
    data: Data,
    seed: int,
    quarantine: dict[str, str],
    originals: Originals,
) -> tuple[Dataset, Dataset | None]:
    classes = everything.classes
    if data.val_images is not None:
        if data.val_images == data.images:
            raise UserError(
                "--val-images are --images: leave them out; --val-labels names images to validate on"
            )
        option = "--val-images"
        source = originals.open(option, data.val_images, cache_folder())
        val = labelled_dataset(
            source, data.val_labels, data.val_images, classes, kind=data.val_kind
        )
        val = set_aside(val, quarantine, data, originals, option, data.val_images, data.val_labels)
        return everything, val
    if data.val_fraction == 0:
        return everything, None
    # all are spread over the split, as ever; an image without a label can be learned from by neither part
    train, val = everything.split(data.val_fraction, seed)
    labelled(everything, "training and validation")
    return train.labelled(), val.labelled()


def _listed_validation(everything: Dataset, data: Data, originals: Originals) -> Dataset | None:
    """Those of --images that --val-labels names, whether or not --labels names them too."""
    if data.val_images is not None or data.val_labels is None:
        return None
    val = labelled_dataset(
        everything.source,
        data.val_labels,
        str(data.images),
        everything.classes,
        kind=data.val_kind,
    )
    originals.hold_labels("--val-labels", data.val_labels, val)
    return val.labelled()


def _usable(val: Dataset, everything: Dataset, quarantine: dict[str, str], data: Data) -> Dataset:
    """Those that were not set aside when all of --images were looked at."""
    rows = [row for row, item in enumerate(val.items) if item not in quarantine]
    if not rows:
        raise UserError(
            f"{data.val_labels}: none of the {len(val)} images can be used"
            if len(val)
            else f"{data.val_labels}: no image has a label"
        )
    return replace(val.subset(np.array(rows)), digests=everything.digests)


def _also(
    everything: Dataset, data: Data, quarantine: dict[str, str], originals: Originals
) -> dict[str, Dataset]:
    """name -> the images of each --also-val, over the classes that are trained."""
    found: dict[str, Dataset] = {}
    for text in data.also_val:
        name, images, table = named_images(text, "--also-val")
        if name in found or name in ("val", "test"):
            raise UserError(f"--also-val {text}: {name!r} is taken, choose another name")
        if images in (data.images, data.val_images):
            raise UserError(f"--also-val {text}: these images are used already")
        option = f"--also-val {name}"
        source = originals.open(option, images, cache_folder())
        one = labelled_dataset(source, table, images, everything.classes)
        one = set_aside(one, quarantine, data, originals, option, images, table).labelled()
        if not len(one):
            raise UserError(f"--also-val {text}: no image has a label")
        found[name] = one
    return found


def _unlabeled(
    everything: Dataset,
    data: Data,
    quarantine: dict[str, str],
    originals: Originals,
    picks: Path | None,
    tags: Path | None,
) -> Dataset | None:
    """The images of --unlabeled; items of --images without a label are merely left out."""
    if data.unlabeled is None:
        return None
    option = "--unlabeled"
    source = originals.open(option, data.unlabeled, cache_folder())
    found = Dataset.unlabeled(source, everything.classes)
    if picks is not None:
        found = found.subset(_picked(picks, source.items))
        note(f"{len(found):,} of {len(source):,} unlabelled images are picked; no other is opened")
    elif tags is not None:
        found = found.subset(np.sort(weak_labels(tags, source.items, everything.classes).rows))
        note(f"{len(found):,} of {len(source):,} unlabelled images have tags; no other is opened")
    return set_aside(found, quarantine, data, originals, option, data.unlabeled)


def _picked(picks: Path, items: Sequence[str]) -> Rows:
    """The rows of the items that a table of picks names.

    Raises:
        UserError: it has no column ``item``, or names none of them.
    """
    named = read_columns(picks, ["item"], "not a table of picks")["item"].to_pylist()
    found = rows_among({item for item in named if item is not None}, items)
    rows = np.sort(found[found >= 0])
    if not len(rows):
        first = f", first: {named[0]!r}" if named else ""
        raise UserError(f"{picks}: none of its {len(named)} picks is among the images{first}")
    return rows
