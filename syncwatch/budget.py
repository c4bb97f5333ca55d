"""Pure: so many a minute. What may be done is asked before, and what was done told after."""

from __future__ import annotations

from typing import TYPE_CHECKING

from syncwatch.model import MINUTE, SECOND

if TYPE_CHECKING:
    from syncwatch.model import Millis

LONGEST = 5.0
"""Seconds that a pause is at most: the rate may be changed by a reload."""


class Budget:
    """So many a minute, none of them saved up for longer than `saved` milliseconds."""

    def __init__(
        self, per_minute: int, now: Millis, *, saved: Millis = SECOND, full: bool = False
    ) -> None:
        self._per_minute = per_minute
        self._most = max(1.0, per_minute * saved / MINUTE)
        self._left = self._most if full else 0.0
        self._at = now

    def left(self, now: Millis) -> int:
        """How many there may be now."""
        earned = max(0, now - self._at) * self._per_minute / MINUTE
        self._left = min(self._left + earned, self._most)
        self._at = now
        return int(self._left)

    @property
    def pause(self) -> float:
        """Seconds until there may be one more."""
        return min(LONGEST, 60 / self._per_minute) if self._per_minute else LONGEST

    def spend(self, count: int) -> None:
        """So many were made."""
        self._left -= count
