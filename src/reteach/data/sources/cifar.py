"""CIFAR-10 and CIFAR-100 as they are published, and the human labels of CIFAR-10N and CIFAR-100N.

====================  ==================================================================================
binary                ``data_batch_1.bin`` … ``test_batch.bin``, ``batches.meta.txt`` (CIFAR-10: label,
                      3072 pixels); ``train.bin``, ``test.bin``, ``fine_label_names.txt`` (CIFAR-100:
                      coarse and fine label, pixels)
Python                ``data_batch_1`` …, ``test_batch``, ``batches.meta``; ``train``, ``test``, ``meta``:
                      pickles, which are read by :mod:`reteach.data.safe_pickle` and never executed
CIFAR-10N / 100N      a ``.pt`` file (read with ``weights_only``) or ``.npz``: label arrays by name
====================  ==================================================================================

Items are row numbers in the published order, "0" … "49999", which is also the order of the human labels.
As images they are opened as ``cifar:FOLDER`` or ``cifar:FOLDER:test``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...errors import UserError, closest
from ...labels import Single
from ...npz import read_npz
from ...tables import LabelTable
from ..safe_pickle import read_plain
from .arrays import ArraySource

PIXELS = 3 * 32 * 32
Part = Literal["train", "test"]
_TEN = "airplane automobile bird cat deer dog frog horse ship truck"
_HUNDRED = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard
lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear
pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal
shark shrew skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank
telephone television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""
CIFAR10, CIFAR100 = tuple(_TEN.split()), tuple(_HUNDRED.split())
"""The (fine) classes in their published order, for the human labels, which come without names."""

_Pixels = NDArray[np.uint8]
_Index = NDArray[np.int64]


def open_cifar(where: str) -> ArraySource:
    """The images of ``FOLDER`` or ``FOLDER:test`` with their labels; by default those for training."""
    folder, _, part = where.rpartition(":")
    if folder and part == "test":
        source, table = read_cifar(Path(folder), "test")
    else:
        source, table = read_cifar(Path(folder if folder and part == "train" else where), "train")
    names = [name for (name,) in table.labels.names()]
    return ArraySource(source.images, source.items, names)


def read_cifar(folder: Path, part: Part) -> tuple[ArraySource, LabelTable]:
    """The images of one part and their (fine) labels, in whichever form lies in ``folder``.

    Raises:
        UserError: none of the forms is there, a file is missing or damaged.
    """
    tens = [f"data_batch_{i}" for i in range(1, 6)] if part == "train" else ["test_batch"]
    names: tuple[str, ...]
    if (folder / f"{tens[0]}.bin").is_file():
        found = [_records(folder / f"{name}.bin", 1) for name in tens]
        names = _lines(folder / "batches.meta.txt")
    elif (folder / f"{part}.bin").is_file():
        found = [_records(folder / f"{part}.bin", 2)]
        names = _lines(folder / "fine_label_names.txt")
    elif (folder / tens[0]).is_file():
        found = [_pickled(folder / name, "labels") for name in tens]
        names = _names(folder / "batches.meta", "label_names")
    elif (folder / part).is_file():
        found = [_pickled(folder / part, "fine_labels")]
        names = _names(folder / "meta", "fine_label_names")
    else:
        raise UserError(
            f"{folder} holds no CIFAR {part} data: neither {tens[0]} nor {part}, with or without .bin"
        )
    pixels = np.concatenate([p for p, _ in found]).reshape(-1, 3, 32, 32)
    index = np.concatenate([i for _, i in found])
    if len(index) and not 0 <= index.min() <= index.max() < len(names):
        raise UserError(
            f"{folder}: labels run to {index.max()}, there are {len(names)} class names"
        )
    items = tuple(map(str, range(len(index))))
    labels = Single(index, names)
    return ArraySource(pixels, items), LabelTable(items, labels, f"CIFAR-{len(names)} {part}")


def read_human_labels(file: Path, name: str, classes: tuple[str, ...]) -> LabelTable:
    """One of the label sets of CIFAR-10N or CIFAR-100N, such as ``worse_label`` or ``noisy_label``.

    Raises:
        UserError: an unreadable file, an unknown name, labels that the classes do not have.
    """
    if not file.is_file():
        raise UserError(f"{file} does not exist")
    arrays = read_npz(file) if file.suffix == ".npz" else _pt(file)
    if name not in arrays:
        known = sorted(arrays)
        raise UserError(f"{file} has no labels {name!r}{closest(name, known)} (it has: "
                        f"{', '.join(known)})")  # fmt: skip
    index = np.asarray(arrays[name])
    if index.ndim != 1 or index.dtype.kind not in "iu":
        raise UserError(f"{file}: {name} is {index.dtype} {index.shape}, not one index per image")
    if index.size and not 0 <= index.min() <= index.max() < len(classes):
        raise UserError(f"{file}: {name} runs to {index.max()}, there are {len(classes)} classes")
    items = tuple(map(str, range(len(index))))
    return LabelTable(items, Single(index.astype(np.int64), classes), f"{file.name} {name}")


def _records(file: Path, labels: int) -> tuple[_Pixels, _Index]:
    """(pixels (N, 3072), last label (N,)) of fixed-size records."""
    size = labels + PIXELS
    data = np.frombuffer(_bytes(file), np.uint8)
    if not len(data) or len(data) % size:
        raise UserError(f"{file}: {len(data)} bytes are not whole records of {size}")
    rows = data.reshape(-1, size)
    return rows[:, labels:], rows[:, labels - 1].astype(np.int64)


def _pickled(file: Path, key: str) -> tuple[_Pixels, _Index]:
    content = _mapping(file)
    pixels, labels = content.get("data"), content.get(key)
    if not isinstance(pixels, np.ndarray) or pixels.shape[1:] != (PIXELS,):
        raise UserError(f"{file}: no 'data' of {PIXELS} bytes per image")
    if pixels.dtype != np.uint8 or not isinstance(labels, list) or len(labels) != len(pixels):
        raise UserError(f"{file}: 'data' and {key!r} do not fit")
    if not all(isinstance(label, int) for label in labels):
        raise UserError(f"{file}: {key!r} are not numbers")
    return pixels, np.array(labels, np.int64)


def _names(file: Path, key: str) -> tuple[str, ...]:
    names = _mapping(file).get(key)
    if not isinstance(names, list) or not names:
        raise UserError(f"{file}: no {key!r}")
    return tuple(_text(name) for name in names)


def _mapping(file: Path) -> dict[str, Any]:
    content = read_plain(_bytes(file), str(file))
    if not isinstance(content, dict):
        raise UserError(f"{file}: expected names and values")
    return {_text(key): value for key, value in content.items()}


def _lines(file: Path) -> tuple[str, ...]:
    names = tuple(line.strip() for line in _bytes(file).decode("utf-8", "replace").splitlines())
    return tuple(name for name in names if name)


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}") from None


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _pt(file: Path) -> dict[str, Any]:
    """A dictionary of arrays; the loader is allowed to make integer arrays and nothing else."""
    import torch

    whole = [getattr(np.dtypes, f"{kind}DType") for kind in ("Int64", "Int32", "UInt8")]
    rebuild = np.empty(0).__reduce__()[0]
    made = [np.ndarray, np.dtype, *whole, rebuild, (rebuild, "numpy.core.multiarray._reconstruct")]
    try:
        with torch.serialization.safe_globals(made):
            content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged file
        raise UserError(f"{file} cannot be read ({_reason(error)})") from None
    if not isinstance(content, dict):
        raise UserError(f"{file}: expected label arrays by name")
    return {str(key): value for key, value in content.items()}


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:100]
