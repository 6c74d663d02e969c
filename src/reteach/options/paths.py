"""Settings that name what must be there, declared where the setting is.

``labels: Annotated[Path | None, Exists("label table")] = None``: the command line looks before it imports
anything heavy, so that a mistyped path is answered at once. Whoever opens the file looks again: Python and
YAML come another way, and a file may go meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Protocol, final, get_type_hints

from .. import storage
from ..errors import UserError
from ..files import at_home, missing, refuse_missing_images
from .images_at_store import images_at_store


class Input(Protocol):
    """What a setting names, that must be there."""

    def refuse_missing(self, value: Any) -> None:
        """Refuse a value that names nothing.

        Raises:
            UserError: one line that names it.
        """


@final
@dataclass(frozen=True)
class Exists:
    """A file or a folder.

    Args:
        what: it is called.
        somewhere: of several processes (torchrun) one has it on its machine, and says so if not.
    """

    what: str = ""
    somewhere: bool = False

    def refuse_missing(self, value: Any) -> None:
        """See :class:`Input`."""
        path = Path(value)
        if self.somewhere and int(os.environ.get("WORLD_SIZE", "1")) > 1:
            return
        if not os.path.exists(path):
            raise UserError(missing(path, self.what))


@final
@dataclass(frozen=True)
class ImagesExist:
    """A folder of images, or another kind of source; what is no path is left to whoever opens it.

    Args:
        several: patterns and - for standard input are taken too.
        local_only: why they have to be on a disk of this machine; empty: they need not.
    """

    several: bool = False
    local_only: str = ""

    def refuse_missing(self, value: Any) -> None:
        """See :class:`Input`."""
        if self.several and (value == "-" or set("*?[") & set(str(value))):
            return
        refuse_missing_images(str(value))


@final
@dataclass(frozen=True)
class RunOut:
    """Where a run goes: a new folder, an empty one, or that of the same run."""

    def refuse_missing(self, value: Any) -> None:
        """Refuse what is neither, see :class:`Input`."""
        refuse_taken(Path(value))


@final
@dataclass(frozen=True)
class LocalOnly:
    """What has to be on a disk of this machine.

    Args:
        why: it has to.
        but: endings of the files that are copied there.
    """

    why: str
    but: tuple[str, ...] = ()

    def refuse_missing(self, value: Any) -> None:
        """Refuse an address, see :class:`Input`."""
        if (where := storage.address(value)) is not None:
            raise UserError(f"{where}: {self.why}; name a place on this machine")


MADE = ("out", "report", "counts", "export", "features_cache", "folder")
MADE_BY = (
    ("PredictOptions", "scores"),
    ("DedupOptions", "exclude"),
    ("ConsensusOptions", "scores"),
    ("ConsensusOptions", "unlabeled"),
)
"""Settings that name what is made, those of all commands and those of one; all other paths are read."""

_BEGUN = ("config.yaml", "transfer.json")
"""What a run and a transfer begin their folders with: they say themselves whether they go on in them."""


def refuse_taken(folder: Path) -> None:
    """Refuse to make a run of a folder that holds something else.

    Raises:
        UserError: names it, and another flag.
    """
    from ..locks import entries

    if not folder.exists() or any((folder / name).exists() for name in _BEGUN):
        return
    if not folder.is_dir() or entries(folder):
        raise UserError(f"{folder} exists and is not a run folder; use another --out")


def check_inputs(settings: Any) -> None:
    """Refuse the first setting of a command that names what is not there; groups are looked into.

    Raises:
        UserError: names the path.
    """
    marked = inputs(type(settings))
    for name, value in vars(settings).items():
        if is_dataclass(value):
            check_inputs(value)
        for each in _values(value) if name in marked else ():
            marked[name].refuse_missing(each)


def is_made(kind: type[Any], name: str) -> bool:
    """Whether a setting names what is made, not what is read."""
    return name in MADE or (kind.__name__, name) in MADE_BY


def with_copies(settings: Any) -> Any:
    """The settings with local paths in place of addresses of an object store, and of ``~``.

    What is read is copied into the scratch folder now; what is made is put at its address as it gets ready,
    because of its path there. Shards and folders of images keep their address: they are read piece by piece.

    Raises:
        UserError: an address at which there is nothing, or where only a local path can be; a home folder
            that nobody has.
    """
    marked = inputs(type(settings))
    changed: dict[str, Any] = {}
    for field in fields(settings):
        value, mark = getattr(settings, field.name), marked.get(field.name)
        if is_dataclass(value) and not isinstance(value, type):
            new = with_copies(value)
        elif isinstance(value, tuple):
            new = tuple(_copy(each, mark, is_made(type(settings), field.name)) for each in value)
        else:
            new = _copy(value, mark, is_made(type(settings), field.name))
        if new != value:
            changed[field.name] = new
    return replace(settings, **changed) if changed else settings


def with_addresses(settings: Any) -> Any:
    """The settings for a process whose scratch folder may be another one: the reverse of
    :func:`with_copies`."""
    changed: dict[str, Any] = {}
    for field in fields(settings):
        value = getattr(settings, field.name)
        if is_dataclass(value) and not isinstance(value, type):
            changed[field.name] = with_addresses(value)
        elif isinstance(value, str | Path) and (where := storage.address_of(value)) is not None:
            changed[field.name] = str(where) if isinstance(value, str) else Path(str(where))
    return replace(settings, **changed) if changed else settings


def _copy(value: Any, mark: Input | None, made: bool) -> Any:
    """A value of a setting with a local path in place of an address."""
    if not isinstance(value, str | Path):
        return value
    if mark is not None or isinstance(value, Path):
        value = at_home(value)
    if isinstance(mark, LocalOnly):
        if str(value).lower().endswith(mark.but) and (where := storage.address(value)) is not None:
            return type(value)(storage.fetch(where))
        mark.refuse_missing(value)
        return value
    if isinstance(mark, ImagesExist):
        if mark.local_only:
            LocalOnly(mark.local_only).refuse_missing(value)
        return images_at_store(str(value), mark.several)
    if not isinstance(value, Path):
        return value
    if (here := storage.local_path(value)) is not None:
        return here
    # a record that was read here has paths in the scratch folder, where perhaps nothing is yet
    where = storage.address(value) or storage.address_of(value)
    if where is None:
        return value
    if made:
        storage.refuse_no_bucket(where)
        return storage.path_of(where)
    return storage.fetch(where, getattr(mark, "what", ""), snapshots=False)


def inputs(settings: type[Any]) -> dict[str, Input]:
    """The settings of a dataclass that name what must be there."""
    kinds = (Exists, ImagesExist, RunOut, LocalOnly)
    hints = get_type_hints(settings, include_extras=True)
    marks = {name: getattr(hint, "__metadata__", ()) for name, hint in hints.items()}
    found = {name: [m for m in each if isinstance(m, kinds)] for name, each in marks.items()}
    return {name: each[0] for name, each in found.items() if each}


def _values(value: Any) -> Iterator[Any]:
    if isinstance(value, tuple):
        yield from value
    elif value is not None:
        yield value
