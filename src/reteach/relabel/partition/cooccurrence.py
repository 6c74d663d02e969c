"""How often classes occur, alone and in pairs, and the affinities that CPSD makes of it.

Source: Xu et al., *Boosting Multi-Label Image Classification with Complementary Parallel
Self-Distillation* (IJCAI 2022), Section 3.2, Eq. (1):

    S_ij = e_ij / n_i        P⁺ = ½ (S^(1/τ) + its transpose)        P⁻ = 1 − P⁺

with n_i the images of class i and e_ij those of classes i and j. What the paper leaves open:

* The "I" of P⁻ is the matrix of ones, not the identity: S is made of shares in [0, 1].
* *The diagonal.* Silent. S_ii = e_ii / n_i would be 1, hence P⁺_ii = 1 and P⁻_ii = 0; the pair counts
  that the authors published have e_ii = 0, hence 0 and 1. A class's tie to itself says nothing of how
  classes hang together, and what it adds to every subset's volume pulls towards small subsets. Here
  both diagonals are zero, as is customary for a normalised cut.
* *τ.* The text says 3, the authors' code takes a square root, τ = 2. The default is 2: it is what made
  the published partitions, and on COCO and NUS-WIDE alike it leaves more structure (best cut against
  random ones) than 3.
* *Classes without information.* For a class that *never* occurs S is 0/0. One that *always* occurs is
  tied to every other by their frequency alone. Neither says to whom it belongs: both get affinity
  zero, and :mod:`reteach.relabel.partition.class_subsets` deals them out afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, final

import numpy as np
from numpy.typing import NDArray

from ...errors import UserError
from ...item_index import first_repeated
from ...labels import LabelSet, Single
from ...npz import read_npz, texts

Side = Literal["co", "dis"]
SIDES: tuple[Side, Side] = ("co", "dis")

Matrix = NDArray[np.float64]
Counts = NDArray[np.int64]


@final
@dataclass(frozen=True, eq=False, repr=False)
class Cooccurrence:
    """Counts over a labelled data set of C classes.

    Args:
        counts: (C,) images of each class, n_i.
        pairs: (C, C) images of both classes, e_ij; symmetric with zero diagonal.
        classes: (C,) names.
        items: number of images; None where it is not known.
    """

    counts: Counts
    pairs: Counts
    classes: tuple[str, ...]
    items: int | None = None

    def __post_init__(self) -> None:
        _check(self.counts, self.pairs, self.classes, self.items)

    @staticmethod
    def of(labels: LabelSet, what: str = "the label table") -> Cooccurrence:
        """Count a label set; memory is O(entries + C²), whatever the number of items.

        Raises:
            UserError: one label per item, so that classes never occur together; or no label at all.
        """
        if isinstance(labels, Single):
            raise UserError(
                f"{what} has one label per item, so no two classes occur together; a partition "
                "needs tags (several labels per item): make some with 'reteach predict' of a mile "
                "run, or train with softmax, mile or nct"
            )
        from scipy.sparse import csr_array

        rows, columns, weights = labels.pairs()
        rows, columns = rows[weights > 0], columns[weights > 0]
        if not len(rows):
            raise UserError(f"{what}: no item has a label")
        present = csr_array(
            (np.ones(len(rows), np.int64), (rows, columns)), (len(labels), labels.num_classes)
        )
        pairs = np.asarray((present.T @ present).toarray(), np.int64)
        counts = pairs.diagonal().copy()
        np.fill_diagonal(pairs, 0)
        return Cooccurrence(counts, pairs, labels.classes, len(labels))

    @property
    def never(self) -> NDArray[np.bool_]:
        """(C,) classes without any image."""
        return np.asarray(self.counts == 0)

    @property
    def always(self) -> NDArray[np.bool_]:
        """(C,) classes that every image has; all False where the number of images is not known."""
        if self.items is None:
            return np.zeros(len(self.counts), np.bool_)
        return np.asarray(self.counts == self.items)

    @property
    def alone(self) -> NDArray[np.bool_]:
        """(C,) classes that occur, but never with another one."""
        return np.asarray((self.counts > 0) & (self.pairs.sum(0) == 0))

    def affinity(self, side: Side, tau: float = 2.0) -> Matrix:
        """(C, C) P⁺ (``co``) or P⁻ (``dis``) of Eq. (1), in [0, 1], symmetric, zero diagonal.

        The rows of classes that never or always occur are zero on both sides.

        Raises:
            UserError: τ is not positive.
        """
        if not (np.isfinite(tau) and tau > 0):
            raise UserError(f"--tau must be positive, got {tau}")
        share = self.pairs / np.maximum(self.counts, 1)[:, None]
        # sqrt is correctly rounded on every machine, a general power is not.
        root = np.sqrt(share) if tau == 2 else share ** (1 / tau)
        together = (root + root.T) / 2
        out = together if side == "co" else 1 - together
        out[np.diag_indices_from(out)] = 0
        silent = self.never | self.always
        out[silent] = 0
        out[:, silent] = 0
        return np.asarray(out, np.float64)


def read_cooccurrence(path: Path) -> Cooccurrence:
    """Read an ``.npz`` file with arrays ``counts`` (C,), ``pairs`` (C, C) and ``names`` (C,).

    An array ``items`` with the number of images is optional. The diagonal of ``pairs`` is ignored.

    Raises:
        UserError: the file is missing or damaged, or the arrays do not fit together.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"co-occurrence file {path} does not exist")
    file = read_npz(path)
    missing = [name for name in ("counts", "pairs", "names") if name not in file]
    if missing:
        raise UserError(
            f"{path}: no array {missing[0]!r} (found: {', '.join(file) or 'none'}); "
            "a co-occurrence file has counts (C,), pairs (C, C) and names (C,)"
        )
    counts, pairs = file["counts"], file["pairs"]
    if (count := file.get("items")) is not None and (
        count.size != 1 or count.dtype.kind not in "iu"
    ):
        raise UserError(f"{path}: items must be one whole number, got {count.dtype} {count.shape}")
    items = None if count is None else int(count.item())
    if (kind := file["names"].dtype).kind not in "US":
        raise UserError(f"{path}: names must be one list of text, got {kind}")
    try:
        names = texts(file["names"], "names")
        pairs = _whole(pairs, "pairs").copy()
        if pairs.ndim == 2 and pairs.shape[0] == pairs.shape[1]:
            np.fill_diagonal(pairs, 0)
        classes = tuple(names)
        return Cooccurrence(_whole(counts, "counts"), pairs, classes, items)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _whole(values: NDArray[np.generic], what: str) -> Counts:
    if values.dtype.kind not in "iufb":
        raise UserError(f"{what} must be numbers, got {values.dtype}")
    floats = values.astype(np.float64)
    if not (np.isfinite(floats).all() and (floats == np.floor(floats)).all()):
        raise UserError(f"{what} must be whole numbers of images")
    return floats.astype(np.int64)


def _check(counts: Counts, pairs: Counts, classes: tuple[str, ...], items: int | None) -> None:
    size = len(classes)
    if counts.shape != (size,) or pairs.shape != (size, size):
        raise UserError(
            f"counts {counts.shape}, pairs {pairs.shape} and {size} names do not fit: "
            "(C,), (C, C) and (C,) are wanted"
        )
    if (twice := first_repeated(classes)) is not None:
        raise UserError(f"class {twice!r} is listed twice")
    if (counts < 0).any() or (pairs < 0).any():
        raise UserError("counts of images must not be negative")
    if (pairs != pairs.T).any():
        i, j = np.argwhere(pairs != pairs.T)[0]
        raise UserError(
            f"pairs is not symmetric: {pairs[i, j]} and {pairs[j, i]} images of "
            f"{classes[i]!r} and {classes[j]!r}"
        )
    over = np.argwhere(pairs > np.minimum(counts[:, None], counts))
    if len(over):
        i, j = over[0]
        raise UserError(
            f"{pairs[i, j]} images have both {classes[i]!r} and {classes[j]!r}, but only "
            f"{min(counts[i], counts[j])} have the rarer one (are the pairs counted twice?)"
        )
    if items is not None and size and counts.max() > items:
        worst = int(counts.argmax())
        raise UserError(f"{counts[worst]} images of {classes[worst]!r}, but {items} images in all")
