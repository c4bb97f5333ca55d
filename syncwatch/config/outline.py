"""The shape of the configuration: which sections there are, and where."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args, get_origin

from pydantic import BaseModel

from syncwatch.config.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator


def sections(
    model: type[BaseModel] = Settings, where: str = ""
) -> Iterator[tuple[str, type[BaseModel]]]:
    """Every mapping of the configuration by its path, as `harbors[].webhook`; "" is the top."""
    yield where, model
    for name, info in model.model_fields.items():
        many = "[]" if get_origin(info.annotation) is tuple else ""
        for inner in _models_in(info.annotation):
            yield from sections(inner, f"{where}.{name}{many}".lstrip("."))


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_in(inner)


def list_settings(top: type[BaseModel] = Settings) -> frozenset[str]:
    """The names of all settings that are lists."""
    return frozenset(
        name
        for _, model in sections(top)
        for name, info in model.model_fields.items()
        if get_origin(info.annotation) is tuple
    )
