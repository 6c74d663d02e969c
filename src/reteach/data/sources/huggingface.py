"""Hugging Face image data sets: saved to disk, as Parquet or Arrow files, or from the hub."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from ...errors import UserError, missing_extra
from ...item_index import first_repeated
from ..loading.decode import ImageError, decode


@final
@dataclass(frozen=True, eq=False, repr=False)
class HuggingFaceSource:
    """The rows of a ``datasets.Dataset``. Items are its column ``item`` of names, or ``split/row``.

    Args:
        table: the data set, its image column not decoded.
        column: the name of the image column.
        items: item ids.
        at_least: see :func:`reteach.data.loading.decode.decode`.
    """

    table: Any
    column: str
    items: Sequence[str]
    at_least: int | None = None

    def __len__(self) -> int:
        return len(self.items)

    @cached_property
    def class_of(self) -> Sequence[str] | None:
        """The names in the one ClassLabel column; None if there is none, or it knows no row."""
        from datasets import ClassLabel

        features = self.table.features
        columns = [name for name, kind in features.items() if isinstance(kind, ClassLabel)]
        if not columns:
            return None
        if len(columns) > 1:
            raise UserError(
                f"the data set has several class columns ({', '.join(columns)}): "
                "remove all but one, or give a label table"
            )
        index = np.array([-1 if i is None else i for i in self.table[columns[0]]], np.int64)
        if (index < 0).all():
            return None
        if (index < 0).any():
            raise UserError(
                f"{int((index < 0).sum())} of {len(index)} rows have no class in the column "
                f"{columns[0]!r}; give their labels in a label table"
            )
        names = features[columns[0]].names
        return [names[i] for i in index.tolist()]

    def read(self, row: int) -> NDArray[np.uint8]:
        """(H, W, 3) uint8; raises ImageError."""
        cell = self.table[row][self.column]
        if cell is None or (cell["bytes"] is None and cell["path"] is None):
            raise ImageError("no image in this row")
        content = cell["path"] if cell["bytes"] is None else cell["bytes"]
        return decode(content, at_least=self.at_least)

    def content(self, row: int) -> bytes:
        """The image as it is stored; nothing where it is not stored here."""
        cell = self.table[row][self.column]
        return (cell and cell["bytes"]) or b""

    def shrunk(self, at_least: int) -> HuggingFaceSource:
        """The same images, perhaps smaller, but not below ``at_least`` on the shorter side."""
        return replace(self, at_least=at_least)


def open_hf(where: str) -> HuggingFaceSource:
    """A data set by ``path-or-name[:split]``.

    A path is a folder written by ``save_to_disk``, a folder as on the hub (``train-….parquet``), or
    one Parquet or Arrow file; a name is looked up on the hub.

    Raises:
        UserError: ``datasets`` is not installed, no such data set or split, not one image column.
    """
    try:
        import datasets
    except ImportError:
        raise missing_extra("a Hugging Face data set", "datasets", "huggingface") from None
    match = re.fullmatch(r"(.+?)(?::(\w[\w.-]*))?", where, re.DOTALL)
    if match is None:
        raise UserError(f"hf:{where}: write hf:NAME or hf:NAME:SPLIT")
    name, split = match[1], match[2]
    try:
        loaded = _load(datasets, name)
    except Exception as error:  # network, hub, format: each library below has its own types
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"hf:{where} cannot be opened: {reason or type(error).__name__}") from None
    if isinstance(loaded, dict):
        split = split or _only_split(where, list(loaded))
        if split not in loaded:
            raise UserError(f"hf:{name} has no split {split!r} (it has: {', '.join(loaded)})")
        loaded = loaded[split]
    elif split is not None:
        raise UserError(f"hf:{name} has no splits: leave out ':{split}'")
    if not len(loaded):
        raise UserError(f"hf:{where} has no rows")
    column = _image_column(datasets, where, loaded.features)
    table = loaded.with_format(None).cast_column(column, datasets.Image(decode=False))
    return HuggingFaceSource(table, column, _items(where, table, split))


def is_saved(folder: Path) -> bool:
    """Whether ``save_to_disk`` wrote this folder."""
    one = all((folder / name).is_file() for name in ("state.json", "dataset_info.json"))
    return one or (folder / "dataset_dict.json").is_file()


def _load(datasets: Any, name: str) -> Any:
    path = Path(name)
    if is_saved(path):
        return datasets.load_from_disk(name)
    if path.suffix == ".parquet":
        return datasets.Dataset.from_parquet(name)
    if path.suffix == ".arrow":
        return datasets.Dataset.from_file(name)
    return datasets.load_dataset(name)


def _only_split(where: str, splits: list[str]) -> str:
    if len(splits) == 1:
        return splits[0]
    if "train" in splits:
        return "train"
    raise UserError(f"hf:{where} has the splits {', '.join(splits)}: say hf:{where}:{splits[0]}")


def _image_column(datasets: Any, where: str, features: Any) -> str:
    # files written by other tools have plain (bytes, path) pairs
    columns = [
        name
        for name, kind in features.items()
        if isinstance(kind, datasets.Image)
        or (isinstance(kind, dict) and {"bytes", "path"} <= kind.keys())
    ]
    if len(columns) == 1:
        return str(columns[0])
    if columns:
        raise UserError(
            f"hf:{where} has several image columns ({', '.join(columns)}): remove all but one"
        )
    raise UserError(f"hf:{where} has no image column (its columns: {', '.join(features)})")


def _items(where: str, table: Any, split: str | None) -> list[str]:
    if "item" in table.features:
        items = [str(item) for item in table["item"]]
        if first_repeated(items) is not None:
            raise UserError(f"hf:{where}: the column 'item' names some rows alike")
        return items
    return [f"{split}/{row}" if split else str(row) for row in range(len(table))]
