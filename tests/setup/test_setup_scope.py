"""Which projects a rule's name filter reaches, against what Harbor's own matching answered."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from syncwatch.setup.webhooks import reaches

ORACLE = Path(__file__).parent.parent / "oracle" / "match.json"


def test_a_pattern_that_matches_a_repository_reaches_its_project() -> None:
    names = [
        (case["pattern"], name.split("/"))
        for case in json.loads(ORACLE.read_text())
        for name in case.get("matches", ())
    ]
    repositories = [(pattern, parts) for pattern, parts in names if len(parts) > 1 and all(parts)]
    assert len(repositories) > 200
    assert [one for one in repositories if not reaches(one[0], one[1][0])] == []


@pytest.mark.parametrize(
    ("pattern", "project"),
    [
        ("apps/**", "library"),
        ("apps", "apps"),
        ("*", "apps"),
        ("{a,b/c}/**", "c"),
        ("{a/x,b}/y", "c"),
        ("a*/x", "b"),
        ("[/x", "["),
    ],
)
def test_a_pattern_does_not_reach_other_projects(pattern: str, project: str) -> None:
    assert not reaches(pattern, project)


@pytest.mark.parametrize(
    ("pattern", "project"),
    [("{a,b/c}/**", "b"), ("{a/x,b}/y", "a"), ("**/x", "any"), ("team-{a,b}/*", "team-b")],
)
def test_a_pattern_reaches_the_projects_of_its_alternatives(pattern: str, project: str) -> None:
    assert reaches(pattern, project)
