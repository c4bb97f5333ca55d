"""The API of probes: lists of them, and one with its pods. Asking for one is the gate's business.

A probe is of a digest in a place, whatever names serve it; each has had any number of pods.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

from aiohttp import web
from msgspec import Meta, Struct

from syncwatch.model import Pulling
from syncwatch.report.answers import EXAMPLE_DIGEST, Time
from syncwatch.report.bodies import RefusedError
from syncwatch.report.operations import Answer, Operation
from syncwatch.report.paging import Cursor, Limit, as_cursor, read_cursor
from syncwatch.report.routing import asked, json_answer
from syncwatch.report.words import rfc3339
from syncwatch.store import probe_reading

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence

    from sqlalchemy import Connection, Row

    from syncwatch.store.database import Database

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Stage(StrEnum):
    """How far a probe is."""

    WAITING = probe_reading.WAITING
    UNDER_WAY = probe_reading.UNDER_WAY
    ENDED = probe_reading.ENDED


class PodTold(Struct, frozen=True, kw_only=True):
    """A pod that was to pull it."""

    name: Annotated[str, Meta(description="its name in the cluster")]
    cluster: Annotated[str, Meta(description="the cluster's name in the configuration")]
    namespace: Annotated[str, Meta(description="where it was made")]
    image: Annotated[str, Meta(description="the reference that it pulled, as the node knows it")]
    architecture: Annotated[str, Meta(description="what it was for; empty where any would do")]
    node: Annotated[str, Meta(description="where it was; empty before it was anywhere")]
    began_at: Annotated[Time, Meta(description="when it was made")]
    ended_at: Annotated[Time | None, Meta(description="when it was judged")]
    result: Annotated[Pulling | None, Meta(description="what it came to")]
    cause: Annotated[str, Meta(description="a word for what proved nothing; empty otherwise")]
    message: Annotated[str, Meta(description="one sentence, with the kubelet's own words")]
    seconds: Annotated[
        float | None,
        Meta(description="how long the pull alone took; null where the kubelet does not say"),
    ]


class Probe(Struct, frozen=True, kw_only=True):
    """What is known of a cluster's nodes pulling a digest."""

    id: Annotated[str, Meta(description="ours, stays with it", examples=["4"])]
    harbor: Annotated[str, Meta(description="the Harbor's name in the configuration")]
    destination: Annotated[str, Meta(description="Harbor's name of the registry endpoint")]
    repository: Annotated[str, Meta(description="the repository at the destination")]
    digest: Annotated[str, Meta(description="what is pulled", examples=[EXAMPLE_DIGEST])]
    required: Annotated[bool, Meta(description="whether somebody's `level` asks for it")]
    result: Annotated[Pulling | None, Meta(description="what the last one came to")]
    cause: Annotated[str, Meta(description="a word for what proved nothing; empty otherwise")]
    message: Annotated[str, Meta(description="one sentence, with the kubelet's own words")]
    attempts: Annotated[int, Meta(description="how many in a row were not pulled")]
    wanted_at: Annotated[Time, Meta(description="since when it is to be probed")]
    asked_at: Annotated[Time | None, Meta(description="when somebody last asked for one")]
    due_at: Annotated[Time | None, Meta(description="when the next one is due, or was")]
    began_at: Annotated[Time | None, Meta(description="since when pods are under way")]
    ended_at: Annotated[Time | None, Meta(description="when the last one ended")]
    proved_at: Annotated[Time | None, Meta(description="when a node had pulled it")]


class OneProbe(Probe, frozen=True, kw_only=True):
    """A probe, and the pods that were made for it."""

    pods: Annotated[tuple[PodTold, ...], Meta(description="the newest, newest first")]


class Probes(Struct, frozen=True, kw_only=True):
    """A page of probes."""

    items: Annotated[tuple[Probe, ...], Meta(description="the newest first")]
    next: Annotated[str | None, Meta(description="the `cursor` of the next page")]


class ProbesQuery(Struct, frozen=True, kw_only=True):
    """Which probes are wanted: all that is written has to fit."""

    destination: Annotated[
        str | None, Meta(description="Harbor's name of the endpoint", examples=["cluster1"])
    ] = None
    repository: Annotated[
        str | None, Meta(description="the name at the destination", examples=["apps/web"])
    ] = None
    digest: Annotated[str | None, Meta(description="the digest", examples=[EXAMPLE_DIGEST])] = None
    result: Annotated[Pulling | None, Meta(description="what the last one came to")] = None
    state: Annotated[Stage | None, Meta(description="how far it is")] = None
    limit: Limit = 100
    cursor: Cursor = None


class ProbeId(Struct, frozen=True):
    """Which probe is meant."""

    id: Annotated[
        str,
        Meta(
            description="its `id`",
            examples=["4"],
            extra_json_schema={"pattern": "^[0-9]{1,18}$"},
        ),
    ]


LIST = Operation(
    "probes",
    "a page of probes, newest first",
    {200: Answer("always; without any that fits, `items` is empty", Probes)},
    query=ProbesQuery,
)
ONE = Operation(
    "probe",
    "one of them, with its pods",
    {200: Answer("it is there", OneProbe), 404: Answer("there is no such probe")},
    path=ProbeId,
)


class Probing:
    """Answers questions about probes; `watched` are the harbors that are configured."""

    def __init__(self, *, database: Database, watched: Callable[[], Collection[str]]) -> None:
        self._database = database
        self._watched = watched

    def routes(self, guarded: Callable[[Handler, Operation], Handler]) -> list[web.RouteDef]:
        """The routes, for those who may read."""
        return [
            web.get("/api/v1/probes", guarded(self.probes, LIST)),
            web.get("/api/v1/probes/{id}", guarded(self.probe, ONE)),
        ]

    async def probes(self, request: web.Request) -> web.Response:
        """A page of probes, newest first."""
        query = asked(request, ProbesQuery)
        (before,) = read_cursor(query.cursor, (int,)) or (None,)
        names = probe_reading.Filters.__dataclass_fields__
        wanted = probe_reading.Filters(**{name: getattr(query, name) for name in names})
        rows = await self._database.read(
            lambda c: probe_reading.page(c, self._watched(), wanted, query.limit + 1, before)
        )
        shown, more = rows[: query.limit], len(rows) > query.limit
        told = Probes(
            items=tuple(Probe(**told_of(row)) for row in shown),
            next=as_cursor((shown[-1].id,)) if more else None,
        )
        return json_answer(told)

    async def probe(self, request: web.Request) -> web.Response:
        """One probe with its pods."""
        wanted = request.match_info["id"]
        known = wanted.isascii() and wanted.isdigit() and len(wanted) <= 18
        found = await self._database.read(lambda c: _one(c, int(wanted))) if known else None
        if found is None:
            raise RefusedError(404, "not_found", f"There is no probe {wanted[:64]}.")
        return json_answer(found)


def _one(connection: Connection, probe_id: int) -> OneProbe | None:
    row = probe_reading.one(connection, probe_id)
    if row is None:
        return None
    return OneProbe(**told_of(row), pods=pods_told(probe_reading.pods_of(connection, probe_id)))


def pods_told(rows: Sequence[Row[Any]]) -> tuple[PodTold, ...]:
    """Pods as the API has them."""
    return tuple(
        PodTold(
            name=row.name,
            cluster=row.cluster,
            namespace=row.namespace,
            image=row.image,
            architecture=row.architecture,
            node=row.node,
            began_at=rfc3339(row.began_at) or "",
            ended_at=rfc3339(row.ended_at),
            result=Pulling(row.result) if row.result else None,
            cause=row.cause,
            message=row.message,
            seconds=row.seconds,
        )
        for row in rows
    )


def told_of(row: Row[Any]) -> dict[str, Any]:
    """A probe's fields as the API has them."""
    return {
        "id": str(row.id),
        "harbor": row.harbor,
        "destination": row.destination,
        "repository": row.repository,
        "digest": row.digest,
        "required": row.required,
        "result": Pulling(row.result) if row.result else None,
        "cause": row.cause,
        "message": row.message,
        "attempts": row.attempts,
        "wanted_at": rfc3339(row.wanted_at),
        "asked_at": rfc3339(row.asked_at),
        "due_at": rfc3339(row.due_at),
        "began_at": rfc3339(row.began_at),
        "ended_at": rfc3339(row.ended_at),
        "proved_at": rfc3339(row.proved_at),
    }
