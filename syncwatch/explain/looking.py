"""Having names at destinations looked at for somebody who waits, through the store.

Comes in: names with the digest and the depth in question. Goes out: for each the newest look, which
is a fresh one where none was good enough. The destination's own loop takes it, whichever replica
that runs in, within all of its limits.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from syncwatch.model import SECOND, Observation, Reason
from syncwatch.store import looks, observations

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from sqlalchemy import Connection

    from syncwatch.model import Millis
    from syncwatch.runtime import Clock, Signals
    from syncwatch.store.database import Database
    from syncwatch.store.looks import Name, Wanted

FIRST_PAUSE, LONGEST_PAUSE = 0.01, 0.25
"""Seconds between two questions to the store whether a look has ended."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of a name: the newest look that saw something, None for none ever.

    `fresh` says that it proves what was asked, or was taken for this question. `problem` (with its
    `detail`) is why there is none that is fresh.
    """

    observation: Observation | None
    fresh: bool
    problem: Reason | None = None
    detail: str = ""


class Looking:
    """Has looks taken."""

    def __init__(self, database: Database, clock: Clock, signals: Signals) -> None:
        self._database = database
        self._clock = clock
        self._signals = signals

    async def see(
        self, wanted: Collection[Wanted], since: Millis, within: float
    ) -> dict[Wanted, Seen]:
        """Each name as it was seen by a look that ended after `since` and proves what is asked,
        else by one that begins now and ends `within` so many seconds."""
        now = self._clock.now()
        known = await self._database.read(lambda c: _newest(c, {one.name for one in wanted}))
        missing = [one for one in wanted if not _good(known.get(one.name), one, since)]
        answered: Mapping[Name, looks.Answered] = {}
        if missing:
            asked = await self._database.write(lambda c: looks.ask(c, missing, now))
            for destination_id in {one.name[0] for one in missing}:
                self._signals.wake(f"verify {destination_id}")
            answered = await self._answers(asked, within)
            known |= await self._database.read(lambda c: _newest(c, {one.name for one in missing}))
        return {
            one: _seen(known.get(one.name), one in missing, answered.get(one.name), within)
            for one in wanted
        }

    async def _answers(
        self, asked: Mapping[Name, Millis], within: float
    ) -> Mapping[Name, looks.Answered]:
        """The looks that answer these questions; what lasts longer than `within` is left out."""
        until, pause = self._clock.now() + within * SECOND, FIRST_PAUSE
        while True:
            found = await self._database.read(lambda c: looks.answers(c, asked.keys()))
            found = {name: one for name, one in found.items() if one.at >= asked[name]}
            if len(found) == len(asked) or self._clock.now() >= until:
                return found
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)


def _newest(connection: Connection, names: Collection[Name]) -> dict[Name, Observation]:
    """The newest look of each name that saw something."""
    found = {}
    for name in names:
        seen = observations.latest(connection, *name)
        newest = next((one for one in seen if one.problem is None), None)
        if newest is not None:
            found[name] = newest
    return found


def _good(seen: Observation | None, wanted: Wanted, since: Millis) -> bool:
    return seen is not None and seen.at >= since and seen.proves(wanted.digest, wanted.level)


def _seen(
    known: Observation | None, asked: bool, answered: looks.Answered | None, within: float
) -> Seen:
    if not asked:
        return Seen(known, fresh=True)
    if answered is None:
        detail = f"it was not looked at within {within:.0f} s"
        return Seen(known, fresh=False, problem=Reason.UNOBSERVED, detail=detail)
    if answered.problem is not None:
        return Seen(known, fresh=False, problem=answered.problem, detail=answered.detail)
    return Seen(known, fresh=True)
