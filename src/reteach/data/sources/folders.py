"""A folder of image files, or of videos: class folders, a flat folder, or anything between."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar, final

import numpy as np
from numpy.typing import NDArray

from ...errors import UserError
from ...item_index import first_repeated
from ...text_column import TextColumn
from ..item_ids import file_name, is_escaped, item_id
from ..loading.decode import EXTENSIONS, decode
from .videos import ENDINGS, SHORT_SIDE, decode_video, need_av

RAW = (".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".rw2", ".raf", ".pef", ".srw", ".raw")
COMPANIONS = (
    *(".txt", ".md", ".html", ".htm", ".pdf", ".log", ".license", "license", "readme"),
    *(".csv", ".tsv", ".json", ".jsonl", ".yaml", ".yml", ".xml", ".ini", ".parquet"),
    *(".npy", ".npz", ".mat", ".pkl", ".db", ".py", ".ipynb", ".sh", ".zip", ".tar", ".gz"),
)
"""Files that lie beside images everywhere and are none: they are not mentioned."""


@final
@dataclass(frozen=True, eq=False, repr=False)
class FolderSource:
    """Image files below ``root``; an item is a path relative to it, with ``/`` between the parts.

    Args:
        others: further files below ``root`` that are no images to us: HEIC, RAW, videos, anything but
            texts, tables and other usual companions (:data:`COMPANIONS`) and hidden files.
        at_least: see :func:`reteach.data.loading.decode.decode`.
    """

    root: Path
    items: Sequence[str]
    others: Sequence[str] = ()
    at_least: int | None = None

    def __len__(self) -> int:
        return len(self.items)

    @cached_property
    def class_of(self) -> Sequence[str] | None:
        """The first folder on each image's way, if no image lies outside such folders."""
        return first_folders(self.items)

    @property
    def lost(self) -> list[tuple[str, str]]:
        """(item, reason) of the files that cannot be used, whatever is in them."""
        return [(item, why_not(item, "an image")) for item in self.others]

    @property
    def place(self) -> str:
        """Where the images are, for caches."""
        return os.path.abspath(self.root)

    def read(self, row: int) -> NDArray[np.uint8]:
        """(H, W, 3) uint8; raises ImageError."""
        return decode(self.path(row), at_least=self.at_least)

    def shrunk(self, at_least: int) -> FolderSource:
        """The same images, perhaps smaller, but not below ``at_least`` on the shorter side."""
        return replace(self, at_least=at_least)

    def stamp(self, row: int) -> str:
        """Changes when the file does; empty if there is none."""
        try:
            status = os.stat(self.path(row))
        except (OSError, ValueError):
            return ""
        # the time of the last change of the inode cannot be set back, as that of the content can
        return f"{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}"

    def path(self, row: int) -> str:
        """Where the file is."""
        item = self.items[row]
        path = os.path.join(self.root, item)
        if is_escaped(item) and not os.path.lexists(path):
            return os.path.join(self.root, file_name(item))
        return path


@final
@dataclass(frozen=True, eq=False, repr=False)
class VideoSource:
    """Video files below a folder, as :class:`FolderSource` has images; see :mod:`.videos`.

    Args:
        files: the files.
        at_least: the shorter side of larger frames is reduced to this.
    """

    files: FolderSource
    at_least: int = SHORT_SIDE

    is_video: ClassVar[bool] = True

    def __len__(self) -> int:
        return len(self.files)

    @property
    def items(self) -> Sequence[str]:
        """Paths relative to the folder."""
        return self.files.items

    @property
    def class_of(self) -> Sequence[str] | None:
        """The first folder on each video's way, if no video lies outside such folders."""
        return self.files.class_of

    @property
    def lost(self) -> list[tuple[str, str]]:
        """(item, reason) of the files that cannot be used, whatever is in them."""
        return [(item, why_not(item, "a video")) for item in self.files.others]

    @property
    def place(self) -> str:
        """Where the videos are, for caches."""
        return self.files.place

    def read(self, row: int) -> NDArray[np.uint8]:
        """(T, H, W, 3) uint8; raises ImageError."""
        return decode_video(self.files.path(row), at_least=self.at_least)

    def shrunk(self, at_least: int) -> VideoSource:
        """The same videos with smaller frames, but not below ``at_least`` on the shorter side."""
        return replace(self, at_least=at_least)

    def stamp(self, row: int) -> str:
        """Changes when the file does; empty if there is none."""
        return self.files.stamp(row)


def first_folders(items: Sequence[str]) -> Sequence[str] | None:
    """The first folder on the way to each of N items, if none lies outside such folders."""
    if not all("/" in item for item in items):
        return None
    one: dict[str, str] = {}  # one string per class, not one per image
    return [one.setdefault(name, name) for name in (item.split("/", 1)[0] for item in items)]


def open_folder(root: Path, items: Sequence[str] | None = None) -> FolderSource | VideoSource:
    """The images of a folder, found by a walk in sorted order, or just those that ``items`` lists; where
    there are only videos, those.

    Listed files are not looked for: one that is missing is found when it is read.

    Raises:
        UserError: no images, a list of both kinds, a folder that cannot be listed, items twice or
            outside of ``root``.
    """
    if items is None:
        found, others = _walk(root)
    else:
        _inside(root, items)
        found, others = list(items), []
    if not found:
        what = f" ({len(others)} other files, first: {others[0]!r})" if others else ""
        raise UserError(
            f"folder {root} has no images{what}; images end in {' '.join(EXTENSIONS)}, "
            f"videos in {' '.join(ENDINGS)}"
        )
    videos = [item for item in found if item.lower().endswith(ENDINGS)]
    if items is None and 0 < len(videos) < len(found):  # a telephone's folder: the images count
        found = [item for item in found if not item.lower().endswith(ENDINGS)]
        return FolderSource(root, TextColumn.of(found), sorted([*others, *videos]))
    if not videos:
        return FolderSource(root, TextColumn.of(found), others)
    if len(videos) < len(found):
        raise UserError(f"the items of {root} are partly videos, such as {videos[0]!r}: not both")
    need_av()
    return VideoSource(FolderSource(root, TextColumn.of(found), others))


def _inside(root: Path, items: Sequence[str]) -> None:
    if not items:
        raise UserError(f"no items of {root} are asked for")
    if (twice := first_repeated(items)) is not None:
        raise UserError(f"item {twice!r} is listed twice")
    for item in items:
        if item.startswith("/") or ".." in item.split("/"):
            raise UserError(f"item {item!r} is outside of {root}: items are paths relative to it")


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, say: reading it will tell
        return False


def why_not(item: str, wanted: str) -> str:
    """Why a file with this name is none of those ``wanted`` (an image, a video)."""
    ending = os.path.splitext(item)[1].lower()
    if ending in ENDINGS:
        return "a video among images"
    if ending == ".cls":
        return "a label without an image"
    if ending in (".heic", ".heif"):
        return "HEIC is not read: convert it to JPEG"
    if ending in RAW:
        return "camera RAW is not read: convert it to JPEG"
    return f"not {wanted} in a known format ({ending or 'no ending'})"


def _walk(root: Path) -> tuple[list[str], list[str]]:
    """All images and videos below ``root``, and the other files but for companions.

    Symbolic links are followed, but never back into a folder that the way has come through.
    """
    found: list[str] = []
    escaped: list[str] = []
    others: list[str] = []
    pending: list[tuple[str, str, frozenset[tuple[int, int]]]] = [(str(root), "", frozenset())]
    while pending:
        path, prefix, above = pending.pop()
        try:
            status = os.stat(path)
            identity = (status.st_dev, status.st_ino)
            if identity in above:
                continue
            way = above | {identity}
            with os.scandir(path) as entries:
                for entry in entries:
                    name = entry.name
                    if name[0] == ".":
                        continue
                    if _is_folder(entry):
                        pending.append((entry.path, f"{prefix}{name}/", way))
                    elif name.lower().endswith((*EXTENSIONS, *ENDINGS)):
                        item = item_id(prefix + name)
                        found.append(item)
                        if is_escaped(item):
                            escaped.append(item)
                    elif not name.lower().endswith(COMPANIONS):
                        others.append(item_id(prefix + name))
        except OSError as error:
            reason = os.strerror(error.errno or 0)
            raise UserError(f"cannot list the folder {item_id(path)!r}: {reason}") from None
    found.sort()
    if escaped and (twice := first_repeated(found)) is not None:
        raise UserError(f"two files would have the item id {twice!r}: rename one of them")
    return found, sorted(others)
