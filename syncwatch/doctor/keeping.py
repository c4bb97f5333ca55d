"""The doctor in the daemon: one Harbor's set-up is examined regularly, its findings kept.

What other stages look at anyway (Harbor itself, reading policies, whether a destination can be
asked) they say themselves; this says the rest, as source "doctor". Gentle: so many projects a turn,
the next ones next time. What could not be asked this time keeps its earlier findings: unknown is
neither well nor gone.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from syncwatch.doctor.checks import Checked, Outcome, findings_of, folded, without
from syncwatch.doctor.destination_checks import blocked
from syncwatch.doctor.examining import Examining
from syncwatch.doctor.here import own_place, round_trip
from syncwatch.doctor.own_checks import of_deadline, of_open_webhook, of_own_place, of_token
from syncwatch.doctor.webhook_checks import of_round_trip
from syncwatch.model import MINUTE, Finding, Millis, Reason, Severity
from syncwatch.plan.opening import for_destination
from syncwatch.runtime import log
from syncwatch.store import findings, policies
from syncwatch.store.schema import counts
from syncwatch.store.schema import findings as rows

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import timedelta

    from sqlalchemy import Connection

    from syncwatch.config import HarborSettings, Settings
    from syncwatch.doctor.examining import Examined
    from syncwatch.harbor.client import HarborClient
    from syncwatch.runtime import Clock
    from syncwatch.store.database import Database

SOURCE = "doctor"

PROJECTS_A_TURN = 50
"""How many projects are looked at each time; each costs Harbor about six questions."""

SETTLE: Millis = 30_000
"""How long after the start the first examination begins: what is being set up may be finished."""

AGAIN_SOON: Millis = MINUTE
"""How long until another try where Harbor could not be asked."""

SIGN_OF_LIFE = 30.0
"""Seconds after which a turn comes at the latest: /healthz takes a silent loop for a dead one."""

BEGIN_WITHIN = 60.0
END_WITHIN = 180.0
"""Seconds in which projects are begun, and in which an examination ends, however slow Harbor is."""

TOLD_ELSEWHERE = frozenset({"harbor", "clock", "notifications"})
"""Checks that the planner's own look at Harbor keeps up to date."""

NOTICED_ELSEWHERE = ("replication-policy:list", "registry:list", "replication:list")
"""Permissions whose lack planner and follower say themselves."""


class Doctor:
    """One Harbor's set-up, examined every `doctor_every`.

    `settle` is how long after it was made the first examination begins (default: half a minute, or
    `doctor_every` where that is shorter), `most` how many projects are looked at in one turn.
    """

    def __init__(
        self,
        *,
        harbor: HarborSettings,
        settings: Settings,
        client: HarborClient,
        database: Database,
        clock: Clock,
        settle: Millis | None = None,
        most: int = PROJECTS_A_TURN,
    ) -> None:
        self._harbor = harbor
        self._settings = settings
        self._database = database
        self._clock = clock
        every = _millis(harbor.doctor_every)
        self._due_at = clock.now() + (min(SETTLE, every) if settle is None else settle)
        self._most = most
        self._examining = Examining(harbor, settings, client, clock)
        self._known: dict[tuple[str, str], Checked] = {}
        self._inherited: list[Finding] | None = None

    async def turn(self) -> float:
        """Examine what is due; seconds until the next turn."""
        wait = self._due_at - self._clock.now()
        if wait <= 0:
            every = _millis(self._harbor.doctor_every)
            wait = every if await self._examine() else min(every, AGAIN_SOON)
            self._due_at = self._clock.now() + wait
        return min(wait / 1000, SIGN_OF_LIFE)

    async def _examine(self) -> bool:
        """Whether Harbor could be asked for its set-up."""
        if self._inherited is None:
            self._inherited = await self._database.read(self._kept)
        try:
            async with asyncio.timeout(END_WITHIN):
                examined = await self._examining.turn(self._most, BEGIN_WITHIN)
                own = await self._of_ourselves()
        except TimeoutError:
            log.warning("examination_not_done", harbor=self._harbor.name, within=END_WITHIN)
            return False
        own += await self._database.read(self._of_destinations)
        self._take(examined, own)
        await self._database.write(self._publish)
        return examined.scope is not None

    def _take(self, examined: Examined, own: Iterable[Checked]) -> None:
        """What is known now: this turn's checks, and the earlier ones that still hold."""
        now = {
            one.key: self._or_earlier(one)
            for one in (*examined.checks, *own)
            if not _is_told_elsewhere(one)
        }
        scope = examined.scope
        if scope is None:
            self._known |= now
        else:
            others = {f"project {name}" for name in scope}
            kept = {key: one for key, one in self._known.items() if key[1] in others}
            self._known = kept | now
        self._inherited = [
            one for one in self._inherited or () if self._still(one, examined, now.values())
        ]

    def _or_earlier(self, one: Checked) -> Checked:
        """A check that could not be made keeps what it found before."""
        before = self._known.get(one.key)
        if one.outcome is not Outcome.CANNOT_TELL or before is None or one.findings:
            return one
        return Checked(one.check, one.subject, one.outcome, one.message, before.findings)

    def _still(self, finding: Finding, examined: Examined, now: Iterable[Checked]) -> bool:
        """Whether a finding of before our start holds: nobody could check it yet."""
        owners = [one for one in now if one.owns(finding)]
        if owners:
            return all(one.outcome is Outcome.CANNOT_TELL for one in owners)
        return examined.scope is None or not self._has_seen(examined.scope)

    def _has_seen(self, scope: frozenset[str]) -> bool:
        """Whether every project in scope was looked at since our start."""
        return all(("webhook", f"project {name}") in self._known for name in scope)

    def _publish(self, connection: Connection) -> None:
        name = self._harbor.name
        found = findings_of(self._known.values())
        new = {(one.finding, one.subject) for one in found}
        found += [one for one in self._inherited or () if (one.finding, one.subject) not in new]
        query = select(rows.c.finding, rows.c.subject).where(
            rows.c.harbor == name, rows.c.source != SOURCE
        )
        others = {(row.finding, row.subject) for row in connection.execute(query)}
        told_here = without(folded(name, found), others)
        findings.replace(connection, name, SOURCE, told_here, self._clock.now())

    def _kept(self, connection: Connection) -> list[Finding]:
        words = (rows.c.finding, rows.c.severity, rows.c.subject, rows.c.message, rows.c.cure)
        query = select(*words).where(rows.c.harbor == self._harbor.name, rows.c.source == SOURCE)
        kept = []
        for finding, severity, subject, message, cure in connection.execute(query):
            kept.append(Finding(finding, Severity(severity), subject, message, cure))
        return kept

    async def _of_ourselves(self) -> list[Checked]:
        """Our own place is told with the first Harbor, each webhook with its own."""
        harbor, checks = self._harbor, []
        if harbor.webhook_address is not None:
            seen = await round_trip(harbor, self._settings)
            checks += [of_round_trip(seen)] if seen else []
        webhook = harbor.webhook
        checks.append(
            of_open_webhook(harbor.name, is_open=bool(webhook and webhook.allow_unauthenticated))
        )
        if harbor.name == self._settings.harbors[0].name:
            own = await own_place(self._settings, self._clock, try_store=False)
            checks += [*of_own_place(own), of_token(is_set=self._settings.api_token is not None)]
        return checks

    def _of_destinations(self, connection: Connection) -> list[Checked]:
        """What settings and our own looks tell of the destinations, without asking them."""
        checks = []
        for one in policies.known_destinations(connection, self._harbor.name):
            if one.gone_at is not None:
                continue
            entry = for_destination(self._settings, one)
            query = select(func.sum(counts.c.n)).where(
                counts.c.destination_id == one.id, counts.c.reason == Reason.POLICY_BLOCKED
            )
            checks.append(blocked(one.name, int(connection.execute(query).scalar() or 0)))
            checks.append(
                of_deadline(
                    one.name,
                    deadline=_millis(entry.deadline),
                    grace=_millis(entry.grace),
                    give_up_after=_millis(self._harbor.give_up_after),
                )
            )
        return checks


def _is_told_elsewhere(one: Checked) -> bool:
    if one.check == "permission":
        return one.subject.endswith(NOTICED_ELSEWHERE)
    return one.check in TOLD_ELSEWHERE


def _millis(duration: timedelta) -> Millis:
    return round(duration.total_seconds() * 1000)
