"""``reteach rate``: the tasks of a rating store as web pages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

from ..options.rate import RateOptions
from ..rating.serve import serve
from ..rating.store import one_store


@final
@dataclass(frozen=True)
class RateResult:
    """What is left when the server has stopped.

    Args:
        store: where all answers are.
    """

    store: str

    def lines(self) -> Iterator[str]:
        """Where the answers are."""
        yield f"Stopped. All answers are in {self.store}."


def rate(options: RateOptions) -> RateResult:
    """Print the links and serve the rating pages, until Ctrl-C.

    Raises:
        UserError: the store or the images are not there, or the address cannot be used.
    """
    where = serve(
        where=one_store(options.ratings, options.store),
        images=options.images,
        names=options.raters,
        host=options.host,
        port=options.port,
        public=options.public,
        lease=60 * options.lease,
    )
    return RateResult(where)
