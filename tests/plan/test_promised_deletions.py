"""Which policies promise that what is deleted goes at the destination too."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from syncwatch.model import Origin, Rules
from syncwatch.plan.deletions import Gone, told_of
from syncwatch.plan.findings import CANNOT_DELETE, CANNOT_DELETE_A_TAG, of_policies
from syncwatch.plan.promises import Event, NoPromise, Promise, promise
from syncwatch.store.policies import Destination, Policy, Revision
from syncwatch.store.subjects import DueSubject

NOW = 1_800_000_000_000
RULES = Rules(
    enabled=True,
    trigger="event_based",
    cron="",
    filters=(("name", "apps/**", ""), ("tag", "v*", "")),
    namespace="",
    replace_count=0,
    override=True,
    deletion=True,
    pushes=True,
)
EVENT = Event("apps/web", "v1", "sha256:" + "a" * 64, NOW, Origin.DELETION)


def promised(event: Event = EVENT, *, selected: bool = False, **rules: Any) -> str:
    fields = {name: getattr(RULES, name) for name in RULES.__struct_fields__}
    revision = Revision(1, 1, 0, 3, Rules(**fields | rules))
    answer = promise(revision, event, selected=selected)
    return answer.repository if isinstance(answer, Promise) else answer.why


def test_an_event_based_policy_that_replicates_deletions_does() -> None:
    assert promised() == "apps/web"


@pytest.mark.parametrize(
    ("rules", "why"),
    [
        ({"deletion": False}, "it does not replicate deletions"),
        ({"enabled": False}, "it was disabled"),
        ({"pushes": False}, "it pulls into Harbor, which syncwatch does not follow"),
        ({"trigger": "scheduled"}, "it follows deletions only when it is event based"),
        ({"trigger": "manual"}, "it follows deletions only when it is event based"),
        ({"filters": (("tag", "w*", ""),)}, "its filters do not select it"),
    ],
)
def test_others_do_not_and_say_why(rules: dict[str, Any], why: str) -> None:
    assert promised(**rules) == why


def test_labels_count_where_they_are_known_and_harbors_own_run_where_they_are_not() -> None:
    labelled = {"filters": (("label", ("release",), ""),)}
    assert promised(**labelled) == "its filters do not select it"
    assert promised(dataclasses.replace(EVENT, labels=("release",)), **labelled) == "apps/web"
    assert promised(selected=True, **labelled) == "apps/web"
    assert promised(selected=True, deletion=False) == "it does not replicate deletions"


def subject(digest: str, pushed_at: int, deleted_at: int | None, operation: str = "copy") -> Any:
    return DueSubject(1, "apps/web", "v1", 9, digest, operation, pushed_at, deleted_at)


def test_what_went_is_what_was_wanted_last_at_the_time_that_was_told() -> None:
    found = told_of([subject("new", NOW, NOW + 5), subject("old", NOW - 9, None)], NOW + 99)
    assert found == Gone("apps/web", "v1", "new", NOW + 5, NOW + 99)


def test_word_of_a_deletion_before_the_last_push_is_of_an_earlier_one() -> None:
    assert told_of([subject("new", NOW, NOW - 5000)], NOW).at is None
    # A webhook tells whole seconds.
    assert told_of([subject("new", NOW, NOW - 999)], NOW).at == NOW - 999
    assert told_of([subject("new", NOW, NOW - 5000, "deletion")], NOW).at == NOW - 5000


@pytest.mark.parametrize(
    ("adapter", "what"),
    [
        ("docker-registry", "a single tag"),
        ("docker-hub", "a single tag"),
        ("github-ghcr", "anything"),
        ("harbor", None),
        ("aws-ecr", None),
    ],
)
def test_a_policy_whose_adapter_cannot_delete_is_a_finding(adapter: str, what: str | None) -> None:
    policy = Policy("main", 1, "to-there", 3, 1, RULES, None)
    there = Destination(3, "main", 1, "http://there", "there", adapter, "there", None)
    found = [one for one in of_policies([policy], [there]) if "deletion" in one.finding]
    assert [one.message.split("delete ")[1] for one in found] == ([f"{what}."] if what else [])


def test_what_cannot_delete_anything_cannot_delete_a_tag() -> None:
    assert CANNOT_DELETE < CANNOT_DELETE_A_TAG
    assert isinstance(promise(Revision(1, 1, 0, None, RULES), EVENT), NoPromise)
