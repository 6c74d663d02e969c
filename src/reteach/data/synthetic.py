"""Grids of digits that carry a single label: many classes to a picture, and a known truth.

Multi-MNIST is MILe's Section 4.3: 3×3 grids of digits whose one label is the centre digit with
probability 0.6 and each other digit with probability 0.05. The same with 2×2 cells of scikit-learn's
handwritten digits needs no download.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from ..labels import Multi, Single

DIGITS = tuple("0123456789")


@final
@dataclass(frozen=True, eq=False, repr=False)
class Grids:
    """n pictures.

    Args:
        images: (n, side · h, side · w, 1 or 3) uint8.
        given: the one label that each picture carries.
        truth: all digits that stand in it.
        main: the digit in the main cell, which ``given`` names with probability 0.6.
    """

    images: NDArray[np.uint8]
    given: Single
    truth: Multi
    main: Single


def compose(
    cells: NDArray[np.uint8],
    digits: NDArray[np.int64],
    n: int,
    side: int,
    seed: int,
    p_main: float = 0.6,
    names: tuple[str, ...] = DIGITS,
) -> Grids:
    """Pictures of ``side`` × ``side`` cells drawn independently.

    Args:
        cells: (M, h, w) or (M, h, w, 3) uint8 images of single digits, or of other things.
        digits: (M,) their classes, 0 … 9 for digits.
        p_main: probability that the label is the digit of the main cell (the centre; the first cell
            where there is no centre); the other cells share the rest equally.
        names: of the classes.
    """
    generator = np.random.default_rng(seed)
    k = side * side
    chosen = generator.integers(len(cells), size=(n, k))
    height, width, *colours = cells.shape[1:]
    images = cells[chosen].reshape(n, side, side, height, width, *colours).swapaxes(2, 3)
    main = k // 2 if side % 2 else 0
    p = np.full(k, (1 - p_main) / (k - 1))
    p[main] = p_main
    named = generator.choice(k, size=n, p=p)
    classes = digits[chosen]
    rows = np.repeat(np.arange(n), k)
    return Grids(
        np.ascontiguousarray(images.reshape(n, side * height, side * width, *(colours or [1]))),
        Single(classes[np.arange(n), named], names),
        Multi.from_pairs(rows, classes.ravel(), n, names),
        Single(classes[:, main], names),
    )


def sklearn_digits() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """scikit-learn's handwritten digits: (1797, 8, 8) uint8 images and (1797,) classes."""
    from sklearn.datasets import load_digits

    loaded = load_digits()
    return (loaded.images * (255 / 16)).astype(np.uint8), loaded.target.astype(np.int64)
