"""What all pages share: the store, the rules, the images, and who is asking."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import Depends, Path, Request
from starlette.requests import ClientDisconnect
from starlette.responses import RedirectResponse, Response

from .assignment import Flow
from .images import Gallery
from .raters import Rater, by_token
from .security import Limiter, digest, form_token, same
from .store import Store

WEEKS_8 = 8 * 7 * 24 * 3600
FORM_LIMIT = 32 * 1024  # bytes


class RequestRefused(Exception):
    """A request that gets a page with an explanation in place of what it asked for."""

    def __init__(self, status: int, title: str, text: str) -> None:
        super().__init__(title)
        self.status, self.title, self.text = status, title, text


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
    calls: Limiter = field(default_factory=lambda: Limiter(burst=600, per_second=150))
    """Per visitor; a page with its example images takes some fifty calls."""
    guesses: Limiter = field(default_factory=lambda: Limiter(burst=10, per_second=1 / 6))
    """Per address: links that do not exist."""

    def cookie(self, role: str) -> str:
        """Cookies do not tell ports apart, so their names tell stores apart."""
        return f"reteach-{role}-{self.store.settings.id}"

    def enter(self, role: str, token: str, to: str) -> Response:
        """Open a link: keep its secret in a cookie, and leave the address that shows it."""
        answer = RedirectResponse(to, 303)
        answer.set_cookie(
            self.cookie(role),
            token,
            max_age=WEEKS_8,
            httponly=True,
            secure=self.public.startswith("https://"),
            samesite="lax",  # strict would not survive the redirect after a link in a mail
        )
        return answer

    def rater(self, request: Request) -> tuple[Visitor, Rater]:
        """The rater who is asking.

        Raises:
            Refused: nobody, a link that ended, or an excluded rater.
        """
        token = request.cookies.get(self.cookie("rater"), "")
        self._count(request, token)
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
        return Visitor(token, rater), rater

    def owner(self, request: Request) -> Visitor:
        """The owner, if it is they who ask.

        Raises:
            Refused: it is somebody else.
        """
        token = request.cookies.get(self.cookie("owner"), "")
        self._count(request, token)
        if not same(token, self.owner_token):
            raise RequestRefused(
                403,
                "Please open the owner's link",
                "It is printed in the terminal each time the server starts; older ones end then.",
            )
        return Visitor(token, None)

    def anyone(self, request: Request) -> None:
        """Let raters and the owner pass.

        Raises:
            Refused: somebody else.
        """
        if not same(request.cookies.get(self.cookie("owner"), ""), self.owner_token):
            self.rater(request)

    def guessed(self, request: Request) -> RequestRefused:
        """What a link gets that does not exist; slower and slower."""
        host = request.client.host if request.client else ""
        if not self.guesses.allow(host):
            return RequestRefused(429, "Too many attempts", "Please wait a minute and try again.")
        return RequestRefused(
            403, "This link does not exist", "Please check that the whole address was copied."
        )

    def _count(self, request: Request, token: str) -> None:
        host = request.client.host if request.client else ""
        if not self.calls.allow(digest(token) if token else host):
            raise RequestRefused(429, "Slow down a little", "Please wait a moment and try again.")


def site_of(request: Request) -> Site:
    """The site of the running app."""
    site = request.app.state.site
    assert isinstance(site, Site)
    return site


async def form_of(request: Request) -> dict[str, str]:
    """The fields of a form, each once; files are not taken."""
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > FORM_LIMIT:
                raise RequestRefused(413, "This form is too large", "Nothing was saved.")
        pairs = parse_qsl(
            body.decode(), keep_blank_values=True, strict_parsing=bool(body), max_num_fields=64
        )
    except (ClientDisconnect, UnicodeDecodeError, ValueError):
        raise RequestRefused(400, "This form is damaged", "Please load the page again.") from None
    return dict(pairs)


def check_form(visitor: Visitor, form: dict[str, str]) -> None:
    """The form must come from a page made for this visitor.

    Raises:
        Refused: it was made for someone else, or by another site.
    """
    if not same(form.get("form", ""), visitor.form):
        raise RequestRefused(
            403,
            "This page was opened with another link",
            "Nothing was saved. Open your own link again and go on from there.",
        )


Here = Annotated[Site, Depends(site_of)]
Form = Annotated[dict[str, str], Depends(form_of)]
Number = Annotated[int, Path(ge=0, lt=2**31)]
"""A row's number in an address; databases count no further."""
