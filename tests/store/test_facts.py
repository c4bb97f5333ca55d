"""What is known beside expectations: findings, policies, executions, tasks; and forgetting."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import func, select
from stories import NOW, POLICY, Story, digest

from syncwatch.model import HOUR, Finding, Happening, Level, Observation, Reason, Rules, Severity
from syncwatch.store import (
    deliveries,
    executions,
    expectations,
    findings,
    observations,
    policies,
    retention,
    subjects,
)
from syncwatch.store.executions import SeenExecution, SeenTask
from syncwatch.store.policies import SeenPolicy
from syncwatch.store.schema import changes, claims
from syncwatch.store.schema import deliveries as delivery_rows
from syncwatch.store.schema import expectations as rows
from syncwatch.store.schema import findings as finding_rows
from syncwatch.store.schema import observations as observation_rows
from syncwatch.store.schema import subjects as subject_rows

if TYPE_CHECKING:
    from sqlalchemy import Connection

EXECUTION = SeenExecution(11, POLICY, "event_based", "InProgress", "", 1, NOW, None)
TASK = SeenTask(21, 11, POLICY, "copy", "apps/web", "mirror/web", 1, "InProgress", NOW, None)
RULES = Rules(True, "event_based", "", (("name", "apps/**", ""),), "", 0, True, False, True)
LISTED = SeenPolicy(POLICY, "to-cluster1", 1, "http://one", RULES, NOW)


def size(connection: Connection, table: Any) -> int:
    return connection.execute(select(func.count()).select_from(table)).scalar_one()


def finding(name: str, subject: str = "policy a", message: str = "It is wrong.") -> Finding:
    return Finding(name, Severity.ERROR, subject, message, "Mend it.")


def told(connection: Connection) -> list[tuple[str, str, str, int]]:
    query = select(finding_rows).order_by(finding_rows.c.source, finding_rows.c.finding)
    return [(one.source, one.finding, one.message, one.since) for one in connection.execute(query)]


def test_a_source_replaces_its_own_findings_and_keeps_their_since(connection: Connection) -> None:
    findings.replace(connection, "main", "one", [finding("a"), finding("b")], NOW)
    findings.replace(connection, "main", "two", [finding("a")], NOW)
    again = [finding("b", message="Still."), finding("c")]
    findings.replace(connection, "main", "one", again, NOW + 5)
    assert told(connection) == [
        ("one", "b", "Still.", NOW),
        ("one", "c", "It is wrong.", NOW + 5),
        ("two", "a", "It is wrong.", NOW),
    ]
    findings.replace(connection, "main", "one", [], NOW + 9)
    findings.drop(connection, "main", "two")
    assert told(connection) == []


def test_the_findings_of_one_source_are_bounded(connection: Connection) -> None:
    many = [finding("a", f"policy {number}") for number in range(findings.LIMIT + 50)]
    findings.replace(connection, "main", "one", many, NOW)
    assert size(connection, finding_rows) == findings.LIMIT


def test_an_execution_is_news_when_it_changes_and_then_due(connection: Connection) -> None:
    assert executions.see(connection, "main", [EXECUTION], NOW) == {11}
    assert executions.see(connection, "main", [EXECUTION], NOW + 5) == set()
    assert [row.execution_id for row in executions.due(connection, "main", NOW, 10)] == [11]
    executions.set_execution(connection, "main", 11, due_at=None, counted=True)
    assert executions.due(connection, "main", NOW, 10) == []
    ended = dataclasses.replace(EXECUTION, status="Succeed", end_at=NOW + 5)
    assert executions.see(connection, "main", [ended], NOW + 9) == {11}
    row = executions.known(connection, "main", [11])[11]
    assert (row.status, row.changed_at, row.due_at, row.counted) == (
        "Succeed",
        NOW + 9,
        NOW + 9,
        True,
    )


def test_an_execution_from_before_our_time_is_never_counted(connection: Connection) -> None:
    old = dataclasses.replace(EXECUTION, execution_id=10, start_at=NOW - 1)
    executions.see(connection, "main", [old, EXECUTION], NOW, NOW)
    known = executions.known(connection, "main", [10, 11])
    assert (known[10].counted, known[11].counted) == (True, False)


def test_attempts_that_end_apart_are_counted_apart(connection: Connection) -> None:
    executions.see(connection, "main", [EXECUTION], NOW)
    failed = dataclasses.replace(TASK, status="Failed", end_at=NOW + 1000)
    for task in (TASK, failed, failed, dataclasses.replace(failed, end_at=NOW + 20_000)):
        executions.see_task(connection, "main", task, NOW)
    (row,) = executions.tasks_of(connection, "main", 11)
    assert row.failures == 2


def test_a_webhook_before_the_api_gives_a_task_its_references(connection: Connection) -> None:
    executions.hint(connection, "main", 21, 11, ["1.0", "2.0"], NOW, failed=True)
    assert executions.to_plan(connection, "main", NOW, 10) == []
    executions.see(connection, "main", [EXECUTION], NOW)
    executions.see_task(connection, "main", TASK, NOW)
    (due,) = executions.to_plan(connection, "main", NOW, 10)
    assert (due.refs, due.trigger, due.start_at) == (("1.0", "2.0"), "event_based", NOW)
    (row,) = executions.tasks_of(connection, "main", 11)
    assert (row.errors, row.failures) == (1, 0)
    executions.planned(connection, "main", {21: NOW + 5})
    assert executions.to_plan(connection, "main", NOW, 10) == []
    executions.planned(connection, "main", {21: None})
    assert executions.to_plan(connection, "main", NOW + 10**9, 10) == []


def test_references_that_come_late_have_the_task_planned_again(connection: Connection) -> None:
    executions.see(connection, "main", [EXECUTION], NOW)
    executions.see_task(connection, "main", TASK, NOW)
    executions.planned(connection, "main", {21: None})
    executions.hint(connection, "main", 21, 11, ["1.0"], NOW, failed=False)
    assert [one.refs for one in executions.to_plan(connection, "main", NOW, 10)] == [("1.0",)]


def test_only_copies_since_a_moment_may_bring_an_image(connection: Connection) -> None:
    executions.see(connection, "main", [EXECUTION], NOW)
    executions.see_task(connection, "main", TASK, NOW)
    deletion = dataclasses.replace(TASK, task_id=22, operation="deletion")
    executions.see_task(connection, "main", deletion, NOW)

    def found(repository: str, since: int, harbor: str = "main") -> list[int]:
        rows = executions.runs_for(connection, harbor, POLICY, repository, since)
        return [row.task_id for row in rows]

    assert found("apps/web", NOW) == [21]
    assert found("apps/web", NOW + 1) == []
    assert found("apps/other", NOW) == []
    assert found("apps/web", NOW, "second") == []


def test_an_execution_without_tasks_is_told_apart(connection: Connection) -> None:
    executions.see(connection, "main", [EXECUTION], NOW)
    assert len(executions.without_tasks(connection, "main", POLICY, NOW)) == 1
    executions.see_task(connection, "main", TASK, NOW)
    assert executions.without_tasks(connection, "main", POLICY, NOW) == []


def test_a_repository_is_busy_while_a_task_may_go_on(connection: Connection) -> None:
    assert executions.last_touch(connection, "main", "mirror/web", NOW) == (False, 0)
    executions.see(connection, "main", [EXECUTION], NOW)
    executions.see_task(connection, "main", TASK, NOW)
    assert executions.last_touch(connection, "main", "mirror/web", NOW) == (True, 0)
    failed = dataclasses.replace(TASK, status="Failed", end_at=NOW + 1000)
    executions.see_task(connection, "main", failed, NOW)
    assert executions.last_touch(connection, "main", "mirror/web", NOW - 1) == (True, NOW + 1000)
    assert executions.last_touch(connection, "main", "mirror/web", NOW + 1) == (False, NOW + 1000)


def test_policies_are_kept_as_revisions_from_their_own_time_on(connection: Connection) -> None:
    policies.begin(connection, "main", NOW)
    here = policies.see_destination(connection, "main", 1, "http://one", "one", "docker-registry")
    assert policies.see_policy(connection, "main", LISTED, here, NOW) == ["created"]
    assert policies.see_policy(connection, "main", LISTED, here, NOW + 1) == []
    other = dataclasses.replace(
        LISTED, name="new", rules=msgspec.structs.replace(RULES, enabled=False, override=False)
    )
    told = policies.see_policy(connection, "main", other, here, NOW + 5)
    assert told == ["renamed", "disabled", "edited"]
    found = policies.known_revisions(connection, "main")
    assert [(one.revision, one.since, one.rules.enabled) for one in found] == [
        (1, NOW, True),
        (2, NOW + 5, False),
    ]
    policies.end_policy(connection, "main", POLICY, NOW + 9)
    assert policies.known_revisions(connection, "main") == []
    assert policies.known_policies(connection)[0].gone_at == NOW + 9


def test_a_destination_is_its_registry_and_url_and_its_name_is_a_label(
    connection: Connection,
) -> None:
    see = ("main", 1, "http://one")
    first = policies.see_destination(connection, *see, "old name", "docker-registry")
    assert policies.see_destination(connection, *see, "new name", "docker-registry") == first
    (row,) = policies.known_destinations(connection)
    assert (row.name, row.first_name) == ("new name", "old name")
    other = policies.see_destination(connection, "main", 1, "http://two", "n", "docker-registry")
    assert other != first
    policies.end_destinations(connection, [first], NOW)
    assert policies.see_destination(connection, *see, "n", "docker-registry") == first
    assert [one.gone_at for one in policies.known_destinations(connection)] == [None, None]


def test_what_is_claimed_is_known_for_its_repository_only(connection: Connection) -> None:
    subjects.claim(connection, "main", "apps/web", [digest("a"), digest("a"), digest("b")], NOW)
    subjects.claim(connection, "main", "apps/web", [digest("a")], NOW + 5)
    assert subjects.is_claimed(connection, "main", "apps/web", digest("a"))
    assert not subjects.is_claimed(connection, "main", "apps/other", digest("a"))
    retention.forget_claims(connection, NOW + 3 + 24 * HOUR)
    assert size(connection, claims) == 1


def look(at: int, level: Level | None = None, problem: Reason | None = None) -> Observation:
    return Observation(at, at, level=level, problem=problem)


def test_the_last_looks_are_kept_and_the_last_good_one(connection: Connection) -> None:
    name = (3, "apps/web", "1.0")
    observations.add(connection, *name, look(NOW, Level.MATCHED))
    for number in range(20):
        observations.add(connection, *name, look(NOW + number, problem=Reason.UNREACHABLE))
    kept = observations.latest(connection, *name)
    assert len(kept) == observations.KEPT + 1
    assert kept[-1].level is Level.MATCHED
    assert [one.at for one in kept[:2]] == [NOW + 19, NOW + 18]


def planned_deliveries(connection: Connection, count: int) -> None:
    new = [
        deliveries.NewDelivery("main", NOW + number, str(number), None, "PUSH_ARTIFACT", b"{}")
        for number in range(count)
    ]
    deliveries.add(connection, new)
    due = deliveries.due(connection, "main", NOW + count, count)
    deliveries.done(connection, [one.id for one in due[:-1]])


def test_planned_deliveries_go_when_they_are_old_or_too_many(connection: Connection) -> None:
    planned_deliveries(connection, 300)
    assert not retention.forget_deliveries(connection, NOW + 100, 1000)
    assert size(connection, delivery_rows) == 200
    assert not retention.forget_deliveries(connection, 0, 50)
    assert size(connection, delivery_rows) == 50
    # What is not planned yet stays, however old.
    retention.forget_deliveries(connection, NOW + HOUR, 0)
    assert size(connection, delivery_rows) == 1


def test_forgetting_goes_in_steps(connection: Connection) -> None:
    planned_deliveries(connection, retention.STEP + 10)
    assert retention.forget_deliveries(connection, NOW + HOUR, 1000)
    assert not retention.forget_deliveries(connection, NOW + HOUR, 1000)


def test_a_newest_generation_stays_and_older_ones_go_with_all_that_is_theirs(
    connection: Connection,
) -> None:
    story = Story(connection)
    for letter in "abc":
        story.open(letter)
        story.now += 1000
    story.judge(story.row(), Happening.SEEN)
    retention.forget_expectations(connection, story.now + 1, 1000)
    assert [letter for letter, *_ in story.all()] == ["c"]
    assert story.kept_counts() == story.counted()
    assert size(connection, changes) == 2


def test_a_generation_whose_tag_is_gone_goes_with_its_subject_and_looks(
    connection: Connection,
) -> None:
    story = Story(connection)
    story.open("a")
    observations.add(connection, 3, "apps/web", "1.0", look(NOW, Level.MATCHED))
    reason = Reason.DELETED_AT_SOURCE
    expectations.close(connection, story.row().id, reason, "gone.", story.now)
    retention.forget_expectations(connection, story.now, 1000)
    assert size(connection, rows) == 1
    retention.forget_expectations(connection, story.now + 1, 1000)
    tables = (rows, subject_rows, observation_rows, changes)
    assert [size(connection, table) for table in tables] == [0, 0, 0, 0]
    assert story.kept_counts() == {}


def test_too_many_ended_generations_go_oldest_first_and_open_ones_never(
    connection: Connection,
) -> None:
    story = Story(connection)
    for number in range(30):
        story.open(f"{number:x}"[-1])
        story.now += 1000
    retention.forget_expectations(connection, 0, 10)
    assert len(story.all()) == 11
    assert story.all()[-1][1] == "pending"
    assert story.kept_counts() == story.counted()


def test_what_was_overtaken_and_never_newest_is_forgotten_too(connection: Connection) -> None:
    story = Story(connection)
    story.open("a", current=False)
    retention.forget_expectations(connection, story.now + HOUR, 1000)
    assert story.all() == []


def test_an_id_that_was_forgotten_does_not_come_again(connection: Connection) -> None:
    story = Story(connection)
    story.open("a")
    first = story.row().id
    expectations.close(connection, first, Reason.DELETED_AT_SOURCE, "gone.", story.now)
    retention.forget_expectations(connection, story.now + 1, 1000)
    story.open("b")
    assert story.row().id > first


def test_ended_executions_go_with_their_tasks_and_open_ones_stay(connection: Connection) -> None:
    executions.see(connection, "main", [EXECUTION], NOW)
    executions.see_task(connection, "main", TASK, NOW)
    retention.forget_executions(connection, NOW + HOUR)
    assert len(executions.tasks_of(connection, "main", 11)) == 1
    executions.set_execution(connection, "main", 11, due_at=None)
    retention.forget_executions(connection, NOW)
    assert executions.known(connection, "main", [11])
    retention.forget_executions(connection, NOW + 1)
    assert executions.known(connection, "main", [11]) == {}
    assert executions.tasks_of(connection, "main", 11) == []
