"""Lists as Harbor gives them: `q`, `sort`, paging, X-Total-Count, a path-relative Link.

src/lib/q/builder.go, src/lib/orm/query.go and src/server/v2.0/handler/base.go; api.md §1. Keys that
Harbor does not know are ignored, `page_size=0` gives all, above 100 is 422.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote, unquote_plus, urlencode

from syncwatch.lab.answers import RefusedError, json_answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from aiohttp import web

T = TypeVar("T")

LARGEST_PAGE = 100


@dataclass(frozen=True, slots=True)
class Condition:
    """One `key=value` of a `q`, in the form it was written."""

    key: str
    form: str
    """`exact`, `fuzzy`, `range`, `any` or `all`."""
    values: tuple[Any, ...]

    def holds(self, value: Any) -> bool:
        """Whether a row's value meets it; times are Unix seconds."""
        match self.form:
            case "exact":
                return bool(str(value) == self.values[0])
            case "fuzzy":
                return str(self.values[0]).lower() in str(value).lower()
            case "range":
                low, high = self.values
                return bool((low == "" or value >= low) and (high == "" or value <= high))
        return value in self.values


def parse_q(text: str) -> list[Condition]:
    """The conditions of a `q`. Raises RefusedError (400) where Harbor does."""
    conditions = []
    for pair in filter(None, unquote_plus(text).split(",")):
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise RefusedError(
                400, "BAD_REQUEST", f"the query string must contain key=value: {pair}"
            )
        conditions.append(_condition(key.strip(), value))
    return conditions


def _condition(key: str, value: str) -> Condition:
    if value.startswith("~"):
        return Condition(key, "fuzzy", (value[1:],))
    closing = {"[": "]", "{": "}", "(": ")"}.get(value[:1])
    if closing is None:
        return Condition(key, "exact", (value.removeprefix("\\"),))
    if not value.endswith(closing):
        raise RefusedError(400, "BAD_REQUEST", f"invalid query string value: {value}")
    inner = value[1:-1]
    if closing == "]":
        low, tilde, high = inner.partition("~")
        if not tilde or "~" in high:
            raise RefusedError(400, "BAD_REQUEST", f"only one ~ is supported in the range: {value}")
        return Condition(key, "range", (_value(low), _value(high)))
    form = "any" if closing == "}" else "all"
    return Condition(key, form, tuple(_value(word) for word in inner.split()))


def _value(word: str) -> Any:
    """A time of layout `2006-01-02T15:04:05` in UTC, else a number, else text without quotes."""
    if not word:
        return ""
    try:
        return datetime.strptime(word, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC).timestamp()
    except ValueError:
        pass
    return int(word) if word.lstrip("-").isdigit() else word.strip("\"'")


def whole_number(request: web.Request, name: str, default: int) -> int:
    """A query parameter that must be a number. Raises RefusedError (422)."""
    text = request.query.get(name)
    if text is None:
        return default
    try:
        return int(text)
    except ValueError:
        message = f'{name} in query must be of type int64: "{text}"'
        raise unprocessable(message) from None


def unprocessable(message: str) -> RefusedError:
    """go-swagger's 422."""
    return RefusedError(422, "UNPROCESSABLE_ENTITY", f"validation failure list:\n{message}")


def list_answer(
    request: web.Request,
    rows: Iterable[T],
    render: Callable[[T], Any],
    *,
    keys: Mapping[str, Callable[[T], Any]],
    sort: str,
    conditions: Iterable[Condition] | None = None,
) -> web.Response:
    """One page of rows: filtered by `q` (or `conditions`), sorted, counted, linked."""
    page, size = whole_number(request, "page", 1), whole_number(request, "page_size", 10)
    if size > LARGEST_PAGE:
        raise unprocessable("page_size in query should be less than or equal to 100")
    wanted = parse_q(request.query.get("q", "")) if conditions is None else conditions
    found = [row for row in rows if _meets(row, wanted, keys)]
    _sort(found, request.query.get("sort", ""), sort, keys)
    shown = found if size <= 0 else found[(max(page, 1) - 1) * size :][:size]
    headers = {"X-Total-Count": str(len(found))}
    if link := _links(request, len(found), page, size):
        headers["Link"] = link
    return json_answer([render(row) for row in shown], headers=headers)


def _meets(row: T, conditions: Iterable[Condition], keys: Mapping[str, Callable[[T], Any]]) -> bool:
    return all(one.holds(keys[one.key](row)) for one in conditions if one.key in keys)


def _sort(rows: list[T], asked: str, default: str, keys: Mapping[str, Callable[[T], Any]]) -> None:
    """Sort in place; unknown keys are ignored, and with none known the default applies."""
    known = [word for word in asked.split(",") if word.lstrip("-") in keys]
    for word in reversed(known or default.split(",")):
        rows.sort(key=keys[word.lstrip("-")], reverse=word.startswith("-"))


def _links(request: web.Request, total: int, page: int, size: int) -> str:
    if size <= 0:
        return ""
    links = []
    if page > 1 and (page - 1) * size < total:
        links.append((page - 1, "prev"))
    if size * page < total:
        links.append((page + 1, "next"))
    return " , ".join(
        f'<{_page_url(request, number, size)}>; rel="{relation}"' for number, relation in links
    )


def _page_url(request: web.Request, page: int, size: int) -> str:
    """The same question for another page: keys sorted by Go, then unescaped by Harbor."""
    query = {**request.query, "page": str(page), "page_size": str(size)}
    return f"{request.rel_url.raw_path}?{unquote(urlencode(sorted(query.items())))}"
