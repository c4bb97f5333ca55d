"""How one registry wants to be asked: its challenges, its tokens, and where a credential may go.

In come 401 answers, out go headers for the next request. What was learnt is kept, so that in the
steady state no request is refused first. The rules are those of the Docker token specification
(distribution, docs/spec/auth/token.md) and of the design, section 4, "Credentials".
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

import aiohttp
import msgspec

from syncwatch.errors import OutboundError
from syncwatch.outbound import BODY_LIMIT
from syncwatch.verify.challenge import Challenge, challenges, realm_refusal
from syncwatch.verify.manifest import ACCEPT
from syncwatch.verify.refusal import refusal
from syncwatch.verify.trail import origin_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from syncwatch.model import Millis
    from syncwatch.outbound import Answer
    from syncwatch.verify.trail import Trail

USER_AGENT = "harbor-registry-client"
"""Harbor counts a GET of a manifest as a pull, unless the User-Agent is exactly this one
(src/server/registry/manifest.go, src/common/const.go, since 2.9 at least). A look of ours must not
count: retention rules keep what was "pulled in the last n days". Other registries do not mind."""

TOKENS = 1000
"""Tokens that are kept; the oldest goes first."""
DEFAULT_LIFETIME = 60.0
"""Seconds a token lives that does not say (token.md, Token Response Fields)."""

_WORD = re.compile(r"[!-~]+")
_MANIFEST_HEADERS = {"Accept": ACCEPT, "User-Agent": USER_AGENT}


@dataclass(frozen=True, slots=True)
class Grant:
    """Headers to ask with; `fresh_from` is the token URL that has just given them, else ""."""

    headers: Mapping[str, str]
    fresh_from: str = ""


@dataclass(frozen=True, slots=True)
class _Token:
    headers: Mapping[str, str]
    ends_at: Millis


class _TokenAnswer(msgspec.Struct):
    token: str | None = None
    access_token: str | None = None
    expires_in: float | None = None


# Not strict, because there are services that write their numbers as text.
_decoder = msgspec.json.Decoder(_TokenAnswer, strict=False)
_ANONYMOUS = Grant(_MANIFEST_HEADERS)


class Authentication:
    """Headers for one registry: none, Basic, or a Bearer token for each repository.

    `credentials` is asked at each use, since a rotated secret shows there; `forget` has its files
    read again, after a 401. `clock` gives milliseconds. Tokens are asked for once,
    however many looks wait for the same one.
    """

    def __init__(
        self,
        *,
        url: str,
        credentials: Callable[[], tuple[str, str] | None],
        clock: Callable[[], Millis],
        token_realms: Sequence[str] = (),
        forget: Callable[[], None] = lambda: None,
    ) -> None:
        self._url = url
        self._place = origin_of(url)
        self._credentials = credentials
        self._forget = forget
        self._clock = clock
        self._token_realms = frozenset(host.lower() for host in token_realms)
        self._wanted: Challenge | None = None
        self._basic: tuple[tuple[str, str], Grant] | None = None
        self._tokens: dict[str, _Token] = {}
        self._coming: dict[str, asyncio.Task[_Token]] = {}

    @property
    def is_anonymous(self) -> bool:
        """Whether there is no credential at present."""
        return self._credentials() is None

    async def grant(self, repository: str, trail: Trail) -> Grant:
        """What to ask with, by all that is known. Raises OutboundError where no token comes."""
        if self._wanted is None:
            return _ANONYMOUS
        if self._wanted.scheme == "basic":
            return self.by_password()
        url = _token_url(self._wanted, repository)
        token = self._tokens.get(url)
        if token is not None and token.ends_at > self._clock():
            return Grant(token.headers)
        return await self._by_token(url, trail)

    def by_password(self) -> Grant:
        """What to ask an API of the same host with that takes the credential itself, no token."""
        return self._by_password() or _ANONYMOUS

    async def better(
        self, refused: Grant, answer: Answer, repository: str, trail: Trail
    ) -> Grant | None:
        """What to ask with after a 401, None where nothing better is at hand.

        Raises OutboundError (`unauthorized`) where the registry wants what may not be given.
        """
        self._forget()
        wanted = _preferred(challenges(answer.headers.getall("WWW-Authenticate", ())))
        if wanted is None and refused is not _ANONYMOUS:
            wanted = self._wanted
        if wanted is None:
            return None
        if wanted.scheme == "basic":
            return self._better_password(refused, wanted)
        url = _token_url(wanted, repository)
        known = self._tokens.get(url)
        if refused.fresh_from == url:
            self._tokens.pop(url, None)
            return None
        self._allow(wanted.parameters["realm"])
        self._wanted = wanted
        if known is not None and known.headers is not refused.headers:
            return Grant(known.headers)  # another look was refused before, and has renewed it
        self._tokens.pop(url, None)
        return await self._by_token(url, trail)

    def _better_password(self, refused: Grant, wanted: Challenge) -> Grant | None:
        grant = self._by_password()
        if grant is None:
            raise OutboundError(
                "unauthorized",
                f"{self._place}: wants a user name and a password, and none is configured",
                status=401,
            )
        self._wanted = wanted
        return None if grant is refused else grant

    def _by_password(self) -> Grant | None:
        credentials = self._credentials()
        if credentials is None:
            return None
        if self._basic is None or self._basic[0] != credentials:
            headers = {**_MANIFEST_HEADERS, "Authorization": self._encoded(credentials)}
            self._basic = (credentials, Grant(headers))
        return self._basic[1]

    def _encoded(self, credentials: tuple[str, str]) -> str:
        try:
            return aiohttp.encode_basic_auth(*credentials)
        except ValueError:
            words = "a user name with a colon in it cannot be sent"
            raise OutboundError("unauthorized", f"{self._place}: {words}") from None

    async def _by_token(self, url: str, trail: Trail) -> Grant:
        coming = self._coming.get(url)
        if coming is None:
            coming = asyncio.create_task(self._fetch(url, trail))
            self._coming[url] = coming
            coming.add_done_callback(lambda done: self._arrived(url, done))
        # Others may wait for the same token: a look that is cancelled does not cancel theirs.
        return Grant((await asyncio.shield(coming)).headers, fresh_from=url)

    def _arrived(self, url: str, done: asyncio.Task[_Token]) -> None:
        del self._coming[url]
        if done.cancelled() or done.exception() is not None:
            return
        while len(self._tokens) >= TOKENS:
            del self._tokens[next(iter(self._tokens))]
        self._tokens[url] = done.result()

    async def _fetch(self, url: str, trail: Trail) -> _Token:
        began = self._clock()
        credentials = self._credentials()
        headers = {"Accept": "application/json"}
        if credentials is not None:
            headers["Authorization"] = self._encoded(credentials)
        answer, there = await trail.follow("GET", url, headers, BODY_LIMIT, allow=self._allow)
        if answer.status != 200:
            error = refusal(answer, f"{origin_of(there)} (token service)", began)
            # 412 speaks of an image only where an image was asked for.
            error.kind = "unreadable_answer" if answer.status == 412 else error.kind
            raise error
        word, lifetime = _read_token(answer.body, there)
        # A margin, because the token has to outlive the request that it is sent with.
        usable = lifetime - min(30.0, lifetime / 4)
        bearer = {**_MANIFEST_HEADERS, "Authorization": f"Bearer {word}"}
        return _Token(bearer, began + int(usable * 1000))

    def _allow(self, realm: str) -> None:
        words = realm_refusal(self._url, realm, self._token_realms)
        if words is not None:
            raise OutboundError("unauthorized", f"{self._place}: {words}", status=401)


def _preferred(offered: list[Challenge]) -> Challenge | None:
    """Bearer before Basic: a password may cost a registry a tenth of a second of hashing."""
    for challenge in offered:
        if challenge.scheme == "bearer" and "realm" in challenge.parameters:
            return challenge
    return next((one for one in offered if one.scheme == "basic"), None)


def wants_token(answer: Answer) -> bool:
    """Whether a 401 asks for a Bearer token."""
    wanted = _preferred(challenges(answer.headers.getall("WWW-Authenticate", ())))
    return wanted is not None and wanted.scheme == "bearer"


def _token_url(wanted: Challenge, repository: str) -> str:
    """Where the token to pull from `repository` is; "" asks who we are, and for no access."""
    realm, _, _ = wanted.parameters["realm"].partition("#")
    query = []
    if service := wanted.parameters.get("service"):
        query.append(f"service={quote(service, safe='')}")
    if repository:
        query.append(f"scope={quote(f'repository:{repository}:pull', safe='/:')}")
    return f"{realm}{'&' if '?' in realm else '?'}{'&'.join(query)}"


def _read_token(body: bytes, url: str) -> tuple[str, float]:
    try:
        answer = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        answer = _TokenAnswer()
    word = answer.token or answer.access_token or ""
    if _WORD.fullmatch(word) is None:
        words = "the answer of the token service holds no token"
        raise OutboundError("unreadable_answer", f"{origin_of(url)}: {words}", status=200)
    lifetime = answer.expires_in or DEFAULT_LIFETIME
    return word, min(lifetime, 24 * 3600.0) if lifetime > 0 else DEFAULT_LIFETIME
