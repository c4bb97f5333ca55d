"""Pure: the document of the API as the tables of docs/api.md.

Comes in: what `openapi.document` made. Goes out: Markdown by the name of its part: `routes`,
`objects`, and one for each operation, by its operationId.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    Document = Mapping[str, Any]

SCHEMAS = "#/components/schemas/"
_TOKENS = {
    (): "no",
    ("token", ""): "yes",
    ("token",): "yes, always",
    ("token", "cookie", ""): "yes, or the cookie",
    ("webhook", ""): "the value agreed with Harbor",
}
_TYPES = {
    "string": "text",
    "integer": "number",
    "number": "number",
    "boolean": "true or false",
    "null": "null",
    "object": "object",
}


def markdown(document: Document) -> dict[str, str]:
    """Every part of docs/api.md that is generated."""
    parts = {"routes": _routes(document), "objects": _objects(document)}
    for _, _, one in _operations(document):
        parts[one["operationId"]] = _operation(one, document)
    return parts


def _operations(document: Document) -> Iterator[tuple[str, str, dict[str, Any]]]:
    paths = document["paths"].items()
    for path, methods in sorted(paths, key=lambda one: (not one[0].startswith("/api/"), one[0])):
        for method in ("get", "post"):
            if method in methods:
                yield method.upper(), path, methods[method]


def _routes(document: Document) -> str:
    rows = []
    for method, path, one in _operations(document):
        token = _TOKENS[tuple(next(iter(way), "") for way in one["security"])]
        port = "listen"
        if "servers" in document["paths"][path]:
            port = "webhook_listen"
        elif path in ("/healthz", "/readyz"):
            port = "both"
        where = port if port == "both" else f"`{port}`"
        rows.append(f"| `{method} {path}` | {where} | {token} | {one['summary']} |")
    return _table("route | port | token | what it does", rows)


def _operation(one: Mapping[str, Any], document: Document) -> str:
    parts = [_lines(one["description"])] if "description" in one else []
    asked = [_parameter(told) for told in one.get("parameters", [])]
    if asked:
        parts.append(_table("parameter | in | what it is", asked))
    if "requestBody" in one:
        parts.append(_body(one["requestBody"], document))
    answers = [_answer(*told) for told in one["responses"].items()]
    parts.append(_table("status | if | body", answers))
    return "\n\n".join(parts)


def _parameter(told: Mapping[str, Any]) -> str:
    schema = told["schema"]
    words = [told["description"]]
    words += _bounds(schema)
    if told["required"] and told["in"] != "path":
        words.append("needed")
    if "default" in schema:
        words.append(f"`{_plain(schema['default'])}` unless told")
    return f"| `{told['name']}` | {told['in']} | {'; '.join(words)} |"


def _bounds(schema: Mapping[str, Any]) -> Iterator[str]:
    if schema.get("type") == "array":
        yield "may be given several times"
    if "enum" in schema:
        yield ", ".join(f"`{one}`" for one in schema["enum"])
    if "$ref" in schema:
        yield f"one of {_type(schema)}"
    if "minimum" in schema:
        yield f"{schema['minimum']} to {schema['maximum']}"
    if schema.get("type") == "boolean":
        yield "`true` or `false`"


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _body(told: Mapping[str, Any], document: Document) -> str:
    ((kind, content),) = told["content"].items()
    schema = content["schema"]
    form = "JSON" if kind == "application/json" else f"`{kind}`"
    left_out = "" if told["required"] else "; it may be left out"
    if "$ref" not in schema:
        return f"The body is a {form} object{left_out}."
    found = document["components"]["schemas"][_name(schema["$ref"])]
    rows = [*_fields(found, needed=True)]
    first = f"The body is {form}{left_out}. {found['description']}"
    return f"{_lines(first)}\n\n{_table('field | type | what it is', rows)}"


def _answer(status: str, told: Mapping[str, Any]) -> str:
    headers = [f"`{name}`: {head['description']}" for name, head in told.get("headers", {}).items()]
    words = "; ".join([told["description"], *headers])
    return f"| {status} | {words} | {_content(told.get('content', {}))} |"


def _content(content: Mapping[str, Any]) -> str:
    if "application/json" in content and "text/html" not in content:
        return _type(content["application/json"]["schema"])
    return ", ".join(f"`{kind}`" for kind in content) or "none"


def _objects(document: Document) -> str:
    sent = {
        _name(content["schema"]["$ref"])
        for _, _, one in _operations(document)
        for content in one.get("requestBody", {}).get("content", {}).values()
        if "$ref" in content["schema"]
    }
    parts = []
    for name, schema in document["components"]["schemas"].items():
        if name in sent:
            continue
        parts.append(f"### {name}")
        parts.append(_lines(schema.get("description", "")))
        if "enum" in schema:
            parts.append(", ".join(f"`{one}`" for one in schema["enum"]))
        else:
            parts += _object(name, schema, document)
    return "\n\n".join(part for part in parts if part)


def _object(name: str, schema: Mapping[str, Any], document: Document) -> Iterator[str]:
    own = schema["properties"]
    for other, told in document["components"]["schemas"].items():
        inherited = told.get("properties", {})
        if other != name and len(inherited) > 1 and inherited.items() <= own.items():
            yield f"The fields of [{other}](#{other.lower()}), and:"
            own = {field: one for field, one in own.items() if field not in inherited}
            break
    yield _table("field | type | what it is", _fields({**schema, "properties": own}))


def _fields(schema: Mapping[str, Any], *, needed: bool = False) -> Iterator[str]:
    for name, told in schema["properties"].items():
        words = told.get("description", "")
        if needed and name in schema["required"]:
            words += "; needed"
        yield f"| `{name}` | {_type(told)} | {words} |"


def _type(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(map(_type, schema["anyOf"]))
    if "$ref" in schema:
        name = _name(schema["$ref"])
        return f"[{name}](#{name.lower()})"
    if "allOf" in schema:
        return _type(schema["allOf"][0])
    if schema.get("format") == "date-time":
        return "time"
    if "enum" in schema:
        return ", ".join(f"`{one}`" for one in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    if isinstance(schema.get("additionalProperties"), dict) and schema["additionalProperties"]:
        return f"object of {_type(schema['additionalProperties'])}s"
    return _TYPES[schema.get("type", "object")]


def _name(reference: str) -> str:
    return reference.removeprefix(SCHEMAS)


def _lines(text: str) -> str:
    """A docstring as sentences, one a line."""
    return " ".join(text.split()).replace(". ", ".\n")


def _table(head: str, rows: Iterable[str]) -> str:
    columns = head.count("|") + 1
    return "\n".join([f"| {head} |", "|---" * columns + "|", *rows])
