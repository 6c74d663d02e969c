"""The raters' answers released with ReaL (github.com/google-research/reassessed-imagenet).

====================  ===========================================================================
file                  content
====================  ===========================================================================
``raters.npz``        ``tensor`` (raters, pairs, 3) one-hot over *no, maybe, yes*, all zero where a
                      rater was not asked; ``info`` (pairs, 2) file name and class index;
                      ``ids`` (raters,)
``golden.npz``        the same of the experts, on the golden pairs
``raters_golden.npz`` the same of the raters, on the golden pairs
``imagenet_val.npz``  ``label`` (50,000,) the original labels in the order of the file names
====================  ===========================================================================

``tensor`` takes 377 MB as an array and 1.4 MB in the file: it is read one rater at a time.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ...data.formats.real import NAME, wordnet_ids
from ...errors import UserError
from ...tables import read_labels
from .ratings import ANSWERS, YES, Ratings

CLASSES = 1000
ANIMALS = 398  # the class indices below are animals


@dataclass(frozen=True, eq=False)
class _Votes:
    """One of the released files: ``info`` (P, 2) and its non-zero entries, pair by pair."""

    info: NDArray[np.str_]
    ids: list[str]
    rater: NDArray[np.int64]
    pair: NDArray[np.int64]
    answer: NDArray[np.int8]


def animals() -> NDArray[np.bool_]:
    """(1000,) the classes for which the original label counted as one more rater."""
    return np.arange(CLASSES) < ANIMALS


def load(
    folder: Path, *, original: Path | None = None, classes: list[str] | None = None
) -> tuple[Ratings, Ratings, NDArray[np.int8]]:
    """The released answers, the answers on golden pairs, and the experts' answers.

    Args:
        folder: holds ``raters.npz``, ``golden.npz`` and ``raters_golden.npz``, and
            ``imagenet_val.npz`` where no ``original`` is given.
        original: label table of the original labels, items being file names.
        classes: names of the 1,000 classes; by default their WordNet ids, as ``convert real`` has them.

    Returns:
        ``(ratings, calibration, experts)``: ``gold`` is set in both ratings; ``experts`` is
        (experts, pairs of ``calibration``), an index into ``ANSWERS``.
    """
    classes = classes or list(wordnet_ids())
    if len(classes) != CLASSES:
        raise UserError(f"ReaL has {CLASSES} classes, the class list names {len(classes)}")
    votes = {name: _read(folder / f"{name}.npz") for name in ("raters", "golden", "raters_golden")}
    if not np.array_equal(votes["golden"].info, votes["raters_golden"].info):
        raise UserError(f"{folder}: golden.npz and raters_golden.npz are not about the same pairs")
    items, label = _original(folder, original, classes)
    position = {item: row for row, item in enumerate(items)}

    experts = np.full((len(votes["golden"].ids), len(votes["golden"].info)), -1, np.int8)
    experts[votes["golden"].rater, votes["golden"].pair] = votes["golden"].answer
    if (experts < 0).any():
        raise UserError(f"{folder / 'golden.npz'}: an expert has not answered all golden pairs")
    share = (experts == YES).sum(0) / len(experts)
    gold = {
        (str(item), int(number)): float(s)
        for (item, number), s in zip(votes["golden"].info, share, strict=True)
    }
    ratings, calibration = (
        _ratings(folder / f"{name}.npz", votes[name], items, classes, position, label, gold)
        for name in ("raters", "raters_golden")
    )
    return ratings, calibration, experts


def _ratings(
    path: Path,
    votes: _Votes,
    items: list[str],
    classes: list[str],
    position: dict[str, int],
    label: NDArray[np.int64],
    gold: dict[tuple[str, int], float],
) -> Ratings:
    names = votes.info[:, 0].tolist()
    try:
        pair_class = votes.info[:, 1].astype(np.int64)
    except ValueError:
        raise UserError(f"{path}: a class in 'info' is not a number") from None
    if pair_class.size and not 0 <= pair_class.min() <= pair_class.max() < len(classes):
        raise UserError(f"{path}: a class in 'info' lies outside 0 … {len(classes) - 1}")
    unknown = next((name for name in names if name not in position), None)
    if unknown is not None:
        raise UserError(f"{path}: the original labels have no row for {unknown!r}")
    return Ratings(
        items=items,
        classes=classes,
        pair_item=np.array([position[name] for name in names], np.int64),
        pair_class=pair_class,
        raters=votes.ids,
        rater=votes.rater,
        pair=votes.pair,
        answer=votes.answer,
        gold=np.array([gold.get(pair, np.nan) for pair in zip(names, pair_class.tolist())]),  # noqa: B905
        original=label,
    )


def _original(
    folder: Path, path: Path | None, classes: list[str]
) -> tuple[list[str], NDArray[np.int64]]:
    """Item names and class indices of the original labels."""
    if path is not None:
        table = read_labels(path, kind="single", classes=classes)
        index = np.full(len(table.items), -1, np.int64)
        rows, columns, _ = table.labels.pairs()
        index[rows] = columns
        return list(table.items), index
    file = folder / "imagenet_val.npz"
    if not file.is_file():
        raise UserError(f"{folder} has no imagenet_val.npz: name the original labels (--labels)")
    with _opened(file) as archive:
        label = _whole(file, archive, "label").astype(np.int64)
    if label.size and not 0 <= label.min() <= label.max() < CLASSES:
        raise UserError(f"{file}: a label lies outside 0 … {CLASSES - 1}")
    return [NAME.format(i + 1) for i in range(len(label))], label


def _read(path: Path) -> _Votes:
    with _opened(path) as archive:
        ids = _whole(path, archive, "ids")
        info = _whole(path, archive, "info")
        if info.ndim != 2 or info.shape[1] != 2 or info.dtype.kind not in "US":
            raise UserError(f"{path}: 'info' should be (pairs, 2) strings: file name and class")
        raters, pairs, answers = [], [], []
        for w, votes in enumerate(_rows(path, archive, "tensor", 1)):
            if votes.shape[1:] != (len(info), len(ANSWERS)) or w >= len(ids):
                raise UserError(
                    f"{path}: 'tensor' should be ({len(ids)}, {len(info)}, {len(ANSWERS)}), "
                    f"a rater's part is {votes.shape[1:]}"
                )
            asked, said = np.nonzero(votes[0])
            raters.append(np.full(len(asked), w))
            pairs.append(asked)
            answers.append(said)
    rater, pair = np.concatenate(raters), np.concatenate(pairs)
    answer = np.concatenate(answers).astype(np.int8)
    order = np.argsort(pair, kind="stable")
    return _Votes(info, [str(i) for i in ids], rater[order], pair[order], answer[order])


def _opened(path: Path) -> zipfile.ZipFile:
    if not path.is_file():
        raise UserError(f"{path} does not exist: it is part of the released rater answers")
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError):
        raise UserError(f"{path}: not a readable .npz file") from None


def _whole(path: Path, archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    return np.concatenate(list(_rows(path, archive, name, 16384)))


def _rows(path: Path, archive: zipfile.ZipFile, name: str, step: int) -> Iterator[NDArray[Any]]:
    """Slices of ``step`` along the first axis of an array, which is never held as a whole."""
    try:
        with archive.open(f"{name}.npy") as file:
            shape, dtype = _header(path, file)
            size = int(np.prod(shape[1:], dtype=np.int64)) * dtype.itemsize
            for start in range(0, max(shape[0], 1), step):
                n = min(step, shape[0] - start)
                yield np.frombuffer(file.read(n * size), dtype).reshape(n, *shape[1:])
    except (KeyError, ValueError, EOFError, OSError, zlib.error, zipfile.BadZipFile):
        raise UserError(f"{path}: the array {name!r} is missing or damaged") from None


def _header(path: Path, file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    first = version == (1, 0)
    read = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    if fortran or dtype.hasobject or not shape:
        raise UserError(f"{path}: an array of Python objects or in column order is not read")
    return shape, dtype
