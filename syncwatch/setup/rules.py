"""Pure: a replication rule in the file's words and in Harbor's."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from syncwatch.setup.changes import Form, named
from syncwatch.setup.words import LOCAL

if TYPE_CHECKING:
    from collections.abc import Mapping

    from syncwatch.harbor.writing import Record
    from syncwatch.setup.sections import FiltersSection, ReplicationSection

PATH = "/replication/policies"


@dataclass(frozen=True, slots=True, order=True)
class RuleFilter:
    """One filter; `values` are one pattern, or label names in order."""

    type: str
    excludes: bool
    values: tuple[str, ...]

    def __str__(self) -> str:
        word = "excludes " if self.excludes else "matches " if self.type in _DECORATED else ""
        return f"{self.type} {word}{', '.join(self.values)}"


_DECORATED = ("tag", "label")

DEFAULTS: Form = {
    "description": "",
    "namespace": "",
    "flattening": 1,
    "filters": (),
    "trigger": "manual",
    "cron": "",
    "deletion": False,
    "bandwidth": 0,
    "override": True,
    "enabled": True,
    "copy_by_chunk": False,
    "single_active_replication": False,
}
"""What Harbor's form has before it is filled in."""

_SAME_NAME = {
    "description": "description",
    "namespace": "dest_namespace",
    "flattening": "dest_namespace_replace_count",
    "bandwidth": "speed",
    "override": "override",
    "enabled": "enabled",
    "copy_by_chunk": "copy_by_chunk",
    "single_active_replication": "single_active_replication",
}


def wanted(section: ReplicationSection) -> Form:
    """What the file says of it; which side is remote is always said."""
    form: Form = {"source": section.source, "destination": section.destination}
    form |= named(section, *DEFAULTS)
    if section.filters is not None:
        form["filters"] = _filters(section.filters)
    if section.trigger is not None:
        form["cron"] = section.cron or ""
    return form


def _filters(section: FiltersSection) -> tuple[RuleFilter, ...]:
    found = []
    if section.name is not None:
        found.append(RuleFilter("name", excludes=False, values=(section.name,)))
    for excludes, way in ((False, "matches"), (True, "excludes")):
        tag = getattr(section.tag, way, None)
        labels = getattr(section.label, way, ())
        if tag is not None:
            found.append(RuleFilter("tag", excludes, (tag,)))
        if labels:
            found.append(RuleFilter("label", excludes, tuple(sorted(labels))))
    if section.resource is not None:
        found.append(RuleFilter("resource", excludes=False, values=(section.resource,)))
    return tuple(sorted(found))


def form_of(record: Record) -> Form:
    """What Harbor has; of the two names for deletion either may be missing (api.md §2)."""
    trigger = record.get("trigger") or {}
    count = record.get("dest_namespace_replace_count")
    return {
        "source": _side(record, "src_registry"),
        "destination": _side(record, "dest_registry"),
        "description": record.get("description", ""),
        "namespace": record.get("dest_namespace", ""),
        "flattening": -1 if count is None else count,
        "filters": _filters_of(record),
        "trigger": trigger.get("type") or "manual",
        "cron": (trigger.get("trigger_settings") or {}).get("cron", ""),
        "deletion": _deletes(record),
        "bandwidth": max(record.get("speed") or 0, 0),
        "override": record.get("override", False),
        "enabled": record.get("enabled", False),
        "copy_by_chunk": record.get("copy_by_chunk", False),
        "single_active_replication": record.get("single_active_replication", False),
    }


def _side(record: Record, key: str) -> str:
    registry = record.get(key) or {}
    return registry.get("name", "") if registry.get("id") else LOCAL


def _filters_of(record: Record) -> tuple[RuleFilter, ...]:
    """Sorted, for their order means nothing; one without a value filters nothing."""
    filters = (one for one in record.get("filters") or () if one.get("value"))
    return tuple(sorted(map(_filter_of, filters)))


def _filter_of(one: Record) -> RuleFilter:
    value = one["value"]
    values = (value,) if isinstance(value, str) else tuple(sorted(value))
    return RuleFilter(one.get("type", ""), one.get("decoration") == "excludes", values)


def _deletes(record: Record) -> bool:
    return bool(record.get("deletion") or record.get("replicate_deletion"))


def body(name: str, record: Record, form: Form, ids: Mapping[str, int]) -> Record:
    """What Harbor has with the fields of `form` set, for a PUT that replaces the whole.

    `record` is empty for a new rule; `ids` are those of the registries by name.
    """
    made: Record = copy.deepcopy(record) or {"name": name}
    made |= {theirs: form[ours] for ours, theirs in _SAME_NAME.items() if ours in form}
    for ours, theirs in (("source", "src_registry"), ("destination", "dest_registry")):
        if ours in form:
            made[theirs] = {"id": 0 if form[ours] == LOCAL else ids[form[ours]]}
    if "filters" in form:
        made["filters"] = [_filter_record(one) for one in form["filters"]]
    if "trigger" in form or "cron" in form:
        made["trigger"] = _trigger({**form_of(record), **form})
    deletion = form.get("deletion", _deletes(record))
    if deletion or "deletion" in form:
        # Harbor reads the first and shows both; the second is what older clients look at.
        made["deletion"] = made["replicate_deletion"] = deletion
    return made


def _filter_record(one: RuleFilter) -> Record:
    value: Any = list(one.values) if one.type == "label" else one.values[0]
    made = {"type": one.type, "value": value}
    if one.type in _DECORATED:
        made["decoration"] = "excludes" if one.excludes else "matches"
    return made


def _trigger(form: Form) -> Record:
    settings = {"trigger_settings": {"cron": form["cron"]}} if form["cron"] else {}
    return {"type": form["trigger"], **settings}
