"""The servers that `intake.py` asks: the intake on a store, or a handler that stores nothing.

`intake_server.py parse` or `intake_server.py STORE_URL`; prints its port once it listens.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from typing import TYPE_CHECKING

import uvloop
from aiohttp import web
from prometheus_client import Counter

from syncwatch.intake import Intake
from syncwatch.runtime import Clock, Signals
from syncwatch.store import policies
from syncwatch.store.database import Database
from syncwatch.store.deliveries import Inbox

if TYPE_CHECKING:
    from collections.abc import Iterable

AUTHORIZATION = "Bearer of-this-benchmark"


async def parse(request: web.Request) -> web.Response:
    """Read, parse, answer: what any receiver of webhooks in aiohttp does at least."""
    json.loads(await request.read())
    return web.Response(status=202)


async def serve_parsing() -> None:
    await _serve([web.post("/webhook/{harbor}", parse)])


async def serve_intake(store: str) -> None:
    # Counted as the daemon counts, without the rest of its metrics.
    counted = Counter("webhooks", "Webhooks", ["harbor", "event", "outcome"])
    clock, database = Clock(), Database(store)
    await database.open()
    try:
        await database.write(lambda c: policies.begin(c, "main", clock.now()))
        intake = Intake(
            inbox=Inbox(database),
            accepted={"main": lambda: [AUTHORIZATION]},
            same_for={"main": 3_600_000},
            clock=clock,
            signals=Signals(),
            observe=lambda *labels: counted.labels(*labels).inc(),
        )
        await _serve(intake.routes())
    finally:
        await database.close()


async def _serve(routes: Iterable[web.RouteDef]) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    app = web.Application()
    app.add_routes(routes)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await stop.wait()
    await runner.cleanup()


if __name__ == "__main__":
    wanted = sys.argv[1]
    uvloop.run(serve_parsing() if wanted == "parse" else serve_intake(wanted))
