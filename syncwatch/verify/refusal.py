"""What an answer other than 200 means: is it a registry's "not here", or did we learn nothing?

It does no I/O. A 404 counts as absence only in a registry's own words (OCI distribution 1.1,
"Error Codes"): a proxy that lost its upstream says 404 too, and that is no lost image.
"""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import msgspec

from syncwatch.errors import OutboundError
from syncwatch.outbound import BODY_LIMIT, kind_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from syncwatch.model import Millis
    from syncwatch.outbound import Answer

API_HEADER = "Docker-Distribution-Api-Version"

ABSENT_CODES = frozenset(
    {
        "MANIFEST_UNKNOWN",
        "MANIFEST_BLOB_UNKNOWN",
        "BLOB_UNKNOWN",
        "NAME_UNKNOWN",
        "NOT_FOUND",  # Harbor's own
        "TAG_EXPIRED",  # Quay's
    }
)
_TRAP = "accept header does not support"
"""docker-registry 2.8.2 has the image and says 404, when a proxy ate our Accept."""

_LONGEST_PAUSE = 24 * 3600.0
_A_MOMENT = 1_000_000_000
"""A number so great is seconds since the epoch."""


class _Error(msgspec.Struct):
    code: object = ""
    message: object = ""


class _Errors(msgspec.Struct):
    errors: list[_Error] | None = None


_decoder = msgspec.json.Decoder(_Errors)


def is_absence(answer: Answer) -> bool:
    """Whether a 404 with its body read is a registry saying that this manifest is not there."""
    if len(answer.body) > BODY_LIMIT:
        return False
    if not answer.body.strip():
        return is_of_registry(answer)
    try:
        errors = _decoder.decode(answer.body).errors or []
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    if any(_TRAP in str(error.message).lower() for error in errors):
        return False
    return any(error.code in ABSENT_CODES for error in errors if isinstance(error.code, str))


def is_bare(answer: Answer) -> bool:
    """Whether a 404 says nothing but that: no words, or plain ones, in nobody's own form.

    OCI distribution 1.1 demands no error body. Such a 404 counts once the same place has shown by
    its `/v2/` that it is a registry; a proxy without its upstream says 404 there too.
    """
    if answer.status != 404 or len(answer.body) > BODY_LIMIT:
        return False
    kind = answer.headers.get("Content-Type", "").lower()
    plain = kind.startswith("text/plain") and not answer.body.lstrip().startswith(b"<")
    return plain or not answer.body.strip()


def is_of_registry(answer: Answer) -> bool:
    """Whether the header is there by which a registry makes itself known."""
    return answer.headers.get(API_HEADER, "").startswith("registry/2")


def refusal(answer: Answer, place: str, now: Millis) -> OutboundError:
    """The error that an answer is which gave nothing to conclude from; `place` says who answered.

    Seconds of a Retry-After are in `retry_after` and in the words.
    """
    kind = kind_of(answer.status) or "unreadable_answer"
    pause = _pause(answer.headers, now) if answer.status in {429, 503} else None
    if kind == "not_found":
        kind, words = "unreadable_answer", "answered 404, but not as a registry does"
    elif pause is None:
        words = f"answered {answer.status}"
    else:
        words = f"answered {answer.status}, and wants to be left alone for {pause:g} s"
    return OutboundError(kind, f"{place}: {words}", status=answer.status, retry_after=pause)


def _pause(headers: Mapping[str, str], now: Millis) -> float | None:
    """Seconds of a Retry-After, a number or a date (RFC 9110, 10.2.3), a day at most."""
    text = headers.get("Retry-After", "").strip()
    if _is_number(text):
        return min(float(text), _LONGEST_PAUSE)
    try:
        seconds = parsedate_to_datetime(text).timestamp() - now / 1000
    except (ValueError, OverflowError):
        return None
    return min(max(seconds, 0.0), _LONGEST_PAUSE)


def pause_when_spent(headers: Mapping[str, str], now: Millis) -> float | None:
    """Seconds until questions are welcome again, where an answer says that this was the last one.

    `RateLimit-Remaining` of 0 with `RateLimit-Reset` in seconds (draft-ietf-httpapi-ratelimit-
    headers), or the same with `X-` before it, whose reset may be a moment (GitHub, Quay). A day at
    most.
    """
    for prefix in ("RateLimit-", "X-RateLimit-"):
        remaining = headers.get(f"{prefix}Remaining", "").partition(";")[0].strip()
        reset = headers.get(f"{prefix}Reset", "").partition(";")[0].strip()
        if not (_is_number(remaining) and int(remaining) == 0 and _is_number(reset)):
            continue
        seconds = float(reset)
        if seconds >= _A_MOMENT:
            seconds -= now / 1000
        return min(max(seconds, 0.0), _LONGEST_PAUSE) or None
    return None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 15
