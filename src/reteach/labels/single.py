"""One class per item."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, final

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from .base import LabelSet, Rows


@final
@dataclass(frozen=True, eq=False, repr=False)
class Single(LabelSet):
    """One class per item: ``index`` (N,) in [0, C), or -1 where no label is known."""

    kind: ClassVar[Literal["single"]] = "single"
    index: Rows
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        index = np.asarray(self.index, np.int64)
        if index.size and (index.min() < -1 or index.max() >= len(self.classes)):
            raise UserError(
                f"label indices must lie in [-1, {len(self.classes)}), "
                f"got {index.min()} to {index.max()}"
            )
        object.__setattr__(self, "index", index)
        object.__setattr__(self, "classes", tuple(self.classes))

    def __len__(self) -> int:
        return len(self.index)

    def take(self, rows: NDArray[Any] | slice) -> Single:
        return replace(self, index=self.index[rows])

    def pairs(self) -> tuple[Rows, Rows, NDArray[np.float32]]:
        rows = np.flatnonzero(self.index >= 0)
        return rows, self.index[rows], np.ones(len(rows), np.float32)

    def known(self) -> NDArray[np.bool_]:
        return self.index >= 0

    def _mapped(self, table: Rows, classes: tuple[str, ...]) -> Single:
        return Single(np.append(table, -1)[self.index], classes)
