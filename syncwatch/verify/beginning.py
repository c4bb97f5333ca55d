"""What has to be in place before anything can be looked at: a client, and the manner of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from syncwatch.outbound import Outbound
from syncwatch.verify.judging import Terms
from syncwatch.verify.probing import Choice
from syncwatch.verify.registry import RegistryClient
from syncwatch.verify.verifier import Manner

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import timedelta

    from syncwatch.config import DestinationSettings, HarborSettings, Settings
    from syncwatch.model import Millis
    from syncwatch.runtime import Clock
    from syncwatch.store.policies import Destination

ANSWERS_FROM_THE_TAG = frozenset({"docker-registry"})
"""Adapters whose registry answers If-None-Match from the tag's own file (distribution,
registry/handlers/manifests.go). A Harbor answers it from its database, which proves nothing."""


@dataclass(frozen=True, slots=True)
class Place:
    """A destination with what the configuration says of it, and of what it belongs to."""

    destination: Destination
    own: DestinationSettings
    settings: Settings

    @property
    def harbor(self) -> HarborSettings:
        """The Harbor that copies to it."""
        return self.settings.harbor(self.destination.harbor)

    @property
    def paused_until(self) -> Millis:
        """The end of a maintenance that is configured; 0 for none."""
        until = self.own.pause_until
        return round(until.timestamp() * 1000) if until else 0

    @property
    def choice(self) -> Choice | None:
        """What its cluster is to pull; None where no cluster is made to."""
        name = self.own.cluster
        probe = self.settings.cluster(name).probe if name else None
        if probe is None or not probe.is_on:
            return None
        new = probe.images == "new"
        return Choice(new, probe.sample, frozenset(probe.policies), probe.size_limit)

    def terms(self) -> Terms:
        """By what its images are judged."""
        return Terms(
            grace=_millis(self.own.grace),
            give_up_after=_millis(self.harbor.give_up_after),
            stale_after=_millis(self.own.stale_after),
            retry_first=_millis(self.own.retry_first),
            retry_longest=_millis(self.own.retry_longest),
            paused_until=self.paused_until,
            choice=self.choice,
        )

    def manner(self) -> Manner:
        """How it wants to be looked at."""
        own = self.own
        return Manner(
            concurrency=own.concurrency,
            recheck_per_minute=own.recheck_per_minute,
            recheck_after=min(_millis(own.recheck_after), _millis(own.stale_after) // 2),
            platforms=own.platforms,
            conditional=self.destination.type in ANSWERS_FROM_THE_TAG,
            proofs_kept=_millis(own.proofs_kept),
            full_check_every=_millis(own.full_check_every) if own.full_check_every else 0,
            full_check_bytes_per_second=own.full_check_bytes_per_second,
            cluster=own.cluster or "",
        )


def client_of(
    place: Place,
    clock: Clock,
    observe: Callable[[str, float], None],
    allowed: Callable[[], Awaitable[None]] | None,
) -> tuple[RegistryClient, Outbound]:
    """Who asks a destination; `allowed` is waited for before each request."""
    own, destination = place.own, place.destination
    outbound = Outbound(
        timeout=own.timeout.total_seconds(),
        concurrency=own.concurrency,
        ca_file=own.ca_file,
        insecure_skip_verify=own.insecure_skip_verify,
        observe=observe,
        allowed=allowed,
    )
    credential = own.credential
    client = RegistryClient(
        url=own.url or destination.url,
        outbound=outbound,
        credentials=lambda: credential.login() if credential else None,
        clock=clock.now,
        token_realms=own.token_realms,
        forget=credential.forget if credential else lambda: None,
        is_harbor=destination.type == "harbor",
    )
    return client, outbound


def _millis(duration: timedelta) -> Millis:
    return round(duration.total_seconds() * 1000)
