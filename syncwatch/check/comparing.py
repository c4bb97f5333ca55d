"""The comparison: Harbors list, destinations are looked at, outcomes are told as they come.

In come settings and a scope, out goes a summary. Nothing is written anywhere. Listing waits where
looking is slower, so that what is held does not grow with the number of images.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from syncwatch.check.listing import Harbor, each, read_all
from syncwatch.check.looking import Manner, Place
from syncwatch.errors import OutboundError
from syncwatch.harbor.client import HarborClient
from syncwatch.model import State
from syncwatch.outbound import Outbound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from syncwatch.check.judging import Outcome
    from syncwatch.check.scope import Destination, Scope
    from syncwatch.config import HarborSettings, Settings
    from syncwatch.reference import Reference
    from syncwatch.runtime import Clock

HARBOR_REQUESTS = 6
"""Requests that one Harbor gets at a time, as from the daemon."""

YES, NO, NOT_YET, CANNOT_TELL = 0, 1, 3, 4


@dataclass
class Tally:
    """What is known so far. `states` counts outcomes by (harbor, destination).

    `expected` is how many there will be, an estimate until `listed`; `found` is how many images at
    how many places were given to be looked at so far. `problems` keep the comparison
    from being whole, `notes` do not; `absent` are those on REFs that mean nothing anywhere.
    """

    states: dict[tuple[str, str], Counter[State]] = field(default_factory=dict)
    expected: int = 0
    found: int = 0
    listed: bool = False
    interrupted: bool = False
    quick: bool = False
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)

    @property
    def counted(self) -> Counter[State]:
        """Outcomes by state."""
        return sum(self.states.values(), Counter())

    @property
    def checked(self) -> int:
        """Outcomes so far."""
        return sum(sum(one.values()) for one in self.states.values())

    @property
    def exit_code(self) -> int:
        """0 all verified · 1 something failed · 3 nothing worse than not yet · 4 cannot tell.

        A REF that means nothing anywhere is a no. A comparison that was interrupted cannot tell,
        and neither can one with nothing in scope.
        """
        states = self.counted
        if self.interrupted:
            return CANNOT_TELL
        if states[State.FAILED] or self.absent:
            return NO
        if states[State.UNKNOWN] or self.problems or not self.checked:
            return CANNOT_TELL
        return NOT_YET if states[State.PENDING] else YES

    def as_json(self) -> dict[str, Any]:
        """The summary as it is printed."""
        return {
            "checked": self.checked,
            **_words(self.counted),
            "names_only": self.quick,
            "complete": self.listed and not self.interrupted,
            "destinations": [
                {"harbor": harbor, "destination": name, "checked": sum(one.values()), **_words(one)}
                for (harbor, name), one in sorted(self.states.items())
            ],
            "absent": self.absent,
            "problems": self.problems,
            "notes": self.notes,
            "exit_code": self.exit_code,
        }


def _words(states: Counter[State]) -> dict[str, int]:
    shown = (State.VERIFIED, State.FAILED, State.UNKNOWN, State.PENDING)
    return {str(one): states[one] for one in shown}


class Comparison:
    """One run. `tell` is given each outcome once; `tally` can be read while it goes on."""

    def __init__(
        self,
        settings: Settings,
        scope: Scope,
        manner: Manner,
        *,
        clock: Clock,
        tell: Callable[[Outcome], None],
    ) -> None:
        self.tally = Tally(quick=manner.quick)
        self._settings = settings
        self._scope = scope
        self._manner = manner
        self._clock = clock
        self._tell = tell
        self._places: dict[Destination, Place] = {}

    async def run(self) -> None:
        """Compare all that is in scope. Raises ConfigError for a scope that names what is not.

        Where it is cancelled, the tally holds what is known so far.
        """
        self._scope.check(self._settings)
        wanted = self._scope.harbors
        chosen = [one for one in self._settings.harbors if not wanted or one.name in wanted]
        harbors = [self._harbor(one) for one in chosen]
        try:
            answering = await self._read_rules(harbors)
            await self._compare(answering)
            self.tally.listed = True
            if len(answering) == len(harbors):
                self.tally.absent += absences(self._scope.references, harbors)
        except asyncio.CancelledError:
            self.tally.interrupted = True
            raise
        finally:
            for one in harbors:
                self.tally.notes += one.notes
                self.tally.problems += one.problems
                await one.client.close()
            for place in self._places.values():
                await place.close()

    def _harbor(self, settings: HarborSettings) -> Harbor:
        outbound = Outbound(
            timeout=settings.timeout.total_seconds(),
            concurrency=HARBOR_REQUESTS,
            ca_file=settings.ca_file,
            insecure_skip_verify=settings.insecure_skip_verify,
        )
        credential = settings.credential
        client = HarborClient(
            name=settings.name,
            url=settings.url,
            outbound=outbound,
            credentials=lambda: credential.login() if credential else None,
            forget=credential.forget if credential else lambda: None,
        )
        return Harbor(
            settings.name, client, self._settings, self._scope, self._clock.now, self._count
        )

    async def _read_rules(self, harbors: list[Harbor]) -> list[Harbor]:
        """The Harbors that answered, their rules read."""
        answering, read = [], []
        for one in harbors:
            try:
                read.append(await one.read_rules())
                answering.append(one)
            except OutboundError as error:
                words = f"Harbor {one.name} could not be asked, and nothing of it was compared"
                one.problems.append(f"{words}: {error}.")
        if len(answering) == len(harbors):
            read_all(self._scope, read)
        return answering

    async def _compare(self, harbors: list[Harbor]) -> None:
        for harbor in harbors:
            for destination in dict.fromkeys(one.destination for one in harbor.rules):
                self._places[destination] = Place(
                    destination=destination,
                    settings=self._settings.destination(destination.harbor, destination.name),
                    manner=self._manner,
                    harbor=harbor,
                    clock=self._clock.now,
                )
        async with asyncio.TaskGroup() as looking:
            for place in self._places.values():
                for _ in range(place.concurrency):
                    looking.create_task(self._look(place))
            async with asyncio.TaskGroup() as listing:
                for harbor in harbors:
                    listing.create_task(self._list(harbor))
            for place in self._places.values():
                for _ in range(place.concurrency):
                    await place.queue.put(None)

    async def _list(self, harbor: Harbor) -> None:
        try:
            selected = await harbor.repositories()
        except OutboundError as error:
            words = (
                f"Harbor {harbor.name} did not list its projects, and nothing of it was compared"
            )
            harbor.problems.append(f"{words}: {error}.")
            return
        self.tally.expected += sum(one.count * one.places for one in selected)
        by_name = {one.name: one for one in selected}

        async def of_repository(name: str) -> None:
            one, found = by_name[name], 0
            async for wishes in harbor.wishes(one):
                found += len(wishes)
                for wish in wishes:
                    await self._places[wish.destination].queue.put(wish)
                    self.tally.found += 1
            self.tally.expected += found - one.count * one.places

        await each(list(by_name), of_repository)

    async def _look(self, place: Place) -> None:
        while (wish := await place.queue.get()) is not None:
            outcome = await place.outcome(wish)
            if outcome is None:
                self.tally.expected -= 1
            else:
                self._count(outcome)

    def _count(self, outcome: Outcome) -> None:
        key = (outcome.harbor, outcome.destination or "")
        self.tally.states.setdefault(key, Counter())[outcome.state] += 1
        self._tell(outcome)


def absences(references: Iterable[Reference], harbors: Sequence[Harbor]) -> list[str]:
    """Sentences on the REFs that mean nothing at any of the Harbors, all of which answered."""
    found = []
    for one in references:
        if any(one in harbor.present for harbor in harbors):
            continue
        if all(one in harbor.strangers for harbor in harbors):
            words = f"{one}: {one.host} is the host of no Harbor and no destination here"
            found.append(f"{words}, and no rule brings such an image of a project of that name.")
        elif lacking := [harbor.name for harbor in harbors if one in harbor.absent]:
            found.append(f"Harbor {' and Harbor '.join(lacking)} has no {one}.")
    return found
