"""The images that go with labels into a format that holds both."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from ...errors import UserError
from ..sources.base import open_source
from ..sources.folders import FolderSource


def image_files(images: Path | None, items: Sequence[str], what: str) -> list[Path]:
    """The file of each item.

    Args:
        images: their folder, of which the items are relative paths.
        what: needs them.

    Raises:
        UserError: no folder, or items that are not in it.
    """
    if images is None:
        raise UserError(f"{what} holds the images too: name their folder with --images")
    source = open_source(images, items)
    if not isinstance(source, FolderSource):
        raise UserError(f"--images {images}: {what} takes images from a folder of files")
    return [Path(source.path(row)) for row in range(len(items))]


def copy(file: Path, to: Path) -> None:
    """Copy one image, byte for byte, with the folders on its way."""
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, to)
