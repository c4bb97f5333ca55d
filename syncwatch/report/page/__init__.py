"""The page at `/`: what is expected where, how late, what is wrong and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from aiohttp import web

    from syncwatch.config import DestinationSettings
    from syncwatch.report.gauges import Surroundings
    from syncwatch.runtime import Clock
    from syncwatch.store.database import Database
    from syncwatch.store.policies import Destination


class Page:
    """Serves the page.

    `token` gives the values that are accepted, None where everybody may read; `watched` the names
    of the harbors that are configured, `entry` what the configuration says of a destination.
    """

    def __init__(
        self,
        *,
        database: Database,
        clock: Clock,
        surroundings: Callable[[], Surroundings],
        token: Callable[[], Sequence[str] | None],
        watched: Callable[[], Collection[str]],
        entry: Callable[[Destination], DestinationSettings],
    ) -> None:
        self._database = database
        self._clock = clock
        self._surroundings = surroundings
        self._token = token
        self._watched = watched
        self._entry = entry

    def routes(self) -> list[web.RouteDef]:
        """All routes of the page."""
        return []
