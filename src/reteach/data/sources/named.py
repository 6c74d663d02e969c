"""Images that are named one by one: a file, a pattern, or a list on standard input."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ...errors import UserError
from ...item_index import first_repeated
from ..item_ids import item_id
from ..loading.decode import EXTENSIONS
from .base import Source, open_source
from .shards import is_shards
from .videos import ENDINGS


def is_named(where: str) -> bool:
    """Whether these are single files: ``-``, a pattern, or one file of an image or a video."""
    if where == "-":
        return True
    if where.startswith(("hf:", "cifar:")) or is_shards(where) or os.path.isdir(where):
        return False
    if os.path.exists(where):
        return where.lower().endswith((*EXTENSIONS, *ENDINGS))
    return glob.has_magic(where)


def open_images(where: str) -> Source:
    """Images by what ``where`` is: files as :func:`is_named` tells them, or whatever
    :func:`.base.open_source` opens.

    Items are the paths as they were given, or relative to the folder that all lie in where one of them is
    absolute or leads upwards.

    Raises:
        UserError: no such file, none that fits the pattern, an empty list, a file twice.
    """
    if not is_named(where):
        return open_source(where)
    files = _files(where)
    if (twice := first_repeated([os.path.normpath(file) for file in files])) is not None:
        raise UserError(f"--images {where}: {twice!r} is listed twice")
    missing = next((file for file in files if not os.path.isfile(file)), None)
    if missing is not None:
        raise UserError(f"--images {where}: file {missing!r} does not exist")
    return open_source(_root(files), named_items(files))


def named_items(files: Sequence[str]) -> list[str]:
    """What files that are named one by one are called."""
    root = _root(files)
    return [item_id(Path(os.path.relpath(file, root)).as_posix()) for file in files]


def _files(where: str) -> list[str]:
    if where == "-":
        files = [line.rstrip("\r\n") for line in sys.stdin]
        files = [line for line in files if line]
        if not files:
            raise UserError("--images -: no file is listed on standard input, one path a line")
        return files
    if os.path.exists(where):
        return [where]
    fit = [file for file in glob.glob(where, recursive=True) if os.path.isfile(file)]
    files = sorted(file for file in fit if file.lower().endswith((*EXTENSIONS, *ENDINGS)))
    if not files:
        raise UserError(f"--images {where}: no image fits this pattern")
    return files


def _root(files: Sequence[str]) -> str:
    """The folder below which all files are: this one, where no path leads out of it."""
    plain = [os.path.normpath(file) for file in files]
    if not any(os.path.isabs(file) or file.startswith("..") for file in plain):
        return "."
    parents = [os.path.dirname(os.path.abspath(file)) for file in plain]
    return os.path.commonpath(parents)
