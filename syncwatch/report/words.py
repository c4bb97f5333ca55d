"""Pure: rows as the answers of the contract. Times are RFC 3339 UTC with milliseconds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from syncwatch.model import SECOND, Finding, Pulling, Severity
from syncwatch.report import answers
from syncwatch.report.answers import (
    Accessory,
    ClusterStatus,
    Execution,
    Expectation,
    HarborStatus,
    Look,
    Moment,
    OneExpectation,
    PolicyStatus,
    RequestMade,
    Sweep,
)
from syncwatch.store import told as rows

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Row

    from syncwatch.model import Millis, Observation
    from syncwatch.report.clusters import Cluster
    from syncwatch.store.passes import Pass
    from syncwatch.store.policies import Destination, HarborRow, Policy


rfc3339 = rows.rfc3339
moment = rows.moment


def expectation(row: Row[Any]) -> Expectation:
    """One expectation; `reason` is null when verified, `id` a string."""
    return Expectation(**rows.expectation(row))


def one_expectation(
    row: Row[Any], changes: Sequence[Row[Any]], looks: Sequence[Observation]
) -> OneExpectation:
    """One expectation with its timeline, and the looks at its name, newest first."""
    return OneExpectation(
        **rows.expectation(row),
        timeline=timeline(row, changes),
        observations=tuple(map(observation, looks)),
        accessories=accessories(looks),
    )


def timeline(row: Row[Any], changes: Sequence[Row[Any]]) -> tuple[Moment, ...]:
    """What happened, in order: moments that the row keeps, and its changes of state."""
    told = [(one.at, one.what, one.detail) for one in changes]
    milestones = (
        ("pushed", row.pushed_at, "Harbor's own time of the tag"),
        ("notified", row.notified_at, "the webhook came"),
        # Not of the execution that the row names: a later one may have come by since.
        ("claimed", row.claimed_at, "Harbor said that it was copied"),
    )
    told += [(at, what, detail) for what, at, detail in milestones if at is not None]
    told.sort(key=lambda one: one[0])
    return tuple(Moment(at=moment(at), what=what, detail=detail) for at, what, detail in told)


def observation(seen: Observation) -> Look:
    """One look, request by request; `reason` and `detail` say what was wrong, if anything was."""
    flaw = seen.flaws.get(seen.served or "")
    return Look(
        at=moment(seen.at),
        level=seen.level,
        reason=seen.problem or (flaw.reason if flaw else None),
        detail=flaw.detail if flaw and not seen.problem else seen.detail,
        requests=tuple(
            RequestMade(
                method=one.method,
                url=one.url,
                status=one.status,
                digest=one.digest,
                seconds=round(one.seconds, 4),
            )
            for one in seen.requests
        ),
    )


def accessories(looks: Sequence[Observation]) -> tuple[Accessory, ...]:
    """What the newest look that looked for them found of the source's signatures and referrers."""
    newest = next((seen.accessories for seen in looks if seen.accessories), ())
    return tuple(
        Accessory(
            digest=one.digest,
            type=one.type,
            reference=one.reference or None,
            at_destination=one.at_destination,
            found_by=one.found_by,
        )
        for one in newest
    )


def store_trouble(trouble: str, now: Millis) -> list[answers.Finding]:
    """The one finding that the store itself cannot keep."""
    if not trouble:
        return []
    one = Finding(
        "store_unwritable",
        Severity.ERROR,
        "store",
        f"What comes in cannot be kept: {trouble}.",
        "Make room, or bring the database back; Harbor tries a delivery for two minutes.",
    )
    told = answers.Finding(
        finding=one.finding,
        severity=one.severity,
        harbor="",
        subject=one.subject,
        message=one.message,
        cure=one.cure,
        since=moment(now),
    )
    return [told]


def finding(row: Row[Any]) -> answers.Finding:
    """One finding."""
    names = ("finding", "severity", "harbor", "subject", "message", "cure")
    return answers.Finding(**{name: getattr(row, name) for name in names}, since=moment(row.since))


def harbor(row: HarborRow, sweep: Pass | None, now: Millis) -> HarborStatus:
    """One Harbor, and how far its complete sweep is."""
    return HarborStatus(
        name=row.name,
        up=row.up and row.feed_ok,
        version=row.version or None,
        last_webhook_at=rfc3339(row.last_webhook_at),
        last_sweep_at=rfc3339(row.last_sweep_at),
        sweep=_sweep(row, sweep, now),
    )


def _sweep(row: HarborRow, sweep: Pass | None, now: Millis) -> Sweep:
    began, ended = row.pass_began_at, row.pass_ended_at
    under_way = began is not None and (ended is None or ended < began)
    return Sweep(
        pass_began_at=rfc3339(began),
        pass_ended_at=rfc3339(None if under_way else ended),
        projects=sweep.projects if sweep else 0,
        projects_done=sweep.done if sweep else 0,
        repositories=sweep.repositories if sweep else 0,
        tags=sweep.tags if sweep else 0,
        expected_end_at=rfc3339(_expected_end(began, sweep, now) if under_way else None),
    )


def _expected_end(began: Millis | None, sweep: Pass | None, now: Millis) -> Millis | None:
    """As long for each project to come as for those that are done; None before the first."""
    if began is None or sweep is None or not sweep.done:
        return None
    return now + (now - began) * (sweep.projects - sweep.done) // sweep.done


def pause(
    one: Destination, configured: datetime | None, now: Millis
) -> tuple[str | None, str | None]:
    """Until when a destination is in maintenance, the later of what was said, and who said so."""
    by_file = round(configured.timestamp() * SECOND) if configured else 0
    until = max(by_file, one.paused_until or 0)
    if until <= now:
        return None, None
    by = "the configuration" if by_file >= (one.paused_until or 0) else one.paused_by
    return rfc3339(until), by or None


def cluster(one: Cluster, now: Millis) -> ClusterStatus:
    """A cluster as `status` tells of it."""
    oldest = one.at.oldest_at
    return ClusterStatus(
        name=one.name,
        up=one.up,
        waiting=one.at.waiting,
        oldest_waiting_seconds=max(0.0, (now - oldest) / SECOND) if oldest is not None else 0.0,
        under_way=one.at.under_way,
        results={str(result): one.at.results.get(result, 0) for result in Pulling},
    )


def policy(one: Policy, destination: str | None, run: Row[Any] | None) -> PolicyStatus:
    """A policy with its newest execution and Harbor's own words for it."""
    return PolicyStatus(
        harbor=one.harbor,
        policy=one.name,
        policy_id=one.policy_id,
        destination=destination,
        trigger=one.rules.trigger,
        enabled=one.rules.enabled,
        followed=one.rules.pushes,
        last_execution=_execution(run) if run is not None else None,
    )


def _execution(run: Row[Any]) -> Execution:
    return Execution(
        execution_id=run.execution_id,
        status=run.status,
        status_text=run.status_text,
        trigger=run.trigger,
        total=run.total,
        started_at=rfc3339(run.start_at),
        ended_at=rfc3339(run.end_at),
    )
