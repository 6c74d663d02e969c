"""Images that stand in two sets, or twice in one: equal files first, then equal-looking pictures.

Billion-scale semi-supervised learning (Yalniz et al. 2019), supplement 5: features of the last pooled
layer, L2-normalised; for each evaluation image its nearest unlabelled images; all pairs sorted globally
by Euclidean distance, the top ones reviewed by eye and removed from the unlabelled set.

Added here: files with the same bytes are found first, without a model and without a threshold; and
where there is no model, tiny grey thumbnails take the place of its features. They find copies that
were resized or compressed again, but no crops or mirror images.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from .neighbours import Neighbours

SIDE = 16
"""Of the thumbnails."""
ALIKE = 0.1
"""Distance of two thumbnails up to which pictures are taken for copies: what it finds and what it takes for
a copy by mistake is in ``docs/results-advise.md``."""

T = TypeVar("T")
_Place = tuple[int, int]
"""Number of the set, and row in it."""


class Files(Protocol):
    """N stored files."""

    def __len__(self) -> int:
        """N."""

    def size(self, row: int) -> int:
        """Number of bytes; -1 where only reading would tell."""

    def content(self, row: int) -> bytes:
        """All bytes."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """M pairs of images, nearest first; arrays are (M,)."""

    row: NDArray[np.int64]
    """The image that would be removed."""
    against: NDArray[np.int64]
    """The image that it repeats; in a single set, an earlier one."""
    distance: NDArray[np.float32]
    same_bytes: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.row)

    def take(self, keep: NDArray[np.bool_] | NDArray[np.int64]) -> Pairs:
        """Some of the pairs, by mask or index."""
        return Pairs(self.row[keep], self.against[keep], self.distance[keep], self.same_bytes[keep])

    def within(self, distance: float) -> NDArray[np.bool_]:
        """(M,) which pairs have the same bytes or are no further apart than this."""
        return self.same_bytes | (self.distance <= distance)


def same_bytes(
    files: Files,
    against: Files | None = None,
    tell: Callable[[int], object] | None = None,
    unreadable: Callable[[int, bool, Exception], object] | None = None,
    errors: tuple[type[Exception], ...] = (OSError,),
) -> Pairs:
    """Pairs of files with the same bytes, across two sets or within one.

    Only files whose size occurs twice are read at all.

    Args:
        tell: told how many files have been looked at.
        unreadable: told of files that raise one of ``errors``: row, whether it is of ``against``,
            and why. They are in no pair.
    """
    sets: list[Files] = [files] if against is None else [against, files]
    by_size: dict[int, list[_Place]] = defaultdict(list)

    def attempt(read: Callable[[int], T], place: _Place) -> T | None:
        try:
            return read(place[1])
        except errors as error:
            if unreadable is not None:
                unreadable(place[1], len(sets) == 2 and place[0] == 0, error)
            return None

    for number, one in enumerate(sets):
        for row in range(len(one)):
            size = attempt(one.size, (number, row))
            if size is not None:
                by_size[size].append((number, row))
    found: list[tuple[int, int]] = []
    done = 0
    for size, members in by_size.items():
        done += len(members)
        alone = len(members) == 1 or len({number for number, _ in members}) < len(sets)
        if size < 0 or not alone:
            by_content: dict[bytes, list[_Place]] = defaultdict(list)
            for place in members:
                content = attempt(sets[place[0]].content, place)
                if content is not None:
                    digest = hashlib.blake2b(content, digest_size=16).digest()
                    by_content[digest].append(place)
            found += [pair for group in by_content.values() for pair in _pairs_of(group, len(sets))]
        if tell is not None:
            tell(done)
    rows = np.array(sorted(found), np.int64).reshape(-1, 2)
    return Pairs(rows[:, 0], rows[:, 1], np.zeros(len(rows), np.float32), np.ones(len(rows), bool))


def thumbnail(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(H, W, 1 or 3) uint8 -> (256,) grey thumbnail of mean 0 and length 1; flat images give zeros.

    Brightness and contrast drop out, size and compression nearly do.
    """
    from PIL import Image

    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).convert("L")
    small = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX), np.float32).ravel()
    small = small - small.mean()
    length = np.linalg.norm(small)
    return np.asarray(small / length if length > 1 else np.zeros_like(small), np.float32)


def near_pairs(
    found: Neighbours, *, single_set: bool, most: int, skip: Sequence[Pairs] = ()
) -> Pairs:
    """All pairs of a search, sorted globally by distance.

    Args:
        found: the neighbours, in the set to be cleaned, of each evaluation image; in a single set,
            of each of its own images.
        most: keep only the so many nearest pairs.
        skip: pairs that are known already; in a single set, also those that follow from them (of three
            equal files two pairs are known, and the third is no news).
    """
    against = np.repeat(np.arange(len(found.index)), found.index.shape[1])
    row, distance = found.index.ravel(), found.distance.ravel()
    keep = row >= 0
    if single_set:
        row, against = np.maximum(row, against), np.minimum(row, against)
        keep &= row != against
    key = row << 32 | against
    for known in skip:
        if single_set:
            first_of = np.arange(max(len(found.index), 1 + found.index.max(initial=0)))
            first_of[known.row] = known.against
            keep &= first_of[row] != first_of[against]
        keep &= ~np.isin(key, known.row << 32 | known.against)
    order = np.flatnonzero(keep)
    order = order[np.lexsort((against[order], row[order], distance[order]))]
    _, first = np.unique(key[order], return_index=True)  # each pair once
    order = order[np.sort(first)][:most]
    return Pairs(row[order], against[order], distance[order], np.zeros(len(order), bool))


def joined(first: Pairs, second: Pairs) -> Pairs:
    """Both lists, nearest first; equal files before pictures that only look equal."""
    both = Pairs(
        np.concatenate([first.row, second.row]),
        np.concatenate([first.against, second.against]),
        np.concatenate([first.distance, second.distance]),
        np.concatenate([first.same_bytes, second.same_bytes]),
    )
    return both.take(np.lexsort((both.against, both.row, ~both.same_bytes, both.distance)))


def read_features(path: Path, items: Sequence[str]) -> NDArray[np.float32]:
    """The features of ``items``, in their order, from a file of them.

    A ``.npz`` file has the arrays ``items`` (N,) and ``features`` (N, D); a ``.parquet`` file the
    columns ``item`` and ``features`` (lists of numbers).

    Raises:
        UserError: no such file, another layout, or an item without features.
    """
    names, features = _npz(path) if path.suffix.lower() == ".npz" else _parquet(path)
    position = {name: row for row, name in enumerate(names)}
    missing = [item for item in items if item not in position]
    if missing:
        raise UserError(
            f"{path}: {len(missing)} of {len(items)} images have no features, first: {missing[0]!r}"
        )
    return features[[position[item] for item in items]]


def _npz(path: Path) -> tuple[list[str], NDArray[np.float32]]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            names, features = arrays["items"], arrays["features"]
    except KeyError:
        raise UserError(f"{path}: needs the arrays 'items' and 'features'") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not a readable .npz file ({error})") from None
    if features.ndim != 2 or len(names) != len(features):
        raise UserError(
            f"{path}: items {names.shape} and features {features.shape} do not correspond"
        )
    return [str(name) for name in names], np.asarray(features, np.float32)


def _parquet(path: Path) -> tuple[list[str], NDArray[np.float32]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from ..score_columns import one_line

    try:
        table = pq.read_table(path, columns=["item", "features"])
        flat = table["features"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        features = np.asarray(flat, np.float32).reshape(len(table), -1)
    except (pa.ArrowException, OSError, ValueError, AttributeError) as error:
        raise UserError(
            f"{path}: needs the columns 'item' and 'features', lists of equal length "
            f"({one_line(error)})"
        ) from None
    return [str(name) for name in table["item"].to_pylist()], features


def _pairs_of(group: list[_Place], sets: int) -> list[tuple[int, int]]:
    """(row, against) within a group of equal files, given as (set, row)."""
    if sets == 1:
        rows = [row for _, row in group]
        return [(row, rows[0]) for row in rows[1:]]
    first = [row for place, row in group if place == 0]
    return [(row, other) for place, row in group if place == 1 for other in first]
