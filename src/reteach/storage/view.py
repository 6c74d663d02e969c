"""The scratch folder: local copies of objects, each under a path that says which object it is.

``s3://bucket/runs/a/run.json`` is ``SCRATCH/objects/s3/bucket/runs/a/run.json`` here. Whoever reads and
writes files knows nothing of stores: what a command reads is copied before it begins, and a file that is
written whole into the scratch folder (:func:`reteach.files.atomic_path`) is put at its address before it
takes its name here. Nothing is appended, renamed or overwritten in parts at a store.

A log that grows (``metrics.jsonl``) is put as numbered pieces, ``metrics/000001.jsonl`` …, and once more as
a whole when its folder is finished.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..structured import parse_json
from . import objects, owners
from .address import SCHEMES, Address, address
from .objects import ObjectInfo

SCRATCH = "RETEACH_SCRATCH"
"""The environment variable that names the scratch folder."""
LOG, PIECES = "metrics.jsonl", "metrics"
HALF = "_INCOMPLETE"
"""The object that stands in a folder while it is put there."""
REWIND = "rewind"
"""In a piece of a log: ``{"rewind": stage, "step": N}`` takes back what the stage logged after step N."""
_EVERY = 10.0
"""Seconds after which lines of a log are put, if nothing else is put before."""
_HIDDEN = re.compile(r"(^|/)\.[^/]*(\.part|\.lock)$")
_PIECE = re.compile(rf"(|.*/){PIECES}/\d{{6,}}\.jsonl")
_SNAPSHOT = re.compile(r"(^|/)stages/.*snapshot[^/]*$")


def scratch() -> Path:
    """The scratch folder: what ``RETEACH_SCRATCH`` says, else one of the user's cache folder."""
    if said := os.environ.get(SCRATCH):
        return Path(said).expanduser().absolute()
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser().absolute() / "reteach" / "scratch"


def path_of(where: Address) -> Path:
    """Where the copy of an object, or of all below an address, is."""
    return scratch() / "objects" / where.scheme / where.path


def address_of(path: Path | str) -> Address | None:
    """The address of which a path is the copy; None: it is a path like any other."""
    text, root = os.path.abspath(path), f"{scratch() / 'objects'}{os.sep}"
    if not text.startswith(root):
        return None
    scheme, _, rest = text[len(root) :].partition(os.sep)
    return Address(scheme, rest) if scheme in SCHEMES and rest else None


def shown(text: str) -> str:
    """A text with addresses in place of the paths of their copies."""
    root = str(scratch() / "objects")
    if root not in text:
        return text
    return re.sub(rf"{re.escape(root)}/({'|'.join(SCHEMES)})/", r"\1://", text)


def fetch(where: Address, what: str = "", *, snapshots: bool = True) -> Path:
    """The copy of an object, or of all below an address, brought up to date.

    Args:
        what: it is called, for errors.
        snapshots: of a run folder, also what only a run that goes on needs.

    Raises:
        UserError: there is nothing, or only half of it; or the store cannot be reached.
    """
    path = path_of(where)
    found = objects.info(where)
    if found is not None:
        _fetch_one(where, path, found)
        return path
    found_below = objects.listing(where)
    if not found_below:
        raise objects.missing(where, what)
    if HALF in found_below:
        raise UserError(f"{where} is only half there: whoever wrote it was stopped; write it again")
    if owners.LOCK in found_below and _is_written_here(where):
        return path  # a process of this machine has it, and is ahead of the store
    if not snapshots:
        found_below = {n: i for n, i in found_below.items() if not _SNAPSHOT.search(n)}
    _fetch_below(where, path, found_below)
    return path


def _is_written_here(where: Address) -> bool:
    try:
        return owners.writes_this_copy(objects.whole(where / owners.LOCK), scratch())
    except objects.Vanished:
        return False


def fetch_folder(folder: Path) -> None:
    """Bring the copy of a folder up to date, which may be empty or not be there yet."""
    where = address_of(folder)
    assert where is not None
    _fetch_below(where, folder, objects.listing(where))


def present(path: Path) -> Path:
    """The same path; a file of the store that is not here yet is fetched, if it is there."""
    where = None if os.path.exists(path) else address_of(path)
    if where is not None and (found := objects.info(where)) is not None:
        _fetch_one(where, Path(path), found)
    return path


def _fetch_below(where: Address, folder: Path, found: dict[str, ObjectInfo]) -> None:
    logs: dict[str, list[str]] = {}
    for name in found:
        if (piece := _PIECE.fullmatch(name)) is not None:
            logs.setdefault(f"{piece[1]}{LOG}", []).append(name)
    names = [n for n in found if not (_HIDDEN.search(n) or _PIECE.fullmatch(n) or n in logs)]
    _forget_lost(folder, {*names, *logs})
    folder.mkdir(parents=True, exist_ok=True)
    objects.at_once(lambda n: _fetch_one(where / n, folder / n, found[n]), names)
    for log, pieces in logs.items():
        _assemble(where, folder / log, sorted(pieces))


def _fetch_one(where: Address, path: Path, found: ObjectInfo) -> None:
    if _current(path) == found.tag:
        return
    objects.get(where, path, found)
    _remember(path, found.tag)


def _forget_lost(folder: Path, names: set[str]) -> None:
    """Remove copies of objects that are there no more; what was never put stays."""
    for file in files_below(folder):
        name = file.relative_to(folder).as_posix()
        if name not in names and _current(file) is not None:
            with suppress(OSError):
                file.unlink()


def files_below(folder: Path) -> list[Path]:
    """All finished files below a folder, sorted."""
    found = (file for file in folder.rglob("*") if file.is_file())
    return sorted(f for f in found if not _HIDDEN.search(f.relative_to(folder).as_posix()))


# ---- what is the same here and there -------------------------------------------------------------


def _note(path: Path) -> Path:
    root = scratch()
    return root / "tags" / f"{Path(os.path.abspath(path)).relative_to(root / 'objects')}.json"


def _stat(path: Path) -> list[int]:
    found = os.stat(path)
    return [found.st_size, found.st_mtime_ns]


def _current(path: Path) -> str | None:
    """The tag of the object that a file is the same as; None: it was changed here, or is of none."""
    try:
        said = parse_json(_note(path).read_text())
        return str(said["tag"]) if said["stat"] == _stat(path) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _remember(path: Path, tag: str, stat: list[int] | None = None) -> None:
    note = _note(path)
    note.parent.mkdir(parents=True, exist_ok=True)
    part = note.with_name(f".{secrets.token_hex(8)}.part")
    part.write_text(json.dumps({"tag": tag, "stat": _stat(path) if stat is None else stat}))
    os.replace(part, note)


# ---- what is written -----------------------------------------------------------------------------

GUARDS: list[Callable[[Address], None]] = []
"""Each refuses to let an object be written where it must not be: see :mod:`.lease`."""


def publish(path: Path, part: Path | None = None) -> None:
    """Put a finished file at its address, if its path is one in the scratch folder.

    Args:
        part: where the file is until then; it takes its name afterwards.
    """
    where = address_of(path)
    if where is None or (path.name == LOG and _log_of(path) is not None):
        return
    for guard in GUARDS:
        guard(where)
    flush_logs(path)
    file = path if part is None else part
    stat = _stat(file)
    objects.put(file, where)
    found = objects.info(where)
    if found is None or found.size != stat[0]:
        raise UserError(f"{where} was written, and is not there: does somebody else write it too?")
    _remember(path, found.tag, stat)


def publish_folder(folder: Path, part: Path) -> None:
    """Put a finished folder at its address, if it has one; while that lasts, readers refuse it.

    Args:
        part: where the folder is until then.
    """
    where = address_of(folder)
    if where is None:
        return
    objects.write(where / HALF, b"")
    files = [file.relative_to(part) for file in files_below(part)]
    objects.at_once(lambda name: publish(folder / name, part / name), files)
    objects.remove([where / HALF])


def refuse_taken(folder: Path) -> None:
    """Refuse a folder at whose address something is already, unless that was never finished."""
    where = address_of(folder)
    found = {} if where is None else objects.listing(where)
    if found and HALF not in found:
        raise UserError(f"{where} is there already: name a new folder with --out")


def second_name(path: Path, other: Path) -> None:
    """Let the object of a path have another name too, as the file has it here already."""
    where, to = address_of(path), address_of(other)
    if (
        where is None
        or to is None
        or ((tag := _current(other)) is not None and tag == _current(path))
    ):
        return
    with suppress(objects.Vanished):
        objects.copy(where, to)
        if (found := objects.info(to)) is not None:
            _remember(other, found.tag)


def remove_others(folder: Path, start: str, wanted: set[str]) -> None:
    """Delete the objects below those folders in a folder whose names begin so and are not wanted."""
    where = address_of(folder)
    if where is None:
        return
    names = [n for n in objects.listing(where) if n.startswith(start) and "/" in n]
    gone = [name for name in names if name.partition("/")[0] not in wanted]
    for guard in GUARDS if gone else ():
        guard(where)
    objects.remove([where / name for name in gone])
    for name in gone:
        with suppress(OSError):
            _note(folder / name).unlink()


def known(folder: Path) -> set[str]:
    """The names below a folder that are objects as far as is known here."""
    notes = _note(folder / "x").parent
    found = (file.relative_to(notes).as_posix() for file in notes.rglob("*.json") if file.is_file())
    return {
        name.removesuffix(".json") for name in found if not name.rpartition("/")[2].startswith(".")
    }


def settle(path: Path) -> None:
    """Make what is at an address what is in its copy: changed files are put, removed ones deleted."""
    where = address_of(path)
    if where is None:
        return
    flush_logs(path)
    if path.is_file():
        if _current(path) is None:
            publish(path)
        return
    logs = {log.path for log in list(_LOGS.values())}
    changed = [file for file in files_below(path) if _current(file) is None]
    for file in changed:
        _publish_as_it_is(file) if file in logs else publish(file)
    gone = [n for n in known(path) if not (path / n).exists()]
    for guard in GUARDS if gone else ():
        guard(where)
    objects.remove([where / name for name in gone])
    for name in gone:
        with suppress(OSError):
            _note(path / name).unlink()


def _publish_as_it_is(log: Path) -> None:
    where, stat = address_of(log), _stat(log)
    assert where is not None
    objects.put(log, where)
    if (found := objects.info(where)) is not None:
        _remember(log, found.tag, stat)


# ---- logs ----------------------------------------------------------------------------------------


class _Pieces:
    """Lines of a log that wait to be put, and the number of the next piece."""

    def __init__(self, path: Path) -> None:
        self.path = path
        where = address_of(path.parent)
        assert where is not None
        self.where = where / PIECES
        self.lines: list[str] = []
        self.since = time.monotonic()
        self.guard = threading.RLock()
        numbers = [int(Path(n).stem) for n in objects.listing(self.where) if Path(n).stem.isdigit()]
        self.next = max(numbers, default=0) + 1

    def add(self, line: str) -> None:
        with self.guard:
            self.lines.append(line)
        if time.monotonic() - self.since > _EVERY:
            self.put()

    def put(self) -> None:
        with self.guard:
            lines, self.lines, self.since = self.lines, [], time.monotonic()
            if not lines:
                return
            piece = self.where / f"{self.next:06}.jsonl"
            for guard in GUARDS:
                guard(piece)
            if not objects.create(piece, "".join(lines).encode()):
                raise UserError(f"{piece} is there already: another process writes this run")
            self.next += 1


_LOGS: dict[str, _Pieces] = {}


def appended(log: Path, line: str) -> None:
    """Note that a line was appended to a log, if its path is one in the scratch folder."""
    if address_of(log) is None:
        return
    key = os.path.abspath(log)
    if key not in _LOGS:
        _LOGS[key] = _Pieces(log)
    _LOGS[key].add(line)


def forget_logs(below: Path) -> None:
    """End the logs below a folder: who writes there next begins with what is at the store."""
    for key in [k for k in _LOGS if Path(k).is_relative_to(below)]:
        del _LOGS[key]


def _log_of(path: Path) -> _Pieces | None:
    return _LOGS.get(os.path.abspath(path))


def flush_logs(path: Path) -> None:
    """Put the waiting lines of all logs beside or above a path, and below it: order is kept."""
    for key, log in list(_LOGS.items()):
        folder = Path(key).parent
        if path.is_relative_to(folder) or folder.is_relative_to(path):
            log.put()


def _assemble(where: Address, log: Path, pieces: list[str]) -> None:
    """Write the log here that its pieces are."""
    lines: list[str] = []
    for piece in pieces:
        for line in (
            objects.whole(where / piece).decode("utf-8", "replace").splitlines(keepends=True)
        ):
            lines = _taken_in(lines, line)
    log.parent.mkdir(parents=True, exist_ok=True)
    part = log.with_name(f".{secrets.token_hex(8)}.part")
    part.write_text("".join(lines), encoding="utf-8")
    os.replace(part, log)


def _taken_in(lines: list[str], line: str) -> list[str]:
    said = _parsed(line)
    if REWIND not in said:
        return [*lines, line]
    records = ((each, _parsed(each)) for each in lines)
    return [
        each
        for each, record in records
        if record.get("stage") != said[REWIND] or record.get("step", 0) <= said.get("step", 0)
    ]


def _parsed(line: str) -> dict[str, Any]:
    try:
        found = parse_json(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


# ---- what a person sees --------------------------------------------------------------------------


class AddressStream:
    """A stream that shows addresses where paths of copies are written.

    Args:
        words: what becomes of each text.
    """

    def __init__(self, stream: Any, words: Callable[[str], str] = shown) -> None:
        self.stream, self.words = stream, words

    def write(self, text: str) -> int:
        """Write; see :func:`shown`."""
        self.stream.write(self.words(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def telling(words: Callable[[str], str] = shown) -> Iterator[None]:
    """While it lasts, both standard streams show addresses."""
    out, err = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = AddressStream(out, words), AddressStream(err, words)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = out, err


def address_holds_file(where: Address) -> bool:
    """Whether there is an object of just this name."""
    return objects.info(where) is not None


def given(where: str | Path) -> Path:
    """A path as a person gives it: that of a copy, which is fetched, where it is an address."""
    found = address(where)
    return Path(where) if found is None else fetch(found)
