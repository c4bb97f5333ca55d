"""Whatever is sent: an answer in JSON, an error of the one form, on both stores; lists by pages."""

from __future__ import annotations

import base64
import contextlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from attack import TOKEN
from document import DOCUMENT
from running import Watched, until
from scene import scene
from servers.postgresql import postgresql
from yarl import URL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

ROWS = 5
LIST, FINDINGS = "/api/v1/expectations", "/api/v1/findings"
PATHS = json.loads(DOCUMENT.read_text(encoding="utf-8"))["paths"]
STORES = ["sqlite", pytest.param("postgresql", marks=pytest.mark.real)]
NASTY = {
    "NUL": "%00",
    "no UTF-8": "%FF%FE",
    "half of a character": "%ED%A0%80",
    "long": "x" * 4000,
    "a huge number": "9" * 40,
    "the longest number": "9" * 18,
    "a number below zero": "-1",
    "Arabic digits": "%D9%A1",
    "a pattern": "%25_*?[a-z]%5C",
    "a quote": "'%22;--",
    "an emoji": "%F0%9F%90%B3",
    "nothing": "",
    "null": "null",
}


@contextlib.asynccontextmanager
async def target(directory: Path, store: str = "sqlite") -> AsyncIterator[Watched]:
    """A daemon with five rows and two findings of one kind."""
    async with contextlib.AsyncExitStack() as stack:
        more: dict[str, Any] = {"more_destinations": [{"name": "there"}, {"name": "gone"}]}
        if store == "postgresql":
            server = await stack.enter_async_context(postgresql())
            more["store"] = server.url
        one = await stack.enter_async_context(scene(directory, token=TOKEN, **more))
        watched = await stack.enter_async_context(one.watched())
        watched.session.headers["Authorization"] = f"Bearer {TOKEN}"
        for number in range(ROWS):
            one.push(f"v{number}")
        for number in range(ROWS):
            await watched.row(reference=f"v{number}", state="verified")

        async def found() -> bool:
            return len(await unknown_destinations(watched)) == 2

        await until(found, told="two findings")
        yield watched


async def unknown_destinations(watched: Watched) -> list[dict[str, Any]]:
    return (await watched.get(FINDINGS, finding="destination_unknown"))["items"]


async def ask(
    watched: Watched, method: str, address: str, body: bytes | None = None
) -> tuple[int, Any]:
    """Status and JSON of an answer to an address as it is written, which every answer has."""
    url = URL(watched.daemon.url + address, encoded=True)
    async with watched.session.request(method, url, data=body, allow_redirects=False) as answer:
        assert answer.content_type == "application/json", await answer.text()
        assert answer.headers["Cache-Control"] == "no-store"
        return answer.status, await answer.json()


def is_error(told: Any) -> bool:
    error = told.get("error", {})
    return (
        told.keys() == {"error"} and error.keys() == {"code", "message"} and bool(error["message"])
    )


async def pages(watched: Watched, path: str, **query: str) -> list[list[dict[str, Any]]]:
    """All pages of a list."""
    told, cursor = [], {}
    while True:
        page = await watched.get(path, **query, **cursor)
        told.append(page["items"])
        if page["next"] is None:
            return told
        cursor = {"cursor": page["next"]}


async def test_a_list_comes_page_by_page(tmp_path: Path) -> None:
    async with target(tmp_path) as watched:
        told = await pages(watched, LIST, limit="2")
        assert [len(page) for page in told] == [2, 2, 1]
        assert [row["id"] for page in told for row in page] == ["5", "4", "3", "2", "1"]
        assert [len(page) for page in await pages(watched, LIST, limit="5")] == [5]
        whole = await unknown_destinations(watched)
        told = await pages(watched, FINDINGS, finding="destination_unknown", limit="1")
        assert [len(page) for page in told] == [1, 1]
        assert [one for page in told for one in page] == whole
        everything = (await watched.get(FINDINGS))["items"]
        for name in ("harbor", "severity", "finding"):
            for value in {one[name] for one in everything}:
                told = await watched.get(FINDINGS, **{name: value})
                assert told["items"] == [one for one in everything if one[name] == value]


async def test_a_damaged_cursor_is_refused(tmp_path: Path) -> None:
    async with target(tmp_path) as watched:
        good = (await watched.get(LIST, limit="1"))["next"]
        other = (await watched.get(FINDINGS, limit="1"))["next"]
        for text in ("", "x", "é", "=", "[1]", good[:-1], good + "!", good + good, *packed()):
            for path in (LIST, FINDINGS):
                status, told = await ask(watched, "GET", str(URL(path) % {"cursor": text}))
                assert status == 400, (path, text)
                assert told["error"]["message"].startswith("cursor is not one that a list gave")
        assert (await ask(watched, "GET", f"{LIST}?cursor={other}"))[0] == 400
        assert (await ask(watched, "GET", f"{FINDINGS}?cursor={good}"))[0] == 400


def packed() -> list[str]:
    """What looks like a cursor and is none."""
    places = ([], [-1], [2**63], [10**30], [1.5], ["1"], [None], [1, 2], {"id": 1}, 1, [True])
    texts = [json.dumps(one).encode() for one in places]
    return [base64.urlsafe_b64encode(one).decode().rstrip("=") for one in [*texts, b"\xff", b"["]]


def parameters() -> Iterator[tuple[str, str, str]]:
    """Path, name and place of every parameter of what may be read."""
    for path, operations in PATHS.items():
        for given in operations.get("get", {}).get("parameters", []):
            if path.startswith("/api/"):
                yield path, given["name"], given["in"]


def address_of(path: str, name: str, place: str, value: str) -> str:
    """Where the value is asked for; what else is needed is there."""
    if place == "path":
        return path.replace(f"{{{name}}}", value or "x")
    image = "image=apps/web:v1&" if "explain" in path or "gate" in path else ""
    return f"{path}?{image if name != 'image' else ''}{name}={value}"


@pytest.mark.parametrize("store", STORES)
async def test_no_value_of_a_parameter_makes_an_error_of_the_server(
    tmp_path: Path, store: str
) -> None:
    async with target(tmp_path, store) as watched:
        for path, name, place in parameters():
            for what, value in NASTY.items():
                address = address_of(path, name, place, value)
                status, told = await ask(watched, "GET", address)
                assert status in (200, 400, 404, 409, 422), (what, address, told)
                assert status == 200 or is_error(told) or "gate" in path
                if what in ("NUL", "long") and place == "query":
                    assert status == 400, (what, address, told)
        for body in (
            {"repository": "a\0"},
            {"destination": "a\0"},
            {"image": "a\0"},
            {"since": "\0"},
        ):
            status, told = await ask(
                watched, "POST", "/api/v1/observations", json.dumps(body).encode()
            )
            assert (status, told["error"]["code"]) == (400, "bad_request"), body
        for text in (b'{"repository": "\\ud800"}', b'{"repository": "\xff"}'):
            assert (await ask(watched, "POST", "/api/v1/observations", text))[0] == 400


async def test_an_unknown_parameter_is_refused_with_what_may_be_meant(tmp_path: Path) -> None:
    async with target(tmp_path) as watched:
        for path, operations in PATHS.items():
            if not path.startswith("/api/") and path != "/openapi.json":
                continue
            for method in operations:
                place = path.replace("{id}", "1").replace("{name}", "there")
                status, told = await ask(watched, method.upper(), f"{place}?nonsense=1")
                assert status == 400, (method, path)
                assert told["error"]["message"].startswith("there is no parameter 'nonsense'")
        for address, words in (
            (f"{LIST}?repositry=a", "did you mean repository?"),
            (f"{FINDINGS}?serverity=error", "did you mean severity?"),
            ("/api/v1/explain?img=a", "did you mean image?"),
            (f"{LIST}?limit=1&limit=2", "limit: written 2 times; write it once."),
            (f"{LIST}?limit=1001", "limit is a number from 1 to 1000."),
            (f"{LIST}?limit=1e2", "limit is a number from 1 to 1000."),
            (f"{FINDINGS}?limit=1.0", "limit is a number from 1 to 1000."),
            (f"{LIST}?limit=", "limit is a number from 1 to 1000."),
            ("/api/v1/gate?image=a&destination=", "destination is empty; write a name"),
            (f"/api/v1/gate?image=a{'&destination=b' * 101}", "written 101 times; 100 at most"),
            (f"{LIST}?state=", "state is empty; write one of pending, "),
            (f"{LIST}?state=done", "state is one of pending, verified, failed, unknown, closed."),
            (f"{LIST}?reason=bad", "reason is one of waiting, queued"),
            (f"{LIST}?overdue=maybe", "overdue is true or false."),
            (f"{FINDINGS}?severity=bad", "severity is one of error, warning, info."),
            ("/api/v1/explain", "image: write it; it is [HOST/]REPOSITORY[:TAG|@DIGEST]."),
        ):
            status, told = await ask(watched, "GET", address)
            assert status == 400, address
            assert words in told["error"]["message"], told


async def test_errors_of_the_server_itself_have_the_one_form(tmp_path: Path) -> None:
    async with target(tmp_path) as watched:
        big = b'{"note": "' + b"x" * 70_000 + b'"}'
        for method, address, body, status, code in (
            ("GET", "/api/v1/nowhere", None, 404, "not_found"),
            ("GET", "/api", None, 404, "not_found"),
            ("GET", "/api/v1/expectations/", None, 404, "not_found"),
            ("GET", "/api/v1/expectations/1/close", None, 405, "method_not_allowed"),
            ("DELETE", "/api/v1/expectations/1", None, 405, "method_not_allowed"),
            ("OPTIONS", LIST, None, 405, "method_not_allowed"),
            ("PATCH", "/openapi.json", None, 405, "method_not_allowed"),
            ("POST", "/metrics", None, 405, "method_not_allowed"),
            ("POST", "/api/v1/expectations/1/close", big, 413, "too_large"),
        ):
            url = URL(watched.daemon.url + address, encoded=True)
            async with watched.session.request(method, url, data=body) as answer:
                assert answer.status == status, (method, address)
                told = await answer.json()
                assert is_error(told)
                assert told["error"]["code"] == code
                assert ("Allow" in answer.headers) == (status == 405)


async def test_a_line_too_long_to_be_read_has_it_too(tmp_path: Path) -> None:
    async with target(tmp_path) as watched:
        status, told = await ask(watched, "GET", f"{LIST}?repository={'x' * 9000}")
        assert (status, is_error(told)) == (400, True)


async def test_head_answers_as_get_without_its_body(tmp_path: Path) -> None:
    async with target(tmp_path) as watched:
        for address, status in (
            (LIST, 200),
            (f"{LIST}?limit=0", 400),
            ("/api/v1/expectations/x", 404),
            ("/openapi.json", 200),
            ("/metrics", 200),
            ("/api/v1/gate?image=apps/web:v1", 405),
        ):
            async with watched.session.head(watched.daemon.url + address) as answer:
                assert answer.status == status, address
                assert await answer.read() == b""


async def test_the_document_is_told_to_who_has_the_token_and_to_nobody_else(tmp_path: Path) -> None:
    async with target(tmp_path) as watched:
        del watched.session.headers["Authorization"]
        for address in ("/openapi.json", LIST, "/api/v1/gate?image=a", "/api/v1/explain?image=a"):
            async with watched.session.get(watched.daemon.url + address) as answer:
                assert answer.status == 401
                assert answer.headers["WWW-Authenticate"] == "Bearer"
                assert is_error(await answer.json())
        for headers in ({"Authorization": "Bearer é"}, {"Authorization": "Bearer"}):
            url = watched.daemon.url + LIST
            async with watched.session.get(url, headers=headers) as answer:
                assert answer.status == 401
