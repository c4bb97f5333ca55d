"""What a list of Harbor's tells that is not known, by the rules in force when it was set."""

from __future__ import annotations

import pytest

from syncwatch.harbor import wire
from syncwatch.model import Rules
from syncwatch.plan.comparing import Comparison
from syncwatch.store.policies import Revision

DAY = 86_400_000
LOOKED = 1_800_000_000_000
"""2027-01-15T08:00:00Z: rules are known up to then."""


def news(*, trigger: str, labels: tuple[str, ...], pushed: str, known: bool = True) -> list[str]:
    rules = Rules(
        enabled=True,
        trigger=trigger,
        cron="0 0 3 * * *",
        filters=(("name", "apps/**", ""), ("label", labels, "")),
        namespace="",
        replace_count=0,
        override=True,
        deletion=False,
        pushes=True,
        known=known,
    )
    revisions = {1: [Revision(1, 1, LOOKED - 30 * DAY, 3, rules)]}
    artifact = wire.SourceArtifact(
        "sha256:" + "a" * 64,
        push_time="2027-01-01T00:00:00.000Z",
        tags=[wire.Tag("v1", pushed)],
        labels=[wire.Label("release")],
    )
    found = Comparison("apps/web", revisions, LOOKED).take([artifact], [], LOOKED)
    return [one.event.reference for one in found.told]


@pytest.mark.parametrize(
    ("trigger", "labels", "pushed", "expected"),
    [
        ("event_based", (), "2027-01-15T07:00:00.000Z", ["v1"]),
        ("event_based", (), "2027-01-15T08:00:01.000Z", []),
        ("event_based", (), "2026-12-01T00:00:00.000Z", []),
        ("scheduled", (), "2027-01-14T12:00:00.000Z", ["v1"]),
        ("scheduled", ("release",), "2027-01-15T07:00:00.000Z", ["v1"]),
        ("scheduled", ("release",), "2027-01-14T12:00:00.000Z", []),
    ],
    ids=[
        "set while the rule was in force",
        "younger than our last look at the rules",
        "older than the rule",
        "owed by a run that is over",
        "labelled before the run to come",
        "labelled nobody knows when, and the run is over",
    ],
)
def test_a_tag_is_news_where_its_rule_is_known_to_have_wanted_it(
    trigger: str, labels: tuple[str, ...], pushed: str, expected: list[str]
) -> None:
    assert news(trigger=trigger, labels=labels, pushed=pushed) == expected


def test_nothing_is_news_of_a_time_of_which_the_rules_are_unknown() -> None:
    pushed = "2027-01-15T07:00:00.000Z"
    assert news(trigger="event_based", labels=(), pushed=pushed, known=False) == []
