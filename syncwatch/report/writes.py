"""The two writes of the API: a look asked for now, and an expectation closed by hand.

Comes in: a request whose token was checked by `api`. Goes out: rows changed in the store, and the
stages woken that find them due. What a person may write is bounded here.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, TypeVar

import msgspec
from aiohttp import web

from syncwatch import reference
from syncwatch.errors import MalformedError
from syncwatch.model import Reason
from syncwatch.store import expectations, policies, reading, requests

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from sqlalchemy import Connection

    from syncwatch.model import Change
    from syncwatch.reference import Hosts, Meant, Reference
    from syncwatch.runtime import Clock, Signals
    from syncwatch.store.database import Database
    from syncwatch.store.policies import Destination

T = TypeVar("T")

BODY_LIMIT = 64 * 1024
"""The largest body in bytes; a larger one is answered 413."""
NOTE_LIMIT = 1000
BY_LIMIT = 100
SHOWN = 100
"""Characters of what somebody sent that an answer repeats."""


class LookRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /api/v1/observations`; `destination` is Harbor's name of the endpoint."""

    image: str
    destination: str | None = None


class CloseRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /api/v1/expectations/{id}/close`: why, and who says so."""

    note: str | None = None
    by: str | None = None


_FORMS: dict[type, str] = {
    LookRequest: '{"image": REF, "destination": NAME}',
    CloseRequest: '{"note": TEXT, "by": NAME}',
}


class RefusedError(Exception):
    """A request that is answered `status` and `code`; the text says why, and what to do."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class Writes:
    """Answers the requests that change something.

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
        """Have an image looked at now, wherever it is expected: 202, else RefusedError."""
        asked = _decoded(await _body(request), LookRequest)
        image = _image(asked.image)
        present = await self._database.read(self._present)
        wanted = reference.meant(image, self._hosts(present))
        allowed = _allowed(asked.destination, wanted, present)
        ids = await self._look(wanted, allowed, f"over the API, from {request.remote}")
        if not ids:
            raise RefusedError(404, "not_found", _nothing(image, wanted, asked.destination))
        names = sorted({one.name for one in present if one.id in ids})
        return web.json_response({"requested": len(ids), "destinations": names}, status=202)

    async def _look(self, wanted: Meant, present: Collection[int], detail: str) -> list[int]:
        watched = self._watched()
        ids = await self._database.write(
            lambda c: requests.look(c, wanted, watched, present, detail, self._clock.now())
        )
        for destination_id in set(ids):
            self._signals.wake(f"verify {destination_id}")
        return ids

    def _present(self, connection: Connection) -> list[Destination]:
        watched, known = self._watched(), policies.known_destinations(connection)
        return [one for one in known if one.gone_at is None and one.harbor in watched]

    async def close(self, request: web.Request) -> web.Response:
        """End an expectation by hand, once: 202, else RefusedError."""
        wanted = request.match_info["id"]
        asked = _decoded(await _body(request) or b"{}", CloseRequest)
        message = _closed_by_hand(asked)
        if not _is_id(wanted) or not await self._close(int(wanted), message):
            words = f"There is no expectation {wanted[:SHOWN]}."
            raise RefusedError(404, "not_found", words)
        return web.json_response({"id": wanted}, status=202)

    async def _close(self, expectation_id: int, message: str) -> bool:
        def write(connection: Connection) -> tuple[bool, Change | None]:
            found = reading.one_expectation(connection, expectation_id) is not None
            now = self._clock.now()
            close = expectations.close
            return found, close(connection, expectation_id, Reason.BY_HAND, message, now)

        found, change = await self._database.write(write)
        self._publish([change] if change else [])
        return found


async def _body(request: web.Request) -> bytes:
    """The whole body. What is too large is not read to its end."""
    too_large = RefusedError(413, "too_large", f"A body may have {BODY_LIMIT} bytes at most.")
    if (request.content_length or 0) > BODY_LIMIT:
        raise too_large
    body = bytearray()
    try:
        async for chunk in request.content.iter_any():
            body += chunk
            if len(body) > BODY_LIMIT:
                raise too_large
    except (web.RequestPayloadError, ConnectionError):
        words = "The body ended early or is not coded as it says; send it again whole."
        raise RefusedError(400, "bad_request", words) from None
    return bytes(body)


def _decoded(body: bytes, form: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=form)
    except UnicodeDecodeError:
        why = "it is not UTF-8"
    except (msgspec.MsgspecError, RecursionError) as error:
        why = str(error)[:SHOWN]
    words = f"The body has to be JSON like {_FORMS[form]}: {why}."
    raise RefusedError(400, "bad_request", words)


def _image(text: str) -> Reference:
    try:
        return reference.parse(text)
    except MalformedError as error:
        raise RefusedError(400, "bad_request", f"image: {error.message}.") from None


def _allowed(name: str | None, wanted: Meant, present: Sequence[Destination]) -> set[int]:
    """Where a look may be taken. A host that is a destination's allows no other name beside it."""
    if name is None:
        return {one.id for one in present}
    named = {one.id for one in present if one.name == name}
    if not named:
        near = get_close_matches(name[:SHOWN], [one.name for one in present], 1)
        cure = f"did you mean {near[0]}?" if near else "write Harbor's name of the endpoint."
        words = f"destination: none is called {name[:SHOWN]!a}; {cure}"
        raise RefusedError(404, "not_found", words)
    by_host = {one.name for one in present if one.id in wanted.destinations}
    if by_host and name not in by_host and not wanted.harbors:
        words = f"image: its host is that of {' and '.join(sorted(by_host))}, not of {name}"
        raise RefusedError(400, "bad_request", f"{words}; leave destination out.")
    return named


def _nothing(image: Reference, wanted: Meant, destination: str | None) -> str:
    there = f" at {destination}" if destination else ""
    words = f"Nothing is expected of {image}{there}"
    if wanted.stranger:
        return f"{words}: {wanted.stranger} is the host of no Harbor and no destination here."
    return f"{words}, so it cannot be looked at yet; push it, or run its policy, first."


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 18


def _closed_by_hand(asked: CloseRequest) -> str:
    by, note = _line("by", asked.by, BY_LIMIT), _line("note", asked.note, NOTE_LIMIT)
    words = f"Closed by hand{f' by {by}' if by else ''}{f': {note}' if note else ''}"
    return words if words.endswith((".", "!", "?")) else f"{words}."


def _line(field: str, text: str | None, limit: int) -> str:
    """The text in one line that may stand in a log and in any store."""
    plain = "".join(one if one.isprintable() else " " for one in text or "")
    words = " ".join(plain.split())
    if len(words) > limit:
        told = f"{field}: {len(words)} characters; write {limit} at most."
        raise RefusedError(400, "bad_request", told)
    return words
