"""NUS-WIDE's published lists as label sets.

The data set comes as text files, line i of each about image i::

    ImageList/TrainImagelist.txt                          actor\\0001_2124494179.jpg …
    ConceptsList/Concepts81.txt                           the 81 concepts
    Groundtruth/TrainTestLabels/Labels_airport_Train.txt  0 or 1 …

and likewise ``Test``, and for all images together ``ImageList/Imagelist.txt`` and
``Groundtruth/AllLabels/Labels_airport.txt``. The three folders may also lie one level deeper, as the
published archives unpack.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from ...errors import UserError
from ...labels import Multi
from ...tables import LabelTable
from .annotations import Annotations

if TYPE_CHECKING:
    from ...options.convert import ConvertOptions

Split = Literal["train", "test", "all"]


def read(source: Path, options: ConvertOptions) -> LabelTable:
    """The label sets of :func:`read_nuswide`."""
    match options.split or "train":
        case "train" | "test" | "all" as part:
            return read_nuswide(source, part).table(f"nuswide: {source.name}")
        case other:
            raise UserError(f"--split must be train, test or all for nuswide, got {other!r}")


def read_nuswide(root: Path, split: Split = "train") -> Annotations:
    """The concepts of each image; the format has no unknown entries.

    Images without any concept have the empty set: 36,340 of the 161,789 training images, which papers
    leave out (125,449 remain).

    Raises:
        UserError: a file is missing, or its lines do not match the list of images.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"folder {root} does not exist")
    part = {"train": "Train", "test": "Test", "all": ""}[split]
    items = _items(_find(root, "ImageList", f"{part}Imagelist.txt"))
    folder, ending = ("TrainTestLabels", f"_{part}") if part else ("AllLabels", "")
    concepts = _concepts(root, folder, ending)
    odd = next((c for c in concepts if "/" in c or "\0" in c or len(c.encode()) > 200), None)
    if odd is not None:
        raise UserError(f"{root}: {odd[:60]!r} is no name of a concept")
    present = np.empty((len(items), len(concepts)), np.bool_)
    for column, name in enumerate(concepts):
        file = _find(root, "Groundtruth", f"{folder}/Labels_{name}{ending}.txt")
        values = _bits(file)
        if len(values) != len(items):
            raise UserError(f"{file} has {len(values)} lines for {len(items)} images")
        present[:, column] = values
    try:
        empty = Annotations.of(items, [], [], concepts)
    except UserError as error:
        raise UserError(f"{root}: {error}") from None
    return Annotations(empty.items, Multi.from_dense(present, concepts))


def _concepts(root: Path, folder: str, ending: str) -> list[str]:
    """The class list, or, where that file is missing, the names of the label files, sorted."""
    listed = _look(root, "ConceptsList", "Concepts81.txt")
    if listed is not None:
        return [line.strip() for line in _text(listed).splitlines() if line.strip()]
    labels = _look(root, "Groundtruth", folder)
    files = labels.glob(f"Labels_*{ending}.txt") if labels is not None else ()
    found = sorted(file.stem.removeprefix("Labels_").removesuffix(ending) for file in files)
    if not found:
        raise UserError(f"{root} has no Groundtruth/{folder}/Labels_…{ending}.txt")
    return found


def _items(file: Path) -> list[str]:
    lines = (line.strip().replace("\\", "/") for line in _text(file).splitlines())
    return [line for line in lines if line]


def _bits(file: Path) -> NDArray[np.bool_]:
    """One 0 or 1 per line."""
    values = np.array(file.read_bytes().split(), np.bytes_)
    if not np.isin(values, [b"0", b"1"]).all():
        raise UserError(f"{file}: every line must be 0 or 1")
    return np.asarray(values == b"1")


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace").lstrip("\ufeff")


def _find(root: Path, folder: str, name: str) -> Path:
    found = _look(root, folder, name)
    if found is None:
        raise UserError(f"{root} has no {folder}/{name}, one of NUS-WIDE's published lists")
    return found


def _look(root: Path, folder: str, name: str) -> Path | None:
    places = (root / folder, root, root / folder / folder, *sorted(root.glob(f"*/{folder}")))
    return next((place / name for place in places if (place / name).exists()), None)
