"""Pure: which source repositories a policy brings to one name at its destination.

The namespace takes the place of the first components of the source's name, which are lost with
it: there the name filters may say what they were, or what is known already; else it is ambiguous.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from syncwatch.errors import FlatteningError, PatternError
from syncwatch.plan.matching import destination_repository, matches

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from syncwatch.model import Rules

_PLAIN = re.compile(r"[a-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class Sources:
    """Source repositories that a policy brings to a name. `certain` where there can be no other."""

    repositories: tuple[str, ...]
    certain: bool


def sources_of(rules: Rules, name: str, known: Collection[str]) -> Sources:
    """What arrives under `name` at the destination; `known` are sources met there before."""
    lost, rest = _lost(rules, name)
    heads = [""] if lost == 0 else [f"{one}/" for one in dict.fromkeys(_heads(rules, lost))]
    guessed = [one for one in (f"{head}{rest}" for head in heads if rest) if selects(rules, one)]
    fits = [one for one in dict.fromkeys([*known, *guessed]) if _arrives(rules, one, name)]
    return Sources(tuple(fits), certain=lost == 0 or not rest)


def selects(rules: Rules, source: str) -> bool:
    """Whether the name filters let a source through; one that is malformed has no say."""
    for kind, value, decoration in rules.filters:
        if kind != "name" or not isinstance(value, str) or not value:
            continue
        try:
            if matches(value, source) is (decoration == "excludes"):
                return False
        except PatternError:
            continue
    return True


def kept_end(rules: Rules, name: str) -> str:
    """How the names of all sources that may arrive under `name` end, where their beginning is lost;
    "" where it is not, or nothing arrives there."""
    lost, rest = _lost(rules, name)
    return rest if lost else ""


def _lost(rules: Rules, name: str) -> tuple[int, str]:
    """How many components the namespace replaced (-1: all but the last), and what came after it.

    Nothing came after it where the policy brings nothing to such a name.
    """
    namespace = "/".join(part for part in rules.namespace.split("/") if part)
    if not namespace:
        return 0, name
    if not name.startswith(f"{namespace}/"):
        return 0, ""
    rest = name.removeprefix(f"{namespace}/")
    if rules.replace_count < 0:
        return -1, rest if "/" not in rest else ""
    return rules.replace_count, rest


def _heads(rules: Rules, lost: int) -> Iterator[str]:
    """The lost components, as far as a name filter writes them out."""
    for kind, value, decoration in rules.filters:
        if kind != "name" or not isinstance(value, str) or decoration == "excludes":
            continue
        parts = value.split("/")
        head = parts[:-1] if lost < 0 else parts[:lost]
        if head and len(parts) > len(head) and all(_PLAIN.fullmatch(one) for one in head):
            yield "/".join(head)


def _arrives(rules: Rules, source: str, name: str) -> bool:
    if "/" not in source:
        return False
    try:
        arrives = destination_repository(
            source, rules.namespace, rules.replace_count, rules.path_type
        )
    except FlatteningError:
        return False
    return arrives == name
