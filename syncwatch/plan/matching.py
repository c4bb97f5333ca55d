"""Which artifacts a policy's filters select, and under which name they arrive: Harbor's own rules.

In come a policy's filters and the artifacts of a repository, out go those that Harbor would copy,
with the tags that it would copy. Pure; `tests/oracle` holds what Harbor's functions answered.

Harbor matches names and tags with the Go library *doublestar* v1.3.4 since Harbor 2.11 (2.9 and
2.10 have v1.1.1, which knows no `/` and no `{` inside braces); see `src/pkg/reg/util/pattern.go`.
The whole name must match, case counts, nothing is trimmed, there is no regular expression.

================  ==============================================================================
`*` `?`           any characters, one character; never a `/`
`**`              any number of components, but only as a component of its own and not in braces;
                  `a**` is `a*`
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

import posixpath
import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from syncwatch.errors import FlatteningError, PatternError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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
    """Raise PatternError if any part of a pattern is malformed, whether or not a name reaches it.

    Names are taken to have no empty component. With `for_tags` the empty name counts as well: that
    is what Harbor asks a tag filter about an artifact without tags.
    """
    if not pattern:
        return
    program = _compile(pattern)
    for behind_globstar in (False, True):
        if problem := program.problem(empty=for_tags, behind_globstar=behind_globstar):
            effect = (
                "Harbor ignores the error behind `**/`, that part matches nothing"
                if behind_globstar
                else "Harbor fails on every name that reaches this part"
            )
            raise PatternError(f"pattern {pattern!r} is malformed: {problem}", cure=effect)


@lru_cache(maxsize=16384)
def _answer(pattern: str, name: str) -> bool | str:
    return _compile(pattern).evaluate(name)


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

    `order` lists the nodes so that each comes after those it leads to. `globstars` are the nodes
    that begin with a component `**`, with the node behind its `/` (None: nothing is behind).
    """

    nodes: tuple[_Node, ...]
    order: tuple[int, ...]
    starts: frozenset[int]
    globstars: dict[int, int | None]

    def evaluate(self, name: str) -> bool | str:
        """Whether the name matches; a sentence where Harbor fails. `doMatching` in its source."""
        starts = [node for node in self.order if node in self.starts]
        later: dict[int, bool | str] = {}
        reached: set[int] = set()
        for component in reversed(_components(name)):
            outcomes = self._outcomes(component)
            here: dict[int, bool | str] = {}
            for start in starts:
                if start in self.globstars:
                    behind = self.globstars[start]
                    if behind is None or here[behind] is True:
                        reached.add(start)
                    here[start] = start in reached
                else:
                    here[start] = _continued(outcomes[start], later)
            later = here
        return later[0]

    def _outcomes(self, component: str) -> list[_Outcome]:
        rows: list[_Row] = [[]] * len(self.nodes)
        for index in self.order:
            node = self.nodes[index]
            rows[index] = [*node.row(component, rows), node.at_end]
        return [row[0] for row in rows]

    def problem(self, *, empty: bool, behind_globstar: bool) -> str | None:
        """What is malformed in any part that a name can reach; None if nothing is."""
        pending = [(0, "start"), (0, "end")] if empty else [(0, "start")]
        seen = set(pending)
        while pending:
            outcome, following = self._following(*pending.pop(), behind_globstar)
            if isinstance(outcome, str):
                return outcome
            following += [(start, "start") for start in outcome or ()]
            pending += [step for step in following if step not in seen]
            seen.update(following)
        return None

    def _following(
        self, index: int, place: str, behind_globstar: bool
    ) -> tuple[_Outcome, list[tuple[int, str]]]:
        """What can come next at the start of, inside of, or at the end of a name's component."""
        node = self.nodes[index]
        if place == "end":
            return node.at_end, []
        if place == "start" and index in self.globstars:
            behind = self.globstars[index]
            return None, [(behind, "start")] if behind_globstar and behind is not None else []
        match node:
            case _Fixed():
                return node.now, []
            case _Take():
                return None, [(node.then, "inside"), (node.then, "end")]
            case _Star():
                return None, [(node.then, "inside")]
            case _Fork():
                return None, [(option, "inside") for option in node.options]


def _continued(outcome: _Outcome, later: dict[int, bool | str]) -> bool | str:
    """Whether one of the remainders matches the later components; no `later`: there are none."""
    if outcome is None or isinstance(outcome, str):
        return outcome or False
    if not later:
        return not outcome
    return next((later[start] for start in outcome if later[start] is not False), False)


@lru_cache(maxsize=512)
def _compile(pattern: str) -> _Program:
    try:
        return _Compiler(pattern).program()
    except _MalformedError as error:
        broken = _Fixed(str(error), str(error))
        return _Program((broken,), (0,), frozenset({0}), {})


class _Compiler:
    """Finds every remainder of a pattern that can be met, and what to do with each.

    Alternatives are tried as text, "option + what follows the brace", as doublestar does: so a
    class may begin in an option and end behind the brace.
    """

    def __init__(self, pattern: str) -> None:
        if len(pattern) > _MAX_LENGTH:
            raise _MalformedError(f"it is longer than {_MAX_LENGTH} characters")
        self.numbers: dict[str, int] = {}
        self.remainders: list[str] = []
        self.globstars: dict[int, int | None] = {}
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
        return _Program(tuple(nodes), tuple(order), frozenset(self.starts), self.globstars)

    def _number(self, remainder: str) -> int:
        if remainder not in self.numbers:
            if len(self.numbers) == _MAX_NODES:
                raise _MalformedError("it has too many alternatives")
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
            if not _can_be_empty(remainder if slash < 0 else remainder[:slash]):
                return None
        except _MalformedError as error:
            return str(error)
        return () if slash < 0 else (self._start(remainder[slash + 1 :]),)


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
        raise _MalformedError(f"braces are nested deeper than {_MAX_NESTING}")
    return text in ("", "*", "**") and all(
        any(_can_be_empty(option, nesting + 1) for option in options)
        for options in reversed(groups)
    )


@dataclass(frozen=True, slots=True)
class Filter:
    """One filter of a replication policy, as Harbor's API gives it.

    `type` is `name`, `tag`, `label` or `resource`; `value` a pattern for `name` and `tag`, label
    names for `label`. `decoration` is `matches`, `excludes` or empty, which means `matches`.
    """

    type: str
    value: str | Sequence[str]
    decoration: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.value, str):
            object.__setattr__(self, "value", tuple(self.value))

    @property
    def excludes(self) -> bool:
        """Whether what matches is left out; every other decoration means `matches`."""
        return self.decoration == "excludes"


@dataclass(frozen=True, slots=True)
class Artifact:
    """An artifact at the source: digest, its tags (none: untagged), names of its labels.

    Push events carry no labels, whatever the artifact has. `parent_tags` is for an accessory (a
    signature, an SBOM) met in a listing: there the tags of what it belongs to face the filters.
    """

    digest: str
    tags: Sequence[str]
    labels: Sequence[str]
    parent_tags: Sequence[str] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "tags", tuple(self.tags))
        object.__setattr__(self, "labels", tuple(self.labels))
        if self.parent_tags is not None:
            object.__setattr__(self, "parent_tags", tuple(self.parent_tags))


def select(
    filters: Sequence[Filter], repository: str, artifacts: Sequence[Artifact]
) -> tuple[Artifact, ...]:
    """The artifacts of a repository that pass all filters, with the tags that stay.

    Raises PatternError where Harbor fails; it fails for the whole policy then, so nothing of it
    would be copied. Harbor evaluates no `resource` filter (`src/pkg/reg/filter/artifact.go`).
    """
    if not covers(filters, repository):
        return ()
    selected = tuple(artifacts)
    for rule in filters:
        if rule.type == "label":
            selected = tuple(artifact for artifact in selected if _keeps_labels(rule, artifact))
        elif rule.type == "tag" and rule.value:
            kept = [_with_tags_kept(rule, artifact) for artifact in selected]
            selected = tuple(artifact for artifact in kept if artifact is not None)
    return selected


def covers(filters: Sequence[Filter], repository: str) -> bool:
    """Whether the `name` filters let a repository pass (`src/pkg/reg/filter/repository.go`).

    Raises PatternError where Harbor fails.
    """
    return all(
        not rule.value or matches(str(rule.value), repository) != rule.excludes
        for rule in filters
        if rule.type == "name"
    )


def _keeps_labels(rule: Filter, artifact: Artifact) -> bool:
    """`excludes` too asks for *all* the labels: an artifact with one of two is kept."""
    if not rule.value:
        return True
    return set(rule.value).issubset(artifact.labels) != rule.excludes


def _with_tags_kept(rule: Filter, artifact: Artifact) -> Artifact | None:
    pattern = str(rule.value)
    facing = artifact.tags if artifact.parent_tags is None else artifact.parent_tags
    if not facing:
        return artifact if matches(pattern, "") != rule.excludes else None
    kept = tuple([tag for tag in facing if matches(pattern, tag) != rule.excludes])
    if not kept:
        return None
    # Harbor forgets here that it is an accessory: a second tag filter meets its own tags.
    tags = kept if artifact.parent_tags is None else artifact.tags
    return replace(artifact, tags=tags, parent_tags=None)


def destination_repository(
    repository: str, namespace: str, replace_count: int, path_type: str = ""
) -> str:
    """The repository name at the destination (`src/controller/replication/flow/stage.go`).

    `namespace` empty: the source's name. Else it takes the place of the first `replace_count`
    components, or of all but the last one if that is negative. `path_type` is what the
    destination's adapter asks for: `ONLY_TWO`, `AT_LEAST_TWO` (another Harbor), or nothing.
    Raises FlatteningError, in Harbor's words, where Harbor fails; it fails for all repositories of
    that execution then.
    """
    if not namespace:
        return repository
    *parents, last = repository.split("/")
    if replace_count > len(parents):
        raise FlatteningError(
            f'the source repository "{repository}" contains only {len(parents)} path components '
            f"{_listed(parents)} excepting the last one, but the destination namespace flattening "
            f"level is {replace_count}"
        )
    kept = [] if replace_count < 0 else parents[replace_count:]
    destination = _joined([namespace, *kept, last])
    _check_components(destination, path_type)
    return destination


def _check_components(destination: str, path_type: str) -> None:
    parts = destination.split("/")
    if path_type == "ONLY_TWO" and len(parts) != 2:
        contains, rule = "contains", "only supports 2"
    elif path_type == "AT_LEAST_TWO" and len(parts) < 2:
        contains, rule = "contains only", "requires at least 2"
    else:
        return
    raise FlatteningError(
        f'the destination repository "{destination}" {contains} {len(parts)} path components '
        f"{_listed(parts)}, but the destination registry {rule}"
    )


def _listed(parts: list[str]) -> str:
    return f"[{' '.join(parts)}]"


def _joined(parts: list[str]) -> str:
    """Go's `path.Join`: no empty components, no `.`, and `..` is resolved."""
    # Python keeps two leading slashes, Go does not.
    return re.sub("^/+", "/", posixpath.normpath("/".join(part for part in parts if part)))
