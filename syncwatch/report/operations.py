"""Pure: what a route is, told once beside it: its parameters, its body, its answers.

A part of syncwatch that has routes writes an `Operation` for each and gives it with the handler to
`Api.guarded` (or, where it guards itself, to `routing.described`); method and path are those of the
route. From then on the query is checked by it, and /openapi.json and docs/api.md tell of it.

Parameters and bodies are msgspec Structs. Each field has its words in the type:
`limit: Annotated[int, Meta(ge=1, le=1000, description="items of a page")] = 100`. A field without
default is required; a list or tuple may be given several times; one that may be None may be left
out. `wants` in `Meta(extra={"wants": …})` completes the sentence "limit is …" of a refusal.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import StrEnum
from functools import cache
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import Meta, inspect

from syncwatch.reference import FORM

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Form = TypeVar("Form", bound=msgspec.Struct)

LONGEST = 1000
"""Characters of a parameter, unless its type says otherwise."""
SHOWN = 64
"""Characters of what somebody sent that a refusal repeats."""

_NUMBER = re.compile("-?[0-9]+")
_HOST = r"(?:(?:\[[0-9a-f:.]+\]|[A-Za-z0-9]+(?:[.-][A-Za-z0-9]+)*)(?::[0-9]{1,5})?/)?"
_NAME = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_END = r"(?::[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
# For readers and programs that ask: `reference.parse` decides, with a sentence of its own.
Ref = Annotated[
    str,
    Meta(
        examples=["apps/web:1.4.0"],
        extra={"wants": FORM},
        extra_json_schema={"pattern": f"^{_HOST}{_NAME}(?:/{_NAME})*{_END}$"},
    ),
]
"""An image as people write it: `syncwatch.reference`."""


class QueryError(ValueError):
    """A query that cannot be meant so; the text is a sentence for whoever sent it."""


class Guard(StrEnum):
    """Whose route it is."""

    NOBODY = "nobody"  # no token, and what is in the query is not looked at
    READ = "read"  # the token, where one is configured
    WRITE = "write"  # the token, and nobody where none is configured
    HARBOR = "harbor"  # the Authorization value agreed with Harbor
    BROWSER = "browser"  # the token, where one is configured, or the cookie had for it


class Nothing(msgspec.Struct, frozen=True):
    """No parameters."""


class ErrorWords(msgspec.Struct, frozen=True):
    """What went wrong."""

    code: Annotated[str, Meta(description="a word for programs", examples=["bad_request"])]
    message: Annotated[str, Meta(description="a sentence that names the place and the cure")]


class Error(msgspec.Struct, frozen=True):
    """An error, in the one form that all of them have."""

    error: Annotated[ErrorWords, Meta(description="code and message")]


@dataclass(frozen=True, slots=True)
class Answer:
    """One status of a route: `when` completes "if …", `form` is what the body holds.

    `form` is a Struct for JSON, None for a body that is no JSON (of `content`); an error unless it
    is said. `headers` has a sentence for each header of the answer that matters.
    """

    when: str
    form: Any = Error
    content: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Operation:
    """A route as the document has it, without method and path, which are the route's own.

    `name` is its operationId, unique, `summary` half a sentence, `answers` what it answers by
    status; `refusals` of its guard are added to them. `query` and `path` are its parameters, `body`
    the Struct that is sent as `body_content`, `body_required` whether it may be left out.
    """

    name: str
    summary: str
    answers: Mapping[int, Answer]
    query: type[msgspec.Struct] = Nothing
    path: type[msgspec.Struct] = Nothing
    body: Any = None
    body_required: bool = True
    body_content: str = "application/json"
    guard: Guard = Guard.READ
    details: str = ""

    def all_answers(self) -> dict[int, Answer]:
        """Its own answers and the refusals of its guard, by status."""
        told = refusals(self.guard, body=self.body is not None) | dict(self.answers)
        return dict(sorted(told.items()))


def refusals(guard: Guard, *, body: bool) -> dict[int, Answer]:
    """What any route with this guard may answer."""
    if guard not in (Guard.READ, Guard.WRITE):
        return {}
    told = {
        400: Answer("a parameter is unknown, written twice, or not as it is described"),
        401: Answer(
            "a token is configured, and the request does not have it",
            headers={"WWW-Authenticate": "`Bearer`"},
        ),
        503: Answer("the store is away (`store_unavailable`)"),
    }
    if guard is Guard.WRITE:
        told[403] = Answer("neither `token` nor `token_file` is configured, so nobody may write")
    if body:
        told[413] = Answer("the body is longer than 64 KiB")
    return told


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a form: its type without None, what a value has to be, in words,
    whether that is a whole number, and how often at most it may be written where it is repeated."""

    name: str
    type: Any
    help: str
    required: bool
    repeated: bool
    wants: str
    number: bool = False
    most: int | None = None


@cache
def parameters(form: type[msgspec.Struct]) -> Mapping[str, Parameter]:
    """The parameters of a form by the names they are sent under."""
    told = inspect.type_info(form)
    known = told.fields if isinstance(told, inspect.StructType) else ()
    types = {one.encode_name: one.type for one in msgspec.structs.fields(form)}
    return {one.encode_name: _parameter(one, types[one.encode_name]) for one in known}


def _parameter(known: inspect.Field, hint: Any) -> Parameter:
    told: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    kind: Any = known.type
    if isinstance(kind, inspect.Metadata):
        told, extra, kind = kind.extra_json_schema or {}, kind.extra or {}, kind.type
    kind = _without_none(kind)
    if isinstance(kind, inspect.Metadata):
        extra, kind = extra | (kind.extra or {}), kind.type
    repeated = isinstance(kind, inspect.ListType | inspect.VarTupleType)
    item = kind.item_type if repeated else kind
    if isinstance(item, inspect.Metadata):
        extra = (item.extra or {}) | extra
    wants = extra.get("wants") or _wanted(item)
    return Parameter(
        known.encode_name,
        _plain(hint),
        told.get("description", ""),
        known.required,
        repeated,
        wants,
        isinstance(kind, inspect.IntType),
        kind.max_length if repeated else None,
    )


def _plain(hint: Any) -> Any:
    """The type without None: in a query, `null` is a word like any other."""
    if get_origin(hint) is Annotated:
        inner, *meta = get_args(hint)
        return Annotated[(_plain(inner), *meta)]
    if get_origin(hint) in (Union, UnionType):
        return Union[tuple(one for one in get_args(hint) if one is not NoneType)]  # noqa: UP007
    return hint


def _without_none(kind: inspect.Type) -> Any:
    if isinstance(kind, inspect.UnionType):
        return next(one for one in kind.types if not isinstance(one, inspect.NoneType))
    return kind


def _wanted(kind: Any) -> str:
    kind = kind.type if isinstance(kind, inspect.Metadata) else kind
    match kind:
        case inspect.IntType(ge=int(low), le=int(high)):
            return f"a number from {low} to {high}"
        case inspect.BoolType():
            return "true or false"
        case inspect.EnumType(cls=cls):
            return f"one of {', '.join(map(str, cls))}"
        case inspect.LiteralType(values=values):
            return f"one of {', '.join(map(str, values))}"
        case inspect.StrType(max_length=longest):
            return f"a text of {longest or LONGEST} characters at most"
    return "not as it is described"


def read_query(pairs: Iterable[tuple[str, str]], form: type[Form]) -> Form:
    """The form filled from the pairs of a query. Raises QueryError for what cannot be meant."""
    known = parameters(form)
    given: dict[str, list[str]] = {}
    for name, value in pairs:
        if name not in known:
            raise QueryError(_unknown(name, known))
        _checked_text(known[name], value)
        given.setdefault(name, []).append(value)
    missing = [one.name for one in known.values() if one.required and one.name not in given]
    if missing:
        raise QueryError(f"{missing[0]}: write it; it is {known[missing[0]].wants}")
    values = {name: _value(known[name], texts) for name, texts in given.items()}
    return msgspec.convert(values, form)


def _checked_text(one: Parameter, value: str) -> None:
    name = one.name
    if one.number and not _NUMBER.fullmatch(value):
        # msgspec takes 1e2 and 1.0, too.
        raise QueryError(f"{name} is {one.wants}")
    if "\0" in value:
        # PostgreSQL has no such text, and no name at Harbor either.
        raise QueryError(f"{name}: there is a NUL in it; leave that out")
    if len(value) > LONGEST:
        raise QueryError(f"{name}: {len(value)} characters; write {LONGEST} at most")


def _unknown(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name[:SHOWN], known, 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"there is no parameter {name[:SHOWN]!a}{hint}"


def _value(one: Parameter, texts: list[str]) -> Any:
    if len(texts) > 1 and not one.repeated:
        raise QueryError(f"{one.name}: written {len(texts)} times; write it once")
    if one.most is not None and len(texts) > one.most:
        raise QueryError(f"{one.name}: written {len(texts)} times; {one.most} at most")
    try:
        return msgspec.convert(texts if one.repeated else texts[0], one.type, strict=False)
    except msgspec.ValidationError:
        if "" in texts:
            raise QueryError(f"{one.name} is empty; write {one.wants}") from None
        raise QueryError(f"{one.name} is {one.wants}") from None
