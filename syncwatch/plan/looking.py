"""Looking at Harbor: its clock, its registries and policies, kept as our own revisions.

Comes in: Harbor's lists. Goes out: rows of destinations, policies, revisions, and findings. What
a list lacks is never gone by that: only Harbor's own NOT_FOUND for it, asked with credentials that
were proven in the same look, ends a policy or a destination.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from syncwatch.errors import OutboundError
from syncwatch.harbor import wire
from syncwatch.model import MINUTE, SECOND, Change, Finding, Reason, Severity
from syncwatch.plan import findings as policy_findings
from syncwatch.plan.rules import beside_rules, rules_of
from syncwatch.runtime import log
from syncwatch.store import expectations, findings, policies
from syncwatch.store.schema import expectations as rows

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from sqlalchemy import Connection

    from syncwatch.harbor.client import HarborClient
    from syncwatch.model import Millis
    from syncwatch.runtime import Clock
    from syncwatch.store.database import Database
    from syncwatch.store.policies import Destination, HarborRow, Policy

ASKED_AT_ONCE = 20
"""How many policies or registries missing from a list are asked for by id in one look."""

SKEW_NOTICED = 5 * SECOND


@dataclass(frozen=True, slots=True)
class Seen:
    """One look: what Harbor listed, what it says is gone, and its clock minus ours."""

    at: Millis
    version: str
    skew: Millis
    notification_on: bool
    registries: Sequence[wire.RegistryEndpoint]
    policies: Sequence[wire.Policy]
    gone_policies: frozenset[int]
    gone_registries: frozenset[int]
    untold: tuple[str, ...] = ()
    """What is no longer listed, and may not be asked for by itself."""


@dataclass(frozen=True, slots=True)
class Looked:
    """What a look changed: rows closed, and (policy id, kind of change) for the metric."""

    changes: list[Change]
    policy_changes: list[tuple[int, str]]


class Looking:
    """Keeps one Harbor's policies and registries."""

    def __init__(
        self,
        client: HarborClient,
        database: Database,
        clock: Clock,
        expected_names: Callable[[Sequence[Destination]], list[Finding]],
    ) -> None:
        self._client = client
        self._database = database
        self._clock = clock
        self._expected_names = expected_names
        self._harbor = client.name

    async def look(self) -> Looked:
        """One look. Raises OutboundError when Harbor does not answer it wholly; that is kept."""
        try:
            seen = await self._see()
        except OutboundError as error:
            await self.note_down(error)
            raise
        return await self._database.write(lambda connection: self._keep(connection, seen))

    async def note_down(self, error: OutboundError) -> None:
        """Harbor is not to be asked: said once as a finding, and in `syncwatch_harbor_up`."""
        finding = _why_down(self._harbor, error)
        now = self._clock.now()

        def keep(connection: Connection) -> None:
            policies.set_harbor(connection, self._harbor, up=False)
            findings.replace(connection, self._harbor, "harbor", [finding], now)

        await self._database.write(keep)

    async def _see(self) -> Seen:
        before = self._clock.now()
        info = await self._client.system_info()
        after = self._clock.now()
        registries = await self._client.registries()
        listed = await self._client.policies()
        known_policies, known_destinations = await self._database.read(
            lambda connection: (
                policies.known_policies(connection, self._harbor),
                policies.known_destinations(connection, self._harbor),
            )
        )
        policies_asked = await self._ask_policies(known_policies, listed)
        registries_asked = await self._ask_registries(known_destinations, registries)
        asked = policies_asked | registries_asked
        return Seen(
            at=before,
            version=info.harbor_version,
            skew=_skew(info, before, after),
            notification_on=info.notification_enable is not False,
            registries=registries,
            policies=listed,
            gone_policies=frozenset(one for (_, one), gone in policies_asked.items() if gone),
            gone_registries=frozenset(one for (_, one), gone in registries_asked.items() if gone),
            untold=tuple(f"{kind} {one}" for (kind, one), gone in asked.items() if gone is None),
        )

    async def _ask_policies(
        self, known: Sequence[Policy], listed: Sequence[wire.Policy]
    ) -> dict[tuple[str, int], bool | None]:
        """Which of those that are not listed are gone; None where we may not ask."""
        there = {policy.id for policy in listed}
        missing = [
            one.policy_id for one in known if one.gone_at is None and one.policy_id not in there
        ]
        asked = missing[:ASKED_AT_ONCE]
        return {("policy", one): await _gone(self._client.policy_is_gone(one)) for one in asked}

    async def _ask_registries(
        self, known: Sequence[Destination], listed: Sequence[wire.RegistryEndpoint]
    ) -> dict[tuple[str, int], bool | None]:
        there = {registry.id for registry in listed}
        missing = {
            one.registry_id for one in known if one.gone_at is None and one.registry_id not in there
        }
        asked = sorted(missing)[:ASKED_AT_ONCE]
        return {("registry", one): await _gone(self._client.registry_is_gone(one)) for one in asked}

    def _keep(self, connection: Connection, seen: Seen) -> Looked:
        row = policies.harbor_row(connection, self._harbor)
        moved = seen.skew - row.skew
        if row.last_look_at is not None and abs(moved) > SKEW_NOTICED:
            # Harbor's clock was set: what is kept in it has to go with it.
            policies.shift_clock(connection, self._harbor, moved)
        by_registry = self._keep_destinations(connection, seen)
        told = self._keep_policies(connection, seen, row, by_registry)
        changes = self._close_ended(connection, seen.at)
        policies.set_harbor(
            connection,
            self._harbor,
            up=True,
            version=seen.version,
            skew=seen.skew,
            last_look_at=seen.at,
        )
        self._keep_findings(connection, seen)
        return Looked(changes, told)

    def _keep_destinations(self, connection: Connection, seen: Seen) -> dict[int, int]:
        """Destinations as listed; the row of each registry id. A new URL ends the old row."""
        by_registry = {}
        for registry in seen.registries:
            by_registry[registry.id] = policies.see_destination(
                connection,
                self._harbor,
                registry.id,
                registry.url.rstrip("/"),
                registry.name,
                registry.type,
            )
        gone = [
            one
            for one in policies.known_destinations(connection, self._harbor)
            if one.gone_at is None
            and (
                one.registry_id in seen.gone_registries
                or by_registry.get(one.registry_id, one.id) != one.id
            )
        ]
        policies.end_destinations(connection, [one.id for one in gone], seen.at)
        return by_registry

    def _keep_policies(
        self,
        connection: Connection,
        seen: Seen,
        row: HarborRow,
        by_registry: dict[int, int],
    ) -> list[tuple[int, str]]:
        told = []
        for policy in seen.policies:
            one = _seen_policy(policy, seen, row)
            since = _since(one, row, seen)
            kinds = policies.see_policy(
                connection, self._harbor, one, by_registry.get(one.registry_id), since
            )
            told += [(policy.id, kind) for kind in kinds]
            if kinds:
                findings.drop(connection, self._harbor, f"policy {policy.id}")
        for policy_id in seen.gone_policies:
            policies.end_policy(connection, self._harbor, policy_id, seen.at)
            findings.drop(connection, self._harbor, f"policy {policy_id}")
            told.append((policy_id, "deleted"))
        return told

    def _close_ended(self, connection: Connection, now: Millis) -> list[Change]:
        """Nothing is expected of what is gone. What one look cannot close the next one does."""
        ended = [one for one in policies.known_policies(connection, self._harbor) if one.gone_at]
        condition = rows.c.policy_id.in_([one.policy_id for one in ended])
        words = "Harbor no longer has the policy."
        told = expectations.close_where(
            connection, (rows.c.harbor == self._harbor) & condition, Reason.POLICY_GONE, words, now
        )
        for one in policies.known_destinations(connection, self._harbor):
            if one.gone_at is None:
                continue
            told += expectations.close_where(
                connection,
                rows.c.destination_id == one.id,
                Reason.DESTINATION_GONE,
                f"Harbor no longer has {one.name} at {one.url}.",
                now,
            )
        return told

    def _keep_findings(self, connection: Connection, seen: Seen) -> None:
        known = policies.known_policies(connection, self._harbor)
        destinations = policies.known_destinations(connection, self._harbor)
        found = [*_of_harbor(self._harbor, seen)]
        findings.replace(connection, self._harbor, "harbor", found, seen.at)
        told = [
            *policy_findings.of_policies(known, destinations),
            *self._expected_names(destinations),
        ]
        findings.replace(connection, self._harbor, "policies", told, seen.at)


def _skew(info: wire.SystemInfo, before: Millis, after: Millis) -> Millis:
    """Harbor's clock minus ours, halfway through the question."""
    theirs = wire.millis_or_none(info.current_time)
    return theirs - (before + after) // 2 if theirs is not None else 0


def _since(one: policies.SeenPolicy, row: HarborRow, seen: Seen) -> Millis:
    """From when on the rules seen now were in force, in Harbor's clock.

    At our first look nothing older than our own beginning is promised. Later, a policy or an edit
    that is new to us counts from Harbor's own time for it, which is before our look.
    """
    began = row.watching_since + policies.used_skew(seen.skew)
    updated = (
        one.updated_at if one.updated_at is not None else seen.at + policies.used_skew(seen.skew)
    )
    return max(updated, began)


def _seen_policy(policy: wire.Policy, seen: Seen, row: HarborRow) -> policies.SeenPolicy:
    endpoint = policy.dest_registry or wire.RegistryEndpoint()
    updated = wire.millis_or_none(policy.update_time) or wire.millis_or_none(policy.creation_time)
    own = next((one for one in seen.registries if one.id == endpoint.id), endpoint)
    return policies.SeenPolicy(
        policy.id,
        policy.name,
        endpoint.id,
        endpoint.url,
        rules_of(policy),
        updated,
        moved_at=wire.millis_or_none(own.update_time) or 0,
        seen_at=seen.at + policies.used_skew(seen.skew),
        looked_at=_looked_at(row, seen),
        beside=beside_rules(policy),
    )


def _looked_at(row: HarborRow, seen: Seen) -> Millis | None:
    """The look before, in Harbor's clock."""
    if row.last_look_at is None:
        return None
    return row.last_look_at + policies.used_skew(seen.skew)


def _of_harbor(harbor: str, seen: Seen) -> list[Finding]:
    found = []
    if seen.untold:
        found.append(
            Finding(
                "permission_missing",
                Severity.ERROR,
                f"harbor {harbor}: policies",
                f"Harbor {harbor} no longer lists {', '.join(seen.untold[:5])}, and does not let "
                "us ask whether it is gone: what it promised is still expected.",
                "Give the robot account read on replication-policy and registry.",
            )
        )
    if abs(seen.skew) > SKEW_NOTICED:
        found.append(
            Finding(
                "clock_skew",
                Severity.WARNING if abs(seen.skew) < MINUTE else Severity.ERROR,
                f"harbor {harbor}",
                f"The clock of Harbor {harbor} is {seen.skew / 1000:+.1f} s off ours.",
                "Let both follow the same time server; lag is corrected by the difference.",
            )
        )
    if not seen.notification_on:
        found.append(
            Finding(
                "notification_off",
                Severity.ERROR,
                f"harbor {harbor}",
                f"Harbor {harbor} has notifications switched off: it sends no webhook at all.",
                "Set notification_enable in Harbor's configuration.",
            )
        )
    return found


async def _gone(asked: Awaitable[bool]) -> bool | None:
    """Whether something is gone; None for what we may not ask about, which is not known to be."""
    try:
        return await asked
    except OutboundError as error:
        if error.kind != "forbidden":
            raise
        return None


def _why_down(harbor: str, error: OutboundError) -> Finding:
    finding, cure = _FINDINGS.get(error.kind, _FINDINGS[""])
    log.warning("harbor_down", harbor=harbor, kind=error.kind, error=error.message)
    return Finding(finding, Severity.ERROR, f"harbor {harbor}", f"{error.message}.", cure)


_FINDINGS = {
    "unauthorized": (
        "credential_rejected",
        "Check username and password, and that the robot account is enabled and not expired.",
    ),
    "forbidden": (
        "permission_missing",
        "Give the robot account list and read of replication-policy, replication and registry.",
    ),
    "": ("harbor_unreachable", "Check its url, the network between, and its certificate."),
}
