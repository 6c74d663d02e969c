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
from typing import TYPE_CHECKING, ClassVar, TypeVar, final

from ..errors import UserError

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

T = TypeVar("T")
_LOOK = 0.05
_HEARD = 3.0


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
    from torch.distributed.rendezvous import rendezvous

    if Meeting._place is None:
        base, _, world = next(rendezvous("env://"))
        # torchrun's own numbers of attempts may differ between machines: see _round
        Meeting._place = getattr(base, "underlying_store", base), world
    base, world = Meeting._place
    given = int(os.environ["RANK"])
    store = PrefixStore(f"reteach/{_round(base, given, world)}", base)
    store.set(f"far/{given}", str(far()))
    reached = [int(store.get(f"far/{rank}")) for rank in range(world)]
    rank = (given - reached.index(max(reached))) % world
    os.environ["RANK"] = str(rank)
    Meeting.now = Meeting(store, rank, world)
    return Meeting.now


def _round(store: Store, given: int, world: int) -> str:
    """A name that the processes of this attempt have in common, and no earlier attempt had.

    What earlier ones left in the store, such as addresses of processes that are gone, must not be taken for
    this one's. So the process numbered 0 makes up a name, each of the others answers with a word of its own,
    and only a list of all these words lets them go on.
    """
    own, names = secrets.token_hex(8), [f"reteach/answer/{rank}" for rank in range(world)]
    if given == 0:
        store.set("reteach/round", own)
        words = {0: own}
        while len(words) < world:
            for rank in range(1, world):
                if rank not in words and store.check([names[rank]]):
                    to, _, word = store.get(names[rank]).decode().partition(" ")
                    words |= {rank: word} if to == own else {}
            time.sleep(0 if len(words) == world else _LOOK)
        store.set(f"reteach/all/{own}", " ".join(words[rank] for rank in range(world)))
        return own
    while True:
        name = store.get("reteach/round").decode()
        store.set(names[given], f"{name} {own}")
        if store.check([f"reteach/all/{name}"]):
            words_of = store.get(f"reteach/all/{name}").decode().split()
            if given < len(words_of) and words_of[given] == own:
                return str(name)
        time.sleep(_LOOK)
