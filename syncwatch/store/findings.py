"""Findings: what is wrong with the set-up, said once.

Each is kept up to date by one source (a stage looking at one thing), which replaces all of its
findings at once; what it no longer finds is gone, what it still finds keeps its `since`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, select

from syncwatch.model import Finding, Severity
from syncwatch.store.dialect import insert
from syncwatch.store.schema import findings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection

    from syncwatch.model import Millis

LIMIT = 1_000
"""How many findings one source may keep."""


def too_deep(policy: str, repository: str, why: str) -> Finding:
    """A policy cannot name a repository: met while planning, and in a run's own words."""
    return Finding(
        "flattening_too_deep",
        Severity.ERROR,
        f"policy {policy}: {repository}",
        f"Policy {policy} cannot name {repository} at its destination: {why}.",
        "Lower the flattening level; while it fails for one repository, a whole run fails.",
    )


def replace(
    connection: Connection, harbor: str, source: str, found: Iterable[Finding], now: Millis
) -> None:
    """These, and no others, are the findings of `source` now."""
    table = findings.c
    wanted = {(one.finding, one.subject): one for one in list(found)[:LIMIT]}
    before = connection.execute(
        select(table.finding, table.subject).where(table.harbor == harbor, table.source == source)
    )
    for finding, subject in [(row.finding, row.subject) for row in before]:
        if (finding, subject) not in wanted:
            connection.execute(
                delete(findings).where(
                    table.harbor == harbor,
                    table.source == source,
                    table.finding == finding,
                    table.subject == subject,
                )
            )
    for one in wanted.values():
        add(connection, harbor, source, one, now)


def replace_everywhere(
    connection: Connection, harbor: str, source: str, found: Iterable[Finding], now: Millis
) -> None:
    """As `replace`, and nothing of `source` stays with another harbor."""
    table = findings.c
    connection.execute(delete(findings).where(table.source == source, table.harbor != harbor))
    replace(connection, harbor, source, found, now)


def add(connection: Connection, harbor: str, source: str, one: Finding, now: Millis) -> None:
    """One finding more of `source`; known already, its words are brought up to date."""
    words = {"severity": one.severity, "message": one.message, "cure": one.cure}
    connection.execute(
        insert(connection)(findings)
        .values(
            harbor=harbor,
            source=source,
            finding=one.finding,
            subject=one.subject,
            since=now,
            **words,
        )
        .on_conflict_do_update(index_elements=list(findings.primary_key.columns), set_=words)
    )


def drop(connection: Connection, harbor: str, source: str) -> None:
    """Nothing is wrong any more where `source` looks."""
    connection.execute(
        delete(findings).where(findings.c.harbor == harbor, findings.c.source == source)
    )
