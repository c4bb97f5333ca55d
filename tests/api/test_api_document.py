"""The daemon's /openapi.json, docs/openapi.json and docs/api.md tell of the same routes, parameters
and fields, each of them with words."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import jsonschema_rs
import pytest
from document import DOCUMENT, PAGE, TOP, page_of, served, written

from syncwatch.report.openapi import WEBHOOK_PATH

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KNOWN = json.loads(DOCUMENT.read_text(encoding="utf-8"))
WORDS = PAGE.read_text(encoding="utf-8")
EXAMPLES = {
    path: json.loads(text)
    for path, text in re.findall(
        r"<!-- example: (\S+) -->\n```json\n(.*?)^```", WORDS, flags=re.DOTALL | re.MULTILINE
    )
}


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in KNOWN["paths"].items():
        for method in methods.keys() - {"servers"}:
            yield method.upper(), path, methods[method]


async def test_the_daemon_serves_the_document_of_the_docs(tmp_path: Path) -> None:
    assert written(await served(tmp_path)) == DOCUMENT.read_text(encoding="utf-8"), (
        "run: python tests/api/document.py"
    )


def test_the_page_has_a_line_for_every_route_parameter_and_field() -> None:
    assert page_of(KNOWN) == WORDS, "run: python tests/api/document.py"


def test_every_route_has_its_heading_and_every_heading_its_route() -> None:
    headings = re.findall(r"^#+ (GET|POST) (/\S*)$", WORDS, flags=re.MULTILINE)
    assert sorted(headings) == sorted((method, path) for method, path, _ in operations())


def test_every_operation_is_described() -> None:
    names = [one.get("operationId") for _, _, one in operations()]
    assert all(names)
    assert len(set(names)) == len(names)
    for method, path, one in operations():
        assert one["summary"], (method, path)
        assert one["responses"], (method, path)
        told = {given["name"] for given in one.get("parameters", []) if given["in"] == "path"}
        assert told == set(re.findall(r"{(\w+)}", path)), path
        for given in one.get("parameters", []):
            assert given["description"], (path, given["name"])


def test_every_field_and_every_object_has_its_words() -> None:
    for name, schema in KNOWN["components"]["schemas"].items():
        assert schema["description"], name
        for field, told in schema.get("properties", {}).items():
            assert told.get("description"), (name, field)


def test_the_route_of_the_other_port_is_the_one_that_the_intake_has() -> None:
    code = (TOP / "syncwatch" / "intake.py").read_text(encoding="utf-8")
    assert re.findall(r'web\.(\w+)\("(.+?)"', code) == [("post", WEBHOOK_PATH)]


def test_every_list_and_answer_of_the_api_has_an_example() -> None:
    answers = {path for method, path, _ in operations() if method == "GET"}
    assert EXAMPLES.keys() == {path for path in answers if path.startswith("/api/")}


@pytest.mark.parametrize("path", EXAMPLES)
def test_an_example_is_such_an_answer(path: str) -> None:
    answer = KNOWN["paths"][path]["get"]["responses"]["200"]
    schema = answer["content"]["application/json"]["schema"]
    whole = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
    whole["components"] = {"schemas": {name: closed(one) for name, one in schemas().items()}}
    jsonschema_rs.validate(whole, EXAMPLES[path])


def schemas() -> dict[str, Any]:
    told: dict[str, Any] = KNOWN["components"]["schemas"]
    return told


def closed(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with all of its fields and no other."""
    if "properties" not in schema:
        return schema
    return {**schema, "additionalProperties": False, "required": list(schema["properties"])}
