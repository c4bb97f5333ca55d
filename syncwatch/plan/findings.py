"""Pure: what can be seen to be wrong with policies by reading them. Said once a policy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from syncwatch.errors import PatternError
from syncwatch.model import Finding, Severity, Trigger
from syncwatch.plan.matching import check_pattern

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from syncwatch.store.policies import Destination, Policy

CANNOT_DELETE_A_TAG = frozenset(
    {"docker-registry", "docker-hub", "huawei-SWR", "ali-acr", "jfrog-artifactory", "quay"}
    | {"gitlab", "dtr", "tencent-tcr", "github-ghcr"}
)
"""Adapters that inherit DeleteTag of the native one, which is an error (reg/adapter/native).

Those that have their own are harbor, aws-ecr, azure-acr, google-gcr and volcengine-cr.
"""

CANNOT_DELETE = frozenset({"github-ghcr"})
"""Adapters whose DeleteManifest does nothing and says that it did (reg/adapter/githubcr)."""


def of_policies(
    policies: Sequence[Policy], destinations: Sequence[Destination]
) -> Iterator[Finding]:
    """Findings of all policies that are not gone."""
    kinds = {one.id: one.type for one in destinations}
    for policy in policies:
        if policy.gone_at is None:
            yield from _of_policy(policy, kinds.get(policy.destination_id or 0, ""))


def _of_policy(policy: Policy, adapter: str) -> Iterator[Finding]:
    rules, name = policy.rules, policy.name
    event_based = rules.trigger == Trigger.EVENT_BASED
    yield from _malformed(policy, stops_all=event_based and rules.enabled)
    if event_based and not rules.pushes:
        yield _say(
            policy,
            "remote_source",
            Severity.ERROR,
            f"Policy {name} is event based with a remote source, so it never runs.",
            "Give it a schedule, or make this Harbor its source.",
        )
    if not rules.pushes:
        return
    if not rules.enabled:
        yield _say(
            policy,
            "policy_disabled",
            Severity.INFO,
            f"Policy {name} is disabled: what is pushed now is not copied, not even later.",
            "Enable it, and run it once by hand for what was pushed meanwhile.",
        )
    if event_based and _wants_labels(policy):
        yield _say(
            policy,
            "labels_never_match",
            Severity.ERROR,
            f"Policy {name} wants labels, and push events carry none: no push is ever copied.",
            "Filter by tag or repository, or run it on a schedule.",
        )
    if not rules.override:
        yield _say(
            policy,
            "override_off",
            Severity.INFO,
            f"Policy {name} does not override: a tag that moves keeps its old digest there.",
            "Switch override on, or use tags that never move.",
        )
    if rules.deletion and event_based and adapter in CANNOT_DELETE_A_TAG:
        what = "anything" if adapter in CANNOT_DELETE else "a single tag"
        yield _say(
            policy,
            "deletion_unsupported",
            Severity.WARNING,
            f"Policy {name} replicates deletion, and {adapter} cannot delete {what}.",
            "Delete whole artifacts, or expect deleted tags to stay at the destination."
            if adapter not in CANNOT_DELETE
            else "Expect what is deleted at the source to stay at the destination.",
        )


def may_not_read(harbor: str, projects: Sequence[str]) -> Finding:
    """What pushes and deletions there name cannot be told."""
    return Finding(
        "permission_missing",
        Severity.ERROR,
        f"harbor {harbor}: artifacts",
        f"Harbor {harbor} does not let us read artifacts of {', '.join(projects[:5])}: what was "
        "pushed or deleted there cannot be told.",
        "Give the robot account list of repository, and read and list of artifact, there.",
    )


def _malformed(policy: Policy, *, stops_all: bool) -> Iterator[Finding]:
    for kind, value, _ in policy.rules.filters:
        if kind not in ("name", "tag") or not isinstance(value, str):
            continue
        try:
            check_pattern(value, for_tags=kind == "tag")
        except PatternError as error:
            others = " and stops every other event-based policy with it" if stops_all else ""
            yield _say(
                policy,
                "malformed_pattern",
                Severity.ERROR,
                f"Policy {policy.name}: the {kind} filter {value!r} is malformed{others}: "
                f"{error.message}.",
                "Correct the pattern; pushes made meanwhile need a run by hand.",
            )


def _wants_labels(policy: Policy) -> bool:
    return any(
        kind == "label" and value and decoration != "excludes"
        for kind, value, decoration in policy.rules.filters
    )


def _say(policy: Policy, finding: str, severity: Severity, message: str, cure: str) -> Finding:
    return Finding(finding, severity, f"policy {policy.name}", message, cure)
