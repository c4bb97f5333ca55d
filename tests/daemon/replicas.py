"""Several daemons on one PostgreSQL before a lab Harbor, and what is seen of them from outside."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp
import psycopg
import yaml
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families
from running import SECRET, settings_file
from servers.daemon import Served, served
from servers.postgresql import postgresql

from syncwatch.lab import images
from syncwatch.lab.harbor import READ_ONLY_ROBOT, LabHarbor
from syncwatch.lab.registry import LabRegistry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

OF_ALL = "syncwatch_build_info", "syncwatch_leases", "syncwatch_gate_waiting", "process_"
"""Gauges that each replica has of its own."""

SLOW = 0.15
"""Seconds that each of our questions takes, so that many are under way at once."""

Series = tuple[str, frozenset[tuple[str, str]]]


class CountingRegistry(LabRegistry):
    """A registry that knows how many requests of ours were under way at most.

    One whose client has gone is no more; Harbor's own copying does not count.
    """

    def __init__(self) -> None:
        super().__init__()
        self.most = 0
        self.peers: Counter[tuple[str, int]] = Counter()
        """How many requests of ours came by each connection."""
        self._under_way: dict[int, web.Request] = {}

    def asking_peers(self) -> set[tuple[str, int]]:
        """The connections by which a request of ours is under way."""
        return {_peer(one) for one in self._under_way.values()}

    async def _ask(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Accept-Encoding") != "identity":
            return await super()._ask(request)
        self._under_way[id(request)] = request
        self.peers[_peer(request)] += 1
        # Connections that were closed before this one was opened are told in the same round.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        asking = [one.transport for one in self._under_way.values()]
        self.most = max(self.most, sum(one is not None and not one.is_closing() for one in asking))
        try:
            await asyncio.sleep(SLOW)
            return await super()._ask(request)
        finally:
            del self._under_way[id(request)]


def _peer(request: web.Request) -> tuple[str, int]:
    return request._transport_peername[:2]


class Balancer:
    """Takes Harbor's webhooks and hands each to the next replica that answers."""

    def __init__(self, replicas: list[Served]) -> None:
        self._replicas = itertools.cycle(replicas)
        self._tries = len(replicas)
        self.url = ""

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[Balancer]:
        app = web.Application()
        app.router.add_post("/webhook/main", self._hand_on)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/webhook/main"
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _hand_on(self, request: web.Request) -> web.Response:
        body = await request.read()
        headers = {"Authorization": request.headers["Authorization"]}
        for _ in range(self._tries):
            with contextlib.suppress(aiohttp.ClientError, OSError):
                return web.Response(status=await next(self._replicas).send(body, headers))
        return web.Response(status=503)


@dataclass
class Replicated:
    """What a story about replicas needs; `concurrency` is that of each destination."""

    harbor: LabHarbor
    registries: dict[str, CountingRegistry]
    replicas: list[Served]
    database: str
    concurrency: int
    doubled: list[Series] = field(default_factory=list)
    pushed: int = 0

    def push(self) -> None:
        """One more image, for every destination."""
        self.pushed += 1
        self.harbor.push("apps/web", f"1.{self.pushed}", images.image(f"{self.pushed}"))

    def query(self, query: str) -> list[tuple[Any, ...]]:
        """Rows of the store."""
        with psycopg.connect(self.database) as connection:
            return connection.execute(query).fetchall()

    def states(self) -> dict[str, int]:
        """How many expectations are in each state."""
        return dict(self.query("select state, count(*) from expectations group by 1"))

    @contextlib.contextmanager
    def telling_states(self) -> Iterator[None]:
        """What fails within says where the expectations stand."""
        try:
            yield
        except AssertionError as error:
            raise AssertionError(f"{error}; there are {self.states()}") from None

    async def scrape(self) -> Counter[Series]:
        """How many replicas show each gauge that is to be there once."""
        texts = await asyncio.gather(*(self._metrics(one) for one in self.replicas))
        found: Counter[Series] = Counter()
        for text in texts:
            for family in text_string_to_metric_families(text):
                if family.type == "gauge" and not family.name.startswith(OF_ALL):
                    for sample in family.samples:
                        found[sample.name, frozenset(sample.labels.items())] += 1
        self.doubled += [series for series, times in found.items() if times > 1]
        return found

    async def _metrics(self, replica: Served) -> str:
        try:
            return await replica.get("/metrics")
        except (aiohttp.ClientError, OSError):
            return ""

    async def all_shown(self) -> bool:
        """Whether the gauges of the harbor and of each destination are there, once."""
        found = await self.scrape()
        names = Counter(name for name, _ in found)
        return (
            names["syncwatch_harbor_up"] == 1
            and names["syncwatch_destination_up"] == len(self.registries)
            and names["syncwatch_expectations_overdue"] == len(self.registries)
            and names["syncwatch_policy_info"] == len(self.registries)
        )

    async def held(self) -> list[float]:
        """How many destinations each replica does the work for."""
        texts = await asyncio.gather(*(self._metrics(one) for one in self.replicas))
        line = 'syncwatch_leases{kind="destination"} '
        return [float(text.partition(line)[2].partition("\n")[0] or -1) for text in texts]

    def watch_settling(self) -> None:
        """Have the database itself note each time that an expectation is settled."""
        with psycopg.connect(self.database) as connection:
            connection.execute("""
                create table settled_log (id bigint, result text);
                create function note_settled() returns trigger language plpgsql as $$
                begin insert into settled_log values (new.id, new.settled); return new; end $$;
                create trigger settled after update of settled on expectations for each row
                when (old.settled is distinct from new.settled) execute function note_settled();
            """)

    def settled_twice(self) -> list[tuple[Any, ...]]:
        return self.query("select id from settled_log group by id having count(*) > 1")


@contextlib.asynccontextmanager
async def replicated(
    directory: Path, *, replicas: int, destinations: int, lease: str, concurrency: int = 3
) -> AsyncIterator[Replicated]:
    """So many daemons, and a policy for each of so many destinations."""
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(postgresql())
        harbor = await stack.enter_async_context(LabHarbor().serving())
        harbor.create_project("apps")
        registries = {}
        for number in range(destinations):
            name = f"cluster{number}"
            registry = await stack.enter_async_context(CountingRegistry().serving())
            registries[name] = registry
            harbor.create_registry(name, registry.url)
            harbor.create_policy(f"to-{name}", name, pattern="apps/**")
        user, password = harbor.create_robot("syncwatch", READ_ONLY_ROBOT)
        login = {"url": harbor.url, "username": user, "password": password}
        config = settings_file(
            directory,
            login,
            {"deadline": "2m", "concurrency": concurrency},
            store=server.url,
            lease=lease,
        )
        daemons = []
        for number in range(replicas):
            own = directory / f"replica{number}.yml"
            own.write_text(yaml.safe_dump(yaml.safe_load(config.read_text())))
            daemons.append(await stack.enter_async_context(served(own)))
        balancer = await stack.enter_async_context(Balancer(daemons).serving())
        harbor.create_webhook_policy("apps", balancer.url, auth_header=SECRET)
        yield Replicated(harbor, registries, daemons, server.url, concurrency)


async def scrape_until(stop: asyncio.Event, stage: Replicated) -> float:
    """Scrape all the time; the longest time (seconds) in which a gauge was missing."""
    whole_at, longest = time.monotonic(), 0.0
    while not stop.is_set():
        if await stage.all_shown():
            whole_at = time.monotonic()
        longest = max(longest, time.monotonic() - whole_at)
        await asyncio.sleep(0.1)
    return longest
