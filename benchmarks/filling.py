"""Fill a store by SQL with what a year of pushes leaves: subjects, generations, changes, looks.

Each subject has a generation that was superseded and a newest one; of twenty newest, fifteen are
verified, and the rest is pending, failed or unknown. All is due in an hour, so that a daemon on
this store is idle.
"""

from __future__ import annotations

import json
import sqlite3
import time
from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOUR = 3_600_000
TAGS = 10
"""Tags of a repository."""

_STATES = [("verified", "")] * 15 + [
    ("pending", "copying"),
    ("failed", "missing"),
    ("failed", "execution_failed"),
    ("unknown", "unreachable"),
    ("pending", "waiting"),
]
"""Twenty newest generations in turn."""

_EXPECTATION = (
    "id, subject_id, harbor, policy_id, destination_id, operation, origin, digest, state, reason, "
    "message, level, required_level, overdue, settled, false_success, pushed_at, expected_at, "
    "deadline_at, notified_at, claimed_at, verified_at, observed_at, proved_at, execution_id, "
    "task_id, revision, attempts, due_at, closed_at"
)


def fill(store: Path, expectations: int) -> None:
    """Add so many expectations, half of them newest generations, to a daemon's closed store."""
    with sqlite3.connect(store) as connection:
        # It has been used once, so that harbor, policy and destination are there.
        policy = connection.execute(
            "select harbor, policy_id, destination_id from policies limit 1"
        ).fetchone()
        numbers = range(1, expectations // 2 + 1)
        now = int(time.time() * 1000)
        connection.executemany(
            _insert("subjects", _SUBJECT), (_subject(n, policy, now) for n in numbers)
        )
        connection.executemany(
            _insert("expectations", _EXPECTATION),
            (row for n in numbers for row in _generations(n, policy, now)),
        )
        connection.executemany(
            "insert into changes (expectation_id, at, what, detail) values (?, ?, ?, ?)",
            (row for n in numbers for row in _changes(n, now)),
        )
        connection.executemany(
            _insert("observations", _OBSERVATION), (_observation(n, policy, now) for n in numbers)
        )
        connection.execute("""
            insert into counts (harbor, policy_id, destination_id, state, reason, overdue, n)
            select harbor, policy_id, destination_id, state, reason, overdue, count(*)
            from expectations group by 1, 2, 3, 4, 5, 6""")
    connection.close()


_SUBJECT = (
    "id, harbor, policy_id, source_repository, reference, destination_id, repository, newest_id, "
    "behind_since, source_digest, source_read_at"
)
_OBSERVATION = "destination_id, repository, reference, began_at, at, served, level, problem, seen"


def _insert(table: str, columns: str) -> str:
    places = ", ".join("?" * len(columns.split(",")))
    return f"insert into {table} ({columns}) values ({places})"


def _repository(number: int) -> str:
    return f"apps/team-{number // TAGS % 25:02}/service-{number // TAGS:05}"


def _digest(number: int, generation: int) -> str:
    return f"sha256:{sha256(f'{number}/{generation}'.encode()).hexdigest()}"


def _state(number: int) -> tuple[str, str]:
    return _STATES[number % len(_STATES)]


def _pushed(number: int, now: int) -> int:
    return now - 20 * 24 * HOUR + number * 1000


def _subject(number: int, policy: tuple[str, int, int], now: int) -> tuple[object, ...]:
    harbor, policy_id, destination_id = policy
    name, tag = _repository(number), f"1.{number % TAGS}.0"
    behind = None if _state(number)[0] == "verified" else _pushed(number, now)
    return (
        *(number, harbor, policy_id, name, tag, destination_id, name),
        *(2 * number, behind, _digest(number, 2), now),
    )


def _generations(
    number: int, policy: tuple[str, int, int], now: int
) -> Iterator[tuple[object, ...]]:
    """One that was superseded, and the newest."""
    state, reason = _state(number)
    for generation in (1, 2):
        newest = generation == 2
        good = not newest or state == "verified"
        at = _pushed(number, now) + generation * 100
        message = "" if good else f"{_repository(number)} is not there ({reason or state})."
        yield (
            *(2 * number - 2 + generation, number, *policy, "copy", "push"),
            *(
                _digest(number, generation),
                *((state, reason) if newest else ("closed", "superseded")),
            ),
            *(message if newest else "A newer push took its place.", "matched" if good else None),
            *("matched", int(not good), "met" if good else "missed", 0, at, at, at + 10 * 60_000),
            *(at + 300, at + 4000, at + 5000 if good else None, at + 5000),
            *(at + 5000 if good else None, number, number, 4, 1),
            *((now + HOUR if newest else None), None if newest else at + HOUR),
        )


def _changes(number: int, now: int) -> Iterator[tuple[object, ...]]:
    state, reason = _state(number)
    at = _pushed(number, now)
    first, second = 2 * number - 1, 2 * number
    yield (first, at, "pending/waiting", "Nothing was heard of a run yet.")
    yield (first, at + 5000, "verified", "")
    yield (first, at + HOUR, "closed/superseded", "A newer push took its place.")
    yield (second, at, "pending/waiting", "Nothing was heard of a run yet.")
    yield (second, at + 5000, f"{state}/{reason}".rstrip("/"), "")


def _observation(number: int, policy: tuple[str, int, int], now: int) -> tuple[object, ...]:
    name, tag, digest = _repository(number), f"1.{number % TAGS}.0", _digest(number, 2)
    at = _pushed(number, now)
    url = f"https://cluster1-registry.example.com/v2/{name}/manifests"
    requests = [
        ("HEAD", f"{url}/{tag}", 200, digest, 0.002),
        ("HEAD", f"{url}/{digest}", 200, digest, 0.002),
        ("GET", f"{url}/{digest}", 200, digest, 0.002),
    ]
    seen = json.dumps({"held": {digest: "present"}, "detail": "", "requests": requests})
    return (policy[2], name, tag, at, at + 6, digest, "matched", None, seen)
