"""What all pages share: the session, the pictures, and who is asking."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request

from ...errors import DiskFull, StoreFailed, UserError
from ...structured import parse_json
from ...web.door import Door, RequestRefused, body_of, check_form_token, damaged
from ...web.images import Gallery
from ...web.pages import Pages
from ...web.security import form_token
from ...web.thumbnails import Thumbnails
from ..session import ReviewSession
from .reviewers import Reviewers

T = TypeVar("T")
PAGES = Pages("reteach.review.web")
BODY_LIMIT = 2 << 20
"""Bytes of a request: enough for the numbers of 200,000 images."""
MOST_ROW = 2**31
MOST_SHOWN = 1_000
ROLE = "reviewer"
_REQUEST = re.compile(r"[A-Za-z0-9_-]{8,64}")


@dataclass(frozen=True)
class Guest:
    """The reviewer who is asking."""

    name: str
    token: str

    @property
    def form(self) -> str:
        """The value that this reviewer's requests carry."""
        return form_token(self.token)


@dataclass
class ReviewSite:
    """One server over one session."""

    session: ReviewSession
    gallery: Gallery | None
    """None: the review has no images, and shows names."""
    thumbnails: Thumbnails | None
    reviewers: Reviewers
    public: str
    """The address that reviewers use, without a slash at the end."""

    @cached_property
    def door(self) -> Door:
        """Links, cookies and limits."""
        folder = str(self.session.prepared.folder.resolve())
        return Door(self.public, hashlib.sha256(folder.encode()).hexdigest()[:8])

    def guest(self, request: Request) -> Guest:
        """The reviewer who is asking.

        Raises:
            RequestRefused: nobody, or a link that ended.
        """
        token = self.door.token(request, ROLE)
        if self.thumbnails is not None:
            self.thumbnails.wait()
        name = self.reviewers.by_token(token) if token else None
        if name is None:
            raise RequestRefused(
                403,
                "Please open your own link",
                "The review opens with the personal link that is printed in the terminal where it runs.",
            )
        self.door.welcome(token)
        return Guest(name, token)


# these two wait for nothing; if they were not async, each would be called in a thread, at every request
async def site_of(request: Request) -> ReviewSite:
    """The site of the running app."""
    site = request.app.state.site
    assert isinstance(site, ReviewSite)
    return site


async def guest_of(request: Request) -> Guest:
    """The reviewer who is asking."""
    return (await site_of(request)).guest(request)


Here = Annotated[ReviewSite, Depends(site_of)]
Who = Annotated[Guest, Depends(guest_of)]


@dataclass(frozen=True)
class SentForm:
    """What a script sent: a JSON object from a page that was made for this reviewer."""

    fields: dict[str, Any]

    def text(self, name: str, most: int = 200) -> str:
        """A field of text.

        Raises:
            RequestRefused: it is something else, or too long.
        """
        value = self.fields.get(name)
        if not isinstance(value, str) or len(value) > most or not value.isprintable():
            raise _odd(name)
        return value

    def maybe(self, name: str) -> str | None:
        """A field of text, or None."""
        return None if self.fields.get(name) is None else self.text(name, 1000)

    def request(self) -> str:
        """The number of the request, by which the store knows it again."""
        value = self.text("request", 64)
        if not _REQUEST.fullmatch(value):
            raise _odd("request")
        return value

    def rows(self, name: str = "rows") -> list[int]:
        """Numbers of images."""
        value = self.fields.get(name, [])
        if not isinstance(value, list):
            raise _odd(name)
        if any(type(row) is not int or not 0 <= row < MOST_ROW for row in value):
            raise _odd(name)
        return value

    @cached_property
    def shown(self) -> frozenset[int]:
        """The images on the page that asks."""
        return frozenset(self.rows("shown")[:MOST_SHOWN])


async def said_by(request: Request) -> SentForm:
    """The JSON object of a request.

    Raises:
        RequestRefused: it is none, is too large, or came from a page of somebody else.
    """
    guest = await guest_of(request)
    check_form_token(guest.token, request.headers.get("x-form", ""))
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise damaged()
    body = await body_of(request, BODY_LIMIT)
    try:
        found = parse_json(body)
    except ValueError:
        raise damaged() from None
    if not isinstance(found, dict):
        raise damaged()
    said = SentForm(found)
    _ = said.shown  # refused before anything is done
    return said


Spoken = Annotated[SentForm, Depends(said_by)]


def answered(ask: Callable[[], T]) -> T:
    """The answer of the session; what a user can get wrong becomes a page that says so.

    Raises:
        RequestRefused: in place of a :class:`UserError`.
    """
    try:
        return ask()
    except (DiskFull, StoreFailed):  # the app has a page for them
        raise
    except UserError as error:
        raise RequestRefused(422, "That is not possible", str(error)) from None


def _odd(name: str) -> RequestRefused:
    return RequestRefused(422, "This request is damaged", f"{name!r} is not as it should be.")
