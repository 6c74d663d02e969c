"""How many images each class gets: the same number, or shares of a total by class frequency.

Billion-scale semi-supervised learning (Yalniz et al. 2019), Section 4.4: *balanced-ranked* takes K per
class; *unbalanced-ranked* as many in all, spread like the tags' frequencies (a Zipfian tail).

K where the user gives none. The paper's K (Section 4.1) is 16,000 of 100 million images for 1,000 classes,
and is "adjusted for each random subset proportionally" (Section 4.3): 16k, 8k and 4k of 100M, 50M and 25M.
Its Figure 5 is flat from 4k to 32k of 100M. With another number of classes C it has no ablation. The images
of a class are about M / C of M, so the share of a class's images that is picked, on which it depends how many
picks are right, is about K · C / M: that we keep. In other words the picks of all classes together come to
:data:`SHARE` of the images. Where this leaves next to nothing, :data:`FLOOR` is ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import UserError, closest
from ...spreadsheet import from_csv

Counts = NDArray[np.int64]


SHARE = 16_000 * 1_000 / 100_000_000
"""Picks of all classes together, as a share of the unlabelled images: the paper's default."""
FLOOR = 10
"""Images per class that a student needs at the least, where there are so many for each."""


def paper_ratio(images: int, classes: int) -> int:
    """K by the paper's ratio: 0.16 · images / classes, 16,000 for its 100 million images and 1,000 classes.

    At least :data:`FLOOR`, or as many as there are for each class, and 1.
    """
    return max(round(SHARE * images / classes), min(FLOOR, images // classes), 1)


def too_many(per_image: float, classes: int) -> bool:
    """Whether images that were picked for so many classes on average carry most of all classes.

    Of two classes that is three images in four that carry both.
    """
    return per_image > max(1.5, classes / 2)


def check_per_class(per_class: int, images: int, classes: int, top: int | None) -> None:
    """Refuse a K that the images cannot fill, or only by standing in most classes, before they are scored.

    Args:
        top: P; None: all classes of an image count.

    Raises:
        UserError: names a smaller K.
    """
    if per_class > images:
        why = f"more than the {images:,} unlabelled images"
    elif too_many(min(per_class * classes / images, top or classes), classes):
        why = f"too many of {images:,} images for {classes} classes: an image would stand in most of them"
    else:
        return
    raise UserError(f"K = {per_class:,} per class is {why}; {_smaller(per_class, images, classes)}")


def check_picks(picks: int, picked: int, per_class: int, images: int, classes: int) -> None:
    """Refuse picks in which an image stands in most classes: a student cannot learn from them.

    Args:
        picks: (image, class) pairs.
        picked: different images among them.
        images: that could be picked from.

    Raises:
        UserError: names a smaller K.
    """
    if picked and too_many(picks / picked, classes):
        raise UserError(
            f"K = {per_class:,} per class picks each of {picked:,} images for {picks / picked:.1f} of "
            f"{classes} classes on average; {_smaller(per_class, images, classes)}"
        )


def _smaller(per_class: int, images: int, classes: int) -> str:
    if per_class == 1:
        return "these images or scores do not tell the classes apart: give more images, or a lower --top"
    smaller = max(1, min(paper_ratio(images, classes), per_class // 2))
    return f"give --per-class {smaller}"


def balanced(per_class: int, classes: int) -> Counts:
    """(C,) quotas: ``per_class`` for each."""
    return np.full(classes, per_class, np.int64)


def proportional(per_class: int, frequencies: NDArray[np.float64]) -> Counts:
    """(C,) quotas that add up to ``per_class`` · C and are proportional to ``frequencies``.

    Rounded by largest remainders, ties to the class that comes first.
    """
    total = per_class * len(frequencies)
    exact = total * (frequencies / frequencies.sum())
    quotas: Counts = np.floor(exact).astype(np.int64)
    left = total - int(quotas.sum())
    quotas[np.argsort(quotas - exact, kind="stable")[:left]] += 1
    return quotas


def align(
    frequencies: Mapping[str, float], classes: Sequence[str], where: str
) -> NDArray[np.float64]:
    """The frequencies in class order; classes that are not listed get 0.

    Raises:
        UserError: an unknown class, or nothing above zero.
    """
    unknown = [name for name in frequencies if name not in set(classes)]
    if unknown:
        raise UserError(
            f"{where}: class {unknown[0]!r} is not in the class list"
            f"{closest(unknown[0], list(classes))}"
        )
    found = np.array([frequencies.get(name, 0.0) for name in classes], np.float64)
    if not found.sum() > 0:
        raise UserError(f"{where}: all class frequencies are zero")
    return found


def read_frequencies(path: Path) -> dict[str, float]:
    """A CSV with the columns ``class`` and ``count`` (as ``reteach relabel hashtags`` writes it).

    Raises:
        UserError: no such file, a missing column, a class twice, or a count that is no number >= 0.
    """
    header, rows = from_csv(path, "table of class frequencies")
    missing = next((c for c in ("class", "count") if c not in header), None)
    if missing:
        raise UserError(f"{path}: no column {missing!r}")
    found: dict[str, float] = {}
    for line, row in rows:
        name, cell = row["class"], row["count"]
        try:
            value = float(cell)
        except ValueError:
            value = -1.0
        if not 0 <= value < np.inf:
            raise UserError(f"{path}: line {line}: {cell!r} is not a number of at least 0")
        if name in found:
            raise UserError(f"{path}: line {line}: class {name!r} is listed twice")
        found[name] = value
    if not found:
        raise UserError(f"{path}: there are no class frequencies in it")
    return found
