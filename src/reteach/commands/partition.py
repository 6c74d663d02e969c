"""``reteach partition``: class subsets for the sub-teachers of CPSD."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

import numpy as np

from ..errors import UserError
from ..options.partition import PartitionOptions
from ..progress import progress
from ..relabel.partition import class_subsets
from ..relabel.partition.cooccurrence import SIDES, Cooccurrence, Side, read_cooccurrence
from ..relabel.partition.cut import ROUNDS
from ..relabel.partition.decomposition import Decomposition, decompose, write_decompositions
from ..report.pages.partition import write_partition_page
from ..tables import read_labels


@final
@dataclass(frozen=True, eq=False)
class PartitionResult:
    """The subsets of both sides.

    Args:
        out: their file.
        report: the page, where it was asked for.
        decompositions: one for each number of subsets.
        cooccurrence: which classes share images.
    """

    out: Path
    report: Path | None
    decompositions: list[Decomposition]
    cooccurrence: Cooccurrence = field(metadata={"json": False})

    def lines(self) -> Iterator[str]:
        """Classes that carry no information, what came out on each side, and the files."""
        yield from _without_information(self.cooccurrence)
        for found in self.decompositions:
            for side in SIDES:
                yield _summary(found.subsets, found.side(side))
        yield f"partition: {self.out}"
        if self.report is not None:
            yield f"report: {self.report}"


def partition(options: PartitionOptions) -> PartitionResult:
    """Split the classes by which of them share images, and by which do not.

    Raises:
        UserError: no such table or counts, one label per image, or more subsets than classes allow.
    """
    seen = _cooccurrence(options)
    found = [_decompose(options, seen, k) for k in _numbers(options, seen)]
    write_decompositions(options.out, seen, found)
    if options.report is not None:
        write_partition_page(options.report, seen, found)
    return PartitionResult(options.out, options.report, found, seen)


def _cooccurrence(options: PartitionOptions) -> Cooccurrence:
    if options.labels is None:
        assert options.cooccurrence is not None
        return read_cooccurrence(options.cooccurrence)
    return Cooccurrence.of(read_labels(options.labels, kind="multi").labels, str(options.labels))


def _numbers(options: PartitionOptions, seen: Cooccurrence) -> list[int]:
    if options.subsets.strip() == "auto":
        return [class_subsets.suggest(seen, options.tau)]
    try:
        return list(dict.fromkeys(int(part) for part in options.subsets.split(",")))
    except ValueError:
        raise UserError(
            f"--subsets must be a number, several like 2,3,5, or auto, got {options.subsets!r}"
        ) from None


def _decompose(options: PartitionOptions, seen: Cooccurrence, k: int) -> Decomposition:
    with ExitStack() as bars:

        def on_progress(side: Side) -> class_subsets.OnProgress:
            bars.close()  # of the side before
            return bars.enter_context(progress(f"{k} subsets, {side}-occurrence", ROUNDS))

        return decompose(
            seen,
            k,
            tau=options.tau,
            smallest=options.smallest,
            how=options.method,
            seed=options.seed,
            on_progress=on_progress,
        )


def _without_information(seen: Cooccurrence) -> Iterator[str]:
    groups = (
        (seen.never, "never occurs", "never occur"),
        (seen.always, "is in every image", "are in every image"),
        (seen.alone, "never occurs with another", "never occur with another"),
    )
    for mask, one, many in groups:
        names = [seen.classes[c] for c in np.flatnonzero(mask)]
        if names:
            listed = ", ".join(map(repr, names[:5])) + (", …" if len(names) > 5 else "")
            what = f"class {one}" if len(names) == 1 else f"classes {many}"
            yield f"note: {len(names)} {what} ({listed}): dealt out to the smallest subsets"


def _summary(k: int, half: class_subsets.Partition) -> str:
    sizes = ", ".join(str(len(subset)) for subset in half.subsets)
    found = f"{half.agreed} of {half.searches} searches agree" if half.searches else "no search"
    return (
        f"{k} subsets by {half.side}-occurrence: cut {half.cut:.4f} "
        f"(random {half.random.mean():.4f}, k-means {half.spectral:.4f}; {found}), sizes {sizes}"
    )
