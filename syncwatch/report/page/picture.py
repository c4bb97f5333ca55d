"""Pure: an expectation's way as a picture, in hundredths of its width.

Each milestone is a row: a bar from the milestone before it to its own. What has not come yet is a
bar up to now, and the deadline a line across where it lies within the picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from syncwatch.model import Operation, State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from syncwatch.model import Millis
    from syncwatch.report.page.rows import Item

NOW = "now"


@dataclass(frozen=True, slots=True)
class Milestone:
    """Something that was reached; `kind` names it for the style, `detail` says how we know."""

    kind: str
    label: str
    at: Millis
    detail: str


@dataclass(frozen=True, slots=True)
class Bar:
    """One row: from `left` to `right`, with its moment at `dot` (0 to 100), centred at `y`.

    `took` is how long after the milestone before it, None for the first.
    """

    kind: str
    label: str
    at: Millis
    took: Millis | None
    left: float
    right: float
    dot: float
    y: float


@dataclass(frozen=True, slots=True)
class Picture:
    """The rows, the time that the width stands for, and where the deadline lies, if within."""

    bars: Sequence[Bar]
    begin: Millis
    end: Millis
    deadline: float | None
    words: str


def milestones(item: Item) -> list[Milestone]:
    """What was reached, in the order of its way."""
    deletion = item.operation == Operation.DELETION
    run = f"Harbor's execution {item.execution_id} ended." if item.execution_id else "A run ended."
    verified = "A look proved that it is gone." if deletion else "A look proved it."
    begun = "deleted" if deletion else "pushed"
    told: list[tuple[str, str, Millis | None, str]] = [
        ("pushed", begun, item.pushed_at, "Harbor's own time."),
        ("notified", "notified", item.notified_at, "Harbor's webhook came."),
        ("claimed", "deleted there" if deletion else "copied", item.claimed_at, run),
        ("verified", "verified", item.verified_at, verified),
        ("pulled", "pulled", item.pulled_at, "A node of the cluster pulled it."),
    ]
    if item.pulled_at and item.verified_at and item.pulled_at <= item.verified_at:
        # Where the level asks for a pull, it is what verifies.
        told[-2:] = told[:-3:-1]
    return [Milestone(kind, label, at, d) for kind, label, at, d in told if at is not None]


def drawn(item: Item, now: Millis) -> Picture:
    """The picture of one expectation."""
    reached = milestones(item)
    if item.is_open:
        label = "late" if item.overdue else "open"
        reached.append(Milestone(f"{NOW} bar-{item.mark}", label, now, ""))
    begin = min(one.at for one in reached)
    end = max(*(one.at for one in reached), begin + 1)
    if begin < item.deadline_at <= end + (end - begin):
        end = max(end, item.deadline_at)
    within = begin < item.deadline_at <= end
    bars = _bars(reached, begin, end)
    deadline = _place(item.deadline_at, begin, end) if within else None
    return Picture(bars, begin, end, deadline, _words(item, reached))


def _place(at: Millis, begin: Millis, end: Millis) -> float:
    return round(100 * (min(max(at, begin), end) - begin) / (end - begin), 2)


def _bars(reached: Sequence[Milestone], begin: Millis, end: Millis) -> list[Bar]:
    bars: list[Bar] = []
    before = begin
    for number, one in enumerate(reached):
        # Harbor's clock and ours may differ, and a webhook may come after the copy.
        dot = _place(one.at, begin, end)
        left, right = sorted((_place(before, begin, end), dot))
        took = max(0, one.at - reached[0].at) if number else None
        y = round(100 * (number + 0.5) / len(reached), 2)
        bars.append(Bar(one.kind, one.label, one.at, took, left, right, dot, y))
        before = one.at
    return bars


def _words(item: Item, reached: Sequence[Milestone]) -> str:
    """What somebody hears who does not see it."""
    named = ", then ".join(one.label for one in reached)
    closed = "; no longer expected" if item.state == State.CLOSED else ""
    return f"Its way to {item.destination}: {named}{closed}."
