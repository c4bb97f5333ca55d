"""Asking for a probe by hand: a node of the destination's cluster is to pull an image now.

In: an image as people write it. Out: probes that are due, before all that nobody waits for. As for
the gate, Harbor is asked what the reference names, so that nothing has to be expected of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from aiohttp import web
from msgspec import Meta, Struct

from syncwatch.gate.evaluating import pinned, telling
from syncwatch.gate.places import places
from syncwatch.report.bodies import RefusedError, body_of, decoded
from syncwatch.report.operations import Answer, Guard, Operation, Ref
from syncwatch.report.probing import Probe, told_of
from syncwatch.report.routing import json_answer
from syncwatch.store import policies, probe_reading, probes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sqlalchemy import Connection

    from syncwatch.config import DestinationSettings
    from syncwatch.explain.answering import Answering
    from syncwatch.runtime import Clock, Signals
    from syncwatch.store.database import Database
    from syncwatch.store.policies import Destination

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ProbeRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be pulled, and where."""

    image: Annotated[Ref, Meta(description="[REF](#ref)")]
    destination: Annotated[
        str | None,
        Meta(
            description="Harbor's name of the endpoint; needed unless the image's host says it",
            examples=["cluster1"],
        ),
    ] = None


class ProbesAsked(Struct, frozen=True, kw_only=True):
    """The probes that are due now, one for each place."""

    probes: Annotated[tuple[Probe, ...], Meta(description="what `GET /api/v1/probes/{id}` tells")]


ASK = Operation(
    "askForProbe",
    "has a node of the destination's cluster pull an image now",
    {
        202: Answer("it is due, before all that nobody waits for", ProbesAsked),
        400: Answer("the body is not as described, or `image` is no REF"),
        404: Answer("there is no such image, or nothing brings it there"),
        422: Answer("no cluster is configured to pull from there"),
        503: Answer("Harbor could not be asked what the reference names"),
    },
    body=ProbeRequest,
    guard=Guard.WRITE,
    details="The pod begins within the cluster's budget, once a look has proved that the registry "
    "serves the image; `GET /api/v1/probes/{id}` says what it came to.",
)
_FORMS: dict[type, str] = {ProbeRequest: '{"image": REF, "destination": NAME}'}


class Probing:
    """Has images probed. `entry` is what the configuration says of a destination, `probed` whether
    its cluster's nodes are made to pull."""

    def __init__(
        self,
        *,
        answering: Answering,
        database: Database,
        clock: Clock,
        signals: Signals,
        entry: Callable[[Destination], DestinationSettings],
        probed: Callable[[DestinationSettings], bool],
    ) -> None:
        self._answering = answering
        self._database = database
        self._clock = clock
        self._signals = signals
        self._entry = entry
        self._probed = probed

    def routes(self, guarded: Callable[[Handler, Operation], Handler]) -> list[web.RouteDef]:
        """The route, for those who may write."""
        return [web.post("/api/v1/probes", guarded(self.ask, ASK))]

    async def ask(self, request: web.Request) -> web.Response:
        """202 where a probe is due now, else RefusedError."""
        asked = decoded(await body_of(request), ProbeRequest, _FORMS)
        wanted = await self._wanted(asked)
        now = self._clock.now()

        def write(connection: Connection) -> tuple[Probe, ...]:
            for key, reference in wanted.items():
                probes.ask(connection, key, reference, now)
            rows = probe_reading.by_keys(connection, list(wanted))
            return tuple(Probe(**told_of(row)) for row in rows)

        told = await self._database.write(write)
        return json_answer(ProbesAsked(probes=told), 202)

    async def _wanted(self, asked: ProbeRequest) -> dict[probes.Key, str]:
        """What is to be probed, with a name that serves it; wakes those who do."""
        named = (asked.destination,) if asked.destination is not None else ()
        question = pinned(await self._answering.question(asked.image, named))
        sources, notes = await self._answering.sources(question)
        known = await self._database.read(policies.known_destinations)
        present = {one.id: one for one in known if one.gone_at is None}
        there = [
            place
            for source in telling(sources)
            for place in places(question, source, self._clock.now())
            if place.destination_id in present
        ]
        if not there:
            raise _nowhere(asked, [*notes, *(one.problem for one in sources if one.problem)])
        own = {one.destination_id: self._entry(present[one.destination_id]) for one in there}
        able = [one for one in there if self._probed(own[one.destination_id])]
        if not able:
            names = " and ".join(sorted({present[one.destination_id].name for one in there}))
            words = f"No cluster is configured to pull from {names}"
            cure = "set cluster there, and probe for that cluster"
            raise RefusedError(422, "no_probe", f"{words}; {cure}.")
        for one in able:
            self._signals.wake(f"probe {own[one.destination_id].cluster}")
        return {(one.destination_id, one.repository, one.digest): one.reference for one in able}


def _nowhere(asked: ProbeRequest, problems: list[str]) -> RefusedError:
    where = f" to {asked.destination}" if asked.destination is not None else ""
    if problems:
        words = f"It could not be found out what {asked.image} is: {' '.join(problems)}"
        return RefusedError(503, "cannot_ask", words)
    words = f"Harbor has no {asked.image}, or nothing brings it{where}"
    return RefusedError(404, "not_found", f"{words}; `syncwatch explain` says more.")
