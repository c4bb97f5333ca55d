"""Builds the daemon, starts it, stops it. Decides nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from aiohttp import web

from syncwatch import __version__
from syncwatch.errors import ConfigError, StoreError
from syncwatch.explain.answering import Answering
from syncwatch.explain.looking import Looking
from syncwatch.explain.route import Explaining
from syncwatch.gate.evaluating import Evaluating
from syncwatch.gate.probing import Probing as AskingForProbes
from syncwatch.gate.route import Gate
from syncwatch.gate.waiting import Waiting
from syncwatch.intake import Intake
from syncwatch.model import Finding, Severity
from syncwatch.plan.opening import for_destination
from syncwatch.reference import Hosts
from syncwatch.report.api import Api
from syncwatch.report.health import health_routes
from syncwatch.report.metrics import Metrics
from syncwatch.report.page import Page
from syncwatch.report.pausing import Pausing
from syncwatch.report.probing import Probing
from syncwatch.report.routing import errors_as_json
from syncwatch.report.serving import Runner
from syncwatch.report.writes import Writes
from syncwatch.runtime import Clock, Pulse, Signals, log
from syncwatch.stages import Stages, millis
from syncwatch.store import findings, leases, reading
from syncwatch.store.database import Database
from syncwatch.store.deliveries import Inbox
from syncwatch.store.notices import Notices

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from syncwatch.config import DestinationSettings, HarborSettings, Settings
    from syncwatch.harbor.client import HarborClient
    from syncwatch.model import Change, Millis
    from syncwatch.report.gauges import Surroundings
    from syncwatch.store.policies import Destination

NAME_LOOKUPS = 64
"""How many host names may be looked up at the same time."""
FINDING_EVERY = 60.0
SHUTDOWN_SECONDS = 2.0
"""How long open requests may take to end at a stop; Kubernetes gives thirty."""


class Daemon:
    """syncwatch, running: `async with Daemon(settings).running() as daemon`.

    `load` reads the configuration again for a reload; without it there is none.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock | None = None,
        load: Callable[[], Settings] | None = None,
    ) -> None:
        self._settings = settings
        self._load = load
        self._clock = clock or Clock()
        self._signals = Signals()
        self._pulse = Pulse(self._clock)
        self._metrics = Metrics(
            self._clock,
            [one.name for one in settings.harbors],
            millis(settings.counters_gone_after),
        )
        self._database = Database(settings.store_url())
        self._replica = f"{socket.gethostname()}-{os.urandom(3).hex()}"
        self._reloading_as = (
            "reload" if self._database.is_sqlite else leases.reload_source(self._replica)
        )
        self._notices = Notices(self._database, self._signals, self._replica)
        self._accepted: dict[str, Callable[[], Sequence[str] | None]] = {}
        self._same_for: dict[str, Millis] = {}
        self._stages: Stages | None = None
        self._broken: list[Finding] = []
        self._broken_known = False
        self._reloading = asyncio.Lock()
        self._gate = self._waiting()
        self._metrics.watch_gate(lambda: self._gate.count)
        self.webhook_url = ""
        self.url = ""

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Daemon]:
        """The daemon, listening and working, until the block ends."""
        # Names are looked up in threads: destinations whose DNS does not answer must leave enough
        # of them for the others.
        threads = ThreadPoolExecutor(NAME_LOOKUPS, thread_name_prefix="syncwatch-names")
        asyncio.get_running_loop().set_default_executor(threads)
        await self._database.open()
        if not self._database.is_sqlite:
            self._notices.start()
        runners: list[web.AppRunner] = []
        try:
            await self._start_stages()
            await self._show_first()
            self.webhook_url = await self._listen(runners, self._webhooks(), "webhook_listen")
            self.url = await self._listen(runners, self._reports(), "listen")
            log.info("listening", version=__version__, webhooks=self.webhook_url, reports=self.url)
            yield self
        finally:
            await self._gate.stop()
            await asyncio.gather(*(runner.cleanup() for runner in runners))
            if self._stages:
                await self._stages.stop()
            await self._notices.stop()
            await self._database.close()

    async def reload(self) -> bool:
        """Read the configuration again; a broken file changes nothing and is a finding."""
        if self._load is None:
            return False
        async with self._reloading:
            return await self._reload(self._load)

    async def _reload(self, load: Callable[[], Settings]) -> bool:
        try:
            settings = await asyncio.to_thread(load)
        except ConfigError as error:
            log.error("configuration_not_reloaded", problems=error.problems)
            self._say_broken([_config_invalid(error)])
            return False
        if (settings.store, settings.listen, settings.webhook_listen) != (
            self._settings.store,
            self._settings.listen,
            self._settings.webhook_listen,
        ):
            log.warning("restart_needed", settings="store, listen, webhook_listen")
        if self._stages:
            await self._stages.stop(reloading=True)
        self._settings = settings
        self._say_broken([])
        await self._start_stages()
        log.info("configuration_reloaded")
        return True

    async def _start_stages(self) -> None:
        self._accepted.clear()
        for harbor in self._settings.harbors:
            self._accepted[harbor.name] = _who_may_deliver(harbor)
            self._same_for[harbor.name] = millis(harbor.duplicate_within)
        self._stages = Stages(
            settings=self._settings,
            database=self._database,
            clock=self._clock,
            signals=self._signals,
            pulse=self._pulse,
            metrics=self._metrics,
            publish=self._published,
            replica=self._replica,
            beside={"configuration": self._keep_broken},
            # Until their loops begin: what is paused is not to alarm in the moment of a reload.
            pauses=self._stages.surroundings().pauses if self._stages else {},
        )
        await self._stages.start()

    async def _show_first(self) -> None:
        """Gauges from the first scrape on, should the store be away by then."""
        with contextlib.suppress(StoreError):
            snapshot = await self._database.read(lambda c: reading.snapshot(c, self._watched()))
            self._metrics.show(snapshot, self._surroundings)

    def _published(self, changes: Sequence[Change]) -> None:
        """What changed is durable."""
        self._metrics.publish(changes)
        self._gate.heard(changes)

    def _surroundings(self) -> Surroundings:
        if self._stages is None:
            raise RuntimeError("no stages are running")
        return self._stages.surroundings()

    def _watched(self) -> list[str]:
        return [one.name for one in self._settings.harbors]

    def _tokens(self) -> Sequence[str] | None:
        token = self._settings.api_token
        return token.values() if token else None

    def _webhooks(self) -> web.Application:
        intake = Intake(
            inbox=Inbox(self._database),
            accepted=self._accepted,
            same_for=self._same_for,
            clock=self._clock,
            signals=self._signals,
            observe=self._metrics.webhook,
        )
        app = web.Application(middlewares=[errors_as_json])
        app.add_routes(
            [*intake.routes(), *health_routes(self._pulse, self._database, self._watched)]
        )
        return app

    def _reports(self) -> web.Application:
        api = Api(
            database=self._database,
            metrics=self._metrics,
            clock=self._clock,
            surroundings=self._surroundings,
            token=self._tokens,
            watched=self._watched,
            entry=self._entry,
            probed=self._is_probed,
            writes=self._writes(),
            pausing=self._pausing(),
        )
        explaining = Explaining(
            answering=self._answering(curious=True),
            looking=Looking(self._database, self._clock, self._signals),
            database=self._database,
            clock=self._clock,
            entry=self._entry,
        )
        gate = Gate(self._gate, self._metrics.gate_answered)
        told = Probing(database=self._database, watched=self._watched)
        asking = AskingForProbes(
            answering=self._answering(curious=False),
            database=self._database,
            clock=self._clock,
            signals=self._signals,
            entry=self._entry,
            probed=self._is_probed,
        )
        app = web.Application(middlewares=[errors_as_json])
        page = Page(
            database=self._database,
            clock=self._clock,
            surroundings=self._surroundings,
            token=self._tokens,
            watched=self._watched,
            entry=self._entry,
            probed=self._is_probed,
        )
        app.add_routes(
            [
                *api.routes(),
                *explaining.routes(api.guarded),
                *gate.routes(api.guarded),
                *told.routes(api.guarded),
                *asking.routes(api.guarded),
                *page.routes(),
            ]
        )
        app.add_routes(health_routes(self._pulse, self._database, self._watched))
        return app

    def _writes(self) -> Writes:
        return Writes(
            database=self._database,
            clock=self._clock,
            signals=self._signals,
            publish=self._published,
            watched=self._watched,
            hosts=self._hosts,
        )

    def _pausing(self) -> Pausing:
        return Pausing(
            database=self._database,
            clock=self._clock,
            signals=self._signals,
            watched=self._watched,
            entry=self._entry,
        )

    def _answering(self, *, curious: bool) -> Answering:
        return Answering(
            database=self._database,
            clock=self._clock,
            settings=lambda: self._settings,
            hosts=self._hosts,
            source=self._source,
            curious=curious,
        )

    def _waiting(self) -> Waiting:
        evaluating = Evaluating(
            answering=self._answering(curious=False),
            looking=Looking(self._database, self._clock, self._signals),
            database=self._database,
            clock=self._clock,
            entry=self._entry,
            probed=self._is_probed,
            signals=self._signals,
        )
        return Waiting(evaluating.evaluate, self._clock, self._signals)

    def _source(self, harbor: str) -> HarborClient | None:
        return self._stages.source(harbor) if self._stages else None

    def _entry(self, destination: Destination) -> DestinationSettings:
        """What the configuration of the moment says of a destination."""
        return for_destination(self._settings, destination)

    def _is_probed(self, own: DestinationSettings) -> bool:
        """Whether the nodes of its cluster are made to pull."""
        return own.cluster is not None and self._settings.cluster(own.cluster).probe.is_on

    def _hosts(self, destinations: Sequence[Destination]) -> Hosts:
        """Whose host is whose, as the configuration of the moment has it."""
        entries = [(one, self._entry(one)) for one in destinations]
        return Hosts.of(
            {one.name: one.url for one in self._settings.harbors},
            {one.id: (entry.url or one.url, entry.pull_host) for one, entry in entries},
        )

    async def _listen(
        self, runners: list[web.AppRunner], app: web.Application, setting: str
    ) -> str:
        address = getattr(self._settings, setting)
        runner = Runner(app, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
        await runner.setup()
        runners.append(runner)
        site = web.TCPSite(runner, address.host, address.port)
        try:
            await site.start()
        except OSError as error:
            words = f"{setting}: cannot listen on {address}: {error.strerror}"
            raise ConfigError([words]) from None
        port = runner.addresses[0][1]
        host = "127.0.0.1" if address.host in ("0.0.0.0", "::", "") else address.host  # noqa: S104
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def _say_broken(self, found: list[Finding]) -> None:
        self._broken, self._broken_known = found, False
        self._signals.wake("configuration")

    async def _keep_broken(self) -> float:
        """The finding that the configuration was not reloaded is there, or gone, by the store."""
        broken, harbor, now = self._broken, self._settings.harbors[0].name, self._clock.now()
        # Another replica may have taken us for dead and what is ours away.
        if broken or not self._broken_known:
            await self._database.write(
                lambda c: findings.replace_everywhere(c, harbor, self._reloading_as, broken, now)
            )
            self._broken_known = self._broken is broken
        return FINDING_EVERY


def _config_invalid(error: ConfigError) -> Finding:
    return Finding(
        "config_invalid",
        Severity.ERROR,
        "configuration",
        f"The configuration was not reloaded: {error.problems[0]}",
        "Correct it and send SIGHUP again; `syncwatch config check` names every problem.",
    )


def _who_may_deliver(harbor: HarborSettings) -> Callable[[], Sequence[str] | None]:
    """The accepted Authorization values; None for anybody, which has to be said outright."""
    webhook = harbor.webhook
    if webhook is None:
        return tuple
    if webhook.secret is not None:
        return webhook.secret.values
    return (lambda: None) if webhook.allow_unauthenticated else tuple
