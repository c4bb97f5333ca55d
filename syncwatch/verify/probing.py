"""Which digests a cluster is to pull: decided when a look has proven one, told through the store.

Comes in: what a look saw. Goes out: rows for `probe`. A cluster is never made to pull what we could
not read ourselves: a registry that accepts and does not answer blocks all other pulls of a node.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from syncwatch.model import Held, Level, Operation
from syncwatch.store import probes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, Row

    from syncwatch.model import Content, Millis, Observation
    from syncwatch.store.policies import Destination


@dataclass(frozen=True, slots=True)
class Choice:
    """What a destination's cluster is to pull beside what is required.

    `new`: every new digest, of `policies` only where any are named, a share `sample` of them;
    none larger than `size_limit` bytes.
    """

    new: bool
    sample: float
    policies: frozenset[str]
    size_limit: int


def want(
    connection: Connection,
    destination: Destination,
    name: tuple[str, str],
    seen: Observation,
    owed: Sequence[Row[Any]],
    choice: Choice,
    now: Millis,
) -> bool:
    """Have probed what a look has proven and the configuration wants; True where one is due."""
    due = False
    for row in owed:
        if seen.reached(row.digest) is None or row.operation != Operation.COPY:
            continue
        required = row.required_level == Level.PULLED
        key = (destination.id, name[0], row.digest)
        # What was verified before anybody probed is not new; what was lost since is, once more.
        new = row.verified_at is None or probes.pull(connection, key) is not None
        if required or (new and _is_chosen(row, seen.content, choice)):
            wanted = probes.Wanted(key, name[1], required, seen.content)
            due = probes.want(connection, wanted, now) or due
    return due


def _is_chosen(row: Row[Any], content: Content | None, choice: Choice) -> bool:
    if not choice.new or content is None or not content.is_image:
        return False
    if choice.policies and row.policy_name not in choice.policies:
        return False
    return (content.size or 0) <= choice.size_limit and _is_sampled(row.digest, choice.sample)


def _is_sampled(digest: str, share: float) -> bool:
    """The same digests each time, so that all places are compared by the same ones."""
    drawn = int.from_bytes(hashlib.sha256(digest.encode()).digest()[:8])
    return drawn < share * 2**64


def is_spoilt(seen: Observation, digest: str) -> bool:
    """Whether a look saw that the bytes are no longer those that were pulled."""
    if seen.problem is not None or digest not in seen.held:
        return False
    return seen.held[digest] is not Held.PRESENT or digest in seen.flaws
