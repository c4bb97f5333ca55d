"""Pods that are under way: made, followed until their kubelet has spoken, judged once, deleted.

Comes in: pods by their rows in the store. Goes out: rows that are judged, and pods that are gone.
One watch tells of all pods, so that a change is noticed at once; it may break off any time, and
costs a second then.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from syncwatch.errors import ClusterError
from syncwatch.model import MINUTE, SECOND, ProbeMode, Pulling
from syncwatch.probe import pod as pods_of
from syncwatch.probe.cluster import LASTING, WATCH
from syncwatch.probe.judging import judge
from syncwatch.runtime import log, redact
from syncwatch.store import pods

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

    from syncwatch.model import Millis
    from syncwatch.probe.admitting import Site
    from syncwatch.probe.cluster import Node
    from syncwatch.probe.judging import Judgement
    from syncwatch.probe.telling import Telling
    from syncwatch.runtime import Clock
    from syncwatch.store.database import Database
    from syncwatch.store.pods import Pod

MARGIN = MINUTE
"""How long after its deadline a pod may be deleted by whoever finds it."""

AWAY_FOR = MINUTE
"""So long after its deadline a pod of a cluster that cannot be asked is given up."""

SILENT_FOR = 5 * SECOND
"""After so long without a word of the watch a pod is asked for."""

LASTING_QUIET = MINUTE
"""How long no pod is begun while the cluster does not let us do what a pod needs."""

NOT_TAKEN = ("refused", *LASTING)
"""Kinds of errors after which a pod will not be made."""

STUCK_FOR = MINUTE
"""So long after its judgement a pod that does not end is deleted without its node's leave."""

STUCK_TOLD, STUCK_MOST = 5 * MINUTE, 10
"""After so long it is told, and with so many of them no more are made."""

SHORTEST_PAUSE, LONGEST_PAUSE = SECOND // 4, 5 * SECOND
"""Between two questions about one pod."""

AT_ONCE = 8
"""Questions to the cluster at a time."""


class Cluster(Protocol):
    """What the prober needs of a cluster's API; every call raises ClusterError."""

    trouble: dict[str, ClusterError]

    async def create(self, pod: dict[str, Any]) -> dict[str, Any]:
        """Make a pod, or find the one of that name."""
        ...

    async def get(self, name: str) -> dict[str, Any] | None:
        """The pod as it is now."""
        ...

    async def delete(self, name: str, uid: str, grace_seconds: int, *, namespace: str = "") -> None:
        """Have it deleted; one that is gone is fine."""
        ...

    async def events(self, uid: str) -> list[dict[str, Any]]:
        """All events of the pod of that uid."""
        ...

    async def nodes(self) -> list[Node]:
        """The cluster's nodes."""
        ...

    async def watch(self, changed: Callable[[dict[str, Any], bool], None]) -> None:
        """Tell of every pod of ours, and whether it was deleted, for ever."""
        ...

    async def close(self) -> None:
        """End all connections."""
        ...


@dataclass(slots=True)
class _Known:
    """Pods by name, when each was heard of last, and those that are gone as they were last."""

    pods: dict[str, dict[str, Any]] = field(default_factory=dict)
    heard_at: dict[str, Millis] = field(default_factory=dict)
    asked_again_at: dict[str, Millis] = field(default_factory=dict)
    gone: dict[str, dict[str, Any]] = field(default_factory=dict)

    def keep(self, name: str, pod: dict[str, Any], now: Millis) -> None:
        """It is so now."""
        if self.pods.get(name) != pod:
            self.asked_again_at.pop(name, None)
        self.pods[name], self.heard_at[name] = pod, now

    def forget(self, name: str) -> None:
        """Nobody asks for it any more."""
        for known in (self.pods, self.heard_at, self.asked_again_at):
            known.pop(name, None)

    def lose(self, name: str, pod: dict[str, Any]) -> None:
        """It is gone, and was like this."""
        self.forget(name)
        self.gone[name] = pod

    def keep_of(self, names: Collection[str]) -> None:
        """Of what is gone only those are asked for."""
        self.gone = {name: pod for name, pod in self.gone.items() if name in names}


class UnderWay:
    """The pods of one cluster. `wake` is called when the watch tells of a change."""

    def __init__(
        self,
        *,
        name: str,
        cluster: Cluster,
        namespace: str,
        manner: pods_of.Manner,
        telling: Telling,
        database: Database,
        clock: Clock,
        wake: Callable[[], None],
    ) -> None:
        self._denied_until: Millis = 0
        self._met: list[ClusterError] = []
        self._name = name
        self._cluster = cluster
        self._namespace = namespace
        self._manner = manner
        self._telling = telling
        self._database = database
        self._clock = clock
        self._wake = wake
        self._known = _Known()
        self._watching: asyncio.Task[None] | None = None
        self._deleted: dict[str, Millis] = {}
        self._stuck: list[str] = []
        self._names: dict[int, str] = {}
        self._gate = asyncio.Semaphore(AT_ONCE)

    @property
    def trouble(self) -> list[ClusterError]:
        """What the cluster did not let us do since the last `follow`, and does not as it stands."""
        stuck = [_left(self._name, self._stuck)] if self._stuck else []
        return [*self._cluster.trouble.values(), *self._met, *stuck]

    def may_begin(self, now: Millis) -> bool:
        """Whether more pods are of use: the watch goes, nothing went wrong, few do not go."""
        if self._met or WATCH in self._cluster.trouble or len(self._stuck) >= STUCK_MOST:
            return False
        return not self._cluster.trouble or now >= self._denied_until

    async def follow(self, rows: Sequence[Pod], sites: Mapping[int, Site]) -> None:
        """Judge what can be judged, delete what was."""
        self._met = []
        self._known.keep_of({one.name for one in rows})
        long_ago = self._clock.now() - STUCK_TOLD
        self._stuck = [one.name for one in rows if (one.ended_at or long_ago) < long_ago]
        self._names = {one.destination.id: one.destination.name for one in sites.values()}
        self._watch()
        await asyncio.gather(*(self._guarded(self._follow, one, sites) for one in rows))
        await self._guarded(self._reap, {one.name for one in rows})

    def _watch(self) -> None:
        """Watch, and begin anew where a watch ended: it is to go on for ever."""
        ended = self._watching
        if ended is not None and ended.done() and not ended.cancelled():
            error = ended.exception()
            log.error("watch_crashed", cluster=self._name, error=type(error).__name__)
            words = f"The watch of cluster {self._name} broke ({type(error).__name__})."
            self._met.append(ClusterError("server", words))
        if ended is None or ended.done():
            self._watching = asyncio.create_task(self._cluster.watch(self._changed), name="watch")

    async def make(self, rows: Sequence[Pod]) -> None:
        """Make pods that were written down; what goes wrong is met again as they are followed."""
        for row in rows:
            await self._guarded(self._make, row)

    async def stop(self) -> None:
        """End the watch; pods are judged after the next start, by whoever has them then."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        await self._cluster.close()

    def _changed(self, pod: dict[str, Any], deleted: bool) -> None:
        """The watch tells of a pod."""
        name = str(pod.get("metadata", {}).get("name", ""))
        if deleted:
            self._known.lose(name, pod)
        else:
            self._known.keep(name, pod, self._clock.now())
        self._wake()

    async def _guarded(self, work: Callable[..., Awaitable[None]], *given: Any) -> None:
        async with self._gate:
            try:
                await work(*given)
            except ClusterError as error:
                self.mind(error)

    def mind(self, error: ClusterError) -> None:
        """It goes on as trouble; what somebody has to mend first is not asked for all the time."""
        self._met.append(error)
        if error.kind in LASTING:
            self._denied_until = self._clock.now() + LASTING_QUIET

    async def _follow(self, row: Pod, sites: Mapping[int, Site]) -> None:
        if row.namespace != self._namespace:
            await self._lose(row, sites)
            return
        if row.ended_at is not None:
            await self._remove(row)
            return
        try:
            judged = await self._judged(row)
        except ClusterError as error:
            judged = self._given_up(row, error)
            if judged is None:
                raise
        if judged is not None:
            await self._end(row, judged, sites)
            await self._remove(row)

    async def _lose(self, row: Pod, sites: Mapping[int, Site]) -> None:
        """Its namespace is no longer ours by the configuration: nothing more can be known of it."""
        words = f"Its pod is in {row.namespace}, and probes are made in {self._namespace} now."
        await self._end(row, pods.Ended(Pulling.INCONCLUSIVE, "moved", words, "", None), sites)
        try:
            await self._cluster.delete(row.name, "", 0, namespace=row.namespace)
        except ClusterError as error:
            if error.kind not in LASTING:
                raise
            # We may not there any more; its own deadline ends it.
            log.warning("probe_pod_left", namespace=row.namespace, pod=row.name, error=str(error))
        now = self._clock.now()
        await self._database.write(lambda c: pods.gone(c, row.id, now))

    async def _judged(self, row: Pod) -> pods.Ended | None:
        """What became of it, None while nothing can be said.

        The longer it is silent, the less often it is asked for; at once where the watch tells.
        """
        now = self._clock.now()
        if now < row.deadline_at and _is_soon(self._known.asked_again_at.get(row.name, 0), now):
            return None
        pod = await self._pod(row.name, now)
        gone = pod is None and row.name in self._known.gone
        if pod is None and not gone:
            if now >= row.deadline_at or self._manner.mode is ProbeMode.OFF:
                return pods.Ended(Pulling.INCONCLUSIVE, "not_made", _NOT_MADE, "", None)
            try:
                pod = await self._cluster.create(self._manifest(row))
            except ClusterError as error:
                return self._not_made(error)
            self._known.keep(row.name, pod, now)
        self._known.asked_again_at[row.name] = now + _pause(now - row.began_at)
        # Its events outlive it.
        pod = pod or self._known.gone.get(row.name, {})
        uid = _uid(pod)
        events = await self._cluster.events(uid) if uid else []
        say = partial(
            judge,
            pod,
            events,
            now,
            image=row.image,
            digest=row.digest,
            mode=self._manner.mode,
            deadline_at=row.deadline_at,
            gone=gone,
        )
        said = say()
        if said is not None and said.result is Pulling.PULLED and said.node in row.holders:
            said = say(held=True)
        return _ended(said) if said is not None else None

    async def _pod(self, name: str, now: Millis) -> dict[str, Any] | None:
        """The pod as the watch told; asked for where that has been silent for a while."""
        if now - self._known.heard_at.get(name, 0) < SILENT_FOR:
            return self._known.pods.get(name)
        pod = await self._cluster.get(name)
        if pod is not None:
            self._known.keep(name, pod, now)
        elif name in self._known.pods:
            self._known.lose(name, self._known.pods[name])
        return pod

    def _not_made(self, error: ClusterError) -> pods.Ended | None:
        """A pod that the cluster does not let us make; None where it may yet."""
        if error.kind not in NOT_TAKEN:
            raise error
        if error.kind in LASTING:
            self.mind(error)
        words = f"The cluster did not take the pod: {error.message}"
        return pods.Ended(Pulling.INCONCLUSIVE, error.kind, words, "", None)

    def _given_up(self, row: Pod, error: ClusterError) -> pods.Ended | None:
        if self._clock.now() < row.deadline_at + AWAY_FOR:
            return None
        words = f"The cluster could not be asked what became of the pod: {error.message}"
        return pods.Ended(Pulling.INCONCLUSIVE, "cluster_away", words, "", None)

    async def _end(self, row: Pod, ended: pods.Ended, sites: Mapping[int, Site]) -> None:
        """Write what it came to, and tell of it, once."""
        now = self._clock.now()
        if not await self._database.write(lambda c: pods.end(c, row.id, ended, now)):
            return
        site = sites.get(row.destination_id)
        place = site.destination.name if site else ""
        seconds = max(0, now - row.began_at) / SECOND
        self._telling.ended(place, ended.result, seconds)
        log.info(
            "probe_pod_ended",
            cluster=self._name,
            destination=place,
            pod=row.name,
            image=row.image,
            node=ended.node,
            result=str(ended.result),
            cause=ended.cause,
            message=ended.message,
        )

    async def _remove(self, row: Pod) -> None:
        """Delete the pod, and remember when the cluster has it no more."""
        now = self._clock.now()
        pod = self._known.pods.get(row.name)
        if row.name in self._deleted:
            if _is_soon(self._deleted[row.name], now):
                return
            pod = await self._cluster.get(row.name)
        elif pod is None:
            pod = await self._cluster.get(row.name)
        if pod is not None:
            # Its node is gone, or does not get on with it: then without its leave.
            waits = now <= (row.ended_at or now) + STUCK_FOR
            going = "deletionTimestamp" in pod.get("metadata", {})
            if not going or not waits:
                grace = pods_of.grace_seconds(pod) if waits else 0
                await self._cluster.delete(row.name, _uid(pod), grace)
            self._deleted[row.name] = now + _pause(now - (row.ended_at or now))
            pod = await self._cluster.get(row.name)
        if pod is None:
            await self._database.write(lambda c: pods.gone(c, row.id, now))
            self._forget(row.name)

    def _forget(self, name: str) -> None:
        self._known.forget(name)
        self._known.gone.pop(name, None)
        self._deleted.pop(name, None)

    async def _reap(self, ours: set[str]) -> None:
        """Delete what a crash, or another installation that is gone, left past its time."""
        now = self._clock.now()
        for name, pod in list(self._known.pods.items()):
            expires_at = pods_of.expires_at(pod)
            if name in ours or expires_at is None or expires_at > now:
                continue
            await self._cluster.delete(name, _uid(pod), 0)
            log.info("probe_pod_reaped", cluster=self._name, pod=name)
            self._known.forget(name)

    async def _make(self, row: Pod) -> None:
        """Make it now; what goes wrong is met again, and judged, when it is followed."""
        try:
            pod = await self._cluster.create(self._manifest(row))
            self._known.keep(row.name, pod, self._clock.now())
        except ClusterError as error:
            if error.kind not in NOT_TAKEN:
                raise

    def _manifest(self, row: Pod) -> dict[str, Any]:
        order = pods_of.Order(
            name=row.name,
            image=row.image,
            digest=row.digest,
            destination=self._names.get(row.destination_id, ""),
            cluster=self._name,
            architecture=row.architecture,
            avoid=tuple(sorted(row.holders)),
            expires_at=row.deadline_at + MARGIN,
        )
        return pods_of.manifest(order, self._manner)


_NOT_MADE = "There is no such pod, and none is made any more."


def _pause(since: Millis) -> Millis:
    """How long nothing is asked of a pod after so long."""
    return min(LONGEST_PAUSE, max(SHORTEST_PAUSE, since // 10))


def _is_soon(at: Millis, now: Millis) -> bool:
    """Whether it is worth waiting for; a clock that was set back is not waited for."""
    return 0 < at - now <= LONGEST_PAUSE


def _left(cluster: str, names: Sequence[str]) -> ClusterError:
    told = f"{names[0]} and {len(names) - 1} more" if len(names) > 1 else names[0]
    words = f"Pods of probes that were deleted in cluster {cluster} do not go: {told}."
    return ClusterError("left", words)


def _uid(pod: Mapping[str, Any]) -> str:
    return str(pod.get("metadata", {}).get("uid", ""))


def _ended(said: Judgement) -> pods.Ended:
    return pods.Ended(said.result, said.cause, redact(said.message), said.node, said.seconds)
