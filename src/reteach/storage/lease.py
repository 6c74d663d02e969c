"""One writer to a folder of a store: a lock that is an object, created only where there is none.

Its owner writes it again every :data:`BEAT` seconds. A lock that was not written for :data:`STALE` seconds,
by the store's clock, or whose owner was a process of this machine that is dead, is taken over: who creates
the object that claims just this lock has it. An owner that finds its lock taken writes nothing more.

torchrun starts all processes again when one machine is lost, and the first of them may then be on another
one: it waits for the lock of its forerunner to become stale.
"""

from __future__ import annotations

import hashlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import UserError
from . import objects, owners, view
from .address import Address

LOCK = owners.LOCK
BEAT, STALE = 30.0, 300.0
"""Seconds."""
_LOOK = 5.0


@contextmanager
def lease(folder: Path, otherwise: str) -> Iterator[None]:
    """Be the only process that writes below the address of a folder; nothing where it has none.

    The copy of the folder is brought up to date first, and what it has become is put at the end.

    Raises:
        UserError: another process writes there.
    """
    where = view.address_of(folder)
    if where is None:
        yield
        return
    owner = _Owner(where)
    owner.take(otherwise)
    view.GUARDS.append(owner.refuse_if_lost)
    owner.start()
    try:
        view.forget_logs(folder)
        view.fetch_folder(folder)
        try:
            yield
        except BaseException:
            with suppress(UserError):  # the first error is the one to tell
                view.settle(folder)
            raise
        view.settle(folder)
    finally:
        view.GUARDS.remove(owner.refuse_if_lost)
        view.forget_logs(folder)
        owner.stop()


class _Owner:
    """Who holds the lock of an address, or wants to."""

    def __init__(self, folder: Address) -> None:
        self.folder, self.lock = folder, folder / LOCK
        self.pid = os.getpid()
        self.content = owners.own_word(view.scratch())
        self.lost = False
        self.ended = threading.Event()
        self.beating = threading.Thread(target=self._beat, daemon=True)

    def take(self, otherwise: str) -> None:
        """Get the lock, or say who has it."""
        end: float | None = None
        while not objects.create(self.lock, self.content):
            try:
                held = objects.whole(self.lock)
            except objects.Vanished:
                continue  # its last owner has just removed it
            if not self._take_over(held):
                if end is None and owners.of_this_job(held):
                    end = time.monotonic() + STALE + 2 * BEAT
                    print(
                        f"{self.folder} was written by {owners.said(held)['owner']}, an earlier attempt of "
                        f"this training: waiting for its lock to be {STALE / 60:.0f} minutes old",
                        file=sys.stderr,
                    )
                if end is not None and time.monotonic() < end:
                    time.sleep(min(_LOOK, STALE))
                    continue
                owner = owners.said(held).get("owner", "another process")
                raise UserError(
                    f"{self.folder} is being written by {owner}: wait "
                    f"until it has ended, or {otherwise}; a lock that is not renewed for {STALE / 60:.0f} "
                    "minutes is taken over"
                )
            return

    def _take_over(self, held: bytes) -> bool:
        """Whether the lock of a dead owner is ours now."""
        claim = self.folder / f"{LOCK}.{hashlib.sha256(held).hexdigest()[:16]}.lock"
        if not objects.create(claim, self.content):
            return False
        try:
            if not (owners.dead(held) or self._stale(claim)):
                return False
            with suppress(objects.Vanished):
                if objects.whole(self.lock) != held:
                    return False
            objects.write(self.lock, self.content)
            return True
        finally:
            objects.remove([claim])

    def _stale(self, claim: Address) -> bool:
        now, then = objects.modified(claim), objects.modified(self.lock)
        return now is not None and then is not None and now - then > STALE

    def start(self) -> None:
        """Renew the lock from now on."""
        self.beating.start()

    def stop(self) -> None:
        """Give the lock back, if it is ours."""
        self.ended.set()
        self.beating.join()
        with suppress(UserError):
            if not self.lost and objects.whole(self.lock) == self.content:
                objects.remove([self.lock])

    def refuse_if_lost(self, where: Address) -> None:
        """Refuse to write where another process has taken over."""
        if self.lost and os.getpid() == self.pid and f"{where}/".startswith(f"{self.folder}/"):
            raise UserError(
                f"{self.folder} was taken over by another process, since this one did not renew its lock for "
                f"{STALE / 60:.0f} minutes: nothing more is written"
            )

    def _beat(self) -> None:
        while not self.ended.wait(BEAT):
            try:
                if objects.whole(self.lock) != self.content:
                    self.lost = True
                    return
                objects.write(self.lock, self.content)
            except objects.Vanished:
                self.lost = True
                return
            except UserError:
                continue  # the store does not answer: the next time, or another takes over
