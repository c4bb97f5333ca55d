"""The doctor without a daemon: every check of every configured Harbor, once.

Comes in: the configuration. Goes out: `Diagnosed`, a list of checks by Harbor. Nothing is written
anywhere but one delivery of ours to our own webhook, which is counted there as ignored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from syncwatch.doctor.checks import Checked, Outcome, findings_of, folded, told, untold
from syncwatch.doctor.destination_checks import of_destination, unknown
from syncwatch.doctor.examining import Examining, quietly
from syncwatch.doctor.here import own_place, round_trip
from syncwatch.doctor.knocking import Knocking
from syncwatch.doctor.own_checks import of_deadline, of_open_webhook, of_own_place, of_token
from syncwatch.doctor.webhook_checks import of_round_trip
from syncwatch.harbor.client import HarborClient
from syncwatch.outbound import Outbound
from syncwatch.plan import findings as reading
from syncwatch.plan.rules import rules_of
from syncwatch.store.policies import Destination, Policy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import timedelta

    from syncwatch.config import HarborSettings, Settings
    from syncwatch.doctor.evidence import WholePolicy
    from syncwatch.doctor.examining import Examined
    from syncwatch.harbor.wire import RegistryEndpoint
    from syncwatch.model import Finding, Millis
    from syncwatch.runtime import Clock

MOST_PROJECTS = 1_000
"""How many projects one run looks at; what is beyond them is said not to be known."""


@dataclass(frozen=True, slots=True)
class Diagnosed:
    """What was found of one Harbor; "" stands for syncwatch's own place."""

    harbor: str
    checks: tuple[Checked, ...]
    could_ask: bool = True

    @property
    def findings(self) -> list[Finding]:
        """What is wrong, the worst first; what many projects share is told once."""
        return folded(self.harbor, findings_of(self.checks))


async def diagnose(
    settings: Settings, clock: Clock, progress: Callable[[str], None] = quietly
) -> list[Diagnosed]:
    """Make every check; `progress` is told in words how far it is."""
    found = [await _of_harbor(harbor, settings, clock, progress) for harbor in settings.harbors]
    progress("syncwatch itself")
    own = await own_place(settings, clock, try_store=True)
    checks = (
        *of_own_place(own),
        of_token(is_set=settings.api_token is not None),
        *await _of_clusters(settings, clock, progress),
    )
    asked = [one for one in found if one.could_ask]
    missing = [*_unknown(settings, found)] if len(asked) == len(found) else []
    return [*found, Diagnosed("", (*checks, *missing))]


async def _of_harbor(
    harbor: HarborSettings, settings: Settings, clock: Clock, progress: Callable[[str], None]
) -> Diagnosed:
    def say(words: str) -> None:
        progress(f"{harbor.name}: {words}")

    outbound = Outbound(
        timeout=harbor.timeout.total_seconds(),
        concurrency=4,
        ca_file=harbor.ca_file,
        insecure_skip_verify=harbor.insecure_skip_verify,
    )
    credential = harbor.credential
    client = HarborClient(
        name=harbor.name,
        url=harbor.url,
        outbound=outbound,
        credentials=lambda: credential.login() if credential else None,
    )
    try:
        examined = await Examining(harbor, settings, client, clock).turn(
            MOST_PROJECTS, progress=say
        )
    finally:
        await client.close()
    checks = [*examined.checks, *_of_reading(harbor.name, examined), *_unlisted(harbor, examined)]
    for endpoint in examined.registries:
        say(f"destination {endpoint.name}")
        checks += await _of_destination(harbor, settings, endpoint, examined, clock)
    checks += await _of_webhook(harbor, settings)
    could_ask = not any(one.check == "harbor" and one.findings for one in checks)
    return Diagnosed(harbor.name, tuple(checks), could_ask)


async def _of_clusters(
    settings: Settings, clock: Clock, progress: Callable[[str], None]
) -> list[Checked]:
    """Of those whose nodes are to pull."""
    probed = [one for one in settings.clusters if one.probe.is_on]
    if not probed:
        return []
    # Imported where a cluster is probed, as by the daemon.
    from syncwatch.doctor import clusters  # noqa: PLC0415

    found: list[Checked] = []
    for one in probed:
        progress(f"cluster {one.name}")
        found += await clusters.examine(one, clock)
    return found


async def _of_webhook(harbor: HarborSettings, settings: Settings) -> list[Checked]:
    subject = f"harbor {harbor.name}"
    if harbor.webhook is None:
        why = "No webhook is configured for it, so serve would not start."
        return [untold("open webhook", subject, why)]
    seen = await round_trip(harbor, settings)
    trip = (
        of_round_trip(seen)
        if seen
        else untold("round trip", subject, "webhook_listen has no fixed port to send it to.")
    )
    return [of_open_webhook(harbor.name, is_open=harbor.webhook.allow_unauthenticated), trip]


async def _of_destination(
    harbor: HarborSettings,
    settings: Settings,
    endpoint: RegistryEndpoint,
    examined: Examined,
    clock: Clock,
) -> list[Checked]:
    """One that nothing is copied to is left alone, unless the configuration names it."""
    entry = settings.destination(harbor.name, endpoint.name)
    named = any(one.name == endpoint.name for one in settings.destinations)
    rules = [one for one in examined.rules if one.destination == endpoint.name]
    if examined.projects is None or not (rules or named):
        return []
    seen = await Knocking(endpoint, entry, clock).seen(rules, examined.projects)
    deadline = of_deadline(
        endpoint.name,
        deadline=_millis(entry.deadline),
        grace=_millis(entry.grace),
        give_up_after=_millis(harbor.give_up_after),
    )
    return [*of_destination(seen), deadline]


def _of_reading(harbor: str, examined: Examined) -> Iterator[Checked]:
    """What reading the policies tells, as the daemon says it."""
    kinds = {one.id: one for one in examined.registries}
    known = [_as_known(harbor, one) for one in examined.policies]
    there = [
        Destination(one.id, harbor, one.id, one.url, one.name, one.type, one.name, None)
        for one in kinds.values()
    ]
    for policy in known:
        found = [*reading.of_policies([policy], there)]
        good = "Nothing is wrong with it by reading it."
        yield told("rule", f"policy {policy.name}", good, found)


def _unlisted(harbor: HarborSettings, examined: Examined) -> Iterator[Checked]:
    """What Harbor should list and does not, so that nothing could be asked about it."""
    if examined.scope is None:
        return
    if not examined.policies:
        why = f"Harbor {harbor.name} lists no replication policy: there is none, or we see none."
        yield untold("rule", f"harbor {harbor.name}", why)
    listed = {one.name for one in examined.registries}
    missing = {one.destination: one.name for one in examined.rules if one.destination not in listed}
    for destination, policy in sorted(missing.items()):
        why = f"Policy {policy} copies to it, and Harbor does not list it as an endpoint."
        yield untold("destination", f"destination {destination}", why)


def _as_known(harbor: str, policy: WholePolicy) -> Policy:
    endpoint = policy.dest_registry.id if policy.dest_registry else None
    return Policy(harbor, policy.id, policy.name, endpoint, 1, rules_of(policy), None)


def _unknown(settings: Settings, found: Sequence[Diagnosed]) -> Iterator[Checked]:
    """Entries of the configuration that no Harbor, or not the one they name, has."""
    for entry in settings.destinations:
        asked = [one for one in found if entry.harbor in (None, one.harbor)]
        named = f"destination {entry.name}"
        there = any(check.subject == named for one in asked for check in one.checks)
        if entry.name != "*" and not there:
            yield from unknown([entry.name], " or ".join(one.harbor for one in asked))


def exit_code(found: Sequence[Diagnosed]) -> int:
    """0 nothing is wrong · 1 something is · 4 a Harbor could not be asked."""
    if not all(one.could_ask for one in found):
        return 4
    return int(any(c.outcome is Outcome.WRONG for one in found for c in one.checks))


def _millis(duration: timedelta) -> Millis:
    return round(duration.total_seconds() * 1000)
