"""Reviewers and their links, which stay the same from start to start.

A link's secret is derived from the reviewer's name and a key in the prepared folder, which only the owner of
the folder can read. So a server that comes back after a crash knows everybody again, and nobody's work waits
for a new link. Without the file, the next start makes new links, and the old ones end.
"""

from __future__ import annotations

import base64
import getpass
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import final

from ...errors import UserError
from ...structured import parse_json
from ...web.security import same

FILE = "reviewers.json"
LONGEST = 80


@final
class Reviewers:
    """Who may decide.

    Args:
        folder: the prepared folder.
        names: reviewers who are added; without any and without earlier ones, the user of this machine.

    Raises:
        UserError: a name that cannot be shown, or a folder that cannot be written.
    """

    def __init__(self, folder: Path, names: Sequence[str] = ()) -> None:
        self._file = folder / FILE
        key, known = self._read()
        self.key = key or secrets.token_hex(32)
        self.names = list(dict.fromkeys([*known, *map(checked_name, names)])) or [_user()]
        if key is None or self.names != known:
            self._write()
        self._tokens = {name: self.token(name) for name in self.names}

    def token(self, name: str) -> str:
        """The secret of a reviewer's link."""
        mixed = hmac.new(bytes.fromhex(self.key), name.encode(), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(mixed).decode().rstrip("=")

    def by_token(self, token: str) -> str | None:
        """The reviewer whose secret this is; in constant time for each."""
        return next((name for name, own in self._tokens.items() if same(own, token)), None)

    def _read(self) -> tuple[str | None, list[str]]:
        try:
            content = parse_json(self._file.read_bytes())
            bytes.fromhex(content["key"])
            return str(content["key"]), [checked_name(str(name)) for name in content["names"]]
        except FileNotFoundError:
            return None, []
        except (OSError, ValueError, KeyError, TypeError):
            raise UserError(
                f"{self._file} is damaged: remove it, and every reviewer gets a new link"
            ) from None

    def _write(self) -> None:
        part = self._file.with_name(f".{FILE}.{os.getpid()}.part")
        text = json.dumps({"key": self.key, "names": self.names}, indent=1)
        try:
            with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                file.write(text)
            os.replace(part, self._file)
        except OSError as error:
            raise UserError(f"cannot write {self._file}: {os.strerror(error.errno or 0)}") from None


def checked_name(name: str) -> str:
    """A name that stands in the store and on pages.

    Raises:
        UserError: it is empty, too long or not printable.
    """
    name = name.strip()
    if not name or len(name) > LONGEST or not name.isprintable():
        raise UserError(f"a reviewer's name has 1 to {LONGEST} printable characters, got {name!r}")
    return name


def _user() -> str:
    try:
        return checked_name(getpass.getuser())
    except (OSError, KeyError, ImportError, UserError):
        return "reviewer"
