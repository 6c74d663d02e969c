"""``reteach dedup``: images that are in two sets, or twice in one."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..data.sources.base import open_source
from ..duplicates.feature_files import read_features
from ..duplicates.find import ImageSet, equal_files
from ..duplicates.neighbours import Features, nearest, normalised
from ..duplicates.pairs import Pairs, joined, near_pairs
from ..duplicates.thumbnails import ALIKE, SIDE
from ..files import atomic_path
from ..labels import Rows
from ..options.dedup import DedupOptions
from ..processes import readers
from ..relabel.selection.item_lists import write_items
from ..report.pages.duplicates import Duplicates, write_duplicates
from ..runs.copies import pictures_of_sources

MOST = 10
"""Images that cannot be used and are named."""


@final
@dataclass(frozen=True)
class DedupResult:
    """The pairs that were found.

    Args:
        out: their table.
        equal_files: pairs of files with the same bytes.
        near: further pairs, of near pictures.
        distances: of the nearest and the farthest of them; None: there is none.
        alike: those within the distance up to which pictures are copies; None: other features than
            grey thumbnails were compared.
        recall: share of the true neighbours that were found; None: only equal files were looked for.
        exclude: list of the images to remove, where it was asked for.
        removed: images on it.
        holds_alike: whether it lists all that are alike.
        page: the page, where it was asked for.
        unusable: (item, reason) of the images that were not compared.
    """

    out: Path
    equal_files: int
    near: int
    distances: tuple[float, float] | None
    alike: int | None
    recall: float | None
    exclude: Path | None
    removed: int
    holds_alike: bool
    page: Path | None
    unusable: list[tuple[str, str]] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        """How many pairs, how near, and the files."""
        yield f"{self.equal_files:,} pairs of equal files"
        if self.recall is not None and self.recall < 1:
            yield f"nearest pictures by FAISS: recall {self.recall:.1%} on a sample"
        if self.distances is not None:
            low, high = self.distances
            yield f"{self.near:,} pairs of near pictures, {low:.3f} to {high:.3f} apart"
        if self.distances is not None and self.alike is not None:
            hint = "" if self.holds_alike else f"; to remove these too: --within {ALIKE:g}"
            yield (
                f"{self.alike:,} of them are within {ALIKE:g}, where clean and advise take pictures "
                f"for copies{hint}"
            )
        yield f"pairs: {self.out}"
        if self.exclude is not None:
            yield f"{self.removed:,} images to remove: {self.exclude}"
            if not self.removed:
                yield "the list is empty: select takes it only beside others that are not"
        if self.page is not None:
            yield f"page: {self.page}"


def dedup(options: DedupOptions) -> DedupResult:
    """Find images that are in two sets, or twice in one: equal files, then equal-looking ones.

    Raises:
        UserError: no images, features that are missing, or a list that cannot be written.
    """
    images = ImageSet(open_source(options.images))
    other = None if options.against is None else ImageSet(open_source(options.against))
    against = other or images
    equal = equal_files(images, other)
    near, recall = equal.take(np.zeros(0, np.int64)), None
    how = ""
    if not options.only_bytes:
        near, recall, how = _near(options, images, other, equal)
    unusable = _unusable([images] if other is None else [images, other])
    found = joined(equal, near)
    _write(options.out, found, images, against)
    removed = _removed(options, found, images)
    if options.exclude is not None:
        write_items(options.exclude, removed)
    if options.report is not None:
        shown = pictures_of_sources(found, images.source, against.source, options.shown)
        within = _limit(options)
        copies = 0 if within is None else int((near.distance <= within).sum())
        left, gone = len(near) - copies, len(removed)
        write_duplicates(
            options.report, Duplicates(shown, len(equal), copies, left, within, gone, how)
        )
    return DedupResult(
        options.out,
        len(equal),
        len(near),
        (float(near.distance[0]), float(near.distance[-1])) if len(near) else None,
        int((near.distance <= ALIKE).sum()) if _by_thumbnails(options) else None,
        recall,
        options.exclude,
        len(removed),
        options.exclude is not None and options.within is not None and options.within >= ALIKE,
        options.report,
        unusable,
    )


def _near(
    options: DedupOptions, images: ImageSet, other: ImageSet | None, equal: Pairs
) -> tuple[Pairs, float, str]:
    """Pairs of near pictures that are not equal files, the recall of the search, and what was compared."""
    features, how = _features(options, [images] if other is None else [images, other])
    base, queries = features[0], features[-1]
    found = nearest(
        queries,
        base,
        options.neighbours + (other is None),  # an image is its own nearest
        search=options.search,
        recall=options.recall,
        memory_mb=options.memory,
    )
    if found.recall < options.recall:
        _warn(f"the index does not reach a recall of {options.recall:.0%}")
    blank = _blank(base), _blank(queries)
    single = other is None
    pairs = near_pairs(found, single_set=single, most=options.pairs, skip=[equal], blank=blank)
    return pairs, found.recall, how


def _blank(some: Features) -> Rows:
    """The rows of zeros: images that cannot be read, and such that show nothing to compare."""
    return np.flatnonzero(~np.any(some, axis=1))


def _by_thumbnails(options: DedupOptions) -> bool:
    """Whether grey thumbnails are compared, for want of features."""
    given = (options.features, options.run_folder, options.model)
    return not options.only_bytes and all(value is None for value in given)


def _limit(options: DedupOptions) -> float | None:
    """Up to which distance the page calls pictures copies; None: of these features nobody knows."""
    if options.within is not None:
        return options.within
    return ALIKE if _by_thumbnails(options) else None


def _features(options: DedupOptions, sets: Sequence[ImageSet]) -> tuple[list[Features], str]:
    """Features of each set of images, and what they are in words."""
    if _by_thumbnails(options):
        found = [normalised(one.thumbnails(options.workers)) for one in sets]
        return found, f"grey thumbnails of {SIDE}×{SIDE} pixels"
    if options.features is None:
        return _network_features(options, sets)
    files = [options.features, options.against_features or options.features]
    read = [read_features(file, one.source.items) for file, one in zip(files, sets, strict=False)]
    return list(map(normalised, read)), f"the features in {options.features.name}"


def _network_features(
    options: DedupOptions, sets: Sequence[ImageSet]
) -> tuple[list[Features], str]:
    from ..runs.features import extract, of_network, of_run  # torch

    if options.run_folder is not None:
        extractor = of_run(options.run_folder, options.device)
    else:
        how = (options.init, options.pretrained, options.image_size, options.device)
        extractor = of_network(str(options.model), *how)

    def features(one: ImageSet) -> Features:
        workers = readers(options.workers, len(one.source))
        size, beside = options.batch_size, options.out.parent
        return extract(extractor, one.source, size, workers, beside, one.broken)

    return list(map(features, sets)), extractor.words


def _unusable(sets: Sequence[ImageSet]) -> list[tuple[str, str]]:
    """(item, reason) of the images that were not compared; the first ones are warned of."""
    broken = [(one.source.items[row], why) for one in sets for row, why in one.broken.items()]
    for item, reason in broken[:MOST]:
        _warn(f"{item} cannot be used: {reason}")
    if len(broken) > MOST:
        _warn(f"{len(broken) - MOST:,} more images cannot be used")
    return broken


def _warn(message: str) -> None:
    print(f"warning: {message}", file=sys.stderr)


def _removed(options: DedupOptions, found: Pairs, images: ImageSet) -> list[str]:
    chosen = found.within(-1.0 if options.within is None else options.within)
    if options.first is not None:
        chosen[: options.first] = True
    return [images.source.items[row] for row in np.unique(found.row[chosen]).tolist()]


def _write(path: Path, found: Pairs, images: ImageSet, against: ImageSet) -> None:
    rows, others = found.row.tolist(), found.against.tolist()
    columns = {
        "item": pa.array([images.source.items[row] for row in rows], pa.string()),
        "against": pa.array([against.source.items[row] for row in others], pa.string()),
        "distance": pa.array(found.distance, pa.float32()),
        "same_bytes": pa.array(found.same_bytes, pa.bool_()),
        "label": pa.array(_labels(images, rows), pa.string()),
        "against_label": pa.array(_labels(against, others), pa.string()),
    }
    with atomic_path(path) as part:
        pq.write_table(pa.table(columns), part)


def _labels(images: ImageSet, rows: list[int]) -> list[str | None]:
    """The classes of some images, where the source itself has labels."""
    names = images.source.class_of
    return [None if names is None else names[row] for row in rows]
