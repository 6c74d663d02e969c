"""What all pages share: the store, the rules, the images, and who is asking."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

from fastapi import Depends, Request

from ..web.door import Door, RequestRefused, check_form_token, form_of
from ..web.images import Gallery
from ..web.security import form_token, same
from .assignment import Flow
from .raters import Rater, by_token
from .store import Store


@dataclass(frozen=True)
class Visitor:
    """Who is asking; exactly one of the two roles."""

    token: str
    rater: Rater | None
    """None: the owner."""

    @property
    def form(self) -> str:
        """The value that this visitor's forms carry."""
        return form_token(self.token)


@dataclass
class Site:
    """One server over one store."""

    store: Store
    flow: Flow
    gallery: Gallery
    owner_token: str
    public: str
    """The address that raters use, without a slash at the end."""
    last_ruler: str = "owner"
    """The name that the owner ruled under last."""

    @cached_property
    def door(self) -> Door:
        """Links, cookies and limits."""
        return Door(self.public, self.store.settings.id)

    def rater(self, request: Request) -> tuple[Visitor, Rater]:
        """The rater who is asking.

        Raises:
            RequestRefused: nobody, a link that ended, or an excluded rater.
        """
        token = self.door.token(request, "rater")
        with self.store.read() as connection:
            rater = by_token(connection, token) if token else None
        if rater is None:
            raise RequestRefused(
                403,
                "Please open your own link",
                "This page opens with the personal link that you were sent. "
                "If you opened it before, it may have been replaced by a newer one.",
            )
        if rater.state == "excluded":
            raise RequestRefused(403, "This link is closed", "Thank you for your help.")
        self.door.welcome(token)
        return Visitor(token, rater), rater

    def owner(self, request: Request) -> Visitor:
        """The owner, if it is they who ask.

        Raises:
            RequestRefused: it is somebody else.
        """
        token = self.door.token(request, "owner")
        if not same(token, self.owner_token):
            raise RequestRefused(
                403,
                "Please open the owner's link",
                "It is printed in the terminal each time the server starts; older ones end then.",
            )
        self.door.welcome(token)
        return Visitor(token, None)

    def anyone(self, request: Request) -> None:
        """Let raters and the owner pass.

        Raises:
            RequestRefused: somebody else.
        """
        if not same(request.cookies.get(self.door.cookie("owner"), ""), self.owner_token):
            self.rater(request)


async def site_of(request: Request) -> Site:  # else it is called in a thread, at every request
    """The site of the running app."""
    site = request.app.state.site
    assert isinstance(site, Site)
    return site


def check_form(visitor: Visitor, form: dict[str, str]) -> None:
    """The form must come from a page made for this visitor.

    Raises:
        RequestRefused: it was made for someone else, or by another site.
    """
    check_form_token(visitor.token, form.get("form", ""))


Here = Annotated[Site, Depends(site_of)]
Form = Annotated[dict[str, str], Depends(form_of)]
