"""Pure: how much a cluster is asked to do, and how many pods may begin now."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from syncwatch.model import HOUR, MINUTE

if TYPE_CHECKING:
    from syncwatch.model import Millis


HUNG_FIRST, HUNG_LONGEST = 5 * MINUTE, HOUR
"""How long a cluster is left alone after a pull that hung: its node pulls nothing else either."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a cluster is asked to do, in milliseconds, pods and bytes."""

    per_hour: int
    at_once: int
    timeout: Millis
    again_after: Millis | None
    size_limit: int


@dataclass(frozen=True, slots=True)
class Room:
    """What the limits leave: pods begun within the hour, the first at `first_at`, and under way;
    `hung` in a row before nothing else was pulled, the last at `hung_at`."""

    limits: Limits
    spent: int
    first_at: Millis | None
    under_way: int
    hung: int
    hung_at: Millis

    @property
    def left_alone_until(self) -> Millis:
        """The longer, the more pulls hung: a pull goes on when its pod is gone."""
        if not self.hung:
            return 0
        return self.hung_at + min(HUNG_FIRST << min(self.hung - 1, 8), HUNG_LONGEST)

    @property
    def is_over(self) -> bool:
        """Whether no pod may begin."""
        return self.budget_left <= 0 or self.under_way >= self.limits.at_once

    @property
    def budget_left(self) -> int:
        """How many pods the hour has left."""
        return max(0, self.limits.per_hour - self.spent)

    @property
    def opens_at(self) -> Millis | None:
        """When the hour has room again; None where it has."""
        return None if self.budget_left or self.first_at is None else self.first_at + HOUR

    def takes(self, pods: int) -> bool:
        """Whether so many may begin together, one for each architecture.

        More than is ever allowed begin when there are no others, else they never would.
        """
        beside = self.under_way + pods <= self.limits.at_once or not self.under_way
        return beside and (pods <= self.budget_left or not self.spent)

    def less(self, pods: int) -> Room:
        """What is left once so many more have begun."""
        return replace(self, spent=self.spent + pods, under_way=self.under_way + pods)
