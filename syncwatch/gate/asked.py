"""Pure: the question, as its parameters write it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

from syncwatch.config.scalars import parse_duration
from syncwatch.model import MINUTE, SECOND, Level
from syncwatch.report.bodies import bad_request
from syncwatch.report.operations import Ref  # noqa: TC001 - msgspec reads the annotation

if TYPE_CHECKING:
    from syncwatch.model import Millis

WAIT_MAX: Millis = 10 * MINUTE
"""The longest that an answer is held back: proxies cut long silences."""
MAX_AGE: Millis = MINUTE
AGE_MAX: Millis = 365 * 24 * 60 * MINUTE
DESTINATIONS_MAX = 100


@dataclass(frozen=True, slots=True)
class Asked:
    """What many may ask alike, and share the answer of.

    `level` is None for what each destination is configured to need; `max_age` is how old a look may
    be that answers it, in milliseconds.
    """

    image: str
    destinations: tuple[str, ...] = ()
    any: bool = False
    level: Level | None = None
    max_age: Millis = MAX_AGE


@dataclass(frozen=True, slots=True)
class Manner:
    """How one of them wants to be answered: `wait` milliseconds long where it is not usable yet,
    and `always` with status 200."""

    wait: Millis = 0
    always: bool = False


class GateQuery(msgspec.Struct, frozen=True):
    """The parameters."""

    image: Annotated[
        Ref,
        Meta(
            description="[REF](#ref); with the host of a destination it is the name there, as "
            "manifests hold it"
        ),
    ]
    destination: Annotated[
        tuple[Annotated[str, Meta(min_length=1, extra={"wants": "a name"})], ...],
        Meta(
            description="Harbor's name of an endpoint; none for all that expect it, or whose "
            "rules cover it now",
            max_length=DESTINATIONS_MAX,
            examples=["cluster1"],
        ),
    ] = ()
    any: Annotated[
        bool, Meta(description="whether one of the destinations is enough", examples=[False])
    ] = False
    level: Annotated[
        Level | None,
        Meta(description="how deep it has to be proven; as configured where it is left out"),
    ] = None
    wait: Annotated[
        str,
        Meta(
            description="how long the answer may be held back while it is 409 or 503, 10m at most",
            examples=["55s"],
        ),
    ] = "0s"
    max_age: Annotated[
        str,
        Meta(description="how old the look may be that answers it", examples=["60s"]),
    ] = "60s"
    always: Annotated[
        Literal["200"] | None,
        Meta(description="answer with status 200 whatever the answer, for what reads the body"),
    ] = None


def read(query: GateQuery) -> tuple[Asked, Manner]:
    """The question. Raises RefusedError 400, which names the parameter and the cure."""
    asked = Asked(
        image=query.image,
        destinations=tuple(sorted(set(query.destination))),
        any=query.any,
        level=query.level,
        max_age=_duration("max_age", query.max_age, AGE_MAX),
    )
    wait = _duration("wait", query.wait, WAIT_MAX)
    return asked, Manner(wait, query.always is not None)


def _duration(name: str, text: str, most: Millis) -> Millis:
    try:
        length = round(parse_duration(text).total_seconds() * SECOND)
    except ValueError as error:
        raise bad_request(f"{name}: {error}.") from None
    if length > most:
        raise bad_request(f"{name}: {most // MINUTE}m at most.")
    return length
