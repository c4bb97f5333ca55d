"""Pure: the answer in JSON and in a sentence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from syncwatch.explain.causes import FAR, Cause
from syncwatch.explain.weighing import CANNOT_TELL, NO, NOT_YET, YES, Judged
from syncwatch.model import State
from syncwatch.report import words

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
    `skew` is Harbor's clock minus ours; `problem` one sentence.
    """

    harbor: str
    images: Sequence[Image]
    judged: Sequence[Judged]
    rows: Sequence[Told]
    skew: int
    read_from: str | None
    problem: str = ""


def answer(asked: str, where: str, sources: Sequence[Source], notes: Sequence[str]) -> Any:
    """The whole answer of the API. `where` is the destination that was named, or ""."""
    judged = sorted((one for source in sources for one in source.judged), key=_nearness)
    skews = {source.harbor: source.skew for source in sources}
    digests = {image.digest for source in sources for image in source.images if image.digest}
    says = _together(judged, notes)
    return {
        "image": asked,
        "digest": digests.pop() if len(digests) == 1 else None,
        "answer": says,
        "message": _message(asked, where, judged, [*notes, *_problems(sources)]),
        "sources": [_source(source, image) for source in sources for image in source.images],
        "rules": [_rule(one, skews[one.rule.policy.harbor]) for one in judged],
        "expectations": [
            words.expectation(told.row) | {"timeline": words.timeline(told.row, told.changes)}
            for source in sources
            for told in source.rows
        ],
    }


def _together(judged: Sequence[Judged], notes: Sequence[str]) -> str:
    """Of many answers no comes first, then cannot tell, then not yet (the design, section 6)."""
    brings = [one.says for one in judged if one.answer.covers]
    if not brings:
        unsure = notes or any(one.answer.covers is None for one in judged)
        return CANNOT_TELL if unsure else NO
    return next(one for one in (NO, CANNOT_TELL, NOT_YET, YES) if one in brings)


def _nearness(one: Judged) -> tuple[int, str, int]:
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
        return "; nothing is known of it there yet"
    if row.state == State.VERIFIED:
        # A schedule's image may be seen before the run that it is expected from.
        seen = [at for at in (row.verified_at, row.observed_at) if at is not None]
        return f"; verified at {words.rfc3339(min(seen, default=None))}"
    word = f"{row.state}/{row.reason}" if row.reason else row.state
    return f"; {word}: {row.message.rstrip('.')}"


def _goes_not(asked: str, where: str, judged: Sequence[Judged]) -> str:
    to = f" to {where}" if where else ""
    if not judged:
        return f"No policy brings anything{to}, so {asked} does not go there."
    nearest = judged[0]
    if nearest.answer.covers is None:
        return f"Whether {asked} goes{to} cannot be told: {nearest.answer.why}"
    count = len(judged) - 1
    others = f" Nor do {count} more policies." if count > 1 else " Nor does the other policy."
    place = to or (f" to {nearest.destination}" if nearest.destination and not count else "")
    return f"{asked} does not go{place or ' anywhere'}: {nearest.answer.why}{others * bool(count)}"


def _source(source: Source, image: Image) -> dict[str, Any]:
    pushed = image.pushed_at - source.skew if image.pushed_at is not None else None
    return {
        "harbor": source.harbor,
        "repository": image.repository,
        "reference": image.reference,
        "digest": image.digest,
        "pushed_at": words.rfc3339(pushed),
        "read_from": source.read_from,
        "problem": source.problem or None,
    }


def _rule(one: Judged, skew: int) -> dict[str, Any]:
    answer, policy = one.answer, one.rule.policy
    since = answer.expected_since if answer.covers is not False else None
    cause: Cause | None = answer.cause
    return {
        "harbor": policy.harbor,
        "policy": policy.name,
        "policy_id": policy.policy_id,
        "covers": answer.covers,
        "why": answer.why,
        "cause": cause,
        "destination": one.destination,
        "repository": answer.repository,
        "expected_since": words.rfc3339(since - skew if since is not None else None),
        "source_repository": one.image.repository,
        "reference": one.image.reference,
    }
