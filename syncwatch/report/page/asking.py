"""Pure: what a browser asks the page for, read and bounded.

Whatever cannot be meant so is a RefusedError, answered 400 with a sentence that names the cure.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

import msgspec

from syncwatch.model import OPEN_STATES, REASONS, Reason, State
from syncwatch.report.bodies import SHOWN, bad_request

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

LONGEST = 512
"""Characters of a value that a browser may send."""
REFRESH = range(5, 3601)
"""Seconds between two loads of a page that is to refresh itself without a script."""
OPEN, ANY = "open", "any"
STATES = (*(str(state) for state in State), OPEN, ANY)
"""What `state` may be; without it all but closed."""
LISTED = ("q", "state", "reason", "harbor", "policy", "destination", "overdue")
"""Parameters that narrow the list of expectations."""


@dataclass(frozen=True, slots=True)
class Listing:
    """Which expectations are wanted. `before` and `after` are ids: older and newer rows than it."""

    q: str = ""
    state: str = ""
    reason: str = ""
    harbor: str = ""
    policy: str = ""
    destination: str = ""
    overdue: bool = False
    before: int | None = None
    after: int | None = None

    @property
    def narrowed(self) -> dict[str, str]:
        """The parameters that narrow, as they were asked."""
        told = {name: getattr(self, name) for name in LISTED}
        return {name: "1" if value is True else value for name, value in told.items() if value}

    @property
    def states(self) -> frozenset[State]:
        """The states that fit; a reason alone narrows them too."""
        if self.state in tuple(State):
            return frozenset({State(self.state)})
        known = {"": frozenset(State) - {State.CLOSED}, OPEN: OPEN_STATES, ANY: frozenset(State)}
        if self.state == "" and self.overdue:
            return OPEN_STATES
        if self.state == "" and self.reason:
            return frozenset(state for state in State if self.reason in REASONS[state])
        return known[self.state]


@dataclass(frozen=True, slots=True)
class Matrix:
    """Which images are wanted. `before` and `after` are (harbor, repository, reference)."""

    q: str = ""
    harbor: str = ""
    owed: bool = False
    before: tuple[str, str, str] | None = None
    after: tuple[str, str, str] | None = None
    narrowed: dict[str, str] = field(default_factory=dict)


def values(query: Mapping[str, str], allowed: Iterable[str]) -> dict[str, str]:
    """What was sent and is not empty; raises RefusedError for what no page takes."""
    known = [*allowed, "refresh"]
    found: dict[str, str] = {}
    written = set()
    for name, value in query.items():
        if name not in known:
            near = get_close_matches(name, known, 1)
            hint = f"; did you mean {near[0]}?" if near else "."
            raise bad_request(f"There is no parameter {name[:SHOWN]!a}{hint}")
        if name in written:
            raise bad_request(f"{name}: written twice; write it once.")
        written.add(name)
        text = value.strip()
        if len(text) > LONGEST or not text.isprintable():
            words = f"write at most {LONGEST} characters that can be seen"
            raise bad_request(f"{name}: {words}.")
        if text:
            found[name] = text
    return found


def refresh(query: Mapping[str, str]) -> int | None:
    """Seconds after which the browser is to load it again by itself; None for never."""
    text = query.get("refresh", "").strip()
    if not text:
        return None
    if not _is_number(text) or int(text) not in REFRESH:
        words = f"a number of seconds from {REFRESH.start} to {REFRESH.stop - 1}"
        raise bad_request(f"refresh: write {words}.")
    return int(text)


def listing(query: Mapping[str, str]) -> Listing:
    """What the list of expectations is asked for."""
    given = values(query, (*LISTED, "before", "after"))
    _one_of("state", given, STATES)
    _one_of("reason", given, tuple(Reason))
    _one_of("overdue", given, ("1", "true"))
    before, after = (_row(name, given) for name in ("before", "after"))
    _one_way(given)
    plain = {name: given.get(name, "") for name in LISTED if name != "overdue"}
    return Listing(**plain, overdue="overdue" in given, before=before, after=after)


def matrix(query: Mapping[str, str]) -> Matrix:
    """What the matrix of images is asked for."""
    given = values(query, ("q", "harbor", "owed", "before", "after"))
    _one_of("owed", given, ("1", "true"))
    _one_way(given)
    return Matrix(
        q=given.get("q", ""),
        harbor=given.get("harbor", ""),
        owed="owed" in given,
        before=_image(given.get("before")),
        after=_image(given.get("after")),
        narrowed={name: given[name] for name in ("q", "harbor", "owed") if name in given},
    )


def cursor(harbor: str, repository: str, reference: str) -> str:
    """Where a page of images ends, for `before` and `after`."""
    packed = msgspec.json.encode([harbor, repository, reference])
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def image_href(harbor: str, repository: str, reference: str) -> str:
    """The page of one image."""
    sign = "@" if ":" in reference else ":"
    return f"/images/{quote(harbor, '')}/{quote(repository)}{sign}{quote(reference, ':')}"


def image_of(text: str) -> tuple[str, str] | None:
    """(repository, reference) of the end of an image's address; None where one is not there."""
    for sign in "@:":
        repository, found, reference = text.rpartition(sign)
        if found and (sign == ":" or ":" in reference):
            return (repository, reference) if repository and reference else None
    return None


def href(path: str, parameters: Mapping[str, object]) -> str:
    """A link with those parameters that are not empty."""
    told = {name: value for name, value in parameters.items() if value not in ("", None, False)}
    return f"{path}?{urlencode(told)}" if told else path


def _one_of(name: str, given: Mapping[str, str], known: Iterable[str]) -> None:
    if name in given and given[name] not in known:
        raise bad_request(f"{name}: write one of {', '.join(known)}.")


def _one_way(given: Mapping[str, str]) -> None:
    if "before" in given and "after" in given:
        raise bad_request("before and after: write one of the two.")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 18


def _row(name: str, given: Mapping[str, str]) -> int | None:
    text = given.get(name)
    if text is None:
        return None
    if not _is_number(text):
        raise bad_request(f"{name}: follow the link of a page; this is none of its numbers.")
    return int(text)


def _image(text: str | None) -> tuple[str, str, str] | None:
    if text is None:
        return None
    try:
        packed = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        found = msgspec.json.decode(packed, type=tuple[str, str, str])
    except (ValueError, msgspec.MsgspecError):
        found = None
    if found is None or not all(one.isprintable() for one in found):
        raise bad_request("before, after: follow the link of a page; this is none of them.")
    return found
