"""What the gate's answers mean to `syncwatch wait`: exit codes, pinned names, sentences.

A 404 or 422 is a no at once; 409 and 503 are held on, and so is a daemon that is away. Everything
else (401, what is not the gate, what only looks like it) cannot be told, and waiting does not help.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from syncwatch.cli.options import CANNOT_TELL, NO, NOT_YET, USAGE
from syncwatch.errors import MalformedError
from syncwatch.reference import parse

if TYPE_CHECKING:
    from collections.abc import Iterable

    from syncwatch.asking import Told
    from syncwatch.reference import Reference

YES = 0
WORDS = {
    YES: "yes",
    NO: "no",
    USAGE: "refused",
    NOT_YET: "not_yet",
    CANNOT_TELL: "cannot_tell",
}
"""Exit codes as `answer` in JSON."""

_WORST_FIRST = (USAGE, NO, CANNOT_TELL, NOT_YET, YES)
_OF_THE_GATE = {200: YES, 404: NO, 409: NOT_YET, 422: NO, 503: CANNOT_TELL}
_OK, _BAD_REQUEST, _TOO_MANY, _SERVER = 200, 400, 429, 500


class _Place(msgspec.Struct):
    """A destination of the gate's answer."""

    destination: str
    status: int
    digest: str | None
    pull: str | None


class _Answer(msgspec.Struct):
    """The gate's answer, as far as it is relied on here."""

    status: int
    usable: bool
    digest: str | None
    state: str | None
    reason: str | None
    message: str
    destinations: list[_Place]


@dataclass(frozen=True, slots=True)
class Image:
    """One image asked about: its name as it was written first, and where manifests name it."""

    written: str
    reference: Reference
    places: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of an image: an exit code, and why.

    `settled` is whether waiting changes nothing; `away` whether it is the gate, or a destination,
    that cannot be asked; `again` in seconds is when to ask again, None where nothing says.
    """

    code: int
    message: str
    settled: bool = False
    away: bool = False
    again: float | None = None
    body: dict[str, Any] = field(default_factory=dict)

    @property
    def told(self) -> str:
        """State, reason and message in one line."""
        # It was verified, and that is not what it is waited for any more.
        told = [self.body.get("state"), self.body.get("reason")]
        state = "/".join(one for one in told if one and one != "verified")
        where = ", ".join(one["destination"] for one in self.failing)
        start = f"{state} at {where}" if state and where else state
        return f"{start}: {self.message}" if start else self.message

    @property
    def failing(self) -> list[dict[str, Any]]:
        """The destinations where it is not usable."""
        told = self.body.get("destinations", ())
        return [one for one in told if one["status"] != 200 and one["destination"]]


UNASKED = Known(CANNOT_TELL, "it was not asked before the time was over", away=True)


def judge(told: Told, refusal: str, asked: str = "") -> Known:
    """What an answer means; `refusal` is what to say of one that is not the gate's, `asked` the
    digest that was asked for, "" for none."""
    body, status = told.body, told.status
    if "destinations" in body:
        return _of_the_gate(told, asked)
    if status == _BAD_REQUEST:
        return Known(USAGE, refusal, settled=True)
    if status == _TOO_MANY or status >= _SERVER:
        return Known(CANNOT_TELL, refusal, away=True, again=told.retry_after)
    return Known(CANNOT_TELL, refusal, settled=True)


def _of_the_gate(told: Told, asked: str) -> Known:
    """Fail-closed: whoever stands between may have made a 200 of anything."""
    try:
        answer = msgspec.convert(told.body, _Answer)
    except msgspec.ValidationError as error:
        return _unreadable(str(error))
    if told.status not in (answer.status, _OK) or answer.status not in _OF_THE_GATE:
        return _unreadable(f"HTTP says {told.status} and its body {answer.status}")
    code = _OF_THE_GATE[answer.status]
    if answer.usable is not (code == YES):
        return _unreadable(f"status {answer.status}, and usable is {str(answer.usable).lower()}")
    wrong = _unproven(answer, asked) if code == YES else ""
    if wrong:
        return _unreadable(wrong)
    settled, away = code in (YES, NO), code == CANNOT_TELL
    return Known(code, answer.message, settled, away, told.retry_after, told.body)


def _unproven(answer: _Answer, asked: str) -> str:
    """What is missing to a yes; "" where nothing is."""
    if not any(one.status == _OK for one in answer.destinations):
        return "it is usable at no destination that it names"
    if answer.digest is None:
        return "the name has several digests; write --on DESTINATION, or the digest"
    try:
        parse(f"image@{answer.digest}")
    except MalformedError as error:
        return str(error)
    return "it is of another digest than was asked for" if asked not in ("", answer.digest) else ""


def _unreadable(why: str) -> Known:
    words = f"what answers for the gate cannot be relied on: {why}"
    return Known(CANNOT_TELL, words, settled=True)


def together(codes: Iterable[int]) -> int:
    """1 if any is no, else 4, else 3, else 0; before them all 2, for what cannot be meant so."""
    found = set(codes)
    return next((one for one in _WORST_FIRST if one in found), YES)


def pinned(image: Image, known: Known) -> str:
    """The image as it was written, by the digest that is usable."""
    digest = known.body.get("digest") or image.reference.digest
    host = f"{image.reference.host}/" * bool(image.reference.host)
    return f"{host}{image.reference.repository}@{digest}" if digest else str(image.reference)


def pulled(image: Image, known: Known) -> list[str]:
    """As pods of each destination pull it, where it is usable."""
    told = [one.get("pull") for one in known.body.get("destinations", ())]
    return list(dict.fromkeys(one for one in told if one)) or [pinned(image, known)]


def as_json(image: Image, known: Known, *, let_through: bool) -> dict[str, Any]:
    """The gate's answer, with what came of it here."""
    return {
        "image": image.written,
        "digest": None,
        "state": None,
        "reason": None,
        "destinations": [],
        **known.body,
        "message": known.message,
        "answer": WORDS[known.code],
        "pinned": pinned(image, known) if known.code == YES else None,
        "let_through": let_through,
        "found": list(image.places),
    }
