"""Pure: a notification as a CloudEvent, and what an answer to it means.

The form is CloudEvents 1.0.2 in structured mode (JSON event format). The types are ours and short;
the specification only recommends (SHOULD) a reverse-DNS prefix.
"""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

import msgspec

from syncwatch.model import SECOND, Millis
from syncwatch.store.told import rfc3339

if TYPE_CHECKING:
    from collections.abc import Mapping

    from syncwatch.store.notifications import Notification

CONTENT_TYPE = "application/cloudevents+json"

ATTEMPTS = 3
"""After so many answers that may be an event's own fault nobody waits for it any more."""

FIRST_PAUSE: Millis = SECOND
LONGEST_PAUSE: Millis = 300 * SECOND
LONGEST_WISH: Millis = 24 * 3600 * SECOND
"""What a Retry-After may ask for at most."""

_OF_THE_RECEIVER = frozenset({401, 403, 404, 405, 407, 408, 421, 423, 425, 429, 502, 503, 504})
"""4xx and 5xx that say something of the receiver, of what is before it, or of our credential."""

_OF_THE_SENDER = frozenset({401, 407, 429})
"""Of those, what the event cannot have brought about: who we are, and how often we come."""


class Outcome(Enum):
    """What an attempt came to."""

    DELIVERED = auto()
    AWAY = auto()  # whatever was sent, it would not have been taken
    DOUBTFUL = auto()  # it may be this event's own fault: that is to be seen
    POSTPONED = auto()  # this event will not be taken soon: others first
    REFUSED = auto()  # this event will not be taken, ever


def envelope(one: Notification) -> dict[str, Any]:
    """The whole event. `id` and everything else is the same in each attempt.

    A store that was lost counts from 1 again, so the moment belongs to the id.
    """
    return {
        "specversion": "1.0",
        "id": f"{one.created_at}-{one.id}",
        "source": f"/harbors/{one.harbor}",
        "type": one.event,
        "subject": one.subject,
        "time": rfc3339(one.created_at),
        "datacontenttype": "application/json",
        "data": msgspec.json.decode(one.data),
    }


def outcome(status: int, doubts: int) -> Outcome:
    """What an answer means, so many doubtful ones to the same event having come before."""
    if 200 <= status < 300:
        return Outcome.DELIVERED
    if status < 400 or status in _OF_THE_RECEIVER:
        return Outcome.AWAY
    if doubts + 1 < ATTEMPTS:
        return Outcome.DOUBTFUL
    return Outcome.REFUSED if status < 500 else Outcome.POSTPONED


def may_be_of_the_event(status: int) -> bool:
    """Whether the way to the receiver may be sound, and this event alone what breaks it."""
    return status >= 400 and status not in _OF_THE_SENDER


def pause(attempts: int) -> Millis:
    """How long to wait after so many attempts that failed."""
    return min(FIRST_PAUSE << min(max(attempts - 1, 0), 20), LONGEST_PAUSE)


def wished(headers: Mapping[str, str], now: Millis) -> Millis:
    """How long a Retry-After asks to be left alone: a number or a date (RFC 9110, 10.2.3); or 0."""
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit() and len(text) <= 15:
        return min(int(text) * SECOND, LONGEST_WISH)
    try:
        until = round(parsedate_to_datetime(text).timestamp() * SECOND)
    except (ValueError, OverflowError):
        return 0
    return min(max(until - now, 0), LONGEST_WISH)
