"""Images at an object store: what is read piece by piece keeps its address, the rest is copied."""

from __future__ import annotations

from .. import storage
from ..errors import UserError

TARS = (".tar", ".tar}")
FEATURES = "_features.json"
"""The file that a feature table has."""


def images_at_store(text: str, several: bool = False) -> str:
    """Images as a setting names them, with a local path where they are copied.

    Tar shards and folders of images keep their address; an .npz file, a feature table and a single image are
    copied into the scratch folder.

    Args:
        several: patterns of single files are taken too, of local ones.

    Raises:
        UserError: there is nothing, or a kind of images that is read from local disks only.
    """
    if (here := storage.local_path(text)) is not None:
        return str(here)
    kind, _, rest = text.partition(":")
    if kind in ("cifar", "hf") and storage.address(rest) is not None:
        raise UserError(f"{text}: {kind}: data sets are read from local disks; copy it to one")
    where = storage.address(text)
    if where is None or text.lower().endswith(TARS):
        return text
    if set("*?[") & set(where.path):
        what = (
            "name their folder" if several else "only tar shards may have wildcards in their names"
        )
        raise UserError(f"{where}: patterns of single files are not looked up at a store; {what}")
    name = where.path.rpartition("/")[2].lower()
    if name.endswith(".npz") or storage.address_holds_file(where):
        return str(storage.fetch(where, "images"))
    if storage.address_holds_file(where / FEATURES):
        return str(storage.fetch(where))
    return str(where)
