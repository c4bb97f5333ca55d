"""What the demo shows: what was pushed, and what the daemon says of it, as lines.

In come pushes and mishaps from `story` and the answers of the daemon's API; out go plain lines, one
for each change, or what `screen` makes a live table of.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

AT_REST = frozenset({"verified", "failed", "closed"})
"""States in which a demo that has pushed all it should may end."""

_DIGEST = re.compile(r"(sha256:[0-9a-f]{8})[0-9a-f]{56}")


@dataclass(frozen=True, slots=True)
class Pushed:
    """One image or tag put into Harbor; `at` is in Unix seconds.

    `pause` is how many seconds pass until the next one.
    """

    at: float
    repository: str
    reference: str
    digest: str
    what: str
    pause: float = 2.0

    @property
    def name(self) -> str:
        """As `docker push` would name it, without the host."""
        return f"{self.repository}:{self.reference}"

    @property
    def key(self) -> tuple[str, str, str]:
        """By which its expectations are found."""
        return (self.repository, self.reference, self.digest)


@dataclass(frozen=True, slots=True)
class Mishap:
    """Something done to the set-up on purpose, or mended; `at` is in Unix seconds."""

    at: float
    words: str


@dataclass(slots=True)
class Board:
    """Everything to be shown. `expectations` is the API's list, `status` its answer."""

    events: list[Pushed | Mishap] = field(default_factory=list)
    status: dict[str, Any] = field(default_factory=dict)
    findings: list[dict[str, Any]] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    _rows: dict[tuple[str, str, str], list[dict[str, Any]]] = field(default_factory=dict)

    def pushed(self, push: Pushed) -> None:
        """An image went into Harbor; the same one pushed again is no second row."""
        self.events.append(push)

    def mishap(self, words: str) -> None:
        """Something was broken or mended just now."""
        self.events.append(Mishap(time.time(), words))

    def trouble(self, words: str) -> None:
        """The daemon itself complained of something that the demo does not do on purpose."""
        self.troubles.append(words)

    def learn(self, items: Iterable[dict[str, Any]]) -> None:
        """What the daemon says of each expectation now, newest first."""
        for item in reversed(list(items)):
            key = (item["source_repository"], item["reference"], item["digest"])
            rows = self._rows.setdefault(key, [])
            rows[:] = [one for one in rows if one["id"] != item["id"]] + [item]
            rows.sort(key=lambda one: (one["destination"], int(one["id"])))

    def expected(self, push: Pushed) -> list[dict[str, Any]]:
        """The expectations that this push made, by destination."""
        return self._rows.get(push.key, [])

    @property
    def pushes(self) -> list[Pushed]:
        """All pushes, oldest first."""
        return [one for one in self.events if isinstance(one, Pushed)]

    def at_rest(self) -> bool:
        """Whether every push is expected somewhere and nothing is still awaited."""
        told = [self.expected(push) for push in self.pushes]
        return all(rows and all(row["state"] in AT_REST for row in rows) for rows in told)


def clock(at: float) -> str:
    """The local time of day."""
    return f"{datetime.fromtimestamp(at).astimezone():%H:%M:%S}"


def shortened(message: str) -> str:
    """A message with digests that a person can read."""
    return _DIGEST.sub(r"\1…", message)


def lag(row: dict[str, Any]) -> str:
    """How long after it was expected it was proven; empty where it is not."""
    if row["verified_at"] is None or row["state"] != "verified":
        return ""
    return f"{_seconds(row['verified_at'], row['expected_at']):.1f} s"


def _seconds(later: str, earlier: str) -> float:
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()


class PlainLines:
    """The same facts as lines for a pipe or a file: one for each change."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._events = 0
        self._told: dict[str, tuple[str, ...]] = {}

    def fresh(self) -> Iterator[str]:
        """What has not been said yet."""
        for event in self._board.events[self._events :]:
            self._events += 1
            if isinstance(event, Mishap):
                yield f"{clock(event.at)} {'---':<9} {event.words}"
            else:
                yield f"{clock(event.at)} {'pushed':<9} {event.name} ({event.what})"
        for push in dict.fromkeys(self._board.pushes):
            for row in self._board.expected(push):
                facts = (row["state"], row["reason"] or "", str(row["overdue"]))
                if self._told.get(row["id"]) != facts:
                    self._told[row["id"]] = facts
                    yield self._change(row)

    def last(self) -> str:
        """How it stood in the end."""
        counts = self._board.status.get("states", {}).items()
        told = ", ".join(f"{count} {state}" for state, count in counts if count)
        return f"{len(self._board.pushes)} pushes: {told or 'nothing is known of them'}"

    def _change(self, row: dict[str, Any]) -> str:
        source = f"{row['source_repository']}:{row['reference']}"
        there = f"{row['destination']} as {row['repository']}:{row['reference']}"
        words = f"{clock(time.time())} {row['state']:<9} {source} at {there}"
        if row["state"] == "verified":
            return f"{words} after {lag(row)}"
        late = " (overdue)" if row["overdue"] else ""
        return f"{words}: {row['reason']}{late}: {shortened(row['message'])}"
