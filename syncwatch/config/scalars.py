"""Values written as one word: durations, names, secrets, points in time.

Every parser of this and of `addresses` and `files` takes the text, or a value already of its type
(settings are also built in code), and raises `ValueError` with "what is wrong; cure". No message
repeats what was written: it may have come from a secret in the environment.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, PlainSerializer, SecretStr, WithJsonSchema

DURATION_PATTERN = r"^(?=[0-9])([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$"

NAME = re.compile("[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
PLATFORM = re.compile("[a-z0-9]+/[a-z0-9_]+(/[a-z0-9.]+)?")

_UNITS = {
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
    "ms": timedelta(milliseconds=1),
}
_LONGEST = timedelta(days=3650)
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,6})?([Zz]|[+-]\d\d:\d\d)")


def written(kind: str, **schema: object) -> WithJsonSchema:
    """The JSON Schema of a text; `kind` is its type in the reference's words."""
    return WithJsonSchema({"type": "string", "x-kind": kind, **schema})


def parse_duration(value: object) -> timedelta:
    """`30s`, `5m`, `2h`, `7d`, `1h30m`, `500ms` as a timedelta; units from large to small."""
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str) or not re.match(DURATION_PATTERN, value):
        raise ValueError("not a duration: write it like 30s, 5m, 2h or 7d")
    parts = re.findall(r"([0-9]{1,12})(ms|[dhms])", value)
    if sum(len(number) + len(unit) for number, unit in parts) != len(value):
        raise ValueError("must be at most 3650d")
    seconds = sum(int(number) * _UNITS[unit].total_seconds() for number, unit in parts)
    if seconds > _LONGEST.total_seconds():
        raise ValueError("must be at most 3650d")
    return timedelta(seconds=seconds)


def format_duration(duration: timedelta) -> str:
    """The shortest text that `parse_duration` reads back as the same duration, to 1 ms."""
    text, rest = "", duration
    for unit, size in _UNITS.items():
        count, rest = divmod(rest, size)
        text += f"{count}{unit}" if count else ""
    return text or "0s"


def at_least(shortest: str) -> AfterValidator:
    """A validator that refuses durations below `shortest`, written as in the configuration."""
    bound = parse_duration(shortest)

    def check(duration: timedelta) -> timedelta:
        if duration < bound:
            raise ValueError(f"must be at least {shortest}")
        return duration

    return AfterValidator(check)


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    written("duration", pattern=DURATION_PATTERN, examples=["30s", "5m", "2h", "7d"]),
]
"""A length of time, written like 30s, 5m, 2h, 7d or 1h30m."""


Moment = Annotated[Duration, at_least("10ms")]
"""A duration that something is repeated or bounded by: never 0."""
Seconds = Annotated[Duration, at_least("1s")]
"""A duration of at least 1 s."""


def _not_blank_text(value: object) -> object:
    if isinstance(value, str) and not value.strip():
        raise ValueError("empty; write a value or remove the line")
    return value


Word = Annotated[str, BeforeValidator(_not_blank_text), written("text", minLength=1)]
"""A text that is not empty."""
Password = Annotated[SecretStr, BeforeValidator(_not_blank_text), written("secret", minLength=1)]
"""A secret that is not empty."""


def like(kind: str, pattern: str, refusal: str) -> tuple[AfterValidator, WithJsonSchema]:
    """A validator for texts that fully match `pattern`, and its JSON Schema."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(refusal)
        return text

    return AfterValidator(check), written(kind, pattern=f"^{pattern}$")


Name = Annotated[
    str,
    *like(
        "name",
        NAME.pattern,
        "not a name: write at most 63 of a-z, 0-9 and -, no - at either end",
    ),
]
"""A name of ours: a DNS label, fit for paths and metrics."""
Username = Annotated[
    str,
    *like(
        "text",
        r"[^:\x00-\x1f\x7f]+",
        "not a user name: write at least one character, and no colon in it",
    ),
]
"""A user of HTTP's Basic scheme, which ends at the first colon (RFC 7617)."""
Platform = Annotated[
    str,
    *like(
        "OS/ARCHITECTURE",
        PLATFORM.pattern,
        "not a platform: write OS/ARCHITECTURE, as linux/amd64",
    ),
]
"""OS/ARCHITECTURE[/VARIANT]"""


def parse_instant(value: object) -> datetime:
    """An RFC 3339 time with its zone, as an aware datetime in UTC."""
    if isinstance(value, str) and _RFC3339.fullmatch(value):
        try:
            value = datetime.fromisoformat(value.upper())
        except ValueError:
            raise ValueError("no such date or time of day") from None
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise ValueError("not a time with its zone: write it like 2026-12-01T06:00:00Z")
    return value.astimezone(UTC)


Instant = Annotated[
    datetime,
    BeforeValidator(parse_instant),
    written("time with its zone", format="date-time"),
]
"""A point in time, RFC 3339 with its zone."""
