"""``reteach dedup``: images that are in two sets, or twice in one."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ..data.sources.base import Source, features_of, open_source
from ..data.sources.feature_table import read_index
from ..duplicates.feature_files import read_features
from ..duplicates.find import ImageSet, equal_files
from ..duplicates.looks import alike_distance
from ..duplicates.neighbours import Features, nearest, normalised
from ..duplicates.pairs import Pairs, joined, near_pairs
from ..duplicates.parts import PartOf, merged, slice_of
from ..duplicates.thumbnails import SIDE
from ..errors import UserError
from ..files import atomic_path
from ..inline import InNotebook
from ..labels import Rows
from ..options.dedup import DedupOptions
from ..options.shared import PRETRAINED
from ..processes import readers
from ..relabel.selection.item_lists import write_items
from ..report.pages.duplicates import Duplicates, write_duplicates
from ..runs.copies import LabelOf, labels_of, pictures_of_sources
from ..unreadable import Unreadable, left_out, unreadable


@final
@dataclass(frozen=True)
class DedupResult(InNotebook):
    """The pairs that were found.

    Args:
        out: their table.
        equal_files: pairs of files with the same bytes.
        neighbours: further pairs, of pictures that are nearest to each other, however far that is.
        distances: of the nearest and the farthest of them; None: there is none.
        alike: near copies: those within the distance up to which images are copies; None: what was compared
            has no such distance.
        within: that distance.
        differ: pairs of equal files and of near copies whose labels differ; None: no labels are known.
        recall: share of the true neighbours that were found; None: only equal files were looked for.
        exclude: list of the images to remove, where it was asked for.
        removed: images on it.
        holds_alike: whether it lists all that are alike.
        page: the page, where it was asked for.
        unreadable: what was not compared because it could not be read.
    """

    out: Path
    equal_files: int
    neighbours: int
    distances: tuple[float, float] | None
    alike: int | None
    within: float
    differ: int | None
    recall: float | None
    exclude: Path | None
    removed: int
    holds_alike: bool
    page: Path | None
    unreadable: Unreadable

    def lines(self) -> Iterator[str]:
        """How many pairs, how near, and the files."""
        yield f"{self.equal_files:,} pairs of equal files"
        if self.recall is not None and self.recall < 1:
            yield f"nearest pictures by FAISS: recall {self.recall:.1%} on a sample"
        if self.distances is not None:
            low, high = self.distances
            yield f"{self.neighbours:,} pairs of neighbours, {low:.3f} to {high:.3f} apart"
        if self.distances is not None and self.alike is not None:
            hint = "" if self.holds_alike else f"; to remove these too: --within {self.within:g}"
            yield (
                f"{self.alike:,} of them are near copies: within {self.within:g}, where clean and advise "
                f"take pictures for copies{hint}"
            )
        if self.differ is not None:
            copies = "" if self.alike is None else " and near copies"
            yield f"{self.differ:,} pairs of equal files{copies} have different labels"
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
    _check_kinds(options, images.source, against.source)
    within = alike_distance(images.source)
    labels = labels_of(images.source, options.labels)
    others = labels if other is None else labels_of(against.source, options.against_labels)
    if options.merge:
        there = None if other is None else other.source.items
        found, about = merged(options.merge, images.source.items, there, options.pairs)
        equal, near = found.take(found.same_bytes), found.take(~found.same_bytes)
        recall, how = None if about.pairs is None else about.recall, about.how
    else:
        equal = equal_files(images, other)
        near, recall = equal.take(np.zeros(0, np.int64)), None
        how = ""
        if not options.only_bytes:
            near, recall, how = _near(options, images, other, equal)
        about = _about(options, images, other, how, recall)
    sets = [images] if other is None else [images, other]
    lost = unreadable(options.out, *map(_unreadable, sets, ("--images", "--against")))
    found = joined(equal, near)
    named = _labels(found.row, labels), _labels(found.against, others)
    _write(options.out, found, images, against, named, about)
    removed = _removed(options, found, images)
    if options.exclude is not None:
        write_items(options.exclude, removed)
    if options.report is not None:
        shown = pictures_of_sources(
            found, images.source, against.source, options.shown, labels, others
        )
        limit = about.copies if options.within is None else options.within
        copies = 0 if limit is None else int((near.distance <= limit).sum())
        left, gone = len(near) - copies, len(removed)
        write_duplicates(
            options.report, Duplicates(shown, len(equal), copies, left, limit, gone, how)
        )
    return DedupResult(
        options.out,
        len(equal),
        len(near),
        (float(near.distance[0]), float(near.distance[-1])) if len(near) else None,
        None if about.copies is None else int((near.distance <= about.copies).sum()),
        within,
        _differing(
            named, found.same_bytes | found.within(-1.0 if about.copies is None else about.copies)
        ),
        recall,
        options.exclude,
        len(removed),
        options.exclude is not None and options.within is not None and options.within >= within,
        options.report,
        lost,
    )


def _about(
    options: DedupOptions,
    images: ImageSet,
    other: ImageSet | None,
    how: str,
    recall: float | None,
) -> PartOf:
    """What the table of pairs is of."""
    names = images.source.items
    queries = images if other is None else other
    part, parts, _ = slice_of(options.part, len(queries.source))
    return PartOf(
        len(names),
        names[0],
        names[-1],
        None if other is None else len(other.source),
        part,
        parts,
        options.neighbours,
        None if options.only_bytes else options.pairs,
        _what(options, images.source, how),
        how,
        alike_distance(images.source) if _by_looks(options) else None,
        1.0 if recall is None else recall,
    )


def _what(options: DedupOptions, source: Source, how: str) -> str:
    """What is compared, by which parts of one search are told from others."""
    settings = features_of(source) if _by_looks(options) else None
    if options.features is not None and options.features.is_dir():
        settings = read_index(options.features)["settings"]
    elif options.features is not None:
        return "features of elsewhere"
    if settings is None:
        return how
    return hashlib.sha256(json.dumps(dict(settings), sort_keys=True).encode()).hexdigest()[:16]


def _near(
    options: DedupOptions, images: ImageSet, other: ImageSet | None, equal: Pairs
) -> tuple[Pairs, float, str]:
    """Pairs of near pictures that are not equal files, the recall of the search, and what was compared."""
    features, how = _features(options, [images] if other is None else [images, other])
    base, queries = features[0], features[-1]
    *_, mine = slice_of(options.part, len(queries))
    found = nearest(
        queries[mine],
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
    pairs = near_pairs(
        found,
        single_set=single,
        most=options.pairs,
        skip=[equal],
        blank=blank,
        first=mine.start,
    )
    return pairs, found.recall, how


def _blank(some: Features) -> Rows:
    """The rows of zeros: images that cannot be read, and such that show nothing to compare."""
    return np.flatnonzero(~np.any(some, axis=1))


def _by_looks(options: DedupOptions) -> bool:
    """Whether the images are compared as they are: by grey thumbnails, a feature table by its features."""
    given = (options.features, options.run_folder, options.model)
    named = any(value is not None for value in given) or options.pretrained
    return not options.only_bytes and not named


def _check_kinds(options: DedupOptions, images: Source, against: Source) -> None:
    """Features are compared with features of one kind, and by no network that looks at pixels.

    Raises:
        UserError: otherwise.
    """
    from ..features.preprocessing import differing  # torch

    one, other = features_of(against), features_of(images)
    if (one is None) != (other is None):
        which = "--images" if one is None else "--against"
        raise UserError(f"only {which} are features: give both as images, or embed both alike")
    if one is not None and other is not None and (what := differing(one, other)):
        raise UserError(f"--against are other features than --images ({what}): embed both alike")
    if one is not None and (options.model is not None or options.pretrained):
        raise UserError("--images are features already: leave out --model, --pretrained and --init")


def _features(options: DedupOptions, sets: Sequence[ImageSet]) -> tuple[list[Features], str]:
    """Features of each set of images, and what they are in words."""
    if _by_looks(options):
        found = [normalised(one.looks(options.workers)) for one in sets]
        if features_of(sets[0].source) is not None:
            return found, f"the features in {Path(options.images).name}"
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
        extractor = of_network(options.model or PRETRAINED, *how)

    def features(one: ImageSet) -> Features:
        workers = readers(options.workers, len(one.source))
        size, beside = options.batch_size, options.out.parent
        return extract(extractor, one.source, size, workers, beside, one.broken)

    return list(map(features, sets)), extractor.words


def _unreadable(one: ImageSet, option: str) -> list[tuple[str, str]]:
    """(item, reason) of what was not compared; both sets may have an item of the same name."""
    found = [*one.unreadable().items(), *left_out(one.source)]
    return [(item, f"{reason} (of {option})") for item, reason in found]


def _warn(message: str) -> None:
    print(f"warning: {message}", file=sys.stderr)


def _removed(options: DedupOptions, found: Pairs, images: ImageSet) -> list[str]:
    chosen = found.within(-1.0 if options.within is None else options.within)
    if options.first is not None:
        chosen[: options.first] = True
    return [images.source.items[row] for row in np.unique(found.row[chosen]).tolist()]


def _write(
    path: Path,
    found: Pairs,
    images: ImageSet,
    against: ImageSet,
    labels: tuple[Labels, Labels],
    about: PartOf,
) -> None:
    rows, others = found.row.tolist(), found.against.tolist()
    columns = {
        "item": pa.array([images.source.items[row] for row in rows], pa.string()),
        "against": pa.array([against.source.items[row] for row in others], pa.string()),
        "distance": pa.array(found.distance, pa.float32()),
        "same_bytes": pa.array(found.same_bytes, pa.bool_()),
        "label": pa.array(labels[0], pa.string()),
        "against_label": pa.array(labels[1], pa.string()),
    }
    with atomic_path(path) as part:
        pq.write_table(pa.table(columns).replace_schema_metadata(about.metadata()), part)


Labels = list[str | None]
"""Of one side of the pairs, where they are known."""


def _labels(rows: Rows, label_of: LabelOf) -> Labels:
    return [label_of(row) for row in rows.tolist()]


def _differing(labels: tuple[Labels, Labels], among: NDArray[np.bool_]) -> int | None:
    """How many of some pairs have two labels; None: of no pair both are known."""
    pairs = [pair for pair, counts in zip(zip(*labels, strict=True), among, strict=True) if counts]
    known = [pair for pair in pairs if None not in pair]
    return sum(one != other for one, other in known) if known else None
