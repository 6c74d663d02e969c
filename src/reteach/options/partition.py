"""Options of ``reteach partition``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from ..errors import UserError
from .conditions import OnlyWith
from .paths import Exists
from .ranges import AtLeast, Checked, Positive


@dataclass(frozen=True)
class PartitionOptions(Checked):
    """Split the classes by which of them share images, and by which do not (CPSD)."""

    labels: Annotated[Path | None, Exists("label table")] = None
    """Label table with several labels per item (.parquet or .csv)."""
    cooccurrence: Annotated[Path | None, Exists("co-occurrence file")] = None
    """In place of labels: an .npz file with counts (C), pairs (C, C) and names (C)."""
    subsets: str = "5"
    """Number of subsets per side; several as 2,3,5; 'auto' takes the widest eigengap up to 10."""
    tau: Annotated[float, Positive()] = 2.0
    """Smoothing of the affinities; 2 in the authors' code, 3 in the paper."""
    method: Literal["search", "spectral"] = "search"
    """Search for the smallest normalised cut, or spectral clustering alone (the paper's Eq. 2), whose subsets
    can be single classes."""
    smallest: Annotated[int | None, AtLeast(1), OnlyWith("method", "search")] = None
    """Classes per subset at least (search only); by default max(2, classes / (8 · subsets))."""
    seed: Annotated[int, AtLeast(0)] = 0
    """Seed of the search and the random controls."""
    out: Path = Path("partition.json")
    """The subsets of both sides, their cuts, and a random control."""
    report: Path | None = None
    """Also an HTML page: the re-ordered co-occurrence matrices and the subsets."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.labels is None) == (self.cooccurrence is None):
            raise UserError("name either --labels (a label table) or --cooccurrence (an .npz file)")
