"""The answer, as JSON has it."""

from __future__ import annotations

import hashlib

import msgspec

from syncwatch.model import Level, Reason, State  # noqa: TC001 - msgspec reads the annotations


class AtDestination(msgspec.Struct, frozen=True, kw_only=True):
    """One destination's part: `status` is what the gate would say of it alone.

    `state` is null where nothing expects the image there. `digest` is what the name serves there,
    `level` how deep it was proven, both by the newest look, at `observed_at`; null before any.
    `pull` is the image as manifests of that cluster write it, pinned; null unless it is usable.
    """

    destination: str
    status: int
    state: State | None
    reason: Reason | None
    message: str
    digest: str | None
    level: Level | None
    observed_at: str | None
    repository: str | None
    pull: str | None


class GateAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Whether an image is usable: `status` is 200, 404, 409, 422 or 503, with `always=200` too.

    `digest` is what Harbor says that the reference names now. `state`, `reason` and `message` are
    those of the destination that decides.
    """

    image: str
    digest: str | None
    status: int
    usable: bool
    state: State | None
    reason: Reason | None
    message: str
    destinations: tuple[AtDestination, ...]
    retry_after: int | None = None


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
        retry_after=AGAIN_UNASKED if status == 503 else None,
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
