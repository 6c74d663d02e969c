"""Who comes in: links that become cookies, limits of calls, forms that were made for their sender."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import Path, Request
from starlette.requests import ClientDisconnect
from starlette.responses import RedirectResponse, Response

from .security import Limiter, digest, form_token, same

WEEKS_8 = 8 * 7 * 24 * 3600
FORM_LIMIT = 32 * 1024  # bytes
Number = Annotated[int, Path(ge=0, lt=2**31)]
"""A row's number in an address; databases count no further."""


_MOST_VISITORS = 10_000


class RequestRefused(Exception):
    """A request that gets a page with an explanation in place of what it asked for."""

    def __init__(self, status: int, title: str, text: str) -> None:
        super().__init__(title)
        self.status, self.title, self.text = status, title, text


@dataclass
class Door:
    """The entrance of one server."""

    public: str
    """The address that visitors use, without a slash at the end."""
    id: str
    """Tells the cookies of two servers on one host apart, which their ports do not."""
    calls: Limiter = field(default_factory=lambda: Limiter(burst=600, per_second=150))
    """Per visitor, and per address for all who are none; a page with its example images takes some fifty."""
    guesses: Limiter = field(default_factory=lambda: Limiter(burst=10, per_second=1 / 6))
    """Per address: links that do not exist."""
    _welcome: set[str] = field(default_factory=set, init=False, repr=False)

    def cookie(self, role: str) -> str:
        """The name of the cookie of a role."""
        return f"reteach-{role}-{self.id}"

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

    def token(self, request: Request, role: str) -> str:
        """The secret that a visitor shows for a role; counts the call. Empty: none."""
        token = request.cookies.get(self.cookie(role), "")
        host = request.client.host if request.client else ""
        # a cookie that nobody gave out is no visitor of its own: it is easily invented anew
        known = token and digest(token) in self._welcome
        if not self.calls.allow(digest(token) if known else host):
            raise RequestRefused(429, "Slow down a little", "Please wait a moment and try again.")
        return token

    def welcome(self, token: str) -> None:
        """A secret has turned out to be a visitor's: from now on they have calls of their own."""
        if len(self._welcome) > _MOST_VISITORS:
            self._welcome.clear()
        self._welcome.add(digest(token))

    def guessed(self, request: Request) -> RequestRefused:
        """What a link gets that does not exist; slower and slower."""
        host = request.client.host if request.client else ""
        if not self.guesses.allow(host):
            return RequestRefused(429, "Too many attempts", "Please wait a minute and try again.")
        return RequestRefused(
            403, "This link does not exist", "Please check that the whole address was copied."
        )


async def body_of(request: Request, limit: int = FORM_LIMIT) -> bytes:
    """The body of a request.

    Raises:
        RequestRefused: it is larger than the limit, or it never came whole.
    """
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > limit:
                raise RequestRefused(413, "This form is too large", "Nothing was saved.")
    except ClientDisconnect:
        raise damaged() from None
    return bytes(body)


async def form_of(request: Request) -> dict[str, str]:
    """The fields of a form, each once; files are not taken."""
    body = await body_of(request)
    try:
        return dict(
            parse_qsl(
                body.decode(), keep_blank_values=True, strict_parsing=bool(body), max_num_fields=64
            )
        )
    except ValueError:  # the bytes are no text, or the text is no form
        raise damaged() from None


def damaged() -> RequestRefused:
    """What a form gets that cannot be read."""
    return RequestRefused(400, "This form is damaged", "Please load the page again.")


def check_form_token(token: str, given: str) -> None:
    """The form must come from a page made for the visitor with this secret.

    Raises:
        RequestRefused: it was made for someone else, or by another site.
    """
    if not same(given, form_token(token)):
        raise RequestRefused(
            403,
            "This page was opened with another link",
            "Nothing was saved. Open your own link again and go on from there.",
        )
