"""What is wrong now, and how each destination and Harbor is doing: the top of the first page."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from syncwatch.model import OPEN_STATES, SECOND, Operation, Severity, State
from syncwatch.report import clusters
from syncwatch.report.page import listing
from syncwatch.report.page.asking import Listing, href
from syncwatch.report.page.rows import OVERDUE
from syncwatch.store import passes, reading
from syncwatch.store.schema import expectations

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from typing import Any

    from sqlalchemy import Connection, Row

    from syncwatch.config import DestinationSettings
    from syncwatch.model import Millis
    from syncwatch.report.clusters import Cluster
    from syncwatch.report.gauges import Surroundings
    from syncwatch.report.page.rows import Item, Names
    from syncwatch.store.passes import Pass
    from syncwatch.store.policies import Destination, HarborRow
    from syncwatch.store.reading import Count, Snapshot

EXAMPLES = 3
"""Images that are shown of each trouble."""
LOOKED_THROUGH = 100
"""The newest rows of each kind among which examples are looked for."""
GROUPS = 12
_ORDER = (str(State.FAILED), OVERDUE, str(State.UNKNOWN))


@dataclass(frozen=True, slots=True)
class Trouble:
    """Images that are in one state for one reason at one destination; `items` are the newest."""

    mark: str
    state: str
    reason: str
    harbor: str
    destination: str
    n: int
    items: Sequence[Item]
    href: str


@dataclass(frozen=True, slots=True)
class Place:
    """A destination and how it is doing. Times are milliseconds since the epoch."""

    destination: Destination
    up: bool | None
    verified: int
    open: int
    overdue: int
    failed: int
    behind_since: Millis | None
    paused_until: Millis | None
    proved_at: Millis | None


@dataclass(frozen=True, slots=True)
class Headline:
    """The one sentence, with the mark beside it, and what it rests on."""

    mark: str
    words: str
    more: str


@dataclass(frozen=True, slots=True)
class Overview:
    """All of the top of the page. `totals` are by mark: the states, and overdue for all open."""

    headline: Headline
    totals: Mapping[str, int]
    troubles: Sequence[Trouble]
    beyond: int
    places: Sequence[Place]
    clusters: Sequence[Cluster]
    harbors: Sequence[HarborRow]
    passes: Mapping[str, Pass]
    findings: Sequence[Row[Any]]
    store_trouble: str


def overview(
    connection: Connection,
    snapshot: Snapshot,
    names: Names,
    around: Surroundings,
    entry: Callable[[Destination], DestinationSettings],
    probed: Callable[[DestinationSettings], bool],
    store_trouble: str,
    now: Millis,
) -> Overview:
    """Read it in one picture of the store."""
    watched = [one.name for one in snapshot.harbors]
    kept = reading.list_findings(connection, watched)
    findings = [one for one in kept if one.severity == Severity.ERROR]
    troubles = _troubles(snapshot, names, _examples(connection, names, watched))
    totals = _totals(snapshot)
    return Overview(
        headline=headline(totals, snapshot.harbors, len(findings), store_trouble),
        totals=totals,
        troubles=troubles[:GROUPS],
        beyond=len(troubles[GROUPS:]),
        places=_places(connection, snapshot, around, entry, now),
        clusters=clusters.clusters(connection, snapshot.destinations, entry, probed, findings, now),
        harbors=snapshot.harbors,
        passes=passes.newest(connection, watched),
        findings=findings,
        store_trouble=store_trouble,
    )


def headline(
    totals: Mapping[str, int], harbors: Sequence[HarborRow], errors: int, store_trouble: str
) -> Headline:
    """The worst thing first; what is not known is never called good.

    `errors` are findings: a rule that is dead expects nothing, so that nothing is missed.
    """
    failed, overdue, unknown = (totals[name] for name in _ORDER)
    verified, pending = totals[State.VERIFIED], totals[State.PENDING]
    silent = [one.name for one in harbors if not (one.up and one.feed_ok)]
    more = f"{_images(verified)} proven to be usable where expected."
    if failed:
        late = f" {overdue:,} {_are(overdue)} overdue." if overdue else ""
        words = f"{_images(failed)} {_are(failed)} not where {_they(failed)} should be"
        return Headline(State.FAILED, words, more + late)
    if store_trouble:
        words = "What comes in cannot be kept"
        return Headline(State.UNKNOWN, words, f"{store_trouble}. What is shown may be old.")
    if overdue:
        words = f"{_images(overdue)} {_are(overdue)} late"
        return Headline(OVERDUE, words, f"Not failed for certain, but past the deadline. {more}")
    if silent:
        unseen = all(one.last_look_at is None for one in harbors if one.name in silent)
        said = "was not seen yet" if unseen else "does not answer"
        words = f"Harbor {' and '.join(silent)} {said}"
        told = "Pushes since then may be unknown here; what is shown was known before."
        return Headline(State.UNKNOWN, words, told)
    if unknown:
        words = f"{_images(unknown)} could not be looked at"
        return Headline(State.UNKNOWN, words, f"Neither there nor missing: not known. {more}")
    if errors:
        words = f"The set-up has {'an error' if errors == 1 else f'{errors} errors'}"
        told = f"What is pushed may not be copied, or not be seen. {more}"
        return Headline(OVERDUE, words, told)
    if pending:
        words = f"{_images(pending)} on {'its' if pending == 1 else 'their'} way, none late"
        return Headline(State.PENDING, words, more)
    if verified:
        return Headline(State.VERIFIED, "Everything is where it should be", more)
    return Headline(State.CLOSED, "Nothing is expected yet", "No push has been seen.")


def _images(n: int) -> str:
    return f"{n:,} image{'s' * (n != 1)}"


def _are(n: int) -> str:
    return "is" if n == 1 else "are"


def _they(n: int) -> str:
    return "it" if n == 1 else "they"


def _totals(snapshot: Snapshot) -> dict[str, int]:
    totals = dict.fromkeys((*map(str, State), OVERDUE), 0)
    for one in snapshot.counts:
        totals[one.state] += one.n
        totals[OVERDUE] += one.n if one.overdue and one.state in OPEN_STATES else 0
    return totals


_Key = tuple[str, str, int]


def _key(mark: str, reason: str, destination_id: int) -> _Key:
    return (mark, reason, destination_id)


def _mark(one: Count) -> str | None:
    """Under which mark a count is trouble, if it is any."""
    if one.state in (State.FAILED, State.UNKNOWN):
        return one.state
    return OVERDUE if one.state == State.PENDING and one.overdue else None


def _troubles(
    snapshot: Snapshot, names: Names, examples: Mapping[_Key, Sequence[Item]]
) -> list[Trouble]:
    counted: dict[_Key, int] = {}
    for one in snapshot.counts:
        mark = _mark(one)
        if mark is not None:
            key = _key(mark, one.reason, one.destination_id)
            counted[key] = counted.get(key, 0) + one.n
    found = [_trouble(key, n, names, examples.get(key, ())) for key, n in counted.items()]
    return sorted(found, key=lambda one: (_ORDER.index(one.mark), -one.n, one.reason))


def _trouble(key: _Key, n: int, names: Names, examples: Sequence[Item]) -> Trouble:
    mark, reason, destination_id = key
    state = str(State.PENDING) if mark == OVERDUE else mark
    place = names.destinations.get(destination_id)
    harbor, destination = (place.harbor, place.name) if place else ("", "")
    asked: dict[str, object] = {"state": state, "reason": reason, "harbor": harbor}
    asked |= {"destination": destination, "overdue": "1" if mark == OVERDUE else ""}
    link = href("/", asked) + "#list"
    return Trouble(mark, state, reason, harbor, destination, n, examples[:EXAMPLES], link)


def _examples(
    connection: Connection, names: Names, watched: Collection[str]
) -> dict[_Key, list[Item]]:
    found: dict[_Key, list[Item]] = {}
    for asked in (
        Listing(state=State.FAILED),
        Listing(state=State.UNKNOWN),
        Listing(state=State.PENDING, overdue=True),
    ):
        for one in listing.newest(connection, asked, names, watched, LOOKED_THROUGH):
            found.setdefault(_key(one.mark, one.reason, one.destination_id), []).append(one)
    return found


def _places(
    connection: Connection,
    snapshot: Snapshot,
    around: Surroundings,
    entry: Callable[[Destination], DestinationSettings],
    now: Millis,
) -> list[Place]:
    counts, since = _by_destination(snapshot)
    places = [
        _place(
            connection, one, around, counts[one.id], since[one.id], _paused(one, entry(one), now)
        )
        for one in snapshot.destinations
        if one.gone_at is None
    ]
    return sorted(places, key=_worst_first)


def _worst_first(one: Place) -> tuple[bool, int, int, str]:
    return (one.up is not False, -one.overdue, -one.open, one.destination.name)


def _by_destination(
    snapshot: Snapshot,
) -> tuple[Mapping[int, list[Count]], Mapping[int, list[Millis]]]:
    counts: dict[int, list[Count]] = defaultdict(list)
    since: dict[int, list[Millis]] = defaultdict(list)
    for one in snapshot.counts:
        counts[one.destination_id].append(one)
    for (_, _, destination_id), at in snapshot.behind.items():
        since[destination_id].append(at)
    return counts, since


def _place(
    connection: Connection,
    one: Destination,
    around: Surroundings,
    counted: Sequence[Count],
    since: Sequence[Millis],
    paused_until: Millis | None,
) -> Place:
    return Place(
        destination=one,
        # Another replica may be the one that asks it.
        up=around.up.get(one.id, one.up),
        verified=sum(count.n for count in counted if count.state == State.VERIFIED),
        open=sum(count.n for count in counted if count.state in OPEN_STATES),
        overdue=sum(count.n for count in counted if count.overdue),
        failed=sum(count.n for count in counted if count.state == State.FAILED),
        behind_since=min(since, default=None),
        paused_until=paused_until,
        proved_at=_newest_proof(connection, one.id),
    )


def _newest_proof(connection: Connection, destination_id: int) -> Millis | None:
    """The last entry of the index of evidence."""
    query = select(func.max(expectations.c.proved_at)).where(
        expectations.c.destination_id == destination_id,
        expectations.c.state == State.VERIFIED,
        expectations.c.operation == Operation.COPY,
    )
    return connection.execute(query).scalar()


def _paused(one: Destination, settings: DestinationSettings, now: Millis) -> Millis | None:
    configured = settings.pause_until
    by_file = round(configured.timestamp() * SECOND) if configured else 0
    until = max(by_file, one.paused_until or 0)
    return until if until > now else None
