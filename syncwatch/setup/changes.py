"""What is to be done at Harbor, step by step, as values that may be shown."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from syncwatch.harbor.writing import Record

Form = dict[str, Any]
"""One thing in the file's words: field → value, comparable with ==."""


class Kind(StrEnum):
    """What is set up."""

    REGISTRY = "registry"
    RULE = "rule"
    WEBHOOK = "webhook"
    ROBOT = "robot"


class Action(StrEnum):
    """What is done with it."""

    CREATE = "create"
    CHANGE = "change"
    DELETE = "delete"
    KEEP = "keep"


@dataclass(frozen=True, slots=True, repr=False)
class Hidden:
    """A secret that can be compared and sent; its text tells only whether there is one."""

    value: str

    def __str__(self) -> str:
        return "(set)" if self.value else "(not set)"

    def __repr__(self) -> str:
        return f"Hidden{self}"


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field; `old` is None where the thing is new, or where Harbor does not tell."""

    field: str
    old: Any
    new: Any


@dataclass(frozen=True, slots=True)
class Step:
    """One thing of Harbor's, and what is done with it.

    `path` is its own, or that of its list where it is to be created; `record` what Harbor has (for
    a robot: the body to send); `form` the fields to send, `wanted` all that the file names of it,
    which Harbor has to have afterwards; `secret_file` where to write what Harbor
    tells once.
    """

    action: Action
    kind: Kind
    name: str
    path: str
    fields: tuple[FieldChange, ...] = ()
    record: Record = field(default_factory=dict, repr=False)
    form: Form = field(default_factory=dict, repr=False)
    wanted: Form = field(default_factory=dict, repr=False)
    secret_file: Path | None = None

    @property
    def title(self) -> str:
        """As sentences name it: `rule to-cluster1`."""
        return f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything to be done, in its order, and what is to be said about it.

    `pings` are the bodies of the connection tests that come first, by registry name.
    """

    steps: tuple[Step, ...] = ()
    notes: tuple[str, ...] = ()
    pings: Mapping[str, Record] = field(default_factory=dict, repr=False)
    registry_ids: Mapping[str, int] = field(default_factory=dict)

    @property
    def to_do(self) -> tuple[Step, ...]:
        """The steps that change something."""
        return tuple(step for step in self.steps if step.action is not Action.KEEP)


def differences(wanted: Form, present: Form) -> tuple[FieldChange, ...]:
    """The wanted fields that differ from those present."""
    return tuple(
        FieldChange(name, present.get(name), value)
        for name, value in wanted.items()
        if present.get(name) != value
    )


def additions(form: Form) -> tuple[FieldChange, ...]:
    """Every field of a thing that is to be made, the empty ones left out."""
    return tuple(FieldChange(name, None, value) for name, value in form.items() if value != "")


def named(section: Any, *names: str) -> Form:
    """Those fields that a section of the file names, in this order."""
    return {name: getattr(section, name) for name in names if name in section.model_fields_set}
