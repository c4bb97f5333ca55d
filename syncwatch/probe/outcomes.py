"""Pure: what the pods of one probe come to together, and when it is worth another one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from syncwatch.model import HOUR, MINUTE, SECOND, Pulling

if TYPE_CHECKING:
    from collections.abc import Sequence

    from syncwatch.model import Millis
    from syncwatch.store.probes import SoFar

WORST_FIRST = (
    Pulling.CORRUPT,
    Pulling.MISSING,
    Pulling.UNAUTHORIZED,
    Pulling.WRONG_PLATFORM,
    Pulling.UNREACHABLE,
    Pulling.INCONCLUSIVE,
    Pulling.PULLED,
)
"""Of several architectures the worst decides: each has nodes that are to run the image."""

CONFIRMED_AFTER = 10 * SECOND
"""How soon a second pod has to say too that a registry cannot be reached."""

REFUSED_STEPS = (60, 300, 900, 1800, 3600)
OPEN_STEPS = (30, 120, 600, 1800, 3600)
"""Seconds until the next try, the longer the more of them were in vain."""

TRIES = 4
"""How often is tried what nobody's level depends on."""

LONGEST_STEP = HOUR

NO_IMAGE = "not_an_image"
"""The cause where no node can pull it at all."""
HELD = "held"
"""The cause where the node held the image before."""

SETTLED = frozenset({"too_large", "not_proven", "invalid_name"})
"""Causes that no other pod would change, but a corrected configuration: looked at again hourly
where a level asks for it."""


OF_THE_CLUSTER = frozenset({"forbidden", "misconfigured", "cluster_away", "not_made", "moved"})
"""Causes that say nothing of the image: no try of it is spent on them."""

OF_THE_CLUSTER_AFTER = MINUTE
"""How soon what the cluster was to blame for is tried again."""


@dataclass(frozen=True, slots=True)
class Told:
    """What one pod, or all of a probe, came to: a result, its cause, one sentence."""

    result: Pulling
    cause: str
    message: str


def together(pods: Sequence[Told]) -> Told:
    """What several pods of one probe come to. There is at least one."""
    return min(pods, key=lambda one: WORST_FIRST.index(one.result))


def attempts_with(told: Told, before: int) -> int:
    """How many probes in a row were in vain, with this one."""
    if told.result is Pulling.PULLED:
        return 0
    return before if told.cause in OF_THE_CLUSTER else before + 1


def again_at(
    told: Told, so_far: SoFar, *, attempts: int, again_after: Millis | None, now: Millis
) -> Millis | None:
    """When the next probe of the same digest is due; None for never.

    `attempts` are those in a row that were not pulled, with this one.
    """
    if told.result is Pulling.PULLED or (told.cause == HELD and so_far.proved):
        return None if again_after is None else now + again_after
    if told.cause in OF_THE_CLUSTER:
        return now + OF_THE_CLUSTER_AFTER
    if told.cause == NO_IMAGE or (not so_far.required and attempts >= TRIES):
        return None
    if told.cause in SETTLED:
        return now + LONGEST_STEP if so_far.required else None
    if told.result is Pulling.UNREACHABLE and attempts == 1:
        return now + CONFIRMED_AFTER
    steps = OPEN_STEPS if told.result is Pulling.INCONCLUSIVE else REFUSED_STEPS
    seconds = steps[min(attempts, len(steps)) - 1]
    # A node that holds it is the same one in a minute, most likely.
    return now + (LONGEST_STEP if told.cause == HELD else seconds * SECOND)
