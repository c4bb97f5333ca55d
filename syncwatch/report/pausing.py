"""The writes of the API about destinations: maintenance begins, maintenance ends.

Comes in: a request whose token was checked by `api`. Goes out: the destination's row, a line in
the timeline of what is open there, and the loops woken that read the row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

from syncwatch.model import HOUR, SECOND
from syncwatch.report.answers import Paused, PausedDestination
from syncwatch.report.bodies import (
    BY_LIMIT,
    SHOWN,
    By,
    Note,
    RefusedError,
    bad_request,
    body_of,
    by_whom,
    decoded,
    moment,
    one_line,
)
from syncwatch.report.operations import Answer, Guard, Operation
from syncwatch.report.routing import json_answer
from syncwatch.report.words import rfc3339
from syncwatch.report.writes import no_destination
from syncwatch.store import pauses, policies

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from aiohttp import web
    from sqlalchemy import Connection

    from syncwatch.config import DestinationSettings
    from syncwatch.model import Millis
    from syncwatch.runtime import Clock, Signals
    from syncwatch.store.database import Database
    from syncwatch.store.policies import Destination

LONGEST = 366 * 24 * HOUR
"""A pause that nobody ends by then was forgotten."""


Whose = Annotated[
    str | None,
    Meta(
        description="whose endpoint, where two Harbors use the name; else all of that name are "
        "meant",
        examples=["main"],
    ),
]


class DestinationName(Struct, frozen=True):
    """Which destination is meant."""

    name: Annotated[str, Meta(description="Harbor's name of the endpoint", examples=["cluster1"])]


class PauseRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Until when, who says so and why."""

    until: Annotated[
        str,
        Meta(
            description="a time with its zone, or a duration from now, as `2h`; a year at most",
            examples=["2h"],
        ),
    ]
    note: Note = None
    by: By = None
    harbor: Whose = None


class ResumeRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Who says so and why."""

    note: Note = None
    by: By = None
    harbor: Whose = None


PAUSE = Operation(
    "pause",
    "begins the maintenance of a destination",
    {
        202: Answer("it is paused", Paused),
        400: Answer("the body is not as described, or `until` is over, or more than a year ahead"),
        404: Answer("there is no such destination, or no such Harbor"),
    },
    path=DestinationName,
    body=PauseRequest,
    guard=Guard.WRITE,
)
RESUME = Operation(
    "resume",
    "ends the maintenance of a destination",
    {
        202: Answer("it is not paused by hand any more, or was not before", Paused),
        400: Answer("the body is not as described"),
        404: Answer("there is no such destination, or no such Harbor"),
    },
    path=DestinationName,
    body=ResumeRequest,
    body_required=False,
    guard=Guard.WRITE,
)

_FORMS: dict[type, str] = {
    PauseRequest: '{"until": TIME or DURATION, "by": NAME, "note": TEXT, "harbor": NAME}',
    ResumeRequest: '{"by": NAME, "note": TEXT, "harbor": NAME}',
}


class Pausing:
    """Answers the requests that pause a destination.

    `watched` gives the names of the harbors that are configured, `entry` what the configuration
    says of a destination.
    """

    def __init__(
        self,
        *,
        database: Database,
        clock: Clock,
        signals: Signals,
        watched: Callable[[], Collection[str]],
        entry: Callable[[Destination], DestinationSettings],
    ) -> None:
        self._database = database
        self._clock = clock
        self._signals = signals
        self._watched = watched
        self._entry = entry

    async def pause(self, request: web.Request) -> web.Response:
        """Maintenance from now on: 202, else RefusedError."""
        asked = decoded(await body_of(request), PauseRequest, _FORMS)
        now = self._clock.now()
        until = _until(asked.until, now)
        by = one_line("by", asked.by, BY_LIMIT)
        words = by_whom(f"Maintenance until {rfc3339(until)}", asked.by, asked.note)

        found = await self._named(request.match_info["name"], asked.harbor)
        return await self._written(
            found, until, lambda c, one: pauses.pause(c, one.id, until, by, words, now)
        )

    async def resume(self, request: web.Request) -> web.Response:
        """Maintenance is over: 202, also where there was none; else RefusedError."""
        asked = decoded(await body_of(request) or b"{}", ResumeRequest, _FORMS)
        now = self._clock.now()
        words = by_whom("Maintenance ended", asked.by, asked.note)
        found = await self._named(request.match_info["name"], asked.harbor)
        return await self._written(
            found, None, lambda c, one: pauses.resume(c, one.id, self._deadline(one), words, now)
        )

    async def _written(
        self,
        found: Sequence[Destination],
        until: Millis | None,
        write: Callable[[Connection, Destination], int],
    ) -> web.Response:
        noted = await self._database.write(lambda c: [write(c, one) for one in found])
        for one in found:
            # What a maintenance that is over gave back is late at once.
            self._signals.wake(f"verify {one.id}")
        told = (
            PausedDestination(
                harbor=one.harbor,
                destination=one.name,
                paused_until=rfc3339(self._later(one, until)),
                noted=count,
            )
            for one, count in zip(found, noted, strict=True)
        )
        return json_answer(Paused(destinations=tuple(told)), 202)

    def _later(self, destination: Destination, until: Millis | None) -> Millis | None:
        """The configuration may pause it too, and for longer."""
        configured = self._entry(destination).pause_until
        by_file = round(configured.timestamp() * SECOND) if configured else 0
        later = max(by_file, until or 0)
        return later if later > self._clock.now() else None

    def _deadline(self, destination: Destination) -> Millis:
        return round(self._entry(destination).deadline.total_seconds() * SECOND)

    async def _named(self, name: str, harbor: str | None) -> list[Destination]:
        watched = self._watched()
        known = await self._database.read(policies.known_destinations)
        present = [one for one in known if one.gone_at is None and one.harbor in watched]
        if harbor is not None and harbor not in watched:
            names = ", ".join(sorted(watched))
            words = f"harbor: none is called {harbor[:SHOWN]!a}; there is {names}."
            raise RefusedError(404, "not_found", words)
        here = [one for one in present if harbor in (None, one.harbor)]
        found = [one for one in here if one.name == name]
        if not found:
            raise no_destination(name, here)
        return found


def _until(text: str, now: Millis) -> Millis:
    until = moment("until", text, now, ahead=True)
    if until <= now:
        raise bad_request(f"until: {rfc3339(until)} is over; write a time to come.")
    if until > now + LONGEST:
        raise bad_request("until: more than a year ahead; write an earlier time.")
    return until
