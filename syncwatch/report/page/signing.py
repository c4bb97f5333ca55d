"""Who may see the page where a token is configured: Authorization, or a browser's cookie.

A browser gets the cookie for the token, from a form. The cookie holds until when it counts and an
HMAC of that, keyed by the token: it tells nothing of the token, and a token that is replaced ends
it. It opens the page and nothing else.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from aiohttp import web

from syncwatch.model import HOUR, SECOND
from syncwatch.report.bodies import RefusedError, bad_request, body_of
from syncwatch.runtime import is_one_of, log

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from syncwatch.model import Millis
    from syncwatch.runtime import Clock

COOKIE = "syncwatch"
VALID: Millis = 12 * HOUR
WRONG_WAITS = 1.0
"""Seconds that a wrong token waits for its answer."""
WRONG_AT_ONCE = 4
"""Wrong tokens that wait at the same time; more of them are refused at once. The right one never
is: nobody's wrong ones lock out who has it."""
LONGEST = 4096
"""Characters of a token that are read."""


@dataclass(frozen=True, slots=True)
class Form:
    """The token that was typed, and where to go then: always a page of ours."""

    token: str = field(repr=False)
    then: str


class Door:
    """Lets in those who have one of the tokens; everybody, where `token` gives None."""

    def __init__(self, clock: Clock, token: Callable[[], Sequence[str] | None]) -> None:
        self._clock = clock
        self._token = token
        self._waiting = 0

    @property
    def is_locked(self) -> bool:
        """Whether a token is wanted at all."""
        return self._token() is not None

    def lets_in(self, request: web.Request) -> bool:
        """Whether this request may see the page."""
        accepted = self._token()
        if accepted is None:
            return True
        kind, _, given = request.headers.get("Authorization", "").partition(" ")
        if kind.lower() == "bearer" and is_one_of(given.strip(), accepted):
            return True
        return self._is_ours(request.cookies.get(COOKIE, ""), accepted)

    def has_cookie(self, request: web.Request) -> bool:
        """Whether it is the cookie that opens, so that signing out means something."""
        accepted = self._token()
        return accepted is not None and self._is_ours(request.cookies.get(COOKIE, ""), accepted)

    async def sign_in(self, request: web.Request, form: Form) -> web.Response:
        """Take the token of the form: 303 with the cookie, else RefusedError."""
        accepted, given = self._token(), form.token
        answer = web.Response(status=303, headers={"Location": form.then})
        if accepted is None:
            return answer
        if not is_one_of(given, accepted):
            await self._refuse(request)
        key = next(one for one in accepted if one and is_one_of(given, [one]))
        until = self._clock.now() + VALID
        answer.set_cookie(
            COOKIE,
            f"{until}.{_signature(key, str(until))}",
            max_age=VALID // SECOND,
            path="/",
            httponly=True,
            samesite="Strict",
            secure=_by_https(request),
        )
        return answer

    async def _refuse(self, request: web.Request) -> None:
        if self._waiting >= WRONG_AT_ONCE:
            raise RefusedError(429, "too_many", "Too many wrong tokens; try again in a second.")
        self._waiting += 1
        try:
            await asyncio.sleep(WRONG_WAITS)
        finally:
            self._waiting -= 1
        log.warning("sign_in_refused", remote=request.remote)
        raise RefusedError(401, "unauthorized", "That is not the token.")

    def sign_out(self, request: web.Request) -> web.Response:
        """Have the browser forget its cookie: 303; a RefusedError where another site asks for it.

        Without the cookie there is nothing to forget: browsers send it from our own pages alone
        (SameSite), also where they tell nothing else of whence a form came.
        """
        if _from_elsewhere(request):
            raise RefusedError(403, "forbidden", "Sign out on a page of syncwatch itself.")
        answer = web.Response(status=303, headers={"Location": "/"})
        if COOKIE not in request.cookies:
            return answer
        answer.del_cookie(
            COOKIE, path="/", httponly=True, samesite="Strict", secure=_by_https(request)
        )
        return answer

    def _is_ours(self, cookie: str, accepted: Sequence[str]) -> bool:
        until, _, signature = cookie.partition(".")
        if not (until.isascii() and until.isdigit() and len(until) <= 15):
            return False
        signatures = [_signature(one, until) for one in accepted if one]
        return is_one_of(signature, signatures) and int(until) > self._clock.now()


def _signature(token: str, until: str) -> str:
    message = f"syncwatch page until {until}".encode()
    return hmac.new(token.encode(), message, hashlib.sha256).hexdigest()


def _from_elsewhere(request: web.Request) -> bool:
    """Whether the browser says that a page of another site sent this form.

    Our own pages send `Origin: null`, since they have no referrer (Fetch standard, "append a
    request Origin header"); so that says nothing.
    """
    site = request.headers.get("Sec-Fetch-Site", "")
    if site:
        return site not in ("same-origin", "none")
    origin = request.headers.get("Origin", "null")
    return origin != "null" and origin.partition("://")[2].lower() != request.host.lower()


def _by_https(request: web.Request) -> bool:
    """Whether the browser's side is https: here, or at a proxy before us."""
    return request.secure or request.headers.get("X-Forwarded-Proto", "").lower() == "https"


async def form_of(request: web.Request) -> Form:
    """What was typed; raises RefusedError for what is no such form."""
    body = (await body_of(request)).decode("utf-8", "replace")
    try:
        fields = parse_qs(body, max_num_fields=8)
    except ValueError:
        raise bad_request("The form has too many fields.") from None
    token, then = (fields.get(name, [""])[0] for name in ("token", "next"))
    return Form(token.strip()[:LONGEST], then if is_page(then) else "/")


def is_page(path: str) -> bool:
    """Whether it is an address on this server: no other host may be smuggled in."""
    return (
        path.startswith("/")
        and not path.startswith("//")
        and "\\" not in path
        and path.isascii()
        and path.isprintable()
    )
