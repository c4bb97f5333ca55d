"""The writes of the API about expectations: looks asked for now, and one closed by hand.

Comes in: a request whose token was checked by `api`. Goes out: rows changed in the store, and the
stages woken that find them due. What a person may write is bounded here.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated

from msgspec import UNSET, Meta, Struct

from syncwatch import reference
from syncwatch.errors import MalformedError
from syncwatch.model import Reason
from syncwatch.report.answers import Closed, LooksDue
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
from syncwatch.report.operations import Answer, Guard, Operation, Ref
from syncwatch.report.routing import json_answer
from syncwatch.store import expectations, policies, reading, requests

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from aiohttp import web
    from sqlalchemy import Connection

    from syncwatch.model import Change
    from syncwatch.reference import Hosts, Meant, Reference
    from syncwatch.runtime import Clock, Signals
    from syncwatch.store.database import Database
    from syncwatch.store.policies import Destination


class LookRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be looked at: all that is written has to fit, and one of the first four is needed.

    `image` and `repository` exclude each other.
    """

    image: Annotated[Ref | None, Meta(description="[REF](#ref)")] = None
    repository: Annotated[
        str | None,
        Meta(description="all of it, by its name at the source or there", examples=["apps/web"]),
    ] = None
    destination: Annotated[
        str | None,
        Meta(description="Harbor's name of the endpoint: only there", examples=["cluster1"]),
    ] = None
    since: Annotated[
        str | None,
        Meta(
            description="what was expected since then: a time with its zone, or a duration back "
            "from now",
            examples=["2h"],
        ),
    ] = None
    by: By = None


class CloseRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Why it is closed, and who says so."""

    note: Note = None
    by: By = None


class ClosedId(Struct, frozen=True):
    """Which expectation is meant."""

    id: Annotated[
        str,
        Meta(
            description="its `id`",
            examples=["17"],
            extra_json_schema={"pattern": "^[0-9]{1,18}$"},
        ),
    ]


OBSERVE = Operation(
    "look",
    "has images looked at now",
    {
        202: Answer("the looks are due", LooksDue),
        400: Answer("the body is not as described, or `image` is no REF"),
        404: Answer(
            "nothing is expected of the image, or there is no such destination: an image of which "
            "nothing is expected cannot be looked at yet"
        ),
    },
    body=LookRequest,
    guard=Guard.WRITE,
)
CLOSE = Operation(
    "close",
    "ends an expectation by hand",
    {
        202: Answer("it is closed; also where it was before, and then nothing changes", Closed),
        400: Answer("the body is not as described"),
        404: Answer("there is no such expectation"),
    },
    path=ClosedId,
    body=CloseRequest,
    body_required=False,
    guard=Guard.WRITE,
)

_FORMS: dict[type, str] = {
    LookRequest: '{"image": REF, "destination": NAME}',
    CloseRequest: '{"note": TEXT, "by": NAME}',
}


class Writes:
    """Answers the requests that change expectations.

    `watched` gives the names of the harbors that are configured, `hosts` whose host is whose among
    the destinations present. `publish` is told what changed, once it is durable.
    """

    def __init__(
        self,
        *,
        database: Database,
        clock: Clock,
        signals: Signals,
        publish: Callable[[Sequence[Change]], None],
        watched: Callable[[], Collection[str]],
        hosts: Callable[[Sequence[Destination]], Hosts],
    ) -> None:
        self._database = database
        self._clock = clock
        self._signals = signals
        self._publish = publish
        self._watched = watched
        self._hosts = hosts

    async def observe(self, request: web.Request) -> web.Response:
        """Have images looked at now, wherever they are expected: 202, else RefusedError."""
        asked = decoded(await body_of(request), LookRequest, _FORMS)
        _check(asked)
        image = _image(asked.image) if asked.image is not None else None
        present = await self._database.read(self._present)
        wanted = reference.meant(image, self._hosts(present)) if image else None
        now = self._clock.now()
        scope = requests.Scope(
            watched=self._watched(),
            present=_allowed(asked.destination, wanted, present),
            meant=wanted,
            repository=asked.repository,
            since=moment("since", asked.since, now, ahead=False) if asked.since else None,
        )
        by = one_line("by", asked.by, BY_LIMIT)
        detail = f"{f'by {by} ' * bool(by)}over the API, from {request.remote}"
        found = await self._look(scope, detail, now)
        if not found.destinations:
            words = _nothing(image, wanted, asked) if image and wanted else _empty(asked)
            raise RefusedError(404, "not_found", words)
        return json_answer(_told(found, present), 202)

    async def _look(self, scope: requests.Scope, detail: str, now: int) -> requests.Looks:
        found = await self._database.write(lambda c: requests.look(c, scope, detail, now))
        for destination_id in found.destinations:
            self._signals.wake(f"verify {destination_id}")
        return found

    def _present(self, connection: Connection) -> list[Destination]:
        watched, known = self._watched(), policies.known_destinations(connection)
        return [one for one in known if one.gone_at is None and one.harbor in watched]

    async def close(self, request: web.Request) -> web.Response:
        """End an expectation by hand, once: 202, else RefusedError."""
        wanted = request.match_info["id"]
        asked = decoded(await body_of(request) or b"{}", CloseRequest, _FORMS)
        message = by_whom("Closed by hand", asked.by, asked.note)
        if not _is_id(wanted) or not await self._close(int(wanted), message):
            words = f"There is no expectation {wanted[:SHOWN]}."
            raise RefusedError(404, "not_found", words)
        return json_answer(Closed(id=wanted), 202)

    async def _close(self, expectation_id: int, message: str) -> bool:
        def write(connection: Connection) -> tuple[bool, Change | None]:
            found = reading.one_expectation(connection, expectation_id) is not None
            now = self._clock.now()
            close = expectations.close
            return found, close(connection, expectation_id, Reason.BY_HAND, message, now)

        found, change = await self._database.write(write)
        self._publish([change] if change else [])
        return found


def _check(asked: LookRequest) -> None:
    if asked.image is not None and asked.repository is not None:
        raise bad_request("image and repository: write one of the two.")
    if (asked.image, asked.destination, asked.repository, asked.since) == (None,) * 4:
        raise bad_request("Say what is to be looked at: image, repository, destination or since.")


def _told(found: requests.Looks, present: Sequence[Destination]) -> LooksDue:
    names = sorted({one.name for one in present if one.id in found.destinations})
    more = True if found.more else UNSET
    return LooksDue(requested=found.count, destinations=tuple(names), more=more)


def _image(text: str) -> Reference:
    try:
        return reference.parse(text)
    except MalformedError as error:
        raise bad_request(f"image: {error.message}.") from None


def _allowed(name: str | None, wanted: Meant | None, present: Sequence[Destination]) -> set[int]:
    """Where a look may be taken. A host that is a destination's allows no other name beside it."""
    if name is None:
        return {one.id for one in present}
    named = {one.id for one in present if one.name == name}
    if not named:
        raise no_destination(name, present)
    by_host = {one.name for one in present if wanted and one.id in wanted.destinations}
    if wanted and by_host and name not in by_host and not wanted.harbors:
        words = f"image: its host is that of {' and '.join(sorted(by_host))}, not of {name}"
        raise bad_request(f"{words}; leave destination out.")
    return named


def no_destination(name: str, present: Sequence[Destination]) -> RefusedError:
    """No endpoint of any Harbor has this name."""
    near = get_close_matches(name[:SHOWN], [one.name for one in present], 1)
    cure = f"did you mean {near[0]}?" if near else "write Harbor's name of the endpoint."
    words = f"destination: none is called {name[:SHOWN]!a}; {cure}"
    return RefusedError(404, "not_found", words)


def _nothing(image: Reference, wanted: Meant, asked: LookRequest) -> str:
    words = f"Nothing is expected of {image}{_where(asked)}"
    if wanted.stranger:
        return f"{words}: {wanted.stranger} is the host of no Harbor and no destination here."
    return f"{words}, so it cannot be looked at yet; push it, or run its policy, first."


def _empty(asked: LookRequest) -> str:
    what = f" of {asked.repository[:SHOWN]!a}" if asked.repository else ""
    return f"Nothing is expected{what}{_where(asked)}, so there is nothing to look at."


def _where(asked: LookRequest) -> str:
    there = f" at {asked.destination}" if asked.destination else ""
    return f"{there} since {asked.since[:SHOWN]}" if asked.since else there


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 18
