"""What people send to the API, read and bounded: bodies, lines of text, moments.

Whatever cannot be taken is a RefusedError, whose text names the field and the cure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypeVar

import msgspec
from aiohttp import web
from msgspec import Meta

from syncwatch.config.scalars import parse_duration, parse_instant
from syncwatch.model import SECOND

if TYPE_CHECKING:
    from collections.abc import Mapping

    from syncwatch.model import Millis

T = TypeVar("T", bound=msgspec.Struct)

BODY_LIMIT = 64 * 1024
"""The largest body in bytes; a larger one is answered 413."""
NOTE_LIMIT = 1000
BY_LIMIT = 100
SHOWN = 100
"""Characters of what somebody sent that an answer repeats."""

Note = Annotated[
    str | None,
    Meta(
        description=f"why; up to {NOTE_LIMIT} characters",
        examples=["new disks"],
        extra_json_schema={"maxLength": NOTE_LIMIT},
    ),
]
By = Annotated[
    str | None,
    Meta(
        description=f"who says so; up to {BY_LIMIT} characters",
        examples=["Ada"],
        extra_json_schema={"maxLength": BY_LIMIT},
    ),
]


class RefusedError(Exception):
    """A request that is answered `status` and `code`; the text says why, and what to do."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


def bad_request(message: str) -> RefusedError:
    """What was sent cannot be meant so."""
    return RefusedError(400, "bad_request", message)


async def body_of(request: web.Request) -> bytes:
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
        raise bad_request(words) from None
    return bytes(body)


def decoded(body: bytes, form: type[T], forms: Mapping[type, str]) -> T:
    """The body as one of the `forms`, each of which has its example."""
    try:
        told = msgspec.json.decode(body, type=form)
    except UnicodeDecodeError:
        why = "it is not UTF-8"
    except (msgspec.MsgspecError, RecursionError) as error:
        why = str(error)[:SHOWN]
    else:
        _check_texts(msgspec.structs.asdict(told))
        return told
    raise bad_request(f"The body has to be JSON like {forms[form]}: {why}.")


def _check_texts(told: Mapping[str, object]) -> None:
    for name, value in told.items():
        if name not in ("by", "note") and isinstance(value, str) and "\0" in value:
            # PostgreSQL has no such text, and no name at Harbor either.
            raise bad_request(f"{name}: there is a NUL in it; leave that out.")


def one_line(field: str, text: str | None, limit: int) -> str:
    """The text in one line that may stand in a log and in any store."""
    plain = "".join(one if one.isprintable() else " " for one in text or "")
    words = " ".join(plain.split())
    if len(text or "") > limit:
        raise bad_request(f"{field}: {len(text or '')} characters; write {limit} at most.")
    return words


def by_whom(done: str, by: str | None, note: str | None) -> str:
    """A sentence for a timeline: what was done by hand, by whom, and why."""
    who, why = one_line("by", by, BY_LIMIT), one_line("note", note, NOTE_LIMIT)
    words = f"{done}{f' by {who}' if who else ''}{f': {why}' if why else ''}"
    return words if words.endswith((".", "!", "?")) else f"{words}."


def moment(field: str, text: str, now: Millis, *, ahead: bool) -> Millis:
    """A time with its zone, or a duration `ahead` of now or before it, in our clock."""
    try:
        length = round(parse_duration(text).total_seconds() * SECOND)
        return now + length if ahead else now - length
    except ValueError:
        pass
    try:
        return round(parse_instant(text).timestamp() * SECOND)
    except (ValueError, OverflowError) as error:
        words = f"{field}: {error}, or a duration like 2h"
        raise bad_request(f"{words}.") from None
