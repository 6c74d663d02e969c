"""Who holds the lock of a folder at a store: what its object says, and what that means on this machine."""

from __future__ import annotations

import hashlib
import json
import os
import socket
from pathlib import Path
from secrets import token_hex
from typing import Any

from ..structured import parse_json

LOCK = ".reteach.lock"


def own_word(scratch: Path) -> bytes:
    """What the lock of this process says; another one each time."""
    told = {
        "owner": f"process {os.getpid()} on {socket.gethostname()}",
        "machine": machine(),
        "pid": os.getpid(),
        "copy": _digest(scratch),
        "job": job(),
        "token": token_hex(8),
    }
    return json.dumps(told).encode()


def said(held: bytes) -> dict[str, Any]:
    """What a lock says; nothing where it is damaged."""
    try:
        found = parse_json(held)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def dead(held: bytes) -> bool:
    """Whether the owner was a process of this machine, and is no more."""
    pid = said(held).get("pid")
    return _here(held) and isinstance(pid, int) and not _lives(pid)


def writes_this_copy(held: bytes, scratch: Path) -> bool:
    """Whether the owner is a living process of this machine with this scratch folder."""
    told = said(held)
    pid = told.get("pid")
    return (
        _here(held)
        and told.get("copy") == _digest(scratch)
        and isinstance(pid, int)
        and _lives(pid)
    )


def of_this_job(held: bytes) -> bool:
    """Whether the owner was a process of the same torchrun, which has started all of them again since."""
    return job() != "" and said(held).get("job") == job()


def job() -> str:
    """The name of the training that torchrun has started this process for; empty: it has none."""
    name = os.environ.get("TORCHELASTIC_RUN_ID", "none")
    return "" if name == "none" or int(os.environ.get("WORLD_SIZE", "1")) == 1 else name


def machine() -> str:
    """What no two machines, and no two containers, have in common."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return f"{socket.gethostname()} {token_hex(8)}"


def _here(held: bytes) -> bool:
    return bool(said(held).get("machine") == machine())


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True


def _digest(scratch: Path) -> str:
    """The scratch folder, without its name: objects do not say where they were made."""
    return hashlib.blake2b(os.fsencode(os.path.realpath(scratch)), digest_size=8).hexdigest()
