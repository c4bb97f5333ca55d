"""Pure: the answer in JSON and in a sentence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta, Struct, structs

from syncwatch.explain.causes import FAR, Cause
from syncwatch.explain.weighing import CANNOT_TELL, NO, NOT_YET, YES, Judged
from syncwatch.model import Level, Reason, State
from syncwatch.report import words
from syncwatch.report.answers import Expectation, Moment, Time
from syncwatch.report.operations import Answer, Operation, Ref

if TYPE_CHECKING:
    from collections.abc import Sequence

    from syncwatch.explain.causes import Image
    from syncwatch.explain.known import Told

SENTENCES = 5
"""How many policies the message tells of by name."""


@dataclass(frozen=True, slots=True)
class Source:
    """One source that was meant, and what came of asking for it.

    `read_from` is `harbor` where Harbor said what the reference names (or that there is none),
    `store` where it could not be asked and we knew it from before, None where nobody knows.
    `skew` is Harbor's clock minus ours; `problem` one sentence. `too_young` says that it was pushed
    after the policies were last read: one that is younger may cover it.
    """

    harbor: str
    images: Sequence[Image]
    judged: Sequence[Judged]
    rows: Sequence[Told]
    skew: int
    read_from: str | None
    problem: str = ""
    too_young: bool = False


class ExplainQuery(Struct, frozen=True, kw_only=True):
    """What is asked."""

    image: Annotated[Ref, Meta(description="[REF](#ref), of an image that is there or not")]
    destination: Annotated[
        str | None,
        Meta(
            description="Harbor's name of an endpoint, to tell of that only",
            examples=["cluster1-registry"],
        ),
    ] = None


class ExplainedSource(Struct, frozen=True, kw_only=True):
    """An image at a Harbor that may be meant."""

    harbor: Annotated[str, Meta(description="the Harbor's name in the configuration")]
    repository: Annotated[str, Meta(description="its repository there")]
    reference: Annotated[str, Meta(description="its tag, or its digest")]
    digest: Annotated[str | None, Meta(description="what it names; null where it is not there")]
    pushed_at: Annotated[
        Time | None, Meta(description="when it was pushed, in our clock; null where not known")
    ]
    read_from: Annotated[
        str | None,
        Meta(
            description="`harbor` where Harbor was asked, `store` where it could not be and what "
            "was known stands in, null where nothing is known"
        ),
    ]
    problem: Annotated[str | None, Meta(description="why Harbor could not be asked; null else")]


class ExplainedLook(Struct, frozen=True, kw_only=True):
    """What the name at the destination served when it was looked at for this question."""

    digest: Annotated[str | None, Meta(description="what it names; null for nothing")]
    level: Annotated[
        Level | None, Meta(description="how deep the image was proven; null where it is not there")
    ]
    observed_at: Annotated[Time | None, Meta(description="when; null before any look")]
    problem: Annotated[
        Reason | None, Meta(description="why it could not be looked at now; null where it was")
    ]


class ExplainedRule(Struct, frozen=True, kw_only=True):
    """What one policy does with the image."""

    harbor: Annotated[str, Meta(description="whose policy")]
    policy: Annotated[str, Meta(description="its name")]
    policy_id: Annotated[int, Meta(description="its id there")]
    covers: Annotated[
        bool | None, Meta(description="whether it brings the image; null where it cannot be told")
    ]
    why: Annotated[str, Meta(description="a sentence or two")]
    cause: Annotated[
        Cause | None,
        Meta(description="[what is in the way](explain.md#causes); null for nothing"),
    ]
    destination: Annotated[str | None, Meta(description="where it brings it to, if anywhere")]
    repository: Annotated[str | None, Meta(description="the repository there")]
    expected_since: Annotated[
        Time | None,
        Meta(
            description="the push, or the run of the schedule; null where it does not go there, or "
            "is not at the source yet"
        ),
    ]
    source_repository: Annotated[str, Meta(description="the repository of the source meant")]
    reference: Annotated[str, Meta(description="the tag, or the digest, meant")]
    look: Annotated[
        ExplainedLook | None,
        Meta(description="a look at what nothing is written down of; null where something is"),
    ]


class ExplainedExpectation(Expectation, frozen=True, kw_only=True):
    """An expectation, and what happened to it."""

    timeline: Annotated[tuple[Moment, ...], Meta(description="the oldest first")]


class Explanation(Struct, frozen=True, kw_only=True):
    """Whether an image goes to a destination, and why."""

    image: Annotated[str, Meta(description="what was asked for, as it was written")]
    digest: Annotated[
        str | None,
        Meta(
            description="what the reference names at Harbor; null where it is not there, or where "
            "several sources are meant that differ"
        ),
    ]
    answer: Annotated[
        str,
        Meta(
            description="of several policies that bring it the first of `no`, `cannot_tell`, "
            "`not_yet`, `yes`",
            extra_json_schema={"enum": [NO, CANNOT_TELL, NOT_YET, YES]},
        ),
    ]
    message: Annotated[str, Meta(description="the same in sentences")]
    sources: Annotated[
        tuple[ExplainedSource, ...], Meta(description="the images at Harbor that may be meant")
    ]
    rules: Annotated[
        tuple[ExplainedRule, ...], Meta(description="every policy, what brings it before others")
    ]
    expectations: Annotated[
        tuple[ExplainedExpectation, ...],
        Meta(description="the newest of each policy and destination, closed ones too"),
    ]


EXPLAIN = Operation(
    "explain",
    "why an image goes there, or why not",
    {
        200: Answer("there is an answer, whichever", Explanation),
        400: Answer("`image` is no REF, or a parameter is not as it is described"),
        404: Answer("there is no such destination, or the image's host is nobody's"),
    },
    query=ExplainQuery,
)


def answer(asked: str, where: str, sources: Sequence[Source], notes: Sequence[str]) -> Explanation:
    """The whole answer of the API. `where` is the destination that was named, or ""."""
    judged = sorted((one for source in sources for one in source.judged), key=nearness)
    skews = {source.harbor: source.skew for source in sources}
    digests = {image.digest for source in sources for image in source.images if image.digest}
    return Explanation(
        image=asked,
        digest=digests.pop() if len(digests) == 1 else None,
        answer=_together(judged, notes),
        message=_message(asked, where, judged, [*notes, *_problems(sources)]),
        sources=tuple(_source(source, image) for source in sources for image in source.images),
        rules=tuple(_rule(one, skews[one.rule.policy.harbor]) for one in judged),
        expectations=tuple(_expectation(told) for source in sources for told in source.rows),
    )


def _expectation(told: Told) -> ExplainedExpectation:
    plain = words.expectation(told.row)
    return ExplainedExpectation(
        **structs.asdict(plain), timeline=words.timeline(told.row, told.changes)
    )


def _together(judged: Sequence[Judged], notes: Sequence[str]) -> str:
    """Of many answers no comes first, then cannot tell, then not yet (the design, section 6)."""
    brings = [one.says for one in judged if one.answer.covers or one.is_there]
    if not brings:
        unsure = notes or any(one.answer.covers is None for one in judged)
        return CANNOT_TELL if unsure else NO
    return next(one for one in (NO, CANNOT_TELL, NOT_YET, YES) if one in brings)


def nearness(one: Judged) -> tuple[int, str, int]:
    """What covers it first, then what nearly does."""
    near = {True: 0, None: 1, False: 2}[one.answer.covers] + (one.answer.cause in FAR)
    return near, one.rule.policy.harbor, one.rule.policy.policy_id


def _problems(sources: Sequence[Source]) -> list[str]:
    return list(dict.fromkeys(one.problem for one in sources if one.problem))


def _message(asked: str, where: str, judged: Sequence[Judged], notes: Sequence[str]) -> str:
    places: dict[tuple[Any, ...], Judged] = {}
    for one in judged:
        if one.answer.covers:
            place = (one.answer.destination_id, one.answer.repository, one.image)
            places.setdefault(place, one)
    told = [_goes(one) for one in list(places.values())[:SENTENCES]]
    if len(places) > SENTENCES:
        told.append(f"It goes to {len(places) - SENTENCES} more places.")
    if not places:
        told = [_goes_not(asked, where, judged)]
    return " ".join([*told, *notes])


def _goes(one: Judged) -> str:
    image, there = one.image, one.answer.repository
    name = f"{there}{':' if image.tag else '@'}{image.reference}"
    if image.digest is None and one.row is None:
        told = f"{image.name}, pushed now, would go to {one.destination} as {name}."
    else:
        told = f"{image.name} goes to {one.destination} as {name}{_since(one)}{_state(one)}."
    return f"{told} {one.answer.why}" if one.answer.cause else told


def _since(one: Judged) -> str:
    since = one.row.expected_at if one.row is not None else None
    return f", expected since {words.rfc3339(since)}" if since is not None else ""


def _state(one: Judged) -> str:
    row = one.row
    if row is None:
        return f"; {_look(one)}" if one.seen else "; nothing is known of it there yet"
    if row.state == State.VERIFIED:
        # A schedule's image may be seen before the run that it is expected from.
        seen = [at for at in (row.verified_at, row.observed_at) if at is not None]
        return f"; verified at {words.rfc3339(min(seen, default=None))}"
    word = f"{row.state}/{row.reason}" if row.reason else row.state
    return f"; {word}: {row.message.rstrip('.')}"


def _look(one: Judged) -> str:
    """What a look saw of it, to go on a sentence."""
    seen = one.seen
    look = seen.observation if seen is not None else None
    if seen is None or seen.problem is not None:
        detail = f": {seen.detail}" if seen is not None and seen.detail else ""
        return f"{one.destination} could not be asked for it{detail}"
    if look is None or look.served is None:
        return "it is not there"
    at = words.rfc3339(look.at)
    if look.served != one.image.digest:
        return f"the name there serves {look.served}, seen at {at}"
    flaw = look.flaws.get(look.served)
    if flaw is not None:
        return f"it is there, and {flaw.detail}"
    return f"it is there ({look.level}, seen at {at})"


def _goes_not(asked: str, where: str, judged: Sequence[Judged]) -> str:
    to = f" to {where}" if where else ""
    if not judged:
        return f"No policy brings anything{to}, so {asked} does not go there."
    nearest = judged[0]
    looked = f" At {nearest.destination}: {_look(nearest)}." if nearest.seen else ""
    if nearest.answer.covers is None:
        return f"Whether {asked} goes{to} cannot be told: {nearest.answer.why}{looked}"
    count = len(judged) - 1
    others = f" Nor do {count} more policies." if count > 1 else " Nor does the other policy."
    place = to or (f" to {nearest.destination}" if nearest.destination and not count else "")
    why = f"{nearest.answer.why}{looked}{others * bool(count)}"
    return f"{asked} does not go{place or ' anywhere'}: {why}"


def _source(source: Source, image: Image) -> ExplainedSource:
    pushed = image.pushed_at - source.skew if image.pushed_at is not None else None
    return ExplainedSource(
        harbor=source.harbor,
        repository=image.repository,
        reference=image.reference,
        digest=image.digest,
        pushed_at=words.rfc3339(pushed),
        read_from=source.read_from,
        problem=source.problem or None,
    )


def _rule(one: Judged, skew: int) -> ExplainedRule:
    answer, policy = one.answer, one.rule.policy
    since = answer.expected_since if answer.covers is not False else None
    return ExplainedRule(
        harbor=policy.harbor,
        policy=policy.name,
        policy_id=policy.policy_id,
        covers=answer.covers,
        why=answer.why,
        cause=answer.cause,
        destination=one.destination,
        repository=answer.repository,
        expected_since=words.rfc3339(since - skew if since is not None else None),
        source_repository=one.image.repository,
        reference=one.image.reference,
        look=_looked(one),
    )


def _looked(one: Judged) -> ExplainedLook | None:
    if one.seen is None:
        return None
    look, digest = one.seen.observation, one.image.digest
    return ExplainedLook(
        digest=look.served if look is not None else None,
        level=look.reached(digest) if look is not None and digest is not None else None,
        observed_at=words.rfc3339(look.at) if look is not None else None,
        problem=one.seen.problem,
    )
