"""A histogram's counts, for histograms whose labels are only known when scraped."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from syncwatch.report.families import LAG_BUCKETS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Buckets:
    """A histogram's counts, cumulative only when exposed."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    @classmethod
    def together(cls, all_: Iterable[Buckets]) -> tuple[list[tuple[str, float]], float]:
        """What histograms with the lag's bounds expose as one."""
        one = cls(LAG_BUCKETS)
        for each in all_:
            one._take(each)
        return one.exposed()

    def _take(self, other: Buckets) -> None:
        self._counts = [a + b for a, b in zip(self._counts, other._counts, strict=True)]
        self._sum += other._sum

    def exposed(self) -> tuple[list[tuple[str, float]], float]:
        """(upper bound, cumulative count) pairs, and the sum."""
        total, pairs = 0, []
        for bound, count in zip((*map(_bound, self._bounds), "+Inf"), self._counts, strict=True):
            total += count
            pairs.append((bound, float(total)))
        return pairs, self._sum


def _bound(value: float) -> str:
    return str(float(value))
