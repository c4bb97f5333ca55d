"""Pure: routes and their Operations as an OpenAPI 3.1 document, and the document as tables.

Comes in: what `routing.routes_of` found. Goes out: /openapi.json, docs/openapi.json, and the
generated parts of docs/api.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta, Struct

from syncwatch.report.operations import Answer, Error, Guard, Operation, parameters
from syncwatch.report.pages import ELSEWHERE, PAGES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from syncwatch.report.routing import Route

REF = "#/components/schemas/{name}"
JSON = "application/json"
WORDS = (
    "What was pushed to Harbor, and whether it arrived. Times are RFC 3339 in UTC with "
    "milliseconds. Names may be added to any object; none is renamed. An error is "
    '{"error": {"code", "message"}}.'
)
SECURITY = {
    "token": {
        "type": "http",
        "scheme": "bearer",
        "description": "`token` or `token_file` of the configuration; where neither is there, "
        "everybody may read and nobody may write.",
    },
    "cookie": {
        "type": "apiKey",
        "in": "cookie",
        "name": "syncwatch",
        "description": "What `POST /sign-in` gives for the token; it opens the page only.",
    },
    "webhook": {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": "The value agreed with Harbor: `webhook` of the harbor's configuration.",
    },
}
_SECURITY_OF: dict[Guard, list[dict[str, list[str]]]] = {
    Guard.NOBODY: [],
    Guard.READ: [{"token": []}, {}],
    Guard.WRITE: [{"token": []}],
    Guard.HARBOR: [{"webhook": []}, {}],
    Guard.BROWSER: [{"token": []}, {"cookie": []}, {}],
}


class HarborName(Struct, frozen=True):
    """Whose webhook it is."""

    harbor: Annotated[
        str, Meta(description="the Harbor's `name` in the configuration", examples=["main"])
    ]


# The intake serves it, and knows nothing of reports: that is why it stands here.
WEBHOOK = Operation(
    "webhook",
    "takes one delivery",
    {
        202: Answer(
            "it is durable; also a repeat, and an object that we have no use for", None, content=""
        ),
        400: Answer("the body is no JSON object"),
        401: Answer("the Authorization value is not the agreed one"),
        404: Answer("no Harbor of that name is configured"),
        413: Answer("the body is longer than 1 MiB"),
        503: Answer(
            "it could not be made durable",
            headers={"Retry-After": "seconds after which to send it again"},
        ),
    },
    path=HarborName,
    body=dict[str, Any],
    guard=Guard.HARBOR,
    details="On `webhook_listen`, where Harbor sends it, in either of its formats.",
)
WEBHOOK_PATH = "/webhook/{harbor}"


def document(routes: Sequence[Route]) -> dict[str, Any]:
    """The document of these routes and the webhook. One without Operation has no summary."""
    told = {
        (one.method, one.path): one.operation or PAGES.get((one.method, one.path)) for one in routes
    }
    known = [one for one in told.values() if one is not None]
    schemas = _Schemas([WEBHOOK, *known])
    paths: dict[str, dict[str, Any]] = {
        WEBHOOK_PATH: {
            "servers": [{"url": "http://127.0.0.1:8080", "description": "`webhook_listen`"}],
            "post": _operation(WEBHOOK, schemas),
        }
    }
    for (method, path), operation in told.items():
        if path != ELSEWHERE:
            one = _operation(operation, schemas) if operation else {"responses": {}}
            paths.setdefault(path, {})[method.lower()] = one
    return {
        "openapi": "3.1.0",
        "info": {"title": "syncwatch", "version": "v1", "description": WORDS},
        "servers": [{"url": "/", "description": "`listen`"}],
        "paths": paths,
        "components": {"securitySchemes": SECURITY, "schemas": schemas.components},
    }


class _Schemas:
    """JSON Schema of every form; what is a Struct or an enum stands under `components`."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        forms: list[Any] = [Error]
        queries: list[type[Struct]] = []
        for one in operations:
            forms += [answer.form for answer in one.all_answers().values() if answer.form]
            forms += [one.body] if one.body is not None else []
            queries += [one.query, one.path]
        self._forms = {form: index for index, form in reversed(list(enumerate(forms)))}
        self._schemas, found = msgspec.json.schema_components([*forms, *queries], ref_template=REF)
        self._queries = {
            form: found[_name(self._schemas[len(forms) + index])]
            for index, form in enumerate(queries)
        }
        asked = {_name(one) for one in self._schemas[len(forms) :]}
        self.components = {name: found[name] for name in sorted(found) if name not in asked}

    def of(self, form: Any) -> dict[str, Any]:
        """A form that is sent as JSON."""
        told: dict[str, Any] = self._schemas[self._forms[form]]
        return told

    def parameter(self, form: type[Struct], name: str) -> dict[str, Any]:
        """A parameter: one that is left out is never null."""
        told = dict(self._queries[form]["properties"][name])
        told.pop("description", None)
        if "anyOf" in told:
            (plain,) = [one for one in told.pop("anyOf") if one != {"type": "null"}]
            told |= plain
        if "default" in told and told["default"] in (None, [], ()):
            del told["default"]
        return told


def _name(schema: dict[str, Any]) -> str:
    return str(schema["$ref"]).rpartition("/")[2]


def _operation(one: Operation, schemas: _Schemas) -> dict[str, Any]:
    told: dict[str, Any] = {"operationId": one.name, "summary": one.summary}
    if one.details:
        told["description"] = one.details
    told["security"] = _SECURITY_OF[one.guard]
    asked = [*_parameters(one.path, "path", schemas), *_parameters(one.query, "query", schemas)]
    if asked:
        told["parameters"] = asked
    if one.body is not None:
        content = {one.body_content: {"schema": schemas.of(one.body)}}
        told["requestBody"] = {"required": one.body_required, "content": content}
    told["responses"] = {
        str(status): _response(status, answer, one.guard, schemas)
        for status, answer in one.all_answers().items()
    }
    return told


def _parameters(form: type[Struct], place: str, schemas: _Schemas) -> list[dict[str, Any]]:
    told = []
    for one in parameters(form).values():
        schema = schemas.parameter(form, one.name)
        examples = schema.pop("examples", [])
        parameter: dict[str, Any] = {"name": one.name, "in": place, "required": one.required}
        parameter |= {"description": one.help, "schema": schema}
        if examples:
            parameter["example"] = examples[0]
        told.append(parameter)
    return told


def _response(status: int, answer: Answer, guard: Guard, schemas: _Schemas) -> dict[str, Any]:
    told: dict[str, Any] = {"description": answer.when}
    if answer.headers:
        told["headers"] = {
            name: {"description": words, "schema": {"type": "string"}}
            for name, words in answer.headers.items()
        }
    if answer.form is not None:
        schema = schemas.of(answer.form)
        if status >= 400 and answer.form is not Error and guard in (Guard.READ, Guard.WRITE):
            # What is refused before the route is asked has no other form.
            schema = {"anyOf": [schema, schemas.of(Error)]}
        told["content"] = {JSON: {"schema": schema}}
    elif answer.content:
        text = {"schema": {"type": "string"}}
        told["content"] = dict.fromkeys(answer.content.split(", "), text)
    return told
