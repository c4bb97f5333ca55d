"""Pure: moments and lengths in words. All are milliseconds, moments since the epoch and in UTC."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from syncwatch.model import HOUR, MINUTE, SECOND

if TYPE_CHECKING:
    from syncwatch.model import Millis

DAY: Millis = 24 * HOUR
_LATEST: Millis = 253_402_300_799_999
"""The last moment that has a date of four digits; what is later is said to be then."""


def moment(at: Millis) -> datetime:
    """The moment, in UTC."""
    return datetime.fromtimestamp(min(max(at, 0), _LATEST) / SECOND, UTC)


def iso(at: Millis) -> str:
    """2026-11-23T14:12:01.000Z, for machines."""
    return moment(at).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def exact(at: Millis) -> str:
    """2026-11-23 14:12:01.000 UTC, for people who want it exactly."""
    return f"{moment(at):%Y-%m-%d %H:%M:%S}.{max(at, 0) % SECOND:03} UTC"


def clock(at: Millis) -> str:
    """14:12:01."""
    return f"{moment(at):%H:%M:%S}"


def took(length: Millis) -> str:
    """A length in its two largest units: 80 ms, 4.2 s, 3 min 05 s, 1 h 20 min, 3 d 4 h."""
    length = max(0, length)
    if length < SECOND:
        return f"{length} ms"
    if length < 10 * SECOND:
        return f"{length / SECOND:.1f} s"
    if length < MINUTE:
        return f"{length // SECOND} s"
    if length < HOUR:
        minutes, rest = divmod(length, MINUTE)
        return f"{minutes} min {rest // SECOND:02} s"
    if length < DAY:
        hours, rest = divmod(length, HOUR)
        return f"{hours} h {rest // MINUTE:02} min"
    days, rest = divmod(length, DAY)
    return f"{days} d {rest // HOUR} h"


def about(length: Millis) -> str:
    """A length in its largest unit: 12 s, 3 min, 2 h, 5 d."""
    length = max(0, length)
    for unit, word in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min")):
        if length >= unit:
            return f"{length // unit} {word}"
    return f"{length // SECOND} s"


def ago(at: Millis, now: Millis) -> str:
    """3 min ago, in 2 h, or just now."""
    if abs(now - at) < SECOND:
        return "just now"
    return f"{about(now - at)} ago" if at < now else f"in {about(at - now)}"
