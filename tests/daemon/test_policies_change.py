"""Policies, registries and tags change at Harbor while images are owed."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from running import Watched, until
from scene import DESTINATION, LABELS, POLICY, REPOSITORY, Scene, edit, scene

from syncwatch.lab.faults import Fault
from syncwatch.lab.registry import LabRegistry
from syncwatch.plan.matching import Filter

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

SHORT = {"deadline": "3s"}


def changed(watched: Watched, change: str, times: int = 1) -> Callable[[], Awaitable[bool]]:
    """Whether the daemon has seen a policy change so often."""

    async def answer() -> bool:
        return await watched.metric("syncwatch_policy_changes_total", change=change) == times

    return answer


def found(watched: Watched, name: str, *, there: bool = True) -> Callable[[], Awaitable[bool]]:
    async def answer() -> bool:
        return (name in await watched.finding_names()) is there

    return answer


async def settled(watched: Watched, result: str, **labels: str) -> float | None:
    return await watched.metric(
        "syncwatch_expectations_settled_total", result=result, operation="copy", **labels
    )


async def test_an_edited_policy_counts_for_what_is_pushed_afterwards(tmp_path: Path) -> None:
    async with scene(tmp_path) as stage, stage.watched() as watched:
        stage.harbor.hold_flows()
        stage.push("old")
        await watched.row(reference="old", state="pending")
        edit(stage.harbor, POLICY, filters=[Filter("name", "apps/**"), Filter("tag", "v*")])
        await until(changed(watched, "edited"))
        stage.push("plain")
        stage.push("v1")
        row = await watched.row(reference="v1")
        assert row["state"] == "pending"
        stage.harbor.hold_flows(held=False)
        await watched.row(reference="v1", state="verified")
        await watched.row(reference="old", state="verified")
        assert {row["reference"] for row in await watched.expectations()} == {"old", "v1"}


async def test_an_edit_and_a_push_in_one_second_are_told_apart_by_harbors_own_times(
    tmp_path: Path,
) -> None:
    async with (
        scene(tmp_path, harbor={"policies_every": "2s"}) as stage,
        stage.watched() as watched,
    ):
        stage.push("before")
        await watched.row(reference="before", state="verified")
        edit(stage.harbor, POLICY, name="renamed")
        # This is seen by a look, and what follows comes right after that look.
        await until(changed(watched, "renamed"))
        edit(stage.harbor, "renamed", filters=[Filter("name", "apps/**"), Filter("tag", "v*")])
        stage.push("after")
        stage.push("v1")
        await watched.row(reference="v1", state="verified")
        assert {row["reference"] for row in await watched.expectations()} == {"before", "v1"}


async def test_a_renamed_policy_keeps_its_subjects_and_counts_on_under_its_new_name(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path) as stage, stage.watched() as watched:
        first = stage.push("latest", "first")
        await watched.row(digest=first, state="verified")
        edit(stage.harbor, POLICY, name="renamed")
        await until(changed(watched, "renamed"))
        second = stage.push("latest", "second")
        row = await watched.row(digest=second, state="verified")
        assert row["policy"] == "renamed"
        # One subject: the second push superseded the first.
        assert (await watched.row(digest=first))["reason"] == "superseded"
        await until(lambda: _is(settled(watched, "met", policy="renamed"), 2.0))
        assert await settled(watched, "met", policy=POLICY) is None
        assert await watched.metric("syncwatch_policy_changes_total", change="edited") == 0


async def _is(answer: Awaitable[float | None], wanted: float | None) -> bool:
    return await answer == wanted


async def test_a_disabled_policy_keeps_what_it_owes_and_owes_nothing_new(tmp_path: Path) -> None:
    async with scene(tmp_path) as stage, stage.watched() as watched:
        stage.harbor.hold_flows()
        stage.push("owed")
        await watched.row(reference="owed", state="pending")
        edit(stage.harbor, POLICY, enabled=False)
        await until(changed(watched, "disabled"))
        await until(found(watched, "policy_disabled"))
        stage.push("unpromised")
        await until(lambda: _pushes_accepted(watched, 2))
        assert (await watched.row(reference="owed"))["state"] == "pending"
        stage.harbor.hold_flows(held=False)
        await watched.row(reference="owed", state="verified")
        edit(stage.harbor, POLICY, enabled=True)
        await until(changed(watched, "enabled"))
        await until(found(watched, "policy_disabled", there=False))
        stage.push("promised")
        await watched.row(reference="promised", state="verified")
        references = {row["reference"] for row in await watched.expectations()}
        assert references == {"owed", "promised"}


async def _pushes_accepted(watched: Watched, count: int) -> bool:
    value = await watched.metric(
        "syncwatch_webhooks_total", event="PUSH_ARTIFACT", outcome="accepted"
    )
    return value == count


async def test_a_deleted_policy_closes_its_rows_and_takes_its_gauges_but_not_its_counters(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path) as stage, stage.watched() as watched:
        stage.push("done")
        await watched.row(reference="done", state="verified")
        stage.harbor.hold_flows()
        stage.push("owed")
        await watched.row(reference="owed", state="pending")
        stage.harbor.world.policies.pop(stage.harbor.policy(POLICY).id)
        for reference in ("done", "owed"):
            await watched.row(reference=reference, state="closed", reason="policy_gone")

        async def gone() -> bool:
            text = await watched.metrics_text()
            gauges = ("expectations", "expectations_overdue", "oldest_open_seconds", "policy_info")
            return not any(
                f'syncwatch_{name}{{harbor="main",policy="{POLICY}"' in text for name in gauges
            )

        await until(gone, told="the end of its gauges")
        assert await settled(watched, "excused", **LABELS) == 1
        assert await settled(watched, "met", **LABELS) == 1
        assert await watched.metric("syncwatch_lag_seconds_count", **LABELS) == 1
        assert await watched.metric("syncwatch_policy_changes_total", change="deleted") == 1


def _forbidden(stage: Scene, *, on: bool) -> None:
    (robot,) = stage.harbor.world.robots.values()
    lost = ("/", "replication-policy", "list")
    robot.grants = robot.grants - {lost} if on else robot.grants | {lost}


def _page(stage: Scene, *, on: bool) -> None:
    stage.harbor.switches.html = on


def _wrong_password(stage: Scene, *, on: bool) -> None:
    (robot,) = stage.harbor.world.robots.values()
    robot.secret = "!" + robot.secret if on else robot.secret.removeprefix("!")


@pytest.mark.parametrize("lose", [_forbidden, _page, _wrong_password])
async def test_a_policy_merely_missing_from_the_list_closes_nothing(
    tmp_path: Path, lose: Callable[..., None]
) -> None:
    async with scene(tmp_path) as stage, stage.watched() as watched:
        stage.push("done")
        await watched.row(reference="done", state="verified")
        lose(stage, on=True)
        await until(lambda: _is(watched.metric("syncwatch_harbor_up"), 0.0))
        # Pushed while the list could not be read: by the rules known last.
        digest = stage.push("later")
        await watched.row(reference="later", digest=digest)
        lose(stage, on=False)
        await until(lambda: _is(watched.metric("syncwatch_harbor_up"), 1.0))
        await watched.row(reference="later", state="verified")
        assert (await watched.row(reference="done"))["state"] == "verified"
        assert await watched.metric("syncwatch_policy_changes_total", change="deleted") == 0


async def test_a_renamed_registry_is_the_same_destination_with_its_old_settings(
    tmp_path: Path,
) -> None:
    entry = {"name": DESTINATION, "deadline": "77s"}
    async with (
        scene(tmp_path, more_destinations=[entry]) as stage,
        stage.watched() as watched,
    ):
        first = stage.push("latest", "first")
        await watched.row(digest=first, state="verified")
        next(iter(stage.harbor.world.registries.values())).name = "cluster-one"
        await until(found(watched, "destination_unknown"))
        second = stage.push("latest", "second")
        row = await watched.row(digest=second, state="verified")
        assert row["destination"] == "cluster-one"
        assert (await watched.row(digest=first))["reason"] == "superseded"
        assert _moment(row["deadline_at"]) - _moment(row["expected_at"]) == timedelta(seconds=77)
        labels = {"policy": POLICY, "destination": "cluster-one"}
        await until(lambda: _is(settled(watched, "met", **labels), 2.0))
        assert await settled(watched, "met", **LABELS) is None


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


async def test_a_registry_with_a_new_url_is_a_new_destination_and_the_old_rows_end(
    tmp_path: Path,
) -> None:
    async with (
        LabRegistry("other").serving() as other,
        scene(tmp_path) as stage,
        stage.watched() as watched,
    ):
        stage.push("1.0")
        await watched.row(reference="1.0", state="verified")
        next(iter(stage.harbor.world.registries.values())).url = other.url
        await watched.row(reference="1.0", state="closed", reason="destination_gone")
        digest = stage.push("2.0")
        await watched.row(reference="2.0", state="verified")
        assert other.digest(REPOSITORY, "2.0") == digest
        assert len(await watched.expectations()) == 2


async def test_a_credential_never_goes_to_an_address_that_harbor_names_anew(
    tmp_path: Path,
) -> None:
    async with (
        LabRegistry("other", users={"reader": "right"}).serving() as other,
        LabRegistry("first", users={"reader": "right"}).serving() as first,
    ):
        entry = {
            "name": "guarded",
            "url": first.url,
            "username": "reader",
            "password": "right",
        }
        async with scene(tmp_path, more_destinations=[entry]) as stage:
            stage.harbor.create_registry("guarded", first.url, username="reader", password="right")
            edit(stage.harbor, POLICY, registry_id=2)
            async with stage.watched() as watched:
                stage.push("1.0")
                await watched.row(reference="1.0", state="verified")
                record = stage.harbor.world.registries[2]
                # Harbor itself sends no credential there, so any that arrives is ours.
                record.url, record.access_key, record.access_secret = other.url, "", ""
                await until(found(watched, "destination_url_changed"))
                await watched.row(reference="1.0", state="closed", reason="destination_gone")
                asked_first = len(first.requests)
                stage.push("2.0")
                await watched.row(reference="2.0", state="unknown", reason="unobserved", within=25)
                assert not any(one.authorized for one in other.requests)
                # Nothing is learnt at the old address about what now goes elsewhere.
                assert len(first.requests) == asked_first


async def test_a_policy_moved_to_another_destination_owes_new_pushes_there(tmp_path: Path) -> None:
    async with (
        LabRegistry("second").serving() as second,
        scene(tmp_path) as stage,
        stage.watched() as watched,
    ):
        stage.push("1.0")
        await watched.row(reference="1.0", state="verified")
        moved_to = stage.harbor.create_registry("second", second.url)
        edit(stage.harbor, POLICY, registry_id=moved_to)
        await until(changed(watched, "edited"))
        stage.push("2.0")
        row = await watched.row(reference="2.0", state="verified")
        assert row["destination"] == "second"
        old = await watched.row(reference="1.0")
        assert (old["state"], old["destination"]) == ("verified", DESTINATION)


async def _refuse(registry: LabRegistry) -> None:
    await registry.stop()


async def _hang(registry: LabRegistry) -> None:
    registry.fault(Fault.HANG)


@pytest.mark.parametrize("die", [_refuse, _hang])
async def test_a_dead_destination_delays_no_verdict_on_another(
    tmp_path: Path, die: Callable[[LabRegistry], Awaitable[None]]
) -> None:
    async with (
        LabRegistry("dead").serving() as dead,
        scene(tmp_path, destination={"timeout": "1s", "deadline": "6s"}) as stage,
    ):
        stage.harbor.create_registry("dead", dead.url)
        stage.harbor.create_policy("to-dead", "dead", pattern="apps/**")
        async with stage.watched() as watched:
            await die(dead)
            for number in range(4):
                stage.push(f"{number}.0")
            for number in range(4):
                await watched.row(
                    reference=f"{number}.0", destination=DESTINATION, state="verified"
                )
            lag = await watched.metric("syncwatch_lag_seconds_sum", **LABELS)
            assert lag is not None
            assert lag / 4 < 5

            async def given_up() -> bool:
                rows = await watched.expectations(destination="dead")
                return len(rows) == 4 and all(row["overdue"] for row in rows)

            await until(given_up)
            rows = await watched.expectations(destination="dead")
            assert {row["state"] for row in rows} <= {"unknown", "pending"}
            assert "destination_unreachable" in await watched.finding_names()
            assert await watched.metric("syncwatch_destination_up", destination="dead") == 0
            assert await watched.metric("syncwatch_destination_up", destination=DESTINATION) == 1
            assert await settled(watched, "missed", destination="dead") == 4
            assert await settled(watched, "met", destination=DESTINATION) == 4


async def test_a_scheduled_policy_owes_a_push_from_its_next_run_on(tmp_path: Path) -> None:
    async with scene(tmp_path) as stage:
        edit(stage.harbor, POLICY, trigger="scheduled", cron="0 0 3 * * *")
        async with stage.watched() as watched:
            stage.push("1.0")
            row = await watched.row(reference="1.0", state="pending", reason="scheduled")
            expected, pushed = _moment(row["expected_at"]), _moment(row["pushed_at"])
            assert (expected.hour, expected.minute, expected.second) == (3, 0, 0)
            assert timedelta(0) < expected - pushed <= timedelta(days=1)
            assert (row["origin"], row["overdue"]) == ("push", False)
            assert _moment(row["deadline_at"]) - expected == timedelta(seconds=10)
            assert await watched.metric("syncwatch_oldest_open_seconds", **LABELS) == 0
            stage.harbor.fire(POLICY)
            row = await watched.row(reference="1.0", state="verified")
            assert await settled(watched, "met", **LABELS) == 1
            assert len(await watched.expectations()) == 1


async def test_what_a_scheduled_run_copies_beside_makes_no_rows(tmp_path: Path) -> None:
    async with scene(tmp_path) as stage:
        edit(stage.harbor, POLICY, trigger="scheduled", cron="0 0 3 * * *")
        stage.push("old")
        async with stage.watched() as watched:
            stage.push("new")
            await watched.row(reference="new", reason="scheduled")
            stage.harbor.fire(POLICY)
            await watched.row(reference="new", state="verified")
            await until(lambda: _executions_ended(watched, 1))
            assert [ref for ref, _, _ in await watched.states()] == ["new"]


async def _executions_ended(watched: Watched, count: int) -> bool:
    return await watched.metric("syncwatch_executions_total") == count


async def test_a_policy_that_pulls_is_listed_as_not_followed(tmp_path: Path) -> None:
    async with scene(tmp_path) as stage:
        stage.harbor.create_policy("inwards", DESTINATION, pattern="apps/**", trigger="manual")
        edit(stage.harbor, "inwards", pull=True)
        async with stage.watched() as watched:
            followed = {
                one["policy"]: one["followed"] for one in (await watched.status())["policies"]
            }
            assert followed == {POLICY: True, "inwards": False}
            stage.push("1.0")
            await watched.row(reference="1.0", state="verified")
            assert {row["policy"] for row in await watched.expectations()} == {POLICY}


async def test_each_kind_of_policy_change_is_counted_once(tmp_path: Path) -> None:
    async with scene(tmp_path) as stage, stage.watched(webhooks=False) as watched:
        await until(changed(watched, "created"))
        made = stage.harbor.create_policy("second", DESTINATION, pattern="b/**")
        await until(changed(watched, "created", 2))
        for change, values in (
            ("edited", {"override": False}),
            ("renamed", {"name": "third"}),
            ("disabled", {"enabled": False}),
            ("enabled", {"enabled": True}),
        ):
            edit(stage.harbor, made, **values)
            await until(changed(watched, change), told=change)
        stage.harbor.world.policies.pop(made)
        await until(changed(watched, "deleted"))
        for change in ("edited", "renamed", "disabled", "enabled", "deleted"):
            assert await changed(watched, change)(), change


@pytest.mark.parametrize("told", [True, False], ids=["webhooks come", "no webhook comes"])
async def test_a_tag_made_by_the_api_is_expected_with_its_own_origin(
    tmp_path: Path, told: bool
) -> None:
    async with scene(tmp_path, destination={"deadline": "60s"}) as stage:
        digest = stage.push("1.0")
        await stage.harbor.idle()
        _age(stage, 60)
        async with stage.watched(webhooks=told) as watched:
            stage.harbor.tag(REPOSITORY, "1.0", "stable")
            row = await watched.row(reference="stable", state="verified", within=25)
            assert (row["origin"], row["digest"], row["notified_at"]) == ("tag", digest, None)
            await until(lambda: _is(settled(watched, "met", **LABELS), 1.0))
            assert len(await watched.expectations()) == 1


def _age(stage: Scene, seconds: float) -> None:
    """As if everything had been pushed that much earlier."""
    for row in (*stage.harbor.world.artifacts.values(), *stage.harbor.world.tags.values()):
        row.push_time -= seconds


async def test_a_tag_made_right_after_a_push_is_found_though_its_webhooks_are_lost(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path) as stage, stage.watched() as watched:
        stage.push("1.0")
        await watched.row(reference="1.0", state="verified")
        stage.harbor.switches.drop_webhooks = True
        stage.harbor.tag(REPOSITORY, "1.0", "latest")
        await watched.row(reference="latest", state="verified", within=16)


async def test_a_push_whose_webhooks_were_all_lost_is_learnt_from_the_feed(tmp_path: Path) -> None:
    async with scene(tmp_path) as stage, stage.watched(webhooks=False) as watched:
        digest = stage.push("1.0")
        row = await watched.row(reference="1.0", state="verified", within=25)
        assert (row["origin"], row["digest"], row["notified_at"]) == ("push", digest, None)
        # Lag counts from the push, although we heard of it much later.
        assert _moment(row["pushed_at"]) == _moment(row["expected_at"])


async def test_an_artifact_deleted_at_the_source_closes_its_rows(tmp_path: Path) -> None:
    async with scene(tmp_path) as stage, stage.watched() as watched:
        stage.push("done")
        await watched.row(reference="done", state="verified")
        stage.harbor.hold_flows()
        stage.push("owed", repository="apps/other")
        await watched.row(reference="owed", state="pending")
        stage.harbor.delete_artifact(REPOSITORY, "done")
        stage.harbor.delete_artifact("apps/other", "owed")
        for reference in ("done", "owed"):
            await watched.row(reference=reference, state="closed", reason="deleted_at_source")
        assert await settled(watched, "excused", **LABELS) == 1
        assert await settled(watched, "met", **LABELS) == 1
        assert await watched.metric("syncwatch_lost_total") == 0


async def test_a_tag_set_again_after_its_deletion_is_owed_again(tmp_path: Path) -> None:
    async with scene(tmp_path) as stage, stage.watched() as watched:
        stage.push("1.0")
        await watched.row(reference="1.0", state="verified")
        stage.harbor.delete_artifact(REPOSITORY, "1.0")
        row = await watched.row(reference="1.0", state="closed")
        # Webhooks tell whole seconds: within one, the second push could not be told from a repeat.
        pushed = int(_moment(row["pushed_at"]).timestamp())
        await until(lambda: _second_after(stage, pushed))
        stage.push("1.0")
        await watched.row(reference="1.0", state="verified")
        assert len(await watched.expectations()) == 2


async def _second_after(stage: Scene, second: int) -> bool:
    return int(stage.harbor.world.now()) > second


async def test_a_single_tag_deleted_at_the_source_closes_its_row(tmp_path: Path) -> None:
    async with (
        scene(tmp_path, harbor={"sweep_every": "10s"}) as stage,
        stage.watched() as watched,
    ):
        stage.push("1.0")
        await watched.row(reference="1.0", state="verified")
        stage.harbor.untag(REPOSITORY, "1.0")
        await watched.row(reference="1.0", state="closed", reason="deleted_at_source", within=13)


async def test_what_was_pushed_before_our_first_sight_is_no_row_and_never_counted(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path) as stage:
        stage.push("old")
        await stage.harbor.idle()
        async with stage.watched() as watched:
            # The same bytes again: a PUSH webhook and an execution, and nothing new.
            stage.push("old")
            stage.push("new")
            await watched.row(reference="new", state="verified")
            await stage.harbor.idle()
            await until(lambda: _executions_ended(watched, 2))
            assert [ref for ref, _, _ in await watched.states()] == ["new"]
            assert await watched.metric("syncwatch_lag_seconds_count", **LABELS) == 1
            assert await settled(watched, "met", **LABELS) == 1
            # Once it moves it is owed like any other.
            moved = stage.push("old", "moved")
            await watched.row(reference="old", digest=moved, state="verified")


async def test_an_execution_that_never_starts_is_a_failure_only_past_the_deadline(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path, destination=SHORT) as stage, stage.watched() as watched:
        stage.stop_starting()
        stage.push("1.0")
        row = await watched.row(reference="1.0", state="pending", reason="waiting")
        row = await watched.row(reference="1.0", state="failed", reason="not_started")
        told = await watched.one(row["id"])
        failed = next(one for one in told["timeline"] if one["what"] == "failed/not_started")
        assert _moment(failed["at"]) >= _moment(row["deadline_at"])
        assert "malformed_pattern" in await watched.finding_names()


async def test_a_late_arrival_is_missed_once_and_then_verified_with_its_lag(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path, destination=SHORT) as stage, stage.watched() as watched:
        stage.stop_starting()
        digest = stage.push("1.0")
        await watched.row(reference="1.0", state="failed", overdue=True)
        assert await settled(watched, "missed", **LABELS) == 1
        stage.start_again()
        stage.harbor.run(POLICY)
        row = await watched.row(reference="1.0", state="verified", overdue=False)
        assert (row["digest"], row["origin"]) == (digest, "push")
        await until(lambda: _is(watched.metric("syncwatch_lag_seconds_count", **LABELS), 1.0))
        lag = await watched.metric("syncwatch_lag_seconds_sum", **LABELS)
        assert lag is not None
        assert lag > 3
        assert await settled(watched, "missed", **LABELS) == 1
        assert await settled(watched, "met", **LABELS) == 0
        assert await watched.metric("syncwatch_oldest_open_seconds", **LABELS) == 0


async def test_a_stopped_execution_is_a_failure_of_that_name(tmp_path: Path) -> None:
    async with scene(tmp_path) as stage, stage.watched() as watched:
        stage.harbor.pause_queue()
        stage.push("1.0")
        await watched.row(reference="1.0", state="pending", reason="queued")
        (execution,) = stage.harbor.executions(POLICY)
        stage.harbor.jobs.stop(stage.harbor.world.executions[execution["id"]])
        row = await watched.row(reference="1.0", state="failed", reason="execution_stopped")
        assert row["execution_id"] == execution["id"]


async def test_an_execution_purged_from_the_history_is_not_a_failure(tmp_path: Path) -> None:
    async with scene(tmp_path) as stage, stage.watched() as watched:
        stage.push("done")
        await watched.row(reference="done", state="verified")
        stage.harbor.pause_queue()
        stage.push("owed")
        await watched.row(reference="owed", state="pending", reason="queued")
        await stage.harbor.stop()
        stage.harbor.resume_queue()
        await stage.harbor.idle()
        stage.harbor.purge_executions()
        await stage.harbor.start()
        await watched.row(reference="owed", state="verified")
        assert (await watched.row(reference="done"))["state"] == "verified"


async def test_what_failed_unseen_and_was_purged_is_not_said_to_have_never_started(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path, destination=SHORT) as stage, stage.watched() as watched:
        stage.push("done")
        await watched.row(reference="done", state="verified")
        await stage.harbor.stop()
        await until(found(watched, "harbor_unreachable"))
        stage.registry.fault(Fault.SERVER_ERROR)
        # Of this push only the first webhook came.
        stage.push("1.0")
        await watched.row(reference="1.0")
        stage.harbor.switches.drop_webhooks = True
        await stage.harbor.idle()
        stage.registry.clear()
        stage.harbor.purge_executions()
        await stage.harbor.start()
        await until(found(watched, "harbor_unreachable", there=False))
        first = await watched.row(reference="1.0", overdue=True)

        async def looked_again() -> dict[str, Any] | None:
            row = await watched.row(reference="1.0")
            fresh = _moment(row["observed_at"]) > _moment(first["observed_at"])
            return row if fresh or row["reason"] == "not_started" else None

        row = await until(looked_again)
        assert row["reason"] != "not_started"


async def test_a_registry_deleted_at_harbor_ends_what_was_owed_there(tmp_path: Path) -> None:
    async with scene(tmp_path) as stage, stage.watched() as watched:
        stage.push("1.0")
        await watched.row(reference="1.0", state="verified")
        stage.harbor.world.policies.clear()
        stage.harbor.world.registries.clear()
        row = await watched.row(reference="1.0", state="closed")
        assert row["reason"] in ("policy_gone", "destination_gone")

        async def gone() -> bool:
            return (await watched.status())["destinations"] == []

        await until(gone)
        assert await watched.metric("syncwatch_destination_up", destination=DESTINATION) is None
