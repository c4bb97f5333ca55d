"""Sending what the outbox holds to the one receiver, in the order in which it happened.

While the receiver is away the oldest event is tried later and later, and the others wait behind it;
one that the receiver answers but cannot digest lets them pass after a few attempts. An event that
breaks the receiver, or what is before it, looks like a receiver that is away: so after a few
attempts that failed alike another one is tried right behind it, and tells the two apart. An event
is sent before it is written down that it was: what dies in between is sent again, with the same id.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from syncwatch.budget import Budget
from syncwatch.errors import OutboundError
from syncwatch.model import HOUR, MINUTE, SECOND, Finding, Severity
from syncwatch.notify.cloudevents import (
    ATTEMPTS,
    CONTENT_TYPE,
    Outcome,
    envelope,
    may_be_of_the_event,
    outcome,
    pause,
    wished,
)
from syncwatch.runtime import log
from syncwatch.store import findings, notifications

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Connection

    from syncwatch.config import NotificationSettings
    from syncwatch.model import Millis
    from syncwatch.outbound import Outbound
    from syncwatch.runtime import Clock
    from syncwatch.store.database import Database
    from syncwatch.store.notifications import Notification, Standing

LOOP = "notify"
"""The name of the loop, and of its lease."""

LOOK_EVERY = 2.0
"""Seconds; a change wakes the loop at once."""
AT_ONCE = 20
"""How many are sent between two looks at the outbox."""
SOME_OTHERS = 10
"""Among so many another event is chosen to be tried where the oldest is not taken."""
SAVED_UP: Millis = 10 * SECOND
"""So much of what a minute allows may be sent at once."""
LONGEST_SILENCE: Millis = 30 * SECOND
"""Between two attempts at a receiver that is away, unless it asks for more."""
LATE_AFTER: Millis = 5 * MINUTE
"""An event that was tried and waits for so long is a finding."""
LOST_FOR: Millis = 24 * HOUR
"""How long an event that was given up is a finding."""

_UNAUTHORIZED = 401


class Sending:
    """Tells the receiver. `turn` does what is due; `counted` is told event and outcome.

    `stands` is told how many wait and the oldest since when, None once it is another's to know;
    `harbor` is the name under which findings are kept.
    """

    def __init__(
        self,
        *,
        settings: NotificationSettings,
        harbor: str,
        outbound: Outbound,
        database: Database,
        clock: Clock,
        counted: Callable[[str, str], None],
        stands: Callable[[int | None, Millis | None], None],
    ) -> None:
        self._settings = settings
        self._harbor = harbor
        self._outbound = outbound
        self._database = database
        self._clock = clock
        self._counted = counted
        self._stands = stands
        self._budget = Budget(settings.per_minute, clock.now(), saved=SAVED_UP, full=True)
        self._give_up_after = round(settings.give_up_after.total_seconds() * SECOND)
        self._in_a_row = 0
        self._doubts: Counter[int] = Counter()
        self._alike: dict[int, tuple[str, int]] = {}
        """Of an event that met a receiver that is away: the problem, and how often in a row."""
        self._quiet_until: Millis = 0
        self._found: list[Finding] | None = None
        parts = urlsplit(settings.url)
        # Without path and query: they may hold a token.
        self._receiver = f"{parts.scheme}://{parts.netloc}"

    async def turn(self) -> float:
        """Send what is due and may be sent; seconds until the next turn."""
        more = await self._send_some()
        await self._say_how_it_stands()
        now = self._clock.now()
        if now < self._quiet_until:
            return min(LOOK_EVERY, (self._quiet_until - now) / SECOND)
        return min(LOOK_EVERY, self._budget.pause) if more else LOOK_EVERY

    async def close(self) -> None:
        """Tell nobody any more."""
        self._stands(None, None)
        await self._outbound.close()

    async def _send_some(self) -> bool:
        """Whether there may be more to send."""
        now = self._clock.now()
        if now < self._quiet_until:
            return True
        room = min(self._budget.left(now), AT_ONCE)
        since = now - self._give_up_after
        most = max(room, SOME_OTHERS)
        due = await self._database.read(lambda c: notifications.due(c, now, since, most))
        for place, one in enumerate(due[:room]):
            if not await self._send(one):
                await self._tell_apart(one, due[place + 1 :])
                break
        return bool(due)

    async def _tell_apart(self, one: Notification, others: Sequence[Notification]) -> None:
        """Where the receiver takes another event at once, it was this one that it does not take."""
        _, times = self._alike.get(one.id, ("", 0))
        if times < ATTEMPTS or not others:
            return
        in_a_row = self._in_a_row
        # Not always the same: that one may be of the same kind.
        if not await self._send(others[(times - ATTEMPTS) % len(others)]):
            self._in_a_row = in_a_row
            return
        now = self._clock.now()
        self._alike.pop(one.id, None)
        self._doubts[one.id] = ATTEMPTS
        self._quiet_until = now
        due_at = now + pause(ATTEMPTS)
        await self._database.write(lambda c: notifications.postponed(c, one.id, due_at))

    async def _send(self, one: Notification) -> bool:
        """One attempt; whether the next event may be sent now."""
        self._budget.spend(1)
        authorization = self._settings.secret
        headers = {"Content-Type": CONTENT_TYPE}
        if authorization is not None:
            headers["Authorization"] = authorization.value()
        try:
            answer = await self._outbound.ask(
                "POST", self._settings.url, headers=headers, json=envelope(one), enough=1
            )
        except OutboundError as error:
            return await self._away(one, error.message, error.kind != "tls_error", 0)
        if answer.status == _UNAUTHORIZED and authorization is not None:
            authorization.forget()
        words = f"{self._receiver} answered {answer.status}"
        came_to = outcome(answer.status, self._doubts[one.id])
        if came_to is Outcome.DELIVERED:
            return await self._delivered(one)
        if came_to is Outcome.REFUSED:
            return await self._refused(one, words)
        left_alone = wished(answer.headers, self._clock.now())
        if came_to is Outcome.AWAY:
            own = may_be_of_the_event(answer.status) and not left_alone
            return await self._away(one, words, own, left_alone)
        return await self._failed(one, words, came_to, left_alone)

    async def _delivered(self, one: Notification) -> bool:
        now = self._clock.now()
        # Several could not be digested, and now one is: it was the receiver's fault.
        back = self._in_a_row > ATTEMPTS and bool(self._doubts.keys() - {one.id})

        def write(connection: Connection) -> None:
            notifications.delivered(connection, one.id)
            if back:
                notifications.hurry(connection, now)

        await self._database.write(write)
        self._counted(one.event, "delivered")
        if self._in_a_row:
            log.info("notifications_delivered_again", receiver=self._receiver)
        self._in_a_row = 0
        self._doubts.pop(one.id, None)
        self._alike.pop(one.id, None)
        if back:
            self._doubts.clear()
        return not back

    async def _away(self, one: Notification, problem: str, own: bool, left_alone: Millis) -> bool:
        """The receiver is away, or seems to be: `own` where it may be this event that breaks it."""
        if own and self._doubts[one.id] >= ATTEMPTS:
            return await self._failed(one, problem, Outcome.POSTPONED, left_alone)
        before, times = self._alike.pop(one.id, ("", 0))
        if own:
            self._alike[one.id] = (problem, times + 1 if problem == before else 1)
        return await self._failed(one, problem, Outcome.AWAY, left_alone)

    async def _failed(
        self, one: Notification, problem: str, came_to: Outcome, left_alone: Millis
    ) -> bool:
        now = self._clock.now()
        if not self._in_a_row:
            log.warning(
                "notification_not_delivered", type=one.event, subject=one.subject, reason=problem
            )
        self._in_a_row += 1
        silence, due_at = pause(self._in_a_row), now
        if came_to is not Outcome.AWAY:
            self._doubts[one.id] += 1
        if came_to is Outcome.POSTPONED:
            # It is soon another's turn, unless others fared no better.
            silence, due_at = pause(len(self._doubts)), now + pause(self._doubts[one.id])
        self._quiet_until = now + max(min(silence, LONGEST_SILENCE), left_alone)
        await self._database.write(lambda c: notifications.failed(c, one.id, problem, due_at))
        self._counted(one.event, "failed")
        return False

    async def _refused(self, one: Notification, problem: str) -> bool:
        now = self._clock.now()
        await self._database.write(lambda c: notifications.refused(c, one.id, problem, now))
        self._counted(one.event, "failed")
        self._lost([one], "gave_up", problem)
        return True

    def _lost(self, ended: Sequence[Notification], how: str, problem: str) -> None:
        for one in ended:
            self._doubts.pop(one.id, None)
            self._alike.pop(one.id, None)
            self._counted(one.event, how)
            log.error(
                f"notification_{how}",
                type=one.event,
                harbor=one.harbor,
                subject=one.subject,
                attempts=one.attempts,
                reason=problem,
            )

    async def _say_how_it_stands(self) -> None:
        now = self._clock.now()
        standing = await self._standing(now)
        is_old = (standing.oldest_at or now) < now - self._give_up_after
        if is_old or standing.waiting > notifications.MOST:
            await self._end_what_cannot_be_told(standing.problem, now)
            standing = await self._standing(now)
        self._stands(standing.waiting, standing.oldest_at)
        found = self._trouble(standing, now)
        if found != self._found:
            await self._database.write(
                lambda c: findings.replace_everywhere(c, self._harbor, LOOP, found, now)
            )
            self._found = found

    async def _standing(self, now: Millis) -> Standing:
        return await self._database.read(lambda c: notifications.standing(c, now - LOST_FOR))

    async def _end_what_cannot_be_told(self, problem: str, now: Millis) -> None:
        before = now - self._give_up_after

        def end(connection: Connection) -> tuple[Sequence[Notification], Sequence[Notification]]:
            old = notifications.give_up(connection, before, now)
            return old, notifications.drop(connection, now)

        old, too_many = await self._database.write(end)
        self._lost(old, "gave_up", problem)
        self._lost(too_many, "dropped", "too many wait")

    def _trouble(self, standing: Standing, now: Millis) -> list[Finding]:
        late = standing.tried_at is not None and standing.tried_at < now - LATE_AFTER
        if not standing.lost and not late:
            return []
        last = f"; the last problem: {standing.problem}" if standing.problem else ""
        words = f"{self._receiver} has not taken an event for more than five minutes{last}."
        if standing.lost:
            words = (
                f"Of the last day {standing.lost} events for {self._receiver} could not be "
                f"delivered and are not sent any more{last}."
            )
        return [
            Finding(
                "notification_undelivered",
                Severity.WARNING,
                "notifications",
                words,
                "Check that the receiver runs and takes POST at notifications.url, and the "
                "Authorization value; what it has missed is in the API.",
            )
        ]
