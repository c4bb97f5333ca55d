"""The stages of one configuration, running: built together, stopped together.

A reload stops these and starts new ones; the store and the listening sites stay. With PostgreSQL
the loops of a harbor, and the loop of a destination, run only while this replica holds its lease.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from syncwatch.doctor.keeping import Doctor
from syncwatch.errors import StoreError
from syncwatch.follow import Follower
from syncwatch.harbor.client import HarborClient
from syncwatch.model import MINUTE
from syncwatch.notify.beginning import prepare, sending
from syncwatch.notify.sending import LOOP as NOTIFY
from syncwatch.outbound import Outbound
from syncwatch.plan.keeping import Keeping
from syncwatch.plan.looking import Looking
from syncwatch.plan.misfits import misnamed, wrong_address
from syncwatch.plan.opening import Opening, for_destination
from syncwatch.plan.planner import Planner
from syncwatch.plan.sources import Sources
from syncwatch.plan.sweep import Sweep
from syncwatch.report.gauges import Surroundings
from syncwatch.runtime import log, supervise
from syncwatch.store import housekeeping, leases, pods, policies
from syncwatch.store.holding import LOOP, Holding
from syncwatch.verify.beginning import Place, client_of
from syncwatch.verify.verifier import Verifier

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from datetime import timedelta

    from sqlalchemy import Connection

    from syncwatch.config import ClusterSettings, HarborSettings, Settings
    from syncwatch.model import Change, Millis
    from syncwatch.report.metrics import Metrics
    from syncwatch.runtime import Clock, Pulse, Signals
    from syncwatch.store.database import Database
    from syncwatch.store.policies import Destination

FORGET_EVERY = 60.0
DESTINATIONS_EVERY = 1.0
TROUBLE_EVERY = 1.0

STORE = "store"
"""The lease of what is done once for the whole store."""
DESTINATION = "destination "
CLUSTER = "cluster "
ABANDONED_AFTER = 5 * MINUTE
"""How long after its deadline a pod is given up whose cluster is configured no more."""


def _of_harbor(name: str) -> str:
    return f"harbor {name}"


def _of_destination(destination_id: int) -> str:
    return f"{DESTINATION}{destination_id}"


def millis(duration: timedelta) -> Millis:
    """A duration of the configuration in milliseconds."""
    return round(duration.total_seconds() * 1000)


class Stages:
    """All loops of one configuration; those `beside` them run as long, whoever holds what.

    `publish` is told what changed, once it is durable; `pauses` are those that were shown before.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        database: Database,
        clock: Clock,
        signals: Signals,
        pulse: Pulse,
        metrics: Metrics,
        publish: Callable[[Sequence[Change]], None],
        replica: str,
        beside: Mapping[str, Callable[[], Awaitable[float]]],
        pauses: Mapping[int, Millis],
    ) -> None:
        self._settings = settings
        self._database = database
        self._clock = clock
        self._signals = signals
        self._pulse = pulse
        self._metrics = metrics
        self._publish = publish
        self._beside = beside
        metrics.will_notify(settings.notifications.events if settings.notifications else ())
        self._began = False
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._shares: dict[str, _Share] = {}
        self._clients = {one.name: self._client(one, at_once=8) for one in settings.harbors}
        self._up: dict[int, bool] = {}
        self._up_untold: dict[int, bool] = {}
        self._clusters: dict[int, str] = {}
        self._pauses = dict(pauses)
        self._to_clear: set[str] = set()
        self._holding: Holding | None = None
        if not database.is_sqlite:
            self._holding = Holding(
                database=database,
                signals=signals,
                me=replica,
                lease=settings.lease.total_seconds(),
                wanted=self._leases,
                stop=self._end_share,
            )

    async def start(self) -> None:
        """Begin to watch every configured harbor, and everything that follows.

        Never fails for the store: while that is away, the loops wait for it.
        """
        try:
            await self._begin()
        except StoreError as error:
            log.warning("store_away_at_start", reason=str(error))
        if self._holding is not None:
            await self._holding.turn()
            self._run(LOOP, self._holding.turn)
            self._tasks["guard"] = asyncio.create_task(self._holding.guard(), name="guard")
        if self._began:
            self._take_up()
        loops = {"destinations": self._keep_dividing, "trouble": self._heal, **self._beside}
        for name, turn in loops.items():
            self._run(name, turn)

    async def stop(self, *, reloading: bool = False) -> None:
        """End all loops; what was under way is due again later.

        This replica's part of the work goes to the others at once, unless it goes on `reloading`.
        """
        shared = {name for share in self._shares.values() for name in share.loops}
        await self._end_loops([name for name in self._tasks if name not in shared])
        await asyncio.gather(*(self._end_share(lease) for lease in list(self._shares)))
        for client in self._clients.values():
            await client.close()
        if self._holding is not None and not reloading:
            await self._holding.leave()

    async def _end_loops(self, names: Sequence[str]) -> None:
        tasks = [self._tasks.pop(name) for name in names]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for name in names:
            self._pulse.end(name)

    def surroundings(self) -> Surroundings:
        """What reports ask beside the store."""
        trouble = self._database.trouble
        around = Surroundings(self._up, self._clusters, self._pauses, store_trouble=trouble)
        if self._holding is None:
            return around
        held = self._holding.names()
        shown = {lease for lease in held if self._holding.shows(lease)}
        return replace(
            around,
            harbors={one.name for one in self._settings.harbors if _of_harbor(one.name) in shown},
            destinations={
                int(lease.partition(" ")[2]) for lease in shown if lease.startswith(DESTINATION)
            },
            leases=leases.count_of(held),
        )

    def source(self, harbor: str) -> HarborClient | None:
        """Whom to ask about images at a harbor that is watched, whoever holds its lease."""
        return self._clients.get(harbor)

    async def _begin(self) -> None:
        """Have a row for each harbor, which all that is done for it needs."""
        now = self._clock.now()

        def begin(connection: Connection) -> None:
            for harbor in self._settings.harbors:
                policies.begin(connection, harbor.name, now)
            prepare(connection, self._settings, for_destination, now)
            self._to_clear = pods.clusters_left(connection)

        await self._database.write(begin)
        self._began = True

    async def _heal(self) -> float:
        """Notice that the store can be written again, and have nobody wait any longer for it."""
        if not self._database.trouble:
            return TROUBLE_EVERY
        try:
            await self._database.try_again()
        except StoreError:
            return TROUBLE_EVERY
        log.info("store_written_again")
        self._signals.hear_all()
        return TROUBLE_EVERY

    def _leases(self, connection: Connection) -> list[str]:
        """All there is to hold."""
        watched = [harbor.name for harbor in self._settings.harbors]
        known = policies.known_destinations(connection)
        present = [one for one in known if one.gone_at is None and one.harbor in watched]
        own = [STORE, NOTIFY] if self._settings.notifications else [STORE]
        own += [f"{CLUSTER}{one.name}" for one in self._probed]
        return [*own, *map(_of_harbor, watched), *(_of_destination(one.id) for one in present)]

    @property
    def _probed(self) -> list[ClusterSettings]:
        """The clusters whose nodes are made to pull, and those that were, until nothing is left."""
        known = self._settings.clusters
        return [one for one in known if one.probe.is_on or one.name in self._to_clear]

    def _holds(self, lease: str) -> bool:
        return self._holding is None or self._holding.holds(lease)

    def _allowed(self, lease: str) -> Callable[[], Awaitable[None]] | None:
        """What each request on behalf of a lease waits for."""
        return partial(self._holding.held, lease) if self._holding is not None else None

    def _is_free(self, lease: str) -> bool:
        """Whether to begin with it; what has not ended yet is not begun again."""
        return lease not in self._shares and self._holds(lease)

    def _take_up(self) -> None:
        """Begin with what is held and needs no question."""
        for harbor in self._settings.harbors:
            if self._is_free(_of_harbor(harbor.name)):
                self._watch(harbor)
        if self._is_free(STORE):
            self._begin_share(STORE, _Share(), {"forget": self._forget})
        if self._settings.notifications and self._is_free(NOTIFY):
            means, told = (self._settings, self._database, self._clock), self._metrics
            one = sending(*means, told.notified, told.outbox, self._allowed(NOTIFY))
            self._begin_share(NOTIFY, _Share(close=one.close), {NOTIFY: one.turn})

        for cluster in self._probed:
            if self._is_free(f"{CLUSTER}{cluster.name}"):
                self._probe(cluster)

    def _probe(self, cluster: ClusterSettings) -> None:
        # Imported where a cluster is probed: nobody else pays for it.
        from syncwatch.probe.beginning import Told, prober_of  # noqa: PLC0415

        told, lease = self._metrics.clusters, f"{CLUSTER}{cluster.name}"
        prober = prober_of(
            cluster,
            self._settings,
            for_destination,
            Told(told.probed, told.stands, told.expect),
            database=self._database,
            clock=self._clock,
            signals=self._signals,
            allowed=self._allowed(lease),
        )
        share = _Share(close=prober.stop)
        self._begin_share(lease, share, {prober.loop_name: prober.turn})

    def _begin_share(
        self, lease: str, share: _Share, loops: Mapping[str, Callable[[], Awaitable[float]]]
    ) -> None:
        share.loops = list(loops)
        self._shares[lease] = share
        for name, turn in loops.items():
            self._run(name, partial(self._turn, lease, turn))

    async def _turn(self, lease: str, turn: Callable[[], Awaitable[float]]) -> float:
        """A turn only while the lease is held: after a pause of the process it may be another's."""
        return await turn() if self._holds(lease) else DESTINATIONS_EVERY

    async def _end_share(self, lease: str) -> None:
        """Stop the work on a lease; whoever asks for it waits until it has stopped."""
        share = self._shares.get(lease)
        if share is None:
            return
        if share.ending is None:
            share.ending = asyncio.create_task(self._end(lease, share), name=f"end {lease}")
        await asyncio.shield(share.ending)

    async def _end(self, lease: str, share: _Share) -> None:
        await self._end_loops(share.loops)
        if share.destination is not None:
            self._up.pop(share.destination.id, None)
        if share.close is not None:
            await share.close()
        self._shares.pop(lease, None)

    def _watch(self, harbor: HarborSettings) -> None:
        lease = _of_harbor(harbor.name)
        client = self._client(harbor, lease=lease)
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
            publish=self._published,
        )
        sources = Sources(client, self._clock)
        planner = Planner(
            harbor=harbor,
            settings=self._settings,
            client=client,
            looking=looking,
            keeping=keeping,
            sources=sources,
            database=self._database,
            clock=self._clock,
            signals=self._signals,
            publish=self._published,
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
        beside = self._client(harbor, lease=lease, at_once=2)
        sweep = Sweep(
            harbor=harbor,
            client=beside,
            keeping=keeping,
            sources=sources,
            database=self._database,
            clock=self._clock,
            signals=self._signals,
            ended=self._metrics.swept,
        )
        doctor = Doctor(
            harbor=harbor,
            settings=self._settings,
            client=beside,
            database=self._database,
            clock=self._clock,
        )
        loops = {
            f"plan {harbor.name}": planner.turn,
            f"follow {harbor.name}": follower.turn,
            f"sweep {harbor.name}": sweep.turn,
            f"doctor {harbor.name}": doctor.turn,
        }

        async def close() -> None:
            await client.close()
            await beside.close()

        self._begin_share(lease, _Share(close=close), loops)

    def _published(self, changes: Sequence[Change]) -> None:
        """Changes are durable: there may be something to tell."""
        self._publish(changes)
        if self._settings.notifications and any(one.moved for one in changes):
            self._signals.wake(NOTIFY)

    def _client(
        self, harbor: HarborSettings, *, lease: str | None = None, at_once: int = 6
    ) -> HarborClient:
        outbound = Outbound(
            timeout=harbor.timeout.total_seconds(),
            concurrency=at_once,
            ca_file=harbor.ca_file,
            insecure_skip_verify=harbor.insecure_skip_verify,
            observe=self._metrics.harbor_asked(harbor.name),
            allowed=self._allowed(lease) if lease else None,
        )
        credential = harbor.credential
        return HarborClient(
            name=harbor.name,
            url=harbor.url,
            outbound=outbound,
            credentials=lambda: credential.login() if credential else None,
            forget=credential.forget if credential else lambda: None,
        )

    def _run(self, name: str, turn: Callable[[], Awaitable[float]]) -> None:
        loop = supervise(name, turn, self._signals, self._pulse)
        self._tasks[name] = asyncio.create_task(loop, name=name)

    async def _keep_dividing(self) -> float:
        """Loops for what is held; one for each destination of those that Harbor has."""
        if not self._began:
            await self._begin()
        self._take_up()
        await self._tell_up()
        await self._end_cleared()
        watched = {harbor.name for harbor in self._settings.harbors}
        known = await self._database.read(policies.known_destinations)
        present = {one.id: one for one in known if one.gone_at is None and one.harbor in watched}
        for lease, share in list(self._shares.items()):
            before = share.destination
            if before is not None and present.get(before.id) != before:
                await self._end_share(lease)
        for destination in present.values():
            if self._is_free(_of_destination(destination.id)):
                self._begin_verifying(destination, known)
        return DESTINATIONS_EVERY

    async def _end_cleared(self) -> None:
        """Let go of clusters that are no longer probed, once none of our pods is there."""
        if not self._to_clear:
            return
        self._to_clear &= await self._database.read(pods.clusters_left)
        wanted = {f"{CLUSTER}{one.name}" for one in self._probed}
        for lease in [one for one in self._shares if one.startswith(CLUSTER)]:
            if lease not in wanted:
                await self._end_share(lease)

    def _is_up(self, destination_id: int, up: bool) -> None:
        if self._up.get(destination_id) is not up:
            self._up_untold[destination_id] = up
            self._signals.wake("destinations")
        self._up[destination_id] = up

    async def _tell_up(self) -> None:
        """Write it down for the other replicas, which show it too."""
        told = dict(self._up_untold)
        if told:
            await self._database.write(lambda c: policies.set_up(c, told))
        for destination_id, up in told.items():
            if self._up_untold.get(destination_id) is up:
                del self._up_untold[destination_id]

    def _begin_verifying(self, destination: Destination, known: Sequence[Destination]) -> None:
        place = Place(destination, for_destination(self._settings, destination), self._settings)
        lease = _of_destination(destination.id)
        observe = self._metrics.registry_asked(destination.harbor, destination.name)
        client, outbound = client_of(place, self._clock, observe, self._allowed(lease))
        terms = place.terms()
        verifier = Verifier(
            destination=destination,
            client=client,
            database=self._database,
            clock=self._clock,
            signals=self._signals,
            terms=lambda: terms,
            manner=place.manner(),
            publish=self._published,
            up=self._is_up,
            wrong_address=wrong_address(destination, place.own, known),
        )
        self._clusters[destination.id] = place.own.cluster or ""
        self._pauses[destination.id] = place.paused_until
        if self._holding is not None and destination.up is not None:
            # The word of the replica that had it before stands until the first look.
            self._up[destination.id] = destination.up

        async def close() -> None:
            await verifier.stop()
            await outbound.close()

        share = _Share(close=close, destination=destination)
        self._begin_share(lease, share, {verifier.loop_name: verifier.turn})

    async def _forget(self) -> float:
        settings, now = self._settings, self._clock.now()
        steps = housekeeping.steps(
            now, now - millis(settings.keep), settings.keep_expectations, settings.keep_deliveries
        )
        more = [await self._database.write(step) for step in steps]
        await self._abandon_pods(now)
        return 0.2 if any(more) else FORGET_EVERY

    async def _abandon_pods(self, now: Millis) -> None:
        """Nobody is left who could ask what became of pods of a cluster that was taken out."""
        names = {one.name for one in self._settings.clusters}
        before = now - ABANDONED_AFTER
        left = await self._database.write(lambda c: pods.abandon(c, names, before, now))
        for cluster, namespace, name in left:
            log.warning("probe_pod_left", cluster=cluster, namespace=namespace, pod=name)


@dataclass(slots=True)
class _Share:
    """What runs because a lease is held: its loops, and what is to be closed after them."""

    loops: list[str] = field(default_factory=list)
    close: Callable[[], Awaitable[None]] | None = None
    destination: Destination | None = None
    ending: asyncio.Task[None] | None = None
