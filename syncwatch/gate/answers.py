"""The answer, as JSON has it."""

from __future__ import annotations

import hashlib
from typing import Annotated

import msgspec
from msgspec import Meta

# msgspec reads the annotations.
from syncwatch.model import Level, Reason, State  # noqa: TC001
from syncwatch.report.answers import Time  # noqa: TC001


class AtDestination(msgspec.Struct, frozen=True, kw_only=True):
    """What one destination has of the image."""

    destination: Annotated[str, Meta(description="Harbor's name of the endpoint")]
    status: Annotated[int, Meta(description="what the gate would say of it alone")]
    state: Annotated[
        State | None,
        Meta(description="of the expectation; null where nothing expects the image there"),
    ]
    reason: Annotated[Reason | None, Meta(description="why it is not usable there; null if it is")]
    message: Annotated[str, Meta(description="a sentence for people")]
    digest: Annotated[
        str | None,
        Meta(description="what the name serves there by the newest look; null for nothing"),
    ]
    level: Annotated[
        Level | None, Meta(description="how deep that look proved it; null where it did not")
    ]
    observed_at: Annotated[Time | None, Meta(description="when it ended; null before any look")]
    repository: Annotated[
        str | None, Meta(description="its name there; null where no rule gives it one")
    ]
    pull: Annotated[
        str | None,
        Meta(description="what manifests there may write, pinned; null where it is not usable"),
    ]


class GateAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the image is usable at the destinations asked about."""

    image: Annotated[str, Meta(description="the image as it was asked for")]
    digest: Annotated[
        str | None,
        Meta(description="what Harbor says that it names now; null where there is none"),
    ]
    status: Annotated[
        int, Meta(description="the status of the answer, with `always=200` too", examples=[200])
    ]
    usable: Annotated[bool, Meta(description="whether `status` is 200")]
    state: Annotated[
        State | None, Meta(description="that of the destination that decides; null as there")
    ]
    reason: Annotated[Reason | None, Meta(description="that of the destination that decides")]
    message: Annotated[str, Meta(description="a sentence for people")]
    destinations: Annotated[
        tuple[AtDestination, ...], Meta(description="each destination by itself")
    ]
    retry_after: Annotated[
        int | None, Meta(description="seconds after which to ask again; null where it is final")
    ] = None


AGAIN_UNASKED = 10
"""Seconds after which to ask again where nothing could be asked."""


def nowhere(
    image: str,
    destinations: tuple[str, ...],
    status: int,
    message: str,
    reason: Reason | None = None,
) -> GateAnswer:
    """The same for all destinations that were named: nothing is known of any."""
    return GateAnswer(
        image=image,
        digest=None,
        status=status,
        usable=False,
        state=None,
        reason=reason,
        message=message,
        destinations=tuple(unseen(name, status, message, reason) for name in destinations),
        retry_after=AGAIN_UNASKED if status in (409, 503) else None,
    )


def unseen(name: str, status: int, message: str, reason: Reason | None = None) -> AtDestination:
    """A destination that was not looked at."""
    return AtDestination(
        destination=name,
        status=status,
        state=None,
        reason=reason,
        message=message,
        digest=None,
        level=None,
        observed_at=None,
        repository=None,
        pull=None,
    )


def image_key(repository: str, reference: str) -> str:
    """A short name of an image at its source, for news between replicas."""
    return f"gate {hashlib.sha256(f'{repository} {reference}'.encode()).hexdigest()[:16]}"
