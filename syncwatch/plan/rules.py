"""Pure: what matters in a replication policy as Harbor lists it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from syncwatch.harbor import wire
from syncwatch.model import Rules

if TYPE_CHECKING:
    from collections.abc import Mapping

PATH_TYPES: Mapping[str, str] = {
    "harbor": "AT_LEAST_TWO",
    "docker-hub": "ONLY_TWO",
    "huawei-SWR": "ONLY_TWO",
}
"""Adapters that limit how many components a destination name may have (reg/adapter/*/Info)."""


def rules_of(policy: wire.Policy) -> Rules:
    """The rules in a policy of Harbor's list."""
    endpoint = policy.dest_registry or wire.RegistryEndpoint()
    trigger = policy.trigger or wire.PolicyTrigger()
    return Rules(
        enabled=policy.enabled,
        trigger=policy.trigger_type,
        cron=trigger.cron,
        filters=tuple(_filter(one) for one in policy.filters or () if one.value),
        namespace=policy.dest_namespace,
        replace_count=policy.dest_namespace_replace_count,
        override=policy.override,
        deletion=policy.deletion or policy.replicate_deletion,
        pushes=policy.pushes,
        path_type=PATH_TYPES.get(endpoint.type, ""),
    )


def beside_rules(policy: wire.Policy) -> str:
    """What else of a policy can be edited: a change of it explains a new update_time."""
    rest = (policy.description, policy.speed, policy.copy_by_chunk)
    return repr((*rest, policy.single_active_replication))


def _filter(one: wire.PolicyFilter) -> tuple[str, str | tuple[str, ...], str]:
    value = one.value or ""
    return (one.type, tuple(value) if isinstance(value, list) else value, one.decoration or "")
