"""What is known of an image, source by source and policy by policy.

Comes in: a question. Harbor is asked what it names now, for as long as a person waits; where it
cannot be, that is said, and the store stands in.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from syncwatch import reference
from syncwatch.errors import MalformedError
from syncwatch.explain import known as store
from syncwatch.explain import telling
from syncwatch.explain.causes import Answer, Cause, Image, Rule
from syncwatch.explain.judging import Judging
from syncwatch.explain.naming import Sources, kept_end, selects, sources_of
from syncwatch.explain.reading import ASKED_FOR, WAITED_FOR, Question, Reading
from syncwatch.explain.weighing import Judged, There, only_there, row_for, weighed, without_labels
from syncwatch.plan.scope import named_projects
from syncwatch.report.bodies import SHOWN, bad_request
from syncwatch.report.writes import no_destination
from syncwatch.store import policies

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from sqlalchemy import Connection

    from syncwatch.config import Settings
    from syncwatch.explain.judging import Made
    from syncwatch.explain.known import Known, Told
    from syncwatch.explain.reading import Read
    from syncwatch.explain.telling import Source
    from syncwatch.harbor.client import HarborClient
    from syncwatch.reference import Hosts
    from syncwatch.runtime import Clock
    from syncwatch.store.database import Database
    from syncwatch.store.policies import Destination

SOURCES = 10
"""How many sources of one name at a destination are told."""


class Answering:
    """Finds out about images. `source` gives whom to ask at a harbor, `hosts` whose host is whose.

    `curious` says to ask Harbor when its policies were made, too, which only explains.
    """

    def __init__(
        self,
        *,
        database: Database,
        clock: Clock,
        settings: Callable[[], Settings],
        hosts: Callable[[Sequence[Destination]], Hosts],
        source: Callable[[str], HarborClient | None],
        curious: bool = True,
    ) -> None:
        self._database = database
        self._clock = clock
        self._settings = settings
        self._hosts = hosts
        self._reading = Reading(database, clock, source, ASKED_FOR if curious else WAITED_FOR)
        self._curious = curious

    async def question(self, text: str, destinations: Sequence[str]) -> Question:
        """What a REF and names of destinations mean; RefusedError where it is nothing."""
        try:
            image = reference.parse(text)
        except MalformedError as error:
            raise bad_request(f"image: {error.message}.") from None
        watched = {one.name for one in self._settings().harbors}
        known = await self._database.read(policies.known_destinations)
        known = [one for one in known if one.harbor in watched]
        present = [one for one in known if one.gone_at is None]
        wanted = reference.meant(image, self._hosts(present))
        for name in destinations:
            if not any(one.name == name for one in known):
                raise no_destination(name, present)
        allowed = frozenset(one.id for one in known if not destinations or one.name in destinations)
        if wanted.destinations and not wanted.harbors and not wanted.destinations & allowed:
            owners = sorted({one.name for one in present if one.id in wanted.destinations})
            others = " and ".join(one[:SHOWN] for one in destinations)
            words = f"image: its host is that of {' and '.join(owners)}, not of {others}"
            raise bad_request(f"{words}; leave destination out.")
        return Question(text, image, wanted, tuple(destinations), allowed)

    async def unknown(self, destinations: Sequence[str]) -> dict[str, str]:
        """Of names of destinations those that nobody knows, with a sentence on each."""
        watched = {one.name for one in self._settings().harbors}
        known = await self._database.read(policies.known_destinations)
        known = [one for one in known if one.harbor in watched]
        names, present = {one.name for one in known}, [one for one in known if one.gone_at is None]
        return {one: str(no_destination(one, present)) for one in destinations if one not in names}

    async def sources(self, asked: Question) -> tuple[list[Source], list[str]]:
        """All sources that are meant, and what is to be said beside them."""
        names = [one.name for one in self._settings().harbors]
        parts = await asyncio.gather(*(self._of_harbor(name, asked) for name in names))
        sources = [source for found, _ in parts for source in found]
        return sources, [note for _, told in parts for note in told]

    async def is_project(self, host: str, sources: Sequence[Source]) -> bool:
        """Whether what looks like a host is a project of some Harbor, or may be."""
        if any(_is_known(source) or _names(source, host) for source in sources):
            return True
        harbors = sorted({source.harbor for source in sources})
        found = await asyncio.gather(*(self._reading.may_have(one, host) for one in harbors))
        return any(found)

    async def _of_harbor(self, name: str, asked: Question) -> tuple[list[Source], list[str]]:
        known = await self._database.read(lambda c: store.harbor(c, name))
        notes = []
        if known.row.last_look_at is None:
            notes = [_unseen(name)]
        wanted, found = asked.wanted, []
        if asked.destinations and not asked.allowed & set(known.destinations):
            return [], []
        if wanted.harbors is None or name in wanted.harbors:
            rules = [one for one in known.rules if _may_go(one, known, asked)]
            found.append(await self._of_source(known, wanted.repository, rules, asked))
        for destination_id in sorted(wanted.destinations & asked.allowed & set(known.destinations)):
            found += await self._of_destination(known, destination_id, asked)
        return found, notes

    async def _of_destination(
        self, known: Known, destination_id: int, asked: Question
    ) -> list[Source]:
        """Sources that arrive under the name asked for, each with the policies that bring it."""
        name, asked = asked.wanted.repository, replace(asked, allowed=frozenset({destination_id}))
        met = await self._database.read(lambda c: store.sources_at(c, destination_id, name))
        listed = await self._ending(known, destination_id, name)
        brought: dict[str, list[Rule]] = {}
        others: list[Judged] = []
        certain = True
        for rule in known.rules:
            before = sorted(met.get(rule.policy.policy_id, ()))
            if rule.today.destination_id == destination_id:
                end = kept_end(rule.today.rules, name)
                fits = [one for one in listed.get(end, ()) if selects(rule.today.rules, one)]
                arrives = sources_of(rule.today.rules, name, [*before, *fits])
                certain = certain and arrives.certain
            elif before:
                # It copied there once.
                arrives = Sources(tuple(before), certain=True)
            else:
                continue
            for repository in arrives.repositories[:SOURCES]:
                brought.setdefault(repository, []).append(rule)
            if not arrives.repositories:
                there = known.destinations[destination_id].name
                image = Image(name, asked.reference)
                answer = _not_named(rule, name, destination_id, certain=arrives.certain)
                others.append(Judged(rule, image, answer, None, there))
        found = [
            await self._of_source(known, repository, rules, asked)
            for repository, rules in list(brought.items())[:SOURCES]
        ]
        unknown = [one for one in found if not _is_known(one)]
        # Where the source's name is lost, another one may arrive there.
        told_all = certain or len(unknown) < len(found)
        if len(unknown) < len(found):
            # What is nowhere does not arrive, whatever policies would do with it.
            others += [_not_there(one) for source in unknown for one in source.judged]
            found = [one for one in found if _is_known(one)]
        skew = policies.used_skew(known.row.skew)
        problem = "" if told_all else f"Which source arrives as {name} is not known; name it."
        return [*found, telling.Source(known.row.name, [], others, [], skew, None, problem)]

    async def _ending(
        self, known: Known, destination_id: int, name: str
    ) -> dict[str, Sequence[str]]:
        """Repositories that Harbor has, by how the names end that may arrive under this one."""
        here = [one for one in known.rules if one.today.destination_id == destination_id]
        ends = {kept_end(one.today.rules, name) for one in here} - {""}
        harbor = known.row.name
        return {end: await self._reading.repositories_ending(harbor, end) for end in ends}

    async def _of_source(
        self, known: Known, repository: str, rules: Sequence[Rule], asked: Question
    ) -> Source:
        harbor = known.row.name
        read = await self._reading.read(harbor, repository, asked)
        rows = await self._rows(harbor, repository, read.images, asked)
        judging = Judging(
            harbor=harbor,
            rules=known.rules,
            destinations=known.destinations,
            settings=self._settings(),
            times=known.times(self._clock.now()),
            made=await self._made(harbor, rules, read.images),
        )
        judged = await self._database.read(
            lambda c: [_judged(c, judging, one, read, rows, asked.allowed) for one in rules]
        )
        return telling.Source(
            harbor,
            read.images,
            judged,
            rows,
            judging.times.skew,
            read.read_from,
            read.problem,
            too_young=await self._is_too_young(known, read.images, judged),
        )

    async def unseen(self) -> list[str]:
        """A sentence for each Harbor that was not looked at yet: what it has is not known."""
        names = [one.name for one in self._settings().harbors]
        rows = await self._database.read(lambda c: [policies.harbor_row(c, name) for name in names])
        return [_unseen(one.name) for one in rows if one.last_look_at is None]

    async def _is_too_young(
        self, known: Known, images: Sequence[Image], judged: Sequence[Judged]
    ) -> bool:
        """Whether a policy that we did not read yet may bring what was pushed since then."""
        skew = policies.used_skew(known.row.skew)
        looked_at = known.row.last_look_at or 0
        young = any((one.pushed_at or 0) - skew > looked_at for one in images)
        if not young or any(one.answer.covers for one in judged):
            return False
        read = {one.policy.policy_id: one.policy.updated_at for one in known.rules}
        return await self._reading.has_other_policies(known.row.name, read)

    async def again(self, source: Source, asked: Question) -> Source:
        """A source with its rows as they are by now."""
        if not source.images:
            return source
        repository = source.images[0].repository
        rows = await self._rows(source.harbor, repository, source.images, asked)
        return replace(source, rows=rows)

    async def _rows(
        self, harbor: str, repository: str, images: Sequence[Image], asked: Question
    ) -> list[Told]:
        references = {asked.reference, *(one.reference for one in images)}
        digest = "" if asked.image.tag else asked.image.digest
        rows = await self._database.read(
            lambda c: store.rows_of(c, harbor, repository, references, digest)
        )
        return [one for one in rows if one.row.destination_id in asked.allowed]

    async def _made(
        self, harbor: str, rules: Sequence[Rule], images: Sequence[Image]
    ) -> Mapping[int, Made]:
        return await self._reading.made(harbor, rules, images) if self._curious else {}


def _unseen(name: str) -> str:
    return f"Harbor {name} was not seen yet, so its policies are not known."


def _judged(
    connection: Connection,
    judging: Judging,
    rule: Rule,
    read: Read,
    rows: Sequence[Told],
    allowed: Collection[int],
) -> Judged:
    """The best answer for any of the images: a digest goes by whichever tag is taken."""
    found = []
    for image in read.images:
        row = row_for(rule, image, rows)
        answer = judging.of(rule, image)
        if read.read_from != "harbor":
            answer = without_labels(rule, answer)
        there = _there(connection, answer, image)
        answer = weighed(rule, image, answer, row, there, judging.times.skew)
        destination = judging.destinations.get(answer.destination_id or 0)
        name = destination.name if destination else None
        answer = only_there(rule, answer, allowed, name or "another")
        shown = row if answer.covers else None
        found.append(Judged(rule, image, answer, shown, name, certain=read.certain))
    return next((one for one in found if one.answer.covers), found[0])


def _there(connection: Connection, answer: Answer, image: Image) -> There:
    if answer.destination_id is None or answer.repository is None:
        return There(None, ())
    name = (answer.destination_id, answer.repository)
    served = store.served(connection, *name, image.reference)
    return There(served, store.rivals(connection, *name, image))


def _may_go(rule: Rule, known: Known, asked: Question) -> bool:
    """Whether a policy copies, or once copied, to a destination that may be told of."""
    if not asked.destinations:
        return True
    ever: Collection[int | None] = {one.destination_id for one in rule.revisions}
    return bool(asked.allowed & set(known.destinations) & set(ever))


def _not_named(rule: Rule, name: str, destination_id: int, *, certain: bool) -> Answer:
    if certain:
        why = f"Policy {rule.name} brings nothing to the name {name}"
        why += f", but to {rule.today.rules.namespace}/…." if rule.today.rules.namespace else "."
        return Answer(False, why, Cause.NAME_ELSEWHERE, destination_id)
    why = f"Policy {rule.name} cuts the source's name, so {name} there may be of any that ends so; "
    return Answer(None, f"{why}name the source.", Cause.NAME_AMBIGUOUS, destination_id)


def _not_there(one: Judged) -> Judged:
    rule, answer, source = one.rule, one.answer, one.image.repository
    why = f"Policy {rule.name} brings {source} to that name, and there is no such image."
    answer = Answer(False, why, Cause.NAME_ELSEWHERE, answer.destination_id, answer.repository)
    return replace(one, answer=answer, row=None)


def _names(source: Source, project: str) -> bool:
    """Whether a policy names the project outright."""
    return any(project in (named_projects(one.rule.today.rules) or ()) for one in source.judged)


def _is_known(source: Source) -> bool:
    return bool(source.rows) or any(image.digest for image in source.images)
