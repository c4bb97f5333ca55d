"""What the words mean: the prose of docs/.

`prose/` has links to docs/data/reasons.toml and findings.toml, which a wheel holds as files.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

from syncwatch.model import REASONS, State

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PROSE = Path(__file__).parent / "prose"
_SENTENCE = re.compile(r".+?[.!?](?=\s|$)", re.DOTALL)
_MARKS = re.compile(
    r"`(?P<code>[^`]+)`|\[(?P<link>(?:[^\]`]|`[^`]*`)+)\]\([^)]*\)|\*(?P<stress>[^*`]+)\*"
)


@dataclass(frozen=True, slots=True)
class Word:
    """A state, reason or finding: what it means, how to see it oneself, and what to do."""

    name: str
    means: str
    confirm: str = ""
    cure: str = ""
    commands: Sequence[str] = field(default=())

    @property
    def short(self) -> str:
        """The first sentence of its meaning."""
        found = _SENTENCE.match(self.means.strip())
        return found[0] if found else self.means.strip()


@dataclass(frozen=True, slots=True)
class Words:
    """All of them; `reasons` by name, `of_states` their names by state."""

    states: Mapping[str, Word]
    reasons: Mapping[str, Word]
    of_states: Mapping[str, Sequence[str]]
    findings: Mapping[str, Word]

    def short(self, name: str) -> Markup:
        """What a reason means, in a sentence; empty where nobody knows."""
        word = self.reasons.get(name)
        return marked(word.short) if word else Markup()


@cache
def words() -> Words:
    """Read once."""
    told = _read("reasons")
    commands = told["commands"]
    reasons = {
        name: Word(
            name, one["means"], one["confirm"], one["cure"], [commands[ask] for ask in one["ask"]]
        )
        for name, one in told["reasons"].items()
    }
    findings = _read("findings")["findings"]
    return Words(
        states={name: Word(name, means) for name, means in told["states"].items()},
        reasons=reasons,
        of_states={
            str(state): [name for name in reasons if name in REASONS[state]] for state in State
        },
        findings={
            name: Word(name, one["means"], cure=one["cure"]) for name, one in findings.items()
        },
    )


def _read(name: str) -> dict[str, Any]:
    return tomllib.loads((PROSE / f"{name}.toml").read_text(encoding="utf-8"))


def marked(text: str) -> Markup:
    """Markdown's code, emphasis and links (as plain words) as HTML; everything else escaped."""
    parts, end = [], 0
    for found in _MARKS.finditer(text):
        parts.append(escape(text[end : found.start()]))
        parts.append(_as_html(found))
        end = found.end()
    return Markup().join([*parts, escape(text[end:])])


def _as_html(found: re.Match[str]) -> Markup:
    if found["code"] is not None:
        return Markup("<code>{}</code>").format(found["code"])
    if found["link"] is not None:
        return marked(found["link"])
    return Markup("<em>{}</em>").format(found["stress"])


def paragraphs(text: str) -> Markup:
    """Each line of the prose is a sentence or two; together they are a paragraph."""
    return Markup("<p>{}</p>").format(Markup(" ").join(map(marked, text.strip().split("\n"))))
