"""Objects of a store: looked at, read, written whole, listed. The one place that knows of fsspec.

Whatever may pass (a dropped connection, 503, a slow answer, half of a body) is tried again, so often and
no more; then it is an error of one line. Credentials come from the environment alone, as the libraries
below read them, and never stand in an error.
"""

from __future__ import annotations

import errno
import hashlib
import os
import random
import re
import secrets
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, final

from ..errors import UserError, missing_extra
from .address import SCHEMES, WRITABLE, Address

T = TypeVar("T")

TRIES = 6
"""Attempts at one request, the pauses between them doubling from the first on."""
FIRST_PAUSE = 0.2
"""Seconds."""
CONNECT, ANSWER = 10.0, 60.0
"""Seconds until a connection, and an answer, counts as lost."""
AT_ONCE = 8
"""Objects that are moved at the same time."""
_SHA256 = "reteach-sha256"
"""Metadata of an object: what its bytes must be."""


@final
@dataclass(frozen=True)
class ObjectInfo:
    """What a store says of an object: bytes, and a tag that changes with them."""

    size: int
    tag: str


class Vanished(UserError):
    """There is no such object, or not any more."""


class Denied(UserError):
    """The credentials do not allow this."""


def info(where: Address) -> ObjectInfo | None:
    """What the store says of an object; None: there is none of this name.

    Raises:
        UserError: the store refuses, or cannot be reached.
    """
    try:
        found = _tried(where, lambda fs: fs.info(where.path))
    except Vanished:
        return None
    return _info(found) if found.get("type") == "file" else None


def listing(where: Address) -> dict[str, ObjectInfo]:
    """All objects below an address: name after it -> what the store says; sorted by name.

    Raises:
        UserError: no such bucket, the store refuses, or cannot be reached.
    """
    try:
        found = _tried(where, lambda fs: fs.find(where.path, detail=True))
    except Vanished:
        _refuse_lost_bucket(where)
        return {}
    start = len(where.path) + 1
    names = {
        name.lstrip("/")[start:]: _info(entry)
        for name, entry in found.items()
        if name.lstrip("/").startswith(f"{where.path}/") and not name.endswith("/")
    }
    return dict(sorted(names.items()))


def missing(where: Address, what: str = "") -> UserError:
    """The error of an address at which there is nothing.

    Raises:
        UserError: the bucket itself is not there.
    """
    _refuse_lost_bucket(where)
    return UserError(f"{f'{what} {where}'.strip()} does not exist")


def read(where: Address, start: int, size: int) -> bytes:
    """``size`` bytes of an object from ``start`` on.

    Raises:
        UserError: it is gone or shorter, or the store cannot be reached.
    """

    def part(fs: Any) -> bytes:
        data: bytes = fs.cat_file(where.path, start=start, end=start + size) if size else b""
        if len(data) != size:
            raise _Half(f"{len(data)} of {size} bytes")
        return data

    return _tried(where, part)


def whole(where: Address) -> bytes:
    """All bytes of a small object."""
    found = info(where)
    if found is None:
        raise Vanished(f"{where} has vanished")
    return read(where, 0, found.size)


def get(where: Address, path: Path, found: ObjectInfo) -> None:
    """Copy an object into a file, and hold its size and its checksum, if it has one, against it.

    The file appears whole under its name, in a folder that is made where it is missing.

    Raises:
        UserError: it is gone, not what was written, or the store cannot be reached.
    """

    def copy(fs: Any) -> None:
        fs.get_file(where.path, str(part))
        if (size := part.stat().st_size) != found.size:
            raise _Half(f"{size} of {found.size} bytes")
        said = _checksum(fs, where)
        if said is not None and said != _digest(part):
            raise _Half("not the bytes that were written")

    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        _tried(where, copy)
        os.replace(part, path)
    finally:
        with suppress(OSError):
            part.unlink()


def put(path: Path, where: Address) -> None:
    """Copy a file into an object, which is there as a whole or not at all.

    Raises:
        UserError: the store takes no objects, refuses, or cannot be reached.
    """
    _need_writable(where)
    key = "Metadata" if where.scheme == "s3" else "metadata"
    more = {key: {_SHA256: _digest(path)}}
    _written(where, lambda fs: fs.put_file(str(path), where.path, **more))


def write(where: Address, data: bytes) -> None:
    """Write an object of a few bytes, over one that is there."""
    _need_writable(where)
    _written(where, lambda fs: fs.pipe_file(where.path, data))


def create(where: Address, data: bytes) -> bool:
    """Write an object unless there is one of the name; whether it is this one.

    An answer that was lost on its way is told from a refusal by what the object holds.
    """
    _need_writable(where)

    def once(fs: Any) -> bool:
        try:
            fs.pipe_file(where.path, data, mode="create")
        except (FileExistsError, OSError) as error:
            if isinstance(error, FileExistsError) or error.errno == errno.EINVAL:
                return False
            raise
        return True

    if _written(where, once):
        return True
    with suppress(Vanished):
        return whole(where) == data
    return False


def copy(where: Address, to: Address) -> None:
    """Give the bytes of an object a second name, within the store."""
    _tried(where, lambda fs: fs.copy(where.path, to.path))


def remove(wheres: Sequence[Address]) -> None:
    """Delete objects; those that are gone already are no error."""

    def gone(where: Address) -> None:
        with suppress(Vanished):
            _tried(where, lambda fs: fs.rm_file(where.path))

    at_once(gone, wheres)


def modified(where: Address) -> float | None:
    """When an object was written, in seconds, by the store's clock; None: there is none."""
    try:
        found = _tried(where, lambda fs: fs.info(where.path))
    except Vanished:
        return None
    when = found.get("LastModified") or found.get("mtime") or found.get("updated")
    if hasattr(when, "timestamp"):
        return float(when.timestamp())
    from datetime import datetime

    return datetime.fromisoformat(str(when)).timestamp()


def at_once(do: Callable[[T], None], things: Sequence[T]) -> None:
    """Do something with each, several at a time; the first error ends it."""
    if len(things) <= 1:
        for thing in things:
            do(thing)
        return
    with ThreadPoolExecutor(min(AT_ONCE, len(things))) as pool:
        try:
            for _ in pool.map(do, things):
                pass
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


class _Half(OSError):
    """Not all that was promised came."""


def _info(found: dict[str, Any]) -> ObjectInfo:
    keys = ("ETag", "etag", "md5Hash", "blob_id", "mtime", "last_commit")
    tag = next((str(found[key]) for key in keys if found.get(key)), "")
    return ObjectInfo(int(found.get("size") or 0), tag.strip('"'))


_OPENED: dict[tuple[int, str, int], Any] = {}
"""File systems by process, scheme and environment. Those of the process that a worker was forked from stay
here: if they were thrown away, the worker would take its connections out of the parent's event loop."""


def _filesystem(where: Address) -> Any:
    """The file system of a scheme; of this process, since none survives a fork."""
    told = [(k, v) for k, v in os.environ.items() if k.startswith(("AWS_", "GOOGLE_", "HF_"))]
    key = (os.getpid(), where.scheme, hash(tuple(sorted(told))))
    if key not in _OPENED:
        _OPENED[key] = _opened(where.scheme)
    return _OPENED[key]


def _opened(scheme: str) -> Any:
    package, extra = SCHEMES[scheme]
    usual: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}
    try:
        import fsspec

        if scheme != "s3":
            return fsspec.filesystem(scheme, **usual)
        # one attempt each: how often something is tried again is decided in one place, here
        waits = {"connect_timeout": CONNECT, "read_timeout": ANSWER, "retries": {"max_attempts": 0}}
        return fsspec.filesystem("s3", config_kwargs=waits, **usual)
    except ImportError:
        raise missing_extra(f"{scheme}://", package, extra) from None


def _tried(where: Address, do: Callable[[Any], T]) -> T:
    """What a request comes to, tried again where it failed by chance.

    Raises:
        Vanished: there is no such object.
        UserError: refused, or failed as often as it was tried.
    """
    for attempt in range(1, TRIES + 1):
        try:
            return do(_filesystem(where))
        except UserError:
            raise
        except Exception as error:  # each store has kinds of its own
            if (refusal := _refusal(where, error)) is not None:
                raise refusal from None
            if attempt == TRIES:
                raise UserError(
                    f"{where}: the store failed {TRIES} times in a row ({_reason(error)}): try again later, "
                    "the same command goes on"
                ) from None
        time.sleep(FIRST_PAUSE * 2 ** (attempt - 1) * random.uniform(0.5, 1.0))
    raise AssertionError


_NO_CREDENTIALS = (
    *("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound"),
    *("DefaultCredentialsError", "LocalTokenNotFoundError"),
)
_GIVE = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE,",
    "gs": "set GOOGLE_APPLICATION_CREDENTIALS",
    "hf": "set HF_TOKEN",
}


def _refusal(where: Address, error: Exception) -> UserError | None:
    """The error of what no repetition mends; None: it may pass."""
    kind = type(error).__name__
    if isinstance(error, FileNotFoundError):
        return Vanished(f"{where} has vanished")
    if kind in _NO_CREDENTIALS:
        return UserError(f"{where}: no credentials: {_GIVE[where.scheme]} in the environment")
    if isinstance(error, PermissionError):
        return Denied(f"{where}: access denied: do the credentials in the environment allow this?")
    if kind in ("ParamValidationError", "InvalidRegionError", "ValueError", "TypeError"):
        return UserError(f"{where} cannot be asked for ({_reason(error)})")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(
            f"disk full while {where} is copied: free some space in the scratch folder"
        )
    return None


def _reason(error: Exception) -> str:
    """What an error says, without what might give access."""
    said = " ".join(str(error).split()) or type(error).__name__
    said = re.sub(r"//[^/@\s]*@", "//", said)
    return re.sub(r"\?[^\s'\"]*", "", said)[:120]


def refuse_no_bucket(where: Address) -> None:
    """Refuse to write where there is no bucket, before anything is made.

    Raises:
        UserError: there is none, or no credentials.
    """
    _need_writable(where)
    with suppress(Denied):  # who may write need not be allowed to ask
        _refuse_lost_bucket(where)


def _refuse_lost_bucket(where: Address) -> None:
    bucket = Address(where.scheme, where.bucket)

    def look(fs: Any) -> None:
        if where.scheme == "s3":
            fs.call_s3("head_bucket", Bucket=bucket.path)
        else:
            fs.ls(bucket.path, detail=False)

    if where.scheme == "hf":
        return
    try:
        _tried(bucket, look)
    except Vanished:
        raise UserError(f"{bucket}: there is no such bucket") from None


def _written(where: Address, do: Callable[[Any], T]) -> T:
    """:func:`_tried` of what writes: what is not found then is the bucket."""
    try:
        return _tried(where, do)
    except Vanished:
        _refuse_lost_bucket(where)
        raise


def _need_writable(where: Address) -> None:
    if where.scheme not in WRITABLE:
        raise UserError(f"{where} can be read, not written: write to s3:// or gs://")


def _checksum(fs: Any, where: Address) -> str | None:
    """The SHA-256 that an object was written with; None: something else wrote it."""
    on_s3 = where.scheme == "s3"
    found = fs.metadata(where.path) if on_s3 else fs.info(where.path).get("metadata") or {}
    said = found.get(_SHA256)
    return None if said is None else str(said)


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
