"""Image files below an address of an object store: listed once, each read when its turn comes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import final

import numpy as np
from numpy.typing import NDArray

from ...errors import UserError
from ...item_index import first_repeated
from ...storage import Address, Vanished, objects
from ...storage.objects import ObjectInfo
from ...text_column import TextColumn
from ..item_ids import item_id
from ..loading.decode import EXTENSIONS, ImageError, decode
from .folders import COMPANIONS, first_folders, why_not
from .videos import ENDINGS


@final
@dataclass(frozen=True, eq=False, repr=False)
class ObjectFolderSource:
    """Image files of a store; an item is a name after the folder's, with ``/`` between the parts.

    Args:
        root: the folder's address.
        items: N item ids.
        names: N names after the folder's.
        infos: N sizes and tags.
        others: further objects that are no images to us, see :class:`.folders.FolderSource`.
        at_least: see :func:`reteach.data.loading.decode.decode`.
    """

    root: Address
    items: Sequence[str]
    names: Sequence[str]
    infos: Sequence[ObjectInfo]
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
        """(item, reason) of the objects that cannot be used, whatever is in them."""
        return [(item, why_not(item, "an image")) for item in self.others]

    @property
    def place(self) -> str:
        """Where the images are, for caches."""
        return str(self.root)

    def size(self, row: int) -> int:
        """Bytes of an image."""
        return self.infos[row].size

    def content(self, row: int) -> bytes:
        """The image as it is stored.

        Raises:
            ImageError: it is gone.
            UserError: the store cannot be reached.
        """
        try:
            return objects.read(self.root / self.names[row], 0, self.infos[row].size)
        except Vanished:
            raise ImageError("it has vanished") from None

    def read(self, row: int) -> NDArray[np.uint8]:
        """(H, W, 3) uint8; raises ImageError."""
        if not self.infos[row].size:
            raise ImageError("empty file (0 bytes)")
        return decode(self.content(row), at_least=self.at_least)

    def shrunk(self, at_least: int) -> ObjectFolderSource:
        """The same images, perhaps smaller, but not below ``at_least`` on the shorter side."""
        return replace(self, at_least=at_least)

    def stamp(self, row: int) -> str:
        """Changes when the object does, from the time on that the folder was opened."""
        return f"{self.infos[row].size}:{self.infos[row].tag}"


def open_object_folder(root: Address) -> ObjectFolderSource:
    """The images below an address.

    Raises:
        UserError: there are none, or videos; or the store cannot be reached.
    """
    listed = objects.listing(root)
    if not listed:
        raise objects.missing(root, "folder")
    seen = [name for name in listed if not any(part.startswith(".") for part in name.split("/"))]
    names = [name for name in seen if name.lower().endswith(EXTENSIONS)]
    others = [item_id(n) for n in seen if not n.lower().endswith((*EXTENSIONS, *COMPANIONS))]
    if not names:
        _say_what_is_there(root, seen)
    items = [item_id(name) for name in names]
    if (twice := first_repeated(items)) is not None:
        raise UserError(f"two objects would have the item id {twice!r}: rename one of them")
    order = sorted(range(len(items)), key=items.__getitem__)
    names = [names[at] for at in order]
    infos = [listed[name] for name in names]
    ordered = TextColumn.of(items[at] for at in order)
    return ObjectFolderSource(root, ordered, names, infos, others)


def _say_what_is_there(root: Address, names: Sequence[str]) -> None:
    if any(name.lower().endswith(ENDINGS) for name in names):
        raise UserError(f"{root} holds videos, which are read from local disks: copy them to one")
    if names and all(name.lower().endswith(".tar") for name in names):
        raise UserError(f"{root} holds tar shards: write '{root}/*.tar'")
    raise UserError(f"folder {root} has no images; images end in {' '.join(EXTENSIONS)}")
