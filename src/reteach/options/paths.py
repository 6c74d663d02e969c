"""Settings that name what must be there, declared where the setting is.

``labels: Annotated[Path | None, Exists("label table")] = None``: the command line looks before it imports
anything heavy, so that a mistyped path is answered at once. Whoever opens the file looks again: Python and
YAML come another way, and a file may go meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Any, Protocol, final, get_type_hints

from ..errors import UserError
from ..files import refuse_missing_images


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
        if not (os.path.exists(path) or os.path.exists(path.expanduser())):
            raise UserError(f"{f'{self.what} {path}'.strip()} does not exist")


@final
@dataclass(frozen=True)
class ImagesExist:
    """A folder of images, or another kind of source; what is no path is left to whoever opens it.

    Args:
        several: patterns and - for standard input are taken too.
    """

    several: bool = False

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


def inputs(settings: type[Any]) -> dict[str, Input]:
    """The settings of a dataclass that name what must be there."""
    kinds = (Exists, ImagesExist, RunOut)
    hints = get_type_hints(settings, include_extras=True)
    marks = {name: getattr(hint, "__metadata__", ()) for name, hint in hints.items()}
    found = {name: [m for m in each if isinstance(m, kinds)] for name, each in marks.items()}
    return {name: each[0] for name, each in found.items() if each}


def _values(value: Any) -> Iterator[Any]:
    if isinstance(value, tuple):
        yield from value
    elif value is not None:
        yield value
