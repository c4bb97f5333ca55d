"""The HTTP side of reports: /metrics, health, and /api/v1, read from the store.

What changes something is in `writes`; who may ask for it is decided here.
"""

from __future__ import annotations

import base64
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web
from prometheus_client.aiohttp import make_aiohttp_handler

from syncwatch import __version__
from syncwatch.errors import StoreError
from syncwatch.model import MINUTE, OPEN_STATES, SECOND, State
from syncwatch.report import words
from syncwatch.report.bodies import RefusedError
from syncwatch.report.operations import Guard, QueryError, read_query
from syncwatch.report.routing import ASKED, described
from syncwatch.runtime import is_one_of
from syncwatch.store import observations, passes, reading

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence

    from sqlalchemy import Connection, Row

    from syncwatch.config import DestinationSettings
    from syncwatch.report.gauges import Surroundings
    from syncwatch.report.metrics import Metrics
    from syncwatch.report.operations import Operation
    from syncwatch.report.pausing import Pausing
    from syncwatch.report.writes import Writes
    from syncwatch.runtime import Clock, Pulse
    from syncwatch.store.database import Database
    from syncwatch.store.policies import Destination
    from syncwatch.store.reading import Snapshot

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

LIMIT = 100
LIMIT_MAX = 1000
NOBODY_WRITES = (
    "Nobody may write while the configuration has neither token nor token_file; set one."
)
DEAD_AFTER = 5 * MINUTE
"""A loop that has not come round for so long is dead; the longest turn is bounded well below."""


def health_routes(
    pulse: Pulse, database: Database, watched: Callable[[], Collection[str]]
) -> list[web.RouteDef]:
    """`/healthz`: the loops live. `/readyz`: the store answers and each Harbor was seen once."""

    async def healthz(_request: web.Request) -> web.Response:
        dead = pulse.dead(DEAD_AFTER)
        return web.json_response({"dead": dead}, status=503 if dead else 200)

    async def readyz(_request: web.Request) -> web.Response:
        try:
            snapshot = await database.read_soon(lambda c: reading.snapshot(c, watched()))
        except StoreError as error:
            return _error(503, "store_unavailable", str(error))
        seen = {one.name for one in snapshot.harbors if one.last_look_at is not None}
        unseen = sorted(set(watched()) - seen)
        if database.trouble:
            return _error(503, "store_unwritable", f"{database.trouble}.")
        if unseen:
            return _error(503, "not_ready", f"Harbor {', '.join(unseen)} has not been seen yet.")
        return web.json_response({"ready": True})

    return [web.get("/healthz", healthz), web.get("/readyz", readyz)]


class Api:
    """Answers questions about what is known.

    `token` gives the values that are accepted, None where everybody may read; `watched` the
    names of the harbors that are configured, `entry` what it says of a destination.
    """

    def __init__(
        self,
        *,
        database: Database,
        metrics: Metrics,
        clock: Clock,
        surroundings: Callable[[], Surroundings],
        token: Callable[[], Sequence[str] | None],
        watched: Callable[[], Collection[str]],
        entry: Callable[[Destination], DestinationSettings],
        writes: Writes,
        pausing: Pausing,
    ) -> None:
        self._database = database
        self._metrics = metrics
        self._clock = clock
        self._surroundings = surroundings
        self._token = token
        self._watched = watched
        self._entry = entry
        self._writes = writes
        self._pausing = pausing
        self._expose = make_aiohttp_handler(metrics.registry)

    def routes(self) -> list[web.RouteDef]:
        """All routes of the report's port but health."""
        return [
            web.get("/metrics", self.metrics),
            web.get("/api/v1/status", self.guarded(self.status)),
            web.get("/api/v1/expectations", self.guarded(self.expectations)),
            web.get("/api/v1/expectations/{id}", self.guarded(self.expectation)),
            web.get("/api/v1/findings", self.guarded(self.findings)),
            web.post("/api/v1/observations", self.guarded(self._writes.observe, writing=True)),
            web.post(
                "/api/v1/expectations/{id}/close",
                self.guarded(self._writes.close, writing=True),
            ),
            web.post(
                "/api/v1/destinations/{name}/pause",
                self.guarded(self._pausing.pause, writing=True),
            ),
            web.post(
                "/api/v1/destinations/{name}/resume",
                self.guarded(self._pausing.resume, writing=True),
            ),
        ]

    async def metrics(self, request: web.Request) -> web.StreamResponse:
        """The exposition. While the store is away the last picture stays, its ages growing."""
        try:
            snapshot = await self._database.read_soon(
                lambda c: reading.snapshot(c, self._watched())
            )
            self._metrics.show(snapshot, self._surroundings)
        except StoreError:
            pass
        return await self._expose(request)

    async def status(self, _request: web.Request) -> web.Response:
        """What is watched, and how it is doing, in one answer."""
        snapshot, runs, swept = await self._database.read_soon(
            lambda c: (
                reading.snapshot(c, self._watched()),
                reading.last_executions(c),
                passes.newest(c, self._watched()),
            )
        )
        now = self._clock.now()
        return _json(
            {
                "version": __version__,
                "harbors": [
                    words.harbor(one, swept.get(one.name), now) for one in snapshot.harbors
                ],
                "destinations": _destinations(snapshot, self._surroundings(), self._entry, now),
                "policies": _policies(snapshot, runs),
                "states": _states(snapshot),
            }
        )

    async def expectations(self, request: web.Request) -> web.Response:
        """A page of expectations, newest first."""
        query = request.query
        try:
            limit, before = _limit(query.get("limit")), _cursor(query.get("cursor"))
            wanted = _filters(query)
        except ValueError as error:
            return _error(400, "bad_request", str(error))
        rows = await self._database.read(
            lambda c: reading.list_expectations(c, wanted, limit + 1, before)
        )
        more = len(rows) > limit
        return _json(
            {
                "items": [words.expectation(row) for row in rows[:limit]],
                "next": _as_cursor(rows[limit - 1].id) if more else None,
            }
        )

    async def expectation(self, request: web.Request) -> web.Response:
        """One expectation with its timeline and the looks that are kept."""
        wanted = request.match_info["id"]
        found = await self._database.read(lambda c: _one(c, wanted)) if _is_number(wanted) else None
        if found is None:
            return _error(404, "not_found", f"There is no expectation {wanted[:64]}.")
        return _json(found)

    async def findings(self, _request: web.Request) -> web.Response:
        """All findings."""
        rows = await self._database.read(lambda c: reading.list_findings(c, self._watched()))
        trouble = words.store_trouble(self._database.trouble, self._clock.now())
        return _json({"items": [*trouble, *(words.finding(row) for row in rows)], "next": None})

    def guarded(
        self, handler: Handler, operation: Operation | None = None, *, writing: bool = False
    ) -> Handler:
        """The handler for those who have the token, its errors as JSON.

        With an `operation` the query is read by it, which `routing.asked` gives the handler.
        """
        writing = writing or (operation is not None and operation.guard is Guard.WRITE)

        async def guarded(request: web.Request) -> web.StreamResponse:
            accepted = self._token()
            if accepted is None and writing:
                return _error(403, "forbidden", NOBODY_WRITES)
            if accepted is not None and not _has_token(request, accepted):
                return _error(401, "unauthorized", "Send Authorization: Bearer with the token.")
            try:
                if operation is not None:
                    request[ASKED] = read_query(request.query.items(), operation.query)
                return await handler(request)
            except QueryError as error:
                return _error(400, "bad_request", f"{error}.")
            except RefusedError as refused:
                return _error(refused.status, refused.code, str(refused))
            except StoreError as error:
                return _error(503, "store_unavailable", str(error))

        return described(guarded, operation) if operation is not None else guarded


def _has_token(request: web.Request, accepted: Sequence[str]) -> bool:
    kind, _, given = request.headers.get("Authorization", "").partition(" ")
    return is_one_of(given.strip(), accepted) and kind.lower() == "bearer"


def _one(connection: Connection, wanted: str) -> dict[str, Any] | None:
    if len(wanted) > 18:
        return None
    row = reading.one_expectation(connection, int(wanted))
    if row is None:
        return None
    told = words.expectation(row)
    told["timeline"] = words.timeline(row, reading.timeline(connection, row.id))
    seen = observations.latest(connection, row.destination_id, row.repository, row.reference)
    told["observations"] = [words.observation(one) for one in seen]
    told["accessories"] = words.accessories(seen)
    return told


def _states(snapshot: Snapshot) -> dict[str, int]:
    states = dict.fromkeys(map(str, State), 0)
    for one in snapshot.counts:
        states[one.state] = states.get(one.state, 0) + one.n
    return states


def _destinations(
    snapshot: Snapshot,
    around: Surroundings,
    entry: Callable[[Destination], DestinationSettings],
    now: int,
) -> list[dict[str, Any]]:
    told = []
    for one in snapshot.destinations:
        if one.gone_at is not None:
            continue
        counted = [count for count in snapshot.counts if count.destination_id == one.id]
        since = [at for (_, _, place), at in snapshot.behind.items() if place == one.id]
        told.append(
            {
                "harbor": one.harbor,
                "name": one.name,
                # Another replica may be the one that asks it.
                "up": around.up.get(one.id, one.up),
                "open": sum(count.n for count in counted if count.state in OPEN_STATES),
                "overdue": sum(count.n for count in counted if count.overdue),
                "oldest_open_seconds": max(0.0, (now - min(since)) / SECOND) if since else 0.0,
            }
            | words.pause(one, entry(one).pause_until, now)
        )
    return told


def _policies(snapshot: Snapshot, runs: dict[tuple[str, int], Row[Any]]) -> list[dict[str, Any]]:
    """Each policy with its newest execution and Harbor's own words for it."""
    names = {one.id: one.name for one in snapshot.destinations}
    told = []
    for one in snapshot.policies:
        if one.gone_at is not None:
            continue
        run = runs.get((one.harbor, one.policy_id))
        told.append(
            {
                "harbor": one.harbor,
                "policy": one.name,
                "policy_id": one.policy_id,
                "destination": names.get(one.destination_id or 0),
                "trigger": one.rules.trigger,
                "enabled": one.rules.enabled,
                "followed": one.rules.pushes,
                "last_execution": _execution(run) if run is not None else None,
            }
        )
    return told


def _execution(run: Row[Any]) -> dict[str, Any]:
    return {
        "execution_id": run.execution_id,
        "status": run.status,
        "status_text": run.status_text,
        "trigger": run.trigger,
        "total": run.total,
        "started_at": words.rfc3339(run.start_at),
        "ended_at": words.rfc3339(run.end_at),
    }


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 18


def _limit(text: str | None) -> int:
    if text is None:
        return LIMIT
    if not _is_number(text) or not 1 <= int(text) <= LIMIT_MAX:
        raise ValueError(f"limit is a number from 1 to {LIMIT_MAX}")
    return int(text)


def _as_cursor(expectation_id: int) -> str:
    return base64.urlsafe_b64encode(f"id:{expectation_id}".encode()).decode().rstrip("=")


def _cursor(text: str | None) -> int | None:
    if not text:
        return None
    try:
        plain = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    except ValueError:
        plain = ""
    number = plain.removeprefix("id:")
    if not plain.startswith("id:") or not number.isdecimal() or len(number) > 18:
        raise ValueError("cursor is not one that a list gave as next")
    return int(number)


NARROWING = ("harbor", "policy", "destination", "repository", "reference", "state", "reason")
PARAMETERS = (*NARROWING, "overdue", "all", "limit", "cursor")


def _filters(query: Any) -> reading.Filters:
    # One that is misspelt would silently give everything.
    unknown = sorted(set(query) - set(PARAMETERS))
    if unknown:
        near = get_close_matches(unknown[0], PARAMETERS, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"there is no parameter {unknown[0][:64]!r}{hint}")
    state, overdue = query.get("state"), query.get("overdue")
    if state is not None and state not in tuple(State):
        raise ValueError(f"state is one of {', '.join(State)}")
    truth = {"1": True, "true": True, "0": False, "false": False}
    if overdue is not None and overdue.lower() not in truth:
        raise ValueError("overdue is true or false")
    plain = [name for name in NARROWING if name != "state"]
    return reading.Filters(
        **{name: query.get(name) for name in plain},
        state=state,
        overdue=truth[overdue.lower()] if overdue is not None else None,
        all=query.get("all", "").lower() in ("1", "true"),
    )


def _json(value: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answers of aiohttp itself (no such route, wrong method) in the form of all our errors."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        code = error.reason.lower().replace(" ", "_")
        return _error(error.status, code, f"{request.method} {request.path}: {error.reason}.")


def _error(status: int, code: str, message: str) -> web.Response:
    return web.json_response({"error": {"code": code, "message": message}}, status=status)
