"""Writing down what the source was read to name, and opening what that promises.

Comes in: events with the answers of `sources`, from the planner and from the sweep. Goes out:
generations, in one transaction with all that is remembered of the answers; whoever waits is woken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from syncwatch.model import Origin
from syncwatch.plan import beside
from syncwatch.plan.promises import Event
from syncwatch.plan.sources import Absent, Named, Unasked
from syncwatch.store import deliveries, expectations, subjects

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqlalchemy import Connection

    from syncwatch.model import Change, Millis
    from syncwatch.plan.opening import Opening, Told
    from syncwatch.runtime import Signals
    from syncwatch.store.database import Database

WRITTEN_AT_ONCE = 10
"""How many events one transaction takes, so that an acknowledgement never waits long behind."""


class Keeping:
    """Keeps what is told of one Harbor's source. `publish` is told what changed, once durable."""

    def __init__(
        self,
        *,
        harbor: str,
        opening: Opening,
        database: Database,
        signals: Signals,
        publish: Callable[[Sequence[Change]], None],
    ) -> None:
        self._harbor = harbor
        self._opening = opening
        self._database = database
        self._signals = signals
        self._publish = publish

    async def write(
        self,
        told: Sequence[Told],
        answers: Mapping[tuple[str, str], Named | Absent | Unasked],
        delivery_ids: Sequence[int],
        now: Millis,
    ) -> None:
        """Open generations and remember what the source was read to name, in one transaction."""
        if not told and not answers and not delivery_ids:
            return

        def keep(connection: Connection) -> tuple[list[Change], set[int]]:
            named = {name: one for name, one in answers.items() if isinstance(one, Named)}
            for (repository, _), answer in named.items():
                subjects.claim(connection, self._harbor, repository, answer.parts, now)
            opened = self._opening.write(connection, told, now)
            woken = set(opened.destination_ids)
            for name, answer in named.items():
                woken |= self._remember(connection, name, answer, now)
            for one in told:
                self._read_signed(connection, one.event, now)
            deliveries.done(connection, delivery_ids)
            return opened.changes, woken

        changes, woken = await self._database.write(keep)
        self._publish(changes)
        for one in woken:
            self._signals.wake(f"verify {one}")

    def _remember(
        self, connection: Connection, name: tuple[str, str], answer: Named, now: Millis
    ) -> set[int]:
        """What the source names; the destinations where somebody waited to know."""
        repository, reference = name
        event = event_of(name, answer)
        beside.keep(connection, self._harbor, event, answer.accessories, answer.read_at)
        subjects.source_read(
            connection, self._harbor, repository, reference, answer.digest, answer.read_at
        )
        return expectations.wake(
            connection, self._harbor, now, source_repository=repository, references=[reference]
        )

    def _read_signed(self, connection: Connection, event: Event, now: Millis) -> None:
        """A signature was pushed: its image is to be read again, for what lies beside it now."""
        if digest := beside.signed_by(event.reference):
            subjects.ask_sources_of(connection, self._harbor, event.repository, [digest], now)


def event_of(name: tuple[str, str], answer: Named, origin: Origin | None = None) -> Event:
    """What a reference was read to name, as the event that made it so."""
    repository, reference = name
    return Event(
        repository,
        reference,
        answer.digest,
        answer.pushed_at if answer.pushed_at is not None else answer.read_at,
        origin or answer.origin,
        answer.labels if (origin or answer.origin) is Origin.TAG else (),
    )
