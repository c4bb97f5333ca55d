"""Harbor's pattern language: the Go library *doublestar* v1.3.4, with its errors.

In come a pattern and a name, out goes whether Harbor finds that they match. Pure; `tests/oracle`
holds what Harbor's own function answered.

Harbor matches names and tags with the Go library *doublestar* v1.3.4 since Harbor 2.11 (2.9 and
2.10 have v1.1.1, which knows no `/` and no `{` inside braces); see `src/pkg/reg/util/pattern.go`.
The whole name must match, case counts, nothing is trimmed, there is no regular expression.

================  ==============================================================================
`*` `?`           any characters, one character; never a `/`
`**`              any number of components, but only as a component of its own: `a**` is `a*`,
                  `{**,x}` is `{*,x}`
`[a-z]` `[^a-z]`  one character of a class, or not of it; `[!a]` is the class of `!` and `a`
`{a,b/c}`         either; may be nested, may cross `/`, a blank inside counts
`\\x`             the character x itself
================  ==============================================================================

The traps, each of them measured:

- The empty pattern matches everything, also in a filter that excludes.
- `library/**` does not match `library`, but `**/alpine` matches `alpine`.
- Behind a `*` something must be left for what follows: `*{,x}` does not match `ab`.
- `***` does not match the empty name; `*` and `**` do.
- An alternative that ends is forgotten when another goes on: `{a,a/b}` does not match `a`.
- Where the name ends, the pattern is cut at its next `/` without regard to braces: `{a,b/c}` is
  an error for the empty name, `lib{a/b,c}` is one for `lib`.
- **Errors are lazy.** A malformed part counts only for names that reach it: `lib/[a` rejects
  `app/x` and fails on `lib/x`. Behind `**/` an error is swallowed: that part matches nothing. A
  failure stops every event-based policy for that push, so `check_pattern` looks for it before.
- Harbor tries all the ways through a pattern and may need longer than the universe for some. Here
  each remainder of a pattern meets each rest of a name once; the time is their product.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from syncwatch.errors import PatternError

if TYPE_CHECKING:
    from collections.abc import Callable

# Bounds of ours, far beyond what anybody writes; Harbor has none.
_MAX_LENGTH = 4096
_MAX_NESTING = 32
_MAX_NODES = 8192

# What is left of a pattern when a component of the name has been read: the nodes where the next
# component may begin (none: the pattern has ended), None for no match, or a sentence on an error.
_Outcome = tuple[int, ...] | str | None
_Row = list[_Outcome]


class _MalformedError(Exception):
    """A part of a pattern cannot be read; the text says why."""


def matches(pattern: str, name: str) -> bool:
    """Whether Harbor finds that a filter's pattern matches a repository name or a tag.

    Raises PatternError where Harbor fails, and for a pattern too large to be evaluated.
    """
    answer = not pattern or _answer(pattern, name)
    if isinstance(answer, str):
        raise PatternError(f"pattern {pattern!r} is malformed: {answer}")
    return answer


def check_pattern(pattern: str, *, for_tags: bool = False) -> None:
    """Raise PatternError if any part of a pattern is malformed; its cure says what comes of it.

    Asked are all repository names that Harbor may have (no component is empty), or with `for_tags`
    all tags (no `/`) and the empty name, which an untagged artifact has in a tag filter.
    """
    if not pattern:
        return
    program = _compiled(pattern)
    if problem := program.failure(for_tags=for_tags):
        effect = "Harbor fails on every name that reaches this part"
    elif problem := program.malformed():
        effect = "Harbor does not fail on it, but this part never matches"
    else:
        return
    raise PatternError(f"pattern {pattern!r} is malformed: {problem}", cure=effect)


@lru_cache(maxsize=16384)
def _answer(pattern: str, name: str) -> bool | str:
    return _compiled(pattern).evaluate(name)


@dataclass(frozen=True, slots=True)
class _Fixed:
    """The outcome is the same whatever characters follow: the end, a `/`, a last `*`, an error."""

    now: _Outcome
    at_end: _Outcome

    def row(self, component: str, rows: list[_Row]) -> _Row:
        return [self.now] * len(component)


@dataclass(frozen=True, slots=True)
class _Take:
    """One character is consumed if `accepts` it."""

    accepts: Callable[[str], bool]
    then: int
    at_end: _Outcome

    def row(self, component: str, rows: list[_Row]) -> _Row:
        after, accepts = rows[self.then], self.accepts
        return [after[i] if accepts(char) else None for i, char in enumerate(component, 1)]


@dataclass(frozen=True, slots=True)
class _Star:
    """Characters are skipped up to the first one from which the remainder matches or fails."""

    then: int
    at_end: _Outcome

    def row(self, component: str, rows: list[_Row]) -> _Row:
        after = rows[self.then]
        row: _Row = [None] * len(component)
        found: _Outcome = None
        for i in range(len(component) - 1, -1, -1):
            found = found if after[i] is None else after[i]
            row[i] = found
        return row


@dataclass(frozen=True, slots=True)
class _Fork:
    """All alternatives are tried, and an error in any of them is the error of all."""

    options: tuple[int, ...]
    at_end: _Outcome

    def row(self, component: str, rows: list[_Row]) -> _Row:
        columns = [rows[option] for option in self.options]
        return [_merged([column[i] for column in columns]) for i in range(len(component))]


_Node = _Fixed | _Take | _Star | _Fork


def _merged(outcomes: list[_Outcome]) -> _Outcome:
    starts: dict[int, None] = {}
    matched = False
    for outcome in outcomes:
        if isinstance(outcome, str):
            return outcome
        if outcome is not None:
            matched = True
            starts.update(dict.fromkeys(outcome))
    return tuple(starts) if matched else None


@dataclass(frozen=True, slots=True)
class _Program:
    """A compiled pattern: one node for each remainder of it that can be met, the whole one first.

    `order` lists the nodes so that each comes after those it leads to, `starts` those of them where
    a component of the name may begin. `globstars` are the nodes that begin with a component `**`,
    with the node behind its `/` (None: nothing is behind).
    """

    nodes: tuple[_Node, ...]
    order: tuple[int, ...]
    starts: tuple[int, ...]
    globstars: dict[int, int | None]

    def evaluate(self, name: str) -> bool | str:
        """Whether the name matches; a sentence where Harbor fails. `doMatching` in its source."""
        components = _components(name)
        met = self._met(components)
        later: dict[int, bool | str] = {}
        for depth in range(len(met) - 1, -1, -1):
            last = depth == len(components) - 1
            here: dict[int, bool | str] = {}
            for start, outcome in met[depth].items():
                if start in self.globstars:
                    behind = self.globstars[start]
                    here[start] = behind is None or here[behind] is True or later.get(start) is True
                else:
                    here[start] = _continued(outcome, later, last=last)
            later = here
        return later[0]

    def _met(self, components: list[str]) -> list[dict[int, _Outcome]]:
        """For each component that the pattern leads to: the starts that meet it, and outcomes."""
        met: list[dict[int, _Outcome]] = []
        active = {0}
        for component in components:
            if not active:
                break
            active |= self._behind_globstars(active)
            outcomes = [] if active <= self.globstars.keys() else self._outcomes(component)
            here = {
                start: None if start in self.globstars else outcomes[start]
                for start in self.starts
                if start in active
            }
            met.append(here)
            active &= self.globstars.keys()
            for outcome in here.values():
                if isinstance(outcome, tuple):
                    active.update(outcome)
        return met

    def _behind_globstars(self, active: set[int]) -> set[int]:
        """The starts behind each active `**/`, which may stand for no component at all."""
        behind: set[int] = set()
        for start in active:
            next_start = self.globstars.get(start)
            while next_start is not None and next_start not in behind:
                behind.add(next_start)
                next_start = self.globstars.get(next_start)
        return behind

    def _outcomes(self, component: str) -> list[_Outcome]:
        rows: list[_Row] = [[]] * len(self.nodes)
        for index in self.order:
            node = self.nodes[index]
            rows[index] = [*node.row(component, rows), node.at_end]
        return [row[0] for row in rows]

    def failure(self, *, for_tags: bool) -> str | None:
        """Why Harbor fails for some name (tag, or lack of a tag); None: it never does."""
        pending = [(0, "start"), (0, "empty")] if for_tags else [(0, "start")]
        seen = set(pending)
        while pending:
            outcome, following = self._following(*pending.pop())
            if isinstance(outcome, str):
                return outcome
            if outcome and not for_tags:
                following += [(start, "start") for start in outcome]
            pending += [step for step in following if step not in seen]
            seen.update(following)
        return None

    def _following(self, index: int, place: str) -> tuple[_Outcome, list[tuple[int, str]]]:
        """What a node leads to at the start, inside or at the end of a component, or in no name."""
        node = self.nodes[index]
        if place in ("start", "empty") and index in self.globstars:
            return None, []
        if place in ("end", "empty"):
            return node.at_end, []
        match node:
            case _Fixed():
                return node.now, []
            case _Take():
                return None, [(node.then, "inside"), (node.then, "end")]
            case _Star():
                return None, [(node.then, "inside")]
            case _Fork():
                return None, [(option, "inside") for option in node.options]

    def malformed(self) -> str | None:
        """What cannot be read in any part, also where no failure comes of it; None: nothing."""
        errors = (node.now for node in self.nodes if isinstance(node, _Fixed))
        return next((error for error in errors if isinstance(error, str)), None)


def _continued(outcome: _Outcome, later: dict[int, bool | str], *, last: bool) -> bool | str:
    """Whether one of the remainders matches the later components, if there are any."""
    if outcome is None or isinstance(outcome, str):
        return outcome or False
    if last:
        return not outcome
    return next((later[start] for start in outcome if later[start] is not False), False)


def _compiled(pattern: str) -> _Program:
    program = _compile(pattern)
    if isinstance(program, str):
        raise PatternError(program)
    return program


@lru_cache(maxsize=512)
def _compile(pattern: str) -> _Program | str:
    """The program; a sentence on a pattern beyond our bounds, which is found once and not anew."""
    try:
        return _Compiler(pattern).program()
    except PatternError as error:
        return error.message


class _Compiler:
    """Finds every remainder of a pattern that can be met, and what to do with each.

    Alternatives are tried as text, "option + what follows the brace", as doublestar does: so a
    class may begin in an option and end behind the brace.
    """

    def __init__(self, pattern: str) -> None:
        if len(pattern) > _MAX_LENGTH:
            raise PatternError(f"a pattern is longer than {_MAX_LENGTH} characters")
        self.numbers: dict[str, int] = {}
        self.remainders: list[str] = []
        self.globstars: dict[int, int | None] = {}
        self._emptiness: dict[str, bool | str] = {}
        self.starts = {self._number(pattern)}

    def program(self) -> _Program:
        nodes: list[_Node] = []
        for remainder in self.remainders:  # grows while it is read
            nodes.append(self._node(remainder))
            if remainder == "**":
                self.globstars[self._number(remainder)] = None
            elif remainder.startswith("**/"):
                self.globstars[self._number(remainder)] = self._start(remainder[3:])
        # Every step makes the remainder shorter.
        order = sorted(range(len(nodes)), key=lambda index: len(self.remainders[index]))
        starts = [index for index in order if index in self.starts]
        return _Program(tuple(nodes), tuple(order), tuple(starts), self.globstars)

    def _number(self, remainder: str) -> int:
        if remainder not in self.numbers:
            if len(self.numbers) == _MAX_NODES:
                raise PatternError(f"a pattern has too many alternatives: {self.remainders[0]!r}")
            self.numbers[remainder] = len(self.numbers)
            self.remainders.append(remainder)
        return self.numbers[remainder]

    def _start(self, remainder: str) -> int:
        number = self._number(remainder)
        self.starts.add(number)
        return number

    def _node(self, remainder: str) -> _Node:
        """The step that a remainder begins with. `matchComponent` in doublestar.go."""
        at_end = self._at_end(remainder)
        try:
            match remainder[:1]:
                case "" | "/":
                    return _Fixed(None, at_end)
                case "*":
                    return self._star(remainder[1:], at_end)
                case "[":
                    accepts, end = _character_class(remainder)
                    return _Take(accepts, self._number(remainder[end:]), at_end)
                case "{":
                    options, end = _alternatives(remainder)
                    numbers = [self._number(option + remainder[end:]) for option in options]
                    return _Fork(tuple(dict.fromkeys(numbers)), at_end)
                case "?":
                    return _Take(_anything, self._number(remainder[1:]), at_end)
                case "\\":
                    accepts = _escaped(remainder[1:2])
                    return _Take(accepts, self._number(remainder[2:]), at_end)
                case literal:
                    return _Take(literal.__eq__, self._number(remainder[1:]), at_end)
        except _MalformedError as error:
            return _Fixed(str(error), at_end)

    def _star(self, behind: str, at_end: _Outcome) -> _Node:
        if not behind:
            return _Fixed((), at_end)
        if behind[0] == "/":
            return _Fixed((self._start(behind[1:]),), at_end)
        return _Star(self._number(behind), at_end)

    def _at_end(self, remainder: str) -> _Outcome:
        """The outcome when the component of the name has been used up."""
        slash = _find(remainder, "/", 0)
        try:
            if not self._can_be_empty(remainder if slash < 0 else remainder[:slash]):
                return None
        except _MalformedError as error:
            return str(error) if slash < 0 else "braces around a `/`, where the name may end"
        return () if slash < 0 else (self._start(remainder[slash + 1 :]),)

    def _can_be_empty(self, text: str) -> bool:
        """As the function, each rest of a pattern once: `{}{}{}…` has as many as braces."""
        begun: dict[str, list[str]] = {}
        known = self._emptiness
        outcome: bool | str
        try:
            while text.startswith("{") and text not in known:
                begun[text], end = _alternatives(text)
                text = text[end:]
            outcome = known.get(text, text in ("", "*", "**"))
        except _MalformedError as error:
            outcome = str(error)
        for whole, options in reversed(begun.items()):
            if outcome is True:
                outcome = any(_can_be_empty(option, 1) for option in options)
            known[whole] = outcome
        if isinstance(outcome, str):
            raise _MalformedError(outcome)
        return outcome


def _anything(_: str) -> bool:
    return True


def _escaped(char: str) -> Callable[[str], bool]:
    # Go cannot tell the replacement character from the lack of one.
    if char in ("", "\ufffd"):
        raise _MalformedError("`\\` stands before nothing")
    return char.__eq__


def _components(name: str) -> list[str]:
    """The name split at `/`, where a `\\` before it hides it. `splitPathOnSeparator`."""
    components, begin = [], 0
    while (slash := _find(name, "/", begin)) >= 0:
        components.append(name[begin:slash])
        begin = slash + 1
    return [*components, name[begin:]]


def _find(text: str, char: str, begin: int) -> int:
    """Where `char` is without a `\\` before it, even if that is escaped itself; else -1."""
    end = text.find(char, begin)
    while end > begin and text[end - 1] == "\\":
        begin = end + 1
        end = text.find(char, begin)
    return end


def _character_class(text: str) -> tuple[Callable[[str], bool], int]:
    """The test for the class that `text` begins with, and where it ends."""
    end = _find(text, "]", 1)
    if end < 0:
        raise _MalformedError("`[` is not closed")
    if end == 1:
        raise _MalformedError("`[]` is empty")
    negated = text[1] == "^"
    ranges, at = [], 2 if negated else 1
    while at < end:
        low, at = _class_character(text, at, end)
        high = low
        if at < end and text[at] == "-":
            high, at = _class_character(text, at + 1, end)
        ranges.append((low, high))
    return lambda char: any(low <= char <= high for low, high in ranges) != negated, end + 1


def _class_character(text: str, at: int, end: int) -> tuple[str, int]:
    if at < end and text[at] == "\\":
        at += 1
    elif at < end and text[at] == "-":
        raise _MalformedError("`-` in `[…]` does not stand between two characters")
    if at >= end:
        raise _MalformedError("`[…]` ends too early")
    return text[at], at + 1


def _alternatives(text: str) -> tuple[list[str], int]:
    """The alternatives in the braces that `text` begins with, and where these end.

    Classes are not looked at: a brace or a comma in `[…]` counts. `splitAlternatives`.
    """
    options, depth, begin, escaped = [], 0, 1, False
    for at, char in enumerate(text):
        if escaped:
            escaped = False
        elif char == "\\":
            escaped = True
        elif char == "{":
            depth += 1
        elif char == "," and depth == 1:
            options.append(text[begin:at])
            begin = at + 1
        elif char == "}":
            depth -= 1
            if depth == 0:
                return [*options, text[begin:at]], at + 1
    raise _MalformedError("`{` is not closed")


def _can_be_empty(text: str, nesting: int = 0) -> bool:
    """Whether doublestar thinks that a pattern may match nothing. `isZeroLengthPattern`."""
    groups = []
    while text.startswith("{"):
        options, end = _alternatives(text)
        groups.append(options)
        text = text[end:]
    if nesting > _MAX_NESTING:
        raise PatternError(f"a pattern nests braces deeper than {_MAX_NESTING}")
    return text in ("", "*", "**") and all(
        any(_can_be_empty(option, nesting + 1) for option in options)
        for options in reversed(groups)
    )
