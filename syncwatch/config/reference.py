"""The reference of all settings, generated from the model: JSON Schema, and tables for the docs."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from pydantic.json_schema import GenerateJsonSchema

from syncwatch.config.addresses import Address, StoreUrl
from syncwatch.config.outline import sections
from syncwatch.config.scalars import format_duration
from syncwatch.config.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic_core import core_schema


class _FileSchema(GenerateJsonSchema):
    """What may stand in a file: defaults as one writes them, and no null."""

    def encode_default(self, dft: Any) -> Any:
        if isinstance(dft, timedelta):
            return format_duration(dft)
        return str(dft) if isinstance(dft, Address | StoreUrl) else super().encode_default(dft)

    def nullable_schema(self, schema: core_schema.NullableSchema) -> dict[str, Any]:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> dict[str, Any]:
        generated = super().default_schema(schema)
        return {k: v for k, v in generated.items() if k != "default" or v is not None}

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def settings_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a configuration file, for editors and `config schema`."""
    return {
        "$schema": GenerateJsonSchema.schema_dialect,
        **Settings.model_json_schema(schema_generator=_FileSchema),
        "title": "syncwatch configuration",
        "description": "The YAML file that `syncwatch serve -c FILE` reads.",
    }


def reference() -> str:
    """A heading and a table of its settings for every section, as markdown."""
    definitions = settings_schema()
    lines: list[str] = []
    for where, model in sections():
        schema = definitions if model is Settings else definitions["$defs"][model.__name__]
        lines += [f"### {f'`{where}`' if where else 'Top level'}", "", str(model.__doc__), ""]
        lines += [*_table(schema, definitions["$defs"]), ""]
    return "\n".join(lines)


def _table(schema: dict[str, Any], definitions: dict[str, Any]) -> Iterator[str]:
    yield "| setting | type | default | meaning |"
    yield "|---|---|---|---|"
    for name, setting in schema["properties"].items():
        kind = _kind(setting, definitions)
        default = _default(setting, required=name in schema.get("required", ()))
        yield f"| `{name}` | {kind} | {default} | {setting['description']} |"


def _kind(setting: dict[str, Any], definitions: dict[str, Any]) -> str:
    """What may be written, in words."""
    if "$ref" in setting:
        return _kind(definitions[setting["$ref"].rsplit("/", 1)[-1]], definitions)
    if "enum" in setting:
        return ", ".join(f"`{word}`" for word in setting["enum"])
    if setting["type"] == "array":
        return f"list of {_kind(setting['items'], definitions)}"
    if setting["type"] == "integer":
        return f"number, {setting['minimum']} to {setting['maximum']}"
    if setting["type"] == "number":
        return f"number, over {setting['exclusiveMinimum']:g} to {setting['maximum']:g}"
    if setting["type"] == "boolean":
        return "`true`, `false`"
    return str(setting.get("x-kind", "mapping" if setting["type"] == "object" else "text"))


def _default(setting: dict[str, Any], *, required: bool) -> str:
    if required:
        return "required"
    default = setting.get("default")
    if default is None or isinstance(default, list | dict):
        return ""
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"
