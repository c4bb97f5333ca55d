"""One answer: Harbor is asked what the reference names now, and each destination is looked at."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from syncwatch.explain.route import nobodys
from syncwatch.explain.telling import nearness
from syncwatch.facts import Standing
from syncwatch.gate.answers import (
    AGAIN_UNASKED,
    AtDestination,
    GateAnswer,
    image_key,
    nowhere,
    unseen,
)
from syncwatch.gate.deciding import (
    ABSENT,
    CANNOT_ASK,
    NOT_YET,
    USABLE,
    Decided,
    beyond,
    decide,
    together,
)
from syncwatch.gate.places import places
from syncwatch.gate.pulling import is_to_be_asked, with_pull
from syncwatch.model import Level, Reason
from syncwatch.report.bodies import RefusedError
from syncwatch.report.words import rfc3339
from syncwatch.store import policies, probes
from syncwatch.store.looks import Wanted

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from sqlalchemy import Connection

    from syncwatch.config import DestinationSettings
    from syncwatch.explain.answering import Answering
    from syncwatch.explain.looking import Looking, Seen
    from syncwatch.explain.reading import Question
    from syncwatch.explain.telling import Source
    from syncwatch.facts import Pull
    from syncwatch.gate.asked import Asked
    from syncwatch.gate.places import Place
    from syncwatch.runtime import Clock, Signals
    from syncwatch.store.database import Database
    from syncwatch.store.policies import Destination

LOOK_SECONDS = 20.0
"""How long a look may take that an answer needs."""


@dataclass(frozen=True, slots=True)
class Evaluated:
    """An answer, and the images it is about, by `image_key`."""

    answer: GateAnswer
    images: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _There:
    """A place with the destination that it is at, how deep it has to be proven, and whose it is."""

    place: Place
    destination: Destination
    settings: DestinationSettings
    level: Level
    source: Source

    @property
    def wanted(self) -> Wanted:
        name = (self.destination.id, self.place.repository, self.place.reference)
        return Wanted(name, self.place.digest, self.level)

    @property
    def key(self) -> probes.Key:
        return (self.destination.id, self.place.repository, self.place.digest)


@dataclass(frozen=True, slots=True)
class _Pulling:
    """What is known of nodes pulling it, and whether that was asked for just now."""

    known: Pull | None
    asked: bool

    @property
    def proved(self) -> bool:
        return self.known is not None and self.known.standing is Standing.PROVED


class Evaluating:
    """Answers questions.

    `entry` is what the configuration says of a destination, `probed` whether its cluster's nodes
    are made to pull.
    """

    def __init__(
        self,
        *,
        answering: Answering,
        looking: Looking,
        database: Database,
        clock: Clock,
        entry: Callable[[Destination], DestinationSettings],
        probed: Callable[[DestinationSettings], bool],
        signals: Signals,
    ) -> None:
        self._probed = probed
        self._signals = signals
        self._answering = answering
        self._looking = looking
        self._database = database
        self._clock = clock
        self._entry = entry

    async def evaluate(self, asked: Asked) -> Evaluated:
        """The answer now. Raises RefusedError 400 for a question that cannot be meant so."""
        unknown = await self._answering.unknown(asked.destinations)
        if unknown and len(unknown) < len(asked.destinations):
            return await self._but(asked, unknown)
        try:
            question = await self._answering.question(asked.image, asked.destinations)
        except RefusedError as refused:
            if refused.status != ABSENT:
                raise
            return Evaluated(await self._unknown(asked, str(refused)))
        question = pinned(question)
        sources, notes = await self._answering.sources(question)
        stranger = question.wanted.stranger
        if stranger and not await self._answering.is_project(stranger, sources):
            return Evaluated(await self._unknown(asked, nobodys(stranger)))
        sources = telling(sources)
        answer = await self._answer(asked, question, sources, notes)
        images = {
            image_key(image.repository, name)
            for source in sources
            for image in source.images
            for name in (image.reference, image.digest)
            if name is not None
        }
        return Evaluated(answer, frozenset(images))

    async def _but(self, asked: Asked, unknown: Mapping[str, str]) -> Evaluated:
        """Some of the destinations are nobody's: the others are asked, and all judged together."""
        rest = tuple(one for one in asked.destinations if one not in unknown)
        found = await self.evaluate(replace(asked, destinations=rest))
        status = CANNOT_ASK if await self._answering.unseen() else ABSENT
        strange = [unseen(name, status, words) for name, words in unknown.items()]
        again = found.answer.retry_after or AGAIN_UNASKED
        told = [(one, again) for one in (*found.answer.destinations, *strange)]
        digests = {found.answer.digest} - {None}
        return replace(found, answer=_together(asked, "", digests, told))

    async def _unknown(self, asked: Asked, words: str) -> GateAnswer:
        """Nobody knows such a destination or host; which a Harbor that was not seen yet may."""
        unseen_yet = await self._answering.unseen()
        status = CANNOT_ASK if unseen_yet else ABSENT
        message = " ".join([words, *unseen_yet])
        return nowhere(asked.image, asked.destinations, status, message)

    async def _answer(
        self, asked: Asked, question: Question, sources: Sequence[Source], notes: Sequence[str]
    ) -> GateAnswer:
        now = self._clock.now()
        known = await self._database.read(policies.known_destinations)
        present = {one.id: one for one in known if one.gone_at is None}
        unread = [] if question.image.digest else [one for one in sources if _is_unread(one)]
        there = [
            self._there(asked, place, present[place.destination_id], source)
            for source in sources
            if source not in unread
            for place in places(question, source, now)
            if place.destination_id in present
        ]
        reachable = [
            one for one in there if one.level is not Level.PULLED or self._probed(one.settings)
        ]
        seen = await self._looking.see(
            {one.wanted for one in reachable}, now - asked.max_age, LOOK_SECONDS
        )
        judged = await self._judged(question, sources, there)
        pulling = await self._pulling(asked, judged, seen)
        told = [
            _told(asked, one, seen.get(one.wanted), pulling.get(one.key), self._clock.now())
            for one in judged
        ]
        if question.wanted.destinations:
            told = _best_of_each(told)
        for source in unread:
            told += _unasked(asked, source)
        told += _unmet(asked, told, sources, notes)
        if not told:
            status, why = _why_nowhere(asked, sources, notes)
            reason = {CANNOT_ASK: Reason.HARBOR_UNREACHABLE, NOT_YET: Reason.WAITING}.get(status)
            return nowhere(asked.image, asked.destinations, status, why, reason)
        digests = {one.place.digest for one in there} or _digests(sources)
        return _together(asked, question.image.digest, digests, told)

    async def _judged(
        self, question: Question, sources: Sequence[Source], there: Sequence[_There]
    ) -> list[_There]:
        """The same places after the looks: what is written down of them was judged anew."""
        now = self._clock.now()
        fresh = {
            (place.destination_id, place.repository, place.digest): place
            for source in sources
            for place in places(question, await self._answering.again(source, question), now)
        }
        return [replace(one, place=fresh.get(_key(one.place), one.place)) for one in there]

    async def _pulling(
        self, asked: Asked, there: Sequence[_There], seen: Mapping[Wanted, Seen]
    ) -> dict[probes.Key, _Pulling]:
        """What nodes said of pulling what has to be pulled; asks for a probe of what is served."""
        wanted = [one for one in there if one.level is Level.PULLED and one.wanted in seen]
        keys = {one.key: one for one in wanted}
        if not keys:
            return {}
        now = self._clock.now()
        known = await self._database.read(lambda c: probes.pulls(c, keys))
        asking = [
            one
            for key, one in keys.items()
            if _is_served(one, seen[one.wanted])
            and is_to_be_asked(known.get(key), asked.max_age, now)
        ]

        def ask(connection: Connection) -> None:
            for one in asking:
                probes.ask(connection, one.key, one.place.reference, now)

        if asking:
            await self._database.write(ask)
        for one in asking:
            self._signals.wake(f"probe {one.settings.cluster}")
        return {key: _Pulling(known.get(key), one in asking) for key, one in keys.items()}

    def _there(
        self, asked: Asked, place: Place, destination: Destination, source: Source
    ) -> _There:
        settings = self._entry(destination)
        level = asked.level
        if level is None:
            level = Level(place.row.required_level) if place.row is not None else settings.level
        return _There(place, destination, settings, level, source)


def _key(place: Place) -> tuple[int, str, str]:
    return place.destination_id, place.repository, place.digest


def pinned(question: Question) -> Question:
    """A digest says all: what is pulled by tag and digest is pulled by the digest."""
    if not question.image.digest:
        return question
    image, wanted = replace(question.image, tag=""), replace(question.wanted, tag="")
    return replace(question, image=image, wanted=wanted)


def _is_unread(source: Source) -> bool:
    """Whether Harbor could not be asked what the reference names now."""
    return bool(source.images) and source.read_from != "harbor"


def _unread(source: Source) -> str:
    if not _is_unread(source):
        return ""
    return source.problem or f"Harbor {source.harbor} could not be asked."


def telling(sources: Sequence[Source]) -> list[Source]:
    """Of several Harbors the one that has it counts: another need not know such a name."""
    having = [one for one in sources if not _is_unread(one) and _has(one)]
    if not having:
        return list(sources)
    return [one for one in sources if one in having or one.rows]


def _has(source: Source) -> bool:
    return any(image.digest is not None for image in source.images)


def _is_served(one: _There, seen: Seen) -> bool:
    """Whether a look proves that the registry serves it whole."""
    look = seen.observation
    return seen.fresh and look is not None and look.proves(one.place.digest, one.level)


def _told(
    asked: Asked, one: _There, seen: Seen | None, pulling: _Pulling | None, now: int
) -> tuple[AtDestination, int]:
    """What is said of one place, and in how many seconds to ask again."""
    name, look = one.destination.name, seen.observation if seen is not None else None
    decided = (
        decide(one.place, name, one.level, seen, now)
        if seen is not None
        else beyond(one.place, name, one.level)
    )
    if decided.status == ABSENT:
        decided = _absent(asked, one.source, decided)
    level = look.reached(one.place.digest) if look is not None else None
    if pulling is not None and decided.status == USABLE:
        decided = with_pull(decided, pulling.known, asked=pulling.asked)
        level = Level.PULLED if pulling.proved else level
    there = AtDestination(
        destination=name,
        status=decided.status,
        state=decided.state,
        reason=decided.reason,
        message=decided.message,
        digest=look.served if look is not None else None,
        level=level,
        observed_at=rfc3339(look.at) if look is not None else None,
        repository=one.place.repository,
        pull=_pull(one) if decided.status == USABLE else None,
    )
    return there, decided.again


def _absent(asked: Asked, source: Source, decided: Decided) -> Decided:
    """It is not there and not expected, which may change where not all is known."""
    if unread := _unread(source):
        # Whether it was pushed, and may still come, only Harbor can say.
        words, reason = f"{decided.message} {unread}", Reason.HARBOR_UNREACHABLE
        return replace(decided, status=CANNOT_ASK, reason=reason, message=words)
    if source.too_young:
        return replace(decided, status=NOT_YET, reason=Reason.WAITING, message=_too_young(asked))
    return decided


def _too_young(asked: Asked) -> str:
    return f"{asked.image} is younger than what is known of Harbor's policies."


def _pull(one: _There) -> str:
    url = one.settings.url or one.destination.url
    host = one.settings.pull_host or urlsplit(url).netloc.rpartition("@")[2]
    return f"{host}/{one.place.repository}@{one.place.digest}"


def _best_of_each(
    told: Sequence[tuple[AtDestination, int]],
) -> list[tuple[AtDestination, int]]:
    """By its name there, an image is whichever source's the name serves."""
    places: dict[tuple[str, str | None], list[tuple[AtDestination, int]]] = {}
    for one in told:
        places.setdefault((one[0].destination, one[0].repository), []).append(one)
    return [
        some[together([one.status for one, _ in some], any_of_them=True)]
        for some in places.values()
    ]


def _unasked(asked: Asked, source: Source) -> list[tuple[AtDestination, int]]:
    reason = Reason.HARBOR_UNREACHABLE
    return [
        (unseen(name, CANNOT_ASK, _unread(source), reason), AGAIN_UNASKED)
        for name in asked.destinations or ("",)
    ]


def _unmet(
    asked: Asked,
    told: Sequence[tuple[AtDestination, int]],
    sources: Sequence[Source],
    notes: Sequence[str],
) -> list[tuple[AtDestination, int]]:
    """Destinations that were named, and that nothing brings it to."""
    met = {one.destination for one, _ in told}
    if "" in met:
        return []
    missing = [name for name in asked.destinations if name not in met]
    why = {name: _why_nowhere(asked, sources, notes, name) for name in missing}
    return [
        (unseen(name, status, f"{name}: {words}"), AGAIN_UNASKED)
        for name, (status, words) in why.items()
    ]


def _why_nowhere(
    asked: Asked, sources: Sequence[Source], notes: Sequence[str], where: str = ""
) -> tuple[int, str]:
    """Nothing has to be anywhere: because there is no such image, or no policy brings it."""
    unread = [_unread(one) for one in sources if _is_unread(one)]
    unread += [one.problem for one in sources if one.problem and not one.images]
    if notes or unread:
        return CANNOT_ASK, " ".join([*notes, *unread])
    if not any(map(_has, sources)):
        return ABSENT, f"Harbor has no image {asked.image}, and nothing is known of it here."
    if any(one.too_young for one in sources):
        return NOT_YET, _too_young(asked)
    judged = [one for source in sources for one in source.judged]
    about = [one for one in judged if where in ("", one.destination)] or judged
    if not about:
        return ABSENT, f"no policy brings {asked.image} there."
    nearest = min(about, key=nearness)
    return ABSENT, f"{asked.image} is not brought there. {nearest.answer.why}"


def _digests(sources: Sequence[Source]) -> set[str]:
    return {image.digest for source in sources for image in source.images if image.digest}


def _together(
    asked: Asked,
    pinned: str,
    digests: Collection[str | None],
    told: Sequence[tuple[AtDestination, int]],
) -> GateAnswer:
    deciding = together([one.status for one, _ in told], any_of_them=asked.any)
    one, again = told[deciding]
    digest = pinned or (next(iter(digests)) if len(digests) == 1 else None)
    others = sum(each.status != USABLE for each, _ in told) - (one.status != USABLE)
    more = f" ({others} more of {len(told)} are not usable either.)" if others else ""
    return GateAnswer(
        image=asked.image,
        digest=digest,
        status=one.status,
        usable=one.status == USABLE,
        state=one.state,
        reason=one.reason,
        message=f"{one.message}{more * (one.status != USABLE)}",
        destinations=tuple(each for each, _ in told if each.destination),
        retry_after=again if one.status in (NOT_YET, CANNOT_ASK) else None,
    )
