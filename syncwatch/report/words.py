"""Pure: rows as the JSON of the contract. Times are RFC 3339 UTC with milliseconds."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from syncwatch.model import SECOND, Finding, Severity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Row

    from syncwatch.model import Millis, Observation
    from syncwatch.store.passes import Pass
    from syncwatch.store.policies import Destination, HarborRow

BEFORE_REASON = (
    "harbor",
    "policy",
    "policy_id",
    "destination",
    "source_repository",
    "repository",
    "reference",
    "operation",
    "origin",
    "digest",
    "state",
)
AFTER_REASON = ("message", "level", "required_level", "overdue")
TIMES = (
    "pushed_at",
    "expected_at",
    "deadline_at",
    "notified_at",
    "claimed_at",
    "verified_at",
    "pulled_at",
    "observed_at",
)


def rfc3339(at: Millis | None) -> str | None:
    """2026-11-23T14:12:01.000Z; None for none."""
    if at is None:
        return None
    moment = datetime.fromtimestamp(at / SECOND, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def expectation(row: Row[Any]) -> dict[str, Any]:
    """One expectation; `reason` is null when verified, `id` a string."""
    told: dict[str, Any] = {"id": str(row.id)}
    told |= {name: getattr(row, name) for name in BEFORE_REASON}
    told["reason"] = row.reason or None
    told |= {name: getattr(row, name) for name in AFTER_REASON}
    told |= {name: rfc3339(getattr(row, name)) for name in TIMES}
    told |= {"execution_id": row.execution_id, "task_id": row.task_id}
    return told


def timeline(row: Row[Any], changes: Sequence[Row[Any]]) -> list[dict[str, Any]]:
    """What happened, in order: moments that the row keeps, and its changes of state."""
    told = [(one.at, one.what, one.detail) for one in changes]
    milestones = (
        ("pushed", row.pushed_at, "Harbor's own time of the tag"),
        ("notified", row.notified_at, "the webhook came"),
        ("claimed", row.claimed_at, f"Harbor's execution {row.execution_id} ended"),
    )
    told += [(at, what, detail) for what, at, detail in milestones if at is not None]
    told.sort(key=lambda one: one[0])
    return [{"at": rfc3339(at), "what": what, "detail": detail} for at, what, detail in told]


def observation(seen: Observation) -> dict[str, Any]:
    """One look, request by request; `reason` and `detail` say what was wrong, if anything was."""
    flaw = seen.flaws.get(seen.served or "")
    return {
        "at": rfc3339(seen.at),
        "level": seen.level,
        "reason": seen.problem or (flaw.reason if flaw else None),
        "detail": flaw.detail if flaw and not seen.problem else seen.detail,
        "requests": [
            {
                "method": one.method,
                "url": one.url,
                "status": one.status,
                "digest": one.digest,
                "seconds": round(one.seconds, 4),
            }
            for one in seen.requests
        ],
    }


def accessories(looks: Sequence[Observation]) -> list[dict[str, Any]]:
    """What the newest look that looked for them found of the source's signatures and referrers."""
    newest = next((seen.accessories for seen in looks if seen.accessories), ())
    return [
        {
            "digest": one.digest,
            "type": one.type,
            "reference": one.reference or None,
            "at_destination": one.at_destination,
            "found_by": list(one.found_by),
        }
        for one in newest
    ]


def store_trouble(trouble: str, now: Millis) -> list[dict[str, Any]]:
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
    names = ("finding", "severity", "subject", "message", "cure")
    told = {name: getattr(one, name) for name in names}
    return [told | {"harbor": "", "since": rfc3339(now)}]


def finding(row: Row[Any]) -> dict[str, Any]:
    """One finding."""
    names = ("finding", "severity", "harbor", "subject", "message", "cure")
    return {name: getattr(row, name) for name in names} | {"since": rfc3339(row.since)}


def harbor(row: HarborRow, sweep: Pass | None, now: Millis) -> dict[str, Any]:
    """One Harbor, and how far its complete sweep is."""
    return {
        "name": row.name,
        "up": row.up and row.feed_ok,
        "version": row.version or None,
        "last_webhook_at": rfc3339(row.last_webhook_at),
        "last_sweep_at": rfc3339(row.last_sweep_at),
        "sweep": _sweep(row, sweep, now),
    }


def _sweep(row: HarborRow, sweep: Pass | None, now: Millis) -> dict[str, Any]:
    began, ended = row.pass_began_at, row.pass_ended_at
    under_way = began is not None and (ended is None or ended < began)
    return {
        "pass_began_at": rfc3339(began),
        "pass_ended_at": rfc3339(None if under_way else ended),
        "projects": sweep.projects if sweep else 0,
        "projects_done": sweep.done if sweep else 0,
        "repositories": sweep.repositories if sweep else 0,
        "tags": sweep.tags if sweep else 0,
        "expected_end_at": rfc3339(_expected_end(began, sweep, now) if under_way else None),
    }


def _expected_end(began: Millis | None, sweep: Pass | None, now: Millis) -> Millis | None:
    """As long for each project to come as for those that are done; None before the first."""
    if began is None or sweep is None or not sweep.done:
        return None
    return now + (now - began) * (sweep.projects - sweep.done) // sweep.done


def pause(one: Destination, configured: datetime | None, now: Millis) -> dict[str, Any]:
    """Until when a destination is in maintenance, the later of what was said, and who said so."""
    by_file = round(configured.timestamp() * SECOND) if configured else 0
    until = max(by_file, one.paused_until or 0)
    if until <= now:
        return {"paused_until": None, "paused_by": None}
    by = "the configuration" if by_file >= (one.paused_until or 0) else one.paused_by
    return {"paused_until": rfc3339(until), "paused_by": by or None}
