"""Pure: what the gate says of what a registry serves whole, and a node has to pull too."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from syncwatch.facts import Standing
from syncwatch.gate.deciding import CANNOT_ASK, FAILED, NOT_YET
from syncwatch.model import MINUTE, Reason

if TYPE_CHECKING:
    from syncwatch.facts import Pull
    from syncwatch.gate.deciding import Decided
    from syncwatch.model import Millis

ASKED_AGAIN_AFTER = 5 * MINUTE
"""How old a probe is that is asked for again: each costs a part of the cluster's budget."""


def is_to_be_asked(pull: Pull | None, max_age: Millis, now: Millis) -> bool:
    """Whether a probe has to be asked for: none was, or the last one proved nothing long ago."""
    if pull is None:
        return True
    if pull.under_way or pull.standing in (Standing.PROVED, Standing.NEEDLESS):
        return False
    if pull.ended_at is None:
        return True
    return now - pull.ended_at > max(max_age, ASKED_AGAIN_AFTER)


def with_pull(usable: Decided, pull: Pull | None, *, asked: bool) -> Decided:
    """What is said of what the registry serves whole; `asked`: a probe was asked for just now."""
    standing = pull.standing if pull is not None else Standing.AWAITED
    told = f" {pull.message}" if pull is not None and pull.message else ""
    if standing is Standing.PROVED:
        return replace(usable, message=f"{usable.message}{told}")
    if standing is Standing.NEEDLESS:
        return replace(usable, message=f"{usable.message} It is no image, so no node pulls it.")
    waits = pull is not None and (pull.under_way or asked)
    if standing is Standing.AWAITED or waits:
        words = f"{usable.message} A pod of its cluster is to pull it."
        return replace(usable, status=NOT_YET, reason=Reason.PROBING, message=words)
    if standing is Standing.REFUSED:
        words = f"{usable.message} A node of its cluster cannot pull it.{told}"
        return replace(usable, status=FAILED, reason=Reason.PULL_FAILED, message=words)
    words = f"{usable.message} Whether a node can pull it is open.{told}"
    return replace(usable, status=CANNOT_ASK, reason=Reason.PROBE_INCONCLUSIVE, message=words)
