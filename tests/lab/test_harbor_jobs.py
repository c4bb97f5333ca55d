"""What the lab Harbor does by itself: runs, schedules, retries, queues, webhooks, history."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from lab_receiver import Receiver, until

from syncwatch.lab import images
from syncwatch.lab.harbor import LabHarbor
from syncwatch.lab.registry import Fault, LabRegistry
from syncwatch.lab.times import LabTimes

if TYPE_CHECKING:
    import random

WEB, WEB2 = images.image("web"), images.image("web 2")


def ready(harbor: LabHarbor, registry: LabRegistry, **policy: Any) -> int:
    """An endpoint `cluster1` and one policy for apps/**."""
    harbor.create_registry("cluster1", registry.url)
    return harbor.create_policy("to-cluster1", "cluster1", pattern="apps/**", **policy)


def job_statuses(receiver: Receiver) -> list[str]:
    return [detail for kind, detail in receiver.told() if kind == "REPLICATION"]


async def test_a_push_is_copied_and_told(
    harbor: LabHarbor, registry: LabRegistry, receiver: Receiver
) -> None:
    policy = ready(harbor, registry)
    harbor.create_webhook_policy("apps", f"{receiver.url}/hook", auth_header="Bearer x")
    harbor.push("apps/web", "1.0", WEB)
    await harbor.idle()
    assert registry.digest("apps/web", "1.0") == WEB.digest
    assert [row["status"] for row in harbor.executions(policy)] == ["Succeed"]
    assert receiver.told() == [
        ("PUSH_ARTIFACT", "1.0"),
        ("REPLICATION", "Running"),
        ("REPLICATION", "Success"),
    ]


@pytest.mark.parametrize(
    ("fault", "attempts"),
    [(Fault.SERVER_ERROR, 3), (Fault.UNAUTHORIZED, 3), (Fault.RESET, 3), (Fault.POLICY_BLOCKED, 3)],
)
async def test_a_failing_copy_is_tried_three_times(
    harbor: LabHarbor, registry: LabRegistry, receiver: Receiver, fault: Fault, attempts: int
) -> None:
    policy = ready(harbor, registry)
    harbor.create_webhook_policy("apps", f"{receiver.url}/hook")
    registry.fault(fault)
    harbor.push("apps/web", "1.0", WEB)
    await harbor.idle()
    assert job_statuses(receiver) == ["Running", "Error"] * attempts
    (execution,) = harbor.executions(policy)
    assert (execution["status"], execution["failed"]) == ("Failed", 1)


async def test_a_later_attempt_moves_the_tasks_start(
    harbor: LabHarbor, registry: LabRegistry, receiver: Receiver
) -> None:
    policy = ready(harbor, registry)
    harbor.create_webhook_policy("apps", f"{receiver.url}/hook")
    registry.fault(Fault.SERVER_ERROR)
    harbor.push("apps/web", "1.0", WEB)
    await until(lambda: "Error" in job_statuses(receiver))
    (execution,) = harbor.executions(policy)
    (before,) = harbor.tasks(execution["id"])
    harbor.switches.clock_skew += 60
    registry.clear()
    await harbor.idle()
    (after,) = harbor.tasks(execution["id"])
    assert after["start_time"] > before["start_time"]
    assert (before["status"], after["status"]) == ("Failed", "Succeed")


async def test_an_executions_status_is_late_and_its_counters_are_not(
    harbor: LabHarbor, registry: LabRegistry
) -> None:
    harbor.switches.hold_refresh = True
    policy = ready(harbor, registry)
    harbor.push("apps/web", "1.0", WEB)
    await harbor.world.settled()
    (late,) = harbor.executions(policy)
    assert (late["status"], late["succeed"], late["end_time"][:4]) == ("InProgress", 1, "0001")
    harbor.refresh()
    assert harbor.executions(policy)[0]["status"] == "Succeed"


async def test_without_holding_the_status_follows_by_itself(
    harbor: LabHarbor, registry: LabRegistry
) -> None:
    policy = ready(harbor, registry)
    harbor.push("apps/web", "1.0", WEB)
    await until(lambda: [row["status"] for row in harbor.executions(policy)] == ["Succeed"])


async def test_a_paused_queue_leaves_tasks_pending(
    harbor: LabHarbor, registry: LabRegistry
) -> None:
    policy = ready(harbor, registry)
    harbor.pause_queue()
    harbor.push("apps/web", "1.0", WEB)
    await until(lambda: harbor.executions(policy)[0]["total"] == 1)
    assert harbor.tasks(harbor.executions(policy)[0]["id"])[0]["status"] == "Pending"
    assert registry.requests == []
    harbor.resume_queue()
    await harbor.idle()
    assert registry.digest("apps/web", "1.0") == WEB.digest


async def test_held_flows_leave_executions_without_tasks(
    harbor: LabHarbor, registry: LabRegistry
) -> None:
    policy = ready(harbor, registry)
    harbor.hold_flows()
    harbor.push("apps/web", "1.0", WEB)
    (execution,) = harbor.executions(policy)
    assert (execution["status"], execution["total"]) == ("InProgress", 0)
    harbor.hold_flows(held=False)
    await harbor.idle()
    assert harbor.executions(policy)[0]["status"] == "Succeed"


async def test_scheduled_policies_fire_by_their_cron_in_utc(
    harbor: LabHarbor, registry: LabRegistry
) -> None:
    policy = ready(harbor, registry, trigger="scheduled", cron="0 0 3 * * *")
    harbor.push("apps/web", "1.0", WEB)
    assert harbor.executions(policy) == []
    harbor.switches.clock_skew += 86400
    await until(lambda: harbor.executions(policy))
    await harbor.idle()
    assert harbor.executions(policy)[0]["trigger"] == "scheduled"
    assert registry.digest("apps/web", "1.0") == WEB.digest


async def test_a_scheduled_policy_can_be_fired_at_once(
    harbor: LabHarbor, registry: LabRegistry, receiver: Receiver
) -> None:
    ready(harbor, registry, trigger="scheduled", cron="0 0 3 * * *")
    harbor.create_webhook_policy("apps", f"{receiver.url}/hook", event_types=["REPLICATION"])
    harbor.push("apps/web", "1.0", WEB)
    harbor.fire("to-cluster1")
    await harbor.idle()
    told = [one.body["event_data"]["replication"] for one in receiver.deliveries]
    assert {one["trigger_type"] for one in told} == {"SCHEDULE"}


async def test_a_run_by_hand_takes_signatures_along_whatever_their_tags(
    harbor: LabHarbor, registry: LabRegistry
) -> None:
    tags = {"type": "tag", "value": "v*"}
    ready(harbor, registry, trigger="manual", filters=[tags])
    harbor.push("apps/web", "v1", WEB)
    harbor.push("apps/web", images.signature_tag(WEB), images.signature(WEB))
    harbor.push("apps/web", "dev", WEB2)
    execution = harbor.run("to-cluster1")
    await harbor.idle()
    there = registry.contents.repository("apps/web").tags
    assert set(there) == {"v1", images.signature_tag(WEB)}
    assert harbor.tasks(execution)[0]["src_resource"] == "apps/web [2 item(s) in total]"


async def test_labels_match_on_a_run_and_never_on_a_push(
    harbor: LabHarbor, registry: LabRegistry
) -> None:
    labelled = {"type": "label", "value": ["prod"], "decoration": "matches"}
    policy = ready(harbor, registry, filters=[labelled])
    harbor.push("apps/web", "1.0", WEB)
    harbor.label("apps/web", "1.0", harbor.create_label("prod"))
    harbor.push("apps/web", "1.0", WEB)
    await harbor.idle()
    assert harbor.executions(policy) == []
    harbor.tag("apps/web", "1.0", "stable")
    await harbor.idle()
    assert [row["status"] for row in harbor.executions(policy)] == ["Succeed"]
    harbor.run(policy)
    await harbor.idle()
    assert set(registry.contents.repository("apps/web").tags) == {"1.0", "stable"}


async def test_a_selected_deletion_deletes_every_tag_of_the_artifact(
    harbor: LabHarbor, registry: LabRegistry
) -> None:
    ready(harbor, registry, deletion=True, filters=[{"type": "tag", "value": "v*"}])
    registry.push("apps/web", "dev", WEB)
    harbor.push("apps/web", "dev", WEB)
    harbor.push("apps/web", "v1", WEB)
    await harbor.idle()
    harbor.delete_artifact("apps/web", "v1")
    await harbor.idle()
    assert registry.contents.repository("apps/web").tags == {}


async def test_an_event_based_policy_with_a_remote_source_never_fires(
    harbor: LabHarbor, registry: LabRegistry
) -> None:
    policy = ready(harbor, registry)
    harbor.policy(policy).pull = True
    harbor.push("apps/web", "1.0", WEB)
    await harbor.idle()
    assert harbor.executions(policy) == []


async def test_another_harbor_gets_projects_copies_and_tag_deletions(harbor: LabHarbor) -> None:
    async with LabHarbor().serving() as other:
        harbor.create_registry(
            "other", other.url, username="admin", password=other.password, kind="harbor"
        )
        harbor.create_policy("p", "other", pattern="apps/**", namespace="mirror", deletion=True)
        harbor.push("apps/web", "1.0", images.platforms("web"))
        await harbor.idle()
        assert other.artifact("mirror/apps/web", "1.0").digest == images.platforms("web").digest
        harbor.tag("apps/web", "1.0", "stable")
        await harbor.idle()
        harbor.untag("apps/web", "stable")
        await harbor.idle()
        assert {row["status"] for row in harbor.executions()} == {"Succeed"}
        with pytest.raises(LookupError):
            other.artifact("mirror/apps/web", "stable")


async def test_another_harbor_that_is_down_fails_the_execution_before_any_task(
    harbor: LabHarbor,
) -> None:
    other = LabHarbor()
    await other.start()
    harbor.create_registry("other", other.url, kind="harbor")
    await other.close()
    harbor.create_policy("p", "other", pattern="apps/**")
    harbor.push("apps/web", "1.0", WEB)
    await harbor.idle()
    (execution,) = harbor.executions()
    assert (execution["status"], execution["total"]) == ("Failed", 0)
    assert execution["status_text"]


async def test_a_bearer_destination_is_pushed_to_with_its_tokens(harbor: LabHarbor) -> None:
    async with LabRegistry("c", users={"u": "p"}, bearer=True).serving() as registry:
        harbor.create_registry("c", registry.url, username="u", password="p")
        harbor.create_policy("p", "c", pattern="apps/**")
        harbor.push("apps/web", "1.0", WEB)
        await harbor.idle()
        assert registry.digest("apps/web", "1.0") == WEB.digest


async def test_the_sweep_keeps_the_newest_executions_of_each_policy(
    registry: LabRegistry,
) -> None:
    async with LabHarbor(times=replace(LabTimes.fast(), history=3)).serving() as harbor:
        policy = ready(harbor, registry)
        for number in range(5):
            harbor.push("apps/web", f"{number}", WEB)
        await harbor.idle()
        newest = [row["id"] for row in harbor.executions(policy)][:3]
        harbor.sweep()
        assert [row["id"] for row in harbor.executions(policy)] == newest
        harbor.purge_executions(policy)
        assert harbor.executions() == []


async def test_one_execution_at_a_time_when_so_configured(
    harbor: LabHarbor, registry: LabRegistry
) -> None:
    policy = ready(harbor, registry, trigger="manual")
    harbor.policy(policy).single_active = True
    harbor.hold_flows()
    harbor.run(policy)
    harbor.run(policy)
    assert [row["status"] for row in harbor.executions(policy)] == ["Failed", "InProgress"]
    assert "active replication still in progress" in harbor.executions(policy)[0]["status_text"]


async def test_endpoints_become_unhealthy_by_themselves(registry: LabRegistry) -> None:
    times = replace(LabTimes.fast(), health_interval=0.02)
    async with LabHarbor(times=times).serving() as harbor:
        harbor.create_registry("cluster1", registry.url)
        await registry.stop()
        await until(lambda: harbor.world.registries[1].status == "unhealthy")
        await registry.start()
        await until(lambda: harbor.world.registries[1].status == "healthy")


async def test_a_slow_receiver_is_tried_again_with_the_same_event(receiver: Receiver) -> None:
    times = replace(LabTimes.fast(), webhook_timeout=0.05)
    async with LabHarbor(times=times).serving() as harbor:
        harbor.create_webhook_policy("apps", f"{receiver.url}/hook", cloud_events=True)
        receiver.seconds = 0.2
        harbor.push("apps/web", "1.0", WEB)
        await until(lambda: len(receiver.deliveries) == 2)
        receiver.seconds = 0
        await harbor.idle()
        assert len({one.body["id"] for one in receiver.deliveries}) == 1
        assert len(receiver.deliveries) <= 3


async def test_webhooks_can_be_dropped_doubled_or_switched_off(
    harbor: LabHarbor, receiver: Receiver
) -> None:
    harbor.create_webhook_policy("apps", f"{receiver.url}/hook")
    harbor.switches.drop_webhooks = True
    harbor.push("apps/web", "dropped", WEB)
    harbor.switches.drop_webhooks = False
    harbor.switches.notification_enable = False
    harbor.push("apps/web", "off", WEB)
    harbor.switches.notification_enable = True
    harbor.switches.webhook_copies = 2
    harbor.push("apps/web", "twice", WEB)
    await harbor.idle()
    assert receiver.told() == [("PUSH_ARTIFACT", "twice")] * 2


@pytest.mark.parametrize(
    ("version", "names_execution", "names_references"),
    [("v2.9.4-x", False, False), ("v2.12.0-x", False, True), ("v2.13.0-x", True, True)],
)
async def test_older_versions_tell_less(
    harbor: LabHarbor,
    registry: LabRegistry,
    receiver: Receiver,
    version: str,
    *,
    names_execution: bool,
    names_references: bool,
) -> None:
    harbor.version = version
    ready(harbor, registry)
    harbor.create_webhook_policy("apps", f"{receiver.url}/hook", event_types=["REPLICATION"])
    harbor.push("apps/web", "1.0", WEB)
    await harbor.idle()
    told = receiver.deliveries[-1].body["event_data"]["replication"]
    assert ("execution_id" in told, "task_id" in told) == (names_execution, names_execution)
    assert ("references" in told["successful_artifact"][0]) is names_references


async def test_a_stopped_execution_tells_so_and_stays_stopped(
    harbor: LabHarbor, registry: LabRegistry, receiver: Receiver
) -> None:
    policy = ready(harbor, registry)
    harbor.create_webhook_policy("apps", f"{receiver.url}/hook", event_types=["REPLICATION"])
    harbor.pause_queue()
    harbor.push("apps/web", "1.0", WEB)
    await until(lambda: harbor.executions(policy)[0]["total"] == 1)
    harbor.jobs.stop(harbor.world.executions[harbor.executions(policy)[0]["id"]])
    harbor.resume_queue()
    await harbor.idle()
    assert harbor.executions(policy)[0]["status"] == "Stopped"
    assert job_statuses(receiver) == ["Stopped"]
    assert registry.digest("apps/web", "1.0") is None


def test_the_waits_of_a_real_harbor_are_those_of_its_source() -> None:
    class Least:
        def randrange(self, _stop: int) -> int:
            return 0

    class Most:
        def randrange(self, stop: int) -> int:
            return stop - 1

    def waits(chance: Any) -> list[float]:
        generator: random.Random = chance
        return [LabTimes.harbor().backoff(fails, generator) for fails in (1, 2)]

    assert (waits(Least()), waits(Most())) == ([16, 31], [74, 118])


async def test_two_harbors_run_side_by_side(registry: LabRegistry) -> None:
    async with LabHarbor().serving() as one, LabHarbor().serving() as two:
        for harbor in (one, two):
            harbor.create_registry("cluster1", registry.url)
            harbor.create_policy("p", "cluster1", pattern="apps/**")
        one.push("apps/one", "1", WEB)
        two.push("apps/two", "1", WEB2)
        await asyncio.gather(one.idle(), two.idle())
        assert registry.digest("apps/one", "1") == WEB.digest
        assert registry.digest("apps/two", "1") == WEB2.digest
