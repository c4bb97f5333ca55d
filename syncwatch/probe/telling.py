"""What is told of a cluster as a whole: figures for the metrics, and what is wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from syncwatch.probe.trouble import findings_of
from syncwatch.runtime import log
from syncwatch.store import findings

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from syncwatch.errors import ClusterError
    from syncwatch.model import ClusterFigures, Finding, Pulling
    from syncwatch.runtime import Clock
    from syncwatch.store.database import Database

PATIENCE = 3
"""Turns in a row that have to meet trouble before it is a finding."""


class Telling:
    """Tells of one cluster. `counted` is told of each pod, `shown` the figures (None: no more).

    `expected` is told the destinations whose counters are to be there from 0.
    """

    def __init__(
        self,
        *,
        cluster: str,
        harbor: str,
        counted: Callable[[str, str, Pulling, float], None],
        shown: Callable[[str, ClusterFigures | None], None],
        expected: Callable[[str, Collection[str]], None],
        database: Database,
        clock: Clock,
    ) -> None:
        self._cluster = cluster
        self._harbor = harbor
        self._counted = counted
        self._shown = shown
        self._expected = expected
        self._database = database
        self._clock = clock
        self._told: list[Finding] | None = None
        self._troubled = 0

    def ended(self, destination: str, result: Pulling, seconds: float) -> None:
        """A pod was judged, so many seconds after it was to be made."""
        self._counted(self._cluster, destination, result, seconds)

    async def stands(
        self,
        figures: ClusterFigures,
        destinations: Collection[str],
        trouble: Sequence[ClusterError],
    ) -> None:
        """How it stands after a turn, and what the cluster did not let us do, if anything."""
        self._expected(self._cluster, destinations)
        self._shown(self._cluster, figures)
        self._troubled = self._troubled + 1 if trouble else 0
        if self._troubled == 1:
            log.warning("cluster_trouble", cluster=self._cluster, error=str(trouble[0]))
        found = self._found(trouble)
        if found is None or found == self._told:
            return
        now = self._clock.now()
        await self._database.write(
            lambda c: findings.replace_everywhere(
                c, self._harbor, f"probe {self._cluster}", found, now
            )
        )
        self._told = found

    def _found(self, trouble: Sequence[ClusterError]) -> list[Finding] | None:
        """What is to be found now, one finding of a kind; None leaves what was."""
        if not trouble:
            return []
        found = findings_of(self._cluster, trouble)
        return found if found and self._troubled >= PATIENCE else None

    def stopped(self) -> None:
        """Its figures are another's to show, or nobody's."""
        self._shown(self._cluster, None)
