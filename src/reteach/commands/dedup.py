"""The work of ``reteach dedup``: two sources of images in; pairs, a list and a page out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, final

import numpy as np

from ..data.loading.decode import ImageError
from ..data.sources.base import Source, open_source
from ..data.sources.contents import Contents
from ..duplicates.feature_files import read_features
from ..duplicates.neighbours import Features, nearest, normalised
from ..duplicates.pairs import Pairs, joined, near_pairs, same_bytes
from ..duplicates.thumbnails import ALIKE, SIDE, thumbnails
from ..files import atomic_path
from ..labels import Rows
from ..processes import cores
from ..progress import progress
from ..relabel.selection.item_lists import write_items
from ..runs.gallery import data_url

if TYPE_CHECKING:
    from ..options.dedup import DedupOptions


@final
@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images, and those of them that cannot be used: row -> reason."""

    source: Source
    broken: dict[int, str] = field(default_factory=dict)

    def item(self, row: int) -> str:
        """Its item id."""
        return self.source.items[row]

    def label(self, row: int) -> str | None:
        """Its class, where the source itself has labels."""
        names = self.source.class_of
        return None if names is None else names[row]


def dedup(command: DedupOptions) -> Iterator[str]:
    """Do it; yields the lines to print.

    Raises:
        UserError: no images, features that are missing, or a list that cannot be written.
    """
    images = ImageSet(open_source(command.images))
    single = command.against is None
    against = images if single else ImageSet(open_source(str(command.against)))
    found = _equal_files(images, against)
    yield f"{len(found):,} pairs of equal files"
    how = "no features: only equal files were looked for"
    if not command.only_bytes:
        base, queries, how = features(command, images, against)
        most = command.neighbours + single  # an image is its own nearest
        near = nearest(
            queries,
            base,
            most,
            search=command.search,
            recall=command.recall,
            memory_mb=command.memory,
        )
        if near.recall < 1:
            yield f"nearest pictures by FAISS: recall {near.recall:.1%} on a sample"
        if near.recall < command.recall:
            yield f"warning: the index does not reach a recall of {command.recall:.0%}"
        blank = _blank(base), _blank(queries)
        pairs = near_pairs(near, single_set=single, most=command.pairs, skip=[found], blank=blank)
        if len(pairs):
            low, high = pairs.distance[[0, -1]]
            yield f"{len(pairs):,} pairs of near pictures, {low:.3f} to {high:.3f} apart"
        if command.by_thumbnails and len(pairs):
            hint = "" if _taken(command) else f"; to remove these too: --within {ALIKE:g}"
            yield (
                f"{int((pairs.distance <= ALIKE).sum()):,} of them are within {ALIKE:g}, where clean "
                f"and advise take pictures for copies{hint}"
            )
        found = joined(found, pairs)
    yield from _complaints([images] if single else [images, against])
    _write(command.out, found, images, against)
    yield f"pairs: {command.out}"
    removed = _removed(command, found, images)
    if command.exclude is not None:
        write_items(command.exclude, removed)
        yield f"{len(removed):,} images to remove: {command.exclude}"
        if not removed:
            yield "the list is empty: select takes it only beside others that are not"
    if command.page is not None:
        _page(command.page, command.shown, found, images, against, len(removed), how)
        yield f"page: {command.page}"


def _blank(some: Features) -> Rows:
    """The rows of zeros: images that cannot be read, and such that show nothing to compare."""
    return np.flatnonzero(~np.any(some, axis=1))


def features(
    command: DedupOptions, images: ImageSet, against: ImageSet
) -> tuple[Features, Features, str]:
    """Features of the images, of those they must not repeat, and what they are in words."""
    if command.run_folder is not None or command.model is not None:
        return _network_features(command, images, against)
    if command.features is None:
        base = normalised(thumbnails(images.source, images.broken, command.workers))
        other = (
            base
            if against is images
            else normalised(thumbnails(against.source, against.broken, command.workers))
        )
        return base, other, f"grey thumbnails of {SIDE}×{SIDE} pixels"
    base = normalised(read_features(command.features, images.source.items))
    file = command.against_features or command.features
    other = base if against is images else normalised(read_features(file, against.source.items))
    return base, other, f"the features in {command.features.name}"


def _network_features(
    command: DedupOptions, images: ImageSet, against: ImageSet
) -> tuple[Features, Features, str]:
    from ..runs.features import extract, of_network, of_run

    if command.run_folder is not None:
        eyes = of_run(command.run_folder, command.device)
    else:
        how = (command.init, command.pretrained, command.image_size, command.device)
        eyes = of_network(str(command.model), *how)

    def seen(one: ImageSet) -> Features:
        crew = min(cores(), len(one.source) // 500) if command.workers is None else command.workers
        return extract(eyes, one.source, command.batch_size, crew, command.out.parent, one.broken)

    base = seen(images)
    return base, base if against is images else seen(against), eyes.words


def _equal_files(images: ImageSet, against: ImageSet) -> Pairs:
    def unreadable(row: int, of_against: bool, error: Exception) -> None:
        (against if of_against else images).broken[row] = str(error)

    other = None if against is images else Contents(against.source)
    total = len(images.source) + (len(other) if other is not None else 0)
    with progress("equal files", total) as tell:
        return same_bytes(Contents(images.source), other, tell, unreadable, (ImageError,))


def _complaints(sets: Sequence[ImageSet], most: int = 10) -> Iterator[str]:
    broken = [(one.item(row), reason) for one in sets for row, reason in one.broken.items()]
    for item, reason in broken[:most]:
        yield f"warning: {item} cannot be used: {reason}"
    if len(broken) > most:
        yield f"warning: {len(broken) - most:,} more images cannot be used"


def _taken(command: DedupOptions) -> bool:
    """Whether --exclude lists all that are alike already."""
    return command.exclude is not None and command.within is not None and command.within >= ALIKE


def _removed(command: DedupOptions, found: Pairs, images: ImageSet) -> list[str]:
    chosen = found.within(-1.0 if command.within is None else command.within)
    if command.first is not None:
        chosen[: command.first] = True
    return [images.item(row) for row in np.unique(found.row[chosen]).tolist()]


def _write(path: Path, found: Pairs, images: ImageSet, against: ImageSet) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows, others = found.row.tolist(), found.against.tolist()
    columns = {
        "item": pa.array([images.item(row) for row in rows], pa.string()),
        "against": pa.array([against.item(row) for row in others], pa.string()),
        "distance": pa.array(found.distance, pa.float32()),
        "same_bytes": pa.array(found.same_bytes, pa.bool_()),
        "label": pa.array([images.label(row) for row in rows], pa.string()),
        "against_label": pa.array([against.label(row) for row in others], pa.string()),
    }
    with atomic_path(path) as part:
        pq.write_table(pa.table(columns), part)


def _page(
    path: Path,
    shown: int,
    found: Pairs,
    images: ImageSet,
    against: ImageSet,
    removed: int,
    how: str,
) -> None:
    from ..report.pages.duplicates import Duplicate, Side, write_duplicates

    def side(one: ImageSet, row: int) -> Side:
        try:
            picture = data_url(one.source.read(row))
        except ImageError:
            picture = None
        return Side(one.item(row), picture, one.label(row))

    pairs = [
        Duplicate(
            number + 1,
            side(images, int(found.row[number])),
            side(against, int(found.against[number])),
            float(found.distance[number]),
            bool(found.same_bytes[number]),
        )
        for number in range(min(shown, len(found)))
    ]
    write_duplicates(path, pairs, len(found), removed, how)
