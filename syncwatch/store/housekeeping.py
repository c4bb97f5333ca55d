"""All that is forgotten in time, table by table, as small steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from syncwatch.store import accessories, looks, notifications, orphans, probes, proofs, retention

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from syncwatch.model import Millis


def steps(
    now: Millis, before: Millis, expectations: int, deliveries: int
) -> tuple[Callable[[Connection], bool], ...]:
    """Each is one short transaction, and True where it is to be done again soon.

    What ended before a moment goes, and so much of what is left stays at most.
    """
    return (
        lambda c: retention.forget_deliveries(c, before, deliveries),
        lambda c: retention.forget_expectations(c, before, expectations),
        lambda c: retention.forget_deletions(c, before),
        lambda c: retention.forget_executions(c, before),
        lambda c: retention.forget_claims(c, now),
        lambda c: proofs.forget(c, now),
        lambda c: accessories.forget(c, before),
        lambda c: orphans.forget(c, before),
        lambda c: looks.forget(c, now),
        lambda c: probes.forget(c, before),
        lambda c: notifications.forget(c, before),
    )
