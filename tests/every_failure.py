"""A run of the real daemon that goes well and goes wrong in each way there is, within 20 seconds.

    async with every_failure(tmp_path) as run, prometheus(tmp_path, run.target) as server:
        await run.happen()

So whoever counts sees each counter rise from 0. Harbor copies to six destinations:

    cluster1  healthy, faults by repository    cluster4  refuses our password
    cluster2  healthy, slow with `apps/big`    cluster5  paused, and a layer is missing there
    cluster3  goes away in the middle          mirror    Harbor writes to another place than we read
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import io
import json
import sqlite3
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from aiohttp import web
from running import SECRET, Watched, running, settings_file, until

from syncwatch.lab import images
from syncwatch.lab.harbor import EVENT_TYPES, LabHarbor
from syncwatch.lab.jobs import SUCCESS
from syncwatch.lab.listener import Listener
from syncwatch.lab.records import REPLICATION
from syncwatch.lab.registry import Fault, LabRegistry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

CLUSTERS = ("cluster1", "cluster2", "cluster3", "cluster4", "cluster5")
MIRROR = "mirror"
ACCOUNT = {"username": "reader", "password": "right"}
POLICIES: dict[str, tuple[str, dict[str, Any]]] = {
    "apps-to-cluster1": ("cluster1", {"pattern": "apps/**", "deletion": True}),
    "apps-to-cluster2": ("cluster2", {"pattern": "apps/**"}),
    "edge-to-cluster3": ("cluster3", {"pattern": "edge/**"}),
    "team-to-cluster4": ("cluster4", {"pattern": "team/**"}),
    "lab-to-cluster5": ("cluster5", {"pattern": "lab/**"}),
    "tools-to-mirror": (MIRROR, {"pattern": "tools/**", "deletion": True}),
    "quiet-to-cluster1": ("cluster1", {"pattern": "quiet/**"}),
    "empty-to-cluster2": ("cluster2", {"pattern": "empty/**", "override": False}),
    "nightly-to-cluster2": (
        "cluster2",
        {"pattern": "nightly/**", "trigger": "scheduled", "cron": "0 0 3 1 1 *"},
    ),
}
"""Destination and settings of each policy, by name; each project's events come by webhook."""

FAILED = {
    "execution_failed", "execution_stopped", "empty_run", "not_started", "missing", "blob_missing",
    "digest_mismatch", "lost", "not_deleted",
}  # fmt: skip
"""The reasons of `failed` that are to be seen at the end."""

UNKNOWN = {"unreachable", "unauthorized", "forbidden"}
CLOSED = {"superseded", "deleted_at_source", "deletion_unsupported"}
"""And `policy_gone`, whose gauges go with the policy."""

OUTCOMES = {
    "accepted", "duplicate", "ignored", "unauthorized", "malformed", "too_large", "not_durable",
}  # fmt: skip
SEVERITIES = {"error", "warning", "info"}
STATUSES = {"Succeed", "Failed", "Stopped"}

GATE = (200, 404, 409, 422, 503)
NOTIFIED = {"delivered", "failed", "gave_up"}
"""And `dropped`, for which more have to wait than a run can bring about."""

DEADLINE = "6s"
_TERMS = {
    "grace": "500ms",
    "retry_first": "300ms",
    "retry_longest": "2s",
    "recheck_per_minute": 120,
    "recheck_after": "1s",
}
_HARBOR = {"sweep_every": "10s", "poll_every": "500ms", "policies_every": "500ms"}
_HARBOR |= {"give_up_after": "3s", "recovered_after": "2s"}


class Receiver:
    """Who is told of images: it stumbles twice, and takes no event of one repository at all."""

    def __init__(self) -> None:
        self.listener = Listener(self._application)
        self.told: list[dict[str, Any]] = []

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[Receiver]:
        await self.listener.start()
        try:
            yield self
        finally:
            await self.listener.stop()

    def _application(self) -> web.Application:
        application = web.Application()
        application.router.add_post("/hook", self._take)
        return application

    async def _take(self, request: web.Request) -> web.Response:
        self.told.append(json.loads(await request.read()))
        if len(self.told) <= 2:
            return web.Response(status=503)
        refused = self.told[-1]["subject"].startswith("apps/blob")
        return web.Response(status=400 if refused else 202)


@dataclass
class EveryFailure:
    """Harbor, its destinations and the daemon; nothing has happened before `happen`."""

    harbor: LabHarbor
    registries: dict[str, LabRegistry]
    receiver: Receiver
    watched: Watched
    config: Path
    store: Path
    _pushed: Iterator[int] = field(default_factory=lambda: iter(range(1, 10_000)))

    @property
    def target(self) -> str:
        """The host:port whose `/metrics` Prometheus is to scrape."""
        return self.watched.daemon.url.removeprefix("http://")

    async def happen(self, *, longer: float = 0.0) -> None:
        """Bring about everything, and wait until it shows; healthy pushes all the while.

        `longer` is for how many more seconds healthy pushes go on before the end.
        """
        await self._stopped_by_hand()
        await self._nothing_is_started()
        pushing = asyncio.create_task(self._push_on())
        try:
            await asyncio.gather(
                self._good(),
                self._broken_at_the_destination(),
                self._failed_copy(),
                self._lost(),
                self._cannot_be_asked(),
                self._closed(),
                self._deleted_and_there(),
                self._bad_deliveries(),
                self._policies_change(),
                self._never_started(),
                self._asked_at_the_gate(),
                self._notified(),
            )
            await asyncio.sleep(longer)
        finally:
            pushing.cancel()
            await asyncio.gather(pushing, return_exceptions=True)
        await self._store_is_locked()

    async def good_push(self, repository: str = "apps/web") -> str:
        """Push the next healthy image and wait until it is verified everywhere; its reference."""
        reference = f"1.{next(self._pushed)}"
        self.push(repository, reference)
        for destination in ("cluster1", "cluster2"):
            await self.row(repository, reference, destination=destination, state="verified")
        return reference

    def push(self, repository: str, reference: str, words: str = "") -> str:
        """Push an image that follows from `words`, or else from its name; its digest."""
        return self.harbor.push(
            repository, reference, images.image(words or f"{repository} {reference}")
        )

    async def row(self, repository: str, reference: str, **wanted: Any) -> dict[str, Any]:
        """The first row of an image that has these values, waited for."""

        async def found() -> dict[str, Any] | None:
            rows = await self.watched.expectations(repository=repository, reference=reference)
            return next((row for row in rows if wanted.items() <= row.items()), None)

        try:
            told: dict[str, Any] = await _until(found, f"{repository}:{reference} {wanted}")
        except AssertionError as error:
            rows = await self.watched.expectations(repository=repository, reference=reference)
            raise AssertionError(f"{error}; rows: {rows}") from None
        return told

    async def counted(self, name: str, at_least: float = 1.0, **labels: str) -> None:
        """Wait until a metric is so much."""

        async def enough() -> bool:
            return (await self.watched.metric(name, **labels) or 0.0) >= at_least

        await _until(enough, f"{name} {labels}")

    async def _push_on(self) -> None:
        """A healthy push again and again, some of them slow."""
        while True:
            number = next(self._pushed)
            self.push("apps/big" if number % 3 == 0 else "apps/api", f"2.{number}")
            await asyncio.sleep(1.0)

    async def _stopped_by_hand(self) -> None:
        """An execution that somebody stops before it has begun."""
        self.harbor.pause_queue()
        self.push("apps/stopped", "1.0")
        await self.row("apps/stopped", "1.0", destination="cluster1", reason="queued")
        policy = self.harbor.policy("apps-to-cluster1").id
        for execution in list(self.harbor.world.executions.values()):
            if (execution.vendor, execution.vendor_id) == (REPLICATION, policy):
                self.harbor.jobs.stop(execution)
        self.harbor.resume_queue()
        await self.row("apps/stopped", "1.0", reason="execution_stopped")

    async def _good(self) -> None:
        for repository in ("apps/web", "apps/api", "apps/web"):
            await self.good_push(repository)
        self.harbor.push("nightly/app", "1.0", images.image("nightly"))
        await self.row("nightly/app", "1.0", state="pending", reason="scheduled")
        self.push("lab/app", "1.0")
        row = await self.row("lab/app", "1.0", state="failed")
        assert not row["overdue"]
        # No webhook tells of it, and an execution does.
        self.harbor.switches.drop_webhooks = True
        self.push("apps/unheard", "1.0")
        self.harbor.switches.drop_webhooks = False
        await self.row("apps/unheard", "1.0", destination="cluster1", state="verified")

    async def _broken_at_the_destination(self) -> None:
        """Harbor says Succeed each time, as the manifest lies there already."""
        registry = self.registries["cluster1"]
        for repository, fault, reason in (
            ("apps/blob", Fault.BLOB_NOT_FOUND, "blob_missing"),
            ("apps/none", Fault.GET_NOT_FOUND, "missing"),
            ("apps/other", Fault.WRONG_DIGEST, "digest_mismatch"),
        ):
            registry.push(repository, "1.0", images.image(f"{repository} 1.0"))
            registry.fault(fault, repository)
            self.push(repository, "1.0")
            await self.row(repository, "1.0", destination="cluster1", reason=reason)
        await self.counted("syncwatch_false_success_total", 3)

    async def _failed_copy(self) -> None:
        (layer,) = images.image("apps/unlucky 1.0").layer_digests
        self.registries["cluster1"].fault(Fault.SERVER_ERROR, "apps/unlucky", layer)
        self.push("apps/unlucky", "1.0")
        await self.row("apps/unlucky", "1.0", reason="execution_failed")

    async def _lost(self) -> None:
        digest = self.push("apps/lost", "1.0")
        row = await self.row("apps/lost", "1.0", destination="cluster2", state="verified")

        async def seen_after_the_claim() -> bool:
            now = await self.row("apps/lost", "1.0", id=row["id"])
            claimed, last = now["claimed_at"], now["observed_at"]
            # Harbor's times are whole seconds. A look before its end could make it a false success.
            return claimed is not None and _seconds(last) > _seconds(claimed) + 2

        await _until(seen_after_the_claim, "a look after Harbor's success")
        self.registries["cluster2"].lose_tag("apps/lost", "1.0")
        self.registries["cluster2"].lose_manifest("apps/lost", digest)
        await self.row("apps/lost", "1.0", destination="cluster2", reason="lost")

    async def _cannot_be_asked(self) -> None:
        self.push("edge/app", "1.0")
        await self.row("edge/app", "1.0", state="verified")
        await self.registries["cluster3"].stop()
        self.push("edge/app", "2.0")
        self.push("team/app", "1.0")
        self.registries["cluster1"].fault(Fault.FORBIDDEN, "apps/refused")
        self.push("apps/refused", "1.0")
        await self.row("edge/app", "2.0", state="unknown", reason="unreachable")
        await self.row("team/app", "1.0", state="unknown", reason="unauthorized")
        await self.row("apps/refused", "1.0", state="unknown", reason="forbidden")
        await self.row("edge/app", "2.0", overdue=True)

    async def _closed(self) -> None:
        for words in ("first", "second"):
            digest = self.push("apps/moved", "latest", words)
            await self.row("apps/moved", "latest", digest=digest, state="verified")
        await self.row("apps/moved", "latest", reason="superseded")
        for tag in ("1.0", "stable"):
            self.push("apps/gone", tag, "one image")
            await self.row("apps/gone", tag, destination="cluster1", state="verified")
        self.harbor.untag("apps/gone", "stable")
        await self.row("apps/gone", "stable", reason="deletion_unsupported")
        self.harbor.delete_artifact("apps/gone", "1.0")
        await self.row("apps/gone", "1.0", reason="deleted_at_source")

    async def _deleted_and_there(self) -> None:
        self.registries["read"].push("tools/app", "1.0", images.image("tools/app 1.0"))
        self.push("tools/app", "1.0")
        await self.row("tools/app", "1.0", state="verified", operation="copy")
        self.harbor.delete_artifact("tools/app", "1.0")
        await self.row("tools/app", "1.0", operation="deletion", reason="not_deleted")

    async def _bad_deliveries(self) -> None:
        """What comes to the webhook endpoint and is none of Harbor's good deliveries."""
        twice = json.dumps({"type": "QUOTA_WARNING", "occur_at": 1}).encode()
        bodies = [(twice, {}), (twice, {}), (b'{"hello": "world"}', {}), (b"no JSON", {})]
        bodies += [(b"x" * (1 << 20) + b"x", {}), (twice, {"Authorization": "Bearer guess"})]
        for body, headers in bodies:
            await self._deliver(body, **headers)
        for outcome in OUTCOMES - {"not_durable"}:
            await self.counted("syncwatch_webhooks_total", outcome=outcome)

    async def _deliver(self, body: bytes, **headers: str) -> int:
        all_of_them = {"Authorization": SECRET, "Content-Type": "application/json"} | headers
        async with self.watched.session.post(
            self.watched.webhook_url, data=io.BytesIO(body), headers=all_of_them
        ) as answer:
            return answer.status

    async def _policies_change(self) -> None:
        """One policy from its making to its end, with an image that it still owes."""
        changed = "syncwatch_policy_changes_total"
        self.harbor.create_policy("short-lived", "cluster2", pattern="short/**")
        await self.counted(changed, change="created")
        self.registries["cluster2"].fault(Fault.BLOB_NOT_FOUND, "short/app")
        self.push("short/app", "1.0")
        await self.row("short/app", "1.0", state="failed")
        for change, values in (
            ("renamed", {"name": "shorter-lived"}),
            ("edited", {"override": False}),
            ("disabled", {"enabled": False}),
            ("enabled", {"enabled": True}),
        ):
            self._edit("shorter-lived" if change != "renamed" else "short-lived", **values)
            await self.counted(changed, change=change)
        del self.harbor.world.policies[self.harbor.policy("shorter-lived").id]
        await self.counted(changed, change="deleted")
        await self.row("short/app", "1.0", reason="policy_gone")

    def _edit(self, policy: str, **values: Any) -> None:
        row = self.harbor.policy(policy)
        for name, value in values.items():
            setattr(row, name, value)
        row.updated = self.harbor.world.now()

    async def _nothing_is_started(self) -> None:
        """One malformed pattern keeps Harbor from starting anything (recording 18)."""
        bad = self.harbor.create_policy("malformed", "cluster1", pattern="{a")
        self.push("quiet/app", "1.0")
        self.push("empty/app", "1.0")
        empty = self.harbor.policy("empty-to-cluster2")
        run = self.harbor.jobs.new_execution(REPLICATION, empty.id, "event_based")
        self.harbor.jobs.finish(run, SUCCESS, "no resources need to be replicated")
        self.harbor.switches.drop_webhooks = True
        self.push("quiet/unheard", "1.0")
        self.harbor.switches.drop_webhooks = False
        await self.row("empty/app", "1.0", reason="empty_run")
        await self._found("malformed_pattern")
        # The rest goes on as if nothing had been; what was not started stays so.
        self.harbor.world.policies.pop(bad)

    async def _never_started(self) -> None:
        await self.row("quiet/app", "1.0", reason="not_started")
        await self.row("quiet/unheard", "1.0", reason="not_started")
        for source in ("feed", "sweep"):
            await self.counted("syncwatch_events_recovered_total", source=source)

    async def _asked_at_the_gate(self) -> None:
        """Each answer of the gate, one of them after a wait."""
        for repository, destination, status in (
            ("apps/blob", "cluster1", 422),
            ("apps/refused", "cluster1", 503),
            ("nightly/app", "cluster2", 409),
            ("apps/nothing", "cluster1", 404),
        ):
            if status != 404:
                state = {422: "failed", 503: "unknown", 409: "pending"}[status]
                await self.row(repository, "1.0", destination=destination, state=state)
            wait = "3s" if status == 409 else "0s"
            assert await self._ask(f"{repository}:1.0", destination, wait) == status
        await self.row("apps/lost", "1.0", destination="cluster1", state="verified")
        assert await self._ask("apps/lost:1.0", "cluster1") == 200
        for status in GATE:
            await self.counted("syncwatch_gate_answers_total", status=str(status))

    async def _ask(self, image: str, destination: str, wait: str = "0s") -> int:
        query = {"image": image, "destination": destination, "wait": wait}
        url = self.watched.daemon.url + "/api/v1/gate"
        async with self.watched.session.get(url, params=query) as answer:
            return answer.status

    async def _notified(self) -> None:
        for outcome in NOTIFIED:
            await self.counted("syncwatch_notifications_total", outcome=outcome)

    async def _found(self, name: str) -> None:
        async def found() -> bool:
            return name in await self.watched.finding_names()

        await _until(found, name)

    async def _store_is_locked(self) -> None:
        """Somebody else writes to the store for longer than a delivery can wait."""
        with contextlib.closing(sqlite3.connect(self.store, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            status = await self._deliver(json.dumps({"type": "QUOTA_WARNING", "n": 2}).encode())
            other.execute("ROLLBACK")
        assert status == 503, status
        await self.counted("syncwatch_webhooks_total", outcome="not_durable")
        await self.good_push()


@contextlib.asynccontextmanager
async def every_failure(
    directory: Path, deadline: str = DEADLINE, **top: Any
) -> AsyncIterator[EveryFailure]:
    """The daemon beside a Harbor with the `POLICIES`, for a `with` block; `top` are settings.

    `deadline` is that of every destination: what never comes is overdue and missed after it.
    """
    async with contextlib.AsyncExitStack() as stack:
        harbor = await stack.enter_async_context(LabHarbor().serving())
        registries = {}
        for name in (*CLUSTERS, MIRROR, "read"):
            users = {"harbor": "writes", **_login()} if name == "cluster4" else None
            one = LabRegistry(name, users=users)
            registries[name] = await stack.enter_async_context(one.serving())
        receiver = await stack.enter_async_context(Receiver().serving())
        _prepare(harbor, registries)
        config = settings_file(
            directory,
            _HARBOR | _robot(harbor),
            _TERMS | {"deadline": deadline},
            more_destinations=_destinations(registries),
            **{"notifications": _notifications(receiver)} | top,
        )
        watched = await stack.enter_async_context(running(config))
        for project in sorted({pattern["pattern"] for _, pattern in POLICIES.values()}):
            name = project.partition("/")[0]
            harbor.create_webhook_policy(
                name, watched.webhook_url, auth_header=SECRET, event_types=EVENT_TYPES
            )
        harbor.create_webhook_policy("short", watched.webhook_url, auth_header=SECRET)
        store = directory / "syncwatch.db"
        yield EveryFailure(harbor, registries, receiver, watched, config, store)


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


async def _until(condition: Callable[[], Awaitable[Any]], told: str) -> Any:
    """As `until`, but asks seldom: ten stories at once would keep the daemon busy with answers."""

    async def in_a_while() -> Any:
        await asyncio.sleep(0.25)
        return await condition()

    return await until(in_a_while, within=45, told=told)


def _login() -> dict[str, str]:
    return {ACCOUNT["username"]: ACCOUNT["password"]}


def _notifications(receiver: Receiver) -> dict[str, Any]:
    return {"url": f"{receiver.listener.url}/hook", "per_minute": 6000}


def _robot(harbor: LabHarbor) -> dict[str, Any]:
    user, password = harbor.create_robot("syncwatch")
    return {"url": harbor.url, "username": user, "password": password}


def _prepare(harbor: LabHarbor, registries: dict[str, LabRegistry]) -> None:
    """Destinations and policies, and what is wrong with places from the beginning."""
    # A webhook is told again while the store is locked.
    harbor.world.times = dataclasses.replace(harbor.world.times, webhook_timeout=10.0)
    for name in (*CLUSTERS, MIRROR):
        login = {"username": "harbor", "password": "writes"} if name == "cluster4" else {}
        harbor.create_registry(name, registries[name].url, **login)
    for name, (destination, settings) in POLICIES.items():
        harbor.create_policy(name, destination, **settings)
    registries["cluster2"].slow_seconds = 0.3
    registries["cluster2"].fault(Fault.SLOW, "apps/big")
    registries["cluster5"].fault(Fault.BLOB_NOT_FOUND, "lab/app")


def _destinations(registries: dict[str, LabRegistry]) -> list[dict[str, Any]]:
    wrong = {"username": ACCOUNT["username"], "password": "wrong"}
    return [
        {"name": "cluster4", "url": registries["cluster4"].url, **wrong},
        {"name": "cluster5", "pause_until": "2999-01-01T00:00:00Z"},
        {"name": MIRROR, "url": registries["read"].url},
    ]
