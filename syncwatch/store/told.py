"""Pure: rows of the store in the words of the API: for its answers, and for notifications."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from syncwatch.model import SECOND

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Row

    from syncwatch.model import Millis

_BEFORE_REASON = (
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
_AFTER_REASON = ("message", "level", "required_level", "overdue")
_TIMES = (
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
    return moment(at) if at is not None else None


def moment(at: Millis) -> str:
    """As `rfc3339`, of what is there."""
    read = datetime.fromtimestamp(at / SECOND, UTC)
    return read.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def image(repository: str, reference: str) -> str:
    """`repository:tag`, or `repository@digest` where the reference is one."""
    return f"{repository}{'@' if ':' in reference else ':'}{reference}"


def expectation(row: Row[Any]) -> dict[str, Any]:
    """One expectation with its names, as `GET /api/v1/expectations` has it."""
    data: dict[str, Any] = {"id": str(row.id)}
    data |= {name: getattr(row, name) for name in _BEFORE_REASON}
    data["reason"] = row.reason or None
    data |= {name: getattr(row, name) for name in _AFTER_REASON}
    data |= {name: rfc3339(getattr(row, name)) for name in _TIMES}
    return data | {"execution_id": row.execution_id, "task_id": row.task_id}


def names(row: Row[Any], host: str) -> dict[str, str]:
    """What a manifest may name it by at its destination: as it was pushed, and by digest."""
    return {
        "image": f"{host}/{image(row.repository, row.reference)}",
        "pinned": f"{host}/{row.repository}@{row.digest}",
    }


def everywhere(placed: Sequence[tuple[Row[Any], str]]) -> dict[str, Any]:
    """One image, and all places where it is; each row comes with the host of its destination."""
    one = placed[0][0]
    return {
        "harbor": one.harbor,
        "source_repository": one.source_repository,
        "reference": one.reference,
        "digest": one.digest,
        "pushed_at": rfc3339(one.pushed_at),
        "destinations": [
            {
                "id": str(row.id),
                "policy": row.policy,
                "policy_id": row.policy_id,
                "origin": row.origin,
                "destination": row.destination,
                "repository": row.repository,
                **names(row, host),
                "level": row.level,
                "verified_at": rfc3339(row.verified_at),
            }
            for row, host in placed
        ],
    }
