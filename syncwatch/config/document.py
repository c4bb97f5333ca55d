"""YAML as plain data that remembers where each value stood.

Every scalar stays the text that was written and the settings' types read it: so `mode: off`, the
password 0123 and the date of a pause are what they look like, whatever YAML 1.1 makes of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from syncwatch.config.consistency import Loc, Place, Problem

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping

_VARIABLE = re.compile(r"\$(?:\$|\{(?P<name>[^}]*)\}?)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TEXT, _NULL, _MERGE = (f"tag:yaml.org,2002:{kind}" for kind in ("str", "null", "merge"))
_PLAIN_TAGS = {
    f"tag:yaml.org,2002:{kind}" for kind in ("bool", "int", "float", "timestamp", "value")
}
_MOST_VALUES = 100_000
_PLAIN_TAGS |= {_TEXT, _MERGE}


class Unknown:
    """Stands where a value could not be had, which was said already."""


@dataclass
class Document:
    """What a file holds: `data`, where each value (`values`) and key (`keys`) stood, and problems.

    `problems` are those of the text itself; settings at their places say nothing more.
    """

    data: Any = None
    values: dict[Loc, Place] = field(default_factory=dict)
    keys: dict[Loc, Place] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


class NotYamlError(Exception):
    """The text is not one YAML document; its place where that is known."""

    def __init__(self, message: str, place: Place | None) -> None:
        super().__init__(message)
        self.message = message
        self.place = place


def read(text: str, environ: Mapping[str, str], may_be_empty: Container[str]) -> Document:
    """The document in `text`, `${NAME}` replaced from `environ`.

    A key of `may_be_empty` without a value is an empty list (all its items are commented out); any
    other is a problem. Raises NotYamlError, which repeats nothing of the text.
    """
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise NotYamlError(_explained(error), _place(mark) if mark else None) from None
    except (yaml.YAMLError, RecursionError):
        raise NotYamlError("not YAML: control characters or endless nesting", None) from None
    reader = _Reader(environ, may_be_empty)
    if node is not None:
        reader.document.data = reader.value(node, ())
    return reader.document


def _explained(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or "cannot be read"
    if "undefined alias" in problem:
        return "not YAML: a value begins with *; put it in quotes"
    if "single document" in str(error.context):
        return "not one document; remove the line --- and what follows"
    if "\\t" in problem:
        return "not YAML: a tab; indent with spaces"
    # Longer pieces in quotes may be pieces of a secret.
    problem = re.sub(r"'[^'<][^']+'", "…", problem)
    return f"not YAML: {problem}; look for a missing quote, colon or space before here"


def _place(mark: Any) -> Place:
    return Place(mark.line + 1, mark.column + 1)


def _key(node: yaml.Node) -> str:
    return node.value if isinstance(node, yaml.ScalarNode) else str(_place(node.start_mark))


class _Reader:
    """Walks the nodes of one document once."""

    def __init__(self, environ: Mapping[str, str], may_be_empty: Container[str]) -> None:
        self.document = Document()
        self._environ = environ
        self._may_be_empty = may_be_empty
        self._open: set[int] = set()

    def value(self, node: yaml.Node, loc: Loc) -> Any:
        """The plain value of `node`, which stands at `loc`."""
        self.document.values[loc] = _place(node.start_mark)
        if len(self.document.values) > _MOST_VALUES:
            raise NotYamlError(f"more than {_MOST_VALUES} values; aliases multiply them", None)
        if id(node) in self._open:
            return self._problem(loc, "contains itself; write it out instead of the alias")
        self._open.add(id(node))
        try:
            return self._inside(node, loc)
        finally:
            self._open.remove(id(node))

    def _inside(self, node: yaml.Node, loc: Loc) -> Any:
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, loc)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*loc, index)) for index, item in enumerate(node.value)]
        if node.tag == _NULL:
            return self._nothing(loc)
        if node.tag not in _PLAIN_TAGS:
            return self._problem(loc, "tags are not used here; quote a value that begins with !")
        return self._substituted(node.value, loc)

    def _nothing(self, loc: Loc) -> Any:
        if not loc:
            return None
        if loc[-1] in self._may_be_empty:
            return []
        return self._problem(
            loc, "no value; write one (in quotes if it begins with #) or remove it"
        )

    def _mapping(self, node: yaml.MappingNode, loc: Loc) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in self._pairs(node, loc):
            key, place = _key(key_node), _place(key_node.start_mark)
            if not isinstance(key_node, yaml.ScalarNode):
                self._problem(loc, "the name of a setting must be one word", place)
            elif ":" in key and value_node.tag == _NULL:
                # As in {token:s3cret}: what follows the colon may be a secret.
                key = key.partition(":")[0]
                self.document.values[*loc, key] = self.document.keys[*loc, key] = place
                result[key] = self._problem((*loc, key), "a space is missing after its colon")
            else:
                here = (*loc, key)
                self.document.keys[here] = place
                result[key] = self.value(value_node, here)
        return result

    def _pairs(self, node: yaml.MappingNode, loc: Loc) -> Iterator[tuple[yaml.Node, yaml.Node]]:
        """The pairs of a mapping, those merged with `<<` last and only where not set here."""
        seen: dict[str, Place] = {}
        merged: list[tuple[yaml.Node, yaml.Node]] = []
        for key, value in node.value:
            if key.tag == _MERGE:
                merged += self._merged(value, loc)
                continue
            name, place = _key(key), _place(key.start_mark)
            if name in seen:
                first = seen[name].line
                self._problem((*loc, name), f"set in line {first} already; keep one", place)
                continue
            seen[name] = place
            yield key, value
        for key, value in merged:
            if _key(key) not in seen:
                seen[_key(key)] = _place(key.start_mark)
                yield key, value

    def _merged(self, node: yaml.Node, loc: Loc) -> Iterator[tuple[yaml.Node, yaml.Node]]:
        for source in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            if not isinstance(source, yaml.MappingNode) or id(source) in self._open:
                place = _place(node.start_mark)
                self._problem(loc, "only another mapping can be merged; name it with *", place)
                continue
            self._open.add(id(source))
            yield from self._pairs(source, loc)
            self._open.remove(id(source))

    def _substituted(self, text: str, loc: Loc) -> Any:
        wrong: list[str] = []

        def replace(match: re.Match[str]) -> str:
            name = match["name"]
            if name is None:
                return "$"
            if not match[0].endswith("}") or not _NAME.fullmatch(name):
                wrong.append("a malformed ${NAME}; write $${ for a literal ${")
            elif name not in self._environ:
                wrong.append(f"${{{name}}} is not set in the environment; set it, or write $${{")
            return self._environ.get(name, "")

        result = _VARIABLE.sub(replace, text)
        return self._problem(loc, wrong[0]) if wrong else result

    def _problem(self, loc: Loc, message: str, place: Place | None = None) -> Unknown:
        self.document.problems.append(Problem(loc, message, place))
        return Unknown()
