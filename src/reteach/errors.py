"""Errors that a user can cause and mend: one clear line, never a traceback."""

import re

# C0 and C1 controls, line separators, marks that reverse the reading direction
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class UserError(Exception):
    """Something in the input is wrong; the message says what and how to mend it.

    The command line prints the message as one line and exits with code 2. Names in it may come from anybody:
    what would break the line or move a terminal's cursor is spelt out.
    """

    def __str__(self) -> str:
        return _CONTROLS.sub(lambda found: repr(found[0])[1:-1], super().__str__())


class Refused(UserError):
    """A folder is of another run, configuration or version: nothing was done to it."""


class DiskFull(UserError):
    """There is no room for what is being written; whatever stood there is untouched."""


class StoreFailed(UserError):
    """A database does not do what it is asked; nothing of that is stored.

    Args:
        full: because its disk is full.
    """

    def __init__(self, store: str, reason: str, full: bool) -> None:
        mend = "free some space" if full else "put a copy of it back, if it is damaged"
        super().__init__(f"{store}: {reason}: {mend}")
        self.full = full


def closest(name: str, known: list[str], n: int = 5) -> str:
    """A hint of the names nearest to a mistyped one: ``"; did you mean a, b?"`` or ``""``."""
    import difflib

    matches = difflib.get_close_matches(name, known, n=n, cutoff=0.5)
    return f"; did you mean {', '.join(matches)}?" if matches else ""


def missing_extra(what: str, package: str, extra: str) -> UserError:
    """The error of an optional dependency that is not installed."""
    return UserError(
        f"{what} needs the package {package!r}: pip install 'reteach[{extra}]' (or {package})"
    )


class Interrupted(Exception):
    """Ctrl-C or SIGTERM reached a run; its snapshot is written and the run can be resumed."""
