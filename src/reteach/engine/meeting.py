"""Where processes that train together find each other, before they exchange anything.

``torchrun`` tells each of them a number, but not for good: after a restart the machine that was the first may
be another one. The run folder may lie on one machine's own disk, so the processes tell each other how far the
run is where they are, and who has come furthest goes first.
"""

from __future__ import annotations

import os
import pickle
import secrets
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, ClassVar, TypeVar, final

from ..errors import UserError

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

T = TypeVar("T")
_LOOK = 0.05
_HEARD = 3.0
PATIENCE = 1800.0
"""Seconds in which all processes have to come: as long as torch waits for an answer."""


@final
@dataclass(eq=False)
class Meeting:
    """The processes of one training, numbered.

    Args:
        store: a few short texts by name, for all processes.
        rank, world: of this process among all.
    """

    now: ClassVar[Meeting | None] = None
    _place: ClassVar[tuple[Store, int] | None] = None

    store: Store
    rank: int
    world: int
    _passed: int = field(default=0, init=False)

    def of_first(self, compute: Callable[[], T]) -> T:
        """What the first process finds, in every one; before there is a group. A user's error too."""
        if self.rank == 0:
            try:
                found: tuple[T | None, str] = compute(), ""
            except UserError as caught:
                found = None, str(caught)
            self.store.set("first", pickle.dumps(found).hex())
        self.wait_for("first")
        value, error = pickle.loads(bytes.fromhex(self.store.get("first").decode()))
        if error:
            raise UserError(error)
        return value  # type: ignore[no-any-return]

    def pass_on(self) -> None:
        """The first process: let the others go on from where they wait."""
        self.store.set(f"done/{self._passed}", "")
        self._passed += 1

    def wait(self) -> None:
        """Any other process: wait until the first one is so far, however long it takes."""
        self.wait_for(f"done/{self._passed}")
        self._passed += 1

    def wait_for(self, name: str) -> None:
        """Until a process has left word under this name."""
        while not self.store.check([name]):
            time.sleep(_LOOK)

    def say(self, error: str) -> None:
        """Leave word why this process ends. The user hears it of the first process; what that does not say,
        as its own machine has no such trouble, is said here."""
        with suppress(RuntimeError):
            self.store.set(f"said/{self.rank}", error)
        if self.rank == 0:
            return
        try:
            end = time.monotonic() + _HEARD
            while not self.store.check(["said/0"]) and time.monotonic() < end:
                time.sleep(_LOOK)
            if self.store.check(["said/0"]) and self.said() == error:
                return
        except RuntimeError:  # where no torchrun keeps it, the store ends with the first process
            return
        print(
            f"reteach: process {self.rank} on {socket.gethostname()}: {error}",
            file=sys.stderr,
            flush=True,
        )

    def said(self) -> str:
        """Why another process has ended; empty where it left no word, as one that is killed."""
        with suppress(RuntimeError):
            for rank in range(self.world):
                if self.store.check([f"said/{rank}"]):
                    return str(self.store.get(f"said/{rank}").decode())
        return ""


def meet(far: Callable[[], int] = int) -> Meeting | None:
    """Meet the other processes; None: there are none. ``RANK`` is afterwards the number that is agreed on.

    Args:
        far: how far the run has come in what this process sees of it; 0: nowhere. The first of those that
            have come furthest becomes process 0, which alone reads and writes the run folder.
    """
    if Meeting.now is not None:
        return Meeting.now
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return None
    from torch.distributed.distributed_c10d import PrefixStore

    if Meeting._place is None:
        Meeting._place = _place()
    base, world = Meeting._place
    given, end = int(os.environ["RANK"]), time.monotonic() + PATIENCE
    try:
        store = PrefixStore(f"reteach/{_round(base, given, world, end)}", base)
        store.set(f"far/{given}", str(far()))
        names = {rank: f"far/{rank}" for rank in range(world)}
        while not store.check(list(names.values())):
            if not _waited(end):
                raise _late([r for r in names if not store.check([names[r]])], given, world)
        reached = [int(store.get(name)) for name in names.values()]
    except RuntimeError as error:  # of the store, which has kinds of its own
        raise _unreachable(error) from None
    rank = (given - reached.index(max(reached))) % world
    os.environ["RANK"] = str(rank)
    Meeting.now = Meeting(store, rank, world)
    return Meeting.now


def _place() -> tuple[Store, int]:
    """Where all processes leave word, and how many they are.

    Raises:
        UserError: nobody is there.
    """
    from torch.distributed.rendezvous import rendezvous

    try:
        base, _, world = next(rendezvous("env://", timeout=timedelta(seconds=PATIENCE)))
    except RuntimeError as error:
        raise _unreachable(error) from None
    # torchrun's own numbers of attempts may differ between machines: see _round
    return getattr(base, "underlying_store", base), world


def _unreachable(error: RuntimeError) -> UserError:
    place = ":".join(os.environ.get(name, "?") for name in ("MASTER_ADDR", "MASTER_PORT"))
    said = " ".join(str(error).split("\n")[0].split())[:120]
    return UserError(
        f"the processes of this training do not meet at {place} ({said}): is that machine up, and does every "
        "node reach it? Then start all of them again"
    )


def _waited(end: float) -> bool:
    """Whether the time was not up, and a moment has passed."""
    time.sleep(_LOOK)
    return time.monotonic() < end


def _late(missing: list[int], given: int, world: int) -> UserError:
    """The error that names the processes that have not come; the first that has says it, where it is not the
    first of all, which speaks for them."""
    per_node = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    named = ", ".join(f"{rank} (node {rank // per_node})" for rank in missing[:4])
    more = f" and {len(missing) - 4} more" if len(missing) > 4 else ""
    error = (
        f"of the {world} processes of this training, these have not come within {PATIENCE / 60:g} minutes: "
        f"{named}{more}; see what they say on their machines, then start all of them again"
    )
    if given and given == min(set(range(world)) - set(missing)):
        print(f"reteach: {error}", file=sys.stderr, flush=True)
    return UserError(error)


def _round(store: Store, given: int, world: int, end: float) -> str:
    """A name that the processes of this attempt have in common, and no earlier attempt had.

    What earlier ones left in the store, such as addresses of processes that are gone, must not be taken for
    this one's. So the process numbered 0 makes up a name, each of the others answers with a word of its own,
    and only a list of all these words lets them go on.
    """
    own, names = secrets.token_hex(8), [f"reteach/answer/{rank}" for rank in range(world)]
    others = range(1, world)
    if given == 0:
        store.set("reteach/round", own)
        missing = list(others)
        while missing := [rank for rank in missing if _answer(store, names[rank])[0] != own]:
            if not _waited(end):
                raise _late(missing, given, world)
        words = [own, *(_answer(store, names[rank])[1] for rank in others)]
        store.set(f"reteach/all/{own}", " ".join(words))
        return own
    name = ""
    while True:
        if store.check(["reteach/round"]):
            name = store.get("reteach/round").decode()
            store.set(names[given], f"{name} {own}")
            if store.check([f"reteach/all/{name}"]):
                words = store.get(f"reteach/all/{name}").decode().split()
                if given < len(words) and words[given] == own:
                    return name
        if not _waited(end):
            raise _late(_silent(store, names, name), given, world)


def _silent(store: Store, names: list[str], name: str) -> list[int]:
    """Who has not answered to a round; where all the others have, the first process, which is to go on."""
    if not name:
        return [0]
    return [r for r in range(1, len(names)) if _answer(store, names[r])[0] != name] or [0]


def _answer(store: Store, name: str) -> tuple[str, str]:
    """To which round a process has answered, and its word."""
    if not store.check([name]):
        return "", ""
    to, _, word = store.get(name).decode().partition(" ")
    return to, word
