"""What could not be read of the images that a command was given: counted, listed in full, and said."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

from .files import atomic_write
from .progress import note
from .spreadsheet import from_csv, guard, to_csv


@final
@dataclass(frozen=True)
class Unreadable:
    """What a command was given and could not read: how many, and where they are listed.

    Every command that looks at images has one in its result.

    Args:
        count: images, and files that are no images to us.
        file: their list, with the columns item and reason; None: there is nothing to list.
        entries: (item, reason) of each, sorted.
    """

    count: int = 0
    file: Path | None = None
    entries: tuple[tuple[str, str], ...] = field(default=(), metadata={"json": False})

    @classmethod
    def of(cls, file: Path, *found: Mapping[str, str] | Iterable[tuple[str, str]]) -> Unreadable:
        """Item -> reason, or such pairs; the same pair counts once."""
        pairs = (part.items() if isinstance(part, Mapping) else part for part in found)
        entries = tuple(sorted({pair for part in pairs for pair in part}))
        return cls(len(entries), file if entries else None, entries)

    @classmethod
    def read(cls, file: Path) -> Unreadable:
        """What :func:`write_csv` has listed in a file; nothing if there is none."""
        if not file.exists():
            return cls()
        _, rows = from_csv(file, "list")
        return cls.of(file, [(row["item"], row["reason"]) for _, row in rows])

    def written(self, where: Path) -> Unreadable:
        """Write the list to ``where``; a list of an earlier time does not outlive it."""
        if self.entries or where.exists():
            write_csv(where, self.entries)
        return self

    def listed(self, where: Path) -> Unreadable:
        """The same, and say so on stderr."""
        self.written(where).tell()
        return self

    def tell(self) -> None:
        """One line on stderr, if there are any."""
        if self.entries:
            item, reason = self.entries[0]
            note(
                f"{self.count:,} could not be read, first: {item!r} ({reason}); "
                f"all are listed in {self.file}"
            )


def beside(out: Path) -> Path:
    """Where what could not be read for ``out`` is listed: ``scores.parquet``, ``scores.quarantine.csv``.

    Beside a folder of Parquet files too: within it, readers of whole folders would trip over the list.
    """
    out = out.absolute() if out.name in ("", "..") else out
    name = out.name if out.is_dir() else out.stem
    return out.with_name(f"{name}.quarantine.csv")


def unreadable(
    out: Path, *found: Mapping[str, str] | Iterable[tuple[str, str]], source: object = None
) -> Unreadable:
    """List :func:`beside` an output what could not be read for it, and say so.

    Args:
        found: item -> reason, or such pairs.
        source: where the images are from; its files that are no images to us count too.
    """
    file = beside(out)
    return Unreadable.of(file, *found, left_out(source)).listed(file)


def left_out(source: object) -> Sequence[tuple[str, str]]:
    """(item, reason) of the files of a source that are no images to us, or whole shards that are damaged."""
    lost: Sequence[tuple[str, str]] = getattr(source, "lost", ())
    return lost


def write_csv(path: Path, entries: Iterable[tuple[str, str]]) -> None:
    """Write (item, reason) pairs, sorted and each once, so that a spreadsheet executes nothing.

    A cell that a spreadsheet would take for a formula gets an apostrophe in front; line breaks and
    other control characters are spelt out. The file is written whole or not at all.
    """
    rows = [(_spelt_out(item), _spelt_out(reason)) for item, reason in sorted(set(entries))]
    atomic_write(path, to_csv(["item", "reason"], rows))


# C0 and C1 controls, line separators, marks that reverse the reading direction, lone surrogates
_CONTROLS = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def _spelt_out(cell: str) -> str:
    # the sign is looked for before control characters become a harmless-looking backslash
    mark = "'" if guard(cell) != cell else ""
    shown = _CONTROLS.sub(lambda match: repr(match[0])[1:-1], cell)
    return shown if guard(shown) != shown else mark + shown
