"""Archives of arrays that somebody else wrote: one way to read them, one line of error."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import UserError


def read_npz(path: Path, wanted: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
    """The arrays of an ``.npz`` file by name; pickled objects are not read.

    Args:
        wanted: these alone, as far as they are there; None: all.

    Raises:
        UserError: it cannot be read.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            names = file.files if wanted is None else [n for n in wanted if n in file.files]
            return {name: np.asarray(file[name]) for name in names}
    except Exception as error:  # zipfile, zlib and numpy raise nearly any kind for a damaged file
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        raise UserError(f"{path} is not a readable .npz file ({reason})") from None


def texts(array: NDArray[Any], what: str) -> list[str]:
    """The names in a list of them.

    Args:
        what: the array is called in messages.

    Raises:
        UserError: it is no list of texts or whole numbers.
    """
    if array.ndim != 1 or array.dtype.kind not in "USiu":
        raise UserError(f"{what} must be one list of texts, got {array.dtype} {array.shape}")
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8", "backslashreplace")
    return [str(name) for name in array.tolist()]
