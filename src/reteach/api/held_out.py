"""Dense held-out probabilities for cleanlab, out of the folds of ``reteach relabel clean``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..frames import AsTable, Table
from .calls import call

if TYPE_CHECKING:
    from typing import Unpack

    from ..commands.clean import HeldOutScores
    from .keywords import CleanSettings
    from .kinds import Images, TableLike


@final
@dataclass(frozen=True, eq=False)
class PredProbs(AsTable):
    """N labelled images that could be read, as cleanlab takes them.

    Args:
        pred_probs: (N, C) probabilities by models that have not seen the image; rows add up to 1.
        labels: (N,) the given labels, as numbers of ``classes``.
        items: N item ids.
        classes: C class names.
    """

    pred_probs: NDArray[np.float64]
    labels: NDArray[np.int64]
    items: tuple[str, ...]
    classes: tuple[str, ...]

    def table(self) -> Table:
        """A column item, one label, and one for each class."""
        import pyarrow as pa

        columns = {
            "item": pa.array(self.items, pa.string()),
            "label": pa.array([self.classes[c] for c in self.labels.tolist()]),
        }
        if clash := set(columns) & set(self.classes):
            raise UserError(f"a class is called {min(clash)!r}, as another column is")
        columns |= {name: pa.array(self.pred_probs[:, c]) for c, name in enumerate(self.classes)}
        return Table(pa.table(columns))


def pred_probs(
    images: Images,
    labels: TableLike | None = None,
    *,
    folds: int = 5,
    **settings: Unpack[CleanSettings],
) -> PredProbs:
    """Probabilities of every class by models that have not seen the image, in one call.

    Trains ``folds`` models as ``reteach relabel clean`` does, copies of an image in one fold; its table, page
    and scores are in ``folder``, from which the same call goes on.

    Args:
        images: where they are, or the images themselves.
        labels: their table, or with images in memory a list; class folders need none.
        folds: K.
        settings: as ``reteach relabel clean`` has them.

    Raises:
        UserError: label sets, images that cannot be used, or a model that confirms no label.
    """
    given: dict[str, Any] = {**settings, "images": images, "folds": folds}
    if labels is not None:
        given["labels"] = labels
    given.setdefault("out", Path("pred_probs.parquet"))
    found: HeldOutScores = call("relabel clean", given).held_out
    scores = np.asarray(found.scores, np.float64)
    scores /= scores.sum(1, keepdims=True)
    return PredProbs(scores, found.given, tuple(found.data.items), found.data.classes)
