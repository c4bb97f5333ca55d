"""What is wrong with a destination as such: said once, and not once for each of its images.

Comes in: what looks met. Goes out: findings, kept up to date, and whether it can be asked at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from syncwatch.model import HOUR, MINUTE, Finding, Millis, Observation, Reason, Severity
from syncwatch.store import findings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from syncwatch.runtime import Clock
    from syncwatch.store.database import Database
    from syncwatch.store.policies import Destination

_FINDINGS = {
    Reason.UNREACHABLE: ("destination_unreachable", "Check that it runs, its url, the network."),
    Reason.SERVER_ERROR: ("destination_unreachable", "Look into the registry's own log."),
    Reason.UNREADABLE_ANSWER: (
        "destination_unreachable",
        "Check url: what answers there does not answer as a registry does.",
    ),
    Reason.TLS_ERROR: ("destination_tls", "Set ca_file to the certificate of its authority."),
    Reason.UNAUTHORIZED: ("destination_unauthorized", "Check username and password for reading."),
    Reason.FORBIDDEN: ("destination_unauthorized", "Give that user the right to pull."),
}

OWN_FOR = MINUTE
"""Trouble with one name is its own for so long after a good look at another."""


class Telling:
    """Says of one destination what is wrong; `up(its id, bool)` is told whether it can be asked."""

    def __init__(
        self,
        *,
        destination: Destination,
        database: Database,
        clock: Clock,
        up: Callable[[int, bool], None],
    ) -> None:
        self._destination = destination
        self._database = database
        self._clock = clock
        self._up = up
        self._subject = f"destination {destination.name}"
        self._problem: Reason | None = None
        self._told = False
        self._good_at: Millis | None = None
        self._through: dict[str, str] | None = None
        self._flapping_until: Millis | None = 0

    async def asked(self, seen: Observation, *, of_one: bool = False) -> None:
        """Say once that it cannot be asked, and once that it can be again.

        Trouble `of_one` name there is that name's own while others answer well.
        """
        problem = seen.problem if seen.problem in _FINDINGS else None
        now = self._clock.now()
        if seen.problem is None:
            self._good_at = now
        elif of_one and self._good_at is not None and now - self._good_at < OWN_FOR:
            return
        self._up(self._destination.id, problem is None)
        if self._told and problem is self._problem:
            return
        self._problem, self._told = problem, True
        found = []
        if problem:
            finding, cure = _FINDINGS[problem]
            words = f"{self._destination.name} cannot be asked ({problem}): {seen.detail}."
            found = [Finding(finding, Severity.ERROR, self._subject, words, cure)]
        await self._replace("", found)

    async def passed_through(self, project: str, through: Observation | None) -> None:
        """Say once which places fetch what they are asked for."""
        told = through.detail if through and through.problem is Reason.PULL_THROUGH else ""
        if self._through is not None and self._through.get(project, "") == told:
            return
        others = {one: why for one, why in (self._through or {}).items() if one != project}
        self._through = others | ({project: told} if told else {})
        found = [
            Finding(
                "pull_through",
                Severity.ERROR,
                self._subject,
                f"Nothing can be looked at there without creating it: {words}.",
                "Set url to the registry that Harbor copies to, not to a cache before it.",
            )
            for words in sorted(self._through.values())[:1]
        ]
        await self._replace(" passes through", found)

    async def came_and_went(self, *, again: bool) -> None:
        """Say for an hour that its images come and go; without `again`, end that in time."""
        now = self._clock.now()
        if again:
            told = self._flapping_until
            self._flapping_until = now + HOUR
            if told:
                return
            words = f"Images at {self._destination.name} are there in one look and not in the next."
            cure = "Look for replicas behind that address which do not share their storage."
            found = Finding(
                "destination_inconsistent", Severity.WARNING, self._subject, words, cure
            )
            await self._replace(" flaps", [found])
        elif self._flapping_until is not None and now >= self._flapping_until:
            self._flapping_until = None
            await self._replace(" flaps", [])

    async def _replace(self, about: str, found: Sequence[Finding]) -> None:
        source, harbor = f"destination {self._destination.id}{about}", self._destination.harbor
        now = self._clock.now()
        await self._database.write(lambda c: findings.replace(c, harbor, source, found, now))
