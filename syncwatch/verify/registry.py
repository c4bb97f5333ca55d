"""One destination as an OCI registry: in comes a reference, out goes an observation of it.

A look is HEAD by the reference (what does it name?), HEAD by the digest (is that there?) and GET
by the digest (are its bytes what the digest says?). A digest that the reference does not name is
only asked for by HEAD. The rules of what counts are in the design, section 6, "Reasons at the
edges"; the protocol is OCI distribution 1.1. If-None-Match is never sent: a 304 would prove what
the registry's index says, and the bytes are what is asked about.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from syncwatch.errors import OutboundError
from syncwatch.model import Held, Level, Observation, Reason
from syncwatch.outbound import BODY_LIMIT
from syncwatch.verify.authentication import Authentication, wants_token
from syncwatch.verify.manifest import (
    MANIFEST_LIMIT,
    bare_type,
    claims_to_be_one,
    digest_of,
    is_digest,
)
from syncwatch.verify.refusal import is_absence, is_bare, is_of_registry, refusal
from syncwatch.verify.trail import DIGEST_HEADER, Trail, origin_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Sequence

    from syncwatch.model import Millis
    from syncwatch.outbound import Answer, Outbound


class RegistryClient:
    """Looks at one destination, over one `Outbound`, with one credential.

    `url` is the registry's base; `credentials` gives user name and password at each use, or None;
    `forget` has its files read again after a 401. `clock` gives milliseconds; `token_realms`
    are hosts outside the registry's domain that may be sent its credential for a token.
    """

    def __init__(
        self,
        *,
        url: str,
        outbound: Outbound,
        credentials: Callable[[], tuple[str, str] | None],
        clock: Callable[[], Millis],
        token_realms: Sequence[str] = (),
        forget: Callable[[], None] = lambda: None,
    ) -> None:
        self.url = url.rstrip("/")
        self.place = origin_of(self.url)
        self.outbound = outbound
        self.clock = clock
        self.quiet_until: Millis = 0
        """Until when the registry asked to be left alone (its last Retry-After); 0 for never."""
        self.authentication = Authentication(
            url=self.url,
            credentials=credentials,
            clock=clock,
            token_realms=token_realms,
            forget=forget,
        )

    async def look(self, repository: str, reference: str, digests: Collection[str]) -> Observation:
        """One look at a reference, for expectations that want `digests`; never raises an error.

        `reference` is a tag or a digest. What kept us from seeing is the observation's `problem`.
        """
        look = _Look(self, repository)
        return await self._observed(look, look.see(reference, digests))

    async def ping(self) -> Observation:
        """Whether the registry can be asked and takes the credential; `problem` says why not.

        A registry that takes no anonymous user here may still let one pull, so that without a
        credential a demand for a token is no problem.
        """
        look = _Look(self, "")
        return await self._observed(look, look.knock())

    async def _observed(self, look: _Look, seeing: Coroutine[None, None, None]) -> Observation:
        began_at = self.clock()
        try:
            await seeing
        except OutboundError as error:
            if error.retry_after is not None:
                self.quiet_until = self.clock() + int(error.retry_after * 1000)
            return Observation(
                began_at,
                self.clock(),
                problem=Reason(error.kind),
                detail=str(error),
                requests=tuple(look.trail.requests),
            )
        proven = look.served is not None and look.held.get(look.served) is Held.PRESENT
        return Observation(
            began_at,
            self.clock(),
            served=look.served,
            held=look.held,
            level=Level.MATCHED if proven else None,
            detail="; ".join(look.words),
            requests=tuple(look.trail.requests),
        )


@dataclass(frozen=True, slots=True)
class _Found:
    """A manifest that is there: the digest that the registry calls it by, the bytes if read."""

    named: str | None
    content_type: str
    body: bytes | None


class _Look:
    """The state of one look while it is taken."""

    def __init__(self, client: RegistryClient, repository: str) -> None:
        self.trail = Trail(client.outbound)
        self.served: str | None = None
        self.held: dict[str, Held] = {}
        self.words: list[str] = []
        self._client = client
        self._repository = repository
        self._manifests = f"{client.url}/v2/{quote(repository, safe='/')}/manifests/"
        self._spoke_as_registry = False
        self._answered_at = client.url

    async def see(self, reference: str, digests: Collection[str]) -> None:
        """Fill `served` and `held`. Raises OutboundError where we cannot know."""
        by_digest = ":" in reference
        asked = dict.fromkeys([reference, *digests] if by_digest else digests)
        if not all(map(is_digest, asked)):
            raise self._unreadable("was not asked: the digest's algorithm is not known here")
        found = await self._head(reference)
        if found is not None:
            self.served = reference if by_digest else await self._name(reference, found)
        for digest in asked:
            head = found if digest == reference else await self._head(digest)
            self.held[digest] = await self._weigh(digest, head, read=digest == self.served)

    async def knock(self) -> None:
        """Ask for the API's root. Raises OutboundError where it is not answered as it should."""
        url = f"{self._client.url}/v2/"
        if self._client.authentication.is_anonymous:
            answer, self._answered_at = await self.trail.follow("GET", url, {}, BODY_LIMIT)
            if answer.status == 401 and wants_token(answer):
                return
        else:
            answer = await self._asked("GET", url)
        if answer.status != 200:
            raise self._refusal(answer)
        if bare_type(answer.headers.get("Content-Type", "")) == "text/html":
            raise self._unreadable("answers as a web site does, not as a registry")

    async def _name(self, reference: str, found: _Found) -> str | None:
        """The digest that a tag names; by hashing, where the registry does not say."""
        if found.named is not None:
            return found.named
        got = found if found.body is not None else await self._get(reference)
        if got is None or got.body is None:
            return None
        self._demand_manifest(got)
        return got.named or digest_of(got.body)

    async def _weigh(self, digest: str, found: _Found | None, *, read: bool) -> Held:
        """What is there under `digest`; `read` demands its bytes, else the registry's word does."""
        if found is not None and found.body is None:
            if found.named == digest and not read:
                return Held.PRESENT
            found = await self._get(digest)
        if found is None or found.body is None:
            return Held.ABSENT
        actual = digest_of(found.body, like=digest)
        if actual == digest:
            return Held.PRESENT
        self._demand_manifest(found)
        self.words.append(f"the bytes under {digest} hash to {actual}")
        return Held.CORRUPT

    async def _head(self, reference: str) -> _Found | None:
        answer = await self._ask("HEAD", reference)
        if answer.status == 200:
            return _Found(_named(answer), "", None)
        # Once a 404 of this look was read and was a registry's own, the header is word enough.
        if answer.status == 404 and self._spoke_as_registry and is_of_registry(answer):
            return None
        if answer.status in {404, 405}:
            # A HEAD has no body to tell a registry's 404 from a proxy's.
            return await self._get(reference)
        raise self._refusal(answer)

    async def _get(self, reference: str) -> _Found | None:
        answer = await self._ask("GET", reference)
        if answer.status == 200:
            return _Found(_named(answer), answer.headers.get("Content-Type", ""), answer.body)
        if answer.status == 404 and is_absence(answer):
            self._spoke_as_registry = True
            return None
        if is_bare(answer):
            await self.knock()
            return None
        raise self._refusal(answer)

    async def _ask(self, method: str, reference: str) -> Answer:
        return await self._asked(method, self._manifests + quote(reference, safe=":"))

    async def _asked(self, method: str, url: str) -> Answer:
        """The answer, asked for once more where it was 401 and better can be offered."""
        authentication = self._client.authentication
        grant = await authentication.grant(self._repository, self.trail)
        answer, there = await self.trail.follow(method, url, grant.headers, MANIFEST_LIMIT)
        if answer.status == 401 and origin_of(there) == self._client.place:
            better = await authentication.better(grant, answer, self._repository, self.trail)
            if better is not None:
                answer, there = await self.trail.follow(method, url, better.headers, MANIFEST_LIMIT)
        self._answered_at = there
        return answer

    def _demand_manifest(self, found: _Found) -> None:
        if not claims_to_be_one(found.body or b"", found.content_type):
            raise self._unreadable("answered 200 with what is no manifest")

    def _refusal(self, answer: Answer) -> OutboundError:
        return refusal(answer, origin_of(self._answered_at), self._client.clock())

    def _unreadable(self, words: str) -> OutboundError:
        return OutboundError("unreadable_answer", f"{origin_of(self._answered_at)}: {words}")


def _named(answer: Answer) -> str | None:
    named = answer.headers.get(DIGEST_HEADER, "")
    return named if is_digest(named) else None
