"""`/healthz` and `/readyz`, on both ports.

Comes in: the beats of the loops, and whether the store answers. Goes out: a status, by which
Kubernetes restarts the daemon or sends it nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from syncwatch.errors import StoreError
from syncwatch.model import MINUTE
from syncwatch.report.answers import Health, Ready
from syncwatch.report.operations import Answer, Guard, Operation
from syncwatch.report.routing import described, error_answer, json_answer
from syncwatch.store import reading

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from syncwatch.runtime import Pulse
    from syncwatch.store.database import Database

DEAD_AFTER = 5 * MINUTE
"""A loop that has not come round for so long is dead; the longest turn is bounded well below."""

HEALTHZ = Operation(
    "healthz",
    "whether every loop lives",
    {
        200: Answer("every loop lives", Health),
        503: Answer("a loop has not come round for five minutes", Health),
    },
    guard=Guard.NOBODY,
    details="On both ports.",
)
READYZ = Operation(
    "readyz",
    "whether the store answers and every Harbor was seen once",
    {
        200: Answer("the store answers, and every Harbor was seen once", Ready),
        503: Answer(
            "it is not so: `store_unavailable`, `store_unwritable`, or `not_ready` with the names "
            "of the Harbors that were not seen"
        ),
    },
    guard=Guard.NOBODY,
    details="On both ports.",
)


def health_routes(
    pulse: Pulse, database: Database, watched: Callable[[], Collection[str]]
) -> list[web.RouteDef]:
    """`/healthz`: the loops live. `/readyz`: the store answers and each Harbor was seen once."""

    async def healthz(_request: web.Request) -> web.Response:
        dead = pulse.dead(DEAD_AFTER)
        return json_answer(Health(dead=tuple(dead)), 503 if dead else 200)

    async def readyz(_request: web.Request) -> web.Response:
        try:
            snapshot = await database.read_soon(lambda c: reading.snapshot(c, watched()))
        except StoreError as error:
            return error_answer(503, "store_unavailable", str(error))
        seen = {one.name for one in snapshot.harbors if one.last_look_at is not None}
        unseen = sorted(set(watched()) - seen)
        if database.trouble:
            return error_answer(503, "store_unwritable", f"{database.trouble}.")
        if unseen:
            words = f"Harbor {', '.join(unseen)} has not been seen yet."
            return error_answer(503, "not_ready", words)
        return json_answer(Ready(ready=True))

    return [
        web.get("/healthz", described(healthz, HEALTHZ)),
        web.get("/readyz", described(readyz, READYZ)),
    ]
