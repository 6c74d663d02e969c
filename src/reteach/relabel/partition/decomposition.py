"""CPSD's task decomposition: both partitions of the classes, a random control, and their file.

``partition.json`` holds, for one number of subsets::

    {"subsets": 5, "tau": 2.0, "method": "search", "seed": 0, "classes": 80, "items": 82081,
     "co": [["airplane", …], …], "dis": [[…], …], "random": [[…], …],
     "cut": {"co": 3.0067, "dis": 4.0222},
     "sides": {"co": {"spectral": …, "random": {"mean": …, "std": …, "least": …, "n": 200}, …}, …},
     "never": […], "always": […], "alone": […]}

and for several the same of the first one, with all of them under ``"sweep"``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np

from ...errors import UserError
from ...files import atomic_write
from ...item_index import first_repeated
from ...structured import parse_json
from .class_subsets import How, OnProgress, Partition, Subsets, partition, random_subsets
from .cooccurrence import SIDES, Cooccurrence, Side


@final
@dataclass(frozen=True, eq=False)
class Decomposition:
    """k subsets of the classes on either side.

    Args:
        subsets: k.
        tau: of Eq. (1).
        how: by a search for the smallest cut, or by k-means alone.
        seed: of the search and the controls.
        co: joint patterns: classes together that share images.
        dis: category-specific patterns: classes together that do not.
        random: the control: a random partition into equal sizes.
    """

    subsets: int
    tau: float
    how: How
    seed: int
    co: Partition
    dis: Partition
    random: Subsets

    def side(self, side: Side) -> Partition:
        """The partition of one side."""
        return self.co if side == "co" else self.dis


def decompose(
    seen: Cooccurrence,
    k: int,
    *,
    tau: float = 2.0,
    smallest: int | None = None,
    how: How = "search",
    seed: int = 0,
    on_progress: Callable[[Side], OnProgress] = lambda side: lambda done, words: None,
) -> Decomposition:
    """Partition the classes on both sides; see :func:`reteach.relabel.partition.class_subsets.partition`."""
    co, dis = (
        partition(
            seen,
            k,
            side,
            tau=tau,
            smallest=smallest,
            how=how,
            seed=seed,
            on_progress=on_progress(side),
        )
        for side in SIDES
    )
    return Decomposition(k, tau, how, seed, co, dis, random_subsets(seen.classes, k, seed))


def write_decompositions(path: Path, seen: Cooccurrence, found: Sequence[Decomposition]) -> None:
    """Write ``partition.json``: the first decomposition, and all of them if there are several."""
    content = _content(found[0])
    content |= {"classes": len(seen.classes), "items": seen.items}
    for name, mask in (("never", seen.never), ("always", seen.always), ("alone", seen.alone)):
        content[name] = [seen.classes[c] for c in np.flatnonzero(mask)]
    if len(found) > 1:
        content["sweep"] = [_content(each) for each in found]
    atomic_write(path, json.dumps(content, ensure_ascii=False, indent=1) + "\n")


def read_subsets(path: Path, classes: Sequence[str]) -> dict[str, Subsets]:
    """The subsets of ``co``, ``dis`` and, where there is one, ``random`` in a ``partition.json``.

    Raises:
        UserError: the file is missing or damaged, or does not hold each of ``classes`` exactly once
            per side.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"partition file {path} does not exist")
    try:
        content = parse_json(path.read_bytes())
    except ValueError:
        raise UserError(f"{path}: not a readable JSON file") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: a partition file is a JSON object with 'co' and 'dis'")
    return {
        side: _read_side(content.get(side), f"{path}: {side}", classes)
        for side in ("co", "dis", "random")
        if side in content or side != "random"
    }


def _read_side(value: Any, where: str, classes: Sequence[str]) -> Subsets:
    if not isinstance(value, list) or not all(
        isinstance(subset, list) and subset and all(isinstance(name, str) for name in subset)
        for subset in value
    ):
        raise UserError(f"{where} must be a list of lists of class names")
    names = [name for subset in value for name in subset]
    if (twice := first_repeated(names)) is not None:
        raise UserError(f"{where}: class {twice!r} stands in two places")
    foreign = [name for name in names if name not in set(classes)]
    if foreign:
        raise UserError(f"{where}: class {foreign[0]!r} is not in the class list")
    missing = [name for name in classes if name not in set(names)]
    if missing:
        raise UserError(f"{where}: class {missing[0]!r} is in none of the subsets")
    return tuple(tuple(subset) for subset in value)


def _content(found: Decomposition) -> dict[str, Any]:
    return {
        "subsets": found.subsets,
        "tau": found.tau,
        "method": found.how,
        "seed": found.seed,
        "co": [list(subset) for subset in found.co.subsets],
        "dis": [list(subset) for subset in found.dis.subsets],
        "random": [list(subset) for subset in found.random],
        "cut": {side: _number(found.side(side).cut) for side in SIDES},
        "sides": {side: _side(found.side(side)) for side in SIDES},
    }


def _side(side: Partition) -> dict[str, Any]:
    return {
        "sizes": [len(subset) for subset in side.subsets],
        "smallest": side.least,
        "searches": side.searches,
        "agreed": side.agreed,
        "spectral": _number(side.spectral),
        "spectral_sizes": list(side.spectral_sizes),
        "random": {
            "mean": _number(side.random.mean()),
            "std": _number(side.random.std(ddof=1)),
            "least": _number(side.random.min()),
            "n": len(side.random),
        },
        "unplaced": list(side.unplaced),
    }


def _number(value: float | np.floating[Any]) -> float:
    """Rounded to what all machines agree on, so that they write the same file."""
    return round(float(value), 9)
