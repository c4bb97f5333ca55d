"""One visit to a repository of a registry: requests with the right credential, answers in words.

In comes what is asked for (a manifest, a byte of a blob), out comes what is there, or None in the
registry's own words; whatever tells us nothing leaves as an OutboundError. The protocol is OCI
distribution 1.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from syncwatch.errors import OutboundError
from syncwatch.outbound import BODY_LIMIT
from syncwatch.verify.authentication import wants_token
from syncwatch.verify.links import next_page
from syncwatch.verify.manifest import (
    MANIFEST_LIMIT,
    bare_type,
    claims_to_be_one,
    is_digest,
)
from syncwatch.verify.ranges import last_byte
from syncwatch.verify.refusal import (
    is_absence,
    is_bare,
    is_of_registry,
    pause_when_spent,
    refusal,
)
from syncwatch.verify.trail import DIGEST_HEADER, Trail, origin_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from syncwatch.model import Millis
    from syncwatch.outbound import Answer, Outbound
    from syncwatch.verify.authentication import Authentication, Grant

REFERRER_PAGES = 10
"""How many pages of an image's referrers are read."""

TAGS_A_PAGE, TAG_PAGES = 1000, 100
"""How many tags are asked for at once, and how many times."""

SMALL_BLOB = 1024 * 1024
"""Bytes of a blob that are read where a registry neither gives parts nor announces lengths."""


@dataclass(frozen=True, slots=True)
class Registry:
    """What every visit to one registry shares; `url` is its base, without a slash at the end.

    `be_quiet_for` is told the seconds for which the registry wants no more questions.
    """

    url: str
    place: str
    outbound: Outbound
    authentication: Authentication
    clock: Callable[[], Millis]
    be_quiet_for: Callable[[float], None] = lambda _seconds: None


@dataclass(frozen=True, slots=True)
class Found:
    """A manifest that is there: the digest that the registry calls it by, the bytes if read."""

    named: str | None
    content_type: str = ""
    body: bytes | None = None


class Visit:
    """The requests of one look, and what they told of the place as such."""

    def __init__(self, registry: Registry, repository: str) -> None:
        self.trail = Trail(registry.outbound)
        self.repository = repository
        self._registry = registry
        self._base = f"{registry.url}/v2/{quote(repository, safe='/')}"
        self._spoke_as_registry = False
        self._answered_at = registry.url

    async def head(self, reference: str, but: str = "") -> Found | None:
        """What a reference names, by HEAD; None where it is not there.

        With `but` the registry may answer 304 in place of 200 where it names that digest, which
        proves what the reference names and nothing of the bytes.
        """
        extra = {"If-None-Match": f'"{but}"'} if but else {}
        answer = await self._ask("HEAD", self._manifest_url(reference), extra)
        if answer.status == 304 and but:
            return Found(_named(answer) or but)
        if answer.status == 200:
            return Found(_named(answer))
        # Once a 404 of this look was read and was a registry's own, the header is word enough.
        if answer.status == 404 and self._spoke_as_registry and is_of_registry(answer):
            return None
        if answer.status in {404, 405}:
            # A HEAD has no body to tell a registry's 404 from a proxy's.
            return await self.get(reference)
        raise self._refusal(answer)

    async def get(self, reference: str) -> Found | None:
        """A manifest with its bytes; None where it is not there."""
        answer = await self._ask("GET", self._manifest_url(reference))
        if answer.status == 200:
            return Found(_named(answer), answer.headers.get("Content-Type", ""), answer.body)
        if answer.status == 404 and is_absence(answer):
            self._spoke_as_registry = True
            return None
        if is_bare(answer):
            await self.knock()
            return None
        raise self._refusal(answer)

    async def ask_for_manifest(self, reference: str) -> Answer:
        """The answer to a GET of a manifest, whatever it is."""
        return await self._ask("GET", self._manifest_url(reference))

    async def end_of_blob(self, digest: str, size: int) -> Answer | None:
        """The answer to a GET of a blob's last byte; None for 404, wherever it was redirected.

        A body that ends too early is asked for once more: connections die, files stay short.
        """
        extra = {"Range": last_byte(size)} if size else {}
        url = f"{self._base}/blobs/{digest}"
        answer = await self._ask("GET", url, extra, SMALL_BLOB, enough=1)
        if answer.cut:
            answer = await self._ask("GET", url, extra, SMALL_BLOB, enough=1)
        if answer.status == 404:
            return None
        if answer.status not in {200, 206, 416}:
            raise self._refusal(answer)
        return answer

    async def whole_blob(
        self, digest: str, into: Callable[[bytes], Awaitable[None]]
    ) -> Answer | None:
        """All bytes of a blob, handed `into` somebody; None for 404."""
        answer = await self._ask("GET", f"{self._base}/blobs/{digest}", into=into)
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise self._refusal(answer)
        return answer

    async def referrers(self, digest: str) -> list[bytes] | None:
        """The pages of the referrers API, each an index; None for a registry that has none of it.

        So many pages are read at most (OCI distribution 1.1, "Listing Referrers").
        """
        pages: list[bytes] = []
        url: str | None = f"{self._base}/referrers/{digest}"
        while url is not None and len(pages) < REFERRER_PAGES:
            answer = await self._ask("GET", url)
            if answer.status in {400, 404, 405} or not _is_json(answer):
                return pages or None
            if answer.status != 200:
                raise self._refusal(answer)
            pages.append(answer.body)
            url = next_page(answer.headers.getall("Link", ()), url)
            if url is not None and origin_of(url) != self._registry.place:
                break
        return pages

    async def tags(self) -> list[bytes]:
        """The pages of the repository's list of tags; none for a repository that is not there.

        Distribution specification, "Listing Tags": `n` a page, the Link header leads to the next.
        """
        pages: list[bytes] = []
        url: str | None = f"{self._base}/tags/list?n={TAGS_A_PAGE}"
        while url is not None and len(pages) < TAG_PAGES:
            answer = await self._ask("GET", url)
            if answer.status == 404 and is_absence(answer):
                return pages
            if answer.status != 200:
                raise self._refusal(answer)
            pages.append(answer.body)
            url = next_page(answer.headers.getall("Link", ()), url)
        return pages

    async def knock(self) -> None:
        """Ask for the API's root. Raises OutboundError where it is not answered as it should."""
        url = f"{self._registry.url}/v2/"
        if self._registry.authentication.is_anonymous:
            answer, self._answered_at = await self.trail.follow("GET", url, {}, BODY_LIMIT)
            if answer.status == 401 and wants_token(answer):
                return
        else:
            answer = await self._ask("GET", url)
        if answer.status != 200:
            raise self._refusal(answer)
        if bare_type(answer.headers.get("Content-Type", "")) == "text/html":
            raise self.unreadable("answers as a web site does, not as a registry")

    def demand_manifest(self, found: Found) -> None:
        """Raise an OutboundError for an answer that does not even mean to be a manifest."""
        if not claims_to_be_one(found.body or b"", found.content_type):
            raise self.unreadable("answered 200 with what is no manifest")

    def unreadable(self, words: str) -> OutboundError:
        """The error that an answer is which cannot be understood."""
        return OutboundError("unreadable_answer", f"{origin_of(self._answered_at)}: {words}")

    def _manifest_url(self, reference: str) -> str:
        return f"{self._base}/manifests/{quote(reference, safe=':')}"

    async def _ask(
        self,
        method: str,
        url: str,
        extra: Mapping[str, str] | None = None,
        body_limit: int = MANIFEST_LIMIT,
        enough: int | None = None,
        into: Callable[[bytes], Awaitable[None]] | None = None,
    ) -> Answer:
        """The answer, asked for once more where it was 401 and better can be offered."""

        async def ask(grant: Grant) -> tuple[Answer, str]:
            headers = {**grant.headers, **extra} if extra else grant.headers
            return await self.trail.follow(
                method, url, headers, body_limit, enough=enough, into=into
            )

        authentication = self._registry.authentication
        grant = await authentication.grant(self.repository, self.trail)
        answer, there = await ask(grant)
        if answer.status == 401 and origin_of(there) == self._registry.place:
            better = await authentication.better(grant, answer, self.repository, self.trail)
            if better is not None:
                answer, there = await ask(better)
        self._answered_at = there
        pause = pause_when_spent(answer.headers, self._registry.clock())
        if pause and origin_of(there) == self._registry.place:
            self._registry.be_quiet_for(pause)
        return answer

    def _refusal(self, answer: Answer) -> OutboundError:
        there = origin_of(self._answered_at)
        error = refusal(answer, there, self._registry.clock())
        if there != self._registry.place:
            # An object store that wants to be left alone does not speak for the registry.
            error.retry_after = None
        return error


def _named(answer: Answer) -> str | None:
    named = answer.headers.get(DIGEST_HEADER, "")
    return named if is_digest(named) else None


def _is_json(answer: Answer) -> bool:
    return bare_type(answer.headers.get("Content-Type", "")).endswith("json")
