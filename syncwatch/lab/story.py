"""The demo's story: pushes at a steady pace, and what goes wrong on purpose among them.

It acts on the lab alone, as people act on Harbor and on registries; what becomes of it is for the
daemon to find out.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from syncwatch.lab import images
from syncwatch.lab.board import Pushed
from syncwatch.lab.harbor import LabHarbor
from syncwatch.lab.registry import LabRegistry
from syncwatch.lab.times import LabTimes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from syncwatch.lab.images import Image

PROJECTS = ("apps", "charts", "edge")
USER, PASSWORD = "syncwatch", "only-for-the-demo"

TIMES = replace(
    LabTimes.fast(), queue_latency=0.5, run_time=0.15, retry_scale=0.05, health_interval=1.0
)
"""Harbor's own order of things, a twentieth as long: three attempts end within ten seconds."""

REFUSES_FOR = 2.2
"""Seconds without `edge`: Harbor's third attempt always comes later."""
REVOKED_FOR = 11.0
"""Seconds without a valid password: Harbor has given up by then."""
NOTICED_AFTER = 5.0
"""Seconds until somebody pushes again what was refused: the daemon has called it failed by then."""


@dataclass(frozen=True, slots=True)
class Lab:
    """A Harbor and the three registries that it copies to."""

    harbor: LabHarbor
    production: LabRegistry
    staging: LabRegistry
    edge: LabRegistry

    @classmethod
    @asynccontextmanager
    async def serving(cls) -> AsyncIterator[Lab]:
        """All four, with policies, for the length of a `with` block."""
        async with AsyncExitStack() as stack:
            lab = cls(
                await stack.enter_async_context(LabHarbor(times=TIMES).serving()),
                await stack.enter_async_context(LabRegistry(users={USER: PASSWORD}).serving()),
                await stack.enter_async_context(LabRegistry().serving()),
                await stack.enter_async_context(LabRegistry().serving()),
            )
            lab._set_up()
            yield lab

    def _set_up(self) -> None:
        harbor = self.harbor
        harbor.create_registry("production", self.production.url, username=USER, password=PASSWORD)
        harbor.create_registry("staging", self.staging.url)
        harbor.create_registry("edge", self.edge.url)
        harbor.create_policy("apps-to-production", "production", pattern="apps/**")
        harbor.create_policy("apps-to-staging", "staging", pattern="apps/**", override=False)
        harbor.create_policy("charts-to-staging", "staging", pattern="charts/**")
        harbor.create_policy(
            "sensors-to-edge", "edge", pattern="edge/**", namespace="site", replace_count=-1
        )
        harbor.create_policy("archive", "staging", pattern="archive/**", trigger="manual")

    def tell(self, address: str, authorization: str) -> None:
        """Webhooks of all projects to this address, in both of Harbor's formats."""
        for number, project in enumerate(PROJECTS):
            self.harbor.create_webhook_policy(
                project, address, auth_header=authorization, cloud_events=number % 2 == 1
            )


class Story:
    """Endless; each turn of `pushes` is one push. `say` is told what is broken and mended."""

    def __init__(self, lab: Lab, say: Callable[[str], None]) -> None:
        self._lab = lab
        self._say = say
        self._later: set[asyncio.Task[None]] = set()
        self._refused: list[tuple[str, str, Image]] = []

    async def pushes(self) -> AsyncIterator[Pushed]:
        """One push after the other; the one who iterates sets the pace."""
        number = 0
        while True:
            for scene in (self._good_days, self._quarrels, self._bad_days):
                async for push in scene(number):
                    yield push
            number += 1

    async def close(self) -> None:
        """Leave off what was to be mended later."""
        for task in self._later:
            task.cancel()
        await asyncio.gather(*self._later, return_exceptions=True)

    async def _good_days(self, number: int) -> AsyncIterator[Pushed]:
        version = f"1.{number}"
        yield self._push("apps/web", version, images.image(f"web {version}"), "image")
        yield self._push("apps/api", version, images.platforms(f"api {version}"), "index")
        yield self._push("charts/web", f"0.{number}.0", images.chart("web", version), "chart")
        yield self._push("edge/oslo/gateway", version, images.image(f"gateway {version}"), "image")
        if number == 0:
            yield self._push("apps/web", "latest", images.image("web latest"), "image")

    async def _quarrels(self, number: int) -> AsyncIterator[Pushed]:
        """What Harbor calls a success and the destination does not."""
        version = f"1.{number}"
        image = images.image(f"web latest after {version}")
        yield self._push("apps/web", "latest", image, "tag moved")
        yield self._push("edge/oslo/sensor", version, images.image(f"oslo {version}"), "image")
        yield self._push("edge/lima/sensor", version, images.image(f"lima {version}"), "same name")
        self._lab.edge.lose_manifest("site/gateway", images.image(f"gateway {version}").digest)
        self._say(f"edge loses site/gateway:{version} from its disk")
        yield self._tag("apps/web", version, f"stable-{number}")
        for build in range(3):
            image = images.image(f"worker {number} {build}")
            push = self._push("apps/worker", f"dev-{number}", image, "in a burst")
            yield replace(push, pause=0.15 if build < 2 else push.pause)
        self._lab.harbor.run("archive")
        self._say("policy archive is run by hand and matches nothing")

    async def _bad_days(self, number: int) -> AsyncIterator[Pushed]:
        """Destinations that cannot be asked for a while."""
        version = f"1.{number}"
        await self._lab.edge.stop()
        self._say(f"edge refuses connections for {REFUSES_FOR:.0f} s")
        self._after(REFUSES_FOR, self._edge_is_back)
        yield self._push("edge/lima/gateway", f"2.{number}", images.image(f"g {version}"), "image")
        yield self._push("charts/api", f"0.{number}.0", images.chart("api", version), "chart")
        self._lab.production.users = {}
        self._refused.clear()
        self._say(f"production no longer accepts its password, for {REVOKED_FOR:.0f} s")
        self._after(REVOKED_FOR, self._password_is_back)
        yield self._push("apps/api", f"{version}.1", images.image(f"api {version}.1"), "image")

    async def _edge_is_back(self) -> None:
        await self._lab.edge.start()
        self._say("edge is back")

    async def _password_is_back(self) -> None:
        self._lab.production.users = {USER: PASSWORD}
        self._say("production accepts its password; what it missed is not there")
        self._after(NOTICED_AFTER, self._push_again)

    async def _push_again(self) -> None:
        self._say("what production missed is pushed again")
        for repository, tag, image in self._refused:
            self._lab.harbor.push(repository, tag, image)

    def _push(self, repository: str, tag: str, image: Image, what: str) -> Pushed:
        digest = self._lab.harbor.push(repository, tag, image)
        if self._lab.production.users == {} and repository.startswith("apps/"):
            self._refused.append((repository, tag, image))
        return Pushed(time.time(), repository, tag, digest, what)

    def _tag(self, repository: str, reference: str, tag: str) -> Pushed:
        self._lab.harbor.tag(repository, reference, tag)
        digest = self._lab.harbor.artifact(repository, tag).digest
        return Pushed(time.time(), repository, tag, digest, "tag by the API, no webhook")

    def _after(self, seconds: float, act: Callable[[], Awaitable[None]]) -> None:
        async def wait() -> None:
            await asyncio.sleep(seconds)
            await act()

        task = asyncio.create_task(wait())
        self._later.add(task)
        task.add_done_callback(self._later.discard)
