"""Where a review comes from: images with labels, suspects of ``relabel clean``, a run, or raters' answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np

from ..data.dataset import Dataset
from ..data.sources.base import ArraySource, Source, features_of, is_video, open_source
from ..data.sources.feature_table import is_table
from ..duplicates.find import groups
from ..errors import UserError
from ..features.frozen import FrozenBackbone
from ..item_index import ItemIndex, rows_among
from ..labels import LabelSet, Rows, Single, as_multi
from ..options.shared import PRETRAINED, Data
from ..processes import decoders
from ..progress import note
from ..rating.read import read_ratings
from ..relabel.raters.consensus import labels as voted
from ..relabel.raters.consensus import majority
from ..runs.config import load
from ..runs.features import of_network
from ..runs.inputs import cache_folder, labelled_dataset, set_aside
from ..runs.sample_features import input_size
from ..scores.classes import read_classes
from ..scores.table import open_scores
from .heads import Doubles, entries_of
from .prepare import ReviewItems
from .prepared import REVIEW, TOP, Entries, Floats, Half, Opinion

CONFIG, SCORES, CLEAN, RUN = "config.yaml", "scores.parquet", "clean.json", "run.json"


@final
@dataclass(frozen=True)
class ReviewInputs:
    """What is to be reviewed.

    Args:
        images: where they are, or their features.
        labels: the label table; None: the images carry their labels.
        features: a feature table of the images; None: computed now.
        kind, classes: of the labels, as ``reteach train`` has them.
        workers: processes that decode.
        source: images, clean or run.
        scores: held-out scores of ``relabel clean``.
        train: arguments of the next training.
    """

    images: str
    labels: Path | None = None
    features: Path | None = None
    kind: Any = None
    classes: Path | None = None
    workers: int | None = None
    source: str = "images"
    scores: Path | None = None
    train: tuple[str, ...] = ()


def is_prepared(folder: Path) -> bool:
    """Whether a folder is one that a review has made."""
    return (folder / REVIEW.name).is_file()


def asked_of_folder(folder: Path, asked: ReviewInputs | None) -> ReviewInputs:
    """What a folder of ``relabel clean`` or a run is about.

    Args:
        asked: images, features and processes, where they were named too.

    Raises:
        UserError: it is neither, or names no images.
    """
    if not folder.is_dir():
        raise UserError(
            f"{folder} does not exist: name a review, a run, or a folder of reteach relabel clean"
        )
    cleaned = (folder / CLEAN).is_file()
    if not cleaned and not (folder / RUN).is_file():
        raise UserError(
            f"{folder} is no prepared review, no run, and no folder of reteach relabel clean"
        )
    config = load(folder / CONFIG)
    data = config.data
    if data.images is None:
        raise UserError(f"{folder}: its {CONFIG} names no images")
    features = None if asked is None else asked.features
    images = data.images
    if asked is not None and asked.images:
        if is_table(Path(images)) and features is None:
            features = Path(images)
        images = asked.images
    return ReviewInputs(
        images,
        data.labels,
        features,
        data.kind,
        data.classes,
        None if asked is None else asked.workers,
        "clean" if cleaned else "run",
        folder / SCORES if cleaned else None,
        (config.method, "--config", str(folder / CONFIG)) if not cleaned else (config.method,),
    )


def dataset_of(asked: ReviewInputs) -> Dataset:
    """The images with their labels.

    Raises:
        UserError: they do not go together, or the labels are soft.
    """
    source = open_source(asked.images, cache=cache_folder())
    listed = None if asked.classes is None else read_classes(asked.classes)
    data = labelled_dataset(source, asked.labels, asked.images, listed, kind=asked.kind)
    if data.labels.kind == "soft":
        raise UserError(
            f"{asked.labels}: a review takes single labels or label sets, and these are weights: give --kind "
            "single or --kind multi"
        )
    return data


def review_items(asked: ReviewInputs, data: Dataset) -> ReviewItems:
    """Everything that is prepared, features computed or taken from a table.

    Raises:
        UserError: images without features, features of other images, or images that cannot be used.
    """
    quarantine: dict[str, str] = {}
    held_out = None if asked.scores is None else _held_out(asked.scores, data)
    if held_out is not None:
        data = data.subset(held_out[0])
    options = Data(images=asked.images, labels=asked.labels, workers=asked.workers)
    data = set_aside(data, quarantine, options)
    if quarantine:
        item, reason = next(iter(quarantine.items()))
        note(
            f"{len(quarantine):,} images cannot be read and are left out, first: {item!r} ({reason})"
        )
    features, words, settings = _features(asked, data)
    pixels = features_of(data.source) is None and not is_video(data.source)
    copies = groups(data.source, data.rows, decoders(asked.workers)) if pixels else None
    opinion = None
    if held_out is not None:
        kept = rows_among(data.items, held_out[1])
        opinion = _opinion(held_out[2][kept], data.labels)
    return ReviewItems(
        "single" if isinstance(data.labels, Single) else "multi",
        data.items,
        as_multi(data.labels),
        features,
        asked.images,
        "" if asked.labels is None else str(asked.labels),
        words,
        settings,
        copies,
        None,
        opinion,
        opinion,
        asked.source,
        asked.train,
    )


def rated_items(where: str, asked: ReviewInputs) -> ReviewItems:
    """The answers of raters: the vote is what is given, and how far they disagree is known.

    Raises:
        UserError: no images, or others than the raters saw.
    """
    ratings = read_ratings(where)
    share = majority(ratings).score
    given = voted(ratings, share, np.nextafter(0.5, 1))
    asked_items = np.bincount(ratings.pair_item, minlength=len(ratings.items)) > 0
    rows = np.flatnonzero(asked_items | (ratings.original >= 0))
    names = [ratings.items[row] for row in rows.tolist()]
    source = open_source(asked.images, names, cache=cache_folder())
    data = Dataset.of(source, given.take(rows))
    found = review_items(replace(asked, labels=None), data)
    dispute = _dispute(ratings.pair_item, share, len(ratings.items))
    kept = rows_among(found.items, ratings.items)
    return replace(found, dispute=dispute[kept], source="ratings")


def _dispute(item: Rows, share: Doubles, n: int) -> Floats:
    """(N,) 0 … 1: of each item's most disputed class, 1 where half of the raters say yes."""
    out = np.zeros(n, np.float32)
    known = np.isfinite(share)
    np.maximum.at(out, item[known], (4 * share * (1 - share))[known].astype(np.float32))
    return out


def _features(asked: ReviewInputs, data: Dataset) -> tuple[Half, str, dict[str, Any]]:
    """(N, D) of each image, what they are, and how they were made."""
    own = features_of(data.source)
    if own is not None:
        if asked.features is not None:
            raise UserError(
                f"--features has no effect: {asked.images} is a feature table itself; leave it out"
            )
        found = data
    elif asked.features is not None:
        found = _of_table(asked.features, data)
    else:
        eyes = of_network(PRETRAINED, None, True, input_size(data), "auto")
        found = FrozenBackbone(eyes, None, None, decoders(asked.workers)).features(data)
    assert isinstance(found.source, ArraySource)
    settings = dict(features_of(found.source) or {})
    backbone = settings.get("backbone", "a network")
    images = np.asarray(found.source.images)[found.rows]
    return _plain(images), f"features of {backbone}", settings


def _plain(images: Any) -> Half:
    """(N, D) of feature pictures (N, 1, V · D): the first view."""
    return np.asarray(images.reshape(len(images), *images.shape[-2:])[:, 0], np.float16)


def _of_table(table: Path, data: Dataset) -> Dataset:
    if not is_table(table):
        raise UserError(f"--features {table} is no feature table: make one with 'reteach embed'")
    source: Source = open_source(table)
    at = rows_among(data.items, source.items)
    if (at < 0).any():
        missing = data.items[int(np.flatnonzero(at < 0)[0])]
        raise UserError(
            f"--features {table} is of other images: it has no row for {int((at < 0).sum()):,} of "
            f"{len(at):,}, first {missing!r}"
        )
    return Dataset(source, data.labels, at)


def _held_out(path: Path, data: Dataset) -> tuple[Rows, Sequence[str], Doubles]:
    """Which images have held-out scores, their names, and (M, C) scores, 0 where a class has none."""
    items = ItemIndex(data.items, closed=True)
    classes = data.classes
    scores = np.zeros((len(items), len(classes)))
    scored = np.zeros(len(items), np.bool_)
    for rows in open_scores(path).batches(items, classes):
        scores[rows.item, rows.cls] = rows.score
        scored[rows.item] = True
    if not scored.any():
        raise UserError(f"{path}: none of the images has scores there")
    rows_ = np.flatnonzero(scored)
    if len(rows_) < len(scored):
        note(f"{len(scored) - len(rows_):,} images have no held-out scores and are left out")
    names = data.items
    return rows_, [names[row] for row in rows_.tolist()], scores[rows_]


def _opinion(scores: Doubles, labels: LabelSet) -> Opinion:
    """Held-out scores (N, C) as an opinion."""
    given = Entries.of(as_multi(labels))
    top = np.argsort(-scores, axis=1, kind="stable")[:, : min(TOP, scores.shape[1])]
    at, entry = entries_of(given, np.arange(len(given)))
    own = scores[at, given.columns[entry]]
    best = np.take_along_axis(scores, top, 1)
    return Opinion(top.astype(np.int32), best.astype(np.float32), own.astype(np.float32))
