"""The stages of one configuration, running: built together, stopped together.

A reload stops these and starts new ones; the store and the listening sites stay.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from syncwatch.errors import PatternError
from syncwatch.follow import Follower
from syncwatch.harbor.client import HarborClient
from syncwatch.model import Finding, Millis, Severity
from syncwatch.outbound import Outbound
from syncwatch.plan.keeping import Keeping
from syncwatch.plan.looking import Looking
from syncwatch.plan.matching import check_pattern
from syncwatch.plan.opening import Opening, for_destination
from syncwatch.plan.planner import Planner
from syncwatch.plan.sweep import Sweep
from syncwatch.report.gauges import Surroundings
from syncwatch.runtime import supervise
from syncwatch.store import accessories, policies, proofs, retention
from syncwatch.verify.judging import Terms
from syncwatch.verify.registry import RegistryClient
from syncwatch.verify.verifier import Manner, Verifier

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence
    from datetime import timedelta

    from sqlalchemy import Connection

    from syncwatch.config import DestinationSettings, HarborSettings, Settings
    from syncwatch.report.metrics import Metrics
    from syncwatch.runtime import Clock, Pulse, Signals
    from syncwatch.store.database import Database
    from syncwatch.store.policies import Destination

FORGET_EVERY = 60.0
DESTINATIONS_EVERY = 1.0

ANSWERS_FROM_THE_TAG = frozenset({"docker-registry"})
"""Adapters whose registry answers If-None-Match from the tag's own file (distribution,
registry/handlers/manifests.go). A Harbor answers it from its database, which proves nothing."""


def millis(duration: timedelta) -> Millis:
    """A duration of the configuration in milliseconds."""
    return round(duration.total_seconds() * 1000)


class Stages:
    """All loops of one configuration."""

    def __init__(
        self,
        *,
        settings: Settings,
        database: Database,
        clock: Clock,
        signals: Signals,
        pulse: Pulse,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._database = database
        self._clock = clock
        self._signals = signals
        self._pulse = pulse
        self._metrics = metrics
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._verifying: dict[int, _Verifying] = {}
        self._clients: list[HarborClient] = []
        self._up: dict[int, bool] = {}
        self._paused: dict[int, Millis] = {}
        self._clusters: dict[int, str] = {}

    async def start(self) -> None:
        """Begin to watch every configured harbor, and everything that follows."""
        now = self._clock.now()
        for harbor in self._settings.harbors:
            await self._begin(harbor.name, now)
            self._watch(harbor)
        self._run("destinations", self._keep_verifying)
        self._run("forget", self._forget)

    async def stop(self) -> None:
        """End all loops; what was under way is due again later."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        for name in self._tasks:
            self._pulse.end(name)
        for one in list(self._verifying.values()):
            await one.close()
        for client in self._clients:
            await client.close()

    def surroundings(self) -> Surroundings:
        """What reports ask beside the store."""
        return Surroundings(self._up, self._clusters, self._database.trouble)

    def source(self, harbor: str) -> HarborClient | None:
        """Whom to ask about images at a harbor that is watched."""
        return next((one for one in self._clients if one.name == harbor), None)

    async def _begin(self, harbor: str, now: Millis) -> None:
        await self._database.write(lambda c: policies.begin(c, harbor, now))

    def _watch(self, harbor: HarborSettings) -> None:
        client = self._client(harbor)
        looking = Looking(
            client,
            self._database,
            self._clock,
            lambda known: misnamed(self._settings, harbor.name, known),
        )
        keeping = Keeping(
            harbor=harbor.name,
            opening=Opening(harbor.name, self._settings),
            database=self._database,
            signals=self._signals,
            publish=self._metrics.publish,
        )
        planner = Planner(
            harbor=harbor,
            settings=self._settings,
            client=client,
            looking=looking,
            keeping=keeping,
            database=self._database,
            clock=self._clock,
            signals=self._signals,
            publish=self._metrics.publish,
            policy_changed=self._metrics.policy_changed,
            recovered=self._metrics.recovered,
        )
        follower = Follower(
            harbor=harbor,
            client=client,
            database=self._database,
            clock=self._clock,
            signals=self._signals,
            counted=self._metrics.execution_ended,
        )
        # Questions and connections of its own: it stands in no push's way.
        sweep = Sweep(
            harbor=harbor,
            client=self._client(harbor),
            keeping=keeping,
            database=self._database,
            clock=self._clock,
            signals=self._signals,
            ended=self._metrics.swept,
        )
        self._run(f"plan {harbor.name}", planner.turn)
        self._run(f"follow {harbor.name}", follower.turn)
        self._run(f"sweep {harbor.name}", sweep.turn)

    def _client(self, harbor: HarborSettings) -> HarborClient:
        outbound = Outbound(
            timeout=harbor.timeout.total_seconds(),
            concurrency=6,
            ca_file=harbor.ca_file,
            insecure_skip_verify=harbor.insecure_skip_verify,
            observe=self._metrics.harbor_asked(harbor.name),
        )
        credential = harbor.credential
        client = HarborClient(
            name=harbor.name,
            url=harbor.url,
            outbound=outbound,
            credentials=lambda: credential.login() if credential else None,
            forget=credential.forget if credential else _nothing,
        )
        self._clients.append(client)
        return client

    def _run(self, name: str, turn: Callable[[], Awaitable[float]]) -> None:
        loop = supervise(name, turn, self._signals, self._pulse)
        self._tasks[name] = asyncio.create_task(loop, name=name)

    async def _keep_verifying(self) -> float:
        """A loop for each destination that Harbor has; none for those that are gone."""
        watched = {harbor.name for harbor in self._settings.harbors}
        known = await self._database.read(policies.known_destinations)
        present = {one.id: one for one in known if one.gone_at is None and one.harbor in watched}
        self._paused = {one.id: one.paused_until or 0 for one in present.values()}
        for destination_id, verifying in list(self._verifying.items()):
            if present.get(destination_id) != verifying.destination:
                await self._end_verifying(destination_id)
        for destination in present.values():
            if destination.id not in self._verifying:
                self._begin_verifying(destination, known)
        return DESTINATIONS_EVERY

    def _begin_verifying(self, destination: Destination, known: Sequence[Destination]) -> None:
        settings = for_destination(self._settings, destination)
        outbound = Outbound(
            timeout=settings.timeout.total_seconds(),
            concurrency=settings.concurrency,
            ca_file=settings.ca_file,
            insecure_skip_verify=settings.insecure_skip_verify,
            observe=self._metrics.registry_asked(destination.harbor, destination.name),
        )
        credential = settings.credential
        client = RegistryClient(
            url=settings.url or destination.url,
            outbound=outbound,
            credentials=lambda: credential.login() if credential else None,
            clock=self._clock.now,
            token_realms=settings.token_realms,
            forget=credential.forget if credential else _nothing,
            is_harbor=destination.type == "harbor",
        )
        verifier = Verifier(
            destination=destination,
            client=client,
            database=self._database,
            clock=self._clock,
            signals=self._signals,
            terms=lambda: self._terms(destination, settings),
            manner=_manner(destination, settings),
            publish=self._metrics.publish,
            up=self._up.__setitem__,
            wrong_address=wrong_address(destination, settings, known),
        )
        self._clusters[destination.id] = settings.cluster or ""
        self._run(verifier.loop_name, verifier.turn)
        self._verifying[destination.id] = _Verifying(destination, verifier, outbound)

    async def _end_verifying(self, destination_id: int) -> None:
        one = self._verifying.pop(destination_id)
        task = self._tasks.pop(one.verifier.loop_name)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        self._pulse.end(one.verifier.loop_name)
        self._up.pop(destination_id, None)
        await one.close()

    def _terms(self, destination: Destination, settings: DestinationSettings) -> Terms:
        harbor = next(one for one in self._settings.harbors if one.name == destination.harbor)
        until = settings.pause_until
        configured = round(until.timestamp() * 1000) if until else 0
        return Terms(
            grace=millis(settings.grace),
            give_up_after=millis(harbor.give_up_after),
            stale_after=millis(settings.stale_after),
            retry_first=millis(settings.retry_first),
            retry_longest=millis(settings.retry_longest),
            paused_until=max(configured, self._paused.get(destination.id, 0)),
        )

    async def _forget(self) -> float:
        before = self._clock.now() - millis(self._settings.keep)
        most, deliveries = self._settings.keep_expectations, self._settings.keep_deliveries
        steps: tuple[Callable[[Connection], bool], ...] = (
            lambda c: retention.forget_deliveries(c, before, deliveries),
            lambda c: retention.forget_expectations(c, before, most),
            lambda c: retention.forget_deletions(c, before),
            lambda c: retention.forget_executions(c, before),
            lambda c: retention.forget_claims(c, self._clock.now()),
            lambda c: proofs.forget(c, self._clock.now()),
            lambda c: accessories.forget(c, before),
        )
        more = [await self._database.write(step) for step in steps]
        return 0.2 if any(more) else FORGET_EVERY


def _manner(destination: Destination, settings: DestinationSettings) -> Manner:
    return Manner(
        concurrency=settings.concurrency,
        recheck_per_minute=settings.recheck_per_minute,
        recheck_after=min(millis(settings.recheck_after), millis(settings.stale_after) // 2),
        platforms=settings.platforms,
        conditional=destination.type in ANSWERS_FROM_THE_TAG,
        proofs_kept=millis(settings.proofs_kept),
        full_check_every=millis(settings.full_check_every) if settings.full_check_every else 0,
        full_check_bytes_per_second=settings.full_check_bytes_per_second,
    )


def _nothing() -> None:
    """Nobody has a file to forget."""


class _Verifying:
    """One destination's verifier with its connections."""

    def __init__(self, destination: Destination, verifier: Verifier, outbound: Outbound) -> None:
        self.destination = destination
        self.verifier = verifier
        self._outbound = outbound

    async def close(self) -> None:
        await self.verifier.stop()
        await self._outbound.close()


def wrong_address(
    destination: Destination, settings: DestinationSettings, known: Sequence[Destination]
) -> str:
    """Why a look at the configured url would prove nothing: Harbor has moved away from it."""
    if not settings.url or settings.url.rstrip("/") == destination.url:
        return ""
    before = [
        one
        for one in known
        if one.harbor == destination.harbor
        and one.registry_id == destination.registry_id
        and one.url == settings.url.rstrip("/")
    ]
    return f"Harbor now copies to {destination.url}, the configuration has {settings.url}" * bool(
        before
    )


def misnamed(settings: Settings, harbor: str, known: Sequence[Destination]) -> list[Finding]:
    """Entries of the configuration that do not fit what Harbor has."""
    found = []
    present = [one for one in known if one.gone_at is None]
    for entry in settings.destinations:
        if entry.name == "*" or entry.harbor not in (None, harbor):
            continue
        if any(one.name == entry.name for one in present):
            continue
        renamed = next((one.name for one in present if one.first_name == entry.name), None)
        elsewhere = entry.harbor is None and len(settings.harbors) > 1
        if renamed is None and elsewhere:
            continue
        words = f", which calls it {renamed} now" if renamed else ""
        found.append(
            Finding(
                "destination_unknown",
                Severity.WARNING,
                f"destination {entry.name}",
                f"The configuration names {entry.name}, unknown to Harbor {harbor}{words}.",
                "Use the name of the registry endpoint in Harbor.",
            )
        )
    for one in present:
        entry = for_destination(settings, one)
        if why := wrong_address(one, entry, known):
            found.append(
                Finding(
                    "destination_url_changed",
                    Severity.ERROR,
                    f"destination {one.name}",
                    f"{why}; nothing is asked there, and no credential sent.",
                    "Set url to the new address, if the credential may go there.",
                )
            )
        elif entry.url and entry.url.rstrip("/") != one.url:
            found.append(
                Finding(
                    "destination_url_changed",
                    Severity.INFO,
                    f"destination {one.name}",
                    f"Harbor copies {one.name} to {one.url}, and it is looked at by {entry.url}.",
                    "Nothing to do where both are one registry; else correct url.",
                )
            )
    return [*found, *_malformed_ignores(settings)]


def _malformed_ignores(settings: Settings) -> Iterator[Finding]:
    """Patterns that can never be right; the others work on."""
    for rule in settings.ignore:
        for pattern in (rule.repository, rule.reference):
            try:
                check_pattern(pattern or "")
            except PatternError as error:
                yield Finding(
                    "config_invalid",
                    Severity.WARNING,
                    f"ignore {pattern}",
                    f"The pattern {pattern!r} under ignore is malformed: {error.message}.",
                    "Correct it; until then it ignores nothing that reaches the bad part.",
                )
