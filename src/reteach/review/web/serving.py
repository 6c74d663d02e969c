"""From a session and its images to a running server."""

from __future__ import annotations

import webbrowser
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from threading import Timer

from fastapi import FastAPI

from ...data.loading.decode import ImageError
from ...errors import UserError
from ...locks import only_writer
from ...web.app import new_app
from ...web.images import Gallery, ServedImages, open_images
from ...web.serving import listen, public_address, web_server
from ...web.thumbnails import Thumbnails
from ..session import ReviewSession
from ..values import Query
from . import actions, views
from .reviewers import Reviewers
from .site import PAGES, ReviewSite

THUMBNAILS = "thumbnails.sqlite"
LOOKED_AT = 20
"""Images that are looked for before the server starts."""


def serve_review(
    session: ReviewSession,
    *,
    images: str | None,
    reviewers: Sequence[str] = (),
    host: str = "127.0.0.1",
    port: int = 8766,
    public: str | None = None,
    browser: bool = True,
) -> None:
    """Print the links, open the page, and serve until interrupted; closes the session.

    Args:
        images: a folder, or whatever else reteach reads images from; None: the review has none.
        reviewers: names of people who get a link; those of earlier starts keep theirs.
        browser: open the first link here, if it leads to this machine.

    Raises:
        UserError: the review is being served already, the images are not those of the review, the address is
            taken or needs a public name, or a reviewer's name cannot be shown.
    """
    with only_writer(session.prepared.folder, otherwise="use the links that it printed"):
        _serve(session, images, reviewers, host, port, public, browser)


def _serve(
    session: ReviewSession,
    images: str | None,
    reviewers: Sequence[str],
    host: str,
    port: int,
    public: str | None,
    browser: bool,
) -> None:
    served = None if images is None else open_images(images)
    if served is not None:
        _check_images(session, served, str(images))
    listener = listen(host, port)
    address = public_address(host, listener.getsockname()[1], public)
    site = new_site(session, served, Reviewers(session.prepared.folder, reviewers), address)
    _greet(site)
    if browser and public is None:
        first = site.reviewers.names[0]
        opening = Timer(0.8, webbrowser.open, [f"{address}/r/{site.reviewers.token(first)}"])
        opening.daemon = True
        opening.start()
    with suppress(KeyboardInterrupt):  # the server has stopped in good order by then
        web_server(review_app(site)).run(sockets=[listener])
    close(site)


def new_site(
    session: ReviewSession, images: ServedImages | None, reviewers: Reviewers, public: str
) -> ReviewSite:
    """All that the pages need; thumbnails are made from now on."""
    if images is None:
        return ReviewSite(session, None, None, reviewers, public)
    prepared = session.prepared
    thumbnails = Thumbnails(
        prepared.folder / THUMBNAILS, prepared.record.identity, images, prepared.name
    )
    thumbnails.fill(_doubtful(session))
    return ReviewSite(session, Gallery(images), thumbnails, reviewers, public)


def review_app(site: ReviewSite) -> FastAPI:
    """The web app of a review."""
    app = new_app("reteach review", site.public, PAGES, views.router, actions.router)
    app.state.site = site
    return app


def close(site: ReviewSite) -> None:
    """Stop what runs in the background."""
    if site.thumbnails is not None:
        site.thumbnails.close()
    site.session.close()


def _doubtful(session: ReviewSession) -> Callable[[], Iterator[int]]:
    """All rows, those first that are looked at first."""
    return lambda: (int(row) for row in session.rows(Query(status="all")))


def _check_images(session: ReviewSession, images: ServedImages, where: str) -> None:
    """Refuse to start where the images are not those of the review."""
    why = []
    for row in session.rows(Query(status="all"))[:LOOKED_AT]:
        name = session.prepared.name(int(row))
        try:
            images.pixels(name, 64)
            return
        except ImageError as error:
            why.append((name, error))
    if why:
        raise UserError(
            f"none of the first {len(why)} images of the review can be shown from {where} "
            f"({why[0][0]!r}: {why[0][1]}); are they elsewhere?"
        )


def _greet(site: ReviewSite) -> None:
    names = site.reviewers.names
    width = max(map(len, names))
    lines = [f"Reviewing {site.session.prepared.folder}. Stop with Ctrl-C.", ""]
    lines += [f"  {name:{width}}  {site.public}/r/{site.reviewers.token(name)}" for name in names]
    print("\n".join([*lines, "", "Whoever has a link decides as that person."]), flush=True)
