"""Looks at a destination once, from here: does it answer, who is let in, what would be in the way.

One image that should be there is looked at, with the same client as the daemon's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from syncwatch.doctor.evidence import DestinationSeen, Sized, Unasked
from syncwatch.errors import FlatteningError, OutboundError, PatternError
from syncwatch.model import Reason
from syncwatch.outbound import BODY_LIMIT, Outbound
from syncwatch.plan.matching import Artifact, destination_repository, select
from syncwatch.plan.promises import filters_of
from syncwatch.verify.authentication import Authentication
from syncwatch.verify.registry import RegistryClient
from syncwatch.verify.trail import Trail

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from syncwatch.config import DestinationSettings
    from syncwatch.doctor.evidence import RuleSeen, ScopeSeen
    from syncwatch.harbor.wire import RegistryEndpoint
    from syncwatch.runtime import Clock

ONLY_ONE = "application/vnd.docker.distribution.manifest.v2+json"
"""What a simple script accepts."""

CANDIDATES = 5
"""How many images of the scope are tried until one is there."""


class Knocking:
    """One destination, asked by its settings; `async with` it."""

    def __init__(
        self, endpoint: RegistryEndpoint, settings: DestinationSettings, clock: Clock
    ) -> None:
        self._endpoint = endpoint
        self._settings = settings
        self._clock = clock
        self._url = (settings.url or endpoint.url).rstrip("/")
        self._outbound = Outbound(
            timeout=settings.timeout.total_seconds(),
            concurrency=2,
            ca_file=settings.ca_file,
            insecure_skip_verify=settings.insecure_skip_verify,
        )
        self._client = RegistryClient(
            url=self._url,
            outbound=self._outbound,
            credentials=self._credentials,
            clock=clock.now,
            token_realms=settings.token_realms,
            is_harbor=endpoint.type == "harbor",
        )

    def _credentials(self) -> tuple[str, str] | None:
        credential = self._settings.credential
        return credential.login() if credential else None

    async def seen(self, rules: Sequence[RuleSeen], scope: ScopeSeen) -> DestinationSeen:
        """What one visit tells; the connections are closed after it."""
        try:
            return await self._seen([*_candidates(self._endpoint.name, rules, scope)])
        finally:
            await self._outbound.close()

    async def _seen(self, candidates: Sequence[tuple[str, str, Sized]]) -> DestinationSeen:
        where = (self._endpoint.name, self._endpoint.type, self._endpoint.url)
        configured = self._settings.url or ""
        knock = await self._client.ping()
        if knock.problem is not None or not candidates:
            return DestinationSeen(*where, configured, knock)
        through = look = None
        image, trapped = "", None
        for repository, reference, artifact in candidates[:CANDIDATES]:
            image = f"{repository}:{reference}"
            through = await self._client.look_through(repository)
            if through is not None:
                break
            look = await self._client.look(repository, reference, (artifact.digest,))
            if look.served is not None and artifact.references:
                trapped = await self._is_trapped(repository, reference)
            if look.served is not None or look.problem is Reason.POLICY_BLOCKED:
                break
        return DestinationSeen(*where, configured, knock, image, through, look, trapped)

    async def _is_trapped(self, repository: str, reference: str) -> bool | None:
        """Whether an index that is there is denied to who accepts no index (trap 11)."""
        authentication = Authentication(
            url=self._url,
            credentials=self._credentials,
            clock=self._clock.now,
            token_realms=self._settings.token_realms,
            forget=lambda: None,
        )
        trail = Trail(self._outbound)
        url = f"{self._url}/v2/{quote(repository, safe='/')}/manifests/{quote(reference, safe=':')}"
        accept = {"Accept": ONLY_ONE}
        try:
            grant = await authentication.grant(repository, trail)
            headers = {**grant.headers, **accept}
            answer, _ = await trail.follow("GET", url, headers, BODY_LIMIT)
            better = None
            if answer.status == 401:
                better = await authentication.better(grant, answer, repository, trail)
            if better is not None:
                headers = {**better.headers, **accept}
                answer, _ = await trail.follow("GET", url, headers, BODY_LIMIT)
        except OutboundError:
            return None
        return {200: False, 404: True}.get(answer.status)


def _candidates(
    destination: str, rules: Sequence[RuleSeen], scope: ScopeSeen
) -> Iterator[tuple[str, str, Sized]]:
    """Images that rules are to bring there: (repository there, tag, artifact), indexes first."""
    found = []
    for rule in rules:
        if rule.destination != destination:
            continue
        for project in scope.projects.values():
            for name, sample in project.samples.items():
                found += [] if isinstance(sample, Unasked) else _selected(rule, name, sample)
    yield from sorted(found, key=lambda one: not one[2].references)


def _selected(rule: RuleSeen, name: str, sample: Sequence[Sized]) -> list[tuple[str, str, Sized]]:
    chosen = []
    filters = [one for one in filters_of(rule.rules) if one.type != "label"]
    for artifact in sample:
        try:
            passed = select(filters, name, [Artifact(artifact.digest, artifact.names, ())])
            there = destination_repository(
                name, rule.rules.namespace, rule.rules.replace_count, rule.rules.path_type
            )
        except (PatternError, FlatteningError):
            return []
        if passed and passed[0].tags:
            chosen.append((there, passed[0].tags[0], artifact))
    return chosen
