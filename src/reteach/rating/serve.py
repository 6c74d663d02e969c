"""From a store and a folder of images to a running server."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from ..errors import UserError
from ..web.images import Gallery, open_images
from ..web.security import new_token
from ..web.serving import listen, public_address, web_server
from .app_state import Site
from .assignment import Flow
from .overview import rater_rows, task_rows
from .raters import add_raters
from .server import create_app
from .store import Store, open_store


def serve(
    *,
    where: str,
    images: str,
    names: Sequence[str],
    host: str,
    port: int,
    public: str | None,
    lease: float,
) -> str:
    """Print the links, and serve until interrupted; returns where the answers are.

    Raises:
        UserError: the store or the images are not there, the address is taken or needs a public
            name, or a rater's name is taken.
    """
    store = open_store(where)
    gallery = Gallery(open_images(images))
    _check_images(store, gallery, images)
    listener = listen(host, port)
    address = public_address(host, listener.getsockname()[1], public)
    known = rater_rows(store)
    if not known and not names:
        names = [f"rater {number}" for number in range(1, store.settings.wanted + 1)]
    tokens = add_raters(store, names)
    site = Site(store, Flow(store, gallery.why_missing, lease), gallery, new_token(), address)
    _greet(site, tokens, [row.name for row in known])
    with suppress(KeyboardInterrupt):  # the server has stopped in good order by then
        web_server(create_app(site)).run(sockets=[listener])
    store.close()
    return store.where


def _check_images(store: Store, gallery: Gallery, images: str) -> None:
    """Refuse to start, and set everything aside, where the images are not those of the store."""
    rows, _ = task_rows(store, "all", 0)
    why = [gallery.why_missing(row.name) for row in rows[:20]]
    if all(why):
        raise UserError(
            f"none of the first {len(why)} images of the tasks can be shown from {images} "
            f"({rows[0].name!r}: {why[0]}); are they elsewhere?"
        )


def _greet(site: Site, tokens: dict[str, str], known: Sequence[str]) -> None:
    lines = [f"  owner: {site.public}/o/{site.owner_token}", ""]
    width = max((len(name) for name in tokens), default=0)
    lines += [f"  {name:{width}}  {site.public}/r/{token}" for name, token in tokens.items()]
    if tokens:
        lines.append("Each rater's link is shown only now; the owner's page makes new ones.")
    if known:
        lines.append(f"Raters who have a link already: {', '.join(known)}")
    print("\n".join([f"Rating {site.store.where}. Stop with Ctrl-C.", "", *lines]), flush=True)
