"""The requests of one look: each is asked, noted for the observation, and followed if redirected.

What is noted holds no query: a redirect's query may be a signature that opens the object store.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from yarl import URL

from syncwatch.errors import OutboundError
from syncwatch.model import Request
from syncwatch.verify.manifest import is_digest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from syncwatch.outbound import Answer, Outbound

NOTED = 200
"""Requests of one look that are noted; of more the last one stands in the last place."""

REDIRECTS = 5
"""How often one request may be sent elsewhere (design, section 6, Bounds)."""
DIGEST_HEADER = "Docker-Content-Digest"

_REDIRECTED = frozenset({301, 302, 307, 308})
_ENCODED = re.compile(r"[!-~]+")


def origin_of(url: str) -> str:
    """`scheme://host:port`, the port always said; two URLs of one origin give equal texts."""
    parts = URL(url, encoded=True)
    return f"{parts.scheme}://{parts.host_subcomponent}:{parts.port}"


class Trail:
    """Asks for one look, and keeps what was asked and answered in `requests`."""

    def __init__(self, outbound: Outbound) -> None:
        self.requests: list[Request] = []
        self._outbound = outbound

    async def ask(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body_limit: int,
        *,
        enough: int | None = None,
        into: Callable[[bytes], Awaitable[None]] | None = None,
    ) -> Answer:
        """One request, noted; a good body may go `into` somebody.

        Raises OutboundError where nothing usable came back.
        """
        shown = url.partition("?")[0]
        began = time.perf_counter()
        try:
            if into is None:
                answer = await self._outbound.ask(
                    method, url, headers=headers, body_limit=body_limit, enough=enough
                )
            else:
                answer = await self._outbound.pour(url, into, headers)
        except OutboundError:
            self._note(Request(method, shown, None, None, time.perf_counter() - began))
            raise
        digest = answer.headers.get(DIGEST_HEADER, "")
        named = digest if is_digest(digest) else None
        self._note(Request(method, shown, answer.status, named, answer.seconds))
        return answer

    def _note(self, request: Request) -> None:
        if len(self.requests) >= NOTED:
            self.requests.pop()
        self.requests.append(request)

    async def follow(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body_limit: int,
        *,
        enough: int | None = None,
        into: Callable[[bytes], Awaitable[None]] | None = None,
        allow: Callable[[str], None] = lambda _url: None,
    ) -> tuple[Answer, str]:
        """The answer at the end of at most `REDIRECTS` redirects, and the URL that gave it.

        `allow` may raise on a URL before it is asked. Authorization goes nowhere but to the scheme,
        host and port it was meant for. Raises OutboundError, also for a redirect to nowhere.
        """
        answer = await self.ask(method, url, headers, body_limit, enough=enough, into=into)
        if answer.status not in _REDIRECTED:
            return answer, url
        home, bare = origin_of(url), _without_authorization(headers)
        for _ in range(REDIRECTS):
            url = _target(url, answer)
            allow(url)
            sent = headers if origin_of(url) == home else bare
            answer = await self.ask(method, url, sent, body_limit, enough=enough, into=into)
            if answer.status not in _REDIRECTED:
                return answer, url
        raise OutboundError(
            "unreadable_answer", f"{home}: redirected more than {REDIRECTS} times", status=None
        )


def _without_authorization(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name != "Authorization"}


def _target(url: str, answer: Answer) -> str:
    location = answer.headers.get("Location", "")
    try:
        # Quoting again what is quoted already would break a signature.
        there = URL(location, encoded=_ENCODED.fullmatch(location) is not None)
        # Not `URL.join`, which decodes the path of the URL that it starts from.
        joined = URL(urljoin(url, str(there)), encoded=True)
        good = joined.scheme in {"http", "https"} and joined.raw_host and not joined.raw_user
        if location and good and joined.raw_password is None:
            return str(joined.with_fragment(None))
    except (ValueError, IndexError):  # yarl lets the latter out for `//[]@`
        pass
    raise OutboundError(
        "unreadable_answer",
        f"{origin_of(url)}: redirected to what is no place to ask",
        status=answer.status,
    )
