"""From a store and a folder of images to a running server."""

from __future__ import annotations

import ipaddress
import logging
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from urllib.parse import urlsplit

import uvicorn

from ..errors import UserError
from .app_state import Site
from .assignment import Flow
from .images import Gallery, open_images
from .overview import rater_rows, task_rows
from .raters import add_raters
from .security import new_token
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
    address = _public(host, listener.getsockname()[1], public)
    known = rater_rows(store)
    if not known and not names:
        names = [f"rater {number}" for number in range(1, store.settings.wanted + 1)]
    tokens = add_raters(store, names)
    site = Site(store, Flow(store, gallery.why_missing, lease), gallery, new_token(), address)
    _greet(site, tokens, [row.name for row in known])
    with suppress(KeyboardInterrupt):  # the server has stopped in good order by then
        web_server(site).run(sockets=[listener])
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


def web_server(site: Site) -> uvicorn.Server:
    """The server of a site; the caller gives it a socket and runs it."""
    config = uvicorn.Config(
        create_app(site),
        access_log=False,  # it would write the secrets of the links
        log_level=logging.WARNING,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=5,
    )
    return uvicorn.Server(config)


def listen(host: str, port: int) -> socket.socket:
    """A socket for the server.

    Raises:
        UserError: the address is taken, or not ours.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's delay (40 ms here) off only where the protocol is named
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    if sys.platform != "win32":
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        listener.close()
        why = getattr(error, "strerror", None) or str(error)
        raise UserError(f"cannot listen on {host}:{port}: {why}") from None
    return listener


def _greet(site: Site, tokens: dict[str, str], known: Sequence[str]) -> None:
    lines = [f"  owner: {site.public}/o/{site.owner_token}", ""]
    width = max((len(name) for name in tokens), default=0)
    lines += [f"  {name:{width}}  {site.public}/r/{token}" for name, token in tokens.items()]
    if tokens:
        lines.append("Each rater's link is shown only now; the owner's page makes new ones.")
    if known:
        lines.append(f"Raters who have a link already: {', '.join(known)}")
    print("\n".join([f"Rating {site.store.where}. Stop with Ctrl-C.", "", *lines]), flush=True)


def _public(host: str, port: int, public: str | None) -> str:
    """The address in the links."""
    if public is not None:
        parts = urlsplit(public)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/"):
            raise UserError(f"--public should be like https://rate.example.org, got {public!r}")
        return f"{parts.scheme}://{parts.netloc}"
    if host != "localhost" and not _loopback(host):
        raise UserError(
            f"to listen on {host}, name the address that raters use: --public https://…"
        )
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
