"""Addresses of objects: ``s3://bucket/name``, ``gs://bucket/name``, ``hf://datasets/owner/name/file``.

A :class:`~pathlib.Path` keeps one of the two slashes, so that both spellings are read. What gives access
never stands in an address: it would be kept in run folders and shown in errors.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import final

from ..errors import UserError

SCHEMES = {"s3": ("s3fs", "s3"), "gs": ("gcsfs", "gcs"), "hf": ("huggingface_hub", "huggingface")}
"""Scheme -> the package that speaks it, and the extra that installs that."""
WRITABLE = ("s3", "gs")
"""Schemes whose stores create an object only where there is none, which a lock needs."""

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(/+)(?=.)")
_SECRET = re.compile(
    r"[?&](x-amz-|x-goog-|signature|awsaccesskeyid|sig=|token|se=|sv=)", re.IGNORECASE
)


@final
@dataclass(frozen=True, order=True)
class Address:
    """An object, or all whose names begin like this and a slash.

    Args:
        scheme: one of :data:`SCHEMES`.
        path: bucket and name, without slashes at the ends.
    """

    scheme: str
    path: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.path}"

    def __truediv__(self, name: str) -> Address:
        return Address(self.scheme, f"{self.path}/{name}")

    @property
    def bucket(self) -> str:
        """The part of the path that is no name of an object."""
        return self.path.partition("/")[0]


def address(where: str | Path) -> Address | None:
    """The address that a text is; None: it is none of an object store.

    Raises:
        UserError: it holds what gives access, or a name that no local copy can have.
    """
    match = _ADDRESS.match(str(where))
    if match is None or (scheme := match[1].lower()) not in SCHEMES:
        return None
    if scheme == "hf" and isinstance(where, str) and match[2] == "/":
        return None  # hf:/folder is a data set on this machine
    found = Address(scheme, str(where)[match.end() :].rstrip("/"))
    _refuse_secrets(found)
    if any(part in ("", ".", "..") for part in found.path.split("/")):
        raise UserError(f"{found}: names with '//', '.' or '..' between slashes are not read")
    return found


def local_path(where: str | Path) -> Path | None:
    """The path that a ``file:`` address names; None: it is something else."""
    match = _ADDRESS.match(str(where))
    if match is None or match[1].lower() != "file":
        return None
    if isinstance(where, str) and len(match[2]) == 2:
        raise UserError(f"{where}: write file:/// and an absolute path")
    return Path("/" + str(where)[match.end() :])


def refuse_unknown(where: str | Path, flag: str) -> None:
    """Refuse an address that nothing here can open.

    Raises:
        UserError: its scheme is another one, or it holds what gives access.
    """
    match = _ADDRESS.match(str(where))
    if match is None or address(where) is not None or match[1].lower() == "file":
        return
    if match[1].lower() == "hf":
        return
    rest = re.sub(r"^[^/]*@", "", str(where)[match.end() :]).partition("?")[0]
    raise UserError(
        f"{flag} {match[1]}://{rest}: files are read and written on local or mounted file systems and at "
        f"{', '.join(f'{scheme}://' for scheme in SCHEMES)} and file://; copy or mount what is elsewhere"
    )


def _refuse_secrets(found: Address) -> None:
    plain = Address(found.scheme, re.sub(r"^[^/]*@", "", found.path).partition("?")[0])
    if "@" in found.bucket or _SECRET.search(found.path):
        raise UserError(
            f"{plain}: the address holds a password or a signature, which would be kept and shown; give "
            "credentials by the environment (AWS_ACCESS_KEY_ID, AWS_PROFILE …) and the address alone"
        )
