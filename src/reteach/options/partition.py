"""``reteach partition``: class subsets for the sub-teachers of CPSD."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from ..errors import UserError
from .ranges import AtLeast, Checked, Positive

if TYPE_CHECKING:
    from ..relabel.partition.class_subsets import Partition as Half
    from ..relabel.partition.class_subsets import Tell
    from ..relabel.partition.cooccurrence import Cooccurrence, Side
    from ..relabel.partition.decomposition import Decomposition


@dataclass(frozen=True)
class PartitionOptions(Checked):
    """Split the classes by which of them share images, and by which do not (CPSD)."""

    labels: Path | None = None
    """Label table with several labels per item (.parquet or .csv)."""
    cooccurrence: Path | None = None
    """In place of labels: an .npz file with counts (C), pairs (C, C) and names (C)."""
    subsets: str = "5"
    """Number of subsets per side; several as 2,3,5; 'auto' takes the widest eigengap up to 10."""
    tau: Annotated[float, Positive()] = 2.0
    """Smoothing of the affinities; 2 in the authors' code, 3 in the paper."""
    method: Literal["search", "spectral"] = "search"
    """Search for the smallest normalised cut, or spectral clustering alone (the paper's Eq. 2), whose subsets
    can be single classes."""
    smallest: Annotated[int | None, AtLeast(1)] = None
    """Classes per subset at least (search only); by default max(2, classes / (8 · subsets))."""
    seed: Annotated[int, AtLeast(0)] = 0
    """Of the search and the random controls."""
    out: Path = Path("partition.json")
    """The subsets of both sides, their cuts, and a random control."""
    report: Path | None = None
    """Also an HTML page: the re-ordered co-occurrence matrices and the subsets."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.labels is None) == (self.cooccurrence is None):
            raise UserError("name either --labels (a label table) or --cooccurrence (an .npz file)")

    def run(self) -> None:
        """Write the partition and the page, and say what was found."""
        from ..relabel.partition.decomposition import write_decompositions

        seen = self._seen()
        for warning in warnings(seen):
            print(warning)
        found = [self._decompose(seen, k) for k in self._numbers(seen)]
        write_decompositions(self.out, seen, found)
        for decomposition in found:
            for line in summary(decomposition):
                print(line)
        print(f"partition: {self.out}")
        if self.report is not None:
            from ..report.pages.partition import write_partition_page

            write_partition_page(self.report, seen, found)
            print(f"report: {self.report}")

    def _seen(self) -> Cooccurrence:
        from ..relabel.partition.cooccurrence import Cooccurrence, read_cooccurrence

        if self.labels is None:
            assert self.cooccurrence is not None
            return read_cooccurrence(self.cooccurrence)
        from ..tables import read_labels

        return Cooccurrence.of(read_labels(self.labels, kind="multi").labels, str(self.labels))

    def _numbers(self, seen: Cooccurrence) -> list[int]:
        if self.subsets.strip() == "auto":
            from ..relabel.partition.class_subsets import suggest

            return [suggest(seen, self.tau)]
        try:
            return list(dict.fromkeys(int(part) for part in self.subsets.split(",")))
        except ValueError:
            raise UserError(
                f"--subsets must be a number, several like 2,3,5, or auto, got {self.subsets!r}"
            ) from None

    def _decompose(self, seen: Cooccurrence, k: int) -> Decomposition:
        from ..progress import progress
        from ..relabel.partition.cut import ROUNDS
        from ..relabel.partition.decomposition import decompose

        with ExitStack() as bars:

            def tell(side: Side) -> Tell:
                bars.close()  # of the side before
                return bars.enter_context(progress(f"{k} subsets, {side}-occurrence", ROUNDS))

            return decompose(
                seen,
                k,
                tau=self.tau,
                smallest=self.smallest,
                how=self.method,
                seed=self.seed,
                tell=tell,
            )


def warnings(seen: Cooccurrence) -> list[str]:
    """What to say about classes that carry no information."""
    import numpy as np

    said = (
        (seen.never, "never occurs", "never occur"),
        (seen.always, "is in every image", "are in every image"),
        (seen.alone, "never occurs with another", "never occur with another"),
    )
    lines = []
    for mask, one, many in said:
        names = [seen.classes[c] for c in np.flatnonzero(mask)]
        if names:
            listed = ", ".join(map(repr, names[:5])) + (", …" if len(names) > 5 else "")
            lines.append(
                f"note: {len(names)} {'class' if len(names) == 1 else 'classes'} "
                f"{one if len(names) == 1 else many} ({listed}): dealt out to the smallest subsets"
            )
    return lines


def summary(found: Decomposition) -> list[str]:
    """What came out, a line per side."""
    return [
        _line(found.subsets, side, half) for side, half in (("co", found.co), ("dis", found.dis))
    ]


def _line(k: int, side: str, half: Half) -> str:
    sizes = ", ".join(str(len(subset)) for subset in half.subsets)
    found = f"{half.agreed} of {half.searches} searches agree" if half.searches else "no search"
    return (
        f"{k} subsets by {side}-occurrence: cut {half.cut:.4f} (random {half.random.mean():.4f}, "
        f"k-means {half.spectral:.4f}; {found}), sizes {sizes}"
    )
