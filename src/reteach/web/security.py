"""Links, forms and limits: what keeps strangers out.

* A link holds 256 random bits. The store has only the SHA-256 of a rater's, which is enough for
  secrets that cannot be guessed; the owner's is made at each start and kept in memory.
* Opening a link sets a cookie that scripts cannot read and that other sites' forms do not send. A
  form must also repeat a value derived from the cookie, so it works for the person who opened it
  and for nobody else.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable


def new_token() -> str:
    """A secret for a link: 43 characters that are safe in an address."""
    return secrets.token_urlsafe(32)


def digest(token: str) -> str:
    """What the store keeps of a secret."""
    return hashlib.sha256(token.encode()).hexdigest()


def form_token(token: str) -> str:
    """What the forms of the owner of this cookie must repeat."""
    return hmac.new(token.encode(), b"form", hashlib.sha256).hexdigest()


def same(a: str, b: str) -> bool:
    """Comparison in constant time, of any text."""
    return hmac.compare_digest(a.encode(), b.encode())


class Limiter:
    """So many calls in a burst, refilled at a rate, for each key; forgets keys that are full."""

    def __init__(
        self, burst: float, per_second: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.burst, self.per_second, self.clock = burst, per_second, clock
        self._left: dict[str, tuple[float, float]] = {}

    def allow(self, key: str) -> bool:
        """Whether one more call is within the limit; counts it if so."""
        now = self.clock()
        if len(self._left) > 10_000:
            full = self.burst / self.per_second
            self._left = {k: v for k, v in self._left.items() if now - v[1] < full}
        left, then = self._left.get(key, (self.burst, now))
        left = min(self.burst, left + (now - then) * self.per_second)
        self._left[key] = (left - 1 if left >= 1 else left, now)
        return left >= 1
