"""One image: its row at each destination, what happened to it, and the evidence."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, func, select

from syncwatch.model import Operation, Pulling, State
from syncwatch.report.page import picture, probes, rows
from syncwatch.report.page.rows import named
from syncwatch.store import observations
from syncwatch.store.schema import changes, executions, expectations, subjects

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sqlalchemy import Connection, Row

    from syncwatch.model import Accessory, Millis, Observation
    from syncwatch.report.page.picture import Picture
    from syncwatch.report.page.probes import Probe
    from syncwatch.report.page.rows import Item, Names

PLACES = 100
"""Destinations, or rather subjects, that one page shows at most."""
GENERATIONS = 20
"""Older generations that are listed of each."""
CHANGES = 200
PULLED = f"probe: {Pulling.PULLED}"


@dataclass(frozen=True, slots=True)
class Happened:
    """One entry of a timeline. `mark` and `reason` are "" where it is no state and no result."""

    at: Millis
    what: str
    mark: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Look:
    """One look at the destination: its `mark`, and in `words` and `detail` what was seen."""

    seen: Observation
    mark: str
    words: str
    detail: str


@dataclass(frozen=True, slots=True)
class There:
    """What is known of the image at one destination."""

    item: Item
    picture: Picture | None
    timeline: Sequence[Happened]
    looks: Sequence[Look]
    probe: Probe | None
    accessories: Sequence[Accessory]
    older: Sequence[Item]
    execution: Row[Any] | None
    command: str


@dataclass(frozen=True, slots=True)
class Image:
    """One image of a Harbor, everywhere; `beyond` is how many places are not shown."""

    harbor: str
    repository: str
    reference: str
    name: str
    places: Sequence[There]
    beyond: int


def explain_command(name: str, destination: str = "") -> str:
    """The command that asks the daemon why, ready for a shell."""
    return _command("explain", name, destination)


def _command(word: str, name: str, destination: str) -> str:
    words = ["syncwatch", word, name, *(["--on", destination] if destination else [])]
    return shlex.join(words)


def image(
    connection: Connection,
    wanted: tuple[str, str, str],
    names: Names,
    watched: Collection[str],
    now: Millis,
) -> Image | None:
    """The image of (harbor, repository, reference); None where nothing was ever expected of it."""
    harbor, repository, reference = wanted
    if harbor not in watched:
        return None
    query = (
        select(subjects.c.id)
        .where(
            subjects.c.harbor == harbor,
            subjects.c.source_repository == repository,
            subjects.c.reference == reference,
        )
        .order_by(subjects.c.id)
    )
    ids = list(connection.scalars(query))
    generations = _generations(connection, ids[:PLACES], names)
    places = [_there(connection, found, now) for found in generations if found]
    if not places:
        return None
    places.sort(key=lambda one: one.item.destination)
    name = named(repository, reference)
    return Image(harbor, repository, reference, name, places, len(ids[PLACES:]))


def _generations(connection: Connection, ids: Sequence[int], names: Names) -> list[list[Item]]:
    """The newest generations of each subject, newest first."""
    number = (
        func.row_number()
        .over(partition_by=expectations.c.subject_id, order_by=expectations.c.id.desc())
        .label("number")
    )
    ranked = select(expectations.c.id, number).where(expectations.c.subject_id.in_(ids)).subquery()
    query = (
        rows.chosen()
        .join(ranked, and_(ranked.c.id == expectations.c.id, ranked.c.number <= GENERATIONS + 1))
        .order_by(expectations.c.id.desc())
    )
    found: dict[int, list[Item]] = {one: [] for one in ids}
    for one in rows.items(connection.execute(query), names) if ids else ():
        found[one.subject_id].append(one)
    return list(found.values())


def _there(connection: Connection, generations: Sequence[Item], now: Millis) -> There:
    item, *older = generations
    seen = observations.latest(connection, item.destination_id, item.repository, item.reference)
    return There(
        item=item,
        picture=picture.drawn(item, now),
        timeline=_timeline(connection, item),
        looks=[_look(one, item) for one in seen],
        probe=probes.probe_of(connection, item, _command("probe", item.name, item.destination)),
        accessories=next((one.accessories for one in seen if one.accessories), ()),
        older=older,
        execution=_execution(connection, item),
        command=explain_command(item.name, item.destination),
    )


def _timeline(connection: Connection, item: Item) -> list[Happened]:
    """What happened, in order: moments that the row keeps, and its changes of state."""
    query = select(changes).where(changes.c.expectation_id == item.id)
    kept = connection.execute(query.order_by(changes.c.id.desc()).limit(CHANGES))
    told = [_change(row) for row in kept]
    told.reverse()
    # That it was verified, or pulled, is an entry already, and says more.
    known = {"verified"} if told else set()
    known |= {"pulled"} if any(one.what == PULLED for one in told) else set()
    reached = [one for one in picture.milestones(item) if one.kind not in known]
    told += [Happened(one.at, one.label, "", "", one.detail) for one in reached]
    return sorted(told, key=lambda one: one.at)


def _change(row: Row[Any]) -> Happened:
    word, _, more = row.what.partition("/")
    if word in tuple(State):
        return Happened(row.at, word, word, more, row.detail)
    if word == "probe" and more in tuple(Pulling):
        told = f"probe: {probes.word_of(more)}"
        return Happened(row.at, told, probes.mark_of(more), "", row.detail)
    return Happened(row.at, row.what, "", "", row.detail)


def _look(seen: Observation, item: Item) -> Look:
    flaw = seen.flaws.get(seen.served or "")
    if seen.problem:
        return Look(seen, State.UNKNOWN, seen.problem, seen.detail)
    if flaw:
        return Look(seen, State.FAILED, flaw.reason, flaw.detail)
    wants_absence = item.operation == Operation.DELETION
    if seen.served is None:
        mark = State.VERIFIED if wants_absence else State.FAILED
        return Look(seen, mark, "not there", seen.detail)
    if wants_absence or seen.served != item.digest:
        words = "still there" if wants_absence else "another digest is there"
        return Look(seen, State.FAILED, words, seen.detail)
    mark = State.VERIFIED if seen.level else State.PENDING
    return Look(seen, mark, seen.level or "the digest is named, and not proven", seen.detail)


def _execution(connection: Connection, item: Item) -> Row[Any] | None:
    if item.execution_id is None:
        return None
    query = select(executions).where(
        executions.c.harbor == item.harbor, executions.c.execution_id == item.execution_id
    )
    return connection.execute(query).one_or_none()
