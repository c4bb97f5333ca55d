"""From a file to settings, or to every problem in it: `file:line:column: path: wrong; cure`."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from syncwatch.config import document
from syncwatch.config.consistency import Loc, Place, Problem, suggestion
from syncwatch.config.document import Document, NotYamlError
from syncwatch.config.outline import list_settings, sections
from syncwatch.config.settings import Settings
from syncwatch.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_WORDS = {
    "missing": "required; set it",
    "int_parsing": "not a whole number",
    "int_type": "not a whole number",
    "int_from_float": "not a whole number",
    "bool_parsing": "neither true nor false; write one of the two",
    "bool_type": "neither true nor false; write one of the two",
    "string_type": "not a text; write one value",
    "model_type": "not a mapping; write its settings as NAME: VALUE",
    "tuple_type": "not a list; begin each item with -",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "too_short": "must have at least {min_length} item",
}
_NAMELIKE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_CHOICES = {"literal_error", "enum"}


Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Loaded(Generic[Model]):
    """What a file says, and where it says it."""

    value: Model
    path: Path
    document: Document

    def line(self, loc: Loc, message: str) -> str:
        """`file:line:column: path: message` for the value at `loc`, or what it is missing in."""
        return _lines(self.path, [Problem(loc, message)], self.document)[0]


def load(path: Path, environ: Mapping[str, str] = os.environ, *, serving: bool = True) -> Settings:
    """The settings in the YAML file at `path`; reads it and the files it names, nothing else.

    `serving` False drops the demand that every Harbor's deliveries be proven, for commands that
    take none. Raises ConfigError with all problems, none of which repeats a value.
    """
    begin = "begin with harbors:, see docs/example.yml"
    return load_as(Settings, path, environ, begin=begin, serving=serving).value


def load_as(
    model: type[Model], path: Path, environ: Mapping[str, str], *, begin: str, **context: object
) -> Loaded[Model]:
    """The file at `path` as any such model; `begin` tells whoever wrote an empty one how to.

    Validators find `context` and the file's `directory` in theirs. Raises ConfigError as `load`.
    """
    found = _read(path, environ, list_settings(model), begin)
    problems = list(found.problems)
    value = None
    try:
        value = model.model_validate(found.data, context={"directory": str(path.parent), **context})
    except ValidationError as error:
        problems += _problems(error, found, model)
    if value is None or problems:
        raise ConfigError(_lines(path, problems, found))
    return Loaded(value, path, found)


def _read(
    path: Path, environ: Mapping[str, str], may_be_empty: frozenset[str], begin: str
) -> Document:
    try:
        text = path.read_text(encoding="utf-8-sig")
        found = document.read(text, environ, may_be_empty)
    except NotYamlError as error:
        place = f":{error.place.line}:{error.place.column}" if error.place else ""
        raise ConfigError([f"{path}{place}: {error.message}"]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"{path}: {_unreadable(error)}"]) from None
    if not isinstance(found.data, dict):
        what = "empty" if found.data is None else "not a mapping of settings"
        raise ConfigError([f"{path}:1:1: {what}; {begin}"])
    return found


def _unreadable(error: OSError | UnicodeDecodeError) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file; name the configuration with -c FILE"
    if isinstance(error, IsADirectoryError):
        return "a directory; name the configuration file in it"
    if isinstance(error, OSError):
        return f"cannot be read: {error.strerror}; let this user read it"
    return "not UTF-8 text; save it as UTF-8"


def _problems(error: ValidationError, found: Document, model: type[BaseModel]) -> Iterator[Problem]:
    """What pydantic found, in our words; silent about places of which something was said."""
    said = {problem.loc for problem in found.problems if not problem.place}
    for detail in error.errors(include_url=False, include_input=False):
        loc = detail["loc"]
        if detail["type"] == "value_error" and loc not in found.values:
            loc = loc[:-1]  # a rule about a setting that is not there speaks of its section
        if loc not in said:
            unknown = detail["type"] == "extra_forbidden"
            yield Problem(loc, _message(detail, model), found.keys.get(loc) if unknown else None)


def _message(detail: Any, model: type[BaseModel]) -> str:
    kind, context = detail["type"], detail.get("ctx") or {}
    if kind == "extra_forbidden":
        return _unknown_setting(detail["loc"], model)
    if kind in _CHOICES:
        return f"not one of {context['expected'].replace(' or ', ', ')}".replace("'", "")
    if kind in _WORDS:
        return _WORDS[kind].format(**context)
    return str(context.get("error") or detail["msg"])


def _unknown_setting(loc: Loc, top: type[BaseModel]) -> str:
    name = str(loc[-1])
    homes = [where or "the top" for where, model in sections(top) if name in model.model_fields]
    if homes:
        return f"unknown here; it belongs in {' or '.join(homes)}"
    known = list(_model_at(loc[:-1], top).model_fields)
    everything = "`syncwatch config schema`" if top is Settings else "the documentation"
    return f"unknown setting; {suggestion(name, known) or f'{everything} lists all'}"


def _model_at(loc: Loc, top: type[BaseModel]) -> type[BaseModel]:
    where = ".".join(part for part in loc if isinstance(part, str))
    return {path.replace("[]", ""): model for path, model in sections(top)}[where]


def _lines(path: Path, problems: list[Problem], found: Document) -> list[str]:
    said = {(_place(problem, found), _path(problem), problem.message) for problem in problems}
    return [
        f"{path}:{at.line}:{at.column}: {name}{': ' if name else ''}{what}"
        for at, name, what in sorted(said)
    ]


def _place(problem: Problem, found: Document) -> Place:
    """Where the problem's value stands, or else what it is missing in."""
    loc = problem.loc
    while loc not in found.values:
        loc = loc[:-1]
    return problem.place or found.values[loc]


def _path(problem: Problem) -> str:
    """The way to a setting as people write it: `harbors[0].url`; "…" for what is no name."""
    return "".join(map(_step, problem.loc)).removeprefix(".")


def _step(part: str | int) -> str:
    if isinstance(part, int):
        return f"[{part}]"
    return f".{part}" if _NAMELIKE.fullmatch(part) else ".…"
