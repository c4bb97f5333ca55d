"""The HTTP side of reports: /metrics and /api/v1, read from the store.

What changes something is in `writes` and `pausing`; who may ask is decided in `routing`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from aiohttp import web
from msgspec import Meta, Struct
from prometheus_client.aiohttp import make_aiohttp_handler

from syncwatch import __version__
from syncwatch.errors import StoreError
from syncwatch.model import OPEN_STATES, SECOND, Reason, Severity, State
from syncwatch.report import clusters, openapi, words
from syncwatch.report.answers import (
    DestinationStatus,
    Expectations,
    Findings,
    OneExpectation,
    Status,
)
from syncwatch.report.bodies import RefusedError
from syncwatch.report.health import health_routes as health_routes  # noqa: PLC0414 - for app
from syncwatch.report.operations import Answer, Guard, Operation
from syncwatch.report.paging import (
    FINDING_PLACE,
    Cursor,
    Limit,
    as_cursor,
    page_of_findings,
    read_cursor,
)
from syncwatch.report.pausing import PAUSE, RESUME
from syncwatch.report.routing import (
    asked,
    described,
    guarded,
    json_answer,
    routes_of,
)
from syncwatch.report.routing import errors_as_json as errors_as_json  # noqa: PLC0414 - for app
from syncwatch.report.writes import CLOSE, OBSERVE
from syncwatch.store import observations, passes, reading

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from sqlalchemy import Connection, Row

    from syncwatch.config import DestinationSettings
    from syncwatch.report.answers import PolicyStatus
    from syncwatch.report.gauges import Surroundings
    from syncwatch.report.metrics import Metrics
    from syncwatch.report.pausing import Pausing
    from syncwatch.report.routing import Handler
    from syncwatch.report.writes import Writes
    from syncwatch.runtime import Clock
    from syncwatch.store.database import Database
    from syncwatch.store.policies import Destination
    from syncwatch.store.reading import Snapshot


class ExpectationId(Struct, frozen=True):
    """Which expectation is meant."""

    id: Annotated[
        str,
        Meta(
            description="its `id`",
            examples=["17"],
            extra_json_schema={"pattern": "^[0-9]{1,18}$"},
        ),
    ]


class ExpectationsQuery(Struct, frozen=True, kw_only=True):
    """Which expectations are wanted: all that is written has to fit."""

    harbor: Annotated[
        str | None, Meta(description="the Harbor's name in the configuration", examples=["main"])
    ] = None
    policy: Annotated[
        str | None, Meta(description="a policy's name or id", examples=["to-cluster1"])
    ] = None
    destination: Annotated[
        str | None, Meta(description="Harbor's name of the endpoint", examples=["cluster1"])
    ] = None
    repository: Annotated[
        str | None,
        Meta(description="the name at the source or at the destination", examples=["apps/web"]),
    ] = None
    reference: Annotated[
        str | None, Meta(description="the tag, or the digest of what has none", examples=["1.4.0"])
    ] = None
    state: Annotated[State | None, Meta(description="that state only", examples=["failed"])] = None
    reason: Annotated[Reason | None, Meta(description="that reason only", examples=["missing"])] = (
        None
    )
    overdue: Annotated[
        bool | None, Meta(description="only what is overdue, or only what is not")
    ] = None
    all: Annotated[
        bool, Meta(description="closed ones too; else they only come with `state=closed`")
    ] = False
    limit: Limit = 100
    cursor: Cursor = None


class FindingsQuery(Struct, frozen=True, kw_only=True):
    """Which findings are wanted: all that is written has to fit."""

    harbor: Annotated[
        str | None, Meta(description="the Harbor's name in the configuration", examples=["main"])
    ] = None
    finding: Annotated[
        str | None,
        Meta(description="[its name](findings.md)", examples=["webhook_missing"]),
    ] = None
    severity: Annotated[Severity | None, Meta(description="how bad it is")] = None
    limit: Limit = 100
    cursor: Cursor = None


METRICS = Operation(
    "metrics",
    "the metrics",
    {200: Answer("always", form=None, content="text/plain, application/openmetrics-text")},
    guard=Guard.NOBODY,
    details="In Prometheus' or OpenMetrics' text, as it is asked for; [the metrics](metrics.md).",
)
STATUS = Operation(
    "status", "what is watched, and how it is doing", {200: Answer("always", Status)}
)
LIST = Operation(
    "expectations",
    "a page of expectations, newest first",
    {200: Answer("always; without any that fits, `items` is empty", Expectations)},
    query=ExpectationsQuery,
)
ONE = Operation(
    "expectation",
    "one of them, with its timeline and looks",
    {200: Answer("it is there", OneExpectation), 404: Answer("there is no such expectation")},
    path=ExpectationId,
)
FINDINGS = Operation(
    "findings",
    "what is wrong with the set-up",
    {200: Answer("always; without any that fits, `items` is empty", Findings)},
    query=FindingsQuery,
)
DOCUMENT = Operation(
    "openapi",
    "this API for programs: OpenAPI 3.1",
    {200: Answer("always", dict[str, Any])},
)


class Api:
    """Answers questions about what is known.

    `token` gives the values that are accepted, None where everybody may read; `watched` the
    names of the harbors that are configured, `entry` what it says of a destination, `probed`
    whether the nodes of its cluster are made to pull.
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
        probed: Callable[[DestinationSettings], bool],
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
        self._probed = probed
        self._writes = writes
        self._pausing = pausing
        self._expose = make_aiohttp_handler(metrics.registry)
        self._document: dict[str, Any] | None = None

    def routes(self) -> list[web.RouteDef]:
        """All routes of the report's port but health."""
        writes, pausing = self._writes, self._pausing
        return [
            web.get("/metrics", described(self.metrics, METRICS)),
            web.get("/openapi.json", self.guarded(self.document, DOCUMENT)),
            web.get("/api/v1/status", self.guarded(self.status, STATUS)),
            web.get("/api/v1/expectations", self.guarded(self.expectations, LIST)),
            web.get("/api/v1/expectations/{id}", self.guarded(self.expectation, ONE)),
            web.get("/api/v1/findings", self.guarded(self.findings, FINDINGS)),
            web.post("/api/v1/observations", self.guarded(writes.observe, OBSERVE)),
            web.post("/api/v1/expectations/{id}/close", self.guarded(writes.close, CLOSE)),
            web.post("/api/v1/destinations/{name}/pause", self.guarded(pausing.pause, PAUSE)),
            web.post("/api/v1/destinations/{name}/resume", self.guarded(pausing.resume, RESUME)),
        ]

    def guarded(self, handler: Handler, operation: Operation) -> Handler:
        """The handler for those who have the token, its query read, its errors as JSON."""
        return guarded(handler, operation, self._token)

    async def document(self, request: web.Request) -> web.Response:
        """What is served, for programs."""
        if self._document is None:
            self._document = openapi.document(routes_of(request.app))
        return json_answer(self._document)

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
        now, watched = self._clock.now(), self._watched()

        def read(connection: Connection) -> tuple[Any, ...]:
            snapshot = reading.snapshot(connection, watched)
            kept = reading.list_findings(connection, watched)
            places, own = snapshot.destinations, (self._entry, self._probed)
            return (
                snapshot,
                reading.last_executions(connection),
                passes.newest(connection, watched),
                clusters.clusters(connection, places, *own, kept, now),
            )

        snapshot, runs, swept, probed = await self._database.read_soon(read)
        told = Status(
            version=__version__,
            harbors=tuple(words.harbor(one, swept.get(one.name), now) for one in snapshot.harbors),
            destinations=_destinations(snapshot, self._surroundings(), self._entry, now),
            policies=_policies(snapshot, runs),
            states=_states(snapshot),
            clusters=tuple(words.cluster(one, now) for one in probed),
        )
        return json_answer(told)

    async def expectations(self, request: web.Request) -> web.Response:
        """A page of expectations, newest first."""
        query = asked(request, ExpectationsQuery)
        (before,) = read_cursor(query.cursor, (int,)) or (None,)
        names = reading.Filters.__dataclass_fields__
        wanted = reading.Filters(**{name: getattr(query, name) for name in names})
        rows = await self._database.read(
            lambda c: reading.list_expectations(c, wanted, query.limit + 1, before)
        )
        shown, more = rows[: query.limit], len(rows) > query.limit
        told = Expectations(
            items=tuple(map(words.expectation, shown)),
            next=as_cursor((shown[-1].id,)) if more else None,
        )
        return json_answer(told)

    async def expectation(self, request: web.Request) -> web.Response:
        """One expectation with its timeline and the looks that are kept."""
        wanted = request.match_info["id"]
        found = await self._database.read(lambda c: _one(c, wanted)) if _is_number(wanted) else None
        if found is None:
            raise RefusedError(404, "not_found", f"There is no expectation {wanted[:64]}.")
        return json_answer(found)

    async def findings(self, request: web.Request) -> web.Response:
        """A page of findings, the oldest first; that of the store before all others."""
        query = asked(request, FindingsQuery)
        after = read_cursor(query.cursor, FINDING_PLACE)
        rows = await self._database.read(lambda c: reading.list_findings(c, self._watched()))
        rows = [one for one in rows if _is_wanted(one, query)]
        trouble = words.store_trouble(self._database.trouble, self._clock.now())
        first = [one for one in trouble if after is None and _is_wanted(one, query)]
        shown, further = page_of_findings(rows, after, query.limit - len(first))
        return json_answer(Findings(items=(*first, *map(words.finding, shown)), next=further))


def _is_wanted(one: Any, query: FindingsQuery) -> bool:
    names = ("harbor", "finding", "severity")
    return all(getattr(query, name) in (None, getattr(one, name)) for name in names)


def _one(connection: Connection, wanted: str) -> OneExpectation | None:
    row = reading.one_expectation(connection, int(wanted))
    if row is None:
        return None
    seen = observations.latest(connection, row.destination_id, row.repository, row.reference)
    return words.one_expectation(row, reading.timeline(connection, row.id), seen)


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
) -> tuple[DestinationStatus, ...]:
    told = []
    for one in snapshot.destinations:
        if one.gone_at is not None:
            continue
        counted = [count for count in snapshot.counts if count.destination_id == one.id]
        since = [at for (_, _, place), at in snapshot.behind.items() if place == one.id]
        paused_until, paused_by = words.pause(one, entry(one).pause_until, now)
        status = DestinationStatus(
            harbor=one.harbor,
            name=one.name,
            # Another replica may be the one that asks it.
            up=around.up.get(one.id, one.up),
            open=sum(count.n for count in counted if count.state in OPEN_STATES),
            overdue=sum(count.n for count in counted if count.overdue),
            oldest_open_seconds=max(0.0, (now - min(since)) / SECOND) if since else 0.0,
            paused_until=paused_until,
            paused_by=paused_by,
        )
        told.append(status)
    return tuple(told)


def _policies(
    snapshot: Snapshot, runs: dict[tuple[str, int], Row[Any]]
) -> tuple[PolicyStatus, ...]:
    names = {one.id: one.name for one in snapshot.destinations}
    return tuple(
        words.policy(one, names.get(one.destination_id or 0), runs.get((one.harbor, one.policy_id)))
        for one in snapshot.policies
        if one.gone_at is None
    )


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 18
